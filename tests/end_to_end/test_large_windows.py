"""A window of 100,000 work orders beside one of 10,000: one file a site, every row once, and no more memory.

The function's own process exports them, whose peak the kernel knows; each window gets a fresh one.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from google.cloud.firestore import Client

from infra.local.clock import machine_time, wait
from infra.local.demo_customer import BUCKET, CUSTOMER
from shared.accounts.customers import add_site
from shared.gcp.documents import fields_of
from shared.window import Window, floor_minute, utc_second
from shared.workorders.envelope import pack, shard_of
from shared.workorders.record import SCHEMA, WorkOrder, encode, iso, timeline_line
from tests.subjects.processes import TIMELINE, Running, running_suite, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(480),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc"),
]

HOUR = timedelta(hours=1)

PART_RECORDS = 2_600
"""Makes 40 parts of the large window: 16, 16 and 8."""

LARGE = (40_000, 40_000, 20_000)
SMALL = (4_000, 4_000, 2_000)

COMMIT = 500
"""How many documents one commit may write."""

MAX_GROWTH = 16 * 1024
"""How many KiB more the large window may take at its peak: an upload's full chunk, twice. Did a part hold its
rows, or the process its lines, it would be 27 MiB or more."""

NAMES = UUID("4c1d7a52-93de-4b5e-8c39-51f0a7be62d8")

PATIENCE = timedelta(minutes=3)


class Filled:
    """Sites with that many work orders each, whose stamps are spread over a window; `files` is what must
    land of each site."""

    def __init__(self, db: Client, name: str, counts: tuple[int, ...], window: Window) -> None:
        self.files: dict[str, bytes] = {}
        for number, count in enumerate(counts):
            site = str(uuid5(NAMES, f"{name} {number}"))
            add_site(db, id=site, customer=CUSTOMER, name=name)
            self.files[site] = b"".join(_fill(db, site, count, window))
        self.name = name
        self.rows = sum(counts)


def _fill(db: Client, site: str, count: int, window: Window) -> Iterator[bytes]:
    """Write a site's work orders past the use cases, which would take minutes; yields their lines."""
    step = timedelta(milliseconds=(window.end - window.start) / timedelta(milliseconds=1) // count)
    numbers = iter(range(count))
    while some := list(islice(numbers, COMMIT)):
        batch = db.batch()
        records = []
        for number in some:
            name = f"WO_{number:06}"
            id = str(uuid5(UUID(site), name))
            metadata = {"technician": "Zoë", "street": f"Rue {number}", "team": {"name": "North", "size": 3}}
            packed = pack(encode(WorkOrder(id, name, site, metadata, None, ())), CUSTOMER, 0)
            records.append(packed.record)
            fields = {
                "customer": CUSTOMER,
                "site_id": site,
                "name": name,
                "shard": shard_of(id),
                "schema": SCHEMA,
                "deleted": False,
                "encoding": packed.encoding,
                "record": packed.record,
                "images": b"",
                "update_date": window.start + number * step,
            }
            batch.create(db.document(f"work_orders/{id}"), fields)
        committed: Any = batch.commit()
        assert window.start < committed[-1].update_time < window.end
        for record, result in zip(records, committed, strict=True):
            at = iso(result.update_time)
            yield timeline_line(record, at, at)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_suite(tmp_path_factory.mktemp("large") / "suite", {}) as running:
        yield running


def export(running: Running, filled: Filled, window: Window, part_records: int) -> tuple[int, int]:
    """Export them in a fresh process, and hold what landed; returns its peak in KiB, and the parts."""
    suite = running.suite
    if suite.processes.pid(TIMELINE) is not None:
        suite.processes.kill(TIMELINE)
    suite.settings["WAYBILL_PART_RECORDS"] = str(part_records)
    folder = f"{filled.name}-{part_records}"
    body = {
        "name": folder,
        "site_ids": list(filled.files),
        "interval": "once",
        "start": utc_second(window.start),
        "end": utc_second(window.end),
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": f"gs://{BUCKET}/{folder}", "export_images": False},
    }
    id = running.ask("POST", "/v1/exports", body)["id"]
    began = machine_time()
    suite.tick()

    def ended() -> dict[str, Any] | None:
        wait(0.2)
        runs = running.ask("GET", f"/v1/exports/{id}/runs")["runs"]
        return next((each for each in runs if each["status"] in ("COMPLETED", "FAILED")), None)

    until(ended, f"{folder} ends", within=PATIENCE)
    took = (machine_time() - began).total_seconds()
    peak = peak_of(suite.processes.pid(TIMELINE))
    event = ended()
    assert event is not None
    sites = len(filled.files)
    assert (event["status"], event["rows"], event["file_count"]) == ("COMPLETED", filled.rows, sites), event
    landed = {each.name: each for each in suite.storage.list(BUCKET, f"{folder}/")}
    files = {name.split("/")[1]: name for name in landed if "/dt=" in name}
    assert len(landed) == sites + 1  # and the manifest
    for site, expected in filled.files.items():
        content = suite.storage.read(BUCKET, files[site])
        lines = content.count(b"\n"), expected.count(b"\n")
        same = content == expected  # said so, pytest does not try to show how 10 MB differ
        assert same, f"{site}: {lines[0]} rows landed of {lines[1]}, or others, or in another order"
    (run,) = running.cloud.db.collection(f"exports/{id}/runs").stream()
    fields = fields_of(run)
    steps = [("plan", "started", "planned"), ("write", "planned", "delivering")]
    steps.append(("deliver and finish", "delivering", "finished"))
    told = ", ".join(
        f"{step} {(fields[after] - fields[before]).total_seconds():.1f} s" for step, before, after in steps
    )
    print(f"{folder}: {fields['parts']} parts, {took:.1f} s ({told}), peak {peak / 1024:.1f} MiB")
    return peak, fields["parts"]


def peak_of(leader: int | None) -> int:
    """The most memory, in KiB, that any process of a group ever had in use at once."""
    assert leader is not None
    peaks = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            group = int((each / "stat").read_text().rpartition(")")[2].split()[2])
            status = (each / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if group == leader:
            peaks += [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    return max(peaks)


def test_memory_does_not_grow_with_the_window(running: Running) -> None:
    began = machine_time()
    start: datetime = floor_minute(running.now())
    window = Window(start, start + HOUR)
    small = Filled(running.cloud.db, "small", SMALL, window)
    large = Filled(running.cloud.db, "large", LARGE, window)
    print(f"\n{small.rows + large.rows} written in {(machine_time() - began).total_seconds():.1f} s")
    running.suite.move_clock(window.end + timedelta(seconds=1))
    small_peak, small_parts = export(running, small, window, PART_RECORDS)
    large_peak, large_parts = export(running, large, window, PART_RECORDS)
    assert (small_parts, large_parts) == (5, 40)
    assert large_peak < small_peak + MAX_GROWTH
    # Nor with a part: here one attempt writes 40,000 records, and fills a chunk.
    whole_peak, whole_parts = export(running, large, window, max(LARGE))
    assert whole_parts == len(LARGE)
    assert whole_peak < small_peak + MAX_GROWTH
