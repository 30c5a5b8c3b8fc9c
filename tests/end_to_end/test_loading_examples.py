"""The programs of docs/customers/loading.md, as a customer saves and runs them, on deliveries: what they load
is what was exported, each manifest once."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from infra import schemas
from infra.local.processes import REPOSITORY
from shared.sources import SOURCES
from tests.subjects.bigquery import BigQuery
from tests.subjects.exported_dataset import READERS
from tests.subjects.page_examples import blocks, shown
from tests.world import BUCKET, OTHER_SITE, SITE, World

pytestmark = pytest.mark.slow

PAGE = (REPOSITORY / "docs/customers/loading.md").read_text()

MORNINGS = [datetime(2026, 11, day, 2, tzinfo=UTC) for day in (23, 24, 25)]

LOADED = ("work-orders-timeline", "conformity-results", "export-runs")
"""Sources that together have columns of every type."""

Row = dict[str, Any]


FORMATS = pytest.mark.parametrize(
    ("format", "sources"),
    [("json", LOADED), ("json.gz", LOADED[:1]), ("parquet", LOADED)],
    ids=["json", "json.gz", "parquet"],
)


class Loader:
    """A folder with the programs of the page, and exports to load."""

    def __init__(self, world: World, folder: Path) -> None:
        assert READERS.exists(), f"{READERS} is not there: `make check` installs it"
        self.world = world
        self.folder = folder
        self.exports: dict[str, str] = {}
        world.suite.storage.grant(BUCKET, "allUsers", "roles/storage.objectViewer", "storage.buckets.get")
        for program in blocks(PAGE, "python"):
            command = program.split()[1]
            (folder / command).write_text(program)
        self.fill("WO")

    def fill(self, name: str) -> None:
        """Work orders of both sites, with values that are easily changed on the way."""
        metadata = {
            "zip": "00123",
            "n": 2**53 + 1,
            "'": "=1+1",
            "nested": [{"a": None}],
            "text": "a\u2028b\r\nc",
        }
        self.world.work_order(f"{name} 1", photographs=2, metadata=metadata)
        self.world.work_order(f"{name} Zoë", photographs=0, metadata={})
        self.world.work_order(f"{name} 3", site=self.world.other_site, photographs=1)

    def export(self, source: str, format: str) -> str:
        """Begin an export, unless there is one, and return its id."""
        place = f"{format}/{source}"
        if place not in self.exports:
            self.exports[place] = self.world.export(
                name=place,
                export_type=source,
                file_format=format,
                site_ids=[SITE, OTHER_SITE],
                start="2026-11-22T00:00:00Z",
                connector_config={"storage_uri": f"gs://{BUCKET}/{place}/", "export_images": False},
            )
        return self.exports[place]

    def two_days(self) -> None:
        """Run all exports for two windows, between which there is more work."""
        for at in MORNINGS[:2]:
            self.world.run_due(at)
            self.fill(f"after {at.day}")

    def records(self, source: str) -> list[Row]:
        """What the files of the export of JSON Lines hold."""
        rows = []
        for name, content in sorted(self.world.data_files().items()):
            if name.startswith(f"json/{source}/"):
                rows += [json.loads(line) for line in content.decode().split("\n")[:-1]]
        return rows

    def fetch(self, source: str, format: str) -> str:
        place = f"{format}/{source}"
        return self.run("fetch.py", f"gs://{BUCKET}/{place}", self.exports[place], "deliveries")

    def run(self, *command: str | Path, **variables: str) -> str:
        """What a program of the page prints."""
        environment = {**self.world.suite.env(self.world.account), **variables}
        return shown(self.folder, environment, READERS, *command)

    def fails(self, *command: str | Path, **variables: str) -> str:
        """What a program of the page says that fails."""
        with pytest.raises(AssertionError) as failure:
            self.run(*command, **variables)
        return str(failure.value)


@pytest.fixture
def loader(world: World, tmp_path: Path) -> Loader:
    return Loader(world, tmp_path)


def schema(source: str) -> Path:
    return schemas.FOLDER / f"{source}.v1.json"


def said(source: str, rows: list[Row], moment: Callable[[datetime], Any], plain: bool) -> list[str]:
    """Rows as text, in an order of their own. Dates are as a loader has them, and so are values whose type
    differs from row to row: as plain text or not."""
    columns = {column.name: column.type for column in SOURCES[source].columns}

    def one(name: str, value: Any) -> Any:
        if value is not None and columns[name] == "moment":
            return moment(datetime.fromisoformat(value))
        if columns[name] == "value" and plain:
            return value if value is None or isinstance(value, str) else json.dumps(value)
        return value

    return sorted(repr({name: one(name, value) for name, value in row.items()}) for row in rows)


def microseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def in_duckdb(database: Path) -> list[str]:
    """What is in the table of the page: nested values parsed, and dates in microseconds since 1970."""
    with duckdb.connect(str(database), read_only=True) as db:
        types = {name: type for name, type, *_ in db.execute("DESCRIBE delivered").fetchall()}
        columns = [
            f'epoch_us("{name}")' if type.startswith("TIMESTAMP") else f'"{name}"'
            for name, type in types.items()
        ]
        rows = db.execute(f"SELECT {', '.join(columns)} FROM delivered").fetchall()
    assert set(types.values()) <= {
        "VARCHAR",
        "BIGINT",
        "DOUBLE",
        "BOOLEAN",
        "TIMESTAMP WITH TIME ZONE",
        "JSON",
    }
    nested = {name for name, type in types.items() if type == "JSON"}
    return sorted(
        repr(
            {
                name: json.loads(value) if name in nested and value is not None else value
                for name, value in zip(types, row, strict=True)
            }
        )
        for row in rows
    )


@FORMATS
def test_duckdb_has_the_records_and_each_manifest_once(
    loader: Loader, format: str, sources: Sequence[str]
) -> None:
    for source in sources:
        loader.export(source, "json")
        loader.export(source, format)
    loader.two_days()
    for source in sources:
        database = loader.folder / f"{source}.duckdb"
        arguments = ("load_duckdb.py", "deliveries", schema(source), database)
        assert loader.fetch(source, format).count("fetched") == 2
        assert loader.run(*arguments).count("loaded") == 2
        assert in_duckdb(database) == said(source, loader.records(source), microseconds, plain=True)
    loader.world.run_due(MORNINGS[2])
    source = sources[0]
    database = loader.folder / f"{source}.duckdb"
    arguments = ("load_duckdb.py", "deliveries", schema(source), database)
    for count in (1, 0):
        assert loader.fetch(source, format).count("fetched") == count
        assert loader.run(*arguments).count("loaded") == count
    assert in_duckdb(database) == said(source, loader.records(source), microseconds, plain=True)
    [newest] = blocks(PAGE, "sql")
    with duckdb.connect(str(database), read_only=True) as db:
        found = {row[1] for row in db.execute(newest).fetchall()}
    assert found == {row["name"] for row in loader.records(source)}


FRAME = """
import json
from pathlib import Path
from load_pandas import load

frame = load(Path("deliveries"), json.loads(Path("schema.json").read_text()))
Path("types.json").write_text(json.dumps({name: str(type) for name, type in frame.dtypes.items()}))
rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
Path("frame.json").write_text(json.dumps(rows, default=lambda at: at.isoformat(timespec="microseconds")))
"""
"""Writes down the frame that the program of the page makes."""


def in_pandas(loader: Loader, source: str) -> list[Row]:
    """The frame of the page."""
    (loader.folder / "schema.json").write_bytes(schema(source).read_bytes())
    loader.run("-c", FRAME)
    types = json.loads((loader.folder / "types.json").read_text())
    for column in SOURCES[source].columns:
        expected = {"moment": "datetime64[ns, UTC]", "integer": "Int64"}.get(column.type, "object")
        assert types[column.name] == expected, (source, column)
    rows: list[Row] = json.loads((loader.folder / "frame.json").read_text())
    return rows


@FORMATS
def test_pandas_has_the_records(loader: Loader, format: str, sources: Sequence[str]) -> None:
    for source in sources:
        loader.export(source, "json")
        loader.export(source, format)
    loader.two_days()
    for source in sources:
        loader.fetch(source, format)
        found = said(source, in_pandas(loader, source), microseconds, plain=False)
        assert found == said(source, loader.records(source), microseconds, plain=format == "parquet")
    assert "rows x" in loader.run("load_pandas.py", "deliveries", schema(sources[0]))


def test_a_file_that_no_manifest_lists_is_not_loaded_and_one_that_was_changed_stops_the_program(
    loader: Loader,
) -> None:
    source, storage = LOADED[0], loader.world.suite.storage
    loader.export(source, "json")
    loader.world.run_due(MORNINGS[0])
    [manifest] = loader.world.manifests()
    first, second = (file["name"] for file in manifest["files"])
    storage.put(BUCKET, first.replace(".jsonl", "-2.jsonl"), b'{"id": "not delivered"}\n')
    content = storage.read(BUCKET, second)
    storage.put(BUCKET, second, content.replace(b"WO", b"XX"))
    assert f"{second} is not what {MANIFESTS}" in loader.fails(*fetching(loader, source))
    table = "project.dataset.delivered"
    bigquery = BigQuery(storage.read)
    with bigquery.listening(loader.folder) as there:
        told = loader.fails(*loading(loader, source, table), **there)
        assert f"{second} is not what {MANIFESTS}" in told
    assert bigquery.jobs == {}
    storage.put(BUCKET, second, content)
    assert loader.fetch(source, "json").count("fetched") == 1
    assert len(list((loader.folder / "deliveries").rglob("*.jsonl"))) == 2
    database = loader.folder / "a.duckdb"
    arguments = ("load_duckdb.py", "deliveries", schema(source), database)
    path = loader.folder / "deliveries" / second
    path.write_bytes(content + content)
    assert f"{second} has 2 rows, and not 1" in loader.fails(*arguments)
    assert f"{second} has 2 rows, and not 1" in loader.fails("load_pandas.py", "deliveries", schema(source))
    with duckdb.connect(str(database), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM delivered").fetchall() == [(0,)]
    path.write_bytes(content)
    assert loader.run(*arguments).count("loaded") == 1
    delivered = [row for row in loader.records(source) if row["id"] != "not delivered"]
    assert in_duckdb(database) == said(source, delivered, microseconds, plain=True)


MANIFESTS = "json/work-orders-timeline/_manifests/"


def fetching(loader: Loader, source: str) -> tuple[str, ...]:
    return ("fetch.py", f"gs://{BUCKET}/json/{source}", loader.exports[f"json/{source}"], "deliveries")


def loading(loader: Loader, source: str, table: str) -> tuple[str | Path, ...]:
    export = loader.exports[f"json/{source}"]
    return ("load_bigquery.py", f"gs://{BUCKET}/json/{source}", export, table, columns_of(source))


def columns_of(source: str) -> Path:
    return schemas.BIGQUERY / f"{source}.v1.json"


def loaded(bigquery: BigQuery, table: str) -> list[str]:
    """The rows of a table, in an order of their own."""
    return sorted(map(repr, bigquery.tables[table]))


def as_they_are(loader: Loader, source: str) -> list[str]:
    return sorted(map(repr, loader.records(source)))


def test_bigquery_is_given_the_files_of_each_manifest_once(loader: Loader) -> None:
    for source in LOADED:
        loader.export(source, "json")
    loader.two_days()
    bigquery = BigQuery(loader.world.suite.storage.read)
    with bigquery.listening(loader.folder) as there:
        for source in LOADED:
            table = f"project.dataset.{source.replace('-', '_')}"
            told = loader.run(*loading(loader, source, table), **there)
            manifests = [each for each in loader.world.manifests() if each["export_type"] == source]
            assert told.count("loaded") == len([each for each in manifests if each["files"]])
            assert loaded(bigquery, table) == as_they_are(loader, source)
            listed = [
                [f"gs://{BUCKET}/{file['name']}" for file in each["files"]]
                for each in manifests
                if each["files"]
            ]
            jobs = [
                each
                for each in bigquery.jobs.values()
                if table.rpartition(".")[2] in each["jobReference"]["jobId"]
            ]
            assert [each["configuration"]["load"]["sourceUris"] for each in jobs] == listed
            fields = [each["configuration"]["load"]["schema"]["fields"] for each in jobs]
            assert fields == [json.loads(columns_of(source).read_bytes())] * len(jobs)
            before = len(bigquery.jobs)
            loader.run(*loading(loader, source, table), **there)
            assert len(bigquery.jobs) == before
            assert loaded(bigquery, table) == as_they_are(loader, source)


def test_a_load_job_that_failed_is_begun_again_and_a_lost_answer_loads_nothing_twice(loader: Loader) -> None:
    source, table = LOADED[0], "project.dataset.delivered"
    loader.export(source, "json")
    loader.world.run_due(MORNINGS[0])
    bigquery = BigQuery(loader.world.suite.storage.read)
    with bigquery.listening(loader.folder) as there:
        bigquery.fail_next = True
        assert "Access Denied" in loader.fails(*loading(loader, source, table), **there)
        bigquery.lose_answer = True
        loader.fails(*loading(loader, source, table), **there)
        assert loader.run(*loading(loader, source, table), **there).count("loaded") == 1
    assert [id[-2:] for id in bigquery.jobs] == ["-1", "-2"]
    assert loaded(bigquery, table) == as_they_are(loader, source)


def test_deliveries_of_other_formats_and_sources_keep_none_of_the_others_from_being_loaded(
    loader: Loader,
) -> None:
    """An export is edited twice: the delivery between has another format, or is of another source."""
    source, table = LOADED[0], "project.dataset.delivered"
    path = f"/v1/exports/{loader.export(source, 'json')}"
    edits: list[Row] = [
        {"file_format": "csv", "bom": True},
        {"file_format": "json", "bom": False, "export_type": "inputs"},
        {"export_type": source},
    ]
    for number, edit in enumerate([{}, *edits]):
        if edit:
            answer = loader.world.request("PATCH", path, edit)
            assert answer.status == 200, answer
        loader.fill(f"before {number}")
        loader.world.run_due(MORNINGS[0] + timedelta(days=number))
    manifests = loader.world.manifests()
    assert [(each["export_type"], each["file_format"]) for each in manifests] == [
        (source, "json"),
        (source, "csv"),
        ("inputs", "json"),
        (source, "json"),
    ]
    names = [file["name"] for each in (manifests[0], manifests[3]) for file in each["files"]]
    files = loader.world.data_files()
    rows = [json.loads(line) for name in names for line in files[name].decode().split("\n")[:-1]]
    assert loader.fetch(source, "json").count("fetched") == 4
    database = loader.folder / "a.duckdb"
    told = loader.fails("load_duckdb.py", "deliveries", schema(source), database)
    assert "is not loaded: its files have the format csv" in told
    assert in_duckdb(database) == said(source, rows, microseconds, plain=True)
    told = loader.fails("load_pandas.py", "deliveries", schema(source))
    assert "lists files of the format csv" in told
    bigquery = BigQuery(loader.world.suite.storage.read)
    with bigquery.listening(loader.folder) as there:
        told = loader.fails(*loading(loader, source, table), **there)
    assert "is not loaded: its files have the format csv" in told
    assert f"is not loaded: it is of inputs, not {source}" in told
    assert loaded(bigquery, table) == sorted(map(repr, rows))


COMMAND = """#!/bin/sh
printf '%s\n' "$@" > {kept}
"""
"""Stands in for a command: it writes down what it was given."""


def test_the_command_bq_is_given_the_files_of_the_manifest(loader: Loader) -> None:
    source = LOADED[0]
    loader.export(source, "json")
    loader.world.run_due(MORNINGS[0])
    [manifest] = loader.world.manifests()
    tools = loader.folder / "tools"
    tools.mkdir()
    (tools / "gcloud").write_text(f"#!/bin/sh\ncat {loader.folder}/there.json\n")
    (tools / "bq").write_text(COMMAND.format(kept=loader.folder / "given"))
    for tool in tools.iterdir():
        tool.chmod(0o755)
    (loader.folder / "there.json").write_text(json.dumps(manifest))
    [_, command] = blocks(PAGE, "bash")
    variables = {
        "MANIFEST": f"gs://{BUCKET}/json/{source}/_manifests/x/y.json",
        "TABLE": "dataset.delivered",
        "PATH": f"{tools}:{READERS.parent}:/usr/bin:/bin",
    }
    shown(loader.folder, variables, "sh", "-c", command)
    assert (loader.folder / "given").read_text().splitlines() == [
        "load",
        "--source_format=NEWLINE_DELIMITED_JSON",
        "--ignore_unknown_values",
        f"--job_id=waybill-{manifest['run']}",
        "dataset.delivered",
        ",".join(f"gs://{BUCKET}/{file['name']}" for file in manifest["files"]),
        "work-orders-timeline.v1.json",
    ]
