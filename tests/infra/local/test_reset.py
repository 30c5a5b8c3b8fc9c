"""A suite that was reset is as one that just started: nothing of a test is left for the next."""

import socket
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from google.api_core.exceptions import NotFound
from google.cloud import firestore, scheduler_v1
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from infra.local.clock import SuiteClock
from infra.local.http_server import HttpServer
from infra.local.identity import InvalidToken
from infra.local.project import account_email, make_customer_account, topic_path
from infra.local.suite import Suite
from infra.local.traffic import Fault

START = datetime(2026, 11, 23, 2, tzinfo=UTC)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Suite]:
    with Suite(state=tmp_path / "state", clock=SuiteClock(frozen_at=START), run_functions=False) as suite:
        yield suite


@pytest.fixture
def db(services: Suite, monkeypatch: pytest.MonkeyPatch) -> Iterator[firestore.Client]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", services.env()["FIRESTORE_EMULATOR_HOST"])
    client = firestore.Client(project=services.project)
    yield client
    client._firestore_api.transport.close()


def state_of(suite: Suite, *, times: bool = True) -> dict[str, Any]:
    """Everything that the services keep in files: each row of each table, and each other file.

    `times`: with the moments at which things were made.
    """
    found: dict[str, Any] = {}
    for file in sorted(suite.state.rglob("*")):
        name = str(file.relative_to(suite.state))
        if file.suffix == ".sqlite":
            with sqlite3.connect(file) as database:
                tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                for (table,) in tables:
                    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                    kept = [each for each in columns if times or each != "created"] or columns
                    rows = database.execute(f"SELECT {', '.join(kept)} FROM {table}").fetchall()
                    found[f"{name}:{table}"] = sorted(map(repr, rows))
            database.close()
        elif file.is_file() and ".sqlite-" not in name:
            found[name] = file.read_bytes()
    return found


def use(suite: Suite, db: firestore.Client) -> str:
    """Leave something in every service; returns the URL of an upload that goes on."""
    db.document("things/one").set({"value": 1})
    db.document("things/one").delete()
    db.document("others/one/below/two").set({"value": 1})
    account = make_customer_account(suite, "acme", "acme")
    suite.identity.create_account("other@example.com")
    suite.identity.disable_account(account)
    suite.storage.create_bucket("bucket")
    suite.storage.grant("bucket", "allUsers", "roles/storage.admin")
    suite.storage.put("bucket", "name", b"content")
    suite.storage.put("waybill-local-uploads", "name", b"tells the function")
    suite.storage.notify("bucket", topic_path("tick", suite.project))
    started = requests.post(
        f"{suite.control_url}/upload/storage/v1/b/bucket/o?uploadType=resumable&name=x", timeout=10
    )
    assert started.status_code == 200, started.text
    part = requests.put(
        started.headers["Location"],
        data=b"x" * 256 * 1024,
        headers={"Content-Range": f"bytes 0-{256 * 1024 - 1}/*"},
        timeout=10,
    )
    assert part.status_code == 308, part.text
    suite.pubsub.create_topic("projects/p/topics/own")
    suite.tick()
    suite.pubsub.duplicate_next("tick", times=3)
    suite.pubsub.deliver_due(lambda _: False)
    suite.sendgrid.bounce("ann@example.com")
    suite.sendgrid.unsubscribe("bob@example.com")
    sent = requests.post(
        f"{suite.control_url}/sendgrid/v3/mail/send",
        json={
            "personalizations": [{"to": [{"email": "carl@example.com"}]}],
            "from": {"email": "us@example.com"},
            "subject": "S",
            "content": [{"type": "text/plain", "value": "T"}],
        },
        headers={"Authorization": f"Bearer {suite.env()['WAYBILL_SENDGRID_KEY']}"},
        timeout=10,
    )
    assert sent.status_code == 202, sent.text
    with grpc.insecure_channel(suite.env()["WAYBILL_SCHEDULER_HOST"]) as channel:
        client = scheduler_v1.CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=channel))
        parent = f"projects/{suite.project}/locations/europe-west1"
        target = {"topic_name": topic_path("tick", suite.project), "data": b"{}"}
        job = scheduler_v1.Job(name=f"{parent}/jobs/tick", schedule="* * * * *", pubsub_target=target)
        client.create_job(parent=parent, job=job)
    suite.traffic.arm("firestore.Commit", Fault("error"))
    suite.traffic.arm("pubsub.Publish", Fault("error", status=403))
    suite.clock.advance(timedelta(days=40))
    return started.headers["Location"]


def test_nothing_that_is_kept_survives_a_reset(services: Suite, db: firestore.Client) -> None:
    started = state_of(services, times=False)
    services.reset()
    assert state_of(services, times=False) == started, "reset at once it is as it started"
    clean = state_of(services)
    use(services, db)
    used = state_of(services)
    changed = {name for name in clean | used if clean.get(name) != used.get(name)}
    assert changed >= {
        "firestore.sqlite:versions",
        "firestore.sqlite:collections",
        "identity.json",
        "pubsub.sqlite:topics",
        "pubsub.sqlite:deliveries",
        "scheduler.json",
        "storage/storage.sqlite:buckets",
        "storage/storage.sqlite:grants",
        "storage/storage.sqlite:objects",
        "storage/storage.sqlite:uploads",
        "storage/storage.sqlite:told_topics",
        "suppressions.json",
    }, changed
    assert any(name.startswith("outbox/") for name in changed)
    assert any(name.startswith("storage/contents/") for name in changed)
    services.reset()
    assert state_of(services) == clean


def test_what_was_kept_is_there_again_as_often_as_it_is_asked_for(
    services: Suite, db: firestore.Client
) -> None:
    use(services, db)
    kept, at = state_of(services), services.clock.now()
    back = services.kept()
    for _ in range(2):
        services.tick()
        services.storage.remove("bucket", "name")
        services.storage.create_bucket("more")
        services.storage.grant("more", "ann@example.com", "roles/storage.admin")
        services.identity.create_account("more@example.com")
        services.sendgrid.unsubscribe("dan@example.com")
        services.traffic.disarm()
        db.document("others/one/below/two").delete()
        db.document("more/one").set({"value": 1})
        services.clock.advance(timedelta(days=40))
        assert state_of(services) != kept
        back()
        assert state_of(services) == kept
        assert services.clock.now() - at < timedelta(seconds=1)


def test_what_was_kept_is_there_again_in_memory(services: Suite, db: firestore.Client) -> None:
    services.storage.create_bucket("bucket")
    services.storage.grant("bucket", "allUsers", "roles/storage.objectViewer")
    services.storage.put("bucket", "name", b"content")
    db.document("things/one").set({"value": 1})
    services.tick()
    services.pubsub.duplicate_next("tick", times=2)
    services.traffic.arm("sendgrid.mail.send", Fault("error"))
    calls = len(services.traffic.calls())
    back = services.kept()
    services.storage.delete_bucket("bucket")
    db.document("more/two").set({"value": 1})
    transaction = db.transaction()
    transaction._begin()
    services.pubsub.deliver_due(lambda _: True)
    services.traffic.reset()
    back()
    with pytest.raises(Exception, match=r"Invalid transaction"):
        transaction._commit()
    db.document("more/one").set({"value": 1})
    assert sorted(each.id for each in db.collections()) == ["more", "things"]
    read = requests.get(f"{services.control_url}/storage/v1/b/bucket/o/name?alt=media", timeout=10)
    assert (read.status_code, read.content) == (200, b"content")
    handed = sum(iter(lambda: services.pubsub.deliver_due(lambda _: True), 0))
    assert handed == 3, "it is delivered twice more"
    assert len(services.traffic.calls()) > calls > 0
    assert services.traffic.enter("sendgrid.mail.send") == Fault("error")


def test_nothing_in_memory_survives_a_reset(services: Suite, db: firestore.Client) -> None:
    told: list[None] = []
    services.pubsub.watch(lambda: told.append(None))
    upload = use(services, db)
    told.clear()
    token = services.identity.mint("other@example.com")
    transaction = db.transaction()
    transaction._begin()
    services.reset()

    assert services.traffic.calls() == []
    assert services.clock.now() - START < timedelta(seconds=1)
    db.document("things/two").set({"value": 1})  # no fault is left, and commit times are as the clock's
    written = db.document("things/two").get()
    assert written.update_time - START < timedelta(seconds=1)
    assert [each.id for each in db.collections()] == ["things"]
    with pytest.raises(Exception, match=r"Invalid transaction"):
        transaction._commit()
    gone = requests.put(upload, headers={"Content-Range": "bytes */*"}, timeout=10)
    assert gone.status_code in (404, 410), gone.text
    services.storage.create_bucket("bucket")
    assert services.storage.list("bucket") == []
    denied = requests.get(f"{services.control_url}/storage/v1/b/bucket/o", timeout=10)
    assert denied.status_code == 401, denied.text
    with pytest.raises(InvalidToken):
        services.identity.principal(f"Bearer {token}")
    assert not services.identity.is_active(account_email("customer-acme-data-export", services.project))
    assert services.pubsub.outstanding() == []
    assert services.pubsub.held() == []
    services.tick()
    assert told == [], "nobody watches any more"
    handed = services.pubsub.deliver_due(lambda delivery: delivery.message_id == "1")
    assert (handed, services.pubsub.outstanding()) == (1, []), "once, under the first id"
    assert services.sendgrid.sent == []
    assert not services.scheduler.has_jobs()


def test_google_clients_go_on_on_the_same_ports(services: Suite, db: firestore.Client) -> None:
    environment = services.env()
    db.document("things/one").set({"value": 1})
    with grpc.insecure_channel(environment["PUBSUB_EMULATOR_HOST"]) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        own = "projects/p/topics/own"
        publisher.create_topic(name=own)
        services.reset()
        assert services.env() == environment
        assert not db.document("things/one").get().exists
        with pytest.raises(NotFound):
            publisher.get_topic(topic=own)
        publisher.get_topic(topic=topic_path("tick", services.project))


def test_a_write_on_its_way_ends_before_the_reset(services: Suite, db: firestore.Client) -> None:
    with ThreadPoolExecutor(1) as pool, services.firestore.hold_commits("things/late") as hold:
        late = pool.submit(db.document("things/late").set, {"value": 1})
        hold.wait_held()
        services.reset()
        late.result()
    assert not db.document("things/late").get().exists
    db.document("things/late").set({"value": 2})  # nothing is held any more


def test_a_request_on_its_way_ends_before_the_reset(services: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was sent, its caller is gone, and the server has not read it yet."""
    bucket = f"{services.project}-uploads"
    token = services.identity.mint(account_email("waybill-batches", services.project))
    (server,) = services._servers
    busy, free = threading.Event(), threading.Event()

    def keep_busy() -> None:
        busy.set()
        free.wait()

    def wait_idle(server: HttpServer) -> None:
        free.set()
        original(server)

    original = HttpServer.wait_idle
    monkeypatch.setattr(HttpServer, "wait_idle", wait_idle)
    server._loop.call_soon_threadsafe(keep_busy)
    busy.wait()
    port = int(services.control_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(
            f"POST /upload/storage/v1/b/{bucket}/o?uploadType=media&name=late HTTP/1.1\r\n"
            f"Host: here\r\nAuthorization: Bearer {token}\r\nContent-Length: 4\r\n\r\nlate".encode()
        )
        services.reset()
        free.set()
        assert client.recv(12) == b"HTTP/1.1 200"
    assert services.storage.list(bucket) == []


def test_only_a_suite_without_functions_is_reset(tmp_path: Path) -> None:
    with (
        Suite(state=tmp_path / "state", clock=SuiteClock(frozen_at=START)) as suite,
        pytest.raises(ValueError, match="runs functions"),
    ):
        suite.reset()


def test_only_a_frozen_clock_goes_back(tmp_path: Path) -> None:
    with (
        Suite(state=tmp_path / "state", run_functions=False) as suite,
        pytest.raises(ValueError, match="frozen"),
    ):
        suite.reset()
