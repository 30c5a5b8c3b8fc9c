"""Reading can stop behind any record and go on there: the records that follow are the same."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.jobs.reading import Broken, Layout, Position, Record, Unreadable, blocks, look, records


def _of(content: bytes) -> Callable[[int, int], bytes]:
    return lambda start, end: content[start:end]


def _all(content: bytes, layout: Layout, position: Position, block_bytes: int) -> tuple[list[Record], str]:
    found: list[Record] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        try:
            found.extend(records(_of(content), len(content), layout, position))
        except Broken as broken:
            return found, str(broken)
    return found, ""


def _cut_everywhere(content: bytes, csv: bool, block_bytes: int) -> None:
    try:
        layout = look(_of(content), len(content), csv=csv, header_row=True)
    except Unreadable:
        return
    whole, broken = _all(content, layout, layout.start, block_bytes)
    for index, record in enumerate(whole):
        following, still_broken = _all(content, layout, record.end, 1000)
        assert following == whole[index + 1 :], (content, record.end)
        assert bool(still_broken) == bool(broken), (content, record.end)


_csv_texts = st.lists(
    st.sampled_from(["a", "ä", "😀", "b c", ",", ";", '"', '""', "\n", "\r\n", "\r", "\0", "1"]), max_size=40
).map("".join)
_json_texts = st.lists(
    st.sampled_from(
        [
            '{"a":1}',
            '{"ä":{"b":[1,{"c":"}"}]}}',
            ",",
            ",",
            "\n",
            " ",
            "\r\n",
            "{",
            "}",
            "[",
            "]",
            '"',
            "3",
            "x",
            "😀",
        ]
    ),
    max_size=30,
).map("".join)
_encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


@given(text=_csv_texts, encoding=_encodings, block_bytes=st.integers(2, 30))
@settings(max_examples=300, deadline=None)
def test_a_csv_file_cut_behind_every_record(text: str, encoding: str, block_bytes: int) -> None:
    _cut_everywhere(f"x,y\n{text}".encode(encoding), csv=True, block_bytes=block_bytes)


@given(
    text=_json_texts,
    opening=st.sampled_from(["[", "", '{"first":1}\n']),
    encoding=_encodings,
    block_bytes=st.integers(2, 30),
)
@settings(max_examples=300, deadline=None)
def test_a_json_file_cut_behind_every_record(
    text: str, opening: str, encoding: str, block_bytes: int
) -> None:
    _cut_everywhere(
        f"{opening}{text}{']' if opening == '[' else ''}".encode(encoding), csv=False, block_bytes=block_bytes
    )


@pytest.mark.parametrize("block_bytes", [3, 7, 64])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_csv_records_are_the_same_whatever_the_blocks(block_bytes: int, encoding: str, line_end: str) -> None:
    rows = ["x,y", "1,ä", '"q,""😀""",2', "", f'"a{line_end}b",c', "5", "6,7"]
    content = line_end.join(rows).encode(encoding)
    layout = look(_of(content), len(content), csv=True, header_row=True)
    found, _ = _all(content, layout, layout.start, block_bytes)
    assert [record.value for record in found] == [
        {"x": "1", "y": "ä"},
        {"x": 'q,"😀"', "y": "2"},
        {"x": f"a{line_end}b", "y": "c"},
        None,
        {"x": "6", "y": "7"},
    ]
    assert [record.line for record in found] == [2, 3, 5, 7, 8]
    assert found[-1].end.offset == len(content)


@pytest.mark.parametrize("block_bytes", [3, 7, 64])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("form", ["array", "pretty array", "lines", "pretty lines"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_json_records_are_the_same_whatever_the_blocks(
    block_bytes: int, encoding: str, form: str, line_end: str
) -> None:
    values = [{"a": 1}, {"ä😀": ['}{]["\\', {"b": {"c": {"d": {"e": [[], {}]}}}}]}, {"n": 2**70, "f": 1.5}]
    indent = 2 if "pretty" in form else None
    if "array" in form:
        text = json.dumps(values, indent=indent, ensure_ascii=False)
    else:
        text = "\n".join(json.dumps(value, indent=indent, ensure_ascii=False) for value in values)
    text = text.replace("\n", line_end)
    content = text.encode(encoding)
    layout = look(_of(content), len(content), csv=False, header_row=False)
    found, broken = _all(content, layout, layout.start, block_bytes)
    assert (broken, [record.problem for record in found]) == ("", [None] * 3)
    assert [record.value for record in found] == values
    starts = [text.index(each) for each in ('"a"', '"ä😀"', '"n"')]
    inside = 1 if indent else 0  # the name stands on the line behind the bracket
    assert [each.line for each in found] == [1 + text[:start].count(line_end) - inside for start in starts]
