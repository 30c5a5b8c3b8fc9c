"""JSON that becomes data is read exactly as it was sent, or refused in a sentence."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import exact
from shared.exact import MAX_DEPTH, NotExact, dumps, parse

BOM = b"\xef\xbb\xbf"


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def refusal(content: bytes, **how: Any) -> tuple[str, str, str]:
    with pytest.raises(NotExact) as caught:
        parse(content, **how)
    return caught.value.kind, caught.value.path, caught.value.message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 18446744073709551615}', {"a": 2**64 - 1}),
        (b"[-9223372036854775808, 1234567890123456789012.5]", [-(2**63), 1234567890123456789012.5]),
        (b'{"a": "12345678901234567890123"}', {"a": "12345678901234567890123"}),
        (b'{"a" :1, "b":{"a":1}}', {"a": 1, "b": {"a": 1}}),
        (rb'{"a":"\":","b":1}', {"a": '":', "b": 1}),
        (b'{"a": 1e-7, "b": 0e-999, "c": 0.000}', {"a": 1e-7, "b": 0.0, "c": 0.0}),
        (BOM + b"[1]", [1]),
    ],
)
def test_what_is_read(content: bytes, expected: Any) -> None:
    assert parse(content) == expected
    assert parse(dumps(parse(content))) == expected


@pytest.mark.parametrize(
    ("content", "kind", "path", "says"),
    [
        (b'{"m": {"n": [1, 12345678901234567890123]}}', "number", "m.n[1]", "12345678901234567890123 is too"),
        (b'{"n": 18446744073709551616}', "number", "n", "too large to be stored exactly: write it as text"),
        (b'{"n": -9223372036854775809}', "number", "n", "too large"),
        (b"18446744073709551616", "number", "", "too large"),
        (b'{"n": ' + b"9" * 300 + b"}", "number", "n", "too large"),
        (b'{"n": 1e-999}', "number", "n", "1e-999 is beyond the range of a double"),
        (b'{"n": 1e999}', "syntax", "", "is not JSON: see line 1"),
        (b'{"n": NaN}', "syntax", "", "is not JSON: see line 1, column 7"),
        (b'{"a": [{"b": 1, "c": 2, "b": 1}]}', "twice", "a[0].b", "stands twice in the same object"),
        (rb'{"a": 1, "\u0061": 1}', "twice", "a", "stands twice"),
        (b'{"a" :1,"b":"\\":","a":2}', "twice", "a", "stands twice"),
        (b'{"a": ' + nested(900) + b', "a": 1}', "depth", "", "64"),
        (nested(MAX_DEPTH + 1), "depth", "", "has more than 64 lists and objects inside each other"),
        (nested(1_000_000), "depth", "", "64"),
        (b'{"a": "\xff"}', "syntax", "", "is not UTF-8 text: see byte 8"),
        ('{"a": 1}'.encode("utf-16"), "syntax", "", "is not UTF-8 text: see byte 1"),
        (BOM + BOM + b"{}", "syntax", "", "is not JSON"),
        (rb'{"a": "\ud800"}', "syntax", "", "is not JSON"),
        (b"", "syntax", "", "is not JSON"),
    ],
)
def test_what_is_refused(content: bytes, kind: str, path: str, says: str) -> None:
    found_kind, found_path, message = refusal(content)
    assert (found_kind, found_path) == (kind, path), message
    assert says in message
    assert len(message) < 200


def test_integers_of_any_size_where_they_are_wanted() -> None:
    content = b'{"a": 12345678901234567890123, "b": 1e5}'
    assert parse(content, any_integer=True) == {"a": 12345678901234567890123, "b": 1e5}
    assert refusal(b'{"a": 12345678901234567890123, "a": 1}', any_integer=True)[:2] == ("twice", "a")
    assert refusal(b'{"a": 12345678901234567890123, "b": NaN}', any_integer=True)[:2] == ("syntax", "b")
    assert refusal(b'{"a": 1' + b"0" * 5_000 + b"}", any_integer=True)[:2] == ("number", "a")
    assert refusal(b'{"a": 12345678901234567890123' + b"[" * 10_000, any_integer=True)[0] == "depth"


@pytest.mark.parametrize("rest", [rb'"b": "\ud800"', rb'"b": ["\uDFFF\ud800"]', rb'"\udc00": 1'])
@pytest.mark.parametrize("any_integer", [False, True])
def test_half_a_surrogate_pair_is_refused(rest: bytes, any_integer: bool) -> None:
    for number in (b"1", b"12345678901234567890123"):
        assert refusal(b'{"a": %b, %b}' % (number, rest), any_integer=any_integer)[:2] == ("syntax", "")


def test_a_whole_surrogate_pair_is_one_character() -> None:
    content = rb'{"a": 12345678901234567890123, "b": "\ud83d\ude00", "c": "\\ud800"}'
    expected = {"a": 12345678901234567890123, "b": "\N{GRINNING FACE}", "c": r"\ud800"}
    assert parse(content, any_integer=True) == expected


def test_as_deep_as_is_said() -> None:
    assert parse(nested(MAX_DEPTH))
    assert parse(nested(128), 128)
    assert refusal(nested(129), max_depth=128)[0] == "depth"


_TOKENS = r"""
"a" "b" ":" "\":" : , { } [ ] 1 -0 1e400 1E-5 1e-400 12345678901234567890 NaN null "\ud800" "\u0061" "é"
"""


def typed(value: Any) -> Any:
    """The value, in a form where 1, 1.0 and True differ."""
    if isinstance(value, list):
        return [typed(each) for each in value]
    return {name: typed(each) for name, each in value.items()} if isinstance(value, dict) else repr(value)


@given(text=st.lists(st.sampled_from([*_TOKENS.split(), ": ", " :", " ", "\n"]), max_size=14).map("".join))
@example(text='"a":1,"a":2')
@example(text='"a" :1,"a":":"')
@example(text='"a":{"b":1,"b":2},"c":":"')
@settings(max_examples=1000, deadline=None)
def test_whatever_is_read_is_what_pythons_reader_finds_with_no_name_twice(text: str) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), text
        return dict(pairs)

    content = b"{" + text.encode() + b"}"
    try:
        found = exact.parse(content)
    except NotExact:
        return
    expected = json.loads(content, object_pairs_hook=unique)
    assert typed(found) == typed(expected), text


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (rb'{"a": "b\u0000c"}', "a"),
        (rb'{"a": [1, {"b": "\u0000"}]}', "a[1].b"),
        (rb'{"a\u0000b": 1}', r"a\u0000b"),
        (rb'{"a\u0000": {"c": "\u0000"}}', r"a\u0000"),
        (rb'"\u0000"', ""),
        (rb'{"n": 1234567890123456789, "a" : "\u0000"}', "a"),
    ],
)
@pytest.mark.parametrize("any_integer", [False, True])
def test_a_text_with_nul_is_refused(content: bytes, path: str, any_integer: bool) -> None:
    assert refusal(content, any_integer=any_integer) == (
        "nul",
        path,
        r"holds a NUL character (\u0000): remove it",
    )


def test_what_only_looks_like_nul_is_read() -> None:
    assert parse(rb'{"a": "\\u0000", "b\\u0000": "\u0001"}') == {"a": r"\u0000", r"b\u0000": "\x01"}
    assert refusal(rb'{"a": "\\u0000", "a": 1}')[:2] == ("twice", "a")


# --- how many values there may be


def lists(count: int) -> bytes:
    """A JSON list of lists: so many in all."""
    return b"[" + b"[]," * (count - 2) + b"[]]"


def values(count: int) -> bytes:
    """A JSON list of so many commas and brackets."""
    return b"[" + b"1," * (count - 1) + b"1]"


@pytest.mark.parametrize(
    ("made", "limit", "said"),
    [(lists, "MAX_CONTAINERS", "lists and objects"), (values, "MAX_VALUES", "values")],
)
def test_there_may_be_so_many_values_and_no_more(
    made: Callable[[int], bytes], limit: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, limit, 50)
    assert len(exact.parse(made(50))) in (49, 50)
    with pytest.raises(exact.NotExact, match=f"^has more than 50 {said}: send less at once$") as refused:
        exact.parse(made(51))
    assert refused.value.kind == "many"


MEMORY = """
import resource, sys
from shared import exact
content = sys.argv[1].encode() * (int(sys.argv[2]) // len(sys.argv[1]))
content = b"[" + content + sys.argv[1].encode().rstrip(b",") + b"]"
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    said = type(exact.parse(content, 128)).__name__
except exact.NotExact as wrong:
    said = wrong.kind
after = resource.getrusage(resource.RUSAGE_SELF)
print(said, after.ru_maxrss - before.ru_maxrss, after.ru_utime - before.ru_utime)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("piece", "size", "kind", "mib"),
    [
        ("[],", 31 << 20, "many", 4),
        ("{},", 31 << 20, "many", 4),
        ('{"":1},', 31 << 20, "many", 4),
        ("1,", 31 << 20, "many", 4),
        ('"ab",', 31 << 20, "many", 4),
        ("[],", 599_000, "list", 40),
        ('{"":1},', 1_390_000, "list", 80),
        ('"ab",', 4_990_000, "list", 120),
        ("1e5,", 3_990_000, "list", 80),
    ],
)
def test_no_body_takes_memory_out_of_proportion(piece: str, size: int, kind: str, mib: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, piece, str(size)], capture_output=True, text=True, check=True
    )
    said, memory, seconds = done.stdout.split()
    assert said == kind
    assert int(memory) < mib * 1024, "KiB"
    assert float(seconds) < 3
