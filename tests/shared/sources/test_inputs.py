"""inputs: one flat row a photograph."""

import base64
from datetime import UTC, datetime
from typing import Any

import google_crc32c

from shared.sources.base import Item
from shared.workorders import images, store
from shared.workorders.record import DataConformity, JobConformity, iso
from shared.workorders.store import Photograph, PlainInput
from tests.shared.sources.reading import deletions, items, rows, rows_of, since
from tests.world import World, jpeg

CHECKED = (
    DataConformity("blur", "BLURRED", "warning"),
    DataConformity("exposure", "DARK", "warning"),
    DataConformity("duplicate", "SEEN", "information"),
    DataConformity("resolution", "SMALL", "error"),
)
RESULTS = (
    JobConformity("reading", 1234, 1235, "2026-11-22T09:00:00Z", "misread", True),
    JobConformity("sealed", False, None, None, None, False),
)


def photographs() -> list[Photograph]:
    bare = Photograph("meter", "meter-1.jpg", jpeg("one"))
    whole = Photograph("door", "door.JPG", jpeg("two"), {"lens": {"f": 1.8}}, CHECKED, RESULTS)
    noted = Photograph("meter", "meter-2.jpg", jpeg("three"), {}, CHECKED[2:3])
    return [bare, whole, noted]


def test_a_text_is_a_row_without_an_image(world: World) -> None:
    made = world.work_order("WO_1", photos=photographs()[:1])
    store.add_inputs(world.cloud, world.site, made.id, [PlainInput("door", "Nº 17", {"floor": 3})])
    photograph, text = rows(world, "inputs", since(world))
    assert photograph["bytes"] == len(jpeg("one"))
    assert (text["file_extension"], text["bytes"], text["crc32c"]) == ("", None, None)
    assert (text["task_group"], text["metadata"]) == ("door", {"floor": 3, "value": "Nº 17"})


def test_a_row_has_all_that_is_known_of_an_image(world: World) -> None:
    made = world.work_order("WO_1", photos=photographs())
    held = store.look(world.cloud, world.site, made.id)
    about_the_order = {
        "work_order_id": made.id,
        "work_order_name": "WO_1",
        "site_id": world.site.id,
        "create_date": iso(held.created),
        "update_date": iso(held.updated),
    }
    nothing: dict[str, Any] = {
        "metadata": {},
        "worst_level": None,
        "errors": 0,
        "warnings": 0,
        "information": 0,
        "results": 0,
        "results_validated": 0,
        "results_corrected": 0,
    }
    of_each: dict[str, dict[str, Any]] = {
        "one": nothing,
        "two": {
            "metadata": {"lens": {"f": 1.8}},
            "worst_level": "error",
            "errors": 1,
            "warnings": 2,
            "information": 1,
            "results": 2,
            "results_validated": 1,
            "results_corrected": 1,
        },
        "three": nothing | {"worst_level": "information", "information": 1},
    }
    expected = [
        {
            **about_the_order,
            **of_each[text],
            "id": each.id,
            "file_extension": "jpg",
            "task_group": item.name,
            "work_item_id": item.id,
            "bytes": len(jpeg(text)),
            "crc32c": base64.b64encode(google_crc32c.Checksum(jpeg(text)).digest()).decode(),
        }
        for item, texts in zip(made.work_items, [["one", "three"], ["two"]], strict=True)
        for each, text in zip(item.input, texts, strict=True)
    ]
    assert rows(world, "inputs", since(world)) == expected


def test_its_images_are_those_of_its_rows_so_that_they_are_copied(world: World) -> None:
    world.work_order("WO_1", photographs=3)
    [item] = items(world.cloud, "inputs", since(world))
    assert isinstance(item, Item)
    listed = list(images.decode(item.images))
    assert [(each.id, each.size, each.crc32c) for each in listed] == [
        (row["id"], row["bytes"], row["crc32c"]) for row in rows_of([item])
    ]


def test_a_run_of_this_source_delivers_the_rows_and_copies_the_images(world: World) -> None:
    world.work_order("WO_1", photographs=2)
    gone = world.work_order("WO_2", photographs=1).id
    store.delete(world.cloud, world.site, gone)
    world.export(export_type="inputs", start="2026-11-22T00:00:00Z")
    world.run_due(datetime(2026, 11, 23, 2, tzinfo=UTC))
    landed = {name.rpartition("/")[2]: len(content) for name, content in world.images().items()}
    assert landed == {f"{row['id']}.jpg": row["bytes"] for row in world.records()}
    assert len(landed) == 2
    assert world.manifests()[-1]["deleted"] == [gone]


def test_a_work_order_without_photographs_is_an_item_without_rows(world: World) -> None:
    id = world.work_order("WO_1", photographs=0).id
    [item] = items(world.cloud, "inputs", since(world))
    assert isinstance(item, Item)
    assert (item.id, item.rows, item.lines, item.images) == (id, 0, b"", b"")


def test_a_deleted_work_order_is_named_as_deleted_and_has_no_rows(world: World) -> None:
    kept, gone = (world.work_order(name).id for name in ("WO_1", "WO_2"))
    store.delete(world.cloud, world.site, gone)
    found = items(world.cloud, "inputs", since(world))
    assert deletions(found) == [gone]
    assert {row["work_order_id"] for row in rows_of(found)} == {kept}
