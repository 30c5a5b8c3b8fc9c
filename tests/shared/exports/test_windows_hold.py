"""A window holds each version that is visible at its end and was committed in it, and no other window does.

Held against what Firestore itself says: documents read at the windows' ends, and the commits' own answers.
See docs/developers/windows.md.
"""

import itertools
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import orjson
import pytest
from google.cloud.firestore_v1 import FieldFilter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.traffic import Fault
from shared.accounts.customers import Site, add_site
from shared.errors import Conflict, NotFound
from shared.gcp.clients import Cloud
from shared.sources.base import Deletion, Selection
from shared.sources.work_orders_timeline import SOURCE
from shared.window import Window, floor_minute
from shared.workorders import store
from shared.workorders.envelope import shard_of
from shared.workorders.record import iso
from shared.workorders.store import MARGIN, work_order_id
from shared.workorders.stored import Correction
from tests.conftest import START
from tests.world import BUCKET, SITE, World

pytestmark = pytest.mark.slow  # a minute together

MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)


class Version(NamedTuple):
    """One version of a work order, as Firestore tells of it."""

    id: str
    committed: datetime
    deleted: bool
    stamp: datetime


class Exported(NamedTuple):
    """What a window's run delivered, by its manifest and the files in it: id and `update_date` of each line,
    and the ids in `deleted`."""

    start: datetime
    end: datetime
    lines: list[tuple[str, str]]
    deleted: list[str]

    def ids(self) -> list[str]:
        return [id for id, _ in self.lines] + self.deleted


# --- what was exported, and what should have been


def exported(world: World, export: str) -> list[Exported]:
    storage = world.suite.storage
    found = []
    for each in storage.list(BUCKET, f"waybill/_manifests/{export}/"):
        manifest = orjson.loads(storage.read(BUCKET, each.name))
        records = [
            orjson.loads(line)
            for file in manifest["files"]
            for line in storage.read(BUCKET, file["name"]).splitlines()
        ]
        assert len(records) == manifest["rows"]
        window = manifest["window"]
        found.append(
            Exported(
                datetime.fromisoformat(window["start"]),
                datetime.fromisoformat(window["end"]),
                [(record["id"], record["update_date"]) for record in records],
                manifest["deleted"],
            )
        )
    return found


def visible(world: World, site: str, at: datetime) -> list[Version]:
    """The versions of a site's work orders that Firestore shows at a moment."""
    query = world.cloud.db.collection("work_orders").where(filter=FieldFilter("site_id", "==", site))
    snapshots = query.select(["deleted", "update_date"]).stream(read_time=at)
    return [
        Version(each.id, each.update_time, each.get("deleted"), each.get("update_date")) for each in snapshots
    ]


def hold(windows: list[Exported], expected: Callable[[Exported], list[Version]]) -> None:
    """The windows tile time, and each holds what it should: all of it, once, and nothing else.

    Only a commit later than the whole margin may be missing, and then a later window has its work order.
    """
    assert windows
    assert [each.start for each in windows[1:]] == [each.end for each in windows[:-1]]
    for number, window in enumerate(windows):
        versions = expected(window)
        late = {
            version.id
            for version in versions
            if version.id not in window.ids()
            and version.committed - version.stamp > MARGIN
            and any(version.id in later.ids() for later in windows[number + 1 :])
        }
        due = [version for version in versions if version.id not in late]
        lines = [(version.id, iso(version.committed)) for version in due if not version.deleted]
        assert sorted(window.lines) == sorted(lines), f"the lines of {window.start} to {window.end}"
        deleted = [version.id for version in due if version.deleted]
        assert sorted(window.deleted) == sorted(deleted), f"deleted in {window.start} to {window.end}"
    every = [line for window in windows for line in window.lines]
    assert len(every) == len(set(every)), "a version is in two windows"


def hold_by_reads(world: World, export: str, site: str = SITE) -> list[Exported]:
    """Hold an export's windows against the documents as Firestore shows them at each window's end."""
    windows = exported(world, export)
    hold(
        windows,
        lambda window: [
            version
            for version in visible(world, site, window.end)
            if window.start < version.committed <= window.end
        ],
    )
    return windows


# --- twelve writers

WRITERS = 12
WORK_ORDERS = 40
STEPS = [timedelta(), timedelta(), timedelta(milliseconds=1), timedelta(seconds=1), timedelta(seconds=6)]
AHEAD = 2 * MINUTE


class Pace:
    """Writers move the clock by their steps, but not more than two windows ahead of the export."""

    def __init__(self, world: World) -> None:
        self._clock = world.suite.clock
        self._changed = threading.Condition()
        self._exported = START
        self._writing = WRITERS

    def step(self, by: timedelta) -> None:
        with self._changed:
            self._changed.notify_all()  # a late commit has moved the clock, too
            free = self._changed.wait_for(lambda: self._clock.now() + by < self._exported + AHEAD, 60)
            assert free, "the export fell behind"
            self._clock.advance(by)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._writing -= 1
            self._changed.notify_all()

    def minutes(self) -> Iterator[None]:
        """Comes back when a whole minute has passed that is not exported, until no writer is left."""
        while self._writing:
            with self._changed:
                assert self._changed.wait_for(
                    lambda: self._clock.now() >= self._exported + MINUTE or not self._writing, 60
                )
                ended = floor_minute(self._clock.now())
            yield
            with self._changed:
                self._exported = ended
                self._changed.notify_all()


def write_at_random(world: World, pace: Pace, seed: int, operations: int) -> int:
    """Create, change, correct and delete work orders; some commits come late. Returns how many it wrote."""
    random = Random(seed)
    written = 0
    try:
        for number in range(operations):
            name = f"WO_{random.randrange(WORK_ORDERS)}"
            id = work_order_id(SITE, name)
            if seed == 0 and random.random() < 0.3:
                late = Fault("delay", seconds=random.choice([3, 30, 65]))
                world.suite.traffic.arm("firestore.Commit", late, resource=f"work_orders/{id}")
            photograph = world.photograph(f"{name}-{random.randrange(3)}", content=name.encode())
            with suppress(Conflict, NotFound):
                match random.choice(["create", "create", "change", "change", "add", "correct", "delete"]):
                    case "create":
                        store.create(world.cloud, world.site, name, photographs=[photograph])
                    case "change":
                        store.edit(world.cloud, world.site, id, metadata={"by": seed, "number": number})
                    case "add":
                        store.add_inputs(world.cloud, world.site, id, [photograph])
                    case "correct":
                        item = store.get(world.cloud, world.site, id).work_items[0]
                        store.edit(
                            world.cloud,
                            world.site,
                            id,
                            corrections=[
                                Correction(
                                    input_id=item.input[0].id, task_name="reading", value=number, message=None
                                )
                            ],
                        )
                    case "delete":
                        store.delete(world.cloud, world.site, id)
                written += 1
            pace.step(random.choice(STEPS))
    finally:
        pace.end()
    return written


@pytest.mark.parametrize(("part_records", "operations"), [(50_000, 30), (3, 25)])
def test_twelve_writers_while_windows_of_a_minute_are_exported_as_they_end(
    world: World, monkeypatch: pytest.MonkeyPatch, part_records: int, operations: int
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", str(part_records))
    export = world.export(interval="every 1 minutes")
    pace = Pace(world)
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(write_at_random, world, pace, seed, operations) for seed in range(WRITERS)]
        for _ in pace.minutes():
            world.tick()
            world.drain()
        written = sum(each.result() for each in writing)
    end = floor_minute(world.suite.clock.now()) + MINUTE
    for more in range(5):  # what failed because the clock leapt in the middle of it is delivered again
        world.tick(end + more * MINUTE)
        world.drain()
        if all(event["status"] == "COMPLETED" for event in world.audit(export)):
            break
    windows = hold_by_reads(world, export)
    assert windows[0].start == START
    assert windows[-1].end >= end
    assert len(windows) >= 5
    assert written > WRITERS * operations / 3
    assert sum(len(window.lines) for window in windows) > WORK_ORDERS
    assert any(window.deleted for window in windows)


# --- commits that come late


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"{START:%Y-%m-%d}T{clock}+00:00")


class Writing:
    """Every write there is of one work order, by name: each has its own way to be told that it was done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.id = work_order_id(SITE, "WO_LATE")

    def before(self, what: str) -> None:
        """What has to be there first."""
        if what != "create":
            store.create(self._world.cloud, self._world.site, "WO_LATE", metadata={"first": True})

    def do(self, what: str) -> None:
        cloud, site = self._world.cloud, self._world.site
        match what:
            case "create":
                store.create(cloud, site, "WO_LATE", metadata={"second": True})
            case "change":
                store.edit(cloud, site, self.id, metadata={"second": True})
            case "delete":
                store.delete(cloud, site, self.id)

    def late(self, what: str, *delays: float) -> None:
        """Its first commit comes so many seconds after its stamp, the second (the new stamp's) so many."""
        for delay in delays:
            self._world.suite.traffic.arm(
                "firestore.Commit", Fault("delay", seconds=delay), resource=f"work_orders/{self.id}"
            )
        self.do(what)
        self._world.suite.traffic.disarm()


@pytest.fixture
def writing(world: World) -> Writing:
    return Writing(world)


def ends(windows: list[Exported], id: str) -> list[str]:
    """The ends of the windows that hold a work order, as often as they do."""
    return [f"{window.end:%H:%M}" for window in windows for each in window.ids() if each == id]


@contextmanager
def held(world: World, id: str, write: Callable[[], object]) -> Iterator[None]:
    """Within it `write` has its stamp and waits for its commit, which comes at the end."""
    with ThreadPoolExecutor(1) as pool, world.suite.firestore.hold_commits(f"work_orders/{id}") as hold:
        done = pool.submit(write)
        hold.wait_held()
        yield
        hold.release()
        done.result()


LATE = [
    # stamped    delays         in the windows that end at
    ("09:18:55", [10], ["09:20"]),  # past a border
    ("09:18:05", [59.9], ["09:20"]),  # the oldest stamp that is not stamped again
    ("09:18:05", [5, 0], ["09:19"]),
    ("09:18:30", [70], ["09:20"]),  # stamped again
    ("09:18:30", [70, 30], ["09:20", "09:21"]),  # stamped again past the next border: both are there
    ("09:18:10", [115, 58], ["09:21", "09:22"]),  # the oldest stamp that a window must find
    ("09:18:30", [65, 65, 65], ["09:20", "09:21", "09:22"]),
    ("09:18:30", [170], ["09:22"]),  # past the margin
    ("09:18:30", [170, 50], ["09:23"]),  # past the margin, and the new stamp's past a border: a window late
    ("09:18:30", [500], ["09:27"]),
]


@pytest.mark.parametrize(
    ("what", "stamped", "delays", "expected"),
    [("change", *case) for case in LATE]
    + [(what, *LATE[n]) for what in ("create", "delete") for n in (0, 4, 8)],
)
def test_a_late_commit_is_in_the_window_of_its_commit(
    world: World, writing: Writing, what: str, stamped: str, delays: list[float], expected: list[str]
) -> None:
    writing.before(what)
    world.move_to(at("09:17:59"))
    export = world.export(interval="every 1 minutes", start="2026-11-22T09:18:00Z")
    world.move_to(at(stamped))
    writing.late(what, *delays)
    world.run_due(at(f"{expected[-1]}:30"))
    assert ends(hold_by_reads(world, export), writing.id) == expected


@pytest.mark.parametrize(
    ("what", "released"),
    [
        ("create", "09:18:20"),
        ("change", "09:19:05"),
        ("delete", "09:19:40"),
        ("create", "09:21:30"),
        ("change", "09:21:30"),
    ],
)
def test_a_commit_held_while_the_window_of_its_stamp_is_exported(
    world: World, writing: Writing, what: str, released: str
) -> None:
    export = world.export(interval="every 1 minutes")
    writing.before(what)
    world.move_to(at("09:17:40"))
    with held(world, writing.id, lambda: writing.do(what)):
        for minute in range(at(released).minute - 17):
            world.run_due(at("09:18") + minute * MINUTE)
        assert ends(exported(world, export), writing.id) == ([] if what == "create" else ["09:18"])
        world.move_to(at(released))
    world.run_due(at("09:24"))
    windows = hold_by_reads(world, export)
    own = floor_minute(at(released)) + MINUTE
    assert ends(windows, writing.id)[-1] == f"{own:%H:%M}"
    assert len(ends(windows, writing.id)) == (1 if what == "create" else 2)


# --- equal times


def version_of(world: World, id: str, at: datetime | None = None) -> Version:
    snapshot: Any = world.cloud.db.document(f"work_orders/{id}").get(read_time=at)
    return Version(id, snapshot.update_time, snapshot.get("deleted"), snapshot.get("update_date"))


def test_two_writes_of_one_work_order_with_one_stamp_on_both_sides_of_a_border(world: World) -> None:
    export = world.export(interval="every 1 minutes")
    id = world.work_order("WO_1", photographs=0).id
    world.move_to(at("09:18:59.999100"))
    store.edit(world.cloud, world.site, id, metadata={"side": "this"})
    with held(world, id, lambda: store.edit(world.cloud, world.site, id, metadata={"side": "that"})):
        world.move_to(at("09:19:00.5"))
    first, second = version_of(world, id, at("09:19")), version_of(world, id)
    assert first.stamp == second.stamp < first.committed < at("09:19") < second.committed
    world.run_due(at("09:20"))
    assert ends(hold_by_reads(world, export), id) == ["09:18", "09:19", "09:20"]


@pytest.mark.parametrize("part_records", [50_000, 3])
def test_work_orders_with_one_stamp_in_different_shards(
    world: World, monkeypatch: pytest.MonkeyPatch, part_records: int
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", str(part_records))
    export = world.export(interval="every 1 minutes")
    orders = []
    for moment in ("09:17:30", "09:17:30.001", "09:17:59.999"):
        world.move_to(at(moment))
        orders += [world.work_order(f"{moment}-{number}", photographs=0).id for number in range(8)]
    shown = [version_of(world, id) for id in orders]
    assert len({version.stamp for version in shown}) == 3
    shards = {shard_of(id) for id in orders[:8]}
    assert len(shards) > 3
    world.move_to(at("09:18:10"))
    for id in orders[::2]:
        store.edit(world.cloud, world.site, id, metadata={"again": True})
    for id in orders[::4]:
        store.delete(world.cloud, world.site, id)
    world.run_due(at("09:20"))
    windows = hold_by_reads(world, export)
    assert [len(window.lines) for window in windows] == [24, 6, 0]
    assert [len(window.deleted) for window in windows] == [0, 6, 0]


@pytest.mark.parametrize(
    ("what", "offset", "end"),
    [
        ("change", -1, "09:18"),
        ("change", 0, "09:18"),
        ("change", 1, "09:19"),
        ("create", 0, "09:18"),
        ("delete", 0, "09:18"),
    ],
)
def test_a_commit_exactly_at_a_border_is_in_the_window_that_ends_there(
    world: World, writing: Writing, what: str, offset: int, end: str
) -> None:
    border = at("09:18")
    world.work_order("WO_OTHER", photographs=0)
    export = world.export(interval="every 1 minutes")
    world.move_to(at("09:17:30"))
    writing.before(what)
    with held(world, writing.id, lambda: writing.do(what)):
        world.move_to(border + (offset - 2) * MICROSECOND)  # moving reads the clock, and so does the commit
    assert version_of(world, writing.id).committed == border + offset * MICROSECOND
    world.run_due(at("09:20"))
    windows = hold_by_reads(world, export)
    # At the border the version before it is no longer visible, or it is the one of the first window.
    before = ["09:18"] if what != "create" and end == "09:19" else []
    assert ends(windows, writing.id) == [*before, end]


# --- writers that do not learn of their commit


@pytest.mark.parametrize(
    ("what", "lost", "late"),
    [
        ("change", "answer", 40),
        *((what, lost, 170) for what in ("create", "change", "delete") for lost in ("answer", "writer")),
    ],
)
def test_a_late_commit_whose_writer_does_not_learn_of_it(
    world: World, writing: Writing, what: str, lost: str, late: int
) -> None:
    """The answer is lost and the client sends it again, or the writer dies before it stamps again and what it
    was doing is done again."""
    export = world.export(interval="every 1 minutes")
    writing.before(what)
    world.move_to(at("09:18:30"))
    path = f"work_orders/{writing.id}"
    fault, nth = (Fault("reset_after"), 1) if lost == "answer" else (Fault("error", status=403), 2)
    world.suite.traffic.arm("firestore.Commit", fault, nth=nth, resource=path)

    def write() -> None:
        with suppress(Exception):
            writing.do(what)

    with held(world, writing.id, write):
        world.move_to(at("09:18:30") + timedelta(seconds=late))
    world.suite.traffic.disarm()
    with suppress(Conflict, NotFound):
        writing.do(what)
    world.run_due(floor_minute(world.suite.clock.now()) + 2 * MINUTE)
    hold_by_reads(world, export)


# --- generated histories


def new_site(world: World) -> Site:
    return add_site(
        world.cloud.db, id=str(uuid.uuid4()), customer="acme", name="Another", task_groups=("meter",)
    )


@pytest.fixture
def history(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Version]:
    """Every version that a commit made, in the order of commits, by the commits' own answers."""
    api = world.cloud.db._firestore_api
    commit = api.commit
    versions: list[Version] = []

    def recording(*args: Any, **kwargs: Any) -> Any:
        response = commit(*args, **kwargs)
        for write, result in zip(kwargs["request"]["writes"], response.write_results, strict=True):
            found = re.search(r"/work_orders/([^/]+)$", write.update.name)
            if found:
                fields = write.update.fields
                deleted = (
                    fields["deleted"].boolean_value
                    if "deleted" in fields
                    else next(version.deleted for version in reversed(versions) if version.id == found[1])
                )
                stamp = result.transform_results[0].timestamp_value
                versions.append(Version(found[1], result.update_time, deleted, stamp))
        return response

    monkeypatch.setattr(api, "commit", recording)
    return versions


def model(history: list[Version], start: datetime, end: datetime) -> list[Version]:
    """What a window holds: of each work order the version visible at its end, if committed in it."""
    seen = {}
    for version in history:
        if version.committed <= end:
            seen[version.id] = version
    return [version for version in seen.values() if version.committed > start]


class Operation(NamedTuple):
    """What is done (`write` creates or changes), to which work order, after which step of the clock in
    seconds, or else so many microseconds from the next whole minute, and by how many seconds its commits are
    late."""

    what: str
    number: int
    step: float | None
    border: int
    delays: list[float]


OPERATION = st.builds(
    Operation,
    what=st.sampled_from(["write", "write", "delete"]),
    number=st.integers(0, 2),
    step=st.none() | st.sampled_from([0.0, 0.001, 7.0, 61.0]),
    border=st.integers(-9, 1),
    delays=st.lists(st.sampled_from([0.5, 20.0, 59.0, 61.0, 119.0, 150.0]), max_size=2),
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    operations=st.lists(OPERATION, min_size=2, max_size=8),
    minutes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    part_records=st.sampled_from([50_000, 1]),
)
def test_generated_histories_are_read_as_the_model_says(
    world: World,
    history: list[Version],
    operations: list[Operation],
    minutes: list[int],
    part_records: int,
) -> None:
    """Each window is read as soon as it has ended; `minutes` are how long they are, over and over."""
    clock = world.suite.clock
    history.clear()
    cloud = replace(world.cloud, settings=replace(world.cloud.settings, part_records=part_records))
    site = new_site(world)
    start = floor_minute(clock.now()) + MINUTE
    world.move_to(start)
    windows: list[Exported] = []
    lengths = itertools.cycle(minutes)
    end = start + next(lengths) * MINUTE

    def read_what_has_ended() -> None:
        nonlocal start, end
        while end <= clock.now():
            windows.append(read(cloud, site, Window(start, end)))
            start, end = end, end + next(lengths) * MINUTE

    for each in operations:
        if each.step is None:
            with suppress(ValueError):  # it stands there already
                world.move_to(floor_minute(clock.now()) + MINUTE + each.border * MICROSECOND)
        else:
            world.wait(timedelta(seconds=each.step))
        operate(world, site, each, len(history))
        read_what_has_ended()
    world.wait(3 * MINUTE)
    read_what_has_ended()
    assert history == sorted(history, key=lambda version: version.committed)
    hold(windows, lambda window: model(history, window.start, window.end))


def operate(world: World, site: Site, operation: Operation, number: int) -> None:
    name = f"WO_{operation.number}"
    id = work_order_id(site.id, name)
    for delay in operation.delays:
        late = Fault("delay", seconds=delay)
        world.suite.traffic.arm("firestore.Commit", late, resource=f"work_orders/{id}")
    if operation.what == "delete":
        with suppress(NotFound):
            store.delete(world.cloud, site, id)
    else:
        try:
            store.create(world.cloud, site, name)
        except Conflict:
            store.edit(world.cloud, site, id, metadata={"number": number})
    world.suite.traffic.disarm()


def read(cloud: Cloud, site: Site, window: Window) -> Exported:
    """A window as a run's source gives it, part by part."""
    lines: list[tuple[str, str]] = []
    deleted = []
    selection = Selection(site.customer, (site.id,), window, window.end)
    for part in SOURCE.parts(cloud, selection):
        for item in SOURCE.items(cloud, selection, part):
            if isinstance(item, Deletion):
                deleted.append(item.id)
            else:
                record = orjson.loads(item.lines)
                lines.append((record["id"], record["update_date"]))
    return Exported(window.start, window.end, lines, deleted)
