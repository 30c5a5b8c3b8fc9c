"""What is removed of our buckets, when, and what stays."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from shared import removals
from shared.errors import Retry
from shared.removals import ARCHIVES_KEPT
from shared.workorders import images, store
from shared.workorders.images import LINE_BYTES
from shared.workorders.record import WorkOrder
from shared.workorders.removed import GRACE, IMAGES_KEPT
from shared.workorders.store import Photograph
from tests.archives import File, zipped
from tests.subjects.small_dataset import Datasets
from tests.world import BUCKET, SITE, World, jpeg

JUST_BEFORE = timedelta(minutes=30)


def stored(world: World, bucket: str) -> list[str]:
    return sorted(each.name for each in world.suite.storage.list(f"{world.suite.project}-{bucket}"))


def deleted(world: World, order: WorkOrder) -> None:
    answer = world.request("DELETE", f"/v0.2/work-orders/{order.id}?site_id={SITE}")
    assert answer.status == 204, answer


def after(world: World, time: timedelta) -> None:
    """Let time go by, then a tick of the next minute and all that comes of it."""
    world.wait(time + timedelta(minutes=1))
    world.tick()
    world.drain()
    assert not world.failures, "\n".join(world.failures)


@pytest.fixture
def photographs() -> list[Photograph]:
    return [World.photograph(f"one-{n}") for n in range(2)]


def test_the_images_of_a_deleted_work_order_go_after_seven_days_and_no_others(world: World) -> None:
    gone, other = world.work_order("ONE"), world.work_order("TWO")
    all_of_them = stored(world, "images")
    deleted(world, gone)
    world.drain()
    after(world, IMAGES_KEPT - JUST_BEFORE)
    assert stored(world, "images") == all_of_them
    after(world, JUST_BEFORE + GRACE)
    left = stored(world, "images")
    assert left == sorted(f"acme/{SITE}/{one.id}.jpg" for item in other.work_items for one in item.input), (
        left
    )
    assert not list(world.cloud.db.collection_group("pieces").stream())


def test_a_work_order_that_is_made_anew_keeps_its_images(world: World, photographs: list[Photograph]) -> None:
    order = world.work_order("ONE", photos=photographs)
    before = stored(world, "images")
    deleted(world, order)
    world.wait(IMAGES_KEPT - JUST_BEFORE)
    world.work_order("ONE", photos=photographs[:1])
    after(world, JUST_BEFORE + GRACE)
    left = stored(world, "images")
    assert len(left) == 1, "the photograph that the new one lacks is removed"
    assert left[0] in before


def test_one_that_is_made_anew_and_deleted_again_leaves_no_image(
    world: World, photographs: list[Photograph]
) -> None:
    deleted(world, world.work_order("ONE", photos=photographs))
    world.wait(JUST_BEFORE)
    deleted(world, world.work_order("ONE", photos=photographs[:1]))
    after(world, IMAGES_KEPT + GRACE)
    assert stored(world, "images") == [], "what only the first one had is left"
    assert not list(world.cloud.db.collection_group("pieces").stream())


def test_images_of_two_deletions_that_fit_into_no_document_wait(
    world: World, photographs: list[Photograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removals, "ROOM", LINE_BYTES)
    deleted(world, world.work_order("ONE", photos=photographs[:1]))
    again = world.work_order("ONE", photos=photographs[1:])
    answer = world.request("DELETE", f"/v0.2/work-orders/{again.id}?site_id={SITE}")
    assert (answer.status, "in a week" in str(answer.body)) == (503, True), answer
    assert len(stored(world, "images")) == 2


def test_the_same_photograph_of_another_work_order_stays(world: World, photographs: list[Photograph]) -> None:
    gone, other = (world.work_order(name, photos=photographs) for name in ("ONE", "TWO"))
    deleted(world, gone)
    after(world, IMAGES_KEPT + GRACE)
    kept = sorted(f"acme/{SITE}/{one.id}.jpg" for item in other.work_items for one in item.input)
    assert stored(world, "images") == kept


def test_another_image_by_the_name_of_a_removed_one_stays(
    world: World, photographs: list[Photograph]
) -> None:
    deleted(world, world.work_order("ONE", photos=photographs[:1]))
    [name] = stored(world, "images")
    bucket = world.cloud.settings.images_bucket
    first = world.cloud.objects.stat(bucket, name)
    assert first is not None
    world.cloud.objects.remove(bucket, name, first.generation)
    world.cloud.objects.create(bucket, name, b"another", "image/jpeg")
    after(world, IMAGES_KEPT + GRACE)
    assert stored(world, "images") == [name]


def test_a_work_order_without_images_has_nothing_to_be_removed(world: World) -> None:
    path = f"/v0.2/work-orders?site_id={SITE}"
    made = world.request("POST", path, {"name": "BARE"}).body["id"]
    assert world.request("DELETE", f"/v0.2/work-orders/{made}?site_id={SITE}").status == 204
    assert not list(world.cloud.db.collection_group("pieces").stream())


@pytest.mark.slow
def test_of_a_dataset_the_version_stays_and_its_task_names_the_images_that_are_gone(world: World) -> None:
    made = Datasets(world)
    gone = made.work_order("GONE", [{"results": {"state": {"value": "good"}}}])
    made.work_order("KEPT", [{"results": {"state": {"value": "bad"}}}])
    dataset = made.create(task_names=["state"])
    deleted(world, gone)
    after(world, IMAGES_KEPT + GRACE)
    version = made.send("GET", f"/{dataset}/versions").body["versions"][0]["version_id"]
    task = made.begin(dataset, f"gs://{BUCKET}/late/", version_id=version)
    world.drain()
    shown = made.task(dataset, task)
    seen = (shown["status"], shown["finished_sample_count"], shown["missing_sample_count"])
    assert seen == ("SUCCESSED", 1, 1), shown


def test_none_is_made_anew_while_its_images_are_being_removed(
    world: World, photographs: list[Photograph]
) -> None:
    order = world.work_order("ONE", photos=photographs)
    deleted(world, order)
    world.wait(IMAGES_KEPT + JUST_BEFORE)
    with pytest.raises(Retry, match="are being removed"):
        world.work_order("ONE", photos=photographs)
    after(world, GRACE)
    assert stored(world, "images") == []
    world.work_order("ONE", photos=photographs)
    after(world, GRACE)
    assert len(stored(world, "images")) == 2


def test_an_image_that_is_removed_between_a_look_and_the_commit_is_stored_again(
    world: World, photographs: list[Photograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.work_order("ONE", photos=photographs)
    deleted(world, order)
    world.wait(IMAGES_KEPT + GRACE)
    look: Callable[..., object] = store._on_time

    def overtaken(*arguments: object) -> object:
        monkeypatch.setattr(store, "_on_time", look)
        after(world, timedelta())
        assert stored(world, "images") == []
        return look(*arguments)

    monkeypatch.setattr(store, "_on_time", overtaken)
    with pytest.raises(Retry, match="was removed a moment ago"):
        world.work_order("ONE", photos=photographs)
    world.work_order("ONE", photos=photographs)
    assert len(stored(world, "images")) == 2


def test_a_photograph_that_comes_back_while_it_is_removed_is_kept_or_stored_again(
    world: World, photographs: list[Photograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.work_order("ONE", photos=photographs)
    deleted(world, order)
    world.work_order("ONE", photos=photographs[:1])
    world.wait(IMAGES_KEPT + GRACE)
    change: Callable[..., object] = store.change

    def overtaken(*arguments: object) -> object:
        monkeypatch.setattr(store, "change", change)
        after(world, timedelta())
        return change(*arguments)

    monkeypatch.setattr(store, "change", overtaken)
    with suppress(Retry):
        store.add_inputs(world.cloud, world.site, order.id, photographs[1:])
    monkeypatch.setattr(store, "change", change)
    after(world, timedelta())
    store.add_inputs(world.cloud, world.site, order.id, photographs[1:])
    kept = list(images.decode(store.look(world.cloud, world.site, order.id).stored.images))
    there = [
        world.cloud.objects.stat(world.cloud.settings.images_bucket, images.object_name("acme", SITE, each))
        for each in kept
    ]
    assert [each and each.generation for each in there] == [each.generation for each in kept]
    assert len(kept) == 2


def test_a_photograph_that_an_archive_brings_back_while_it_is_removed_is_stored_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, whole = [File("WO_0/metadata.json", b"{}")], [File("WO_0/meter.jpg", jpeg("there"))]
    world.import_archive(zipped(whole))
    [id] = [each.id for each in world.cloud.db.collection("work_orders").stream()]
    assert world.request("DELETE", f"/v0.2/work-orders/{id}?site_id={SITE}").status == 204
    world.import_archive(zipped(bare))
    world.wait(IMAGES_KEPT + GRACE)
    import_many = store.import_many

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(store, "import_many", import_many)
        after(world, timedelta())
        return import_many(*arguments)

    monkeypatch.setattr(store, "import_many", overtaken)
    again = world.batch(zipped(whole))
    world.drain()
    world.settle_until(lambda: bool(world.shown(again)["finish_date"]), lambda: world.shown(again))
    assert world.shown(again)["status"] == "COMPLETED"
    assert len(stored(world, "images")) == 1


def test_removing_goes_on_where_its_time_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "SAVED_EVERY", 2)
    monkeypatch.setattr(removals, "elapsed_since", lambda _: 10_000)
    deleted(world, world.work_order("ONE", photographs=5))
    after(world, IMAGES_KEPT + GRACE)
    assert stored(world, "images") == []
    assert not list(world.cloud.db.collection_group("pieces").stream())


def test_a_message_that_comes_early_removes_nothing(world: World) -> None:
    deleted(world, world.work_order("ONE"))
    piece = next(iter(world.cloud.db.collection_group("pieces").stream()))
    world.cloud.messages.publish(
        removals.FUNCTION, {"work": piece.reference.parent.parent.path, "piece": piece.id}
    )
    world.drain()
    assert len(stored(world, "images")) == 2
    after(world, IMAGES_KEPT + GRACE)
    assert stored(world, "images") == []


def test_one_that_was_looked_at_early_goes_in_time_though_others_are_still_to_wait(world: World) -> None:
    early, *others = (world.work_order(f"WO-{number}") for number in range(5))
    deleted(world, early)
    piece = next(iter(world.cloud.db.collection_group("pieces").stream()))
    world.wait(IMAGES_KEPT - JUST_BEFORE)
    for each in others:
        deleted(world, each)
    world.cloud.messages.publish(
        removals.FUNCTION, {"work": piece.reference.parent.parent.path, "piece": piece.id}
    )
    world.drain()
    assert len(stored(world, "images")) == 10
    after(world, JUST_BEFORE + GRACE)
    assert len(stored(world, "images")) == 8
    after(world, IMAGES_KEPT)
    assert stored(world, "images") == []


def test_an_archive_sent_again_has_the_work_order_back_only_with_its_images(world: World) -> None:
    archive = zipped([File("WO_0/meter.jpg", jpeg("there"))])
    world.import_archive(archive)
    [id] = [each.id for each in world.cloud.db.collection("work_orders").stream()]
    answer = world.request("DELETE", f"/v0.2/work-orders/{id}?site_id={SITE}")
    assert answer.status == 204
    world.wait(IMAGES_KEPT + JUST_BEFORE)
    again = world.batch(archive)
    world.drain()
    assert not world.shown(again)["finish_date"], "it waits until the images are removed"
    world.settle_until(lambda: bool(world.shown(again)["finish_date"]), lambda: world.shown(again))
    assert world.shown(again)["status"] == "COMPLETED"
    assert len(stored(world, "images")) == 1


@pytest.mark.slow
def test_an_archive_that_waits_for_the_removal_of_images_does_not_fail(world: World) -> None:
    archive = zipped([File("WO_0/meter.jpg", jpeg("there"))])
    world.import_archive(archive)
    [id] = [each.id for each in world.cloud.db.collection("work_orders").stream()]
    assert world.request("DELETE", f"/v0.2/work-orders/{id}?site_id={SITE}").status == 204
    world.wait(IMAGES_KEPT + timedelta(minutes=1))
    again = world.batch(archive)
    began = world.suite.clock.now()
    while not world.shown(again)["finish_date"] and world.suite.clock.now() - began < GRACE * 2:
        after(world, timedelta(minutes=1))
    assert world.shown(again)["status"] == "COMPLETED", world.errors(again)
    assert len(stored(world, "images")) == 1


def test_an_archive_goes_three_days_after_it_was_imported(world: World) -> None:
    shown = world.import_archive(zipped([File("WO_0/meter.jpg", jpeg("there"))]))
    assert shown["status"] == "COMPLETED"
    world.settle()
    assert len(stored(world, "uploads")) == 1
    after(world, ARCHIVES_KEPT - JUST_BEFORE)
    assert len(stored(world, "uploads")) == 1
    after(world, JUST_BEFORE)
    assert stored(world, "uploads") == []
    assert len(stored(world, "images")) == 1


@pytest.mark.parametrize("archive", [b"no zip", zipped([File("WO_0/roof.jpg", jpeg("roof"))])])
def test_an_archive_of_which_nothing_was_imported_stays(world: World, archive: bytes) -> None:
    assert world.import_archive(archive)["status"] == "FAILED"
    after(world, ARCHIVES_KEPT * 2)
    assert len(stored(world, "uploads")) == 1


def test_another_object_by_the_same_name_stays(world: World) -> None:
    bucket = world.cloud.settings.images_bucket
    stands = world.cloud.objects.create(bucket, "acme/one.jpg", b"one", "image/jpeg")
    world.cloud.objects.remove(bucket, "acme/one.jpg", stands.generation + 1)
    world.cloud.objects.remove(bucket, "acme/gone.jpg", 1)
    assert stored(world, "images") == ["acme/one.jpg"]
    world.cloud.objects.remove(bucket, "acme/one.jpg", stands.generation)
    assert stored(world, "images") == []
