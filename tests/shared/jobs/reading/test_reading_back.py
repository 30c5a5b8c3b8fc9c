"""The rejected file can be fixed and sent again; the rest of a file is a file of the same form."""

import contextlib
import json

import pytest

from shared.jobs.reading import Broken, Layout, Record, look, records, rest, write_back


def _read(content: bytes, *, csv: bool, header_row: bool = True) -> tuple[Layout, list[Record]]:
    def read(start: int, end: int) -> bytes:
        return content[start:end]

    layout = look(read, len(content), csv=csv, header_row=header_row)
    found: list[Record] = []
    with contextlib.suppress(Broken):
        found.extend(records(read, len(content), layout, layout.start))
    return layout, found


def _rejected(content: bytes, *, csv: bool, header_row: bool = True) -> bytes:
    layout, found = _read(content, csv=csv, header_row=header_row)
    return b"".join(write_back(layout, [(each.raw, "No.", each.line) for each in found]))


@pytest.mark.parametrize(
    ("content", "written"),
    [
        (b"a;b\n1;2\n3\n", b'a;b;waybill_error\r\n1;2;"Line 2: No."\r\n3;"Line 3: No."\r\n'),
        (b'a,b\n"x\n""y",2', b'a,b,waybill_error\r\n"x\n""y",2,"Line 2: No."\r\n'),
        (b'a,b\n"x,2\n', b'a,b,waybill_error\r\n"x,2,"Line 2: No."\r\n'),
        (b'a,waybill_error,b\n"1,5",old,2\n', b'a,b,waybill_error\r\n"1,5",2,"Line 2: No."\r\n'),
        ("ä,b\n1,2".encode("utf-16"), 'ä,b,waybill_error\r\n1,2,"Line 2: No."\r\n'.encode()),
    ],
)
def test_rejected_rows(content: bytes, written: bytes) -> None:
    assert _rejected(content, csv=True) == written


def test_a_reason_that_quotes_a_formula_runs_in_no_spreadsheet() -> None:
    content = b"a,b\n1;=2,x\n"
    layout, found = _read(content, csv=True)
    (each,) = found
    written = b"".join(write_back(layout, [(each.raw, "`1;=2|-3` is no number.", each.line)]))
    assert written == b"a,b,waybill_error\r\n1;=2,x,\"Line 2: `1;'=2|'-3` is no number.\"\r\n", (
        "the record as it came"
    )
    _, again = _read(written, csv=True)
    assert [each.value for each in again] == [{"a": "1;=2", "b": "x"}]


def test_rejected_rows_without_a_header() -> None:
    written = _rejected(b"1,2\n3,4\n", csv=True, header_row=False)
    assert written == b'1,2,"waybill_error: Line 1: No."\r\n3,4,"waybill_error: Line 2: No."\r\n'
    _, again = _read(written, csv=True, header_row=False)
    assert [each.value for each in again] == [
        {"column1": "1", "column2": "2"},
        {"column1": "3", "column2": "4"},
    ]


def test_rejected_rows_are_read_again_without_the_reason() -> None:
    content = b'a,b,c\n1,"x,\r\n""y""",3\n4,5,6\n'
    _, first = _read(content, csv=True)
    _, again = _read(_rejected(content, csv=True), csv=True)
    assert [each.value for each in again] == [each.value for each in first]


def test_rejected_rows_rejected_again_have_one_reason() -> None:
    once = _rejected(b'a,b\n1,"x,y"\n', csv=True)
    assert _rejected(once, csv=True) == once


@pytest.mark.parametrize(
    ("content", "written"),
    [
        (
            b'[{"a": 1.50}, {}]',
            b'[\n{"a": 1.50,"waybill_error":"Line 1: No."},\n{"waybill_error":"Line 1: No."}\n]\n',
        ),
        (
            b'{"a":1}\n{"b":2}',
            b'{"a":1,"waybill_error":"Line 1: No."}\n{"b":2,"waybill_error":"Line 2: No."}\n',
        ),
        (b"[3]", b'[\n{"waybill_record":"3","waybill_error":"Line 1: No."}\n]\n'),
        (b'[{"a":1,}]', b'[\n{"waybill_record":"{\\"a\\":1,}","waybill_error":"Line 1: No."}\n]\n'),
        (b'[{"a":NaN}]', b'[\n{"waybill_record":"{\\"a\\":NaN}","waybill_error":"Line 1: No."}\n]\n'),
        (
            b'[{"a":1e400,"n":123456789012345678901}]',
            b'[\n{"a":1e400,"n":123456789012345678901,"waybill_error":"Line 1: No."}\n]\n',
        ),
        (
            b'[{"waybill_error":"old","n":123456789012345678901,"f":1.5}]',
            b'[\n{"n":123456789012345678901,"f":1.5,"waybill_error":"Line 1: No."}\n]\n',
        ),
        (b'[{"f":1e400 , "waybill_error" : "o\\"ld"}]', b'[\n{"f":1e400,"waybill_error":"Line 1: No."}\n]\n'),
        (
            b'[{"waybill_error":"old","f":1e400}]',
            b'[\n{"waybill_record":"{\\"waybill_error\\":\\"old\\",\\"f\\":1e400}",'
            b'"waybill_error":"Line 1: No."}\n]\n',
        ),
        (b"[]", b"[]\n"),
    ],
)
def test_rejected_objects(content: bytes, written: bytes) -> None:
    assert _rejected(content, csv=False) == written


def test_a_pretty_printed_object_is_written_back_on_one_line() -> None:
    written = _rejected(b'{\n "a": 1\n}\n{\n "b": "x\\ny"\n}\n', csv=False)
    assert [json.loads(line) for line in written.splitlines()] == [
        {"a": 1, "waybill_error": "Line 1: No."},
        {"b": "x\ny", "waybill_error": "Line 4: No."},
    ]


def test_rejected_objects_are_read_again_without_the_reason() -> None:
    content = b'[{"a": 1, "b": {"waybill_error": 2}}, {"n": 18446744073709551616}]'
    _, first = _read(content, csv=False)
    _, again = _read(_rejected(content, csv=False), csv=False)
    assert [each.value for each in again] == [each.value for each in first]


def test_what_was_no_object_is_not_imported_as_it_was_written_back() -> None:
    _, again = _read(_rejected(b'[{"a":1,}, 3]', csv=False), csv=False)
    assert [each.problem and each.problem.field for each in again] == ["waybill_record", "waybill_record"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize(
    ("text", "csv", "header_row"),
    [
        ("a,b\r\n1,2\r\n\r\n3\r\n5,6\r\n", True, True),
        ("1,2\n3,4\n", True, False),
        ('sep=;\na;b\n"1\n";2\n3;4', True, True),
        ('[{"a":1}, {"b":2},,\n3 , {"c":3},\n]', False, False),
        ('[{"a":1}, {"b":2}]', False, False),
        ('{"a":1}\n{"b":2}{"c":3}\n', False, False),
        ('{\n"a":1}\n{\n"b":2}\n', False, False),
    ],
)
def test_the_rest_of_a_file_has_the_records_that_follow(
    text: str, encoding: str, csv: bool, header_row: bool
) -> None:
    content = text.encode(encoding)
    layout, found = _read(content, csv=csv, header_row=header_row)
    assert len(found) > 1
    for index, record in enumerate(found):
        left = b"".join(rest(layout, lambda start, end: content[start:end], len(content), record.end))
        if index + 1 == len(found) and layout.form != "json_array" and not layout.header:
            continue  # an empty file
        rest_layout, following = _read(left, csv=csv, header_row=header_row)
        assert (rest_layout.form, rest_layout.delimiter) == (layout.form, layout.delimiter) or (
            layout.form,
            rest_layout.form,
        ) == ("json_lines", "json_object")
        # A comma that is too much stays behind with what stands before it.
        assert [each.raw for each in following if each.raw != b","] == [
            each.raw for each in found[index + 1 :] if each.raw != b","
        ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_rest_of_json_lines_begins_with_a_record(end: str, encoding: str) -> None:
    content = end.join(['{"a":1}', '{"b":2}', ""]).encode(encoding)
    layout, found = _read(content, csv=False)
    left = b"".join(rest(layout, lambda start, end: content[start:end], len(content), found[0].end))
    assert left.decode(encoding) == '{"b":2}' + end


@pytest.mark.parametrize("content", [b'[{"a":1},]', b'[{"a":1}]', b'[{"a":1}', b'[{"a":1},'])
def test_the_rest_behind_the_last_element_is_an_empty_array(content: bytes) -> None:
    layout, found = _read(content, csv=False)
    left = b"".join(rest(layout, lambda start, end: content[start:end], len(content), found[0].end))
    assert left == b"[]"
