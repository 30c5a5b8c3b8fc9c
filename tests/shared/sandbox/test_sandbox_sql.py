"""Queries as they run: parts, types, results, limits, and attacks that only show when they run."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from shared.formats.base import Column
from shared.sandbox import parts, sql
from shared.sandbox.errors import OverLimit, Refused
from shared.sandbox.parts import Part, PartWriter
from shared.sandbox.sql import QueryLimits

SMALL = QueryLimits(memory=512 * 1024**2, seconds=20, cpu_seconds=20)


def part(*records: Mapping[str, Any] | bytes) -> Part:
    lines = [r if isinstance(r, bytes) else orjson.dumps(r, option=orjson.OPT_NON_STR_KEYS) for r in records]
    return written([b"".join(line + b"\n" for line in lines)])


def written(blocks: Iterable[bytes]) -> Part:
    out: list[bytes] = []
    writer = PartWriter(out.append)
    for block in blocks:
        writer.write(block)
    return Part(writer.close(), lambda: iter(out))


def ask(
    text: str, tables: Mapping[str, Sequence[Part]] | None = None, limits: QueryLimits = SMALL
) -> tuple[list[Column], list[bytes]]:
    with sql.query(text, tables or {}, limits) as result:
        return list(result.columns), b"".join(result.blocks).splitlines()


def rows(text: str, tables: Mapping[str, Sequence[Part]] | None = None) -> list[Any]:
    return [json.loads(line) for line in ask(text, tables)[1]]


def test_a_join_of_two_tables_in_any_case() -> None:
    tables = {
        "Technician": [part({"id": 1, "name": "Ada"}), part({"id": 2, "name": "Zoë"})],
        "acme_entity_WorkOrder": [part({"technician": 2, "n": 7})],
    }
    found = ask(
        'select T.NAME, w.n from technician t join "ACME_entity_workorder" w on w.technician = t.id', tables
    )
    assert found == ([Column("name", "text"), Column("n", "integer")], ['{"name":"Zoë","n":7}'.encode()])


def test_check_names_the_tables_as_they_are_written() -> None:
    assert sql.check("select * from Account a, acme_entity_Site, account") == (
        "Account",
        "acme_entity_Site",
        "account",
    )


@pytest.mark.parametrize("run", [sql.check, ask])
def test_what_is_not_allowed_is_refused_before_anything_runs(run: Any) -> None:
    with pytest.raises(Refused, match="The function getenv is not allowed"):
        run("select getenv('HOME')")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("select * from other", "There is no table other"),
        ("select * from duckdb_settings", "There is no table duckdb_settings"),
        ("select * from sqlite_master", "There is no table sqlite_master"),
        ("select * from pragma_database_list", "There is no table pragma_database_list"),
        ("select * from '/etc/passwd'", "There is no table /etc/passwd"),
        ("select * from 'https://example.com/x.parquet'", "There is no table https"),
        ("select * from warm", "There is no table warm"),
        ("select nosuch from t", 'The query failed: Binder Error: Referenced column "nosuch" not found'),
        ("select a + 'x' from t", "The query failed: Conversion Error"),
        ("select sum(t) from t", "The query failed: Binder Error"),
        ("select 'x' || chr(-1)", "The query failed"),
        ("select (1, 2)", "has the type TUPLE(INTEGER, INTEGER). Cast it to VARCHAR"),
        ("select " + ", ".join(f"1 as c{n}" for n in range(1_001)), "The result has 1,001 columns"),
        ("select " + "1," * 40_000 + "1", "The query has 80,008 bytes; at most 65,536 are allowed"),
        (
            "select repeat(repeat('x', 100000), 100000)",
            "The query failed: Out of Range Error: Cannot create a string",
        ),
        ("select '\ud800'", "surrogate"),
    ],
    ids=lambda value: value[:40].replace("\ud800", "?"),
)
def test_a_query_that_is_wrong_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        ask(text, {"t": [part({"a": 1})]})
    assert sentence in str(refused.value)
    assert str(refused.value).endswith(".")


ROWS_1000 = part(*({"n": n} for n in range(1_000)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "select count(*) from t a, t b, t c, t d",
        "select sum(a.n * b.n * c.n) from t a join t b on a.n <> b.n join t c on c.n <> b.n, t d",
        "select sum(list_sum(list_transform(l, lambda x: x * a.n + b.n * c.n))) "
        "from (select list(n) l from t), t a, t b, t c",
        "select max(md5(repeat('x', 1000) || a.n || b.n || c.n)) from t a, t b, t c",
        "select levenshtein(repeat('ab', 200000), repeat('ba', 200000))",
    ],
)
def test_a_query_without_end_is_stopped_at_its_time(text: str) -> None:
    limits = QueryLimits(memory=SMALL.memory, seconds=0.7, cpu_seconds=5)
    with pytest.raises(OverLimit, match=r"The query took longer than 0\.7 seconds and was stopped\. Filter"):
        ask(text, {"t": [ROWS_1000]}, limits)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "select length(repeat('x', 1000000000))",
        "select repeat(repeat('x', 10000), 100000)",
        "select list(a.n || repeat('x', 1000)) from t a, t b",
        "select string_agg(repeat('x', 1000), '') from t a, t b",
        "select a.n, b.n, repeat('x', 1000) x from t a, t b order by x, a.n",
        "select count(distinct repeat('x', 1000) || a.n || '-' || b.n) from t a, t b",
        "select printf('%1000000000d', 1)",
    ],
)
def test_a_query_that_needs_too_much_memory_is_over_its_limit(text: str) -> None:
    with pytest.raises(OverLimit, match=r"The query needs more than 0\.5 GiB of memory and was stopped\."):
        ask(text, {"t": [ROWS_1000]})


def test_a_regular_expression_takes_linear_time() -> None:
    found = rows("select regexp_matches(repeat('a', 100000) || 'b', '^(a+)+$') x")
    assert found == [{"x": False}]


def test_a_result_of_too_many_rows_is_over_its_limit() -> None:
    limits = QueryLimits(memory=SMALL.memory, seconds=20, cpu_seconds=20, rows=5_000)
    with pytest.raises(OverLimit, match=r"The result has more than 5,000 rows\. Filter"):
        ask("select a.n from t a, t b", {"t": [ROWS_1000]}, limits)
    assert len(ask("select a.n from t a, t b limit 5000", {"t": [ROWS_1000]}, limits)[1]) == 5_000


def test_a_result_of_too_many_bytes_is_over_its_limit() -> None:
    limits = QueryLimits(memory=SMALL.memory, seconds=20, cpu_seconds=20, bytes=100_000)
    with pytest.raises(OverLimit, match=r"The result has more than 100,000 bytes\. Filter"):
        ask("select repeat('x', 1000) x from t", {"t": [ROWS_1000]}, limits)


@pytest.mark.slow
def test_one_row_of_too_many_bytes_is_over_its_limit() -> None:
    with pytest.raises(OverLimit, match="a row of more than"):
        ask("select repeat('x', 70000000) x", limits=QueryLimits(seconds=20))


def test_too_many_records_are_over_the_limit_before_any_is_read() -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError

    limits = QueryLimits(items=1_500)
    given = [Part({"rows": 1_000, "columns": {"a": "integer"}}, never)] * 2
    with pytest.raises(
        OverLimit, match=r"reads 2,000 records; at most 1,500 are allowed\. Export with filters"
    ):
        ask("select * from t", {"t": given}, limits)


def test_blocks_are_whole_lines_of_bounded_size() -> None:
    with sql.query("select a.n, repeat('x', 20000) x from t a", {"t": [ROWS_1000]}, SMALL) as result:
        blocks = list(result.blocks)
    assert len(blocks) > 3
    assert all(block.endswith(b"\n") and len(block) < 5_000_000 for block in blocks)
    assert sum(block.count(b"\n") for block in blocks) == 1_000


def test_the_order_of_the_query_is_kept() -> None:
    found = rows("select n from t order by n % 10, n desc", {"t": [ROWS_1000]})
    assert [row["n"] for row in found] == sorted(range(1_000), key=lambda n: (n % 10, -n))


VALUES = [
    ("true", "boolean", "true"),
    ("9007199254740993", "integer", "9007199254740993"),
    (
        "170141183460469231731687303715884105727::hugeint",
        "integer",
        "170141183460469231731687303715884105727",
    ),
    ("sum(9223372036854775807) over ()", "integer", "9223372036854775807"),
    ("1.10::decimal(20, 2)", "number", "1.10"),
    ("12345678901234567890.123456789::decimal(38, 9)", "number", "12345678901234567890.123456789"),
    ("12345678901234567890::decimal(38, 0)", "integer", "12345678901234567890"),
    ("0.1::double", "number", "0.1"),
    ("0.1::float", "number", "0.1"),
    ("'nan'::double", "number", "null"),
    ("'-inf'::float", "number", "null"),
    ("1e300 * 10", "number", "1e301"),
    ("null", "text", "null"),
    ("date '2026-11-29'", "text", '"2026-11-29"'),
    ("time '08:00:00'", "text", '"08:00:00"'),
    ("timestamp '2026-11-29 08:00:00.5'", "moment", '"2026-11-29T08:00:00.500000Z"'),
    ("timestamptz '2026-11-29 08:00:00+02'", "moment", '"2026-11-29T06:00:00.000000Z"'),
    ("'infinity'::timestamp", "moment", "null"),
    ("interval 1 day", "text", '"1 day"'),
    (
        "'{\"a\": [1, 2.50, 12345678901234567890123]}'::json",
        "json",
        '{"a": [1, 2.5, 12345678901234567890123]}',
    ),
    ("['nan'::double, 1.5]", "json", "[null,1.5]"),
    ("[timestamp '2026-11-29']", "json", '["2026-11-29T00:00:00.000000Z"]'),
    ("{'a': 'inf'::double, 'b': {'c': [1]}}", "json", '{"a":null,"b":{"c":[1]}}'),
    ("map {'k': 'nan'::double}", "json", '{"k":null}'),
    ("'a/b\"é\\' || chr(10) || chr(1) || chr(8232)", "text", '"a/b\\"é\\\\\\n\\u0001\u2028"'),
    ("''", "text", '""'),
    ("uuid '00000000-0000-0000-0000-000000000001'", "text", '"00000000-0000-0000-0000-000000000001"'),
]


@pytest.fixture(scope="module")
def values() -> tuple[list[Column], bytes]:
    """All the values, in one row of one query."""
    columns, lines = ask("select " + ", ".join(f"{value} as x{n}" for n, (value, _, _) in enumerate(VALUES)))
    assert len(lines) == 1
    return columns, lines[0]


@pytest.mark.parametrize("number", range(len(VALUES)), ids=[value[:40] for value, _, _ in VALUES])
def test_values_are_written_exactly(values: tuple[list[Column], bytes], number: int) -> None:
    columns, line = values
    _, type, text = VALUES[number]
    assert columns[number] == (f"x{number}", type)
    written = line.decode()[:-1] + f',"x{len(VALUES)}":'
    start, end = written.index(f'"x{number}":'), written.index(f',"x{number + 1}":')
    assert written[start:end].replace(" ", "") == f'"x{number}":{text}'.replace(" ", "")


def test_a_name_that_comes_twice_has_a_number() -> None:
    columns, lines = ask('select 1 as a, 2 as a, 3 as a_1, 4 as "A", 5 as "it\'s"')
    assert [column.name for column in columns] == ["a", "a_2", "a_1", "A", "it's"]
    assert lines == [b'{"a":1,"a_2":2,"a_1":3,"A":4,"it\'s":5}']


def test_no_rows_still_have_columns() -> None:
    assert ask("select a from t where a > 1", {"t": [part({"a": 1})]}) == ([Column("a", "integer")], [])


def test_a_table_without_parts_or_fields() -> None:
    assert ask("select count(*) n from t", {"t": []})[1] == [b'{"n":0}']
    assert ask("select count(*) n from t", {"t": [part({}, {})]})[1] == [b'{"n":2}']


# Parts

BIG = 2**53 + 1


PAIRS: list[tuple[Any, Any, str]] = [
    (True, False, "boolean"),
    (1, -(2**53), "integer"),
    (1, BIG, "integer"),
    (1, 2**63 - 1, "integer"),
    (1, 2**63, "integer"),
    (-(2**63), 10**38 - 1, "integer"),
    (1, 10**38, "json"),
    (1, 10**3_000, "json"),
    (1, 0.5, "number"),
    (BIG, 0.5, "json"),
    (2**70, 0.5, "json"),
    ("a", "b", "text"),
    ("a", 1, "json"),
    (True, 1, "json"),
    ("a", ["b"], "json"),
    ("[1", {"b": None}, "json"),
    ({"a": BIG}, {"a": 2**70}, "json"),
    (None, "a", "text"),
    (None, None, "text"),
    ("\0", "a\u2028b", "text"),
]


@pytest.fixture(scope="module", params=["one part", "two parts"])
def pairs(request: pytest.FixtureRequest) -> tuple[list[Column], list[Any]]:
    """All the pairs, each a field of two records, in one query."""
    lines = [
        json.dumps({"n": row, **{f"x{n}": pair[row] for n, pair in enumerate(PAIRS)}}).encode()
        for row in (0, 1)
    ]
    given = [part(*lines)] if request.param == "one part" else [part(line) for line in lines]
    columns, found = ask("select * exclude (n) from t order by n", {"t": given})
    return columns, [json.loads(line) for line in found]


@pytest.mark.parametrize("number", range(len(PAIRS)), ids=[str(pair)[:40] for pair in PAIRS])
def test_values_come_back_as_they_went_in(pairs: tuple[list[Column], list[Any]], number: int) -> None:
    columns, found = pairs
    first, second, type = PAIRS[number]
    assert columns[number] == (f"x{number}", type)
    assert [row[f"x{number}"] for row in found] == [first, second]


def test_a_field_that_is_missing_is_null() -> None:
    given = [part({"a": 1}, {"b": "x"}, {}), part({"c": True})]
    assert rows("select * from t", {"t": given}) == [
        {"a": 1, "b": None, "c": None},
        {"a": None, "b": "x", "c": None},
        {"a": None, "b": None, "c": None},
        {"a": None, "b": None, "c": True},
    ]


def test_fields_that_differ_in_case_alone_have_numbers() -> None:
    given = [part({"Name": 1, "name": "x", "name_1": True}), part({"NAME": 2.5, "Name": 3})]
    assert rows("select * from t", {"t": given}) == [
        {"Name": 1, "name_2": "x", "name_1": True, "NAME_3": None},
        {"Name": 3, "name_2": None, "name_1": None, "NAME_3": 2.5},
    ]


def test_fields_of_any_name() -> None:
    plain = ['a"b', "a'b", "a b", "select", "é", "É", "x" * 3_000, "a.b", '"); drop table t; --', "c0", "$.a"]
    found = rows("select * from t", {"t": [part({name: n for n, name in enumerate([*plain, "", "a\0b"])})]})
    # Without regard to case é and É are one name.
    names = [{"É": "É_1"}.get(name, name) for name in plain]
    assert found == [{name: n for n, name in enumerate([*names, "_", "a\ufffdb"])}]


def test_tables_of_any_name() -> None:
    names = ['a"b', "a'b", "a b", "select", "É", "f.csv", '"); drop table t; --', "batch", "result"]
    tables = {name.lower(): [part({"a": n})] for n, name in enumerate(names)}
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    assert rows("select * from " + ", ".join(quoted), tables) == [
        {("a" if n == 0 else f"a_{n}"): n for n in range(len(names))}
    ]


def test_two_spellings_of_a_table_are_one_table() -> None:
    assert rows('select count(*) n from "Éa" x, "éA" y, "ÉA" z', {"éa": [part({"a": 1}, {"a": 2})]}) == [
        {"n": 8}
    ]


def test_what_needs_data_of_a_library_works_in_the_jail() -> None:
    moment = "timestamptz '2026-07-01 00:00:00Z'"
    accents = "'É' collate noaccent = 'e' a, lower('É') l, strip_accents('é') s"
    assert rows(f"select timezone('Asia/Tokyo', {moment}) t, {accents}") == [
        {"t": "2026-07-01T09:00:00.000000Z", "a": False, "l": "é", "s": "e"}
    ]


def test_json_is_searched_in_a_query() -> None:
    given = [part({"a": {"b": [1, {"c": "x"}]}}, {"a": "text"})]
    text = "select a->>'$.b[1].c' c, json_extract_string(a, '$') s from t"
    assert rows(text, {"t": given}) == [{"c": "x", "s": '{"b":[1,{"c":"x"}]}'}, {"c": None, "s": "text"}]


def test_more_fields_than_a_table_may_have_are_refused() -> None:
    with pytest.raises(Refused, match=r"more than 1,000 fields\. Export them without a query"):
        part({f"f{n}": n for n in range(1_001)})
    halves = [part({f"f{n}": n for n in numbers}) for numbers in (range(600), range(600, 1_001))]
    with pytest.raises(Refused, match="has 1,001 fields; a query reads at most 1,000"):
        ask("select * from t", {"t": halves})
    assert len(rows("select * from t", {"t": halves[:1]})[0]) == 600


def test_a_writer_holds_one_batch_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BATCH_BYTES", 1_000)
    monkeypatch.setattr(parts, "BATCH_CELLS", 7)
    out: list[bytes] = []
    writer = PartWriter(out.append)
    for n in range(100):
        before = len(out)
        writer.write(
            orjson.dumps({"n": n, ("x" if n % 2 else "y"): n / 2 if n % 3 else "t", "pad": "p" * 90}) + b"\n"
        )
        assert writer._size < 1_000
        assert n % 20 or len(out) >= before
    types = writer.close()
    assert types == {"rows": 100, "columns": {"n": "integer", "y": "json", "pad": "text", "x": "json"}}
    assert json.loads(json.dumps(types)) == types
    found = rows(
        "select n, coalesce(x, y) v from t order by n", {"t": [Part(types, lambda: [b"".join(out)])]}
    )
    assert [row["v"] for row in found] == [n / 2 if n % 3 else "t" for n in range(100)]


def test_a_part_may_come_in_blocks_of_any_size() -> None:
    given = part({"a": 1}, {"a": "x"})
    whole = b"".join(given.blocks())
    split = Part(given.types, lambda: (whole[n : n + 1] for n in range(len(whole))))
    assert rows("select a from t", {"t": [split]}) == [{"a": 1}, {"a": "x"}]


def test_a_part_that_ends_early_is_a_fault_of_ours() -> None:
    given = part({"a": 1})
    whole = b"".join(given.blocks())
    with pytest.raises(RuntimeError, match="ends inside a batch"):
        ask("select a from t", {"t": [Part(given.types, lambda: [whole[:-1]])]})


def test_a_part_that_cannot_be_read_ends_the_child() -> None:
    def broken() -> Iterator[bytes]:
        yield b"".join(part({"a": 1}).blocks())
        raise ConnectionError("the object is gone")

    with pytest.raises(ConnectionError):
        ask("select a from t", {"t": [Part(part({"a": 1}).types, broken)]})


@pytest.mark.slow
def test_records_beyond_the_memory_are_over_the_limit() -> None:
    given = part(*({"n": n, "x": f"{n:08d}" * 500} for n in range(5_000)))
    limits = QueryLimits(memory=320 * 1024**2, seconds=20, cpu_seconds=20)
    with pytest.raises(OverLimit, match=r"needs more than 0\.3 GiB of memory"):
        ask("select max(x) from t", {"t": [given] * 30}, limits)


def test_floats_stay_what_they_are() -> None:
    values = [0.1, 1e-300, 1.7976931348623157e308, 5e-324, -0.0, 1e22, math.pi]
    found = rows("select x from t", {"t": [part(*({"x": value} for value in values))]})
    assert [row["x"] for row in found] == values
