"""Data files: which there are, how large each may be, and that no row is lost or twice where they are cut."""

import base64
import random
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import google_crc32c
import orjson
import pytest

from infra.local.pubsub import Delivery
from shared.errors import CustomerMustAct
from shared.exports import audit, files, runs, writing
from shared.exports.config import parse
from shared.exports.files import Planned
from shared.exports.runs import Run, WrittenPart
from shared.formats import FORMATS, parquet
from shared.formats.gzipped import Gzipped
from shared.gcp.documents import fields_of, moment_in
from shared.gcp.objects import Stored
from shared.sources import SOURCES
from shared.sources.base import Item, Part
from shared.window import Window
from shared.workorders.images import LINE_BYTES
from tests import kills
from tests.conftest import START
from tests.outside import Outside
from tests.shared.exports.landed import read
from tests.world import BUCKET, OTHER_SITE, SITE, World

pytestmark = pytest.mark.cuts

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
NEXT_MORNING = MORNING + timedelta(days=1)

MIB = 1024**2
MAX_ROWS = 100_000
"""The limit of a CSV file and of a JSON array (docs/contracts/exports.md)."""

SHEETS = ["csv", "csv.gz", "json-array", "json-array.gz"]
JOINED = [name for name, format in FORMATS.items() if format.joinable]


# --- which files there are: a pure function of the run and its parts


PLACES: dict[str, dict[str, Any]] = {
    "cloud_storage": {"storage_uri": "gs://acme-bi"},
    "email": {"emails": ["zoe@acme.example"]},
}


def run_of(connector: str = "cloud_storage", **config: Any) -> Run:
    body = {
        "name": "Nightly",
        "site_ids": [SITE, OTHER_SITE],
        "interval": "daily",
        "connector_type": connector,
        "connector_config": PLACES[connector],
        **config,
    }
    return Run(
        id="0a1b2c3d4e",
        export="an-export",
        customer="acme",
        account="customer-acme-data-export@waybill.iam.gserviceaccount.com",
        version=1,
        config=parse(body),
        window=Window(datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)),
        due=MORNING,
        origin=runs.SCHEDULE,
        user="a-key",
        state=runs.RUNNING,
    )


def part(id: str, rows: int, size: int, site: str = SITE) -> WrittenPart:
    """A part that is written; without rows it has staged nothing."""
    lines = Stored("staging", id, 1, size, "") if rows else None
    return WrittenPart(id, site, rows, lines, None, None)


def made_of(planned: Planned) -> str:
    return "+".join(each.name for each in planned.parts)


def plan(run: Run, *parts: WrittenPart) -> list[tuple[str, int, int, str]]:
    """Of each file its id with `one` and `other` for the sites, its rows, its bytes, and its parts."""
    found = list(files.plan(run, parts))
    extension = run.config.format.extension
    for file in found:
        number = file.id.removeprefix(file.site or files.ALL)
        assert file.name.endswith(f"_20261122T000000Z_20261123T000000Z_0a1b2c3d4e{number}.{extension}"), file
        assert file.name.startswith(f"{file.site}/" if file.site else run.config.export_type), file
    called = {SITE: "one", OTHER_SITE: "other"}
    return [
        (
            file.id.replace(file.site or "-", called.get(file.site or "", "-")),
            file.rows,
            file.size,
            made_of(file),
        )
        for file in found
    ]


HEADER = len("id,name,site_id,create_date,update_date,metadata,progress_score,work_items\r\n")
AROUND, BETWEEN = len("[\n" + "\n]\n"), len(",\n")

Case = tuple[Run, list[WrittenPart], list[tuple[str, int, int, str]]]
TINY: dict[str, Any] = {"max_file_bytes": MIB}
MAILED = "email"

PLANS: dict[str, Case] = {
    "no part": (run_of(), [], []),
    "parts without rows": (run_of(), [part("0", 0, 0), part("1", 0, 0, OTHER_SITE)], []),
    "one part": (run_of(), [part("0", 3, 300)], [("one", 3, 300, "0")]),
    "parts of a site are joined": (
        run_of(),
        [part("0", 3, 300), part("1", 0, 0), part("2", 4, 401)],
        [("one", 7, 701, "0+2")],
    ),
    "a file a site": (
        run_of(),
        [part("0", 1, 10), part("1", 1, 10), part("2", 1, 10, OTHER_SITE)],
        [("one", 2, 20, "0+1"), ("other", 1, 10, "2")],
    ),
    "by email one file of all": (
        run_of(MAILED),
        [part("0", 1, 10), part("1", 1, 10, OTHER_SITE)],
        [("all", 2, 20, "0+1")],
    ),
    "of the whole customer": (
        run_of(export_type="export-runs"),
        [part("0", 1, 10, ""), part("1", 1, 10, "")],
        [("all", 2, 20, "0+1")],
    ),
    "an array has brackets, and commas between its parts": (
        run_of(file_format="json-array"),
        [part("0", 1, 10), part("1", 1, 10), part("2", 1, 10)],
        [("one", 3, AROUND + 30 + 2 * BETWEEN, "0+1+2")],
    ),
    "a sheet has one header": (
        run_of(file_format="csv"),
        [part("0", 1, 10), part("1", 1, 10)],
        [("one", 2, HEADER + 20, "0+1")],
    ),
    "what cannot be joined is a file a part": (
        run_of(file_format="parquet"),
        [part("0", 1, 10), part("1", 2, 20), part("2", 3, 30, OTHER_SITE)],
        [("one-00001", 1, 10, "0"), ("one-00002", 2, 20, "1"), ("other", 3, 30, "2")],
    ),
    "what cannot be joined, by email": (
        run_of(MAILED, file_format="parquet"),
        [part("0", 1, 10), part("1", 2, 20, OTHER_SITE)],
        [("all-00001", 1, 10, "0"), ("all-00002", 2, 20, "1")],
    ),
    "as large as it may be": (
        run_of(**TINY),
        [part("0", 1, MIB - 100), part("1", 1, 100)],
        [("one", 2, MIB, "0+1")],
    ),
    "a byte over": (
        run_of(**TINY),
        [part("0", 1, MIB - 100), part("1", 1, 101)],
        [("one-00001", 1, MIB - 100, "0"), ("one-00002", 1, 101, "1")],
    ),
    "an array as large as it may be": (
        run_of(file_format="json-array", **TINY),
        [part("0", 1, MIB - AROUND - BETWEEN - 10), part("1", 1, 10)],
        [("one", 2, MIB, "0+1")],
    ),
    "an array a byte over": (
        run_of(file_format="json-array", **TINY),
        [part("0", 1, MIB - AROUND - BETWEEN - 10), part("1", 1, 11)],
        [("one-00001", 1, MIB - BETWEEN - 10, "0"), ("one-00002", 1, AROUND + 11, "1")],
    ),
    "a sheet as large as it may be": (
        run_of(file_format="csv", **TINY),
        [part("0", 1, MIB - HEADER - 10), part("1", 1, 10)],
        [("one", 2, MIB, "0+1")],
    ),
    "a sheet a byte over": (
        run_of(file_format="csv", **TINY),
        [part("0", 1, MIB - HEADER - 10), part("1", 1, 11)],
        [("one-00001", 1, MIB - 10, "0"), ("one-00002", 1, HEADER + 11, "1")],
    ),
    "larger than a file may be: by itself": (
        run_of(**TINY),
        [part("0", 1, 10), part("1", 1, 2 * MIB), part("2", 1, 10), part("3", 1, 10)],
        [("one-00001", 1, 10, "0"), ("one-00002", 1, 2 * MIB, "1"), ("one-00003", 2, 20, "2+3")],
    ),
    "numbered a site": (
        run_of(**TINY),
        [part("0", 1, MIB), part("1", 1, 1), part("2", 1, MIB, OTHER_SITE), part("3", 1, 1, OTHER_SITE)],
        [
            ("one-00001", 1, MIB, "0"),
            ("one-00002", 1, 1, "1"),
            ("other-00001", 1, MIB, "2"),
            ("other-00002", 1, 1, "3"),
        ],
    ),
    "as many rows as a sheet may have": (
        run_of(file_format="csv"),
        [part("0", 60_000, 10), part("1", MAX_ROWS - 60_000, 10)],
        [("one", MAX_ROWS, HEADER + 20, "0+1")],
    ),
    "as many rows as a sheet may have, of each site": (
        run_of(file_format="csv"),
        [part("0", MAX_ROWS, 10), part("1", MAX_ROWS, 10, OTHER_SITE)],
        [("one", MAX_ROWS, HEADER + 10, "0"), ("other", MAX_ROWS, HEADER + 10, "1")],
    ),
    "a row more, split": (
        run_of(file_format="csv", split=True),
        [part("0", 60_000, 10), part("1", 40_000, 10), part("2", 1, 10)],
        [("one-00001", MAX_ROWS, HEADER + 20, "0+1"), ("one-00002", 1, HEADER + 10, "2")],
    ),
    "split where a part would be too much": (
        run_of(file_format="csv", split=True),
        [part("0", 60_000, 10), part("1", 40_001, 10), part("2", 1, 10)],
        [("one-00001", 60_000, HEADER + 10, "0"), ("one-00002", 40_002, HEADER + 20, "1+2")],
    ),
    "lines have no limit": (
        run_of(split=True),
        [part("0", MAX_ROWS, 10), part("1", MAX_ROWS, 10)],
        [("one", 2 * MAX_ROWS, 20, "0+1")],
    ),
}


@pytest.mark.parametrize("what", PLANS)
def test_the_files_of_a_run_are(what: str) -> None:
    run, parts, expected = PLANS[what]
    assert plan(run, *parts) == expected


@pytest.mark.parametrize("format", SHEETS)
@pytest.mark.parametrize(
    ("connector", "whose"), [("cloud_storage", f"the site {SITE}"), ("email", "all sites")]
)
def test_a_row_over_the_limit_is_refused_with_the_numbers_and_what_to_do(
    format: str, connector: str, whose: str
) -> None:
    run = run_of(connector, file_format=format)
    with pytest.raises(CustomerMustAct) as caught:
        plan(run, part("0", MAX_ROWS, 10), part("1", 1, 10))
    assert str(caught.value) == (
        f"The {format} file of {whose} would have 100001 rows; it may have at most 100000."
    )
    assert caught.value.next_action.startswith("Set `split` to true to have several files, or take")


def test_what_can_not_be_split_is_not_told_to_be() -> None:
    with pytest.raises(CustomerMustAct) as caught:
        plan(run_of(file_format="csv", split=True), part("0", MAX_ROWS + 1, 10))
    assert caught.value.next_action.startswith("Take the file_format json;")


def test_the_ids_of_many_files_sort_as_they_are_numbered() -> None:
    planned = plan(run_of(file_format="parquet"), *(part(str(number), 1, 10) for number in range(12)))
    ids = [id for id, *_ in planned]
    assert ids == sorted(ids)
    assert [made for *_, made in planned] == [str(number) for number in range(12)]


# --- runs: what lands, of exports that are all made in one world


def export(world: World, place: str, **config: Any) -> str:
    """An export of the first site into a folder of its own, everything so far."""
    connector_config = {"storage_uri": f"gs://{BUCKET}/{place}"}
    return world.export(**{"interval": "once", "connector_config": connector_config, **config})


def run_all(world: World) -> None:
    world.cloud.db.document("customers/acme").update({"parallel_exports": 100})
    world.run_due()


def delivered(world: World, export: str, place: str) -> list[tuple[str | None, bytes]]:
    """The data files of the newest run, of each its site and content: as the manifest says, and the audit."""
    event = world.audit(export)[0]
    assert event["status"] == "COMPLETED", event
    there = {each.name: each for each in world.suite.storage.list(BUCKET, f"{place}/")}
    (manifest,) = (each for each in world.manifests() if each["run"] == event["run_id"])
    found = []
    for file in manifest["files"]:
        content = world.suite.storage.read(BUCKET, file["name"])
        sum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        assert (file["bytes"], file["crc32c"]) == (len(content), sum), file
        assert there[file["name"]].crc32c == sum
        assert file["rows"] == len(read(manifest["file_format"], content)), file
        found.append((file["site_id"], content))
    names = [file["name"] for file in manifest["files"]]
    assert sorted(names) == sorted(name for name in there if "/dt=" in name and event["run_id"] in name)
    totals = [len(names), total(manifest, "rows"), total(manifest, "bytes")]
    assert [event["file_count"], event["rows"], event["bytes"]] == totals
    assert event["files"] == manifest["files"][: audit.FILES_NAMED]
    assert (event["destination"], event["manifest"] in there) == (f"gs://{BUCKET}", True)
    assert [manifest["rows"], manifest["bytes"]] == totals[1:]
    return found


def total(manifest: dict[str, Any], field: str) -> int:
    return sum(file[field] for file in manifest["files"])


def names_in(format: str, content: bytes) -> list[str]:
    """The work orders of a file."""
    return [row.get("name") or row["work_order_name"] for row in read(format, content)]


def fill(world: World, count: int, *, prefix: str = "WO", **more: Any) -> list[str]:
    """So many work orders, a minute apart; returns their names."""
    names = [f"{prefix}_{number:03}" for number in range(count)]
    for name in names:
        world.work_order(name, **{"photographs": 0, **more})
        world.wait(timedelta(minutes=1))
    return names


def noise(bytes: int, seed: str) -> dict[str, str]:
    """Metadata of about so many bytes, which hardly compress."""
    return {"noise": base64.b64encode(random.Random(seed).randbytes(bytes * 3 // 4)).decode()}


@pytest.mark.slow
def test_parts_are_joined_in_every_format_that_can_be(
    world: World, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "1")
    north = fill(world, 3)
    south = fill(world, 2, prefix="S", site=world.other_site)
    exports = {
        format: export(world, format, file_format=format, site_ids=[OTHER_SITE, SITE]) for format in FORMATS
    }
    run_all(world)
    for format, id in exports.items():
        with subtests.test(format):
            landed = [(site, names_in(format, content)) for site, content in delivered(world, id, format)]
            expected = [(SITE, north), (OTHER_SITE, south)]
            if format not in JOINED:
                expected = [(site, [name]) for site, names in expected for name in names]
            assert landed == expected


@pytest.mark.parametrize("format", ["json-array", "json-array.gz"])
def test_more_pieces_than_two_levels_of_composing_take_are_one_valid_array(
    world: World, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "1")
    names = fill(world, 34)  # with brackets and commas 69 pieces: 3 groups, then one
    id = export(world, "waybill", file_format=format)
    run_all(world)
    ((_, content),) = delivered(world, id, "waybill")
    assert names_in(format, content) == names
    composed = [call.resource for call in world.suite.traffic.calls("storage.objects.compose")]
    assert len(composed) == 3 + 1


def test_what_stands_around_and_between_parts_is_staged_once_for_all_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "1")
    north = fill(world, 2)
    south = fill(world, 2, prefix="S", site=world.other_site)
    id = export(world, "waybill", file_format="json-array", site_ids=[OTHER_SITE, SITE])
    run_all(world)
    landed = [(site, names_in("json-array", content)) for site, content in delivered(world, id, "waybill")]
    assert landed == [(SITE, north), (OTHER_SITE, south)]
    staged = [
        call.resource.rpartition("/")[2] for call in world.suite.traffic.calls("storage.objects.insert")
    ]
    for name in ("prefix", "separator", "suffix"):
        assert staged.count(f"{name}.json") == 1


# --- too many rows


def limit_rows(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Have sheets and arrays take so many rows at most."""
    for name in ("csv", "json-array"):
        limited: Any = replace(FORMATS[name], max_rows=most)  # type: ignore[type-var]
        monkeypatch.setitem(FORMATS, name, limited)
        monkeypatch.setitem(FORMATS, f"{name}.gz", Gzipped(limited))


@pytest.mark.slow
def test_a_file_of_too_many_rows_is_refused_or_split_as_the_config_says(
    world: World, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    limit_rows(monkeypatch, 4)
    fits = fill(world, 4)
    over = fill(world, 9, prefix="S", site=world.other_site)
    kinds: dict[str, dict[str, Any]] = {
        "fits": {},
        "over": {"site_ids": [OTHER_SITE]},
        "split": {"site_ids": [OTHER_SITE], "split": True},
    }
    exports = {}
    for format in SHEETS:
        for kind, changes in kinds.items():
            place = f"{format}-{kind}"
            exports[format, kind] = export(world, place, file_format=format, **changes)
    run_all(world)
    for (format, kind), id in exports.items():
        with subtests.test(f"{format} {kind}"):
            (event,) = world.audit(id)
            if kind == "over":
                assert event["status"] == "FAILED"
                assert event["error"] == (
                    f"The {format} file of the site {OTHER_SITE} would have 9 rows; it may have at most 4."
                )
                assert "Set `split` to true" in event["next_action"]
                assert not [name for name in world.landed() if name.startswith(f"{format}-over/")]
                continue
            landed = [names_in(format, each) for _, each in delivered(world, id, f"{format}-{kind}")]
            assert landed == ([fits] if kind == "fits" else [over[:4], over[4:8], over[8:]])


def test_what_was_refused_is_exported_once_the_config_says_split(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rows(monkeypatch, 2)
    names = fill(world, 3)
    id = export(world, "waybill", file_format="csv", interval="daily", start="2026-11-22T00:00:00Z")
    world.run_due(MORNING)
    assert world.audit(id)[0]["status"] == "FAILED"
    assert world.request("PATCH", f"/v1/exports/{id}", {"split": True}).status == 200
    window = {"start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"}
    assert world.request("POST", f"/v1/exports/{id}:backfill", window).status == 201
    world.drain()
    landed = delivered(world, id, "waybill")
    assert [names_in("csv", content) for _, content in landed] == [names[:2], names[2:]]
    numbers = [name.rpartition("-")[2] for name in sorted(world.data_files())]
    assert numbers == ["00001.csv", "00002.csv"]


@pytest.mark.parametrize(("most", "together"), [(4, 1), (6, 2)])
def test_the_rows_of_one_work_order_are_never_cut_in_two(
    world: World, monkeypatch: pytest.MonkeyPatch, most: int, together: int
) -> None:
    limit_rows(monkeypatch, most)
    names = fill(world, 4, photographs=3)
    id = export(world, "waybill", export_type="inputs", file_format="csv", split=True)
    run_all(world)
    landed = [names_in("csv", content) for _, content in delivered(world, id, "waybill")]
    thrice = [[name] * 3 for name in names]
    assert landed == [
        [name for each in thrice[first : first + together] for name in each]
        for first in range(0, len(thrice), together)
    ]


# --- too many bytes


@pytest.mark.slow
def test_every_file_is_within_what_the_config_allows(world: World, subtests: pytest.Subtests) -> None:
    names = []
    for number in range(16):
        names += fill(world, 1, prefix=f"WO_{number:02}", metadata=noise(150_000, str(number)))
    exports = {format: export(world, format, file_format=format, max_file_bytes=MIB) for format in FORMATS}
    run_all(world)
    for format, id in exports.items():
        with subtests.test(format):
            contents = [content for _, content in delivered(world, id, format)]
            assert [name for each in contents for name in names_in(format, each)] == names
            assert max(map(len, contents)) <= MIB
            # Compressed 1.8 MB, else 2.4: and files are filled, but for what a bound leaves.
            assert 2 <= len(contents) <= 5


def test_a_sheet_is_within_what_the_config_allows_though_its_quotes_are_doubled(world: World) -> None:
    names = fill(world, 4, metadata={"all": [""] * 115_000})  # 345 kB as JSON, 575 kB as CSV
    id = export(world, "waybill", file_format="csv", max_file_bytes=MIB)
    run_all(world)
    contents = [content for _, content in delivered(world, id, "waybill")]
    assert [name for each in contents for name in names_in("csv", each)] == names
    assert max(map(len, contents)) <= MIB


@pytest.mark.parametrize("format", ["json", "csv.gz", "parquet"])
def test_a_record_larger_than_a_file_may_be_is_a_file_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "10")  # one part, whatever the suite is run with
    small = fill(world, 2)
    large = fill(world, 1, prefix="LARGE", metadata=noise(2 * MIB, "large"))
    last = fill(world, 2, prefix="Z")
    id = export(world, "waybill", file_format=format, max_file_bytes=MIB)
    run_all(world)
    contents = [content for _, content in delivered(world, id, "waybill")]
    assert [names_in(format, each) for each in contents] == [small, large, last]
    assert [len(each) > MIB for each in contents] == [False, True, False]


# --- what a part leaves to the next, whoever dies


class Cut:
    """A part that is cut twice by its rows: five records, two a file."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.names = fill(world, 5)
        self.export = export(world, "waybill", file_format="csv", split=True)

    def push(self, delivery: Delivery) -> bool:
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def run(self, push: Callable[[Delivery], bool]) -> None:
        self.world.tick()
        while self.world.suite.pubsub.deliver_due(push):
            pass

    def settle(self) -> None:
        self.world.wait(timedelta(minutes=20))
        self.world.tick()
        self.world.settle(sweeps=True)

    def done_once(self) -> None:
        landed = [names_in("csv", content) for _, content in delivered(self.world, self.export, "waybill")]
        assert landed == [self.names[:2], self.names[2:4], self.names[4:]]
        (run,) = self.world.cloud.db.collection(f"exports/{self.export}/runs").stream()
        written = runs.written_parts(self.world.cloud, runs.from_snapshot(run))
        rows = [(each.id, each.rows) for each in written]
        assert rows == [("000000", 2), ("000000r00001", 2), ("000000r00002", 1)]
        assert self.world.slots() == []


@kills.MODES
def test_no_row_is_lost_or_twice_where_a_part_that_was_cut_dies(
    new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch, mode: kills.Mode[Cut]
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "10")  # one part, whatever the suite is run with
    limit_rows(monkeypatch, 2)
    kills.each(lambda: Cut(new_world(), outside), mode, sample=4)


# --- dates, and edits between formats


def test_a_sheet_has_its_dates_as_the_config_says_on_its_clock(world: World) -> None:
    fill(world, 1)
    [work_order] = world.cloud.db.collection("work_orders").stream()
    made = moment_in(fields_of(work_order), "update_date")
    shown = {  # 09:17 in UTC
        "iso8601": f"2026-11-22T09:17:{made:%S}.",
        "day/month/year": f"22/11/2026 10:17:{made:%S}",
        "month/day/year": f"11/22/2026 10:17:{made:%S}",
        "epoch": f"{int(made.timestamp())}.",
    }
    exports = {}
    for number, dates in enumerate(shown):
        sheet = {"file_format": "csv", "date_format": dates, "timezone": "Europe/Paris"}
        exports[dates] = export(world, f"{number}", **sheet)
    run_all(world)
    for number, (dates, id) in enumerate(exports.items()):
        ((_, content),) = delivered(world, id, f"{number}")
        (row,) = read("csv", content)
        for field in ("create_date", "update_date"):
            assert row[field].startswith(shown[dates]), (dates, row)
            assert len(row[field]) == len(shown[dates]) or shown[dates].endswith("."), (dates, row)


def test_an_edit_from_one_format_to_another_counts_from_the_next_window_on(world: World) -> None:
    world.work_order("WO_1")
    id = export(world, "waybill", interval="daily", file_format="csv", date_format="epoch")
    world.run_due(MORNING)
    refused = world.request("PATCH", f"/v1/exports/{id}", {"file_format": "json"})
    assert refused.status == 400
    assert [problem["field"] for problem in refused.body["errors"]] == ["date_format"], refused
    edit = {"file_format": "parquet", "date_format": "iso8601"}
    assert world.request("PATCH", f"/v1/exports/{id}", edit).status == 200
    world.work_order("WO_2")
    world.run_due(NEXT_MORNING)
    ((_, content),) = delivered(world, id, "waybill")
    assert names_in("parquet", content) == ["WO_2"]
    assert sorted(name.rpartition(".")[2] for name in world.data_files()) == ["csv", "parquet"]


# --- memory


class Nowhere:
    """Staging that keeps nothing."""

    def __init__(self) -> None:
        self.size = 0

    def writer(self, bucket: str, name: str, content_type: str) -> "Nowhere":
        return Nowhere()

    def write(self, content: bytes) -> None:
        self.size += len(content)

    def close(self) -> Stored:
        return Stored("staging", "gone", 1, self.size, "")


def peak_of_writing(format: str, count: int) -> int:
    """The most memory that writing a part of so many records of 4 KB takes, in bytes."""

    def items(*_: object) -> Iterator[Item]:
        chance = random.Random(1)
        for number in range(count):
            id = f"{number:032}"
            record = {"id": id, "metadata": {"noise": chance.randbytes(2_000).hex()}, "progress_score": 0.5}
            yield Item(id, START, 1, orjson.dumps(record) + b"\n", b"x" * LINE_BYTES)

    config: dict[str, Any] = {
        "file_format": format,
        "connector_config": {"storage_uri": "gs://acme-bi", "export_images": True},
    }
    run: Any = SimpleNamespace(
        **{each: getattr(run_of(**config), each) for each in ("id", "label", "customer", "export", "config")},
        source=SimpleNamespace(columns=SOURCES["work-orders-timeline"].columns, items=items),
        selection=None,
    )
    cloud: Any = SimpleNamespace(
        objects=Nowhere(), settings=SimpleNamespace(staging_bucket="staging", attempt_seconds=3_600)
    )
    piece = SimpleNamespace(name="000000")
    attempt: Any = SimpleNamespace(id="1", piece=piece, heartbeat=lambda: None)
    tracemalloc.start()
    try:
        written, rest = writing._write(cloud, run, Part(SITE, START, MORNING), attempt)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (written.rows, rest) == (count, None)
    assert written.lines is not None
    assert written.lines.size > count * 1_500
    return peak


@pytest.mark.parametrize("format", FORMATS)
def test_the_memory_that_writing_takes_does_not_grow_with_what_is_written(
    monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    # What pyarrow allocates is not seen here: tests/shared/formats/test_formats_parquet.py looks at that.
    monkeypatch.setattr(parquet, "BATCH_BYTES", 256 * 1024)
    monkeypatch.setattr(parquet, "GROUP_BYTES", MIB)
    peak_of_writing(format, 10)  # what is loaded at first use
    small, large = peak_of_writing(format, 800), peak_of_writing(format, 2_400)
    assert large < small + MIB // 2  # and 6.4 MB more were written
    assert large < 6 * MIB
