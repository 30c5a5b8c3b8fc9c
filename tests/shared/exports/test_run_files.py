"""A run says which files it wrote, and where: in the API, in its audit event, and so in `export-runs`."""

import base64
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import google_crc32c
import orjson
import pytest

from shared.delivery.cloud_storage.config import CloudStorageConfig
from shared.delivery.email.config import MAX_RECIPIENTS, EmailConfig
from shared.delivery.sftp.config import MAX_PATH_BYTES, SftpConfig
from shared.exports import audit, names, runs
from shared.exports.audit import FILES_BYTES, FILES_NAMED, MAX_EVENT_BYTES, Outcome
from shared.exports.config import parse
from shared.exports.mailing import Sent
from shared.exports.manifest import File
from shared.exports.runs import Run, Totals
from shared.outbox.mails import REFUSED, Mail
from shared.window import Window
from tests.world import BUCKET, OTHER_SITE, SITE, World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
NEXT_MORNING = datetime(2026, 11, 24, 2, tzinfo=UTC)
SITES = [SITE, OTHER_SITE]


def sftp(**fields: Any) -> SftpConfig:
    """A config with these fields, unchecked."""
    return SftpConfig.model_construct(**{"username": "u", "host_key": "k", **fields})


def fill(world: World) -> None:
    world.work_order("WO_1")
    world.work_order("WO_2", site=world.other_site)


def get(world: World, event: dict[str, Any]) -> dict[str, Any]:
    """The run of an event, asked for by itself; without its steps, which a list has not."""
    answer = world.request("GET", f"/v1/exports/{event['export_id']}/runs/{event['run_id']}")
    assert answer.status == 200, answer
    body: dict[str, Any] = answer.body
    del body["steps"]
    return body


def test_a_run_names_each_file_with_its_place_rows_bytes_and_checksum(world: World) -> None:
    fill(world)
    runs_too = world.export(export_type="export-runs", name="audit", site_ids=SITES)
    export = world.export(site_ids=SITES)
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["status"], event["file_count"]) == ("COMPLETED", 2)
    (manifest,) = (each for each in world.manifests() if each["export_id"] == export)
    assert event["files"] == manifest["files"]
    assert event["destination"] == f"gs://{BUCKET}"
    landed = world.landed()
    for file in event["files"]:
        content = landed[file["name"]]
        sum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        assert file == {
            "name": file["name"],
            "site_id": file["site_id"],
            "rows": content.count(b"\n"),
            "bytes": len(content),
            "crc32c": sum,
        }
        assert list(file) == ["name", "site_id", "rows", "bytes", "crc32c"]
    assert orjson.loads(landed[event["manifest"]]) == manifest
    assert get(world, event) == event
    world.run_due(NEXT_MORNING)
    delivered = [
        orjson.loads(line)
        for name, content in world.landed().items()
        if "/export-runs/" in name
        for line in content.splitlines()
    ]
    (row,) = (each for each in delivered if each["run_id"] == event["run_id"])
    assert orjson.dumps(row["files"]) == orjson.dumps(event["files"])
    assert row == event
    assert world.audit(runs_too)[0]["status"] == "COMPLETED"


def test_a_run_that_delivers_nothing_names_its_manifest_alone(world: World) -> None:
    export = world.export()
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["file_count"], event["files"], event["rows"]) == (0, [], 0)
    assert event["manifest"] in world.landed()


def test_a_run_with_more_files_says_how_many_there_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FILES_NAMED", 1)
    fill(world)
    export = world.export(site_ids=SITES)
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["file_count"], event["rows"]) == (2, 2)
    assert event["files"] == world.manifests()[0]["files"][:1]


def test_while_it_delivers_a_run_names_what_is_there(world: World) -> None:
    fill(world)
    export = world.export(site_ids=SITES)
    world.tick(MORNING)
    seen: list[tuple[str, int, int, bool]] = []
    while world.step():
        for event in world.audit(export):
            alone = get(world, event)
            assert alone["files"] == event["files"]
            there = world.landed()
            assert all(len(there[file["name"]]) == file["bytes"] for file in event["files"])
            facts = (event["status"], event["file_count"], len(event["files"]), event["manifest"] is None)
            seen += [] if facts in seen else [facts]
    assert seen == [
        ("RUNNING", 0, 0, True),
        ("DELIVERING", 2, 2, True),
        ("COMPLETED", 2, 2, False),
    ]


def test_a_run_that_fails_between_two_files_names_the_one_that_is_there(world: World) -> None:
    """What stands in the place of the other is never overwritten."""
    fill(world)
    export = world.export(site_ids=SITES)
    shown = world.request("GET", f"/v1/exports/{export}").body
    start = datetime.fromisoformat(shown["next_window_start"])
    window = Window(start, datetime(2026, 11, 23, tzinfo=UTC))
    run = names.scheduled_run(export, window)
    taken = names.data_file(max(SITES), shown["export_type"], window, ZoneInfo("UTC"), run, None, "jsonl")
    as_theirs = world.cloud.as_customer(shown["account"])
    as_theirs.create(BUCKET, f"waybill/{taken}", b"theirs", "text/plain")
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["status"], event["file_count"], event["manifest"]) == ("FAILED", 2, None), event
    (file,) = event["files"]
    assert file["site_id"] == min(SITES)
    assert len(world.landed()[file["name"]]) == file["bytes"]
    assert get(world, event) == event


@pytest.mark.parametrize(
    ("config", "destination"),
    [
        (CloudStorageConfig(storage_uri="gs://acme-bi/a/b"), "gs://acme-bi"),
        (EmailConfig(emails=("zoe@acme.example",)), None),
        (
            sftp(host="sftp.acme.example", port=22, path="in"),
            "sftp://sftp.acme.example:22",
        ),
        (sftp(host="2001:db8::1", port=2022, path="/"), "sftp://[2001:db8::1]:2022"),
    ],
)
def test_where_the_names_of_a_connector_are(config: Any, destination: str | None) -> None:
    assert config.destination == destination


# --- what bounds an event


def file(name: str) -> File:
    return File(name, SITE, 10**9, 10**12, "AAAAAA==")


def test_an_event_names_files_up_to_a_number_and_to_a_size() -> None:
    few = [file(f"{number}") for number in range(FILES_NAMED)]
    assert audit.first(few) == tuple(few)
    assert audit.first(iter([*few, file("more")])) == tuple(few)
    long = [file("é" * 2_000)] * FILES_NAMED
    named = audit.first(long)
    assert 5 < len(named) < 15
    assert len(orjson.dumps(named)) <= FILES_BYTES < len(orjson.dumps(long[: len(named) + 1]))


RUN = Run(
    id="0" * 10,
    export=SITE,
    customer="acme",
    account="a@b.c",
    version=1,
    config=parse(
        {
            "name": "a",
            "site_ids": [SITE],
            "interval": "once",
            "connector_type": "email",
            "connector_config": {"emails": ["a@acme.example"]},
        }
    ),
    window=Window(MORNING, NEXT_MORNING),
    due=MORNING,
    origin=runs.SCHEDULE,
    user="u" * 20,
    state=runs.COMPLETED,
    totals=Totals(50_000, 10**9, 10**12, 10**9, 10**6),
)


def unsent(address: str) -> Mail:
    """A mail that was refused; what an event says of it, and nothing else."""
    unknown = dict.fromkeys(each.name for each in fields(Mail))
    said = {"address": address, "state": REFUSED, "reason": "r" * 500}
    return Mail(**unknown | said)  # type: ignore[arg-type]


def test_the_largest_event_is_within_its_limit() -> None:
    address = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.example"
    emails = EmailConfig.model_construct(emails=(address,) * MAX_RECIPIENTS)
    path = sftp(host="h" * 253, port=22, path='"' * MAX_PATH_BYTES, secret="s" * 32)
    for connector, place in (("email", emails), ("sftp", path)):
        update = {"connector_type": connector, "connector_config": place}
        run = replace(RUN, config=RUN.config.model_copy(update=update))
        outcome = Outcome(
            runs.COMPLETED,
            audit.first([file(place.place("n" * 300))] * 50_000),
            not_delivered=(f"{SITE}/images/{SITE}.jpeg",) * audit.IMAGES_NAMED,
            mails=Sent(0, (unsent(address),) * MAX_RECIPIENTS),
            error="e" * 5_000,
            next_action="n" * 5_000,
        )
        size = len(orjson.dumps(audit.event(run, outcome, MORNING)))
        assert size <= MAX_EVENT_BYTES, f"{size:,} bytes by {connector}"
