"""A customer's SQL: checked against what is allowed, then run over their own records and nothing else.

Both happen in a child process that can open no file and no socket (jail.py). DuckDB has its own locks on top:
no external access, no extension, no configuration (https://duckdb.org/docs/stable/operations_manual/securing_duckdb).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.formats.base import Column
from shared.sandbox.child import END
from shared.sandbox.errors import OverLimit, Refused
from shared.sandbox.parts import MAX_COLUMNS, Part, column_names, table_columns
from shared.sandbox.process import Child, Limits

MAX_SQL_BYTES = 64 * 1024
MAX_QUERY_ITEMS = 1_000_000
"""Records that one query may read, of all its tables together."""
MAX_RESULT_ROWS = 5_000_000
MAX_RESULT_BYTES = 2 * 1024**3
QUERY_MEMORY = 3 * 1024**3
"""Bytes of memory of a child that runs a query."""
DUCKDB_SHARE = 0.75
"""How much of a child's memory DuckDB may use; the rest is for what it does not count."""
QUERY_SECONDS = 300.0
CHECK_SECONDS = 10.0
CHECK_MEMORY = 1024**3
BLOCK_BYTES = 1024 * 1024

ADVICE = "Filter the rows with WHERE, or select fewer columns."


@dataclass(frozen=True)
class QueryLimits(Limits):
    """What a query may use, read and answer."""

    memory: int = QUERY_MEMORY
    seconds: float = QUERY_SECONDS
    cpu_seconds: int = int(2 * QUERY_SECONDS)
    items: int = MAX_QUERY_ITEMS
    rows: int = MAX_RESULT_ROWS
    bytes: int = MAX_RESULT_BYTES


QUERY_LIMITS = QueryLimits()
CHECK_LIMITS = QueryLimits(memory=CHECK_MEMORY, seconds=CHECK_SECONDS, cpu_seconds=int(CHECK_SECONDS))


@dataclass(frozen=True)
class Result:
    """The answer of a query.

    columns  names and types. A name that comes twice has a number: `id`, `id_1`
    blocks   JSON Lines in blocks of whole lines. Integers and decimals have all their digits; a date is
             `2026-11-29`, a moment `2026-11-29T08:00:00.000000Z`; NaN and infinity are null
    """

    columns: Sequence[Column]
    blocks: Iterator[bytes]


def check(sql: str, limits: QueryLimits = CHECK_LIMITS) -> tuple[str, ...]:
    """The names of the tables that a query reads, as it writes them, each once.

    Raises Refused where it is not one SELECT made of what is allowed, OverLimit where it takes too long to
    parse.
    """
    with _child(sql, limits, query=False) as child:
        return _tables(child)


@contextmanager
def query(
    sql: str,
    tables: Mapping[str, Sequence[Part]],
    limits: QueryLimits = QUERY_LIMITS,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[Result]:
    """Run a query. `tables` has the parts of each table that it may read, by name, in any case. `alive` is
    called now and then; what it raises passes.

    The rows come while the context is open; the child is killed when it is left. Raises Refused and OverLimit
    as `check` does, also while rows are read.
    """
    with _child(sql, limits, query=True, alive=alive) as child:
        _load(child, _tables(child), tables, limits)
        _, body = child.receive()
        columns = [Column(name, kind) for name, kind in json.loads(body)]
        yield Result(columns, _blocks(child, limits))


def _child(sql: str, limits: QueryLimits, query: bool, alive: Callable[[], None] = lambda: None) -> Child:
    text = _encoded(sql)
    child = Child(
        Path(__file__).with_name("sql_child.py"),
        {"query": query, "duckdb_memory": int(limits.memory * DUCKDB_SHARE), "columns": MAX_COLUMNS},
        limits,
        "The query",
        ADVICE,
        alive,
    )
    try:
        child.send(b"Q", text)
    except BaseException:
        child.kill()
        raise
    return child


def _encoded(sql: str) -> bytes:
    try:
        text = sql.encode()
    except UnicodeEncodeError:
        raise Refused("The query holds half of a surrogate pair. Remove that character.") from None
    if len(text) > MAX_SQL_BYTES:
        raise Refused(
            f"The query has {len(text):,} bytes; at most {MAX_SQL_BYTES:,} are allowed. Shorten it."
        )
    return text


def _tables(child: Child) -> tuple[str, ...]:
    _, body = child.receive()
    return tuple(str(name) for name in json.loads(body))


def _load(
    child: Child, names: Sequence[str], tables: Mapping[str, Sequence[Part]], limits: QueryLimits
) -> None:
    known = {name.casefold(): parts for name, parts in tables.items()}
    read: dict[str, list[str]] = {}
    for name in names:
        if name.casefold() not in known:
            raise Refused(f"There is no table {name}. Name an item type of yours.")
        read.setdefault(name.casefold(), []).append(name)
    items = sum(part.types["rows"] for table in read for part in known[table])
    if items > limits.items:
        raise OverLimit(
            f"The query reads {items:,} records; at most {limits.items:,} are allowed. "
            "Export with filters instead, or query an item type with fewer items."
        )
    for table, spellings in read.items():
        _send_table(child, spellings, known[table])
    child.send(b"g")


def _send_table(child: Child, spellings: Sequence[str], parts: Sequence[Part]) -> None:
    columns = table_columns(part.types for part in parts)
    if len(columns) > MAX_COLUMNS:
        raise Refused(
            f"The table {spellings[0]} has {len(columns):,} fields; a query reads at most {MAX_COLUMNS:,}. "
            "Export it without a query."
        )
    names = column_names(columns)
    declared: dict[str, Any] = {
        "name": spellings[0],
        # DuckDB folds letters of ASCII alone: two spellings may still be two names to it.
        "also": _other_spellings(spellings),
        "columns": [[field, names[field], kind] for field, kind in columns.items()],
    }
    child.send(b"t", json.dumps(declared).encode())
    for part in parts:
        for block in part.blocks():
            for start in range(0, len(block), BLOCK_BYTES):
                child.send(b"p", block[start : start + BLOCK_BYTES])
        child.send(b"e")


def _other_spellings(spellings: Sequence[str]) -> list[str]:
    found = {_ascii_lower(spellings[0])}
    others = []
    for spelling in spellings[1:]:
        if _ascii_lower(spelling) not in found:
            found.add(_ascii_lower(spelling))
            others.append(spelling)
    return others


def _ascii_lower(name: str) -> str:
    return name.encode().lower().decode()


def _blocks(child: Child, limits: QueryLimits) -> Iterator[bytes]:
    rows = size = 0
    while True:
        kind, block = child.receive()
        if kind == END:
            return
        rows += block.count(b"\n")
        size += len(block)
        if rows > limits.rows:
            raise OverLimit(f"The result has more than {limits.rows:,} rows. {ADVICE}")
        if size > limits.bytes:
            raise OverLimit(f"The result has more than {limits.bytes:,} bytes. {ADVICE}")
        yield block
