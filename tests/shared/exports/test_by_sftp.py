"""Runs that go by SFTP: what lands and in which order, where what opens the server is kept, and what is told
and fixed where the server refuses."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncssh
import pytest

from infra.local.pubsub import Delivery
from shared.accounts import secrets
from shared.delivery.sftp.connection_test import STEPS
from shared.exports import export as exports
from shared.gcp.documents import fields_of
from shared.workorders import store
from tests.sftp_server import PASSWORD, SftpServer, sftp
from tests.shared.outbox.post import bodies, recipient
from tests.subjects.by_sftp import by_sftp, loopback_allowed, only, the_manifest, there
from tests.world import BUCKET, OTHER_SITE, SITE, Answer, World

__all__ = ["loopback_allowed", "sftp"]

pytestmark = pytest.mark.cuts

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
OPS = "ops@acme.example"
NEW_PASSWORD = "another p4ssword"


def asked(world: World, method: str, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
    answer = world.request(method, path, body)
    assert answer.status == status, answer
    shown: dict[str, Any] = answer.body
    return shown


def patched(world: World, export: str, **place: Any) -> Answer:
    """Edit the export's connector_config."""
    return world.request("PATCH", f"/v1/exports/{export}", {"connector_config": place})


def secret_of(world: World, export: str) -> str:
    """The id of the export's stored secret."""
    secret: str = asked(world, "GET", f"/v1/exports/{export}")["connector_config"]["secret"]
    return secret


def kept(world: World) -> set[str]:
    """The ids of all stored secrets."""
    return {each.id for each in world.cloud.db.collection(secrets.COLLECTION).stream()}


def retried(world: World, export: str) -> dict[str, Any]:
    """Retry the export's only run, see it through, and return its audit event."""
    asked(world, "POST", f"/v1/exports/{export}/runs/{only(world, export)['run_id']}:retry")
    world.settle(sweeps=True)
    return only(world, export)


# --- what lands


def test_what_lands_is_what_lands_in_a_bucket_and_the_manifest_is_the_last(
    world: World, sftp: SftpServer
) -> None:
    world.work_order("WO_1")
    world.work_order("WO_2", site=world.other_site)
    world.cloud.db.document("customers/acme").update({"parallel_exports": 2})
    sites = [SITE, OTHER_SITE]
    export = by_sftp(world, sftp, site_ids=sites)
    into_bucket = world.export(site_ids=sites)
    world.run_due(MORNING)
    event, other = only(world, export), only(world, into_bucket)
    assert (event["status"], event["rows"], event["file_count"], event["images"]) == ("COMPLETED", 2, 2, 4)
    assert event["operations"] == ["SFTP"]
    assert event["sftpDetailsKey"] == secret_of(world, export)
    assert event["recipients"] == []

    def alike(name: str) -> str:
        for own, word in (
            (event["run_id"], "<run>"),
            (other["run_id"], "<run>"),
            (export, "<export>"),
            (into_bucket, "<export>"),
        ):
            name = name.replace(own, word)
        return name

    ours = {alike(name): content for name, content in there(sftp).items()}
    theirs = {alike(name.removeprefix("waybill/")): content for name, content in world.landed().items()}
    assert set(ours) == set(theirs)
    assert {name: ours[name] for name in ours if "_manifests" not in name} == {
        name: theirs[name] for name in theirs if "_manifests" not in name
    }
    manifest, (bucket_manifest,) = the_manifest(sftp), world.manifests()
    changed = ("export_id", "run", "files")
    assert {**manifest, **dict.fromkeys(changed)} == {**bucket_manifest, **dict.fromkeys(changed)}
    for file in manifest["files"]:
        content = (sftp.root / file["name"]).read_bytes()
        assert (file["bytes"], file["rows"]) == (len(content), 1)
    renamed = [path for operation, path in sftp.calls if operation == "rename"]
    assert len(renamed) == 7
    assert "_manifests" in renamed[-1]


def test_an_image_that_is_gone_is_named_in_the_manifest(world: World, sftp: SftpServer) -> None:
    world.work_order("WO_1", photographs=3)
    lost = world.suite.storage.list("waybill-local-images", f"acme/{SITE}/")[1].name
    world.suite.storage.remove("waybill-local-images", lost)
    export = by_sftp(world, sftp)
    world.run_due(MORNING)
    name = lost.rpartition("/")[2]
    event = only(world, export)
    assert (event["status"], event["images"], event["images_missing"]) == ("COMPLETED", 2, 1)
    assert event["images_not_delivered"] == [f"{SITE}/images/{name}"]
    (missing,) = the_manifest(sftp)["images"]["missing"]
    assert f"{missing['id']}.{missing['file_extension']}" == name
    assert len([each for each in there(sftp) if "/images/" in each]) == 2


def test_nothing_to_export_is_the_manifest_alone(world: World, sftp: SftpServer) -> None:
    export = by_sftp(world, sftp)
    world.run_due(MORNING)
    assert only(world, export)["status"] == "COMPLETED"
    assert [name.partition("/")[0] for name in there(sftp)] == ["_manifests"]
    assert the_manifest(sftp)["files"] == []


# --- what opens the server


def everything(world: World) -> Iterator[tuple[str, bytes]]:
    """Every document there is, by its path, as bytes."""

    def below(collections: Any) -> Iterator[tuple[str, bytes]]:
        for collection in collections:
            for each in collection.list_documents():
                fields = each.get().to_dict() or {}
                raw = [value for value in fields.values() if isinstance(value, bytes)]
                yield each.path, repr(fields).encode() + b"".join(raw)
                yield from below(each.collections())

    return below(world.cloud.db.collections())


@pytest.mark.parametrize("by", ["password", "private_key"])
def test_a_login_opens_the_server_and_is_to_be_found_nowhere(
    world: World,
    sftp: SftpServer,
    by: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    world.work_order("WO_1")
    if by == "password":
        sftp.password = "0nly-here-and-nowhere"
        changes, needles = {}, [sftp.password]
    else:
        changes = {"private_key": sftp.login_key(), "password": None}
        sftp.password = None
        needles = str(changes["private_key"]).splitlines()[1:-1]
    place = {
        name: value
        for name, value in sftp.connector_config(export_images=True, **changes).items()
        if value is not None
    }
    answers: list[Answer] = []

    def call(method: str, path: str, body: Any = None) -> Answer:
        answers.append(world.request(method, f"/v1/exports{path}", body))
        assert answers[-1].status in (200, 201), answers[-1]
        return answers[-1]

    export = world.export(connector_type="sftp", connector_config=place)
    # Given again, and given wrongly.
    call("PATCH", f"/{export}", {"connector_config": {by: place[by]}})
    wrong = world.request("PATCH", f"/v1/exports/{export}", {"connector_config": {by: place[by], "port": 80}})
    assert wrong.status == 400
    answers.append(wrong)
    assert call("POST", f"/{export}:test").body["passed"]
    sftp.arm("login", "drop_after")
    world.tick(MORNING)
    world.settle(sweeps=True)
    event = only(world, export)
    assert event["status"] == "COMPLETED", event
    for path in (
        "",
        f"/{export}",
        f"/{export}/history",
        f"/{export}/runs",
        f"/{export}/runs/{event['run_id']}",
    ):
        call("GET", path)
    assert kept(world) == {secret_of(world, export)}
    assert {"password", "private_key"} & set(call("GET", f"/{export}").body["connector_config"]) == set()
    printed = capsys.readouterr()
    found = {
        "an answer": repr(answers).encode(),
        "a log": f"{printed.out}{printed.err}{caplog.text}".encode(),
        **dict(everything(world)),
    }
    assert any(path.startswith("secrets/") for path in found)
    assert any("/runs/" in path for path in found)
    for where, content in found.items():
        for needle in needles:
            assert needle.encode() not in content, f"it stands in {where}"


def test_a_new_password_of_the_same_server_opens_it_to_a_window_that_failed(
    world: World, sftp: SftpServer
) -> None:
    world.work_order("WO_1")
    export = by_sftp(world, sftp, notify=[OPS])
    secret = secret_of(world, export)
    sftp.password = NEW_PASSWORD
    world.run_due(MORNING)
    event = only(world, export)
    assert event["status"] == "FAILED"
    assert "refused the login of waybill" in event["error"]
    assert PASSWORD not in json.dumps(event)
    assert [recipient(each) for each in world.suite.sendgrid.sent] == [OPS]
    assert "refused the login of waybill" in bodies(world.suite.sendgrid.sent[0])[0]
    assert patched(world, export, password=NEW_PASSWORD).status == 200
    assert (secret_of(world, export), kept(world)) == (secret, {secret})
    event = retried(world, export)
    assert (event["status"], event["sftpDetailsKey"]) == ("COMPLETED", secret)
    assert len(there(sftp)) == 4


@pytest.mark.parametrize("field", ["host", "port", "host_key"])
@pytest.mark.parametrize("with_its_secret", [False, True])
def test_what_opens_one_server_is_never_told_to_another(
    world: World, sftp: SftpServer, field: str, with_its_secret: bool
) -> None:
    export = by_sftp(world, sftp)
    secret = secret_of(world, export)
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    moved = {field: {"host": "sftp.evil.example", "port": 2222, "host_key": other}[field]}
    named = {"secret": secret} if with_its_secret else {}
    answer = patched(world, export, **moved, **named)
    assert answer.status == 400, answer
    assert "connector_config.password" in answer.body["detail"]
    assert "is required" in answer.body["detail"]
    before = secret_of(world, export)
    assert before == secret
    answer = patched(world, export, **moved, password=NEW_PASSWORD)
    assert answer.status == 200
    assert secret_of(world, export) != secret, "a run that waits still opens the old server"
    assert secrets.get(world.cloud, "acme", secret) == json.dumps({"password": PASSWORD})


def test_an_edit_of_anything_else_keeps_the_login(world: World, sftp: SftpServer) -> None:
    export = by_sftp(world, sftp)
    secret = secret_of(world, export)
    shown = asked(world, "GET", f"/v1/exports/{export}")["connector_config"]
    for place in ({"path": "elsewhere"}, {"export_images": False}, {**shown, "path": "as shown"}):
        assert patched(world, export, **place).status == 200
        assert secret_of(world, export) == secret
    world.work_order("WO_1")
    world.run_due(MORNING)
    assert only(world, export)["status"] == "COMPLETED"
    assert all(name.startswith("as shown/") for name in sftp.files())


def test_a_stored_secret_that_is_not_the_exports_own_is_refused_and_useless(
    world: World, sftp: SftpServer
) -> None:
    own, other = by_sftp(world, sftp), by_sftp(world, sftp, name="Other")
    theirs = "0" * 32
    sealed = secrets.seal(world.cloud.settings, "globex", theirs, json.dumps({"password": PASSWORD}))
    world.cloud.db.document(secrets.path(theirs)).set(sealed)
    for named in (secret_of(world, other), theirs, "f" * 32):
        answer = patched(world, own, secret=named)
        assert (answer.status, "connector_config.secret" in answer.body["detail"]) == (400, True)
        place = sftp.connector_config(secret=named)
        del place["password"]
        body = {"name": "x", "site_ids": [SITE], "interval": "daily", "connector_type": "sftp"}
        answer = world.request("POST", "/v1/exports", body | {"connector_config": place})
        assert (answer.status, "connector_config.secret" in answer.body["detail"]) == (400, True)
    world.work_order("WO_1")
    asked(world, "POST", f"/v1/exports/{other}:pause")
    # Even if it got into a config: it opens nothing for another customer.
    world.cloud.db.document(f"exports/{own}").update({"config.connector_config.secret": theirs})
    world.run_due(MORNING)
    event = only(world, own)
    assert event["status"] == "FAILED"
    assert event["error"].startswith("There is no stored secret ")
    assert sftp.calls == []


def test_a_deleted_export_leaves_no_secret(world: World, sftp: SftpServer) -> None:
    export, other = by_sftp(world, sftp), by_sftp(world, sftp, name="Other")
    assert patched(world, export, port=2222, password=NEW_PASSWORD).status == 200
    assert len(kept(world)) == 3
    assert world.request("DELETE", f"/v1/exports/{export}").status == 204
    assert kept(world) == {secret_of(world, other)}


def test_a_request_that_comes_twice_makes_one_export_with_one_secret(world: World, sftp: SftpServer) -> None:
    body = {
        "name": "Nightly",
        "site_ids": [SITE],
        "interval": "daily",
        "connector_type": "sftp",
        "connector_config": sftp.connector_config(),
    }
    headers = {"Authorization": f"Token {world.key}", "Idempotency-Key": "once"}
    first, again = (world.request("POST", "/v1/exports", body, headers=headers) for _ in range(2))
    assert (first.status, first.body) == (201, again.body)
    other = body | {"connector_config": sftp.connector_config(password=NEW_PASSWORD)}
    assert world.request("POST", "/v1/exports", other, headers=headers).status == 409
    assert kept(world) == {first.body["connector_config"]["secret"]}


# --- the connection test

Break = Callable[[SftpServer], None]


def unreachable(sftp: SftpServer) -> None:
    sftp.arm("connect", "drop_after", times=100)


def another_key(sftp: SftpServer) -> None:
    sftp.change_host_key()


def another_password(sftp: SftpServer) -> None:
    sftp.password = NEW_PASSWORD


def a_file_in_its_place(sftp: SftpServer) -> None:
    (sftp.root / "waybill").write_bytes(b"")


def a_full_disk(sftp: SftpServer) -> None:
    sftp.room = 0


@pytest.mark.parametrize(
    ("broken", "step", "says"),
    [
        (unreachable, "host key", "failed before the login"),
        (another_key, "host key", "is not the export's host_key"),
        (another_password, "login", "refused the login of waybill"),
        (a_file_in_its_place, "path", "is not a directory"),
        (a_full_disk, "probe file", "refuses to write"),
    ],
)
def test_the_connection_test_names_the_step_that_fails(
    world: World, sftp: SftpServer, broken: Break, step: str, says: str
) -> None:
    export = by_sftp(world, sftp)
    path = f"/v1/exports/{export}:test"
    good = asked(world, "POST", path)
    assert [(each["name"], each["verdict"]) for each in good["steps"]] == [(name, "passed") for name in STEPS]
    assert good["passed"]
    assert list(sftp.root.iterdir()) == []
    broken(sftp)
    found = asked(world, "POST", path)
    at = STEPS.index(step)
    assert [each["verdict"] for each in found["steps"]] == [
        *["passed"] * at,
        "failed",
        *["skipped"] * (len(STEPS) - at - 1),
    ]
    assert says in found["steps"][at]["sentence"]
    assert not found["passed"]


def test_a_private_address_is_refused_unless_it_is_of_the_customers_networks(
    world: World, sftp: SftpServer
) -> None:
    world.work_order("WO_1")
    export = by_sftp(world, sftp)
    world.cloud.db.document("customers/acme").update({"networks": []})
    (first, *_) = asked(world, "POST", f"/v1/exports/{export}:test")["steps"]
    assert (first["name"], first["verdict"]) == ("address", "failed")
    world.run_due(MORNING)
    event = only(world, export)
    assert event["status"] == "FAILED"
    assert "127.0.0.1" in event["error"]
    assert event["next_action"]
    assert sftp.calls == []
    world.cloud.db.document("customers/acme").update({"networks": ["10.0.0.0/8", "127.0.0.1/32"]})
    assert retried(world, export)["status"] == "COMPLETED"


# --- fixed


def nights(world: World, first: int, last: int) -> None:
    """Each night from the first to the last, with a work order in its window."""
    for night in range(first, last + 1):
        due = MORNING + timedelta(days=night)
        world.move_to(due - timedelta(hours=10))
        world.work_order(f"WO_{night}", photographs=0)
        world.run_due(due)


@pytest.mark.parametrize("mended_by", ["the server", "an edit"])
def test_a_server_that_shows_another_key_is_told_of_and_suspended_and_a_test_that_passes_exports_all(
    world: World, sftp: SftpServer, monkeypatch: pytest.MonkeyPatch, mended_by: str
) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    export = by_sftp(world, sftp, notify=[OPS])
    secret = secret_of(world, export)
    original = sftp.key
    sftp.change_host_key()
    nights(world, 0, 2)
    shown = asked(world, "GET", f"/v1/exports/{export}")
    assert shown["state"] == "SUSPENDED"
    assert "is not the export's host_key" in shown["suspended"]["error"]
    assert sftp.fingerprint in shown["suspended"]["error"]
    assert sftp.files() == {}
    assert not asked(world, "POST", f"/v1/exports/{export}:test")["passed"]
    subjects = [each["subject"] for each in world.suite.sendgrid.sent]
    assert (len(subjects), sum("suspended" in each for each in subjects)) == (3, 1), subjects
    if mended_by == "the server":
        sftp.show(original)
    else:
        assert patched(world, export, host_key=sftp.host_key, password=PASSWORD).status == 200
        assert secret_of(world, export) != secret
    assert asked(world, "POST", f"/v1/exports/{export}:test")["passed"]
    world.settle(sweeps=True)
    assert asked(world, "GET", f"/v1/exports/{export}")["state"] == "ACTIVE"
    world.run_due()
    statuses = [event["status"] for event in world.audit(export)]
    assert statuses == ["COMPLETED"] * 3, [event["error"] for event in world.audit(export)]
    names = [
        json.loads(line)["name"]
        for name, content in sorted(there(sftp).items())
        if "/dt=" in name
        for line in content.splitlines()
    ]
    assert names == ["WO_0", "WO_1", "WO_2"]
    assert {event["sftpDetailsKey"] for event in world.audit(export)} == {secret_of(world, export)}


@pytest.mark.parametrize("mended_by", ["the server", "an edit"])
def test_a_host_key_that_changes_in_mid_run_fails_it_and_what_was_pinned_lands_once_it_is_mended(
    world: World, sftp: SftpServer, mended_by: str
) -> None:
    orders = [world.work_order(f"WO_{number}") for number in range(2)]
    export = by_sftp(world, sftp)
    original = sftp.key
    world.tick(MORNING)

    def changing(delivery: Delivery) -> bool:
        if delivery.function == "copy_images" and sftp.key is original:
            sftp.change_host_key()
        return world.push(delivery)

    while world.suite.pubsub.deliver_due(changing):
        pass
    event = only(world, export)
    assert event["status"] == "FAILED"
    assert "is not the export's host_key" in event["error"]
    assert [each for each in there(sftp) if "/dt=" not in each] == [], "the data file had landed"
    staged = {each.name: each.generation for each in world.suite.storage.list("waybill-local-staging")}
    landed = there(sftp)
    # What is true by now is not what was pinned, and must not be what is delivered.
    store.edit(world.cloud, world.site, orders[0].id, metadata={"changed": "after the pin"})
    if mended_by == "the server":
        sftp.show(original)
    else:
        edit = patched(world, export, host_key=sftp.host_key, password=PASSWORD, path="elsewhere")
        assert edit.status == 200
    event = retried(world, export)
    assert (event["status"], event["rows"], event["images"]) == ("COMPLETED", 2, 4), event
    assert landed.items() <= there(sftp).items()
    assert len(there(sftp)) == 6
    assert not any(b"after the pin" in content for content in there(sftp).values())
    after = {each.name: each.generation for each in world.suite.storage.list("waybill-local-staging")}
    assert {name: after[name] for name in staged} == staged


def test_an_edit_to_another_server_leaves_a_failed_window_where_it_was_to_go(
    world: World, sftp: SftpServer
) -> None:
    world.work_order("WO_1")
    export = by_sftp(world, sftp)
    sftp.room = 0
    world.run_due(MORNING)
    event = only(world, export)
    assert event["status"] == "FAILED"
    assert "Make room" in event["next_action"] or "full disk" in event["next_action"]
    assert patched(world, export, port=2222, password=NEW_PASSWORD).status == 200
    sftp.room = None
    assert retried(world, export)["status"] == "COMPLETED"
    assert len(there(sftp)) == 4


def test_a_server_that_is_away_for_a_while_is_waited_for(world: World, sftp: SftpServer) -> None:
    world.work_order("WO_1")
    export = by_sftp(world, sftp)
    sftp.arm("connect", "drop_after", times=5)
    world.tick(MORNING)
    world.drain()
    assert only(world, export)["status"] == "DELIVERING"
    world.settle(sweeps=True)
    event = only(world, export)
    assert (event["status"], event["error"]) == ("COMPLETED", None)
    assert len(there(sftp)) == 4


@pytest.mark.slow
def test_a_server_that_stays_away_fails_the_run_and_is_named(world: World, sftp: SftpServer) -> None:
    world.work_order("WO_1")
    export = by_sftp(world, sftp, end="2026-11-23T00:00:00Z")
    sftp.arm("connect", "drop_after", times=10_000)
    world.tick(MORNING)
    for _ in range(60):
        world.drain()
        if only(world, export)["status"] == "FAILED":
            break
        world.wait(timedelta(minutes=16))
        world.tick()
    event = only(world, export)
    assert event["status"] == "FAILED", event
    assert "the SFTP server 127.0.0.1" in event["error"], event["error"]
    assert "connection test" in event["next_action"]
    sftp.disarm()
    assert retried(world, export)["status"] == "COMPLETED"


def test_the_audit_of_an_export_elsewhere_has_no_sftp_key(world: World) -> None:
    export = world.export()
    world.run_due(MORNING)
    assert only(world, export)["sftpDetailsKey"] is None
    assert fields_of(world.cloud.db.document(f"exports/{export}").get())["config"]["connector_config"] == {
        "storage_uri": f"gs://{BUCKET}/waybill",
        "export_images": True,
    }
