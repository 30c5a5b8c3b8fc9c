"""The quick way to parse a record gives what the strict way gives, or leaves the record to it."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.jobs.reading import strict_json
from shared.jobs.reading.strict_json import parse

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**66),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from([":", '":', "a", "2014-02-01T05:00:00+0000", "1" * 30]),
)
_values = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        _scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=10,
    ),
    max_size=5,
)
_TOKENS = r"""
"a" "b" ":" "\":" : , { } [ ] 1 -0 1e400 1E5 12345678901234567890 NaN null "\u0000" "\ud800" "\u0061" "é"
"""
_tokens = st.lists(st.sampled_from([*_TOKENS.split(), ": ", " :", " ", "\n"]), max_size=14).map("".join)


def _typed(value: Any) -> Any:
    """The value, in a form where 1, 1.0 and True differ, and 0.0 and -0.0."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return (type(value), repr(value))


def _agree(raw: bytes) -> None:
    quick = strict_json._quick(raw)
    if quick is not None:
        strict, problem = strict_json._strict(raw, "utf-8", 1)
        assert problem is None, raw
        assert _typed(quick) == _typed(strict), raw


@given(
    value=_values, ascii=st.booleans(), separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")])
)
@settings(max_examples=300, deadline=None)
def test_every_object_is_read_exactly(
    value: dict[str, Any], ascii: bool, separators: tuple[str, str]
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii, separators=separators).encode("utf-8", "surrogatepass")
    _agree(raw)
    found, problem = parse(raw, "utf-8", 1)
    if problem is None:
        assert _typed(found) == _typed(json.loads(raw)), raw
    else:
        assert "\0" in raw.decode() or "\\u0000" in raw.decode() or "surrogate" in problem.message, problem


@given(text=_tokens)
@example(text='"a":1,"a":2')
@example(text='"a" :1,"a":2')
@example(text='"a"\n:1,"a":2')
@example(text='"a":":","a":2')
@example(text='"a" :1,"a":":"')
@example(text='"a":{"b":1,"b":2},"c":":"')
@settings(max_examples=1000, deadline=None)
def test_the_two_ways_agree(text: str) -> None:
    _agree(b"{" + text.encode() + b"}")


def test_usual_records_go_the_quick_way() -> None:
    for raw in (
        b'{"a":1}',
        b'{"a": "x: y", "b": {"c": [1.5, {"d": null}]}}',
        b'{\n  "a": "2014-02-01T05:00:00"\n}',
    ):
        assert strict_json._quick(raw) == json.loads(raw)
