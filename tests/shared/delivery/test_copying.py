"""Copying images in batches: each once, whatever the batches meet."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from infra.local.traffic import Fault
from shared.delivery.base import Copy, CopyResult
from shared.delivery.cloud_storage import copying
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.delivery.cloud_storage.copying import copy_images
from shared.errors import CustomerMustAct, Retry
from shared.gcp.many import CALL_ATTEMPTS
from shared.gcp.objects import Stored
from shared.settings import Settings
from tests.world import BUCKET, World


def images(world: World, count: int) -> list[Copy]:
    bucket = world.cloud.settings.images_bucket
    for number in range(count):
        world.suite.storage.put(bucket, f"acme/s/{number:04}", f"image {number}".encode(), "image/jpeg")
    return [
        Copy(each.name, each.generation, each.size, each.crc32c, f"to/{number:04} é#?%/x.jpg")
        for number, each in enumerate(world.suite.storage.list(bucket))
    ]


def copy(
    world: World,
    copies: Iterable[Copy],
    on_progress: Callable[[CopyResult], None] = lambda _: None,
    max_batch: int = copying.MAX_BATCH,
) -> CopyResult:
    bucket = CustomerBucket(world.cloud.as_customer(world.acme.account), world.acme.account, BUCKET)
    settings = world.cloud.settings
    return copy_images(
        bucket,
        copies,
        source_bucket=settings.images_bucket,
        storage_url=settings.storage_url,
        max_batch=max_batch,
        on_progress=on_progress,
    )


def all_there(world: World, copies: list[Copy]) -> bool:
    expected = {each.name: f"image {number}".encode() for number, each in enumerate(copies)}
    return world.landed() == expected


def test_images_are_copied_in_batches_that_grow(world: World) -> None:
    copies = images(world, 300)
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present) == (300, 0)
    assert all_there(world, copies)
    batches = len(world.suite.traffic.calls("storage.batch"))
    assert 300 / copying.MAX_BATCH <= batches < 300 / copying.BATCH_FIRST


def test_batches_copy_what_one_rewrite_each_copies(world: World) -> None:
    # Names, bytes, content types: whichever way an image goes, the customer has the same.
    bucket = world.cloud.settings.images_bucket
    for number, type in enumerate(("image/jpeg", "image/png", "image/webp", "image/heic") * 3):
        world.suite.storage.put(bucket, f"acme/s/é {number:02}", bytes([number]) * number, type)
    source = world.suite.storage.list(bucket)
    copies = [
        Copy(each.name, each.generation, each.size, each.crc32c, f"batched/{each.name}") for each in source
    ]
    assert copy(world, copies).copied == len(source)
    theirs = world.cloud.as_customer(world.acme.account)
    for each in source:
        theirs.copy(
            Stored(bucket, each.name, each.generation, each.size, each.crc32c), BUCKET, f"plain/{each.name}"
        )

    def landed(folder: str) -> list[tuple[str, bytes, str | None]]:
        found = world.suite.storage.list(BUCKET, folder)
        content = (world.suite.storage.read(BUCKET, each.name) for each in found)
        return [
            (each.name.removeprefix(folder), bytes, each.content_type)
            for each, bytes in zip(found, content, strict=True)
        ]

    assert landed("batched/") == landed("plain/")
    assert len(landed("plain/")) == 12


def test_no_image_at_all(world: World) -> None:
    assert copy(world, []) == CopyResult()


def test_those_there_already_stay_and_are_only_looked_at(world: World) -> None:
    copies = images(world, 50)
    copy(world, copies[:30])
    before = {each.name: each.generation for each in world.suite.storage.list(BUCKET)}
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present) == (20, 30)
    after = {each.name: each.generation for each in world.suite.storage.list(BUCKET)}
    assert {name: after[name] for name in before} == before
    assert all_there(world, copies)


def test_what_is_gone_changed_or_in_the_way_is_named_and_stops_nothing(world: World) -> None:
    copies = images(world, 10)
    source = world.cloud.settings.images_bucket
    world.suite.storage.remove(source, copies[1].source_name)
    world.suite.storage.put(source, copies[2].source_name, b"changed")
    world.suite.storage.put(BUCKET, copies[3].name, b"theirs")
    copies[4] = copies[4]._replace(crc32c="AAAAAA==")
    world.suite.storage.put(BUCKET, copies[4].name, b"image 4")
    outcome = copy(world, copies)
    assert {each.name for each in outcome.missing} == {copies[1].name, copies[2].name}
    assert {each.name for each in outcome.conflicts} == {copies[3].name, copies[4].name}
    assert outcome.copied == 6
    assert world.landed()[copies[3].name] == b"theirs"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("error", status=429),
        Fault("error", status=500),
        Fault("error", status=503),
        Fault("reset_before"),
        Fault("reset_after"),
        Fault("truncate"),
    ],
    ids=lambda fault: f"{fault.action} {fault.status}",
)
@pytest.mark.parametrize("kind", ["storage.batch", "storage.objects.rewrite", "storage.objects.get"])
def test_what_fails_in_passing_is_tried_again(world: World, kind: str, fault: Fault) -> None:
    copies = images(world, 40)
    copy(world, copies[:5])
    world.suite.traffic.arm(kind, fault, times=2)
    outcome = copy(world, copies)
    assert outcome.copied + outcome.present == 40
    assert all_there(world, copies)


def test_what_keeps_failing_is_left_to_the_next_delivery(world: World) -> None:
    copies = images(world, 5)
    world.suite.traffic.arm("storage.objects.rewrite", Fault("error", status=503), resource="0003", times=100)
    with pytest.raises(Retry, match="0003"):
        copy(world, copies)
    world.suite.traffic.disarm()
    outcome = copy(world, copies)
    assert outcome.copied + outcome.present == 5
    assert all_there(world, copies)


@pytest.mark.parametrize("permission", ["storage.objects.create", "storage.objects.get"])
def test_a_permission_that_is_missing_is_named(world: World, permission: str) -> None:
    copies = images(world, 5)
    copy(world, copies[:1])
    world.suite.storage.revoke(BUCKET, world.acme.account, permission)
    with pytest.raises(CustomerMustAct, match=f"{permission} on the bucket {BUCKET}"):
        copy(world, copies)


def test_a_bucket_that_is_gone_is_told(world: World) -> None:
    copies = images(world, 5)
    world.suite.storage.delete_bucket(BUCKET)
    with pytest.raises(CustomerMustAct, match=f"{BUCKET} does not exist"):
        copy(world, copies)


def test_images_that_we_may_not_read_are_not_the_customers_fault(world: World) -> None:
    copies = images(world, 5)
    world.suite.storage.revoke(world.cloud.settings.images_bucket, world.acme.account)
    with pytest.raises(Retry, match=r"storage\.objects\.get"):
        copy(world, copies)


def test_an_image_is_moved_in_steps_across_locations(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = images(world, 3)
    world.suite.storage.delete_bucket(BUCKET)
    world.suite.storage.create_bucket(BUCKET, location="US")
    world.grant(BUCKET, world.acme)
    assert copy(world, copies).copied == 3
    assert all_there(world, copies)


def test_nothing_is_overwritten_even_where_the_account_could(world: World) -> None:
    world.suite.storage.grant(BUCKET, world.acme.account, "storage.objects.delete")
    copies = images(world, 4)
    world.suite.storage.put(BUCKET, copies[1].name, b"theirs")
    copy(world, copies[:1])
    before = {each.name: each.generation for each in world.suite.storage.list(BUCKET)}
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present, outcome.conflicts) == (2, 1, [copies[1]])
    after = {each.name: each.generation for each in world.suite.storage.list(BUCKET)}
    assert {name: after[name] for name in before} == before


# --- parts that fail


Sent = list[list[str]]
"""The names of each batch that was sent."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The batches, as they are sent from now on."""
    batches: Sent = []
    send = copying._Copying._send

    async def record(
        self: copying._Copying, session: Any, batch: Sequence[copying._Task]
    ) -> list[tuple[int, dict[str, Any]]]:
        batches.append([task.copy.name for task in batch])
        return await send(self, session, batch)

    monkeypatch.setattr(copying._Copying, "_send", record)
    return batches


def asked(world: World, each: Copy) -> tuple[int, int]:
    """How often an image was to be rewritten, and how often one was looked at where it goes."""
    rewrites = world.suite.traffic.calls("storage.objects.rewrite")
    looks = world.suite.traffic.calls("storage.objects.get", each.name)
    name = each.source_name
    return sum(name in call.resource or each.name in call.resource for call in rewrites), len(looks)


def test_a_part_answered_412_is_the_same_and_is_looked_at_once(world: World) -> None:
    copies = images(world, 10)
    copy(world, copies[3:4])
    world.suite.traffic.forget()
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present, outcome.conflicts) == (9, 1, [])
    assert [asked(world, each) for each in copies] == [(1, 1 if each is copies[3] else 0) for each in copies]
    assert all_there(world, copies)


def test_a_part_answered_412_is_another_and_stays_and_is_named(world: World) -> None:
    copies = images(world, 10)
    world.suite.storage.put(BUCKET, copies[3].name, b"theirs!")
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present, outcome.conflicts) == (9, 0, [copies[3]])
    assert [asked(world, each) for each in copies] == [(1, 1 if each is copies[3] else 0) for each in copies]
    assert world.landed()[copies[3].name] == b"theirs!"


def test_a_part_answered_404_is_missing_and_is_not_sent_again(world: World) -> None:
    copies = images(world, 10)
    world.suite.storage.remove(world.cloud.settings.images_bucket, copies[3].source_name)
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.missing) == (9, [copies[3]])
    assert [asked(world, each) for each in copies] == [(1, 0)] * 10


def test_a_part_answered_403_is_the_customers_and_is_not_sent_again(world: World) -> None:
    copies = images(world, 10)
    policy = "Object is under active hold."
    fault = Fault("error", status=403, message=policy)
    world.suite.traffic.arm("storage.objects.rewrite", fault, resource="0003", times=FOREVER)
    with pytest.raises(CustomerMustAct, match="retention policy or a hold"):
        copy(world, copies)
    assert [asked(world, each) for each in copies] == [(1, 0)] * 10


@pytest.mark.parametrize("status", [401, 408, 429, 500, 502, 503, 504])
def test_a_part_that_failed_in_passing_is_sent_again_and_no_other(
    world: World, quick: None, sent: Sent, status: int
) -> None:
    copies = images(world, 10)
    times = CALL_ATTEMPTS - 1
    fault = Fault("error", status=status)
    world.suite.traffic.arm("storage.objects.rewrite", fault, resource="0003", times=times)
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present) == (10, 0)
    assert sent == [[each.name for each in copies], *([copies[3].name] for _ in range(times))]
    assert all_there(world, copies)


def test_a_part_that_is_unfinished_goes_on_with_its_token_and_no_other_is_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    monkeypatch.setattr("infra.local.storage.api.BYTES_REWRITTEN_PER_CALL", 10)
    world.suite.storage.delete_bucket(BUCKET)
    world.suite.storage.create_bucket(BUCKET, location="US")
    world.grant(BUCKET, world.acme)
    copies = images(world, 10)
    large = world.cloud.objects.create(
        world.cloud.settings.images_bucket, "acme/s/large", b"a large image of 30 bytes ...", "image/jpeg"
    )
    copies.append(Copy(large.name, large.generation, large.size, large.crc32c, "to/large.jpg"))
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present) == (11, 0)
    assert sent == [[each.name for each in copies], ["to/large.jpg"], ["to/large.jpg"]]
    assert world.landed()["to/large.jpg"] == b"a large image of 30 bytes ..."


@pytest.mark.parametrize(
    ("said", "done"),
    [
        ({"done": True}, True),
        (
            {"kind": "storage#rewriteResponse", "done": True, "resource": {"name": "x", "generation": "7"}},
            True,
        ),
        ({"done": False, "rewriteToken": "t"}, False),
        ({"done": False, "rewriteToken": 't"done":true'}, False),
        ({"resource": {"name": '"done":true', "metadata": {"done": "true"}}, "done": False}, False),
    ],
)
def test_an_answer_that_tells_of_the_copied_object_is_read_as_one_that_does_not(
    said: dict[str, Any], done: bool
) -> None:
    for body in (json.dumps(said), json.dumps(said, indent=1)):
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json"
        part = f"--b\r\nContent-ID: <response-0>\r\n\r\n{head}\r\n\r\n{body}\r\n"
        answer = f"{part}--b--\r\n".encode()
        assert copying._parse("multipart/mixed; boundary=b", answer, 1, True) == [(200, said)]
        [(status, read)] = copying._parse("multipart/mixed; boundary=b", answer, 1, False)
        assert (status, read["done"], read.get("rewriteToken")) == (200, done, said.get("rewriteToken"))


def test_a_batch_that_times_out_is_sent_again_in_smaller_ones(
    world: World, monkeypatch: pytest.MonkeyPatch, quick: None, one_in_flight: None, sent: Sent
) -> None:
    monkeypatch.setattr(copying, "BATCH_SECONDS", 0.03)
    world.suite.traffic.arm("storage.batch", Fault("delay", seconds=0.05))
    copies = images(world, 4)
    outcome = copy(world, copies)
    assert outcome.copied + outcome.present == 4
    names = [each.name for each in copies]
    assert sent[:2] == [names, names[:2]]
    assert all_there(world, copies)


@pytest.fixture
def one_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small batch after the other."""
    monkeypatch.setattr(copying, "IN_FLIGHT", 1)
    monkeypatch.setattr(copying, "BATCH_FIRST", 4)
    monkeypatch.setattr(copying, "MAX_BATCH", 12)


def test_batches_grow_to_the_maximum_while_answers_are_quick(
    world: World, one_in_flight: None, sent: Sent
) -> None:
    copies = images(world, 50)
    assert copy(world, copies).copied == 50
    assert [len(batch) for batch in sent] == [4, 7, 11, 12, 12, 4]
    assert [name for batch in sent for name in batch] == [each.name for each in copies]


def test_a_batch_carries_no_more_calls_than_storage_takes() -> None:
    assert 1 <= copying.BATCH_FIRST <= copying.MAX_BATCH == Settings.copy_batch == 100


@pytest.mark.parametrize("most", [1, 3, 1_000])
def test_a_batch_carries_no_more_calls_than_it_is_to(
    world: World, one_in_flight: None, sent: Sent, most: int
) -> None:
    copies = images(world, 12)
    assert copy(world, copies, max_batch=most).copied == 12
    assert max(len(batch) for batch in sent) == min(most, 7)
    assert all_there(world, copies)


def test_no_more_images_are_taken_from_their_list_than_are_sent(world: World, sent: Sent) -> None:
    taken: list[str] = []
    ahead: list[int] = []

    def listed() -> Iterator[Copy]:
        for each in images(world, 120):
            taken.append(each.name)
            yield each

    def look(_: CopyResult) -> None:
        ahead.append(len(taken) - len({name for batch in sent for name in batch}))

    assert copy(world, listed(), look, max_batch=10).copied == 120
    # Of the other workers, each may have taken what it is about to send.
    assert 0 <= min(ahead) <= max(ahead) <= (copying.IN_FLIGHT - 1) * 10, ahead


def test_a_part_that_failed_is_sent_again_after_all_others(
    world: World, quick: None, one_in_flight: None, sent: Sent
) -> None:
    copies = images(world, 60)
    fault = Fault("error", status=503)
    world.suite.traffic.arm("storage.objects.rewrite", fault, resource="0005", times=1)
    assert copy(world, copies, max_batch=10).copied == 60
    again = [number for number, batch in enumerate(sent) if copies[5].name in batch]
    assert len(again) == 2, sent
    before = [name for batch in sent[: again[1] + 1] for name in batch][:-1]
    assert before == [each.name for each in copies], sent


def test_batches_do_not_grow_while_answers_are_slow(
    world: World, monkeypatch: pytest.MonkeyPatch, one_in_flight: None, sent: Sent
) -> None:
    monkeypatch.setattr(copying, "QUICK_SECONDS", 0.0)
    copies = images(world, 12)
    assert copy(world, copies).copied == 12
    assert [len(batch) for batch in sent] == [4, 4, 4]


def test_batches_shrink_to_one_call_while_parts_fail_and_grow_again(
    world: World, quick: None, one_in_flight: None, sent: Sent
) -> None:
    copies = images(world, 20)
    for failing in ("0000", "0004", "0006", "0007"):
        fault = Fault("error", status=429)
        world.suite.traffic.arm("storage.objects.rewrite", fault, resource=failing)
    assert copy(world, copies).copied == 20
    assert [len(batch) for batch in sent] == [4, 2, 1, 1, 1, 2, 4, 7, 2]
    assert all_there(world, copies)


def test_the_bytes_of_a_batch_have_a_limit(world: World, monkeypatch: pytest.MonkeyPatch, sent: Sent) -> None:
    monkeypatch.setattr(copying, "BATCH_BYTES", 70)
    copies = images(world, 25)
    assert copy(world, copies).copied == 25
    moved = [sum(each.size for each in copies if each.name in batch) for batch in sent]
    assert all(70 <= size < 70 + max(each.size for each in copies) for size in moved[:-1]), moved


def test_a_batch_of_one_image_that_is_larger_than_a_batch_may_move(
    world: World, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    monkeypatch.setattr(copying, "BATCH_BYTES", 1)
    copies = images(world, 5)
    assert copy(world, copies).copied == 5
    assert [len(batch) for batch in sent] == [1] * 5


def test_a_bucket_that_takes_few_writes_at_first_is_copied_into_more_slowly(
    world: World, monkeypatch: pytest.MonkeyPatch, quick: None, one_in_flight: None
) -> None:
    # It takes one call of each batch, and refuses some images more often than a call is tried.
    send = copying._Copying._send
    refused: Counter[str] = Counter()

    async def ramp(
        self: copying._Copying, session: Any, batch: Sequence[copying._Task]
    ) -> list[tuple[int, dict[str, Any]]]:
        refused.update(task.copy.name for task in batch[1:])
        too_many: dict[str, Any] = {"error": {"message": "Too many requests"}}
        return [*await send(self, session, batch[:1]), *[(429, too_many)] * (len(batch) - 1)]

    monkeypatch.setattr(copying._Copying, "_send", ramp)
    monkeypatch.setattr(copying._Copying, "_slower", lambda self: None)
    copies = images(world, 20)
    assert copy(world, copies).copied == 20
    assert max(refused.values()) > CALL_ATTEMPTS
    assert all_there(world, copies)


# --- batches that fail as a whole

FOREVER = 1_000_000


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are short."""
    monkeypatch.setattr(copying, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(copying, "MAX_BACKOFF", 0.002)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 501])
def test_where_batches_are_refused_each_image_is_copied_by_itself(world: World, status: int) -> None:
    copies = images(world, 40)
    copy(world, copies[:5])
    world.suite.traffic.forget()
    world.suite.traffic.arm("storage.batch", Fault("error", status=status), times=FOREVER)
    outcome = copy(world, copies)
    assert (outcome.copied, outcome.present) == (35, 5)
    assert all_there(world, copies)
    assert len(world.suite.traffic.calls("storage.batch")) <= copying.IN_FLIGHT


@pytest.mark.parametrize(
    "fault",
    [
        Fault("error", status=401),
        Fault("error", status=429),
        Fault("error", status=503),
        Fault("reset_before"),
        Fault("truncate"),
        Fault("error", status=200, message="<html>Please sign in</html>"),
    ],
    ids=["401", "429", "503", "reset", "truncate", "a page"],
)
def test_where_batches_keep_failing_each_image_is_copied_by_itself(
    world: World, quick: None, fault: Fault
) -> None:
    copies = images(world, 40)
    world.suite.traffic.arm("storage.batch", fault, times=FOREVER)
    outcome = copy(world, copies)
    assert outcome.copied + outcome.present == 40
    assert all_there(world, copies)
    batches = len(world.suite.traffic.calls("storage.batch"))
    assert batches <= copying.MAX_FAILED_BATCHES + copying.IN_FLIGHT


def test_a_batch_that_fails_is_not_counted_to_its_images(world: World, quick: None) -> None:
    copies = images(world, 5)
    world.suite.traffic.arm("storage.batch", Fault("error", status=503), times=copying.MAX_FAILED_BATCHES - 1)
    world.suite.traffic.arm(
        "storage.objects.rewrite", Fault("error", status=503), resource="0003", times=CALL_ATTEMPTS - 1
    )
    assert copy(world, copies).copied == 5


def test_by_themselves_images_meet_the_same_as_in_batches(world: World) -> None:
    world.suite.traffic.arm("storage.batch", Fault("error", status=501), times=FOREVER)
    test_what_is_gone_changed_or_in_the_way_is_named_and_stops_nothing(world)


def test_by_itself_too_an_image_is_moved_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.suite.traffic.arm("storage.batch", Fault("error", status=501), times=FOREVER)
    test_an_image_is_moved_in_steps_across_locations(world, monkeypatch)


@pytest.mark.parametrize(
    "fault",
    [Fault("error", status=503), Fault("reset_after"), Fault("truncate")],
    ids=["503", "reset", "truncate"],
)
def test_an_image_by_itself_is_tried_again(world: World, quick: None, fault: Fault) -> None:
    copies = images(world, 20)
    world.suite.traffic.arm("storage.batch", Fault("error", status=501), times=FOREVER)
    world.suite.traffic.arm("storage.objects.rewrite", fault, nth=3, times=2)
    outcome = copy(world, copies)
    assert outcome.copied + outcome.present == 20
    assert all_there(world, copies)


def test_where_the_images_are_refused_too_the_cause_is_said(world: World) -> None:
    policy = "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x"
    for kind in ("storage.batch", "storage.objects.rewrite"):
        world.suite.traffic.arm(kind, Fault("error", status=403, message=policy), times=FOREVER)
    with pytest.raises(CustomerMustAct, match="VPC Service Controls"):
        copy(world, images(world, 30))


def test_where_nothing_works_the_cause_is_said(world: World, quick: None) -> None:
    for kind in ("storage.batch", "storage.objects.rewrite"):
        fault = Fault("error", status=503, message="Out for lunch")
        world.suite.traffic.arm(kind, fault, times=FOREVER)
    with pytest.raises(Retry, match="Out for lunch"):
        copy(world, images(world, 30))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["storage.batch", "storage.objects.rewrite"])
def test_while_nothing_works_life_is_shown_and_the_time_has_an_end(
    world: World, quick: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    world.suite.traffic.arm(kind, Fault("error", status=503), times=FOREVER)
    heartbeats: list[int] = []

    class Over(Exception):
        pass

    def third(_: CopyResult) -> None:
        heartbeats.append(1)
        if len(heartbeats) == 3:
            raise Over

    copies = images(world, 400)
    with pytest.raises(Over):
        copy(world, copies, third)
    monkeypatch.setattr(copying, "IDLE_SECONDS", 0.0)
    with pytest.raises(Retry, match=r"no image was copied for 0 seconds: .*503"):
        copy(world, copies)
