"""An archive on its way up, from clients and over lines of every kind: nothing wrong is taken in, nothing
right is lost."""

import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests

from infra.local.pubsub import Delivery
from infra.local.traffic import Fault
from shared.accounts.customers import add_site
from shared.accounts.keys import create_key
from shared.batches.batch import SESSION_LIFE
from shared.batches.receiving import LOOK_AFTER
from shared.gcp.objects import Objects, Stored
from tests.archives import STORED, File, zipped
from tests.world import THEIR_SITE, World, jpeg

pytestmark = pytest.mark.cuts

UPLOADS = "waybill-local-uploads"
MINUTE = timedelta(minutes=1)

QUANTUM = 262_144
"""What a chunk is a multiple of."""

SCRIPT_CHUNK, CLI_CHUNK = 524_288, 2_621_440
"""What the two clients of docs/contracts/uploads.md send at a time."""


def noisy(name: str) -> bytes:
    """A photograph of more than a chunk."""
    return jpeg(name) + random.Random(name).randbytes(600_000)


NAMES = {f"WO_{number}" for number in range(12)}
FILES = [File(f"{name}/meter-1.jpg", noisy(name), STORED) for name in sorted(NAMES)]
ARCHIVE = zipped(FILES)
OTHER = zipped([File(f"OTHER_{number}/meter-1.jpg", jpeg(f"other {number}")) for number in range(12)])


def send(
    url: str, start: int, end: int, archive: bytes = ARCHIVE, headers: dict[str, str] | None = None
) -> requests.Response:
    """One chunk: the bytes [start, end)."""
    end = min(end, len(archive))
    told = {"Content-Range": f"bytes {start}-{end - 1}/{len(archive)}", **(headers or {})}
    return requests.put(url, data=archive[start:end], headers=told, timeout=60)


def ask(url: str, archive: bytes = ARCHIVE) -> requests.Response:
    """Where an upload stands."""
    return requests.put(url, headers={"Content-Range": f"bytes */{len(archive)}"}, timeout=60)


def send_all(url: str, chunk: int, archive: bytes = ARCHIVE, start: int = 0) -> list[int]:
    """The rest in chunks, as both clients do it; returns each answer's status."""
    places = range(start, len(archive), chunk)
    return [send(url, place, place + chunk, archive).status_code for place in places]


def url_of(world: World, id: str) -> str:
    url: str = world.shown(id)["upload_url"]
    return url


def in_whole(world: World, id: str) -> None:
    """The archive is in, all of it, once."""
    world.drain()
    assert not world.failures, world.failures[0]
    shown = world.shown(id)
    assert (shown["status"], shown["work_orders_done"], shown["images"]) == ("COMPLETED", 12, 12), shown
    assert set(world.imported()) == NAMES
    assert set(images(world)) == {file.content for file in FILES}
    assert "upload_url" not in shown


def images(world: World) -> list[bytes]:
    """The photographs that are stored."""
    storage, bucket = world.suite.storage, "waybill-local-images"
    return [storage.read(bucket, each.name) for each in storage.list(bucket)]


def untouched(world: World, id: str, status: str = "WAITING_FOR_UPLOAD") -> None:
    """Nothing came of it."""
    world.drain()
    assert not world.failures, world.failures[0]
    assert (world.shown(id)["status"], world.imported(), images(world)) == (status, {}, [])
    assert ("upload_url" in world.shown(id)) == (status == "WAITING_FOR_UPLOAD")


def lose(world: World) -> None:
    """Let what is to be delivered be lost."""
    while world.suite.pubsub.deliver_due(lambda _: True):
        pass


# --- chunks


@pytest.mark.parametrize(
    "chunk",
    [SCRIPT_CHUNK, *(pytest.param(each, marks=pytest.mark.slow) for each in (CLI_CHUNK, QUANTUM, 64 << 20))],
)
def test_an_upload_in_chunks_of_every_client(world: World, chunk: int) -> None:
    id = world.batch()
    url = url_of(world, id)
    answer = ask(url)
    assert (answer.status_code, "Range" in answer.headers, "Location" in answer.headers) == (
        308,
        False,
        False,
    )
    statuses = send_all(url, chunk)
    assert statuses == [308] * (len(statuses) - 1) + [200]
    assert ask(url).status_code == 200
    in_whole(world, id)


def test_a_client_that_asks_goes_on_where_it_is(world: World) -> None:
    id = world.batch(size=len(ARCHIVE))
    url = url_of(world, id)
    assert send(url, 0, CLI_CHUNK).headers["Range"] == f"bytes=0-{CLI_CHUNK - 1}"
    world.suite.traffic.arm("storage.uploads.chunk", Fault("reset_after"))
    with pytest.raises(requests.ConnectionError):
        send(url, CLI_CHUNK, 2 * CLI_CHUNK)
    answer = ask(url)
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{2 * CLI_CHUNK - 1}")
    assert send_all(url, CLI_CHUNK, start=2 * CLI_CHUNK)[-1] == 200
    in_whole(world, id)


def test_each_chunk_twice(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)
    for start in range(0, len(ARCHIVE), SCRIPT_CHUNK):
        assert send(url, start, start + SCRIPT_CHUNK).ok
        assert send(url, start, start + SCRIPT_CHUNK).ok
    in_whole(world, id)


def test_chunks_out_of_order_are_refused_and_the_rest_can_follow(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)
    assert send(url, 0, SCRIPT_CHUNK).status_code == 308
    assert send(url, 2 * SCRIPT_CHUNK, 3 * SCRIPT_CHUNK).status_code == 503
    assert send(url, 6 * SCRIPT_CHUNK, len(ARCHIVE)).status_code == 503
    untouched(world, id)
    assert send_all(url, SCRIPT_CHUNK, start=SCRIPT_CHUNK)[-1] == 200
    in_whole(world, id)


def test_of_overlapping_chunks_what_came_first_stays(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)
    assert send(url, 0, 3 * QUANTUM).status_code == 308
    noise = b"?" * len(ARCHIVE)
    assert send(url, QUANTUM, 3 * QUANTUM, noise).status_code == 308
    assert send(url, 2 * QUANTUM, 5 * QUANTUM).status_code == 308
    assert send(url, 0, len(ARCHIVE)).status_code == 200
    in_whole(world, id)


# --- what never becomes whole


def nothing_sent(world: World, url: str) -> None:
    """The URL is forgotten."""


def half_sent(world: World, url: str) -> None:
    send(url, 0, SCRIPT_CHUNK * 3)


def carried_on(world: World, url: str) -> None:
    """As a customer's own script does it after a failed chunk."""
    world.suite.traffic.arm("storage.uploads.chunk", Fault("error", status=503), nth=3)
    statuses = send_all(url, SCRIPT_CHUNK)
    assert statuses == [308, 308] + [503] * (len(statuses) - 2)


@pytest.mark.parametrize("before", [nothing_sent, half_sent, carried_on])
def test_an_upload_that_never_becomes_whole_waits_and_expires_with_its_session(
    world: World, before: Callable[[World, str], None]
) -> None:
    id = world.batch()
    url = url_of(world, id)
    before(world, url)
    for _ in range(14):
        untouched(world, id)
        world.wait(SESSION_LIFE / 14)
        world.tick()
    world.drain()
    world.wait(LOOK_AFTER)
    world.tick()
    untouched(world, id, "EXPIRED")
    assert world.shown(id)["finish_date"] is not None
    assert send(url, 0, SCRIPT_CHUNK).status_code == 410
    assert ask(url).status_code == 410
    world.wait(timedelta(days=1))
    world.tick()
    untouched(world, id, "EXPIRED")


def test_shortly_before_it_expires_an_upload_can_still_end(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)
    half_sent(world, url)
    world.wait(SESSION_LIFE - timedelta(minutes=2))
    world.tick()
    untouched(world, id)
    assert send(url, 3 * SCRIPT_CHUNK, len(ARCHIVE)).status_code == 200
    in_whole(world, id)


def test_an_archive_that_nobody_told_of_until_it_would_have_expired_is_taken_in(world: World) -> None:
    id = world.batch(ARCHIVE)
    lose(world)
    world.wait(SESSION_LIFE * 2)
    world.tick()
    in_whole(world, id)


def test_a_cancelled_upload_takes_nothing_more(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)
    half_sent(world, url)
    assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204
    assert send(url, 3 * SCRIPT_CHUNK, len(ARCHIVE)).status_code == 404
    assert ask(url).status_code == 404
    world.wait(SESSION_LIFE * 2)
    world.tick()
    untouched(world, id, "CANCELLED")
    assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204
    untouched(world, id, "CANCELLED")


def test_a_batch_that_is_cancelled_between_its_upload_and_its_event_takes_nothing_in(world: World) -> None:
    id = world.batch(ARCHIVE)
    assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204
    untouched(world, id, "CANCELLED")


# --- sizes


def test_an_upload_must_have_the_size_that_was_declared(world: World) -> None:
    id = world.batch(size=len(ARCHIVE))
    url = url_of(world, id)
    assert requests.put(url, data=ARCHIVE + b"x", timeout=60).status_code == 400
    assert requests.put(url, data=ARCHIVE[:-1], timeout=60).status_code == 400
    assert send(url, 0, SCRIPT_CHUNK, ARCHIVE + b"x").status_code == 400
    assert send(url, 0, SCRIPT_CHUNK, ARCHIVE[:-9]).status_code == 400
    untouched(world, id)
    assert send_all(url, SCRIPT_CHUNK)[-1] == 200
    in_whole(world, id)


def test_a_size_beyond_the_customers_limit_is_not_taken_since_once_and_told(world: World) -> None:
    world.cloud.db.document("customers/acme").update({"batch_bytes": 1_000_000})
    answer = world.request("POST", "/v0.2/batches?site_id=" + world.site.id, {"size": 1_000_001})
    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == "size"
    assert "1000000 bytes" in answer.body["detail"]
    assert world.suite.traffic.calls("storage.uploads") == []


def test_an_upload_of_undeclared_size_is_held_against_the_limit_when_it_is_there(world: World) -> None:
    world.cloud.db.document("customers/acme").update({"batch_bytes": len(ARCHIVE) - 1})
    id = world.batch(ARCHIVE)
    world.drain()
    shown = world.shown(id)
    assert (shown["status"], shown["error"]["code"]) == ("FAILED", "UPLOAD_TOO_LARGE")
    assert f"{len(ARCHIVE) - 1:,} are allowed" in shown["error"]["message"]
    assert [row["code"] for row in world.errors(id)] == ["UPLOAD_TOO_LARGE"]
    assert world.imported() == {}
    assert world.suite.traffic.calls("storage.objects.get_media") == []


# --- objects that come another way


@pytest.fixture
def theirs(world: World) -> str:
    """Another customer's batch that waits for its upload; its id."""
    world.onboard("globex", "globex")
    add_site(world.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs", task_groups=["meter"])
    key = create_key(world.cloud.db, customer="globex", scopes=["batches"], site=THEIR_SITE)
    answer = world.request("POST", "/v0.2/batches", key=key)
    assert answer.status == 201, answer
    id: str = answer.body["id"]
    return id


def test_an_object_that_no_batch_waits_for_is_left_alone(world: World, theirs: str) -> None:
    id = world.batch()
    names = [
        f"acme/{uuid.uuid4()}.zip",
        f"globex/{id}.zip",
        f"acme/{theirs}.zip",
        f"nobody/{id}.zip",
        f"acme/{id}.tar",
        f"acme/{id}.zip.zip",
        f"acme/{id}",
        f"acme/{id.upper()}.zip",
        f"acme/deeper/{id}.zip",
        f"acme//{id}.zip",
        f"{id}.zip",
        f"/{id}.zip",
        "acme/../etc/passwd",
    ]
    for name in names:
        world.suite.storage.put(UPLOADS, name, ARCHIVE)
    assert len(world.suite.pubsub.outstanding()) == len(names)
    untouched(world, id)
    for _ in range(3):
        world.wait(LOOK_AFTER)
        world.tick()
        untouched(world, id)
    kept = world.cloud.db.document(f"batches/{theirs}").get().to_dict()
    assert kept is not None
    assert kept["state"] == "WAITING_FOR_UPLOAD"
    assert send_all(url_of(world, id), CLI_CHUNK)[-1] == 200
    in_whole(world, id)


def test_what_an_uploader_says_of_an_object_moves_it_to_no_other_batch(world: World, theirs: str) -> None:
    claimed, id = world.batch(), world.batch()
    said = {"X-Goog-Meta-Batch": claimed, "X-Goog-Meta-Customer": "globex", "X-Goog-Meta-Batch_Id": theirs}
    assert send(url_of(world, id), 0, len(ARCHIVE), headers=said).status_code == 200
    in_whole(world, id)
    assert world.shown(claimed)["status"] == "WAITING_FOR_UPLOAD"
    kept = world.cloud.db.document(f"batches/{theirs}").get().to_dict()
    assert kept is not None
    assert kept["state"] == "WAITING_FOR_UPLOAD"


def test_an_archive_put_where_a_batch_has_ended_already_changes_nothing(world: World) -> None:
    ended = world.import_archive(ARCHIVE)
    cancelled = world.batch()
    world.request("DELETE", f"/v0.2/batches/{cancelled}")
    for id in (ended["id"], cancelled):
        world.suite.storage.put(UPLOADS, f"acme/{id}.zip", OTHER)
    world.drain()
    assert not world.failures, world.failures[0]
    assert world.shown(ended["id"]) == ended
    assert world.shown(cancelled)["status"] == "CANCELLED"
    assert set(world.imported()) == NAMES


@pytest.mark.parametrize("after", ["ingest_batch", "upload"])
def test_of_an_archive_that_is_replaced_on_the_way_nothing_else_is_taken_in(world: World, after: str) -> None:
    id = world.batch(ARCHIVE)

    def replace(delivery: Delivery) -> bool:
        answered = world.push(delivery)
        if delivery.function == "ingest_batch":
            world.suite.storage.put(UPLOADS, f"acme/{id}.zip", OTHER)
        return answered

    if after == "ingest_batch":
        world.suite.pubsub.deliver_due(replace)
    else:
        world.suite.storage.put(UPLOADS, f"acme/{id}.zip", OTHER)
    for _ in range(40):
        world.drain()
        world.wait(timedelta(minutes=16))
        world.tick()
    shown = world.shown(id)
    if after == "upload":  # it is taken as it stood when it was first looked at
        assert (shown["status"], len(world.imported())) == ("COMPLETED", 12)
        assert not set(world.imported()) & NAMES
    else:
        assert (shown["status"], shown["error"]["code"]) == ("FAILED", "INTERNAL")
        assert world.imported() == {}


def test_an_upload_never_overwrites_what_is_there_already(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)
    half_sent(world, url)
    world.suite.storage.put(UPLOADS, f"acme/{id}.zip", OTHER)
    world.drain()
    assert send(url, 3 * SCRIPT_CHUNK, len(ARCHIVE)).status_code == 412
    assert world.suite.storage.read(UPLOADS, f"acme/{id}.zip") == OTHER
    assert len(world.imported()) == 12
    assert not set(world.imported()) & NAMES


# --- two at once


def test_two_clients_at_once_with_one_url_make_one_archive(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)

    def upload(_: int) -> int | str:
        try:
            return requests.put(url, data=ARCHIVE, timeout=60).status_code
        except requests.ConnectionError as error:
            return type(error).__name__

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(upload, range(4)))
    assert 200 in answers, answers
    in_whole(world, id)


def test_two_archives_mixed_by_one_url_are_refused_as_one(world: World) -> None:
    id = world.batch()
    url = url_of(world, id)
    turned = ARCHIVE[::-1]
    for place, archive in ((0, ARCHIVE), (1, turned), (2, ARCHIVE)):
        assert send(url, place * CLI_CHUNK, (place + 1) * CLI_CHUNK, archive).ok
    world.drain()
    shown = world.shown(id)
    assert shown["status"] == "COMPLETED_WITH_ERRORS", shown
    assert 0 < shown["work_orders_failed"] == len(world.errors(id)) < 12
    assert {row["code"] for row in world.errors(id)} <= {"DAMAGED", "CHECKSUM_DIFFERS", "NOT_AN_IMAGE"}
    assert set(images(world)) < {file.content for file in FILES}
    assert set(world.imported()) < NAMES


# --- the event


def test_an_event_delivered_twice_and_once_more_much_later(world: World) -> None:
    id = world.batch(ARCHIVE)
    world.suite.pubsub.duplicate_next("ingest_batch", 3)
    in_whole(world, id)
    before = world.shown(id)
    world.wait(timedelta(days=2))
    world.suite.pubsub.redeliver("ingest_batch")
    in_whole(world, id)
    assert world.shown(id) == before


def test_events_out_of_order_and_together(world: World) -> None:
    first = world.batch(zipped([File("WO/meter-1.jpg", jpeg("1"))]))
    second = world.batch(zipped([File("WO/meter-2.jpg", jpeg("2"))]))
    held: list[Delivery] = []

    def backwards(delivery: Delivery) -> bool:
        held.append(delivery)
        return True

    world.suite.pubsub.deliver_due(backwards)
    assert len(held) == 2
    for delivery in reversed(held):
        assert world.push(delivery)
    world.drain()
    for id in (first, second):
        assert world.shown(id)["status"] == "COMPLETED"
    (work_order,) = world.imported().values()
    assert len(work_order["work_items"][0]["input"]) == 2


def test_an_archive_whose_event_is_lost_is_found_at_the_first_tick_after_an_hour(world: World) -> None:
    id = world.batch(ARCHIVE)
    lose(world)
    world.wait(LOOK_AFTER - MINUTE)
    world.tick()
    untouched(world, id)
    world.wait(2 * MINUTE)
    world.tick()
    in_whole(world, id)


def test_an_archive_is_looked_for_each_hour(world: World) -> None:
    id = world.batch()
    for _ in range(3):
        world.suite.traffic.forget()
        for _ in range(7):
            world.wait(LOOK_AFTER / 6)
            world.tick()
            untouched(world, id)
        assert len(world.suite.traffic.calls("storage.objects.get")) == 1


def test_an_event_that_comes_while_the_archive_is_looked_for_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hourly look finds no archive; before it has written that down, the archive comes with its event."""
    id = world.batch()
    url = url_of(world, id)
    look = Objects.stat

    def slowly(self: Objects, bucket: str, name: str) -> Stored | None:
        found = look(self, bucket, name)
        if found is None:
            assert send(url, 0, len(ARCHIVE)).status_code == 200
            assert world.suite.pubsub.deliver_due(world.push) == 1
        return found

    monkeypatch.setattr(Objects, "stat", slowly)
    world.wait(LOOK_AFTER + MINUTE)
    world.tick()
    in_whole(world, id)


def test_an_event_that_comes_after_the_hourly_look_changes_nothing(world: World) -> None:
    id = world.batch(ARCHIVE)
    late: list[Delivery] = []

    def keep(delivery: Delivery) -> bool:
        late.append(delivery)
        return True

    world.suite.pubsub.deliver_due(keep)
    world.wait(LOOK_AFTER + MINUTE)
    world.tick()
    in_whole(world, id)
    before = world.shown(id)
    assert world.push(late[0])
    in_whole(world, id)
    assert world.shown(id) == before
