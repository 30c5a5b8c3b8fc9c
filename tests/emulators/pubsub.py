"""Pub/Sub is Google's emulator: topics, subscriptions, and what is published, are there.

Each message is pulled when it is published, and is acknowledged, or refused, when a test has delivered it.
When it is due again is the suite's clock's; then the emulator delivers it again. It forwards dead letters.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.pubsub_v1 import types

from infra.local.grpc_calls import Refused, unary
from infra.local.pubsub import Delivery, PubSubService, Subscription
from infra.local.traffic import Traffic
from shared.clock import elapsed_since, stopwatch
from tests.emulators.clock import MovedClock
from tests.emulators.forward import Emulator

PUBLISHER = "/google.pubsub.v1.Publisher"
SUBSCRIBER = "/google.pubsub.v1.Subscriber"
ACK_SECONDS = 600
"""How long a message may be held before its answer: longer than a test."""

ARRIVAL_SECONDS = 10.0


class GooglePubSub(PubSubService):
    """Keeps what is outstanding as ours does, of messages that an emulator holds."""

    def __init__(self, *, host: str, project: str, clock: MovedClock, traffic: Traffic) -> None:
        super().__init__(clock=clock, traffic=traffic, file=None)
        self._emulator = Emulator(host, project)
        self._moved = clock
        self._held: dict[tuple[str, str], str] = {}
        """The ids by which messages are acknowledged, by subscription and message."""
        self._made: set[str] = set()
        """The topics that the emulator has by now."""
        self.handlers = _Handlers(self, traffic)

    def close(self) -> None:
        self._emulator.close()
        self.stop()

    def reset(self) -> None:
        self._emulator.forget()
        self._held.clear()
        self._made.clear()
        super().reset()

    def make(self, topic: str) -> None:
        """Make a topic of the suite's in the emulator, with what subscribes to it, when it is first used: a
        test uses few of them."""
        if topic in self._made or not self.has_topic(topic):
            return
        self._made.add(topic)
        self.forward(f"{PUBLISHER}/CreateTopic", types.Topic.pb()(name=topic))
        for (name,) in self._subscriptions(topic):
            made = self.subscription(name)
            assert made is not None
            self.make(made.dead_letter_topic or topic)
            self.forward(f"{SUBSCRIBER}/CreateSubscription", _request(made))

    def _subscriptions(self, topic: str) -> list[Any]:
        return self._db.execute("SELECT name FROM subscriptions WHERE topic = ?", (topic,)).fetchall()

    def forward(self, method: str, request: Any) -> Any:
        """A call's answer; Refused as the emulator refused it."""
        kind = {
            "Publish": types.PublishResponse.pb(),
            "Pull": types.PullResponse.pb(),
            "CreateSubscription": types.Subscription.pb(),
        }.get(method.rpartition("/")[2], types.Topic.pb())
        try:
            return self._emulator.call(method, request, kind.FromString)
        except grpc.RpcError as error:
            refused: Any = error
            raise Refused(refused.code(), refused.details()) from error

    def forward_publish(self, request: Any) -> Any:
        """Publish as asked, and take what came of it."""
        with self._lock, self._db:
            self.make(request.topic)
            reply = self.forward(f"{PUBLISHER}/Publish", request)
            self._receive(request.topic, list(reply.message_ids))
        self._changed()
        return reply

    def _publish(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> list[str]:
        self.make(topic)
        made = [types.PubsubMessage.pb()(data=data, attributes=dict(named)) for data, named in messages]
        request = types.PublishRequest.pb()(topic=topic, messages=made)
        reply = self.forward(f"{PUBLISHER}/Publish", request)
        ids = list(reply.message_ids)
        self._receive(topic, ids)
        return ids

    def _receive(self, topic: str, ids: list[str] | None) -> None:
        """Take messages of these ids out of each subscription of a topic; None: of any one id."""
        for (subscription,) in self._subscriptions(topic):
            for received in self._pull(subscription, ids):
                self._keep(topic, subscription, received.message)

    def _pull(self, subscription: str, ids: list[str] | None) -> list[Any]:
        begun = stopwatch()
        wanted = None if ids is None else set(ids)
        pulled: dict[str, Any] = {}
        while wanted is None or wanted - pulled.keys():
            request = types.PullRequest.pb()(
                subscription=subscription, max_messages=1000, return_immediately=True
            )
            for each in self.forward(f"{SUBSCRIBER}/Pull", request).received_messages:
                pulled[each.message.message_id] = each
                self._held[subscription, each.message.message_id] = each.ack_id
            if wanted is None and pulled:
                break
            late = elapsed_since(begun) > ARRIVAL_SECONDS
            assert not late, f"{subscription} did not deliver {wanted or 'any'}: {sorted(pulled)}"
        assert wanted is None or wanted == pulled.keys(), f"{subscription}: {wanted}, not {pulled.keys()}"
        return sorted(pulled.values(), key=lambda each: int(each.message.message_id))

    def _keep(self, topic: str, subscription: str, message: Any) -> None:
        published = message.publish_time.seconds * 1_000_000 + message.publish_time.nanos // 1000
        shown = self._moved.suites(published)
        self._db.execute(
            "INSERT OR IGNORE INTO messages (id, topic, published, data, attributes) VALUES (?, ?, ?, ?, ?)",
            (int(message.message_id), topic, shown, message.data, _json(message.attributes)),
        )
        self._db.execute(
            "INSERT INTO deliveries (message, subscription, state, due) VALUES (?, ?, 'waiting', ?)",
            (int(message.message_id), subscription, shown),
        )

    def _hand(self, message: int, subscription: str) -> Delivery | None:
        delivery = super()._hand(message, subscription)
        if delivery is not None and delivery.attempt > 1:
            key = subscription, str(message)
            if key in self._held:
                self._refuse(*key)
                [again] = self._pull(subscription, [str(message)])
                assert again.message.data == delivery.data
        return delivery

    def _settle(self, delivery: Delivery, acknowledged: bool, outcome: str) -> None:
        key = delivery.subscription, delivery.message_id
        if acknowledged and key in self._held:
            request = types.AcknowledgeRequest.pb()(subscription=key[0], ack_ids=[self._held.pop(key)])
            self.forward(f"{SUBSCRIBER}/Acknowledge", request)
        super()._settle(delivery, acknowledged, outcome)

    def _give_up(self, delivery: Delivery, subscription: Subscription, outcome: str) -> None:
        key = delivery.subscription, delivery.message_id
        if subscription.dead_letter_topic is None or key not in self._held:
            super()._give_up(delivery, subscription, outcome)
            return
        self._update(int(delivery.message_id), key[0], "dead", self._clock.now(), outcome)
        self._refuse(*key)
        del self._held[key]
        # The emulator puts a dead letter away when it would deliver the message once more.
        request = types.PullRequest.pb()(subscription=key[0], max_messages=1000, return_immediately=True)
        assert not self.forward(f"{SUBSCRIBER}/Pull", request).received_messages
        self._receive(subscription.dead_letter_topic, None)

    def _refuse(self, subscription: str, message: str) -> None:
        request = types.ModifyAckDeadlineRequest.pb()(
            subscription=subscription, ack_ids=[self._held[subscription, message]], ack_deadline_seconds=0
        )
        self.forward(f"{SUBSCRIBER}/ModifyAckDeadline", request)


def _request(made: Subscription) -> Any:
    """A subscription that is pulled, with the retries left to us: theirs are the machine's clock's."""
    request = types.Subscription.pb()(name=made.name, topic=made.topic, ack_deadline_seconds=ACK_SECONDS)
    if made.dead_letter_topic:
        request.dead_letter_policy.dead_letter_topic = made.dead_letter_topic
        request.dead_letter_policy.max_delivery_attempts = made.attempts or 5
    return request


def _json(attributes: Mapping[str, str]) -> str:
    return json.dumps(dict(attributes))


class _Handlers(grpc.GenericRpcHandler):
    """The methods that our functions and commands call."""

    def __init__(self, service: GooglePubSub, traffic: Traffic) -> None:
        self._service = service
        self._traffic = traffic

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        service = self._service

        def publish(request: Any) -> Any:
            return service.forward_publish(request)

        def get_topic(request: Any) -> Any:
            service.make(request.topic)
            return service.forward(details.method, request)

        known = {
            f"{PUBLISHER}/Publish": (types.PublishRequest.pb(), publish),
            f"{PUBLISHER}/GetTopic": (types.GetTopicRequest.pb(), get_topic),
        }
        if details.method not in known:
            return None
        request_type, answer = known[details.method]
        kind = "pubsub." + details.method.rpartition("/")[2]
        return unary(self._traffic, kind, lambda request: str(request.topic), request_type, answer)
