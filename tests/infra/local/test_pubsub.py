"""Pub/Sub of the suite, called through Google's publisher client, on a clock that stands still."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cloudevents.http import from_http
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from infra.local.clock import SuiteClock
from infra.local.pubsub import Delivery, PubSubService, cloud_event_request
from infra.local.traffic import Fault, Traffic

START = datetime(2026, 11, 23, 2, tzinfo=UTC)
TOPIC = "projects/p/topics/pack"
SUBSCRIPTION = "projects/p/subscriptions/pack"
DEAD = "projects/p/topics/undelivered"


class Bench:
    """One Pub/Sub with its clock, its faults, and clients talking to it."""

    def __init__(self, file: Path | None = None) -> None:
        self.clock = SuiteClock(frozen_at=START)
        self.traffic = Traffic()
        self.service = PubSubService(clock=self.clock, traffic=self.traffic, file=file)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.service.start()}")
        self.publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self.subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))

    def subscribe(self, topic: str = TOPIC, **settings: Any) -> None:
        self.service.create_topic(topic)
        self.service.subscribe(topic, topic.replace("/topics/", "/subscriptions/"), **settings)

    def dead_letters(self) -> None:
        self.service.create_topic(DEAD)
        self.service.subscribe(DEAD, "projects/p/subscriptions/undelivered", endpoint="")

    def publish(self, *bodies: bytes, topic: str = TOPIC) -> list[str]:
        return [self.publisher.publish(topic, body).result(timeout=10) for body in bodies]

    def deliver(self, answer: Callable[[Delivery], bool] = lambda _: True, **where: Any) -> list[Delivery]:
        """One pass; what was handed over."""
        seen: list[Delivery] = []

        def push(delivery: Delivery) -> bool:
            seen.append(delivery)
            return answer(delivery)

        assert self.service.deliver_due(push, **where) == len(seen)
        return seen

    def close(self) -> None:
        self.publisher.stop()
        self._channel.close()
        self.service.stop()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def refuse(_: Delivery) -> bool:
    return False


def test_google_client_publishes_and_a_push_acknowledges(bench: Bench) -> None:
    bench.subscribe()
    [first] = [bench.publisher.publish(TOPIC, b"{}", site="42").result(timeout=10)]
    [second] = bench.publish(b'{"run": 1}')
    got = bench.deliver()
    assert [(d.message_id, d.data, dict(d.attributes), d.attempt) for d in got] == [
        (first, b"{}", {"site": "42"}, 1),
        (second, b'{"run": 1}', {}, 1),
    ]
    assert {(d.subscription, d.topic, d.function, d.publish_time) for d in got} == {
        (SUBSCRIPTION, TOPIC, "pack", START)
    }
    assert bench.deliver() == []
    assert bench.service.outstanding() == []
    assert [call.resource for call in bench.traffic.calls("pubsub.Publish")] == [TOPIC, TOPIC]


def test_every_subscription_of_a_topic_gets_a_message_and_other_projects_wait(bench: Bench) -> None:
    bench.subscribe()
    bench.service.subscribe(TOPIC, "projects/p/subscriptions/second")
    bench.subscribe("projects/q/topics/pack")
    bench.publish(b"1")
    bench.publish(b"2", topic="projects/q/topics/pack")
    assert [d.subscription for d in bench.deliver(project="p")] == [
        "projects/p/subscriptions/pack",
        "projects/p/subscriptions/second",
    ]
    assert [o.topic for o in bench.service.outstanding()] == ["projects/q/topics/pack"]
    assert bench.service.outstanding("p") == []


def test_backoff_doubles_from_ten_seconds_to_six_hundred(bench: Bench) -> None:
    bench.subscribe()
    bench.publish(b"{}")
    for attempt, wait in enumerate([10, 20, 40, 80, 160, 320, 600, 600], start=1):
        [delivery] = bench.deliver(refuse)
        assert delivery.attempt == attempt
        [waiting] = bench.service.outstanding()
        assert waiting.due is not None
        assert (
            timedelta() <= waiting.due - bench.clock.now() + timedelta(seconds=0) <= timedelta(seconds=wait)
        )
        assert (waiting.attempts, waiting.outcome) == (attempt, "answered false")
        bench.clock.advance(timedelta(seconds=wait - 1))
        assert bench.deliver() == []
        bench.clock.advance(timedelta(seconds=1))
    [delivery] = bench.deliver()
    assert delivery.attempt == 9
    assert bench.service.outstanding() == []


def test_one_failing_message_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.subscribe()
    bench.publish(b"1", b"2", b"3")

    def push(delivery: Delivery) -> bool:
        if delivery.data == b"2":
            raise OSError("connection refused")
        return True

    assert [d.data for d in bench.deliver(push)] == [b"1", b"2", b"3"]
    [waiting] = bench.service.outstanding()
    assert (waiting.message_id, waiting.outcome) == ("2", "OSError: connection refused")
    assert bench.service.next_due([TOPIC]) == waiting.due
    assert bench.service.next_due(["projects/p/topics/other"]) is None


def test_what_a_push_publishes_is_for_the_next_pass(bench: Bench) -> None:
    bench.subscribe()
    bench.publish(b"first")

    def push(delivery: Delivery) -> bool:
        if delivery.data == b"first":
            bench.publish(b"second")
        return True

    assert [[d.data for d in bench.deliver(push)] for _ in range(3)] == [[b"first"], [b"second"], []]


def test_a_message_is_never_handed_over_twice_at_once(bench: Bench) -> None:
    bench.subscribe()
    bench.publish(*[b"%d" % n for n in range(50)])
    seen: list[bytes] = []

    def push(delivery: Delivery) -> bool:
        seen.append(delivery.data)
        return True

    def work(_: int) -> None:
        while (delivery := bench.service.take([TOPIC])) is not None:
            bench.service.hand_over(delivery, push)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert sorted(seen, key=int) == [b"%d" % n for n in range(50)]


def test_a_pass_leaves_out_what_another_took_meanwhile(bench: Bench) -> None:
    bench.subscribe()
    bench.publish(b"1", b"2", b"3")
    taken: list[Delivery | None] = []

    def push(delivery: Delivery) -> bool:
        if not taken:
            taken.append(bench.service.take([TOPIC]))
        return True

    assert [d.data for d in bench.deliver(push)] == [b"1", b"3"]
    assert [d.data for d in taken if d] == [b"2"]


def test_duplicates_on_demand(bench: Bench) -> None:
    bench.subscribe()
    bench.subscribe("projects/p/topics/other")
    bench.service.duplicate_next("pack", times=2)
    bench.publish(b"x", topic="projects/p/topics/other")
    bench.publish(b"1", b"2")
    passes = [[(d.data, d.attempt) for d in bench.deliver()] for _ in range(4)]
    assert passes == [[(b"x", 1), (b"1", 1), (b"2", 1)], [(b"1", 2)], [(b"1", 3)], []]


def test_an_acknowledged_message_is_delivered_again_on_demand(bench: Bench) -> None:
    bench.subscribe()
    first, last = bench.publish(b"1", b"2")
    bench.deliver()
    assert bench.service.redeliver("pack") == last
    assert [d.message_id for d in bench.deliver()] == [last]
    assert bench.service.redeliver(TOPIC, first) == first
    assert [d.message_id for d in bench.deliver()] == [first]
    with pytest.raises(LookupError):
        bench.service.redeliver("pack", "999")
    with pytest.raises(LookupError):
        bench.service.redeliver("ack")


def test_dead_letter_after_its_attempts(bench: Bench) -> None:
    bench.dead_letters()
    bench.subscribe(attempts=5, dead_letter_topic=DEAD)
    bench.publish(b"poison")
    for _ in range(5):
        assert len(bench.deliver(refuse)) == 1
        bench.clock.advance(timedelta(seconds=600))
    assert bench.deliver() == []
    assert bench.service.outstanding() == []
    [letter] = bench.service.held("p")
    assert (letter.topic, letter.data) == (DEAD, b"poison")
    assert dict(letter.attributes) == {
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "pack",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "p",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-11-23T02:00:00.000Z",
    }
    assert bench.service.held("q") == []


def test_without_retries_a_failed_event_is_dropped(bench: Bench) -> None:
    bench.subscribe(attempts=1)
    bench.publish(b"{}")
    bench.deliver(refuse)
    bench.clock.advance(timedelta(hours=1))
    assert bench.deliver() == []
    assert bench.service.outstanding() == []


@pytest.mark.parametrize("dead_letter", [None, DEAD])
def test_an_event_is_gone_after_a_day_and_is_no_dead_letter(bench: Bench, dead_letter: str | None) -> None:
    bench.dead_letters()
    bench.subscribe(attempts=100 if dead_letter else None, dead_letter_topic=dead_letter)
    bench.publish(b"{}")
    bench.deliver(refuse)
    bench.clock.advance(timedelta(hours=24) - timedelta(seconds=1))
    assert len(bench.deliver(refuse)) == 1
    bench.clock.advance(timedelta(minutes=1))
    assert bench.deliver() == []
    assert bench.service.outstanding() == []
    assert bench.service.held() == []


def test_state_is_whole_after_the_process_died(tmp_path: Path) -> None:
    first = Bench(tmp_path / "pubsub.sqlite")
    first.subscribe(min_backoff=20)
    ids = first.publish(b"done", b"failed", b"in flight", b"waiting")
    first.deliver(lambda d: d.data == b"done")
    first.clock.advance(timedelta(seconds=30))
    taken = first.service.take([TOPIC])
    assert taken is not None
    assert taken.data == b"failed"
    first.publish(b"new")
    # Not closed: a SIGKILL closes nothing either.
    second = Bench(tmp_path / "pubsub.sqlite")
    second.clock.advance(timedelta(seconds=60))
    got = second.deliver()
    assert [(d.data, d.attempt) for d in got] == [
        (b"failed", 3),
        (b"in flight", 2),
        (b"waiting", 2),
        (b"new", 1),
    ]
    assert [d.message_id for d in got][:3] == ids[1:]
    subscription = second.service.subscription(SUBSCRIPTION)
    assert subscription is not None
    assert subscription.min_backoff == 20
    second.close()
    first.close()


@pytest.mark.parametrize(
    ("fault", "pushed", "outcome"),
    [
        (Fault("error", status=500), 0, "PushFailed: fault on demand: answered 500"),
        (Fault("reset_before"), 0, "PushFailed: fault on demand: the connection broke"),
        (Fault("reset_after"), 1, "PushFailed: fault on demand: the answer was lost"),
    ],
)
def test_faults_of_a_push(bench: Bench, fault: Fault, pushed: int, outcome: str) -> None:
    bench.subscribe()
    bench.publish(b"{}")
    bench.traffic.arm("pubsub.push", fault, resource="pack")
    seen: list[Delivery] = []

    def push(delivery: Delivery) -> bool:
        seen.append(delivery)
        return True

    assert bench.service.deliver_due(push) == 1
    assert len(seen) == pushed
    assert [waiting.outcome for waiting in bench.service.outstanding()] == [outcome]
    bench.clock.advance(timedelta(seconds=10))
    assert [d.attempt for d in bench.deliver()] == [2]


def test_an_answer_lost_after_publishing_makes_the_client_publish_again(bench: Bench) -> None:
    bench.subscribe()
    bench.traffic.arm("pubsub.Publish", Fault("reset_after"), resource=TOPIC)
    bench.publish(b"{}")
    assert [d.data for d in bench.deliver()] == [b"{}", b"{}"]


def test_a_fault_before_publishing_has_no_effect(bench: Bench) -> None:
    bench.subscribe()
    bench.traffic.arm("pubsub.Publish", Fault("error", status=403))
    with pytest.raises(exceptions.PermissionDenied):
        bench.publish(b"{}")
    assert bench.deliver() == []


def refused(code: str, call: Callable[[], Any]) -> str:
    """The message with which a call is refused with this gRPC code."""
    with pytest.raises(exceptions.GoogleAPICallError) as error:
        call()
    assert error.value.grpc_status_code is not None
    assert error.value.grpc_status_code.name == code
    return str(error.value.message)


@pytest.mark.parametrize(
    ("code", "messages"),
    [
        ("INVALID_ARGUMENT", [{}]),
        ("INVALID_ARGUMENT", []),
        ("INVALID_ARGUMENT", [{"data": b"x"}] * 1_001),
        ("INVALID_ARGUMENT", [{"data": b"x" * 10_000_000}]),
        ("INVALID_ARGUMENT", [{"data": b"good"}, {"attributes": {"key": "v" * 1_025}}]),
        ("INVALID_ARGUMENT", [{"data": b"x", "attributes": {"k" * 257: "v"}}]),
        ("INVALID_ARGUMENT", [{"data": b"x", "attributes": {"googkey": "v"}}]),
        ("INVALID_ARGUMENT", [{"data": b"x", "attributes": {str(n): "v" for n in range(101)}}]),
        ("UNIMPLEMENTED", [{"data": b"x", "ordering_key": "a"}]),
    ],
)
def test_refuses_to_publish_what_production_refuses(bench: Bench, code: str, messages: list[Any]) -> None:
    bench.subscribe()
    refused(code, lambda: bench.publisher.api.publish(topic=TOPIC, messages=messages, retry=None))
    assert bench.deliver() == []


def test_publishes_a_thousand_messages_and_nearly_ten_megabytes_at_once(bench: Bench) -> None:
    bench.subscribe()
    answer = bench.publisher.api.publish(topic=TOPIC, messages=[{"data": b"x" * 9_900}] * 1_000)
    assert len(set(answer.message_ids)) == 1_000
    assert [d.message_id for d in bench.deliver()] == list(answer.message_ids)


def test_topics(bench: Bench) -> None:
    publisher = bench.publisher
    assert publisher.create_topic(name=TOPIC).name == TOPIC
    assert publisher.get_topic(topic=TOPIC).name == TOPIC
    refused("ALREADY_EXISTS", lambda: publisher.create_topic(name=TOPIC))
    refused("NOT_FOUND", lambda: publisher.get_topic(topic="projects/p/topics/nope"))
    refused("NOT_FOUND", lambda: bench.publish(b"{}", topic="projects/p/topics/nope"))
    for name in ("pack", "projects/p/topics/x", "projects/p/topics/1abc", "projects/p/topics/google"):
        refused("INVALID_ARGUMENT", lambda name=name: publisher.create_topic(name=name))  # type: ignore[misc]


def test_subscriptions(bench: Bench) -> None:
    bench.publisher.create_topic(name=TOPIC)
    bench.publisher.create_topic(name=DEAD)
    request: dict[str, Any] = {
        "name": SUBSCRIPTION,
        "topic": TOPIC,
        "ack_deadline_seconds": 540,
        "push_config": {"push_endpoint": "http://127.0.0.1/"},
        "retry_policy": {"minimum_backoff": Duration(seconds=30)},
        "dead_letter_policy": {"dead_letter_topic": DEAD, "max_delivery_attempts": 7},
    }
    create = bench.subscriber.create_subscription
    assert create(request=request).ack_deadline_seconds == 540
    made = bench.service.subscription(SUBSCRIPTION)
    assert made is not None
    assert (made.endpoint, made.ack_deadline, made.min_backoff, made.max_backoff) == (
        "http://127.0.0.1/",
        540,
        30,
        600,
    )
    assert (made.attempts, made.dead_letter_topic) == (7, DEAD)
    refused("ALREADY_EXISTS", lambda: create(request=request))
    changes: list[tuple[str, dict[str, Any]]] = [
        ("NOT_FOUND", {"topic": "projects/p/topics/nope"}),
        ("NOT_FOUND", {"dead_letter_policy": {"dead_letter_topic": "projects/p/topics/nope"}}),
        ("INVALID_ARGUMENT", {"name": "pack"}),
        ("INVALID_ARGUMENT", {"ack_deadline_seconds": 601}),
        ("INVALID_ARGUMENT", {"retry_policy": {"minimum_backoff": Duration(seconds=601)}}),
        ("INVALID_ARGUMENT", {"dead_letter_policy": {"dead_letter_topic": DEAD, "max_delivery_attempts": 4}}),
        ("UNIMPLEMENTED", {"filter": 'attributes.site = "42"'}),
        ("UNIMPLEMENTED", {"enable_exactly_once_delivery": True}),
        ("UNIMPLEMENTED", {"push_config": {"push_endpoint": "x", "attributes": {"a": "b"}}}),
    ]
    for code, change in changes:
        changed = {**request, "name": "projects/p/subscriptions/another", **change}
        refused(code, lambda changed=changed: create(request=changed))  # type: ignore[misc]


def test_answers_everything_else_unimplemented(bench: Bench) -> None:
    bench.subscribe()
    for call in (
        lambda: bench.publisher.delete_topic(topic=TOPIC),
        lambda: list(bench.publisher.list_topics(project="projects/p")),
        lambda: bench.subscriber.pull(subscription=SUBSCRIPTION, max_messages=1),
    ):
        refused("UNIMPLEMENTED", call)


def test_the_event_that_eventarc_sends() -> None:
    delivery = Delivery(
        subscription=SUBSCRIPTION,
        topic=TOPIC,
        message_id="17",
        data=b'{"run": "r1"}',
        attributes={"site": "42"},
        publish_time=START + timedelta(milliseconds=5),
        attempt=3,
    )
    headers, body = cloud_event_request(delivery)
    assert headers == {
        "Content-Type": "application/json; charset=utf-8",
        "ce-id": "17",
        "ce-source": "//pubsub.googleapis.com/projects/p/topics/pack",
        "ce-specversion": "1.0",
        "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
        "ce-time": "2026-11-23T02:00:00.005Z",
    }
    assert json.loads(body) == {
        "message": {
            "data": base64.b64encode(b'{"run": "r1"}').decode(),
            "messageId": "17",
            "message_id": "17",
            "publishTime": "2026-11-23T02:00:00.005Z",
            "publish_time": "2026-11-23T02:00:00.005Z",
            "attributes": {"site": "42"},
        },
        "subscription": SUBSCRIPTION,
    }
    event = from_http(headers, body)
    assert event["id"] == "17"
    assert event.data["message"]["messageId"] == "17"


def test_google_client_finds_it_by_the_usual_variable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.subscribe()
    with_port = PubSubService(clock=bench.clock, traffic=bench.traffic, file=None)
    with_port.create_topic(TOPIC)
    port = with_port.start()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    publisher = pubsub_v1.PublisherClient(credentials=AnonymousCredentials())
    assert publisher.publish(TOPIC, b"{}").result(timeout=10) == "1"
    with pytest.raises(OSError, match=str(port)):
        bench.service.start(port)
    publisher.stop()
    publisher.transport.close()
    with_port.stop()
