"""JSON that two readers could take for two things is refused, and what is kept can be written again."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.batches.json_files import parse
from shared.batches.problems import BadFile
from shared.exact import MAX_DEPTH


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{}", {}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (
            b' {"a": [1, 2.5, -0.0, true, null, "x"], "b": {"a": 1}}\r\n',
            {"a": [1, 2.5, 0, True, None, "x"], "b": {"a": 1}},
        ),
        ('{"é": "写真 😀"}'.encode(), {"é": "写真 😀"}),
        (rb'{"a": "\ud83d\ude00 \" [[[[ {{{{ \\"}', {"a": '😀 " [[[[ {{{{ \\'}),
        (b'{"a": 18446744073709551615, "b": -9223372036854775808}', {"a": 2**64 - 1, "b": -(2**63)}),
        (b'{"a": "' + b"[" * 1000 + b'"}', {"a": "[" * 1000}),
        (b'{"a": [' + b"[]," * 999 + b"[]]}", {"a": [[]] * 1000}),
    ],
    ids=[
        "empty",
        "a BOM",
        "of every type",
        "UTF-8",
        "escapes",
        "64 bits",
        "brackets in a string",
        "wide, not deep",
    ],
)
def test_what_is_kept(content: bytes, expected: dict[str, Any]) -> None:
    assert parse(content) == expected
    assert orjson.loads(orjson.dumps(parse(content))) == expected


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "JSON_NOT_VALID", id="nothing"),
        pytest.param(b"\xef\xbb\xbf", "JSON_NOT_VALID", id="a BOM alone"),
        pytest.param(b"not JSON", "JSON_NOT_VALID", id="text"),
        pytest.param(b'{"a": 1', "JSON_NOT_VALID", id="cut off"),
        pytest.param(b'{"a": 1} {}', "JSON_NOT_VALID", id="two of them"),
        pytest.param(b"{'a': 1}", "JSON_NOT_VALID", id="Python's quotes"),
        pytest.param(b'{"a": 1,}', "JSON_NOT_VALID", id="a comma more"),
        pytest.param(b'{"a": NaN}', "JSON_NOT_VALID", id="NaN"),
        pytest.param(rb'{"a": "\u0000"}', "JSON_HOLDS_NUL", id="NUL"),
        pytest.param(b'{"a": Infinity}', "JSON_NOT_VALID", id="Infinity"),
        pytest.param(b'{"a": 1e999}', "JSON_NOT_VALID", id="a float beyond floats"),
        pytest.param(rb'{"a": "\ud800"}', "JSON_NOT_VALID", id="a lone surrogate"),
        pytest.param(rb'{"\udc00": 1}', "JSON_NOT_VALID", id="a lone surrogate as a name"),
        pytest.param(b'{"a": "\xed\xa0\x80"}', "JSON_NOT_VALID", id="a surrogate's bytes"),
        pytest.param(b'{"a": "\xff"}', "JSON_NOT_VALID", id="not UTF-8"),
        pytest.param('{"a": 1}'.encode("utf-16"), "JSON_NOT_VALID", id="UTF-16"),
        pytest.param(b'{"a": "\n"}', "JSON_NOT_VALID", id="a line break in a string"),
        pytest.param(b'{"a": 18446744073709551616}', "JSON_NOT_VALID", id="65 bits"),
        pytest.param(b'{"a": -9223372036854775809}', "JSON_NOT_VALID", id="64 bits below"),
        pytest.param(b'{"a": ' + b"9" * 300 + b"}", "JSON_NOT_VALID", id="300 digits"),
        pytest.param(b'{"a": ' + b"9" * 1_000_000 + b"}", "JSON_NOT_VALID", id="a million digits"),
        pytest.param(b"[]", "JSON_NOT_AN_OBJECT", id="a list"),
        pytest.param(b"null", "JSON_NOT_AN_OBJECT", id="null"),
        pytest.param(b'"a"', "JSON_NOT_AN_OBJECT", id="a string"),
        pytest.param(b'{"a": 1, "a": 1}', "JSON_DUPLICATE_KEY", id="a name twice"),
        pytest.param(rb'{"a": 1, "\u0061": 2}', "JSON_DUPLICATE_KEY", id="a name twice, escaped"),
        pytest.param(
            b'{"x": [{"y": {"a": 1, "b": 2, "a": 3}}]}', "JSON_DUPLICATE_KEY", id="a name twice, deep"
        ),
        pytest.param(nested(MAX_DEPTH + 1), "JSON_TOO_DEEP", id="one too deep"),
        pytest.param(nested(1_000_000), "JSON_TOO_DEEP", id="a million levels"),
        pytest.param(b"[" * 4_000_000, "JSON_TOO_DEEP", id="open brackets"),
        pytest.param(b'{"a":' * 800_000, "JSON_TOO_DEEP", id="open dictionaries"),
        pytest.param(b'{"' + b'\\"' * 2_000_000, "JSON_NOT_VALID", id="a string that never ends"),
        pytest.param(b'{"' + b'\\"' * 2_000_000 + b"\\", "JSON_NOT_VALID", id="nor its last escape"),
    ],
)
def test_what_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(BadFile) as error:
        parse(content)
    assert error.value.code == code, str(error.value)
    assert len(error.value.detail) < 200


def test_as_deep_as_allowed() -> None:
    assert parse(nested(MAX_DEPTH))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2"),
        (b'{"a": 123456789012345678901}', "123456789012345678901"),
        (b'{"meter": 1, "meter": 2}', "“meter”"),
        (b'{"a": "\xff"}', "byte 8"),
        (rb'{"a": ["\u0000"]}', "It is in “a[0]”."),
    ],
)
def test_the_place_is_named(content: bytes, said: str) -> None:
    with pytest.raises(BadFile) as error:
        parse(content)
    assert said in error.value.detail


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(texts, values, max_size=5))
def test_whatever_can_be_written_is_read(found: dict[str, Any]) -> None:
    assert parse(orjson.dumps(found)) == found


@settings(deadline=None)
@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:\\u0dea19.- \n', max_size=40).map(str.encode))
def test_anything_at_all_is_read_or_refused(content: bytes) -> None:
    try:
        found = parse(content)
    except BadFile:
        return
    assert orjson.loads(orjson.dumps(found)) == found
