"""What a query may be. The checker runs here in the process; test_sandbox_sql.py runs it in its child."""

from collections.abc import Iterator

import duckdb
import pytest

from shared.sandbox import checking, functions
from shared.sandbox.child import RefusedInput


@pytest.fixture(scope="module")
def parser() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"SET max_expression_depth = {checking.MAX_DEPTH}")
        yield connection


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select * from Account", ["Account"]),
        ("SELECT * FROM acme_entity_Account;", ["acme_entity_Account"]),
        ("select * from account -- all of it", ["account"]),
        ('select "First name" from "odd.name \'x"', ["odd.name 'x"]),
        ("select 'f.csv' from \"f.csv\"", ["f.csv"]),
        ("from a select b", ["a"]),
        ("select 1", []),
        ("values (1, 2)", []),
        (
            "select a.x, b.y from t a join u b using (id) where a.n > 3 order by 1 desc limit 10 offset 2",
            ["t", "u"],
        ),
        ("select * from t, t t2, T t3", ["t", "T"]),
        ("select count(*) n, sum(x) from t group by all having n > 1", ["t"]),
        ("with a as (select * from t), b as (select * from a) select * from b", ["t"]),
        ("with t as (select * from t) select * from t", ["t"]),
        ("with a as (with b as (select * from t) select * from b) select * from a, b", ["t", "b"]),
        ("with a as (select 1) select * from (select * from A)", []),
        ("select * from t union all select * from u except select * from v", ["t", "u", "v"]),
        (
            "select (select max(x) from u), exists (from v) from t where a in (select b from w)",
            ["u", "v", "t", "w"],
        ),
        ("select x from t, unnest(t.list) as u(x)", ["t"]),
        ("select row_number() over (partition by a order by b) from t qualify 1 = 1", ["t"]),
        ("select list_transform(l, lambda x: x + 1), [y for y in l if y > 1] from t", ["t"]),
        ("select j->'$.a', j->>'b', json_extract_string(j, '$.c'), j.a[1], l[1:2] from t", ["t"]),
        (
            "select case when a then 1 end, cast(b as decimal(10, 2)), c::int[], try_cast(d as date) from t",
            ["t"],
        ),
        (
            "select a between 1 and 2, b like 'x%', c ilike 'y', d similar to 'z', e is null, -g from t",
            ["t"],
        ),
        (
            "select d at time zone 'Europe/Paris', extract(year from d), d + interval 1 day from t",
            ["t"],
        ),
        ("select * exclude (a) replace (b + 1 as b), columns('c.*') from t", ["t"]),
        ("select coalesce(a, b), ifnull(a, b), nullif(a, b), if(a, b, c), current_date, now() from t", ["t"]),
        ("select a from t group by rollup (a)", ["t"]),
        ("select distinct on (a) a, b from t using sample 10 rows", ["t"]),
        ("select a collate nocase from t", ["t"]),
        ("select * from t asof join u on t.a >= u.a", ["t", "u"]),
        ("select * from a where x in (" + ", ".join(map(str, range(5_000))) + ")", ["a"]),
    ],
)
def test_what_is_allowed(parser: duckdb.DuckDBPyConnection, sql: str, tables: list[str]) -> None:
    assert checking.tables(parser, sql) == tables


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("", "has 0 statements"),
        ("-- nothing", "has 0 statements"),
        ("select 1; select 2", "has 2 statements"),
        ("select * from t; drop table t", "Only a SELECT"),
        ("insert into t values (1)", "Only a SELECT"),
        ("update t set a = 1", "Only a SELECT"),
        ("delete from t", "Only a SELECT"),
        ("create table x as select 1", "Only a SELECT"),
        ("create view x as select 1", "Only a SELECT"),
        ("create macro f(a) as a", "Only a SELECT"),
        ("drop table t", "Only a SELECT"),
        ("alter table t add column x int", "Only a SELECT"),
        ("copy t to '/tmp/x.csv'", "Only a SELECT"),
        ("copy (select 1) to '/tmp/x.csv'", "Only a SELECT"),
        ("export database '/tmp/x'", "Only a SELECT"),
        ("import database '/tmp/x'", "Only a SELECT"),
        ("attach '/tmp/x.db'", "Only a SELECT"),
        ("detach memory", "Only a SELECT"),
        ("use memory", "Only a SELECT"),
        ("install httpfs", "Only a SELECT"),
        ("load httpfs", "Only a SELECT"),
        ("set threads = 100", "Only a SELECT"),
        ("reset threads", "Only a SELECT"),
        ("pragma database_list", "Only a SELECT"),
        ("call pragma_version()", "Only a SELECT"),
        ("checkpoint", "Only a SELECT"),
        ("vacuum", "Only a SELECT"),
        ("begin", "Only a SELECT"),
        ("prepare p as select 1", "Only a SELECT"),
        ("execute p", "Only a SELECT"),
        ("explain analyze select 1", "Only a SELECT"),
        ("pivot t on a using sum(b)", "Only a SELECT"),
        ("select * from (pivot t on a using sum(b))", "Only a SELECT"),
        ("create secret s (type s3)", "Only a SELECT"),
        ("set variable x = 1", "Only a SELECT"),
        ("with x as (insert into t values (1) returning *) select * from x", "also inside WITH"),
        ("with x as (delete from t returning *) select * from x", "also inside WITH"),
        ("with recursive r as (select 1 union all select * from r) select * from r", "recursive query"),
        ("with recursive r(n) as (select 1 union select n + 1 from r) select * from r", "recursive query"),
        ("select * from (unpivot t on a)", "PIVOT is not allowed"),
        ("select * from (describe t)", "SHOW is not allowed"),
        ("select * from (show tables)", "SHOW is not allowed"),
        ("describe t", "allowed"),
        ("show tables", "allowed"),
        ("summarize t", "allowed"),
        ("select 1 into x", "cannot be parsed"),
        ("select * from t for update", "cannot be parsed"),
        ("selec 1", "cannot be parsed"),
        ("select * from t where a = 'x", "cannot be parsed"),
        ("select ?", "parameter"),
        ("select $1", "parameter"),
        ("select $name", "parameter"),
        ("select * from a.b", "a.b has a qualified name"),
        ("select * from memory.main.t", "memory.main.t has a qualified name"),
        ("select * from information_schema.tables", "qualified name"),
        ("select * from t at (version => 1)", "AT is not allowed"),
        *(
            (f"select * from {function}", "is not allowed as a table")
            for function in (
                "read_csv('/etc/passwd')",
                "read_csv_auto('https://example.com/x.csv')",
                "read_parquet('s3://bucket/x')",
                "read_json('x')",
                "read_text('/etc/passwd')",
                "read_blob('/proc/self/environ')",
                "glob('/*')",
                "sniff_csv('x')",
                "query('select 1')",
                "query_table('t')",
                "range(10)",
                "generate_series(1, 10)",
                "repeat(1, 10)",
                "duckdb_settings()",
                "duckdb_secrets()",
                "pragma_version()",
                "pragma_table_info('t')",
                "json_execute_serialized_sql('x')",
                "arrow_scan(1, 2, 3)",
                "python_map_function()",
                "seq_scan('t')",
                "t, lateral read_csv(t.x)",
                "test_all_types()",
            )
        ),
        *(
            (f"select {function}", "is not allowed")
            for function in (
                "getenv('HOME')",
                "current_setting('threads')",
                "getvariable('x')",
                "sleep_ms(1000)",
                "pg_sleep(10)",
                "nextval('s')",
                "write_log('x')",
                "version()",
                "current_query()",
                "json_serialize_sql('select 1')",
                "json_deserialize_sql('{}')",
                "range(1000000000)",
                "generate_series(1, 1000000000)",
                "error('x')",
                "setseed(0.5)",
                "list_resize([1], 1000000000)",
                "GetEnv('HOME')",
                "\"getenv\"('HOME')",
                "sum(getenv('HOME'))",
                "list_transform([1], lambda x: getenv('HOME'))",
                "1 in (select getenv('HOME'))",
                "count(*) filter (where getenv('HOME') = '')",
                "sum(1) over (order by getenv('HOME'))",
                "1 order by getenv('HOME')",
                "1 limit getenv('HOME')",
                "columns(lambda c: getenv(c) = '') from t",
                "* replace (getenv('HOME') as a) from t",
                "'x'::regclass",
                "1::enum('a')",
                "'x'::varchar collate de",
            )
        ),
        ("select main.abs(1)", "main.abs has a qualified name"),
        ("select system.main.getenv('HOME')", "main.getenv has a qualified name"),
        ("select x.getenv()", "x.getenv has a qualified name"),
        ("select 1::main.integer", "main.integer has a qualified name"),
        ("select '\0'", "NUL character"),
        ("select " + "(" * 30_000 + "1" + ")" * 30_000, "nested more than 250 levels"),
        ("select " + "-" * 1 + " -" * 10_000 + "1", "nested more than 250 levels"),
        ("select " + "not " * 10_000 + "a", "nested more than 250 levels"),
        ("select " + "[" * 10_000 + "]" * 10_000, "nested more than 250 levels"),
        ("select " + "1 + " * 10_000 + "1", "nested more than 250 levels"),
        ("select * from " + "(select * from " * 3_000 + "t" + ")" * 3_000, "nested more than 250 levels"),
    ],
    ids=lambda value: value[:60].replace("\0", "NUL"),
)
def test_what_is_refused(parser: duckdb.DuckDBPyConnection, sql: str, sentence: str) -> None:
    with pytest.raises(RefusedInput) as refused:
        checking.tables(parser, sql)
    assert sentence in str(refused.value)


def test_every_depth_is_either_walked_or_refused(parser: duckdb.DuckDBPyConnection) -> None:
    deepest = 0
    for depth in range(1, 300, 7):
        try:
            found = checking.tables(parser, "select * from " + "(select * from " * depth + "t" + ")" * depth)
        except RefusedInput:
            break
        assert found == ["t"]
        deepest = depth
    assert 40 < deepest < 250


def test_every_function_on_the_list_is_one_of_duckdb(parser: duckdb.DuckDBPyConnection) -> None:
    known = parser.execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()").fetchall()
    assert functions.FUNCTIONS - {name for (name,) in known} == set()


def test_every_type_on_the_list_is_one_of_duckdb(parser: duckdb.DuckDBPyConnection) -> None:
    for name in functions.TYPES - {"list", "struct", "map"}:
        parser.execute(f"SELECT NULL::{name}")


def test_no_function_on_the_list_reads_anything_but_its_arguments(parser: duckdb.DuckDBPyConnection) -> None:
    outside = "env|setting|query|sleep|pragma|duckdb|schema|database|secret|file|path|log_|nextval|user|^pg_"
    rows = parser.execute(
        "SELECT name FROM unnest(?) t(name) WHERE regexp_matches(name, ?)",
        [sorted(functions.FUNCTIONS), outside],
    )
    allowed = {"json_extract_path", "json_extract_path_text"}
    assert {name for (name,) in rows.fetchall()} == allowed
