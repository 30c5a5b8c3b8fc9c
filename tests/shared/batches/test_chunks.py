"""A slice is imported chunk by chunk: while the documents of one are written, the photographs of the next are
stored. Whatever fails in between, the next attempt imports what is left, and nothing twice."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from shared.analysis import steps
from shared.batches import batch as batches
from shared.batches import importing, json_files
from shared.errors import Retry
from shared.gcp.many import Many
from shared.gcp.objects import Stored
from shared.work.attempts import Attempt
from shared.work.pieces import OPEN, of_plan
from shared.workorders import store
from tests.archives import File, zipped
from tests.world import SITE, World, jpeg

SECONDS = 20
"""How long a test waits for what happens at once, or never."""

NAMES = ("WO_1", "WO_2", "WO_3", "WO_4")


class Chunks:
    """A batch of one slice, of a work order with one photograph a chunk; `log` has what was done, in order.

    before_writing  is called before the documents of a chunk are written, with its name
    before_storing  before its photograph is stored
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.log: list[tuple[str, str]] = []
        self.stored = {name: threading.Event() for name in NAMES}
        self.before_writing: Callable[[str], None] = lambda name: None
        self.before_storing: Callable[[str], None] = lambda name: None
        self.id = world.batch(zipped([File(f"{name}/meter.jpg", jpeg(name)) for name in NAMES]))

    def wait_for(self, name: str) -> None:
        """Until the photograph of a chunk is stored."""
        assert self.stored[name].wait(SECONDS), f"the photograph of {name} is not stored meanwhile"

    def there(self) -> tuple[set[str], set[str]]:
        """The work orders whose photographs are stored, and those that there are."""
        found = self.world.suite.storage.list("waybill-local-images", f"acme/{SITE}/")
        contents = {self.world.suite.storage.read("waybill-local-images", each.name) for each in found}
        return {name for name in NAMES if jpeg(name) in contents}, set(self.world.imported())

    def position(self) -> int:
        """How many work orders of the slice are saved."""
        batch = batches.get(self.world.cloud, self.id)
        assert batch is not None
        assert batch.slices is not None
        [piece] = of_plan(self.world.cloud, batch.path, batch.slices, [OPEN]).stream()
        position: int = piece.get("position")
        return position

    def ended(self) -> None:
        """Let time go by, and see that all is in, each once."""
        self.world.settle()
        shown = self.world.shown(self.id)
        told = [shown[name] for name in ("status", "work_orders_done", "work_orders_failed", "images")]
        assert told == ["COMPLETED", len(NAMES), 0, len(NAMES)]
        assert self.there() == (set(NAMES), set(NAMES))
        stored = self.world.suite.storage.list("waybill-local-images", f"acme/{SITE}/")
        assert len(stored) == len(NAMES)


@pytest.fixture
def chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> Chunks:
    monkeypatch.setenv("WAYBILL_SLICE_FILES", "100")  # one slice, whatever the suite is run with
    monkeypatch.setattr(importing, "CHUNK_ORDERS", 1)
    chunks = Chunks(world)
    names = {jpeg(name): name for name in NAMES}
    create, import_many, save = Many.create, store.import_many, Attempt.save

    async def watched_create(self: Many, bucket: str, name: str, content: bytes, type: str) -> Stored:
        chunk = names[content]
        chunks.before_storing(chunk)
        stored = await create(self, bucket, name, content, type)
        chunks.log.append(("stored", chunk))
        chunks.stored[chunk].set()
        return stored

    def watched_import(cloud: Any, site: Any, arrivals: Any, *more: Any) -> Any:
        [chunk] = arrivals
        chunks.before_writing(chunk)
        chunks.log.append(("written", chunk))
        return import_many(cloud, site, arrivals, *more)

    def watched_save(self: Attempt, fields: Any, *more: Any) -> None:
        save(self, fields, *more)
        if of_chunk(fields):
            chunks.log.append(("saved", NAMES[fields["position"] - 1]))

    monkeypatch.setattr(Many, "create", watched_create)
    monkeypatch.setattr(store, "import_many", watched_import)
    monkeypatch.setattr(Attempt, "save", watched_save)
    return chunks


def of_chunk(fields: Mapping[str, Any]) -> bool:
    """Whether a chunk saves these: the report of a batch has a position in a document."""
    return "position" in fields and "document" not in fields


def once(do: Callable[[str], None], name: str) -> Callable[[str], None]:
    """Do something before that chunk, the first time."""
    left = [name]

    def before(chunk: str) -> None:
        if chunk in left:
            left.remove(chunk)
            do(chunk)

    return before


def test_nothing_is_written_before_the_analyses_of_its_site_can_be_due(
    chunks: Chunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = steps.ready

    def late(cloud: Any, site: Any) -> None:
        chunks.wait_for(NAMES[2])
        chunks.log.append(("ready", site.id))
        ready(cloud, site)

    monkeypatch.setattr(steps, "ready", late)
    chunks.world.drain()
    chunks.ended()
    done = [what for what, _ in chunks.log]
    assert done.index("ready") < done.index("written"), chunks.log


def test_photographs_of_the_next_chunk_are_stored_while_documents_are_written(chunks: Chunks) -> None:
    following = dict(pairwise(NAMES))
    chunks.before_writing = lambda name: chunks.wait_for(following.get(name, name))
    chunks.world.drain()
    assert not chunks.world.failures, chunks.world.failures[0]
    chunks.ended()


def test_a_chunk_is_written_once_its_photographs_are_stored_and_the_one_before_it_is_saved(
    chunks: Chunks,
) -> None:
    chunks.world.drain()
    ordered = [(did, name) for did, name in chunks.log if did != "stored"]
    assert ordered == [(did, name) for name in NAMES for did in ("written", "saved")]
    for name in NAMES:
        assert chunks.log.index(("stored", name)) < chunks.log.index(("written", name))
    chunks.ended()


def test_no_more_chunks_are_read_than_may_be_while_one_is_written(chunks: Chunks) -> None:
    within, beyond = NAMES[1 : 1 + importing.CHUNKS_READ], NAMES[1 + importing.CHUNKS_READ]

    def wait(_: str) -> None:
        for name in within:
            chunks.wait_for(name)

    chunks.before_writing = once(wait, "WO_1")
    chunks.world.drain()
    assert chunks.log.index(("saved", "WO_1")) < chunks.log.index(("stored", beyond)), chunks.log
    chunks.ended()


def test_documents_that_fail_while_the_next_photographs_are_stored_are_written_by_the_next_attempt(
    chunks: Chunks,
) -> None:
    def fail(_: str) -> None:
        chunks.wait_for("WO_3")
        raise Retry("Firestore is away")

    chunks.before_writing = once(fail, "WO_2")
    chunks.world.drain()
    photographs, work_orders = chunks.there()
    assert {"WO_1", "WO_2", "WO_3"} <= photographs
    assert (work_orders, chunks.position()) == ({"WO_1"}, 1)
    chunks.ended()


def test_photographs_that_fail_while_documents_are_written_leave_those_saved(chunks: Chunks) -> None:
    failed = threading.Event()

    def fail(_: str) -> None:
        failed.set()
        raise Retry("Storage is away")

    def wait(_: str) -> None:
        assert failed.wait(SECONDS), "no photograph is stored meanwhile"

    chunks.before_storing = once(fail, "WO_2")
    chunks.before_writing = once(wait, "WO_1")
    chunks.world.drain()
    photographs, work_orders = chunks.there()
    assert "WO_2" not in photographs
    assert (work_orders, chunks.position()) == ({"WO_1"}, 1)
    chunks.ended()


def test_an_attempt_does_not_save_twice_at_once(chunks: Chunks, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows life after what it reads, but while a chunk is written, which is saved."""
    monkeypatch.setattr("shared.work.attempts.HEARTBEAT_SECONDS", 0.0)
    saving, save = threading.Lock(), Attempt.save
    twice: list[Any] = []
    heartbeats: list[Any] = []

    def watched(self: Attempt, fields: Any, *more: Any) -> None:
        if not saving.acquire(blocking=False):
            twice.append(fields)
            return
        try:
            if of_chunk(fields):
                chunks.wait_for(NAMES[min(fields["position"], len(NAMES) - 1)])
            elif not fields:
                heartbeats.append(fields)
            save(self, fields, *more)
        finally:
            saving.release()

    monkeypatch.setattr(Attempt, "save", watched)
    chunks.world.drain()
    assert heartbeats
    assert twice == []
    chunks.ended()


# --- what stays in memory


def test_json_is_not_read_beyond_what_may_wait_to_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two chunks whose JSON does not fit together the second is read once the first is saved."""
    content = b'{"floor": 1}'
    monkeypatch.setenv("WAYBILL_SLICE_FILES", "100")
    monkeypatch.setattr(importing, "CHUNK_ORDERS", 1)
    monkeypatch.setattr(importing, "JSON_BYTES", 2 * len(content) - 1)
    waiting: set[str] = set()
    most: list[int] = []
    arrive, save = json_files.parse, Attempt.save

    def parse(found: bytes) -> Any:
        waiting.add(str(len(most)))
        most.append(len(waiting))
        return arrive(found)

    def saved(self: Attempt, fields: Any, *more: Any) -> None:
        save(self, fields, *more)
        waiting.clear()

    monkeypatch.setattr(json_files, "parse", parse)
    monkeypatch.setattr(Attempt, "save", saved)
    shown = world.import_archive(zipped([File(f"{name}/metadata.json", content) for name in NAMES]))
    assert (shown["status"], shown["work_orders_done"]) == ("COMPLETED", len(NAMES))
    assert most == [1] * len(NAMES)


def test_who_waits_for_room_is_not_overtaken_by_who_needs_less() -> None:
    """The first of two chunks is written first. If the second took the room, neither would go on."""

    async def take() -> list[str]:
        room, order = importing._Room(10), []

        async def one(name: str, count: int) -> None:
            await room.take(count)
            order.append(name)

        await room.take(5)
        tasks = [asyncio.create_task(one("large", 8)), asyncio.create_task(one("small", 2))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await room.give_back(5)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(take()) == ["large", "small"]


def test_what_needs_more_room_than_there_is_has_it_alone() -> None:
    async def take() -> None:
        room = importing._Room(10)
        await room.take(25)
        other = asyncio.create_task(room.take(1))
        await room.give_back(25)
        await other

    asyncio.run(asyncio.wait_for(take(), SECONDS))
