"""A run from the tick to the manifest, in this process: what lands, and that it lands once."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from infra.local.pubsub import Delivery
from shared.exports import runs
from shared.workorders import store
from shared.workorders.envelope import METADATA_BYTES
from shared.workorders.images import Image, object_name
from shared.workorders.record import WorkOrder, iso
from shared.workorders.store import PlainInput
from shared.workorders.stored import Correction
from tests.conftest import START
from tests.world import BUCKET, OTHER_SITE, SITE, World

pytestmark = pytest.mark.cuts

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
NEXT_MORNING = datetime(2026, 11, 24, 2, tzinfo=UTC)
TOPICS = ("tick", "export_work_orders_timeline", "copy_images")


def ids(records: list[dict[str, Any]]) -> list[str]:
    return sorted(record["id"] for record in records)


def image_names(*work_orders: WorkOrder) -> set[str]:
    return {
        f"waybill/{work_order.site_id}/images/{each.id}.{each.file_extension}"
        for work_order in work_orders
        for item in work_order.work_items
        for each in item.input
    }


# --- what lands


@pytest.mark.parametrize("kind", ["timeline", "states"])
def test_an_input_without_an_image_is_in_the_record_and_no_image_is_looked_for(
    world: World, kind: str
) -> None:
    made = world.work_order("WO_1", photographs=1)
    store.add_inputs(
        world.cloud, world.site, made.id, [PlainInput("meter", 12.5), PlainInput("door", "Nº 17")]
    )
    world.export(export_type=f"work-orders-{kind}")
    world.run_due(MORNING)
    [record] = world.records()
    found = {
        item["name"]: [(each["file_extension"], each["metadata"].get("value")) for each in item["input"]]
        for item in record["work_items"]
    }
    meter = [("jpg", None), ("", 12.5)]
    assert found == {"meter": meter[-1:] if kind == "states" else meter, "door": [("", "Nº 17")]}
    [manifest] = world.manifests()
    of_images = 0 if kind == "states" else 1
    assert manifest["images"] == {"exported": True, "referenced": of_images, "missing": [], "conflicts": []}
    assert len(world.images()) == of_images


@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
def test_what_lands_is_the_golden_tree_record_manifest_and_audit_event(
    world: World, golden: Callable[[str, str], None]
) -> None:
    photographs = [world.photograph("1"), world.photograph("2"), world.photograph("front", group="door")]
    work_order = world.work_order("WO_123456", photos=photographs)
    export = world.export()
    world.run_due(MORNING)
    (event,) = world.audit(export)
    document = world.cloud.db.document(f"work_orders/{work_order.id}").get()
    (file,) = world.manifests()[0]["files"]
    hidden = {  # what another run of this test has otherwise
        export: "<export>",
        event["run_id"]: "<run>",
        event["user"]: "<key>",
        file["crc32c"]: "<crc32c>",
        f'"create_date":"{iso(document.create_time)}"': '"create_date":"<the document\'s create_time>"',
        f'"update_date":"{iso(document.update_time)}"': '"update_date":"<the document\'s update_time>"',
    }

    def shown(text: str) -> str:
        for value, name in hidden.items():
            text = text.replace(value, name)
        return text

    landed = world.landed()
    tree = "".join(
        f"{name}  {len(content)}\n" for name, content in landed.items() if "_manifests" not in name
    )
    tree += "".join(f"{name}\n" for name in landed if "_manifests" in name)
    (records,) = world.data_files().values()
    golden("tree.txt", shown(tree))
    golden("records.jsonl", shown(records.decode()))
    golden("manifest.json", shown(json.dumps(world.manifests()[0], indent=2)) + "\n")
    golden("audit.json", shown(json.dumps(event, indent=2)) + "\n")


def test_images_land_byte_for_byte(world: World) -> None:
    photographs = [
        world.photograph(str(number), content=os.urandom(1 + number * 40_000)) for number in range(4)
    ]
    work_order = world.work_order("WO_1", photos=photographs)
    world.export()
    world.run_due(MORNING)
    ordered = [each for item in work_order.work_items for each in item.input]
    assert world.images() == {
        f"waybill/{SITE}/images/{each.id}.jpg": photograph.content
        for each, photograph in zip(ordered, photographs, strict=True)
    }


def test_the_manifest_lists_each_file_as_it_stands_in_the_bucket(world: World) -> None:
    world.work_order("WO_1")
    world.work_order("WO_2", site=world.other_site)
    world.export(site_ids=[SITE, OTHER_SITE])
    world.run_due(MORNING)
    (manifest,) = world.manifests()
    there = {each.name: each for each in world.suite.storage.list(BUCKET)}
    assert {file["site_id"] for file in manifest["files"]} == {SITE, OTHER_SITE}
    for file in manifest["files"]:
        stands = there[file["name"]]
        assert (file["bytes"], file["crc32c"]) == (stands.size, stands.crc32c)
        assert file["rows"] == len(world.landed()[file["name"]].splitlines()) == 1
        assert f"/{file['site_id']}/work-orders-timeline/" in file["name"]
        assert stands.content_type == "application/x-ndjson"


def test_the_states_export_has_the_last_input_of_each_work_item_and_its_image_alone(world: World) -> None:
    work_order = world.work_order("WO_1", photographs=3)
    world.export(export_type="work-orders-states")
    world.run_due(MORNING)
    (record,) = world.records()
    (last,) = record["work_items"][0]["input"]
    assert last["id"] == work_order.work_items[0].input[-1].id
    assert set(world.images()) == {f"waybill/{SITE}/images/{last['id']}.jpg"}
    assert "/work-orders-states/dt=2026-11-22/work-orders-states_2026" in next(iter(world.data_files()))


def test_without_images_no_image_is_copied(world: World) -> None:
    world.work_order("WO_1")
    world.export(connector_config={"storage_uri": f"gs://{BUCKET}", "export_images": False})
    world.run_due(MORNING)
    assert len(world.records()) == 1
    assert world.images() == {}
    (manifest,) = world.manifests()
    assert manifest["images"] == {"exported": False, "referenced": 0, "missing": [], "conflicts": []}


def test_nothing_to_export_is_the_manifest_alone(world: World) -> None:
    export = world.export()
    world.run_due(MORNING)
    assert len(world.landed()) == 1
    (manifest,) = world.manifests()
    assert (manifest["files"], manifest["rows"], manifest["deleted"]) == ([], 0, [])
    (event,) = world.audit(export)
    assert (event["status"], event["rows"], event["file_count"], event["images"]) == ("COMPLETED", 0, 0, 0)


def test_a_site_without_images(world: World) -> None:
    work_order = world.work_order("WO_1", photographs=0)
    world.export()
    world.run_due(MORNING)
    assert ids(world.records()) == [work_order.id]
    assert world.images() == {}
    assert world.manifests()[0]["images"]["referenced"] == 0


def test_an_image_that_is_gone_is_named_and_the_run_completes(world: World) -> None:
    work_order = world.work_order("WO_1", photographs=3)
    gone = work_order.work_items[0].input[1]
    image = Image(gone.id, "jpg", 0, 0, "")
    world.suite.storage.remove(world.cloud.settings.images_bucket, object_name("acme", SITE, image))
    export = world.export()
    world.run_due(MORNING)
    assert len(world.images()) == 2
    (manifest,) = world.manifests()
    assert manifest["images"]["missing"] == [{"site_id": SITE, "id": gone.id, "file_extension": "jpg"}]
    (event,) = world.audit(export)
    assert (event["status"], event["images"], event["images_missing"]) == ("COMPLETED", 2, 1)
    assert event["images_not_delivered"] == [f"{SITE}/images/{gone.id}.jpg"]


def test_an_image_whose_name_is_taken_by_something_else_is_named_and_left_as_it_is(world: World) -> None:
    work_order = world.work_order("WO_1", photographs=3)
    name = sorted(image_names(work_order))[0]
    world.suite.storage.put(BUCKET, name, b"theirs")
    export = world.export()
    world.run_due(MORNING)
    assert world.landed()[name] == b"theirs"
    assert len(world.images()) == 3
    (conflict,) = world.manifests()[0]["images"]["conflicts"]
    assert f"/{conflict['id']}." in name
    (event,) = world.audit(export)
    assert (event["status"], event["images"], event["images_conflicting"]) == ("COMPLETED", 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("compressible", [True, False])
def test_metadata_of_as_many_bytes_as_they_may_have(world: World, compressible: bool) -> None:
    size = METADATA_BYTES - 64
    note = "waybill " * (size // 8) if compressible else os.urandom(size // 2).hex()
    large = world.work_order("WO_LARGE", metadata={"note": note})
    world.export()
    world.run_due(MORNING)
    (record,) = world.records()
    assert (record["id"], record["metadata"]["note"] == note) == (large.id, True)
    changed = store.edit(world.cloud, world.site, large.id, metadata={"note": note, "seen": True}).work_order
    world.run_due(NEXT_MORNING)
    assert store.get(world.cloud, world.site, large.id) == changed
    assert [each["metadata"].get("seen") for each in world.records()] == [None, True]


NASTY = [
    "two  spaces ",
    'it\'s "quoted"',
    "emoji 🚚👩🏽‍🔧",
    "a/b//c",
    "#hash?query=1&x=%2F%",
    "..",
    '","metadata":{}',
    "new\nline\ttab",
    "Ünïcödé \u202e right to left",
]


def test_names_of_every_kind_come_through(world: World) -> None:
    world.work_order("plain")
    for name in NASTY:
        world.work_order(name, metadata={name: name})
    world.export(name="Ops / \"night\" #1 ? %", connector_config={
        "storage_uri": f"gs://{BUCKET}/it's \"my\" 🚚 folder/#1?x=%2F", "export_images": True
    })  # fmt: skip
    world.run_due(MORNING)
    assert sorted(record["name"] for record in world.records()) == sorted(["plain", *NASTY])
    assert all(name.startswith('it\'s "my" 🚚 folder/#1?x=%2F/') for name in world.landed())
    assert len(world.images()) == 2 * (len(NASTY) + 1)
    assert len(world.manifests()) == 1


# --- windows


def test_the_second_window_holds_only_what_changed(world: World) -> None:
    orders = [world.work_order(f"WO_{number}") for number in range(6)]
    export = world.export()
    world.run_due(MORNING)
    first = world.landed()
    store.edit(world.cloud, world.site, orders[0].id, metadata={"visited": 2})
    corrected = orders[1].work_items[0].input[0]
    store.edit(
        world.cloud,
        world.site,
        orders[1].id,
        corrections=[Correction(input_id=corrected.id, task_name="reading", value=7, message="read anew")],
    )
    extended = store.add_inputs(world.cloud, world.site, orders[2].id, [world.photograph("extra")])
    new = world.work_order("WO_NEW")
    store.delete(world.cloud, world.site, orders[3].id)
    store.edit(world.cloud, world.site, orders[4].id, metadata=dict(orders[4].metadata))  # changes nothing
    world.run_due(NEXT_MORNING)

    landed = {name: content for name, content in world.landed().items() if name not in first}
    second = [orjson.loads(line) for name in landed if "/dt=" in name for line in landed[name].splitlines()]
    assert ids(second) == sorted([orders[0].id, orders[1].id, extended.id, new.id])
    by_id = {record["id"]: record for record in second}
    assert by_id[orders[0].id]["metadata"] == {"technician": "Zoë", "visited": 2}
    result = by_id[orders[1].id]["work_items"][0]["input"][0]["job_conformity"][0]
    assert (result["analyzed_value"], result["corrected_value"], result["message"]) == (1234, 7, "read anew")
    assert result["corrected_date"].startswith("2026-11-23T02:00:")
    assert {name for name in landed if "/images/" in name} == image_names(extended, new) - image_names(
        *orders
    )
    manifest = world.manifests()[1]
    assert manifest["deleted"] == [orders[3].id]
    assert manifest["rows"] == 4
    assert all(world.landed()[name] == content for name, content in first.items())
    assert [event["rows"] for event in world.audit(export)] == [4, 6]


def test_a_work_order_changed_after_the_window_is_exported_as_it_was_at_its_end(world: World) -> None:
    work_order = world.work_order("WO_1", metadata={"seen": "at the end"})
    world.export()
    world.move_to(datetime(2026, 11, 23, 0, 30, tzinfo=UTC))
    store.edit(world.cloud, world.site, work_order.id, metadata={"seen": "later"})
    world.run_due(MORNING)
    assert [record["metadata"]["seen"] for record in world.records()] == ["at the end"]
    world.run_due(NEXT_MORNING)
    assert [record["metadata"]["seen"] for record in world.records()] == ["at the end", "later"]


def test_a_work_order_that_came_and_went_within_a_window_is_only_a_deletion(world: World) -> None:
    world.work_order("WO_STAYS")
    gone = world.work_order("WO_GONE")
    store.delete(world.cloud, world.site, gone.id)
    world.export()
    world.run_due(MORNING)
    assert [record["name"] for record in world.records()] == ["WO_STAYS"]
    assert world.manifests()[0]["deleted"] == [gone.id]


def test_every_n_minutes(world: World) -> None:
    export = world.export(interval="every 15 minutes")
    world.work_order("WO_1")
    world.run_due(START + timedelta(minutes=12))  # 09:29: nothing is due
    assert world.audit(export) == []
    world.run_due(START + timedelta(minutes=13))
    world.work_order("WO_2")
    world.run_due(START + timedelta(minutes=28))
    windows = [
        (event["window"]["start"], event["window"]["end"], event["rows"]) for event in world.audit(export)
    ]
    assert windows == [
        ("2026-11-22T09:30:00Z", "2026-11-22T09:45:00Z", 1),
        ("2026-11-22T09:17:00Z", "2026-11-22T09:30:00Z", 1),
    ]


def test_once_exports_everything_so_far_and_ends(world: World) -> None:
    early = world.work_order("WO_1")
    world.wait(timedelta(hours=3))
    export = world.export(interval="once")
    world.work_order("WO_LATE")
    world.run_due()
    assert ids(world.records()) == [early.id]
    assert world.manifests()[0]["window"]["start"] == "1970-01-01T00:00:00Z"
    [name] = world.data_files()
    [run] = world.audit(export)
    bounds = f"beginning_20261122T121700Z_{run['run_id']}"
    folder = f"waybill/{SITE}/work-orders-timeline/dt=2026-11-22"
    assert name == f"{folder}/work-orders-timeline_{bounds}.jsonl"
    assert run["manifest"] == f"waybill/_manifests/{export}/{bounds}.json"
    assert world.request("GET", f"/v1/exports/{export}").body["state"] == "ENDED"
    world.run_due(MORNING)
    assert len(world.audit(export)) == 1


def test_an_export_with_an_end_stops_there(world: World) -> None:
    export = world.export(end="2026-11-24T12:00:00Z")
    for morning in range(4):
        world.run_due(MORNING + timedelta(days=morning))
    ends = [event["window"]["end"] for event in world.audit(export)]
    assert ends == ["2026-11-24T12:00:00Z", "2026-11-24T00:00:00Z", "2026-11-23T00:00:00Z"]
    assert world.request("GET", f"/v1/exports/{export}").body["state"] == "ENDED"


def test_windows_that_were_missed_are_all_exported_oldest_first(world: World) -> None:
    export = world.export()
    world.work_order("WO_1")
    world.run_due(MORNING + timedelta(days=3))
    events = world.audit(export)
    assert [event["window"]["end"][:10] for event in events] == [
        "2026-11-26",
        "2026-11-25",
        "2026-11-24",
        "2026-11-23",
    ]
    assert [event["rows"] for event in events] == [0, 0, 0, 1]
    assert [event["timestamp"] for event in events] == sorted(
        (event["timestamp"] for event in events), reverse=True
    )


def test_run_closes_the_open_window_at_the_last_whole_minute(world: World) -> None:
    export = world.export()
    first = world.work_order("WO_1")
    world.wait(timedelta(minutes=5, seconds=30))
    asked = world.request("POST", f"/v1/exports/{export}:run")
    assert (asked.status, asked.body["status"], asked.body["from"]) == (201, "RUNNING", "Run")
    second = world.work_order("WO_2")
    world.drain()
    assert ids(world.records()) == [first.id]
    world.run_due(MORNING)
    assert ids(world.records()) == sorted([first.id, second.id])
    scheduled, by_hand = world.audit(export)
    assert by_hand["window"] == {"start": "2026-11-22T09:17:00Z", "end": "2026-11-22T09:22:00Z"}
    assert (by_hand["scheduleFrequency"], by_hand["from"]) == ("", "Run")
    assert scheduled["window"]["start"] == by_hand["window"]["end"]
    assert (scheduled["scheduleFrequency"], scheduled["from"]) == ("daily", "Schedule")


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (None, "window began at 2026-11-22T09:17:00Z and holds no whole minute before 2026-11-22T09:18:00Z"),
        # As after `:resume?skip=true`, and after a `:run` that closed the open window.
        (
            "2026-11-22T11:17:00Z",
            "window begins at 2026-11-22T11:17:00Z and holds no whole minute before 2026-11-22T11:18:00Z",
        ),
    ],
)
def test_run_is_refused_while_the_next_window_holds_no_whole_minute_and_says_from_when_it_does(
    world: World, start: str | None, says: str
) -> None:
    export = world.export(start=start)
    answer = world.request("POST", f"/v1/exports/{export}:run")
    assert answer.status == 409
    assert f"{says}: try again then" in answer.body["detail"], answer
    assert world.audit(export) == []
    world.move_to(datetime.fromisoformat(says[-20:]) - timedelta(seconds=1))
    assert world.request("POST", f"/v1/exports/{export}:run").status == 409
    world.move_to(datetime.fromisoformat(says[-20:]))
    assert world.request("POST", f"/v1/exports/{export}:run").status == 201


def test_a_backfill_of_the_future_is_told_from_when_on_it_can_be_exported(world: World) -> None:
    path = f"/v1/exports/{world.export()}:backfill"
    window = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T12:00:00Z"}
    answer = world.request("POST", path, window)
    assert [each["field"] for each in answer.body["errors"]] == ["end"]
    assert "it is 2026-11-22T09:17:" in answer.body["errors"][0]["message"]
    assert "try again at 2026-11-22T12:00:00Z" in answer.body["errors"][0]["message"]
    world.move_to(datetime.fromisoformat(window["end"]))
    assert world.request("POST", path, window).status == 201


def test_backfill_is_a_run_of_its_own_and_moves_nothing(world: World) -> None:
    work_order = world.work_order("WO_1")
    export = world.export()
    world.run_due(MORNING)
    before = world.request("GET", f"/v1/exports/{export}").body
    window = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T10:00:00+00:00"}
    asked = world.request("POST", f"/v1/exports/{export}:backfill", window)
    assert asked.status == 201
    world.drain()
    assert not world.failures
    after = world.request("GET", f"/v1/exports/{export}").body
    outcomes = [each.pop("last_outcome")["run_id"] for each in (before, after)]
    assert after == before
    assert [record["id"] for record in world.records()] == [work_order.id, work_order.id]
    backfill, scheduled = world.audit(export)
    assert backfill["run_id"] == asked.body["run_id"] != scheduled["run_id"]
    assert outcomes == [scheduled["run_id"], backfill["run_id"]]
    assert (backfill["status"], backfill["rows"], backfill["from"]) == ("COMPLETED", 1, "Run")


def test_a_window_older_than_firestore_can_be_read_says_so(world: World) -> None:
    work_order = world.work_order("WO_1")
    export = world.export()
    world.move_to(START + timedelta(days=10))
    window = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T10:00:00Z"}
    world.request("POST", f"/v1/exports/{export}:backfill", window)
    world.drain()
    assert not world.failures, world.failures[0]
    assert ids(world.records()) == [work_order.id]
    (manifest,) = world.manifests()
    assert manifest["read_at"] == "2026-11-25T10:17:00Z" > manifest["window"]["end"]


# --- once


def same_once(world: World, export: str, rows: int, images: int) -> None:
    """One run, one set of files, one audit event, no slot left taken."""
    (event,) = world.audit(export)
    assert (event["status"], event["rows"], event["images"]) == ("COMPLETED", rows, images)
    assert len(world.data_files()) == 1
    assert len(world.records()) == rows
    assert len(world.images()) == images
    assert len(world.manifests()) == 1
    assert world.slots() == []
    generations = [each.generation for each in world.suite.storage.list(BUCKET)]
    assert len(generations) == 2 + images


def test_every_message_delivered_twice_makes_one_run(world: World) -> None:
    world.work_order("WO_1")
    world.work_order("WO_2")
    export = world.export()
    for topic in TOPICS:
        world.suite.pubsub.duplicate_next(topic, times=100)
    world.run_due(MORNING)
    same_once(world, export, rows=2, images=4)


def test_a_tick_delivered_again_a_day_later_makes_nothing(world: World) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.run_due(MORNING)
    world.wait(timedelta(hours=20))
    for topic in TOPICS:
        world.suite.pubsub.redeliver(topic)
    world.drain()
    assert not world.failures
    same_once(world, export, rows=1, images=2)


def test_two_of_every_delivery_at_once_make_one_run(world: World) -> None:
    for number in range(3):
        world.work_order(f"WO_{number}")
    export = world.export()
    world.tick(MORNING)

    def both(delivery: Delivery) -> bool:
        with ThreadPoolExecutor(2) as pool:
            return any(list(pool.map(world.push, [delivery, delivery])))

    while world.suite.pubsub.deliver_due(both):
        pass
    world.settle()
    assert not world.failures, world.failures[0]
    same_once(world, export, rows=3, images=6)


def test_one_export_of_a_customer_runs_after_the_other(world: World) -> None:
    exports = [world.export(name=f"Nightly {number}") for number in range(3)]
    world.tick(MORNING)
    world.step()  # the tick
    world.step()  # and the one message that it publishes
    states = [world.audit(export)[0]["status"] for export in exports]
    assert sorted(states) == ["PENDING", "PENDING", "RUNNING"]
    world.drain()
    assert [world.audit(export)[0]["status"] for export in exports] == ["COMPLETED"] * 3


def test_a_customer_with_more_slots_has_more_runs_at_once(world: World) -> None:
    world.cloud.db.document("customers/acme").update({"parallel_exports": 2})
    exports = [world.export(name=f"Nightly {number}") for number in range(3)]
    world.tick(MORNING)
    world.step()  # the tick
    world.step()  # and the one message that it publishes
    states = [world.audit(export)[0]["status"] for export in exports]
    assert sorted(states) == ["PENDING", "RUNNING", "RUNNING"]
    world.drain()
    assert [world.audit(export)[0]["status"] for export in exports] == ["COMPLETED"] * 3


# --- whose bucket, and what it refuses


def customers_calls(world: World) -> list[tuple[str, str]]:
    account = world.acme.account
    return [
        (call.kind, call.principal)
        for call in world.suite.traffic.calls("storage", resource=BUCKET)
        if call.principal or account
    ]


def test_every_call_to_the_customers_bucket_is_the_customers_account_creating_or_getting(
    world: World,
) -> None:
    world.work_order("WO_1")
    world.export()
    world.run_due(MORNING)
    store.edit(world.cloud, world.site, store.work_order_id(SITE, "WO_1"), metadata={"again": True})
    world.run_due(NEXT_MORNING)
    calls = customers_calls(world)
    assert {principal for _, principal in calls} == {world.acme.account}
    assert {kind for kind, _ in calls} == {"storage.objects.rewrite", "storage.objects.get"}


@pytest.mark.parametrize(
    ("permission", "work_orders"),
    [
        ("storage.objects.create", 1),
        ("storage.objects.get", 1),
        ("storage.objects.create", 0),
        ("storage.objects.get", 0),
    ],
)
def test_a_permission_that_is_missing_is_named_with_the_bucket_and_the_account(
    world: World, permission: str, work_orders: int
) -> None:
    for number in range(work_orders):
        world.work_order(f"WO_{number}")
    export = world.export()
    world.suite.storage.revoke(BUCKET, world.acme.account, permission)
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert event["status"] == "FAILED"
    assert event["error"] == (
        f"The account {world.acme.account} does not have the permission {permission} on the bucket {BUCKET}."
    )
    assert f"Grant {permission}" in event["next_action"]
    assert world.manifests() == []
    assert world.slots() == []
    assert world.suite.pubsub.outstanding() == []


def test_a_permission_withdrawn_between_the_file_and_the_images_fails_the_run_in_a_sentence(
    world: World,
) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.tick(MORNING)

    def withdrawing(delivery: Delivery) -> bool:
        if delivery.function == "copy_images":
            world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")
        return world.push(delivery)

    while world.suite.pubsub.deliver_due(withdrawing):
        pass
    (event,) = world.audit(export)
    assert event["status"] == "FAILED"
    assert "storage.objects.create" in event["error"]
    assert world.manifests() == []


def test_a_bucket_that_is_gone_is_told(world: World) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.suite.storage.delete_bucket(BUCKET)
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["status"], event["error"]) == ("FAILED", f"The bucket {BUCKET} does not exist.")
    assert "Create" in event["next_action"]


def test_a_data_file_whose_name_is_taken_is_not_overwritten(world: World) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.tick(MORNING)
    taken: list[str] = []

    def taking(delivery: Delivery) -> bool:
        if delivery.function == "export_work_orders_timeline" and not taken:
            run = json.loads(delivery.data)["work"].rpartition("/")[2]
            folder = f"waybill/{SITE}/work-orders-timeline/dt=2026-11-22"
            name = f"{folder}/work-orders-timeline_20261122T091700Z_20261123T000000Z_{run}.jsonl"
            world.suite.storage.put(BUCKET, name, b"theirs")
            taken.append(name)
        return world.push(delivery)

    while world.suite.pubsub.deliver_due(taking):
        pass
    (event,) = world.audit(export)
    assert event["status"] == "FAILED"
    assert f"There is already another object at gs://{BUCKET}/{taken[0]}" in event["error"]
    assert world.landed() == {taken[0]: b"theirs"}


# --- large windows in small parts


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "3")
    monkeypatch.setenv("WAYBILL_SLICE_IMAGES", "2")


@pytest.mark.usefixtures("small_parts")
def test_a_window_in_many_parts_is_still_one_file_a_site_with_every_row_once(world: World) -> None:
    orders = []
    for number in range(10):
        orders.append(world.work_order(f"WO_{number}"))
        world.wait(timedelta(minutes=7))
    orders += [world.work_order(f"S_{number}", site=world.other_site, photographs=1) for number in range(5)]
    export = world.export(site_ids=[OTHER_SITE, SITE], start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    assert len(world.data_files()) == 2
    assert ids(world.records()) == sorted(order.id for order in orders)
    assert set(world.images()) == image_names(*orders)
    (event,) = world.audit(export)
    run = runs.get(world.cloud, export, event["run_id"])
    assert run is not None
    assert run.totals is not None
    assert (run.parts or 0) >= 6
    assert run.totals.slices >= 13
    names = [record["name"] for record in world.records() if record["name"].startswith("WO")]
    assert names == [f"WO_{number}" for number in range(10)]
    assert event["bytes"] == sum(len(content) for content in world.data_files().values())


def test_what_a_message_names_and_is_no_more_is_done_with(world: World) -> None:
    gone = {"work": f"exports/{'0' * 8}/runs/{'0' * 10}", "piece": "plan"}
    world.cloud.messages.publish("export_work_orders_timeline", gone, {**gone, "piece": "write-1.000000"})
    world.cloud.messages.publish("copy_images", {**gone, "piece": "copy-1.000000-0"})
    world.drain()
    assert not world.failures
    assert world.suite.pubsub.outstanding() == []


def test_a_run_needs_no_list(world: World) -> None:
    world.work_order("WO_1")
    export = world.export()
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.list")
    world.run_due(MORNING)
    assert world.audit(export)[0]["status"] == "COMPLETED"


def test_images_that_are_gone_from_several_slices_are_all_counted_and_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_SLICE_IMAGES", "1")
    world.work_order("WO_1", photographs=4)
    stored = [each.name for each in world.suite.storage.list("waybill-local-images", f"acme/{SITE}/")]
    for name in stored[:3]:
        world.suite.storage.remove("waybill-local-images", name)
    export = world.export()
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["status"], event["images"], event["images_missing"]) == ("COMPLETED", 1, 3), event
    (manifest,) = world.manifests()
    lost = [f"{each['id']}.{each['file_extension']}" for each in manifest["images"]["missing"]]
    assert sorted(lost) == sorted(name.rpartition("/")[2] for name in stored[:3])
    assert event["images_not_delivered"] == [f"{SITE}/images/{name}" for name in lost]
