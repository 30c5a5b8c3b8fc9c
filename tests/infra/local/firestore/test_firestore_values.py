"""The order of values as bytes, field paths, and the size of documents."""

import math
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.firestore.errors import Refused
from infra.local.firestore.messages import Document, Value
from infra.local.firestore.values import (
    after_prefix,
    check_document,
    class_bounds,
    encode,
    encode_path,
    inverted,
    parse_path,
)

CLASSES = [
    "null",
    "boolean",
    "number",
    "timestamp",
    "string",
    "bytes",
    "reference",
    "geo_point",
    "array",
    "map",
]

EDGES = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**62 + 1]
NUMBERS = st.one_of(
    st.sampled_from(EDGES).map(lambda n: Value(integer_value=n)),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: Value(integer_value=n)),
    st.sampled_from([float(n) for n in EDGES]).map(lambda n: Value(double_value=n)),
    st.floats().map(lambda n: Value(double_value=n)),
)
TEXT = st.text(st.sampled_from("a\x00\x01\xffé😀/"), max_size=4)
SCALARS = st.one_of(
    st.just(Value(null_value=0)),
    st.booleans().map(lambda b: Value(boolean_value=b)),
    NUMBERS,
    st.tuples(st.integers(-3, 3), st.integers(0, 3)).map(
        lambda t: Value(timestamp_value={"seconds": t[0], "nanos": t[1] * 1000})
    ),
    TEXT.map(lambda t: Value(string_value=t)),
    st.binary(max_size=3).map(lambda b: Value(bytes_value=b)),
    st.lists(st.sampled_from(["a", "b", "a\x01", "ab"]), min_size=1, max_size=4).map(
        lambda s: Value(reference_value="/".join(s))
    ),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)).map(
        lambda p: Value(geo_point_value={"latitude": p[0], "longitude": p[1]})
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda vs: Value(array_value={"values": vs})),
        st.dictionaries(TEXT.filter(bool), inner, max_size=3).map(lambda d: Value(map_value={"fields": d})),
    ),
    max_leaves=6,
)


def class_of(value: Any) -> str:
    kind = str(value.WhichOneof("value_type")).removesuffix("_value")
    return "number" if kind in ("integer", "double") else kind


def sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


def compare_numbers(one: float, other: float) -> int:
    """NaN first, then by worth."""
    if math.isnan(one) or math.isnan(other):
        return sign(math.isnan(other), math.isnan(one))
    if math.isinf(one) or math.isinf(other):
        # An infinity is beyond every integer, also where the integer does not fit a double.
        one, other = (float(math.copysign(1, n)) if math.isinf(n) else 0.0 for n in (one, other))
    return sign(Fraction(one), Fraction(other))


def compare(one: Any, other: Any) -> int:
    """Firestore's documented order, written down value by value and apart from the encoding."""
    kind = class_of(one)
    if kind != class_of(other):
        return sign(CLASSES.index(kind), CLASSES.index(class_of(other)))
    if kind == "null":
        return 0
    if kind == "boolean":
        return sign(one.boolean_value, other.boolean_value)
    if kind == "number":
        return compare_numbers(
            *(v.integer_value if v.HasField("integer_value") else v.double_value for v in (one, other))
        )
    if kind == "timestamp":
        return sign(*((v.timestamp_value.seconds, v.timestamp_value.nanos) for v in (one, other)))
    if kind == "string":
        return sign(one.string_value.encode(), other.string_value.encode())
    if kind == "bytes":
        return sign(one.bytes_value, other.bytes_value)
    if kind == "reference":
        return sign(one.reference_value.split("/"), other.reference_value.split("/"))
    if kind == "geo_point":
        return sign(*((v.geo_point_value.latitude, v.geo_point_value.longitude) for v in (one, other)))
    if kind == "array":
        return compare_lists(*(list(v.array_value.values) for v in (one, other)))
    pairs = [
        [
            part
            for key in sorted(v.map_value.fields, key=str.encode)
            for part in (Value(bytes_value=key.encode()), v.map_value.fields[key])
        ]
        for v in (one, other)
    ]
    return compare_lists(*pairs)


def compare_lists(one: list[Any], other: list[Any]) -> int:
    for left, right in zip(one, other, strict=False):
        if result := compare(left, right):
            return result
    return sign(len(one), len(other))


@given(VALUES, VALUES)
def test_the_bytes_are_in_the_order_of_the_values(one: Any, other: Any) -> None:
    assert sign(encode(one), encode(other)) == compare(one, other)
    assert sign(inverted(encode(one)), inverted(encode(other))) == -compare(one, other)


def in_both(one: Any, other: Any) -> int:
    """By the first value, then downwards by the second."""
    return compare(one[0], other[0]) or -compare(one[1], other[1])


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=5))
def test_several_fields_one_after_another_keep_their_order(rows: list[tuple[Any, Any]]) -> None:
    by_bytes = sorted(rows, key=lambda row: encode(row[0]) + inverted(encode(row[1])))
    by_value = sorted(rows, key=cmp_to_key(in_both))
    assert [[encode(v) for v in row] for row in by_bytes] == [[encode(v) for v in row] for row in by_value]


def test_integers_beyond_what_a_double_holds_keep_their_order() -> None:
    near = [n + d for n in EDGES for d in (-2, -1, 0, 1, 2) if -(2**63) <= n + d < 2**63]
    values = [Value(integer_value=n) for n in near] + [Value(double_value=float(n)) for n in near]
    for one in values:
        for other in values:
            assert sign(encode(one), encode(other)) == compare(one, other)


@given(VALUES, VALUES)
def test_no_encoding_begins_with_another(one: Any, other: Any) -> None:
    assert compare(one, other) == 0 or not encode(one).startswith(encode(other))


@given(VALUES, VALUES)
def test_a_range_holds_the_values_of_one_class(one: Any, other: Any) -> None:
    least, beyond = class_bounds(encode(one))
    assert (least <= encode(other) < beyond) is (class_of(one) == class_of(other))


@given(st.binary(min_size=1, max_size=3), st.binary(max_size=3), st.binary(max_size=4))
def test_after_prefix_is_behind_everything_that_begins_so(prefix: bytes, rest: bytes, other: bytes) -> None:
    assert prefix + rest < after_prefix(prefix) or prefix.strip(b"\xff") == b""
    assert other.startswith(prefix) or other < prefix or other >= after_prefix(prefix)


def test_paths_sort_by_segment() -> None:
    paths = ["a/1", "a/1/b/1", "a/1\x01", "a/10", "a/2", "b/1"]
    mixed = [paths[i] for i in (3, 0, 5, 1, 4, 2)]
    assert sorted(mixed, key=encode_path) == paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b_1", ("a", "b_1")),
        ("`a.b`.c", ("a.b", "c")),
        (r"`a\`b`.`\\`", ("a`b", "\\")),
        ("é", None),
        ("`é`", ("é",)),
        ("", None),
        ("a..b", None),
        ("a.", None),
        ("1a", None),
        ("a-b", None),
        ("``", None),
        ("a" * 1500, ("a" * 1500,)),
        ("a" * 1501, None),
    ],
)
def test_field_paths(text: str, path: tuple[str, ...] | None) -> None:
    if path is None:
        with pytest.raises(Refused):
            parse_path(text)
    else:
        assert parse_path(text) == path


def test_the_size_of_googles_example() -> None:
    """The document of https://cloud.google.com/firestore/docs/storage-size is 147 bytes."""
    document = Document()
    document.fields["type"].string_value = "Personal"
    document.fields["done"].boolean_value = False
    document.fields["priority"].integer_value = 1
    document.fields["description"].string_value = "Learn Cloud Firestore"
    room = 1_048_576 - 147
    # The padding: 2 bytes of a name, and a value below the greatest of a single field.
    document.fields["x"].bytes_value = b"x" * (room - 2 - 4 - 1000)
    document.fields["y"].bytes_value = b"y" * 1002
    check_document("users/jeff/tasks/my_task_id", document.fields)
    document.fields["y"].bytes_value += b"y"
    with pytest.raises(Refused, match="1,048,577 bytes"):
        check_document("users/jeff/tasks/my_task_id", document.fields)
