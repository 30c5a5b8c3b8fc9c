"""Malformed files of every kind. A bad record costs only itself, and its sentence says what to do."""

import gzip
import io
import zipfile
from typing import Any

import pytest

from shared import exact
from shared.jobs.reading import MAX_COLUMNS, Broken, Layout, Record, Unreadable, look, records, strict_json
from shared.jobs.reading.base import Problem


def _read(content: bytes, *, csv: bool, header_row: bool = True) -> tuple[Layout, list[Record], str]:
    def read(start: int, end: int) -> bytes:
        return content[start:end]

    layout = look(read, len(content), csv=csv, header_row=header_row)
    found: list[Record] = []
    try:
        found.extend(records(read, len(content), layout, layout.start))
    except Broken as broken:
        return layout, found, str(broken)
    return layout, found, ""


def _seen(found: list[Record]) -> list[Any]:
    """The value of each good record; the line, the field and the sentence of each bad one."""
    return [
        record.value
        if record.problem is None
        else (record.line, record.problem.field, record.problem.message)
        for record in found
    ]


def _matches(found: list[Record], expected: list[Any]) -> None:
    seen = _seen(found)
    assert len(seen) == len(expected), seen
    for saw, wanted in zip(seen, expected, strict=True):
        if isinstance(wanted, tuple):
            assert saw[:2] == wanted[:2], seen
            assert wanted[2] in saw[2], seen
        else:
            assert saw == wanted, seen


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    return file.getvalue()


MANY = ",".join(f"c{index}" for index in range(100_000)).encode()


@pytest.mark.parametrize("csv", [True, False])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\xff\xfe", "empty"),
        (b" \r\n\r\n", "empty"),
        (_zip(), "a zip archive or an Excel workbook: save it as"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "compressed with gzip"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
        (b"PAR1\x15\x04", "a Parquet file"),
        ('{"a":1}'.encode("utf-32"), "UTF-32"),
        ('{"a":1}'.encode("utf-32-le"), "UTF-32"),
        ('{"a":1}'.encode("utf-32-be"), "UTF-32"),
        (b"\x89PNG\r\n\x1a\n", "neither UTF-8 nor UTF-16: byte 1, on line 1, is 0x89"),
    ],
)
def test_a_file_that_cannot_be_read_in_any_form(content: bytes, says: str, csv: bool) -> None:
    with pytest.raises(Unreadable, match=says):
        _read(content, csv=csv)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n\na,stra\xdfe\n1,2\n", "neither UTF-8 nor UTF-16: byte 9, on line 3, is 0xDF. Save it as UTF-8"),
        (b"\xef\xbb\xbfa\xdf,b\n", "byte 5, on line 1"),
        (b"name\0,b\n1,2\n", "line 1 holds a NUL byte"),
        (b"a,b,a\n", "The columns 1 and 3 of the header, on line 1, are both named “a”"),
        (b"a,b, a \n", "are both named “a”"),
        (b"a,,c\n", "Column 2 has no name in the header, on line 1"),
        (b"a,b,\n", "Column 3 has no name"),
        (MANY + b"\n", f"100,000 columns, and at most {MAX_COLUMNS:,}"),
        (b'"a,b\n1,2\n', "A quote in the header, on line 1, is never closed"),
        (b'a"x,b\n1,2\n', "The quotes of the header, on line 1, do not match"),
        (b'[{"a":1}]', "contentType `application/json`"),
        (b'{"a":1}\n', "contentType `application/json`"),
        (b"waybill_error\nx\n", "The only column of the file is waybill_error"),
        (b'sep="\na,b\n', "`sep=;`"),
        (b"sep=;\n", "empty"),
    ],
)
def test_a_csv_file_that_cannot_be_read(content: bytes, says: str) -> None:
    with pytest.raises(Unreadable) as raised:
        _read(content, csv=True)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"id,name\n1,x\n",
            "it begins with “id,name” where `[` or `{` must stand. If it is CSV, send contentType",
        ),
        (b'"text"', "it begins with"),
        (b"3", "it begins with"),
        (b"null", "it begins with"),
        (b"]", "it begins with"),
        (b"\xe4", "neither UTF-8 nor UTF-16: byte 1"),
    ],
)
def test_a_json_file_that_cannot_be_read(content: bytes, says: str) -> None:
    with pytest.raises(Unreadable) as raised:
        _read(content, csv=False)
    assert says in str(raised.value)


GOOD = {"a": "8", "b": "9"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", []),
        ("1\n8,9", [(2, "", "The row has 1 field, and the header has 2 fields: add"), GOOD]),
        ("1,2,3\n8,9", [(2, "", "The row has 3 fields, and the header has 2 fields: remove"), GOOD]),
        ('"1,2\n8,9', [(2, "", "A quote that is opened in this line is never closed"), GOOD]),
        ('1,"2\n8,9\n8,9', [(2, "", "never closed"), GOOD, GOOD]),
        ('"1"x,2\n8,9', [(2, "", "The quotes of this line do not match"), GOOD]),
        ('1"x,2\n8,9', [(2, "", "The quotes of this line do not match"), GOOD]),
        ('"1" ,2\n8,9', [(2, "", "The quotes of this line do not match"), GOOD]),
        ("1,x\0\n8,9", [(2, "b", "NUL"), GOOD]),
        ('"a\nb\0",x\n8,9', [(2, "a", "NUL"), GOOD]),
        ("\n\n8,9\n   \n8,9\n\n", [GOOD, GOOD]),
        ("8,9\r8,9\r", [GOOD, GOOD]),
        ("8,9\r\n8,9\r\n", [GOOD, GOOD]),
        ('"8","9"\n', [GOOD]),
        (",\n", [{"a": "", "b": ""}]),
        ('"",""\n', [{"a": "", "b": ""}]),
        ('"""","x,""\n"', [{"a": '"', "b": 'x,"\n'}]),
        (" 8 ,9", [{"a": " 8 ", "b": "9"}]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_rows(rows: str, expected: list[Any], encoding: str) -> None:
    _, found, broken = _read(f"a,b\n{rows}".encode(encoding), csv=True)
    _matches(found, expected)
    assert not broken


def test_a_header_alone_has_no_records() -> None:
    for content in (b"a,b", b"a,b\r\n", b"a,b\r"):
        layout, found, _ = _read(content, csv=True)
        assert (layout.columns, found) == (("a", "b"), [])


def test_bytes_in_a_row_that_are_not_utf8_cost_that_row() -> None:
    _, found, _ = _read(b'a,b\n1,stra\xdfe\n"\xdf",1\n8,9\n', csv=True)
    _matches(
        found,
        [(2, "b", "Byte 7 of the record (0xDF) is not UTF-8"), (3, "", "Byte 2 of the record (0xDF)"), GOOD],
    )
    assert found[0].raw == b"1,stra\xdfe"


def test_half_a_character_in_utf16_costs_that_row() -> None:
    content = "a,b\n1,".encode("utf-16-le") + b"\x00\xd8" + "\n8,9\n".encode("utf-16-le")
    _, found, _ = _read(content, csv=True)
    _matches(found, [(2, "b", "not valid UTF-16"), GOOD])
    assert found[-1].end.offset == len(content)


def test_utf16_with_half_a_unit_at_the_end_costs_that_row() -> None:
    content = "a,b\n8,9\n1,2".encode("utf-16") + b"\x41"
    _, found, _ = _read(content, csv=True)
    _matches(found, [GOOD, (3, "b", "not valid UTF-16")])
    assert found[-1].end.offset == len(content)


@pytest.mark.slow
def test_fields_of_four_megabytes() -> None:
    long = "x" * 4_000_000
    quoted = 'y"\n' * 1_200_000
    content = f'a,b\n{long},1\n"{quoted.replace(chr(34), chr(34) * 2)}",2\n8,9\n'.encode()
    _, found, _ = _read(content, csv=True)
    assert [record.problem for record in found] == [None] * 3
    assert [record.value for record in found] == [{"a": long, "b": "1"}, {"a": quoted, "b": "2"}, GOOD]


@pytest.mark.parametrize(
    ("content", "delimiter", "columns", "says"),
    [
        (b"a;b\n1,5;2\n", ";", ("a", "b"), "`;` between fields"),
        (b"a\tb\n1\t2\n", "\t", ("a", "b"), "a tab between fields"),
        (b"a,b;c\n1,2\n3,4\n", ",", ("a", "b;c"), "`,` between fields"),
        (b'"a;x","b;y","c;z"\n1,2,3\n', ",", ("a;x", "b;y", "c;z"), "`,` between fields"),
        (b"a,b;c\n", ",", ("a", "b;c"), "`,` between fields"),
        (b"a\n1\n2,5\n", ",", ("a",), "a single column and a header row"),
        (b"sep=|\r\na|b\r\n1|2\r\n", "|", ("a", "b"), "as its first line says"),
        (b"sep=;\na,b\n1,5\n", ";", ("a,b",), "as its first line says"),
    ],
)
def test_the_delimiter_is_found_out(
    content: bytes, delimiter: str, columns: tuple[str, ...], says: str
) -> None:
    layout, _, _ = _read(content, csv=True)
    assert (layout.delimiter, layout.columns) == (delimiter, columns)
    assert says in layout.says


def test_a_file_without_a_header_row_has_numbered_columns() -> None:
    _, found, _ = _read(b"1,5;2,5;3\n1;2;3\n1;2\n", csv=True, header_row=False)
    _matches(
        found,
        [
            {"column1": "1,5", "column2": "2,5", "column3": "3"},
            {"column1": "1", "column2": "2", "column3": "3"},
            (3, "", "The row has 2 fields, and the first row has 3 fields"),
        ],
    )


DEEP = '{"a":' * 101 + "1" + "}" * 101
AT_DEPTH = '{"a":' * 100 + "1" + "}" * 100
VERY_DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"

OBJECTS: list[tuple[str, str, str]] = [
    ('{"a":1,}', "", "A comma stands before “}”"),
    ('{"a":[1,]}', "", "A comma stands before “]”"),
    ("{'a':1}", "", "single quote"),
    ("{a:1}", "", "not valid JSON at line 2, column 2"),
    ('{"a" 1}', "", "not valid JSON"),
    ('{"a":1 "b":2}', "", "not valid JSON"),
    ('{"a":01}', "", "not valid JSON"),
    ('{"a":.5}', "", "not valid JSON"),
    ('{"a":+5}', "", "not valid JSON"),
    ('{"a":undefined}', "", "not valid JSON"),
    ('{"a":"\\x"}', "", "not valid JSON"),
    ('{"a":"\t"}', "", "control character"),
    ('{"a":[1}', "", "not valid JSON"),
    ('{"a":1,"a":1}', "a", "stands twice"),
    ('{"a":1,"\\u0061":1}', "a", "stands twice"),
    ('{"a" :1,"a" :1}', "a", "stands twice"),
    ('{"x":{"a":1,"b":2,"a":3}}', "x.a", "stands twice"),
    ('{"x":[{"a":":"},{"b":1,"b":":"}]}', "x[1].b", "stands twice"),
    ('{"a":NaN}', "a", "NaN is not JSON"),
    ('{"a":[1,{"b":-Infinity}]}', "a[1].b", "-Infinity is not JSON"),
    ('{"a":1e400}', "a", "beyond the range of a double"),
    ('{"a":-1E400}', "a", "beyond the range of a double"),
    ('{"a":"\\ud800"}', "a", "surrogate"),
    ('{"a":{"\\udc00":1}}', "a.\ufffd", "surrogate"),
    ('{"a":"x\\u0000"}', "a", "NUL"),
    ('{"\\u0000":1}', "\0", "NUL"),
    ('{"a":' + "9" * 4301 + "}", "a", "more than 4,300 digits"),
    (DEEP, "", "More than 100 objects and arrays"),
    (VERY_DEEP, "", "More than 100 objects and arrays"),
    ('{"waybill_record":"x","waybill_error":"y"}', "waybill_record", "put the corrected object in its place"),
    ("3", "", "a number, not an object"),
    ("true", "", "true, not an object"),
    ("null", "", "null, not an object"),
    ('"text, }"', "", "a text, not an object"),
    ("[1,{}]", "", "an array, not an object"),
]


@pytest.mark.parametrize(("text", "field", "says"), OBJECTS, ids=[each[0][:40] for each in OBJECTS])
@pytest.mark.parametrize("form", ["array", "lines"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_bad_record_costs_only_itself(text: str, field: str, says: str, form: str, encoding: str) -> None:
    first, last = '{"first":1}', '{"last":1}'
    whole = f"[{first},\n{text},\n{last}]" if form == "array" else f"{first}\n{text}\n{last}\n"
    _, found, broken = _read(whole.encode(encoding), csv=False)
    _matches(found, [{"first": 1}, (2, field, says), {"last": 1}])
    assert found[1].raw == text.encode()
    assert not broken


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":9007199254740993}', {"a": 2**53 + 1}),
        ('{"a":18446744073709551616}', {"a": 2**64}),
        ('{"a":-9223372036854775809}', {"a": -(2**63) - 1}),
        ('{"a":' + "9" * 4300 + "}", {"a": 10**4300 - 1}),
        ('{"a":-0}', {"a": 0}),
        ('{"a":1.7976931348623157e308}', {"a": 1.7976931348623157e308}),
        ('{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
        ('{"a":"\\":","b":":"}', {"a": '":', "b": ":"}),
        ('{"":1}', {"": 1}),
        ("{}", {}),
        ('{ "a" : [ ] }', {"a": []}),
        ('{"waybill_error":"x","a":1}', {"a": 1}),
    ],
)
@pytest.mark.parametrize("form", ["array", "lines", "object"])
def test_what_is_allowed_is_kept_exactly(text: str, value: dict[str, Any], form: str) -> None:
    content = {"array": f"[{text}]", "lines": f"{text}\n{text}", "object": f"\n{text}\n"}[form]
    layout, found, _ = _read(content.encode(), csv=False)
    assert layout.form == f"json_{form}"
    assert [record.value for record in found] == [value] * (2 if form == "lines" else 1)
    assert [type(each) for each in (found[0].value or {}).values()] == [type(each) for each in value.values()]


def test_the_deepest_record() -> None:
    for text in (AT_DEPTH, AT_DEPTH.replace("1", '"{["')):  # the quick way, and the strict one
        _, found, _ = _read(f"[{text}]".encode(), csv=False)
        assert found[0].problem is None


@pytest.mark.parametrize(
    ("content", "expected", "broken"),
    [
        ('[{"a":1},]', [{"a": 1}, (1, "", "behind the last element")], ""),
        ('[{"a":1},\n]', [{"a": 1}, (1, "", "behind the last element")], ""),
        ('[{"a":1},,{"b":2}]', [{"a": 1}, (1, "", "missing before a comma"), {"b": 2}], ""),
        ('[,{"a":1}]', [(1, "", "missing before a comma"), {"a": 1}], ""),
        ("[]", [], ""),
        (" [ \n ] \n", [], ""),
        ('[{"a":1}\n{"b":2}]', [(1, "", "No comma stands between"), {"b": 2}], ""),
        ('[{"a":1},{"b":2}', [{"a": 1}, {"b": 2}], "The array is never closed"),
        ('[{"a":1},', [{"a": 1}], "The array is never closed"),
        ("[", [], "never closed"),
        ('[{"a":1},\n{"b":', [{"a": 1}, (2, "", "begins on line 2 is never closed")], "never closed"),
        ('[{"a":1},\n{"b":"x},{"c":1}]', [{"a": 1}, (2, "", "never closed")], "never closed"),
        ('[{"a":1},\n}, {"b":1}]', [{"a": 1}, (2, "", "Line 2 of the array holds something")], "Line 2 of"),
        ('[{"a":1}]\n{"b":1}', [{"a": 1}, (2, "", "behind the end of the array")], "behind the end"),
        ('[{"a":1}]]', [{"a": 1}, (1, "", "behind the end of the array")], "behind the end"),
        ('[{"a":"x\ny"},{"b":1}]', [(1, "", "line break or another control character"), {"b": 1}], ""),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_arrays(content: str, expected: list[Any], broken: str, encoding: str) -> None:
    _, found, said = _read(content.encode(encoding), csv=False)
    _matches(found, expected)
    assert broken in said
    assert bool(broken) == bool(said)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a":1}\n\n\r\n{"b":2}\r\n', [{"a": 1}, {"b": 2}]),
        ('{"a":1}\r{"b":2}\r', [{"a": 1}, {"b": 2}]),
        ('{"a":1}{"b":2} {"c":3}', [{"a": 1}, {"b": 2}, {"c": 3}]),
        ('{"a":1}\ngarbage\n{"b":2}', [{"a": 1}, (2, "", "not valid JSON at line 2, column 1"), {"b": 2}]),
        ('{"a":1}\n{"b":{"c":2}\n{"d":3}', [{"a": 1}, (2, "", "ends too early"), {"d": 3}]),
        ('{"a":1}\n{"b":"x}\n{"d":3}', [{"a": 1}, (2, "", ""), {"d": 3}]),
        ('{"a":1} x\n{"b":2}', [(1, "", "Something stands behind the object"), {"b": 2}]),
        ('{"a":1},\n{"b":2}', [(1, "", "Something stands behind the object"), {"b": 2}]),
        ('{"a":\n{"b":2}\n{"c":3}', [(1, "", "ends too early"), {"b": 2}, {"c": 3}]),
        ('{"a":1}\n{"b":2', [{"a": 1}, (2, "", "")]),
        (
            '{\n "a":1\n}\n{\n "b":2,\n}\n{\n "c":3\n}',
            [{"a": 1}, (4, "", "A comma stands before “}” at line 6"), {"c": 3}],
        ),
        ('{\n "a":1\n}{\n "b":{\n}\n{\n "c":3\n}', [{"a": 1}, (3, "", "ends too early"), {"c": 3}]),
        ('{\n "a":1\n}\nx\n{\n "c":3\n}', [{"a": 1}, (4, "", "not valid JSON"), {"c": 3}]),
        (
            '{\n"a":1\n}\n{\n"b":\n{"c":[\n{"d":{"e":{"f":1}}},\n{}\n]}}\n{}',
            [{"a": 1}, {"b": {"c": [{"d": {"e": {"f": 1}}}, {}]}}, {}],
        ),
        ('{\n "a":1', [(1, "", "")]),
        ('{"a":1', [(1, "", "")]),
        ('{"a":1,"a":2}', [(1, "a", "stands twice")]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_objects_one_after_another(content: str, expected: list[Any], encoding: str) -> None:
    _, found, broken = _read(content.encode(encoding), csv=False)
    _matches(found, expected)
    assert not broken


def test_bytes_in_a_json_record_that_are_not_utf8_cost_that_record() -> None:
    for content in (b'[{"a":1},{"b":"\xe4"},{"c":3}]', b'{"a":1}\n{"b":"\xe4"}\n{"c":3}'):
        _, found, _ = _read(content, csv=False)
        seen = _seen(found)
        assert (seen[0], seen[2]) == ({"a": 1}, {"c": 3})
        assert "Byte 7 of the record (0xE4) is not UTF-8" in seen[1][2]


def test_a_record_of_too_many_values_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "MAX_CONTAINERS", 200)
    many = b'{"a": [' + b"[]," * 199 + b"[]]}"
    found, problem = strict_json.parse(many, "utf-8", 1)
    assert (found, problem) == (
        None,
        Problem("", "The record has more than 200 lists and objects: send less at once."),
    )
    fewer = b'{"a": [' + b"[]," * 197 + b"[]]}"
    assert strict_json.parse(fewer, "utf-8", 1) == ({"a": [[]] * 198}, None)
