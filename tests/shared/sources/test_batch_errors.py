"""batch-errors: one row a line of a batch's errors file."""

from datetime import timedelta
from typing import Any

from shared.batches import batch as batches
from shared.batches import errors_file
from shared.batches.problems import problem
from shared.gcp.documents import fields_of, plain
from shared.sources.base import Selection
from shared.workorders.record import iso
from tests.shared.sources.reading import MINUTE, items, rows, since, wrong_archive
from tests.world import OTHER_SITE, SITE, World


def found_dates(world: World, batch: str) -> set[str]:
    found = world.cloud.db.collection(f"batches/{batch}/errors").stream()
    return {iso(plain(each.update_time)) for each in found}


def test_the_rows_are_the_lines_of_the_errors_files_with_batch_site_and_date(world: World) -> None:
    first = world.import_archive(wrong_archive("WO_1", "WO_2"))["id"]
    world.wait(timedelta(seconds=1))
    second = world.import_archive(b"no zip")["id"]
    expected: list[dict[str, Any]] = []
    for batch, lines in ((first, 2), (second, 1)):
        [date] = found_dates(world, batch)
        about = {"batch_id": batch, "site_id": SITE, "found_date": date}
        expected += [about | line for line in world.errors(batch)]
        assert len(world.errors(batch)) == lines
    assert rows(world, "batch-errors", since(world)) == expected
    assert {row["code"] for row in expected} == {"UNKNOWN_FILE", "ARCHIVE_NOT_A_ZIP"}


def test_they_are_of_the_sites_that_are_asked_for(world: World) -> None:
    world.import_archive(wrong_archive("WO_1"))
    assert len(rows(world, "batch-errors", since(world, sites=[OTHER_SITE, SITE]))) == 1
    assert rows(world, "batch-errors", since(world, sites=[OTHER_SITE])) == []


def test_errors_come_in_the_window_in_which_they_were_found_though_the_batch_goes_on(world: World) -> None:
    batch = batches.get(world.cloud, world.batch())
    assert batch is not None
    windows: list[Selection] = []
    for position, name in enumerate(("WO_1", "WO_2")):
        found = [problem("UNKNOWN_FILE", work_order=name, file="x.txt")] * 2
        for path, fields in errors_file.documents(batch, "000001", position, found).items():
            world.cloud.db.document(path).create(fields)
        windows.append(since(world, windows[-1].window.end) if windows else since(world))
    world.wait(3 * MINUTE)
    found_in = [[row["work_order"] for row in rows(world, "batch-errors", each)] for each in windows]
    assert found_in == [["WO_1"] * 2, ["WO_2"] * 2]


def test_a_document_of_errors_says_whose_it_is(world: World) -> None:
    id = world.import_archive(wrong_archive("WO_1"))["id"]
    [document] = world.cloud.db.collection(f"batches/{id}/errors").stream()
    fields = fields_of(document)
    assert {name: fields[name] for name in ("customer", "site_id")} == {"customer": "acme", "site_id": SITE}
    [item] = items(world.cloud, "batch-errors", since(world))
    assert (item.id, item.stamp) == (document.reference.path, fields["created"])
