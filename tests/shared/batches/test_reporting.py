"""What the checks of photographs find is in the report of their batch, as warnings, and in its mail."""

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image as Picture
from PIL import ImageFilter

from infra.local.pubsub import Delivery
from shared.accounts.customers import Site
from shared.analysis import checking, decoding, queue
from shared.batches import reporting
from shared.batches.batch import Batch
from shared.batches.problems import PROBLEM_TYPES
from shared.gcp.clients import Cloud
from shared.gcp.documents import count, fields_of
from shared.outbox.letters import MAX_PLACES
from shared.workorders import pictures, store
from tests.archives import File, zipped
from tests.world import SITE, World, jpeg

AT = datetime(2026, 11, 22, tzinfo=UTC)
PHOTO = jpeg("a photograph")


def cut() -> bytes:
    """A JPEG whose header is whole, and of whose pixels a half is there."""
    out = io.BytesIO()
    Picture.effect_noise((200, 200), 90).save(out, "JPEG")
    return out.getvalue()[: out.tell() // 2]


CUT = cut()
ARCHIVE = zipped(
    [
        File("WO_1/meter-1.jpg", PHOTO),
        File("WO_1/meter-2.jpg", CUT),
        File("WO_2/door.jpg", jpeg("2")),
        File("WO_3/door-1.JPG", CUT),
        File("WO_3/meter.jpg", jpeg("3")),
        File("BAD/roof.jpg", PHOTO),
    ]
)
FOUND = [
    ("BAD", "roof.jpg", "UNKNOWN_TASK_GROUP", "error"),
    ("WO_1", "meter-2.jpg", "UNREADABLE", "warning"),
    ("WO_3", "door-1.JPG", "UNREADABLE", "warning"),
]


def report(world: World, batch: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    rows = world.errors(batch["id"])
    return [(row["work_order"], row["file"], row["code"], row["level"]) for row in rows]


def left(world: World, id: str) -> int:
    return count(world.cloud.db.collection(f"batches/{id}/photographs"))


def test_a_truncated_photograph_is_a_warning_of_its_batch_and_in_its_mail(world: World) -> None:
    shown = world.import_archive(ARCHIVE, notify=["zoe@acme.example"])
    assert report(world, shown) == FOUND
    counts = ("work_orders_done", "work_orders_failed", "errors", "warnings")
    assert [shown[name] for name in counts] == [3, 1, 1, 2]
    assert shown["status"] == "COMPLETED_WITH_ERRORS"
    [row] = [row for row in world.errors(shown["id"]) if row["file"] == "meter-2.jpg"]
    assert row["message"] == (
        "The image “meter-2.jpg” was imported, but cannot be shown: its pixels are damaged or incomplete. "
        "Check that it opens on your computer, and send the photograph again."
    )
    assert shown["codes"] == {"UNKNOWN_TASK_GROUP": 1, "UNREADABLE": 2}
    [mail] = world.cloud.db.collection(f"batches/{shown['id']}/mails").stream()
    assert (mail.get("address"), mail.get("facts")["warnings"]) == ("zoe@acme.example", 2)
    assert left(world, shown["id"]) == 0


def saved(picture: Picture.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG")
    return out.getvalue()


GOOD = Picture.open(io.BytesIO(PHOTO))
EVERY = {
    "meter-1.jpg": (PHOTO, None),
    "meter-2.jpg": (PHOTO, "DUPLICATE"),
    "meter-3.jpg": (CUT, "UNREADABLE"),
    "meter-4.jpg": (saved(GOOD.filter(ImageFilter.GaussianBlur(30))), "BLURRED"),
    "meter-5.jpg": (saved(GOOD.point(lambda value: value // 20)), "TOO_DARK"),
    "meter-6.jpg": (saved(GOOD.point(lambda value: 250)), "TOO_BRIGHT"),
    "meter-7.jpg": (saved(GOOD.resize((320, 200))), "LOW_RESOLUTION"),
    "meter-8.jpg": (saved(GOOD.resize((40, 30), Picture.Resampling.NEAREST)), "LOW_RESOLUTION"),
}
"""A photograph for each code of a check, but for what is gone."""


def test_whatever_a_check_finds_is_a_warning_of_its_batch(world: World) -> None:
    files = [File(f"WO_1/{name}", content) for name, (content, _) in EVERY.items()]
    shown = world.import_archive(zipped(files), notify=["zoe@acme.example"])
    expected = [("WO_1", name, code, "warning") for name, (_, code) in EVERY.items() if code]
    assert report(world, shown) == expected
    assert (shown["status"], shown["errors"], shown["warnings"]) == ("COMPLETED", 0, len(expected))
    assert shown["codes"] == Counter(code for _, _, code, _ in expected)
    said = {row["file"]: row["message"] for row in world.errors(shown["id"])}
    assert " It is the same as “meter-1.jpg”. " in said["meter-2.jpg"]
    assert " It has 320 × 200 pixels: its shorter side should have 640 or more. " in said["meter-7.jpg"]
    problems = mailed(world, shown)["problems"]
    counts = {each["code"]: each["count"] for each in problems}
    assert next(iter(counts.items())) == ("LOW_RESOLUTION", 2)
    assert counts == {code: count for code, count in shown["codes"].items() if code in counts}
    places = {place["place"] for each in problems for place in each["places"]}
    assert {"WO_1 / meter-7.jpg", "WO_1 / meter-8.jpg"} < places


def mailed(world: World, shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the one mail about a batch is made of."""
    [mail] = world.cloud.db.collection(f"batches/{shown['id']}/mails").stream()
    facts: Mapping[str, Any] = mail.get("facts")
    return facts


def test_the_mail_counts_each_code_and_says_where_the_first_are(world: World) -> None:
    bad = [File(f"BAD_{n}/roof.jpg", PHOTO) for n in range(MAX_PLACES + 2)]
    cut = [File(f"CUT_{n}/meter.jpg", CUT) for n in range(MAX_PLACES + 2)]
    shown = world.import_archive(zipped([*bad, *cut]), notify=["zoe@acme.example"])
    found = [
        (each["level"], each["code"], each["count"], [place["place"] for place in each["places"]])
        for each in mailed(world, shown)["problems"]
    ]
    assert found == [
        (level, code, MAX_PLACES + 2, [f"{name}_{n} / {file}" for n in range(MAX_PLACES)])
        for level, code, name, file in (
            ("error", "UNKNOWN_TASK_GROUP", "BAD", "roof.jpg"),
            ("warning", "UNREADABLE", "CUT", "meter.jpg"),
        )
    ]


def test_a_work_order_has_so_many_warnings_and_the_number_of_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "MAX_WARNINGS", 3)
    shown = world.import_archive(
        zipped([File(f"WO_1/{name}", content) for name, (content, _) in EVERY.items()])
    )
    assert [code for _, _, code, _ in report(world, shown)] == [
        "DUPLICATE",
        "UNREADABLE",
        "BLURRED",
        "MORE_WARNINGS",
    ]
    assert (
        "“WO_1” than this list shows. 4 more of this work order are not listed."
        in world.errors(shown["id"])[-1]["message"]
    )


def test_work_orders_are_read_in_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped([File(f"WO_{n}/meter.jpg", jpeg(f"{n}")) for n in range(25)])
    really, read = store.look_at, list[int]()

    def look_at(cloud: Cloud, site: Site, ids: Sequence[str]) -> dict[str, store.Held]:
        read.append(len(ids))
        return really(cloud, site, ids)

    monkeypatch.setattr(store, "look_at", look_at)
    assert world.import_archive(archive)["status"] == "COMPLETED"
    assert max(read) == 20, read
    assert sum(read) > 10 * len(read), read


def test_what_is_awaited_was_not_checked_when_that_was_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of a group is checked while that is written down: then the one before it is awaited."""
    looks = iter([{"a": "due", "b": "due"}, {"a": "due", "b": "done"}, {"a": "due", "b": "done"}])
    monkeypatch.setattr(reporting, "_look", lambda *_: next(looks))
    monkeypatch.setattr(reporting, "_is_waited_for", lambda held: held == "due")
    saved: list[Any] = []
    group = [reporting.Imported(id, id, {}) for id in ("a", "b")]
    attempt: Any = SimpleNamespace(save=saved.append)
    nothing: Any = None
    found: Any = reporting._checked(nothing, nothing, group, attempt)
    assert found == {"a": "due", "b": "done"}
    assert saved == [{"awaits": "b"}, {"awaits": "a"}]


def test_the_last_of_a_group_that_is_not_checked_wakes_the_batch(world: World) -> None:
    """The first is checked last, by a message that comes late; whatever is awaited then, it is not lost."""
    id = world.batch(ARCHIVE)
    without_analyses(world)
    piece = world.cloud.db.document(f"batches/{id}/pieces/{reporting.STAGE}")
    ids = {name: store.work_order_id(SITE, name) for name in ("WO_1", "WO_2", "WO_3")}
    assert piece.get().get("awaits") == ids["WO_3"]
    world.wait(timedelta(minutes=16))
    world.sweep()
    first = {ids["WO_1"]}

    def push(delivery: Delivery) -> bool:
        late = delivery.function == queue.FUNCTION and any(each in str(delivery.data) for each in first)
        return not late and world.push(delivery)

    while world.suite.pubsub.deliver_due(push):
        pass
    assert piece.get().get("awaits") == ids["WO_1"]
    world.wait(timedelta(minutes=16))
    first.clear()
    world.settle()
    assert report(world, world.shown(id)) == FOUND


def test_warnings_alone_are_no_errors(world: World) -> None:
    shown = world.import_archive(zipped([File("WO_1/meter.jpg", CUT)]))
    assert (shown["status"], shown["errors"], shown["warnings"]) == ("COMPLETED", 0, 1)


def test_an_archive_sent_again_is_told_again_and_only_of_its_own_photographs(world: World) -> None:
    world.import_archive(ARCHIVE)
    again = world.import_archive(ARCHIVE)
    assert report(world, again) == FOUND
    other = world.import_archive(zipped([File("WO_1/door.jpg", jpeg("more"))]))
    assert report(world, other) == []


def test_a_photograph_that_is_gone_when_it_is_checked_is_a_warning(world: World) -> None:
    id = world.batch(zipped([File("WO_1/meter.jpg", PHOTO)]))
    without_analyses(world)
    [one] = world.suite.storage.list("waybill-local-images")
    world.suite.storage.remove("waybill-local-images", one.name)
    world.wait(timedelta(minutes=16))
    world.sweep()
    world.drain()
    assert report(world, world.shown(id)) == [("WO_1", "meter.jpg", "MISSING", "warning")]


def without_analyses(world: World) -> None:
    """Deliver everything but what is to be analysed, which is lost."""
    pushed = world.push
    while world.suite.pubsub.deliver_due(lambda each: each.function == queue.FUNCTION or pushed(each)):
        pass


def test_a_batch_waits_for_its_checks_and_is_woken_by_the_last(world: World) -> None:
    id = world.batch(ARCHIVE)
    without_analyses(world)
    assert world.shown(id)["status"] == "PROCESSING"
    assert world.shown(id)["work_orders_done"] == 3
    world.wait(timedelta(minutes=16))
    world.sweep()
    world.drain()
    assert report(world, world.shown(id)) == FOUND
    assert world.shown(id)["status"] == "COMPLETED_WITH_ERRORS"
    assert not world.failures


def test_a_batch_does_not_wait_for_checks_for_ever(world: World) -> None:
    id = world.batch(ARCHIVE)
    without_analyses(world)
    for _ in range(2):
        world.wait(reporting.MAX_CHECKS)
        world.sweep()
        without_analyses(world)
    assert report(world, world.shown(id)) == FOUND[:1]
    assert world.shown(id)["status"] == "COMPLETED_WITH_ERRORS"


def test_work_orders_and_sites_that_are_gone_are_not_waited_for(world: World) -> None:
    id = world.batch(ARCHIVE)
    without_analyses(world)
    store.delete(world.cloud, world.site, store.work_order_id(SITE, "WO_1"))
    world.wait(timedelta(minutes=16))
    world.sweep()
    world.drain()
    assert report(world, world.shown(id)) == [FOUND[0], FOUND[2]]


@pytest.mark.parametrize("size", [200, 256 * 1024], ids=["a document a work order", "one document"])
def test_a_report_goes_on_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Without time, an attempt reports one work order, and leaves the rest to the next."""
    monkeypatch.setattr(reporting, "DOCUMENT_BYTES", size)
    monkeypatch.setattr(reporting, "READ_TOGETHER", 1)
    id = world.batch(ARCHIVE)
    waited: list[Any] = []
    piece = f"batches/{id}/pieces/{reporting.STAGE}"

    def push(delivery: Delivery) -> bool:
        """Deliver the analyses first, then leave the report no time."""
        reporting_now = world.cloud.db.document(piece).get().exists
        if delivery.function == queue.FUNCTION or not reporting_now:
            return world.push(delivery)
        if store_checked(world):
            monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
            waited.append(fields_of(world.cloud.db.document(piece).get()).get("position"))
        return world.push(delivery)

    while world.suite.pubsub.deliver_due(push):
        pass
    assert report(world, world.shown(id)) == FOUND
    assert (world.shown(id)["warnings"], left(world, id)) == (2, 0)
    assert len(waited) >= 3, waited


def store_checked(world: World) -> bool:
    """Whether every work order is checked."""
    return all(each.get("analysis") == "DONE" for each in world.cloud.db.collection("work_orders").stream())


def test_photographs_of_a_slice_are_remembered_in_documents_that_fit() -> None:
    many = [
        reporting.Imported(
            f"{n:036}", f"WO_{n}", {f"{each:036}": f"meter-{each}.jpg" for each in range(5_000)}
        )
        for n in range(3)
    ]
    made = reporting.documents(Batch("b", "acme", SITE, "key", "PROCESSING", AT), "000001", 50, many)
    assert len(made) == 3
    assert max(len(fields["lines"]) for fields in made.values()) < 1_000_000


def test_every_code_that_is_reported_is_a_warning() -> None:
    assert {PROBLEM_TYPES[code].level for code in reporting.REPORTED} == {"warning"}


def test_every_code_of_a_check_is_reported() -> None:
    sources = [Path(module.__file__ or "").read_text() for module in (pictures, checking, decoding)]
    codes = {code for text in sources for code in re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', text)}
    refused = {"EMPTY_FILE", "NOT_AN_IMAGE", "DAMAGED_IMAGE", "TOO_MANY_PIXELS"}
    forms = {"L", "I", "RGB", "RGBA", "JPEG"}
    assert codes - refused - forms == reporting.REPORTED
