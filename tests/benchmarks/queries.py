"""A query of an export job, against DuckDB over the same rows in Parquet; and where the rest goes."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import duckdb
import orjson

from shared.clock import elapsed_since, stopwatch
from shared.gcp.clients import Cloud
from shared.jobs import exporting
from shared.sandbox import sql
from tests.benchmarks import jobs
from tests.benchmarks.measure import (
    Comparison,
    Done,
    Figure,
    Ground,
    Side,
    Spread,
    compare,
    digest,
    seconds,
    shown,
    spread,
)

TYPE = "Queried"
ROWS = "SELECT id, name, team, hours FROM {table} WHERE CAST(hours AS INTEGER) >= 500"
"""Half of the rows, some of the columns."""

READING, PARTS, START, LOAD, QUERY, WRITING, REST = (
    "reading items",
    "making and staging parts",
    "starting the child, checking the query",
    "loading the parts",
    "the query, its rows as JSON Lines",
    "writing the result",
    "planning, finishing, between steps",
)


@dataclass(frozen=True)
class Query:
    """Both sides, and the seconds by the clock of each step of ours at each repetition."""

    comparison: Comparison
    steps: dict[str, list[float]]

    def seconds(self, step: str) -> Spread:
        """What a step took."""
        return spread(self.steps[step])


ITEMS, QUICK_ITEMS = 100_000, 30
REPETITIONS = 3


def bench(ground: Ground) -> Iterator[Figure]:
    """The query, and where its seconds go."""
    ground.once(jobs.onboard)
    found = query(ground.cloud, items=QUICK_ITEMS if ground.quick else ITEMS)
    shown(found.comparison)
    print("  where the seconds of ours go:")
    for step in found.steps:
        print(f"  {step:50} {seconds(found.seconds(step))}")
    yield found.comparison.figure("sql_wall_vs_duckdb", 1, "wall", None)


def query(cloud: Cloud, *, items: int) -> Query:
    """Query that many items: by an export job from its plan to its end, and by DuckDB from a Parquet file to
    a JSON file."""
    file = jobs.upload(cloud, jobs.rows(items))
    jobs.perform_all(cloud, jobs.import_job(cloud, TYPE, file).path)
    steps: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory(prefix="waybill-bench-") as folder:
        parquet, answer = Path(folder, "items.parquet"), Path(folder, "answer.json")
        (lines := Path(folder, "items.jsonl")).write_bytes(b"\n".join(jobs.items(cloud, TYPE)))
        with duckdb.connect() as connection:
            read = f"read_json('{lines}', format = 'newline_delimited')"
            connection.execute(f"COPY (SELECT * FROM {read}) TO '{parquet}' (FORMAT parquet)")

        def ours(_: int) -> Callable[[], bytes]:
            job = jobs.export_job(cloud, TYPE, ROWS.format(table=TYPE))
            begun = stopwatch()
            with _timed() as took:
                jobs.perform_all(cloud, job.path)
            rest = elapsed_since(begun) - sum(took.values())
            for step, seconds in {**took, REST: rest}.items():
                steps[step].append(seconds)
            return lambda: b"".join(jobs.result(cloud, job))

        def plainly(_: int) -> Callable[[], bytes]:
            selected = ROWS.format(table=f"read_parquet('{parquet}')")
            with duckdb.connect() as connection:
                connection.execute("SET threads = 2")
                connection.execute(f"COPY ({selected}) TO '{answer}' (FORMAT json, ARRAY true)")
            return answer.read_bytes

        def done(_: Side[Callable[[], bytes]], __: int, made: Callable[[], bytes]) -> Done:
            return digest(sorted(map(orjson.dumps, orjson.loads(made()))))

        compared = compare(
            "querying items",
            "rows of the result",
            REPETITIONS,
            [Side("an export job with SQL", ours), Side("DuckDB, from Parquet", plainly)],
            done,
        )
    return Query(compared, {step: each[1:] for step, each in steps.items()})  # the first turn warms up


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Have the steps of an export job timed."""
    took = dict.fromkeys((READING, PARTS, START, LOAD, QUERY, WRITING), 0.0)

    def counted(step: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            begun = stopwatch()
            try:
                return work(*args, **kwargs)
            finally:
                took[step] += elapsed_since(begun)

        return counting

    def each_counted(step: str, work: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def counting(*args: Any, **kwargs: Any) -> Iterator[Any]:
            source, nothing = iter(work(*args, **kwargs)), object()
            advance = counted(step, lambda: next(source, nothing))
            while (item := advance()) is not nothing:
                yield item

        return counting

    columns: Any = exporting._Columns

    def timed_columns(put: Callable[[bytes], None]) -> Any:
        made = columns(put)
        made.write, made.close = counted(PARTS, made.write), counted(PARTS, made.close)
        return made

    with ExitStack() as stack:
        for module, name, made in (
            (exporting, "_records", each_counted(READING, exporting._records)),
            (exporting, "_Columns", timed_columns),
            (exporting._File, "write", counted(WRITING, exporting._File.write)),
            (exporting._File, "close", counted(WRITING, exporting._File.close)),
            (sql, "_child", counted(START, sql._child)),
            (sql, "_tables", counted(START, sql._tables)),
            (sql, "_load", counted(LOAD, sql._load)),
            (sql, "_blocks", each_counted(QUERY, sql._blocks)),
        ):
            stack.enter_context(patch.object(module, name, made))
        yield took
