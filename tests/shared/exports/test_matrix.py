"""Every source in every format by every connector: what landed, read by libraries that are not ours, is what
the source gives.

A source or a format that is added is in the table by itself.
"""

import functools
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.delivery.connectors import CONNECTORS
from shared.formats import FORMATS
from shared.gcp.documents import server_time
from shared.sources import SOURCES
from shared.window import floor_minute, utc_second
from shared.workorders import store
from shared.workorders.record import DataConformity, JobConformity
from shared.workorders.stored import Correction
from tests.delivered import Delivered
from tests.sftp_server import SftpServer, sftp
from tests.shared.exports.landed import Row, as_read, differences, mailed, read, undone
from tests.shared.sources.reading import wrong_archive
from tests.world import BUCKET, OTHER_SITE, SITE, World

__all__ = ["sftp"]

SITES = (SITE, OTHER_SITE)

NASTY: dict[str, dict[str, Any]] = {
    'quo"te, comma': {'"': '""', ",": [",", '","']},
    "new\nline\r\n\ttab": {"\n": "\r\n", "nested": {"deep": [[], {}, [None, {"a": [1.5, False]}]]}},
    "🚚👩🏽‍🔧 Ünïcödé \u202e\u2028": {"emoji": "🚚", "nul": "a\0b", "bom": "\ufeff"},
    "=1+1": {"=cmd|' /C calc'!A0": '=HYPERLINK("http://x")'},
    "'x": {"numbers": [0, -1, 2**53, -0.5, 1e22, 5e-324]},
    " -2 ": {"": "", "null": None},
    "@SUM(A1)": {},
}
"""Names of work orders of the first site, each with one photograph and this metadata."""

EMPTY = "no inputs"
TWO = "two photographs of one task group, one of another"
OF_THE_OTHER_SITE = "of the other site"

NAMES = {SITE: {*NASTY, EMPTY, TWO}, OTHER_SITE: {OF_THE_OTHER_SITE}}
"""The work orders that are there."""


class Filled:
    """Two sites of one customer with everything in it that there is to export, up to `end`."""

    def __init__(self, world: World) -> None:
        self.world = world
        for name, metadata in NASTY.items():
            order = world.work_order(name, photos=[_photograph(name, metadata)], metadata=metadata)
            world.wait(timedelta(seconds=17))
        (corrected,) = order.work_items[0].input
        correction = Correction(corrected.id, "reading", "=2+2", '"read", anew\n')
        store.edit(world.cloud, world.site, order.id, corrections=[correction])
        world.work_order(EMPTY, photographs=0)
        self.two = world.work_order(
            TWO,
            photos=[
                world.photograph("1"),
                world.photograph("2"),
                world.photograph("front", group="door"),
            ],
        )
        self.other = world.work_order(OF_THE_OTHER_SITE, site=world.other_site, photographs=1)
        self.gone = world.work_order("deleted,\n again")
        store.delete(world.cloud, world.site, self.gone.id)
        self.batch = world.import_archive(wrong_archive("BAD", "WORSE"))["batch_id"]
        self.completed = self._run("before", f"gs://{BUCKET}/before")
        self.failed = self._run('=failed, "so"', "gs://no-such-bucket/x")
        self.end: datetime = floor_minute(server_time(world.cloud.db)) + timedelta(minutes=1)
        world.move_to(self.end)

    def _run(self, name: str, uri: str) -> str:
        connector_config = {"storage_uri": uri, "export_images": False}
        export = self.world.export(
            name=name, site_ids=SITES, interval="once", connector_config=connector_config
        )
        self.world.run_due()
        (event,) = self.world.audit(export)
        run: str = event["run_id"]
        return run

    def all_of(self, **config: Any) -> dict[str, Any]:
        """An export of both sites and all of the time that is filled."""
        return {
            "site_ids": SITES,
            "interval": "once",
            "start": "2026-11-22T09:00:00Z",
            "end": utc_second(self.end),
            **config,
        }


def _photograph(name: str, metadata: dict[str, Any]) -> store.Photograph:
    return store.Photograph(
        "meter",
        "meter.jpg",
        b"not looked at",
        metadata,
        (DataConformity("=blur", name, "error"), DataConformity("light", "DARK", "information")),
        (
            JobConformity("reading", name, None, None, name, False),
            JobConformity("dial", 0.5, 1, None, None, True),
        ),
    )


# --- where it lands, each export in a place of its own


def data_files(landed: dict[str, bytes], place: str) -> list[bytes]:
    """What landed there, in the order of the sites; beside the data files there is the manifest alone."""
    there = {
        name.removeprefix(f"{place}/"): content
        for name, content in landed.items()
        if name.startswith(f"{place}/")
    }
    manifests = [name for name in there if name.startswith("_manifests/")]
    assert len(manifests) == 1, list(there)
    of_sites = {name: SITES.index(name.split("/")[0]) if name[:36] in SITES else 0 for name in there}
    return [there[name] for name in sorted(there.keys() - manifests, key=lambda name: (of_sites[name], name))]


class Connected:
    """The exports of one connector: what says where each lands, and what landed there."""

    def __init__(self, world: World, sftp: SftpServer, connector: str) -> None:
        self._world = world
        self._sftp = sftp
        self._connector = connector

    def config(self, place: str) -> dict[str, Any]:
        configs: dict[str, dict[str, Any]] = {
            "cloud_storage": {"storage_uri": f"gs://{BUCKET}/{place}"},
            "email": {"emails": [f"{place}@acme.example"]},
            "sftp": self._sftp.connector_config(path=place),
        }
        return {"connector_type": self._connector, "connector_config": configs[self._connector]}

    def files(self, place: str) -> list[bytes]:
        if self._connector == "email":
            return list(mailed(self._world, f"{place}@acme.example").values())
        return data_files(self._all, place)

    @functools.cached_property
    def _all(self) -> dict[str, bytes]:
        return self._sftp.files() if self._connector == "sftp" else self._world.landed()


def hold_what_is_known(filled: Filled, given: dict[str, list[Row]]) -> None:
    """What the sources give is what was put there."""
    for source in ("work-orders-timeline", "work-orders-states"):
        names = [(row["site_id"], row["name"]) for row in given[source]]
        assert sorted(names) == sorted((site, name) for site in SITES for name in NAMES[site]), source
    photographs = {row["name"]: count_inputs(row) for row in given["work-orders-timeline"]}
    assert photographs == dict.fromkeys(NASTY, 1) | {EMPTY: 0, TWO: 3, OF_THE_OTHER_SITE: 1}
    last = {row["name"]: count_inputs(row) for row in given["work-orders-states"]}
    assert last == photographs | {TWO: 2}
    metadata = {row["name"]: row["metadata"] for row in given["work-orders-timeline"]}
    assert {name: metadata[name] for name in NASTY} == NASTY
    assert Counter(row["work_order_name"] for row in given["inputs"]) == Counter(photographs)
    found = Counter((row["work_order_name"], row["kind"]) for row in given["conformity-results"])
    assert found == Counter(
        {
            (name, kind): 2 if name in NASTY else count
            for name, count in photographs.items()
            for kind in ("data_conformity", "job_conformity")
        }
    )
    (corrected,) = (row for row in given["conformity-results"] if row["corrected_value"] == "=2+2")
    assert (corrected["task_name"], corrected["message"]) == ("reading", '"read", anew\n')
    assert [row["id"] for row in given["deletions"]] == [filled.gone.id]
    assert {row["run_id"]: row["status"] for row in given["export-runs"]} == {
        filled.completed: "COMPLETED",
        filled.failed: "FAILED",
    }
    errors = [(row["batch_id"], row["work_order"]) for row in given["batch-errors"]]
    assert errors == [(filled.batch, "BAD"), (filled.batch, "WORSE")]


def count_inputs(record: Row) -> int:
    return sum(len(item["input"]) for item in record["work_items"])


@pytest.fixture
def filled(world: World) -> Filled:
    world.allow_loopback()
    world.cloud.db.document("customers/acme").update({"parallel_exports": len(CELLS) + 1})
    return Filled(world)


CELLS = [(source, format) for source in SOURCES for format in FORMATS]


def some() -> list[tuple[str, str]]:
    """Cells that have each source and each format."""
    sources, formats = list(SOURCES), list(FORMATS)
    count = max(len(sources), len(formats))
    return [(sources[n % len(sources)], formats[n % len(formats)]) for n in range(count)]


def test_what_lands_is_what_the_source_gives(
    filled: Filled, sftp: SftpServer, subtests: pytest.Subtests
) -> None:
    """A few cells by one connector, for the quick tests."""
    hold(filled, sftp, "cloud_storage", some(), subtests)


@pytest.mark.slow
@pytest.mark.parametrize("connector", CONNECTORS)
def test_what_lands_is_what_the_source_gives_of_every_source_in_every_format(
    filled: Filled, sftp: SftpServer, connector: str, subtests: pytest.Subtests
) -> None:
    hold(filled, sftp, connector, CELLS, subtests)


def hold(
    filled: Filled,
    sftp: SftpServer,
    connector: str,
    cells: list[tuple[str, str]],
    subtests: pytest.Subtests,
) -> None:
    """Export those cells by a connector, and hold each against the same source as JSON Lines in the bucket,
    which is held against what is known to be there."""
    world = filled.world
    there, bucket = Connected(world, sftp, connector), Connected(world, sftp, "cloud_storage")
    exports = {}
    for source, format in cells:
        place = f"{source}.{format}"
        cell = {"name": place, "export_type": source, "file_format": format, **there.config(place)}
        exports[place] = world.export(**filled.all_of(**cell))
    for source in SOURCES:
        lines = {"name": source, "export_type": source, **bucket.config(f"lines/{source}")}
        world.export(**filled.all_of(**lines))
    world.run_due()
    given = {
        source: [row for content in bucket.files(f"lines/{source}") for row in read("json", content)]
        for source in SOURCES
    }
    hold_what_is_known(filled, given)
    seen = Delivered()
    for source, format in cells:
        place, columns = f"{source}.{format}", SOURCES[source].columns
        with subtests.test(f"{source}-{format}-{connector}"):
            (event,) = world.audit(exports[place])
            assert (event["status"], event["rows"]) == ("COMPLETED", len(given[source])), event
            rows = [row for content in there.files(place) for row in read(format, content)]
            seen.rows(source, format, rows)
            landed = [undone(format, columns, row) for row in rows]
            expected = [as_read(format, columns, row) for row in given[source]]
            assert differences(landed, expected) == []
