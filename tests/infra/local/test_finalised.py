"""Objects that come to be in a bucket that triggers a function: each is told of at least once."""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cloudevents.http import from_http
from google.cloud import storage
from google.oauth2.credentials import Credentials

from infra.local.clock import SuiteClock
from infra.local.pubsub import Delivery, PubSubService, cloud_event_request
from infra.local.suite import Emulators, Suite
from infra.local.traffic import Fault, Traffic
from tests.infra.local.standin import checkout, notes, until

START = datetime(2026, 11, 23, 2, tzinfo=UTC)
BUCKET = "waybill-local-arrivals"
TOPIC = "projects/waybill-local/topics/eventarc-receive"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "checkout")


@pytest.fixture
def suite(root: Path, tmp_path: Path) -> Iterator[Suite]:
    """The services alone, on a clock that stands still."""
    with Suite(
        state=tmp_path / "state", clock=SuiteClock(frozen_at=START), run_functions=False, root=root
    ) as suite:
        yield suite


def client(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> storage.Client:
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    email = "owner@waybill-local.iam.gserviceaccount.com"
    suite.identity.create_account(email)
    suite.storage.create_bucket("elsewhere", location="US")
    for bucket in (BUCKET, "elsewhere"):
        suite.storage.grant(bucket, email, "roles/storage.objectAdmin")
    return storage.Client(
        project="p",
        credentials=Credentials(token=suite.identity.mint(email)),
        client_options={"api_endpoint": suite.control_url},
    )


def delivered(suite: Suite, acknowledge: bool = True) -> list[Delivery]:
    """What one pass delivers."""
    got: list[Delivery] = []

    def push(delivery: Delivery) -> bool:
        got.append(delivery)
        return acknowledge

    suite.pubsub.deliver_due(push)
    return got


def told(suite: Suite) -> list[Any]:
    """The object resources that `receive` is told of in one pass."""
    return [from_http(*cloud_event_request(delivery)).data for delivery in delivered(suite)]


def inserted(bucket: storage.Bucket, _: Suite) -> None:
    bucket.blob("new").upload_from_string(b"content", content_type="text/plain")


def media(bucket: storage.Bucket, suite: Suite) -> None:
    answer = requests.post(
        f"{suite.control_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=new",
        data=b"content",
        headers={"Authorization": f"Bearer {bucket.client._credentials.token}"},
        timeout=10,
    )
    assert answer.status_code == 200


def resumed(bucket: storage.Bucket, suite: Suite) -> None:
    session = bucket.blob("new").create_resumable_upload_session(size=7, content_type="text/plain")
    assert delivered(suite) == [], "a session is no object"
    answer = requests.put(session, data=b"content", timeout=10)
    assert answer.status_code == 200
    assert requests.put(session, data=b"content", timeout=10).status_code == 200, "its end, asked for again"


def composed(bucket: storage.Bucket, suite: Suite) -> None:
    suite.storage.put(BUCKET, "half", b"content")
    assert [each["name"] for each in told(suite)] == ["half"]
    bucket.blob("new").compose([bucket.blob("half")])


def rewritten(bucket: storage.Bucket, suite: Suite) -> None:
    suite.storage.put("elsewhere", "x", b"content")
    bucket.blob("new").rewrite(bucket.client.bucket("elsewhere").blob("x"))


def rewritten_in_a_batch(bucket: storage.Bucket, suite: Suite) -> None:
    suite.storage.put("elsewhere", "x", b"content")
    body = (
        "--b\r\nContent-Type: application/http\r\n\r\n"
        f"POST /storage/v1/b/elsewhere/o/x/rewriteTo/b/{BUCKET}/o/new HTTP/1.1\r\n\r\n\r\n--b--\r\n"
    )
    answer = requests.post(
        f"{suite.control_url}/batch/storage/v1",
        data=body,
        headers={
            "Authorization": f"Bearer {bucket.client._credentials.token}",
            "Content-Type": "multipart/mixed; boundary=b",
        },
        timeout=10,
    )
    assert "HTTP/1.1 200" in answer.text


@pytest.mark.parametrize("make", [inserted, media, resumed, composed, rewritten, rewritten_in_a_batch])
def test_every_way_to_make_an_object_is_told(
    make: Callable[[storage.Bucket, Suite], None], suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = client(suite, monkeypatch).bucket(BUCKET)
    make(bucket, suite)
    [resource] = told(suite)
    blob = bucket.get_blob("new")
    assert blob is not None
    assert resource == blob._properties
    assert (resource["name"], resource["bucket"], resource["size"]) == ("new", BUCKET, "7")
    assert resource["generation"] == str(blob.generation)
    assert told(suite) == []


def test_the_event_that_eventarc_brings(suite: Suite) -> None:
    suite.storage.put(BUCKET, 'Zoë/1 "%.zip', b"content", "application/zip")
    [delivery] = delivered(suite)
    assert (delivery.function, delivery.topic, delivery.attempt) == ("receive", TOPIC, 1)
    [stored] = suite.storage.list(BUCKET)
    created = f"{stored.time_created.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
    headers, body = cloud_event_request(delivery)
    assert headers == {
        "Content-Type": "application/json; charset=utf-8",
        "ce-id": delivery.message_id,
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{BUCKET}",
        "ce-specversion": "1.0",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-subject": "objects/Zo%C3%AB/1%20%22%25.zip",
        "ce-time": created,
        "ce-bucket": BUCKET,
    }
    data = json.loads(body)
    assert (data["name"], data["generation"]) == ('Zoë/1 "%.zip', str(stored.generation))
    assert (data["size"], data["contentType"], data["crc32c"]) == ("7", "application/zip", stored.crc32c)
    assert (data["timeCreated"], data["kind"]) == (created, "storage#object")


def test_other_buckets_deletions_and_what_failed_are_not_told(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = client(suite, monkeypatch).bucket(BUCKET)
    suite.storage.put("waybill-local-goods", "x", b"1")
    suite.storage.put("elsewhere", "x", b"1")
    suite.storage.put(BUCKET, "x", b"1")
    assert [each["bucket"] for each in told(suite)] == [BUCKET]
    bucket.blob("x").delete()
    suite.storage.put(BUCKET, "y", b"1")
    assert [each["name"] for each in told(suite)] == ["y"]
    with pytest.raises(Exception, match="412"):
        bucket.blob("y").upload_from_string(b"2", if_generation_match=0)
    assert told(suite) == []


def test_an_event_is_redelivered_duplicated_and_given_up_as_a_message_is(suite: Suite) -> None:
    suite.pubsub.duplicate_next("receive")
    suite.storage.put(BUCKET, "a", b"1")
    assert [each["name"] for _ in range(2) for each in told(suite)] == ["a", "a"]
    assert suite.pubsub.redeliver("receive")
    assert [each["name"] for each in told(suite)] == ["a"]
    suite.storage.put(BUCKET, "b", b"1")
    for _ in range(5):
        assert len(delivered(suite, acknowledge=False)) == 1
        suite.clock.advance(timedelta(minutes=10))
    assert suite.pubsub.outstanding() == []
    [letter] = suite.pubsub.held()
    assert json.loads(letter.data)["name"] == "b"
    suite.traffic.arm("pubsub.push", Fault("reset_after"), resource="receive")
    suite.storage.put(BUCKET, "c", b"1")
    assert [each["name"] for each in told(suite)] == ["c"]
    suite.clock.advance(timedelta(seconds=10))
    assert [each["name"] for each in told(suite)] == ["c"], "the lost acknowledgement"


def test_a_bucket_made_again_tells_nobody_until_it_is_set_up(suite: Suite) -> None:
    suite.storage.delete_bucket(BUCKET)
    suite.storage.create_bucket(BUCKET)
    suite.storage.put(BUCKET, "a", b"1")
    assert told(suite) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from infra.local.suite import Suite
suite = Suite(state=Path(sys.argv[1]), run_functions=False, root=Path(sys.argv[2]))
suite.start()
publish = suite.pubsub.publish
def die(*event):
    if sys.argv[3] == "after":
        publish(*event)
    os.kill(os.getpid(), signal.SIGKILL)
suite.pubsub.publish = die
suite.storage.put("waybill-local-arrivals", "x", b"1")
"""


@pytest.mark.parametrize(("when", "times"), [("before", 1), ("after", 2)])
def test_an_object_is_told_though_the_suite_is_killed_over_it(
    root: Path, tmp_path: Path, when: str, times: int
) -> None:
    state = tmp_path / "state"
    arguments = [sys.executable, "-c", KILLED, str(state), str(root), when]
    killed = subprocess.run(arguments, cwd=Path(__file__).parents[3], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    for expected in (["x"] * times, []):
        with Suite(state=state, run_functions=False, root=root) as suite:
            assert suite.storage.read(BUCKET, "x") == b"1"
            assert [each["name"] for each in told(suite)] == expected


def test_a_pubsub_of_the_users_own_is_told(root: Path, tmp_path: Path) -> None:
    clock = SuiteClock(frozen_at=START)
    theirs = PubSubService(clock=clock, traffic=Traffic(), file=None)
    pushed: list[Delivery] = []

    def push(delivery: Delivery) -> bool:
        pushed.append(delivery)
        return True

    emulators = Emulators(pubsub=f"127.0.0.1:{theirs.start()}", firestore="127.0.0.1:1")
    with Suite(state=tmp_path / "state", clock=clock, root=root, emulators=emulators, push=push) as suite:
        suite.storage.put(BUCKET, "x", b"1")
        subscription = theirs.subscription("projects/waybill-local/subscriptions/eventarc-receive")
        assert subscription is not None

        def their_push(delivery: Delivery) -> bool:
            message = {
                "data": base64.b64encode(delivery.data).decode(),
                "messageId": delivery.message_id,
                "publishTime": delivery.publish_time.isoformat(),
                "attributes": dict(delivery.attributes),
            }
            body = {"message": message, "subscription": delivery.subscription}
            return requests.post(subscription.endpoint, json=body, timeout=10).status_code == 200

        assert theirs.deliver_due(their_push) == 1
    theirs.stop()
    [delivery] = pushed
    event = from_http(*cloud_event_request(delivery))
    assert (delivery.function, event["subject"], event.data["name"]) == ("receive", "objects/x", "x")


def test_a_pubsub_of_the_users_own_that_is_away_is_told_later(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SuiteClock(frozen_at=START)

    def theirs() -> PubSubService:
        return PubSubService(clock=clock, traffic=Traffic(), file=tmp_path / "theirs.sqlite")

    first = theirs()
    port = first.start()
    emulators = Emulators(pubsub=f"127.0.0.1:{port}", firestore="127.0.0.1:1")
    settings: dict[str, Any] = {"clock": clock, "root": root, "emulators": emulators, "run_functions": False}
    with Suite(state=tmp_path / "state", **settings) as suite:
        first.stop()
        suite.storage.put(BUCKET, "x", b"1")
        assert suite.storage.read(BUCKET, "x") == b"1"
        assert f"an event for {TOPIC} waits" in capsys.readouterr().err
        second = theirs()
        second.start(port)
        suite.storage.put(BUCKET, "y", b"1")
    got: list[Any] = []

    def push(delivery: Delivery) -> bool:
        got.append(json.loads(delivery.data)["name"])
        return True

    second.deliver_due(push)
    second.stop()
    assert got == ["x", "y"]


@pytest.mark.slow
def test_a_real_function_is_told(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "note"
    with Suite(state=tmp_path / "state", root=root) as suite:
        blob = client(suite, monkeypatch).bucket(BUCKET).blob("a/Zoë.zip")
        blob.metadata = {"note": str(note)}
        blob.upload_from_string(b"content")
        until(lambda: len(notes(note)) == 1, "the object received")
        event: Any = notes(note)[0][2]
        assert event["type"] == "google.cloud.storage.object.v1.finalized"
        assert (event["data"]["name"], event["data"]["generation"]) == ("a/Zoë.zip", str(blob.generation))
        until(lambda: not suite.pubsub.outstanding(), "acknowledged")
