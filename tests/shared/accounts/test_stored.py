"""What of a customer's uploads counts as stored: from when, until when, and what is refused."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from infra.bundle import Bundle
from shared.accounts import stored
from shared.accounts.limits import STORED_BYTES
from shared.batches.batch import archive_name
from shared.removals import ARCHIVES_KEPT
from shared.work.lifetimes import REMOVE_AFTER
from tests.archives import File, zipped
from tests.subjects.small_job import Jobs
from tests.world import SITE, World, jpeg

MINUTE = timedelta(minutes=1)


@pytest.fixture
def archive() -> bytes:
    return zipped([File("ONE/meter.jpg", jpeg("one"))])


def in_use(world: World) -> int:
    return stored.in_use(world.cloud, "acme")


def set_limit(world: World, most: int) -> None:
    world.cloud.db.document("customers/acme").update({STORED_BYTES.name: most})


def after(world: World, time: timedelta) -> None:
    world.wait(time)
    world.tick()
    world.drain()
    assert not world.failures, "\n".join(world.failures)


@pytest.mark.slow
def test_an_archive_counts_from_its_url_where_its_size_is_said_until_it_is_removed(
    world: World, archive: bytes
) -> None:
    world.batch(size=len(archive) + 1)
    assert in_use(world) == len(archive) + 1
    after(world, timedelta(days=7))
    assert in_use(world) == 0
    shown = world.import_archive(archive, size=len(archive))
    assert (shown["status"], in_use(world)) == ("COMPLETED", len(archive))
    after(world, ARCHIVES_KEPT - MINUTE)
    assert in_use(world) == len(archive)
    after(world, 2 * MINUTE)
    assert in_use(world) == 0


def test_what_nobody_imports_counts_once_it_came_for_as_long_as_its_bucket_keeps_it(world: World) -> None:
    url = Jobs(world).send("/ls/api/batch/upload-url").body["uploadUrl"]
    assert in_use(world) == 0
    world.upload(url, b"id\n1\n")
    world.drain()
    assert in_use(world) == 5
    [document] = world.cloud.db.collection("customers/acme/stored").stream()
    assert document.get(REMOVE_AFTER) == document.get("until"), "Firestore deletes it then"
    world.wait(stored.UPLOADS_KEPT - MINUTE)
    assert in_use(world) == 5
    world.wait(2 * MINUTE)
    assert in_use(world) == 0
    assert timedelta(days=Bundle.load().buckets["uploads"].days or 0) == stored.UPLOADS_KEPT


def test_a_batch_that_is_cancelled_counts_no_longer_unless_its_archive_came(
    world: World, archive: bytes
) -> None:
    waits, came = world.batch(size=7), world.batch(archive, size=len(archive))
    world.drain()
    for batch in (waits, came):
        world.request("DELETE", f"/v0.2/batches/{batch}")
    assert in_use(world) == len(archive)


@pytest.mark.parametrize("seen_before_it_came", [False, True])
def test_an_archive_that_came_counts_also_where_its_url_is_withdrawn(
    world: World, archive: bytes, monkeypatch: pytest.MonkeyPatch, seen_before_it_came: bool
) -> None:
    name = archive_name("acme", world.batch(archive, size=len(archive)))
    document = world.cloud.db.document(f"customers/{name.replace('/', '/stored/')}")
    seen = document.get()
    assert seen.get("expected")
    stored.came(world.cloud, name)
    if seen_before_it_came:
        late = SimpleNamespace(get=lambda: seen, delete=document.delete)
        monkeypatch.setattr(stored, "_document", lambda *_: late)
    stored.withdrawn(world.cloud, name)
    assert in_use(world) == len(archive)


@pytest.mark.slow
def test_an_event_that_comes_again_counts_no_archive_that_was_removed(world: World, archive: bytes) -> None:
    world.import_archive(archive)
    [document] = world.cloud.db.collection("customers/acme/stored").stream()
    assert document.id.endswith(".zip")
    after(world, ARCHIVES_KEPT + MINUTE)
    stored.came(world.cloud, f"acme/{document.id}")
    assert in_use(world) == 0


@pytest.mark.slow
def test_an_archive_is_counted_also_where_its_event_is_lost(
    world: World, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "came", lambda cloud, name: None)
    world.import_archive(archive)
    assert in_use(world) == len(archive)
    jobs = Jobs(world)
    jobs.imported(b"id\n1\n")
    assert in_use(world) == len(archive) + 5
    sent = jobs.send("/ls/api/batch/upload-url").body
    world.upload(sent["uploadUrl"], b"id\n1\n")
    form = {"jobName": "Import", "itemType": "Technician", "contentType": "text/plain"}
    jobs.ended(jobs.post("import", data={**form, "uploadId": sent["uploadId"]})["jobId"])
    assert in_use(world) == len(archive) + 5 + 5


def test_at_the_limit_no_door_takes_a_file_and_what_came_is_still_imported(
    world: World, archive: bytes
) -> None:
    jobs, size = Jobs(world), len(archive)
    sent = jobs.send("/ls/api/batch/upload-url", data={"size": "5"}).body
    world.upload(sent["uploadUrl"], b"id\n1\n")
    waiting = world.batch()
    world.drain()
    set_limit(world, 5)
    form: dict[str, Any] = {"jobName": "Import", "itemType": "Technician", "contentType": "text/plain"}
    file = {"file": ("some.csv", b"id\n1\n", "text/plain")}
    doors: dict[str, Callable[[], Any]] = {
        "a batch": lambda: world.request("POST", f"/v0.2/batches?site_id={SITE}"),
        "an upload": lambda: jobs.send("/ls/api/batch/upload-url"),
        "a file in its import": lambda: jobs.send("/ls/api/batch/import", data=form, files=file),
    }
    for door, ask in doors.items():
        answer = ask()
        assert answer.status == 429, f"{door}: {answer}"
        assert "the limit stored_bytes is 5 bytes" in str(answer.body), f"{door}: {answer}"
    assert len(list(world.cloud.db.collection("jobs").stream())) == 0
    job = jobs.post("import", data={**form, "uploadId": sent["uploadId"]})["jobId"]
    assert jobs.ended(job)["status"] == "Completed"
    set_limit(world, 5 + size)
    answer = world.request("POST", f"/v0.2/batches?site_id={SITE}", {"size": size + 1})
    assert (answer.status, f"this needs {size + 1:,}" in str(answer.body)) == (429, True), answer
    assert world.batch(size=size) != waiting


@pytest.mark.parametrize("name", ["nobody/x.zip", "acme", "x.zip"])
def test_an_object_in_no_customers_folder_is_not_counted(world: World, name: str) -> None:
    world.suite.storage.put(world.cloud.settings.uploads_bucket, name, b"?")
    stored.came(world.cloud, name)
    assert list(world.cloud.db.collection_group("stored").stream()) == []


def test_anothers_files_count_nothing_of_a_customers(world: World) -> None:
    world.stranger()
    assert Jobs(world, "globex").send("/ls/api/batch/upload-url", data={"size": "9"}).status == 200
    assert (in_use(world), stored.in_use(world.cloud, "globex")) == (0, 9)
