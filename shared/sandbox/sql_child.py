"""The child that checks a query, and runs it. Started by sql.py as a program, never imported."""

# ruff: noqa: E402, S608
import json
import sys

CONFIG = json.loads(sys.argv[1])
sys.path[:] = CONFIG["path"]

import os

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve address space by the gigabyte

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import duckdb

from shared.sandbox import checking, child, jail

pa: Any = None
if CONFIG["query"]:
    import pyarrow as pa

BATCH_ROWS = 2_048
BLOCK_BYTES = 4 * 1024 * 1024

DUCKDB_TYPES = {
    "null": "VARCHAR",
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "big": "BIGINT",
    "huge": "HUGEINT",
    "number": "DOUBLE",
    "text": "VARCHAR",
    "json": "JSON",
}

INTEGERS = frozenset(
    [
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "hugeint",
        "utinyint",
        "usmallint",
        "uinteger",
        "ubigint",
        "uhugeint",
        "bignum",
    ]
)
FLOATS = frozenset(["float", "double"])
MOMENTS = frozenset(["timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"])
WITH_ZONE = "timestamp with time zone"
WRITTEN_AS_THEY_ARE = INTEGERS | {"null", "boolean", "decimal", "varchar", "date", "time", "interval", "uuid"}


def run() -> None:
    """Parse the query, load its tables, answer its rows."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 2,
            "memory_limit": f"{CONFIG['duckdb_memory'] // 1024**2}MiB",
            "temp_directory": "",
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
            "python_scan_all_frames": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET max_expression_depth = {checking.MAX_DEPTH}")
    _warm_up(connection)
    jail.enter(CONFIG["memory"], CONFIG["cpu_seconds"])
    _, sql = child.receive()
    text = sql.decode()
    tables = checking.tables(connection, text)
    child.send(b"T", json.dumps(tables).encode())
    if not CONFIG["query"]:
        return
    try:
        _load(connection, _free("batch", tables))
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        _answer(connection, text, _free("result", tables))
    except duckdb.Error as error:
        if _out_of_memory(error):
            raise MemoryError from None
        raise


def _warm_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Have every library open that a query may want: in the jail nothing can be opened."""
    connection.execute("SELECT json_serialize_sql('SELECT 1'), now() AT TIME ZONE 'Europe/Paris'").fetchall()
    if CONFIG["query"]:
        table = pa.table({"c0": pa.array(range(3))})
        connection.register("warm", table)
        relation: Any = connection.sql("SELECT c0, count(*) FROM warm GROUP BY c0 ORDER BY 1")
        relation.query("r", "SELECT to_json(c0) FROM r").to_arrow_reader(BATCH_ROWS).read_all()
        connection.unregister("warm")


def _out_of_memory(error: duckdb.Error) -> bool:
    """Whether it comes of the memory limit: DuckDB's own, or the kernel's, which can fail any step."""
    return isinstance(error, duckdb.OutOfMemoryException) or "bad allocation" in str(error)


def _free(name: str, tables: list[str]) -> str:
    """A name that no table of the query has."""
    taken = {table.lower() for table in tables}
    while name in taken:
        name += "_"
    return name


def _first_line(error: Exception) -> str:
    line = str(error).strip().split("\n", 1)[0]
    return line.rstrip(".!") + "."


# Loading


def _load(connection: duckdb.DuckDBPyConnection, view: str) -> None:
    """Load the tables that the parent sends: `t` begins one, `p` brings bytes of a part, `e` ends it.

    Each batch goes by way of a view of that name.
    """
    columns: dict[str, tuple[str, str]] = {}
    table = ""
    buffer = bytearray()
    while True:
        kind, body = child.receive()
        if kind == b"t":
            given = json.loads(body)
            table, columns = given["name"], {field: (name, kind) for field, name, kind in given["columns"]}
            declared = ", ".join(f"{_name(name)} {DUCKDB_TYPES[kind]}" for name, kind in columns.values())
            connection.execute(f"CREATE TABLE {_name(table)} ({declared or '_ VARCHAR'})")
            for other in given["also"]:
                connection.execute(f"CREATE VIEW {_name(other)} AS SELECT * FROM {_name(table)}")
        elif kind == b"p":
            buffer += body
            while len(buffer) >= 8 and len(buffer) >= 8 + int.from_bytes(buffer[:8], "big"):
                end = 8 + int.from_bytes(buffer[:8], "big")
                stream = bytes(buffer[8:end])
                del buffer[:end]
                _insert(connection, view, table, columns, stream)
        elif kind == b"e":
            if buffer:
                raise ValueError(f"a part of {table!r} ends inside a batch")
        else:
            return


def _insert(
    connection: duckdb.DuckDBPyConnection,
    view: str,
    table: str,
    columns: dict[str, tuple[str, str]],
    stream: bytes,
) -> None:
    batch = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    names, values = [], []
    for number, field in enumerate(batch.schema):
        kind = (field.metadata or {})[b"kind"].decode()
        if kind != "null":
            name, wanted = columns[field.name]
            names.append(_name(name))
            values.append(_cast(f"c{number}", kind, wanted))
    if not names:
        first = next(iter(columns.values()))[0] if columns else "_"
        names, values = [_name(first)], ["NULL"]
    batch = batch.rename_columns([f"c{number}" for number in range(batch.num_columns)])
    connection.register(view, batch)
    try:
        connection.execute(
            f"INSERT INTO {_name(table)} ({', '.join(names)}) SELECT {', '.join(values)} FROM {view}"
        )
    finally:
        connection.unregister(view)


def _cast(column: str, kind: str, wanted: str) -> str:
    if kind == wanted or wanted != "json":
        return f"CAST({column} AS {DUCKDB_TYPES[wanted]})"
    return f"to_json(CAST({column} AS {DUCKDB_TYPES[kind]}))"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\0", "\ufffd") + "'"


# Answering


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, view: str) -> None:
    """Run the query, as a view of that name; send its columns, then its rows as JSON Lines."""
    try:
        _send_rows(connection.sql(sql), view)
    except duckdb.Error as error:
        if _out_of_memory(error) or isinstance(error, duckdb.InternalException | duckdb.FatalException):
            raise
        raise child.RefusedInput(f"The query failed: {_first_line(error)}") from None


def _send_rows(relation: Any, view: str) -> None:
    if len(relation.columns) > CONFIG["columns"]:
        raise child.RefusedInput(
            f"The result has {len(relation.columns):,} columns; at most {CONFIG['columns']:,} are allowed. "
            "Select fewer."
        )
    names = _distinct(relation.columns)
    types = relation.types
    child.send(
        b"C", json.dumps([[name, _type(kind)] for name, kind in zip(names, types, strict=True)]).encode()
    )
    pairs = ", ".join(
        f"{_literal(name)}, {_plain(kind, f'c{number}', name)}"
        for number, (name, kind) in enumerate(zip(names, types, strict=True))
    )
    renamed = ", ".join(f"c{number}" for number in range(len(names)))
    lines = relation.query(
        view, f"SELECT json_object({pairs})::VARCHAR || chr(10) FROM {view} AS r({renamed})"
    )
    for batch in lines.to_arrow_reader(BATCH_ROWS):
        for block in _blocks(batch.column(0)):
            child.send(b"B", block)
    child.send(child.END)


def _blocks(column: Any) -> Iterator[memoryview]:
    """The bytes of the strings of a column, one behind the other, in blocks of whole strings."""
    _, offsets, data = column.buffers()
    ends = memoryview(offsets).cast("i")[column.offset : column.offset + len(column) + 1]
    whole = memoryview(data)
    start = ends[0]
    for before, end in pairwise(ends):
        if end - start > BLOCK_BYTES and before > start:
            yield whole[start:before]
            start = before
    if ends[-1] > start:
        yield whole[start : ends[-1]]


def _distinct(columns: list[str]) -> list[str]:
    """Each name once: a name that comes again gets a number."""
    taken: set[str] = set()
    names = []
    for column in columns:
        name, number = column, 0
        while name in taken or (number and name in columns):
            number += 1
            name = f"{column}_{number}"
        taken.add(name)
        names.append(name)
    return names


def _type(kind: Any) -> str:
    """A type of ours for one of DuckDB's."""
    if kind.id == "boolean":
        return "boolean"
    if kind.id in INTEGERS or (kind.id == "decimal" and str(kind).endswith(",0)")):
        return "integer"
    if kind.id in FLOATS or kind.id == "decimal":
        return "number"
    if kind.id in MOMENTS or kind.id == WITH_ZONE:
        return "moment"
    if str(kind) == "JSON" or kind.id in ("list", "array", "struct", "map"):
        return "json"
    return "text"


def _plain(kind: Any, value: str, name: str, depth: int = 0) -> str:
    """An expression whose JSON is the value's as we write it: moments in ISO 8601, no NaN, no infinity."""
    if kind.id == "double":
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if kind.id == "float":  # by way of its text: 0.1, not 0.10000000149011612
        return f"CASE WHEN isfinite({value}) THEN {value}::VARCHAR::DOUBLE END"
    if kind.id in MOMENTS or kind.id == WITH_ZONE:
        moment = f"timezone('UTC', {value})" if kind.id == WITH_ZONE else f"{value}::TIMESTAMP"
        return f"CASE WHEN isfinite({value}) THEN strftime({moment}, '%Y-%m-%dT%H:%M:%S.%fZ') END"
    if kind.id in ("list", "array"):
        inner = kind.children[0][1]
        made = _plain(inner, f"x{depth}", name, depth + 1)
        if made == f"x{depth}":
            return value
        return f"list_transform({value}::{inner}[], lambda x{depth}: {made})"
    if kind.id == "struct":
        fields = [
            (field, _plain(inner, f"struct_extract({value}, {_literal(field)})", name, depth))
            for field, inner in kind.children
        ]
        packed = ", ".join(f"{_name(field)} := {made}" for field, made in fields)
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({packed}) END"
    if kind.id == "map":
        inner = kind.children[1][1]
        made = _plain(inner, f"x{depth}.value", name, depth + 1)
        if made == f"x{depth}.value":
            return value
        pair = f"struct_pack(key := x{depth}.key, value := {made})"
        return f"map_from_entries(list_transform(map_entries({value}), lambda x{depth}: {pair}))"
    if kind.id in WRITTEN_AS_THEY_ARE or str(kind) == "JSON":
        return value
    raise child.RefusedInput(f"The column {name} has the type {kind}. Cast it to VARCHAR.")


child.main(run)
