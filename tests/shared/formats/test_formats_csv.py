"""CSV, byte for byte: cells, dates, and the guard against formulas."""

import csv
import gzip
import io
import re
from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.formats import FORMATS
from shared.formats.base import Column, ColumnType, DateFormat, Style
from shared.formats.csv import row, unguarded

CSV = FORMATS["csv"]
NOW = "2023-02-23T08:52:30.110425Z"


def cell(value: Any, type: ColumnType, style: Style | None = None) -> str:
    """The bytes of a cell, as text; another column stands behind it."""
    out: list[bytes] = []
    records = CSV.records([Column("a", type), Column("b", "integer")], style or Style(), out.append)
    records.write(orjson.dumps({"b": 7, "a": value}) + b"\n")
    records.close()
    content = b"".join(out)
    assert content.endswith(b",7\r\n"), content
    return content[:-4].decode()


@pytest.mark.parametrize(
    ("type", "value", "shown"),
    [
        ("text", "plain", "plain"),
        ("text", "a b", "a b"),
        ("text", "", '""'),
        ("text", None, ""),
        ("text", "a,b", '"a,b"'),
        ("text", 'a"b', '"a""b"'),
        ("text", "a\rb", '"a\rb"'),
        ("text", "a\nb", '"a\nb"'),
        ("text", "Zoë 👩🏽‍🔧", "Zoë 👩🏽‍🔧"),
        # a spreadsheet would run these
        ("text", "=1+1", "'=1+1"),
        ("text", "+1", "'+1"),
        ("text", "-1", "'-1"),
        ("text", "@A1", "'@A1"),
        ("text", " =1", "' =1"),
        ("text", "\t=1", "'\t'=1"),
        ("text", "\r=1", "\"'\r'=1\""),
        ("text", "\n=1", "\"'\n'=1\""),
        # nor does one of another locale, which begins a cell behind a separator or a line break
        ("text", "a;=1+1", "'a;'=1+1"),
        ("text", "a|+1", "'a|'+1"),
        ("text", "a\t-1", "'a\t'-1"),
        ("text", "a\n@A1", "\"'a\n'@A1\""),
        ("text", "a\r\n=1", "\"'a\r\n'=1\""),
        ("text", "a; =1", "'a; '=1"),
        ("text", "a;＝1;＋1;－1;＠1", "'a;'＝1;'＋1;'－1;'＠1"),
        ("text", 'a;"=1', '"\'a;""\'=1"'),
        ("text", "a;\0=1", "'a;'\0=1"),
        ("text", "a;=1;'b", "'a;'=1;''b"),
        ("text", "'a;'b", "''a;''b"),
        ("text", "a;'b", "a;'b"),
        ("text", "a;b|c\td", "a;b|c\td"),
        ("text", "a\n\nb", '"a\n\nb"'),
        ("text", "\0=1", "'\0=1"),
        ("text", "＝1", "'＝1"),
        ("text", "＋1", "'＋1"),
        ("text", "－1", "'－1"),
        ("text", "＠1", "'＠1"),
        ("text", '=A1&","', '"\'=A1&"","""'),
        ("text", "'", "''"),
        ("text", "'=1", "''=1"),
        ("text", "1-1=0", "1-1=0"),
        # numbers are none of that
        ("integer", -1, "-1"),
        ("integer", 0, "0"),
        ("number", -0.5, "-0.5"),
        ("number", 1e22, "1e+22"),
        ("number", 3, "3"),
        ("boolean", True, "true"),
        ("boolean", False, "false"),
        ("json", None, ""),
        ("json", {"a": [1, None, "b"]}, '"{""a"":[1,null,""b""]}"'),
        ("json", [], '"[]"'),
        ("json", "=1+1", '"""=1+1"""'),
        ("json", {"a": ";=1;b"}, '"{""a"":"";\\u003d1;b""}"'),
        ("json", ["a| -1", "b;＠"], '"[""a| \\u002d1"",""b;\\uff20""]"'),
        ("json", ["a;b", "=1"], '"[""a;b"",""=1""]"'),
        ("value", "a;=1+1", "'a;'=1+1"),
        ("code", "a;=1+1", "a;=1+1"),
        ("json", "", '""""""'),
        ("json", -5, "-5"),
        ("json", False, "false"),
        ("code", "+bq2Cg==", "+bq2Cg=="),
        ("code", "=/+-", "=/+-"),
        ("code", "", '""'),
        ("code", None, ""),
        ("code", 'a"b', '"a""b"'),
        ("value", "plain", "plain"),
        ("value", "5", "5"),
        ("value", "=1+1", "'=1+1"),
        ("value", "-1", "'-1"),
        ("value", "", '""'),
        ("value", None, ""),
        ("value", -1.5, "-1.5"),
        ("value", 18446744073709551615, "18446744073709551615"),
        ("value", True, "true"),
        # what a column does not say
        ("code", 5, "5"),
        ("value", [1, "a"], '"[1,""a""]"'),
        ("text", {"a": "é"}, '"{""a"":""é""}"'),
        ("number", [1, 2], '"[1,2]"'),
        ("integer", "=1", "'=1"),
        ("moment", "=1", "'=1"),
    ],
)
def test_a_cell_is(type: ColumnType, value: Any, shown: str) -> None:
    assert cell(value, type) == shown


PARIS, NEW_YORK = ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("dates", "zone", "value", "shown"),
    [
        ("iso8601", PARIS, NOW, NOW),
        ("day/month/year", ZoneInfo("UTC"), NOW, "23/02/2023 08:52:30"),
        ("day/month/year", PARIS, NOW, "23/02/2023 09:52:30"),
        ("month/day/year", ZoneInfo("UTC"), NOW, "02/23/2023 08:52:30"),
        ("month/day/year", NEW_YORK, "2023-01-01T03:00:00Z", "12/31/2022 22:00:00"),
        ("day/month/year", PARIS, "2023-02-23T08:52:30+05:00", "23/02/2023 04:52:30"),
        ("day/month/year", NEW_YORK, "0001-01-02T03:04:05.999999Z", "01/01/0001 22:08:03"),
        ("epoch", PARIS, NOW, "1677142350.110425"),
        ("epoch", PARIS, "2023-02-23T08:52:30.000000Z", "1677142350"),
        ("epoch", PARIS, "2023-02-23T08:52:30.5Z", "1677142350.500000"),
        ("epoch", PARIS, "2023-02-23T08:52:30.000001Z", "1677142350.000001"),
        ("epoch", PARIS, "1970-01-01T00:00:00Z", "0"),
        ("epoch", PARIS, "1969-12-31T23:59:59.5Z", "-0.500000"),
        ("epoch", PARIS, "1969-12-31T23:59:58.5Z", "-1.500000"),
        ("epoch", PARIS, "9999-12-31T23:59:59.999999Z", "253402300799.999999"),
        # no moments, and one that has no day in New York: as texts are
        *(
            (dates, NEW_YORK, value, shown)
            for dates in ("day/month/year", "month/day/year", "epoch")
            for value, shown in (
                (None, ""),
                ("", '""'),
                ("tomorrow", "tomorrow"),
                ("=1", "'=1"),
                ("2023-02-23T08:52:30", "2023-02-23T08:52:30"),
                ("2023-02-23", "2023-02-23"),
                ("2023-02-30T08:52:30Z", "2023-02-30T08:52:30Z"),
                (5, "5"),
            )
        ),
        ("day/month/year", NEW_YORK, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_a_moment_is_written_as_the_config_says(
    dates: str, zone: ZoneInfo, value: object, shown: str
) -> None:
    assert cell(value, "moment", Style(cast(DateFormat, dates), zone)) == shown


def test_only_moments_are_dated() -> None:
    assert cell(NOW, "text", Style("epoch")) == NOW
    assert cell(NOW, "json", Style("epoch")) == f'"""{NOW}"""'


def test_a_file_begins_with_the_header_and_with_a_byte_order_mark_where_one_is_wanted() -> None:
    columns = [Column("id", "text"), Column("a,b", "integer"), Column("name", "text")]
    assert CSV.prefix(columns, Style()) == b'id,"a,b",name\r\n'
    assert CSV.prefix(columns, Style(bom=True)) == b'\xef\xbb\xbfid,"a,b",name\r\n'
    zipped = FORMATS["csv.gz"].prefix(columns, Style(bom=True))
    assert gzip.decompress(zipped) == CSV.prefix(columns, Style(bom=True))
    assert (CSV.separator, CSV.suffix) == (b"", b"")


def test_a_row_of_one_null_is_not_an_empty_line() -> None:
    out: list[bytes] = []
    CSV.records([Column("id", "text")], Style(), out.append).write(b'{"id":null}\n{}\n{"id":"a"}\n')
    assert b"".join(out) == b'""\r\n""\r\na\r\n'


def test_a_row_can_be_made_alone() -> None:
    assert row(["a", None, 5, True, {"b": 1}, "=c", ""]) == b'a,,5,true,"{""b"":1}",\'=c,""\r\n'


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.text(
    "=+-@\t\r\n＝＋－＠'\0\",a;| ", max_size=8
)

FORMULAS = tuple("=+-@＝＋－＠\0")


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_a_reader_who_takes_the_guard_off_has_the_value_and_nothing_runs(texts: list[str]) -> None:
    (cells,) = csv.reader(io.StringIO(row(texts).decode(), newline=""), strict=True)
    assert [unguarded(each) for each in cells] == texts
    assert [each for each in cells if each[:1] in (*FORMULAS, "\t", "\r", "\n")] == []
    plain = [text for text in texts if not any(mark in text for mark in ";|\t\r\n")]
    assert [each.removeprefix("'") for each, text in zip(cells, texts, strict=True) if text in plain] == plain


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_nothing_runs_in_a_spreadsheet_that_separates_otherwise(separator: str, texts: list[str]) -> None:
    content = row(["Zoë", *texts, {"note": texts[-1], "notes": texts}]).decode()
    # Whether a reader takes quotes for quotes or for text, and a line break within them for the end of a row.
    rows = [line.split(separator) for line in re.split(r"[\r\n]", content)]
    rows += csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    begun = [cell.lstrip(' "') for cells in rows for cell in cells]
    assert [each for each in begun if each.startswith(FORMULAS)] == []


def test_escapes_in_json_are_the_same_value() -> None:
    value = {";=a": ["|-1", ";  +", '"; =', {"b": ";＝"}]}
    (cells,) = csv.reader(io.StringIO(row([value]).decode(), newline=""), strict=True)
    assert orjson.loads(cells[0]) == value
