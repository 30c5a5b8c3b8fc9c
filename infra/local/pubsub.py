"""Pub/Sub: as much of its gRPC interface as Waybill uses, its redelivery, and the event a trigger makes.

What production does and where that is documented is in `infra/local/README.md`.
"""

import base64
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
from google.pubsub_v1 import types

from infra.local.clock import SuiteClock, wait
from infra.local.databases import copied
from infra.local.grpc_calls import Refused, invalid, unary
from infra.local.traffic import LEAST_BYTES, MESSAGE_BYTES, MESSAGES, Fault, Traffic

REQUEST_BYTES = 10_000_000
"""The most that a publish request may hold. https://cloud.google.com/pubsub/quotas#resource_limits"""

REQUEST_MESSAGES = 1_000
"""Messages in one publish request. https://cloud.google.com/pubsub/quotas#resource_limits"""

ATTRIBUTES, KEY_BYTES, VALUE_BYTES = 100, 256, 1_024
"""Attributes of one message, and their sizes. https://cloud.google.com/pubsub/quotas#resource_limits"""

EVENT_RETENTION = timedelta(hours=24)
"""How long a trigger tries an event. https://cloud.google.com/eventarc/docs/retry-events"""

PULL_RETENTION = timedelta(days=7)
"""How long a subscription keeps a message. https://cloud.google.com/pubsub/docs/subscription-properties"""

HISTORY = 10_000
"""How many messages are remembered after they were acknowledged, to be delivered again on demand."""

STORAGE_TOPIC = "eventarc-"
"""What stands before the function's name in the topic by which Cloud Storage tells it of objects. Eventarc
makes one for each such trigger: https://cloud.google.com/eventarc/docs/event-driven-applications"""

_TOPIC = re.compile(r"projects/[^/]+/topics/(?!goog)[A-Za-z][\w.~+%-]{2,254}", re.ASCII)
_SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/(?!goog)[A-Za-z][\w.~+%-]{2,254}", re.ASCII)
_IN_A_HEADER = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_MILLISECOND = timedelta(milliseconds=1)
_SWEEP = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=OFF;
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS subscriptions (
    name TEXT PRIMARY KEY, topic TEXT NOT NULL, endpoint TEXT NOT NULL, ack_deadline INTEGER NOT NULL,
    min_backoff REAL NOT NULL, max_backoff REAL NOT NULL, attempts INTEGER, dead_letter_topic TEXT);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, published INTEGER NOT NULL,
    data BLOB NOT NULL, attributes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    message INTEGER NOT NULL, subscription TEXT NOT NULL, state TEXT NOT NULL, due INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message, subscription)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_waiting ON deliveries (state, due);
"""
# A delivery is `waiting`, `handed` over and not yet answered, or done: `acknowledged`, `dead`, `dropped`.

_JOINED = """
SELECT d.message, d.subscription, d.state, d.due, d.attempts, d.outcome,
       m.topic, m.published, m.data, m.attributes AS headers
FROM deliveries d JOIN messages m ON m.id = d.message JOIN subscriptions s ON s.name = d.subscription
"""


@dataclass(frozen=True)
class Subscription:
    """What a topic's messages are delivered to.

    endpoint           where they are pushed; empty for one that is only pulled: a dead-letter topic's
    ack_deadline       seconds
    min_backoff        seconds until the second delivery; doubled for each later one up to `max_backoff`
    attempts           deliveries before the dead-letter topic, or, without one, before it is dropped;
                       None: as often as fit into the retention
    dead_letter_topic  `projects/…/topics/…`, or None
    """

    name: str
    topic: str
    endpoint: str = "function"
    ack_deadline: int = 10
    min_backoff: float = 10
    max_backoff: float = 600
    attempts: int | None = None
    dead_letter_topic: str | None = None

    @property
    def retention(self) -> timedelta:
        """How long a message is kept that nobody acknowledges."""
        return EVENT_RETENTION if self.endpoint else PULL_RETENTION

    def backoff(self, attempt: int) -> timedelta:
        """The wait after the failure of attempt 1, 2, …: best effort in production, exact here.

        https://cloud.google.com/pubsub/docs/subscription-retry-policy
        """
        doubled = self.min_backoff * 2.0 ** min(attempt - 1, 30)
        return timedelta(seconds=min(doubled, self.max_backoff))


@dataclass(frozen=True)
class Delivery:
    """One message on its way to one subscription; `attempt` counts from 1.

    `publish_time` is the suite's, in whole milliseconds as Pub/Sub gives it.
    """

    subscription: str
    topic: str
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    publish_time: datetime
    attempt: int

    @property
    def function(self) -> str:
        """The function that it triggers."""
        return _function(self.topic)


@dataclass(frozen=True)
class Outstanding:
    """A message that a subscription has not acknowledged.

    `due` is when it is delivered next, None while it is being delivered. `attempts` are those made;
    `outcome` says how the last one ended.
    """

    subscription: str
    topic: str
    message_id: str
    publish_time: datetime
    due: datetime | None
    attempts: int
    outcome: str


class PushFailed(Exception):
    """A push was not acknowledged; the message says how it ended."""


def cloud_event_request(delivery: Delivery) -> tuple[dict[str, str], bytes]:
    """Headers and body of the request by which Eventarc hands a message to a function: binary content mode.

    `cloudevents.http.from_http(*cloud_event_request(delivery))` is the event that the function gets.
    https://cloud.google.com/eventarc/docs/cloudevents
    """
    if delivery.topic.rpartition("/")[2].startswith(STORAGE_TOPIC):
        return _storage_event(delivery)
    published = _json_time(delivery.publish_time)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "ce-id": delivery.message_id,
        "ce-source": f"//pubsub.googleapis.com/{delivery.topic}",
        "ce-specversion": "1.0",
        "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
        "ce-time": published,
    }
    # Pub/Sub spells both out: https://cloud.google.com/pubsub/docs/push#receive_push
    message: dict[str, Any] = {
        "data": base64.b64encode(delivery.data).decode(),
        "messageId": delivery.message_id,
        "message_id": delivery.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if delivery.attributes:
        message["attributes"] = dict(delivery.attributes)
    body = {"message": message, "subscription": delivery.subscription}
    return headers, json.dumps(body).encode()


def _storage_event(delivery: Delivery) -> tuple[dict[str, str], bytes]:
    """The event of an object finalised, from what Storage published: the object's resource is all its data.

    https://github.com/googleapis/google-cloudevents, proto/google/events/cloud/storage/v1
    """
    told = delivery.attributes
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "ce-id": delivery.message_id,
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{told['bucketId']}",
        "ce-specversion": "1.0",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        # Headers are printable ASCII: https://github.com/cloudevents/spec, http-protocol-binding, 3.1.3.2
        "ce-subject": quote(f"objects/{told['objectId']}", safe=_IN_A_HEADER),
        "ce-time": told["eventTime"],
        "ce-bucket": told["bucketId"],
    }
    return headers, delivery.data


class PubSubService:
    """Topics, subscriptions and their messages; serves gRPC once started. Safe to share between threads.

    `file` keeps everything across restarts and kills; None keeps it in memory. What was being delivered when
    the process ended is delivered again.
    """

    def __init__(self, *, clock: SuiteClock, traffic: Traffic, file: Path | None) -> None:
        self._clock = clock
        self._traffic = traffic
        self._lock = threading.RLock()
        self._db = sqlite3.connect(file or ":memory:", check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(_SCHEMA)
        with self._db:
            self._db.execute("UPDATE deliveries SET state = 'waiting' WHERE state = 'handed'")
        self._duplicates: dict[str, int] = {}
        self._more: dict[tuple[int, str], int] = {}
        self._watchers: list[Callable[[], None]] = []
        self._swept = _EPOCH
        self._server: grpc.Server | None = None
        self.handlers: grpc.GenericRpcHandler = _Handlers(self, traffic)
        """What answers each method, for a caller in the same process."""

    def start(self, port: int = 0) -> int:
        """Serve gRPC on 127.0.0.1; port 0 takes a free one. Returns the port; a taken one raises OSError."""
        server = grpc.server(
            ThreadPoolExecutor(max_workers=8, thread_name_prefix="pubsub"),
            # Two suites must not share a port, and what is too large is refused by us, in Google's words.
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 4 * REQUEST_BYTES)],
        )
        server.add_generic_rpc_handlers((self.handlers,))
        try:
            bound = server.add_insecure_port(f"127.0.0.1:{port}")
        except RuntimeError as error:
            raise OSError(f"port {port} is taken") from error
        server.start()
        self._server = server
        return bound

    def stop(self) -> None:
        """Stop serving and close the file."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
        with self._lock:
            self._db.close()

    def reset(self) -> None:
        """Forget every topic, subscription and message, and who watches."""
        with self._lock, self._db:
            for table in ("deliveries", "messages", "subscriptions", "topics", "sqlite_sequence"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
            self._duplicates, self._more, self._watchers = {}, {}, []
            self._swept = _EPOCH

    def kept(self) -> Callable[[], None]:
        """What takes it back to the topics, subscriptions and messages of now."""
        with self._lock:
            database = copied(self._db)
            duplicates, more, swept = dict(self._duplicates), dict(self._more), self._swept

        def restore() -> None:
            with self._lock:
                database.backup(self._db)
                self._duplicates, self._more, self._swept = dict(duplicates), dict(more), swept

        return restore

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, after each change to what is waiting."""
        self._watchers.append(changed)

    def create_topic(self, name: str) -> None:
        """Make the topic `projects/…/topics/…`; one that exists stays as it is. ValueError for a bad name."""
        if not _TOPIC.fullmatch(name):
            raise ValueError(f"{name!r} is no topic's name: projects/PROJECT/topics/TOPIC")
        with self._lock, self._db:
            self._db.execute("INSERT OR IGNORE INTO topics VALUES (?)", (name,))

    def has_topic(self, name: str) -> bool:
        """Whether there is a topic of that name."""
        with self._lock:
            return self._db.execute("SELECT 1 FROM topics WHERE name = ?", (name,)).fetchone() is not None

    def subscribe(
        self,
        topic: str,
        subscription: str,
        *,
        min_backoff: float = 10,
        max_backoff: float = 600,
        attempts: int | None = None,
        dead_letter_topic: str | None = None,
        ack_deadline: int = 10,
        endpoint: str = "function",
    ) -> None:
        """Make a subscription, or give one that exists these settings; see `Subscription`.

        ValueError for a bad name, KeyError for a topic that does not exist.
        """
        if not _SUBSCRIPTION.fullmatch(subscription):
            raise ValueError(f"{subscription!r} is no name: projects/PROJECT/subscriptions/SUBSCRIPTION")
        for needed in filter(None, (topic, dead_letter_topic)):
            if not self.has_topic(needed):
                raise KeyError(needed)
        values = (
            subscription,
            topic,
            endpoint,
            ack_deadline,
            min_backoff,
            max_backoff,
            attempts,
            dead_letter_topic,
        )
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def subscription(self, name: str) -> Subscription | None:
        """The subscription of that name; None where there is none."""
        with self._lock:
            row = self._db.execute("SELECT * FROM subscriptions WHERE name = ?", (name,)).fetchone()
        return Subscription(**dict(row)) if row else None

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str] | None = None) -> str:
        """Publish one message; returns its id. A topic that does not exist raises KeyError."""
        return self.publish_all(topic, [(data, attributes or {})])[0]

    def publish_all(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> list[str]:
        """Publish messages, all or none; returns their ids. A topic that does not exist raises KeyError."""
        if not self.has_topic(topic):
            raise KeyError(topic)
        with self._lock, self._db:
            ids = self._publish(topic, messages)
        self._traffic.bill(MESSAGES, len(messages))
        self._traffic.bill(MESSAGE_BYTES, max(LEAST_BYTES, sum(_size(*each) for each in messages)))
        self._changed()
        return ids

    def deliver_due(self, push: Callable[[Delivery], bool], project: str | None = None) -> int:
        """Hand every message that is due now to `push`, once each, in the order they were published.

        True acknowledges it. False or an exception does not: it is due again after its backoff, or, with its
        attempts used up, goes to the dead-letter topic. What `push` publishes is for the next pass. Returns
        how many were handed over; `project` leaves the messages of others alone.
        """
        now = self._clock.now()
        handed = 0
        for message, subscription in self._due(now, project):
            delivery = self._hand(message, subscription)
            if delivery is not None:
                handed += 1
                self.hand_over(delivery, push)
        return handed

    def take(self, topics: Iterable[str]) -> Delivery | None:
        """Take the first message due now of these topics out of those waiting; `hand_over` it next."""
        now = self._clock.now()
        with self._lock:
            for message, subscription in self._due(now, None, topics, most=1):
                return self._hand(message, subscription)
        return None

    def hand_over(self, delivery: Delivery, push: Callable[[Delivery], bool]) -> None:
        """Push a message that was taken, and keep what came of it. Faults of `pubsub.push` strike here."""
        fault = self._traffic.enter("pubsub.push", delivery.function)
        self._traffic.bill(MESSAGE_BYTES, max(LEAST_BYTES, _size(delivery.data, delivery.attributes)))
        try:
            acknowledged, outcome = _push(delivery, push, fault), "answered false"
        except Exception as error:
            acknowledged, outcome = False, f"{type(error).__name__}: {error}"
        with self._lock, self._db:
            self._settle(delivery, acknowledged, outcome)
        self._changed()

    def next_due(self, topics: Iterable[str]) -> datetime | None:
        """When the next message of these topics that waits is due; None where none waits."""
        with self._lock:
            row = self._db.execute(
                "SELECT min(d.due) FROM deliveries d JOIN subscriptions s ON s.name = d.subscription "
                "WHERE d.state = 'waiting' AND s.endpoint != '' "
                "AND s.topic IN (SELECT value FROM json_each(?))",
                (json.dumps(list(topics)),),
            ).fetchone()
        return None if row[0] is None else _time(row[0])

    def outstanding(self, project: str | None = None) -> list[Outstanding]:
        """What is not acknowledged of all that is pushed, in the order published."""
        where = "WHERE d.state IN ('waiting', 'handed') AND s.endpoint != '' AND d.subscription LIKE ?"
        return [
            Outstanding(
                subscription=row["subscription"],
                topic=row["topic"],
                message_id=str(row["message"]),
                publish_time=_time(row["published"]),
                due=_time(row["due"]) if row["state"] == "waiting" else None,
                attempts=row["attempts"],
                outcome=row["outcome"],
            )
            for row in self._rows(where, (_of(project),))
        ]

    def held(self, project: str | None = None) -> list[Delivery]:
        """What waits in subscriptions that are only pulled: dead letters."""
        where = "WHERE d.state = 'waiting' AND s.endpoint = '' AND d.subscription LIKE ?"
        return [_delivery(row) for row in self._rows(where, (_of(project),))]

    def duplicate_next(self, topic: str, times: int = 1) -> None:
        """Deliver the next message of this topic that is acknowledged `times` more, at once, all the same.

        `topic` is a whole name, its last part, or the function that it triggers.
        """
        with self._lock:
            self._duplicates[topic] = times

    def redeliver(self, topic: str, message_id: str | None = None) -> str:
        """Deliver an acknowledged message again, by default the topic's last; returns its id.

        `topic` is a whole name, its last part, or the function that it triggers. One that is not remembered
        raises LookupError.
        """
        where = "WHERE d.state = 'acknowledged' AND s.endpoint != '' AND m.topic LIKE ?"
        rows = [
            row
            for row in self._rows(where, (f"%{topic}",))
            if _named(topic, row["topic"]) and message_id in (None, str(row["message"]))
        ]
        if not rows:
            raise LookupError(f"no acknowledged message {message_id or ''} of {topic} is remembered")
        row = rows[-1]
        with self._lock, self._db:
            self._update(row["message"], row["subscription"], "waiting", self._clock.now(), "asked for again")
        self._changed()
        return str(row["message"])

    def _changed(self) -> None:
        for changed in self._watchers:
            changed()

    def _rows(self, where: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(
                f"{_JOINED} {where} ORDER BY d.message, d.subscription", values
            ).fetchall()

    def _publish(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> list[str]:
        now = self._clock.now()
        published = _micros(now - timedelta(microseconds=now.microsecond % 1000))
        ids: list[int] = []
        for data, attributes in messages:
            added = self._db.execute(
                "INSERT INTO messages (topic, published, data, attributes) VALUES (?, ?, ?, ?)",
                (topic, published, data, json.dumps(dict(attributes))),
            )
            ids.append(int(added.lastrowid or 0))
            self._db.execute(
                "INSERT INTO deliveries (message, subscription, state, due) "
                "SELECT ?, name, 'waiting', ? FROM subscriptions WHERE topic = ?",
                (ids[-1], _micros(now), topic),
            )
            if ids[-1] % 1_000 == 0:
                self._forget(ids[-1] - HISTORY)
        return [str(each) for each in ids]

    def _forget(self, before: int) -> None:
        self._db.execute(
            "DELETE FROM deliveries WHERE message < ? AND state NOT IN ('waiting', 'handed')", (before,)
        )
        self._db.execute(
            "DELETE FROM messages WHERE id < ? AND id NOT IN (SELECT message FROM deliveries)", (before,)
        )

    def _due(
        self, now: datetime, project: str | None, topics: Iterable[str] | None = None, most: int = -1
    ) -> list[tuple[int, str]]:
        """What is due to be pushed now, in the order published; what is too old is put away first."""
        with self._lock:
            self._expire(now)
            rows = self._db.execute(
                "SELECT d.message, d.subscription FROM deliveries d "
                "JOIN subscriptions s ON s.name = d.subscription "
                "WHERE d.state = 'waiting' AND d.due <= ? AND s.endpoint != '' AND d.subscription LIKE ? "
                "AND (?3 IS NULL OR s.topic IN (SELECT value FROM json_each(?3))) "
                "ORDER BY d.message, d.subscription LIMIT ?4",
                (_micros(now), _of(project), None if topics is None else json.dumps(list(topics)), most),
            ).fetchall()
        return [(row["message"], row["subscription"]) for row in rows]

    def _hand(self, message: int, subscription: str) -> Delivery | None:
        """Mark a waiting message as being delivered; None where another thread was first."""
        with self._lock, self._db:
            changed = self._db.execute(
                "UPDATE deliveries SET state = 'handed', attempts = attempts + 1 "
                "WHERE message = ? AND subscription = ? AND state = 'waiting'",
                (message, subscription),
            )
            if not changed.rowcount:
                return None
            return _delivery(
                self._rows("WHERE d.message = ? AND d.subscription = ?", (message, subscription))[0]
            )

    def _settle(self, delivery: Delivery, acknowledged: bool, outcome: str) -> None:
        message, now = int(delivery.message_id), self._clock.now()
        key = message, delivery.subscription
        if acknowledged:
            more = self._more.pop(key, None)
            if more is None:
                more = self._duplicates_of(delivery.topic)
            if more:
                self._more[key] = more - 1
                self._update(*key, "waiting", now, "acknowledged, delivered again on demand")
            else:
                self._update(*key, "acknowledged", now, "acknowledged")
            return
        subscription = self.subscription(delivery.subscription)
        assert subscription is not None, delivery.subscription
        if subscription.attempts is not None and delivery.attempt >= subscription.attempts:
            self._give_up(delivery, subscription, outcome)
        else:
            self._update(*key, "waiting", now + subscription.backoff(delivery.attempt), outcome)

    def _duplicates_of(self, topic: str) -> int:
        for asked in list(self._duplicates):
            if _named(asked, topic):
                return self._duplicates.pop(asked)
        return 0

    def _give_up(self, delivery: Delivery, subscription: Subscription, outcome: str) -> None:
        key = int(delivery.message_id), delivery.subscription
        if subscription.dead_letter_topic is None:
            self._update(*key, "dropped", self._clock.now(), outcome)
            return
        _, project, _, name = delivery.subscription.split("/")
        # https://cloud.google.com/pubsub/docs/dead-letter-topics#how_dead_letter_topics_work
        attributes = {
            **delivery.attributes,
            "CloudPubSubDeadLetterSourceDeliveryCount": str(delivery.attempt),
            "CloudPubSubDeadLetterSourceSubscription": name,
            "CloudPubSubDeadLetterSourceSubscriptionProject": project,
            "CloudPubSubDeadLetterSourceTopicPublishTime": _json_time(delivery.publish_time),
        }
        self._update(*key, "dead", self._clock.now(), outcome)
        self._publish(subscription.dead_letter_topic, [(delivery.data, attributes)])

    def _expire(self, now: datetime) -> None:
        if now - self._swept < _SWEEP:
            return
        self._swept = now
        oldest = _micros(now - min(EVENT_RETENTION, PULL_RETENTION))
        for row in self._rows("WHERE d.state = 'waiting' AND m.published <= ?", (oldest,)):
            subscription = self.subscription(row["subscription"])
            if subscription is not None and _time(row["published"]) <= now - subscription.retention:
                # A dead letter is what was delivered too often: what was kept too long is gone.
                # https://cloud.google.com/pubsub/docs/dead-letter-topics
                with self._db:
                    self._update(row["message"], row["subscription"], "dropped", now, "kept too long")

    def _update(self, message: int, subscription: str, state: str, due: datetime, outcome: str) -> None:
        self._db.execute(
            "UPDATE deliveries SET state = ?, due = ?, outcome = ? WHERE message = ? AND subscription = ?",
            (state, _micros(due), outcome, message, subscription),
        )


def _push(delivery: Delivery, push: Callable[[Delivery], bool], fault: Fault | None) -> bool:
    if fault is None:
        return push(delivery)
    if fault.action == "error":
        raise PushFailed(f"fault on demand: answered {fault.status}")
    if fault.action == "reset_before":
        raise PushFailed("fault on demand: the connection broke")
    if fault.action == "delay":
        wait(fault.seconds)
        return push(delivery)
    push(delivery)
    raise PushFailed("fault on demand: the answer was lost")


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        subscription=row["subscription"],
        topic=row["topic"],
        message_id=str(row["message"]),
        data=row["data"],
        attributes=json.loads(row["headers"]),
        publish_time=_time(row["published"]),
        attempt=row["attempts"],
    )


def _size(data: bytes, attributes: Mapping[str, str]) -> int:
    """The bytes of a message that Pub/Sub charges for. https://cloud.google.com/pubsub/pricing"""
    return len(data) + sum(len(name.encode()) + len(value.encode()) for name, value in attributes.items())


def _function(topic: str) -> str:
    return topic.rpartition("/")[2].removeprefix(STORAGE_TOPIC)


def _named(asked: str, topic: str) -> bool:
    return asked in (topic, topic.rpartition("/")[2], _function(topic))


def _of(project: str | None) -> str:
    return "%" if project is None else f"projects/{project}/%"


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _json_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exists(name: str) -> Refused:
    return Refused(
        grpc.StatusCode.ALREADY_EXISTS, f"Resource already exists in the project (resource={name})."
    )


def _not_found(name: str) -> Refused:
    return Refused(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")


def _only(request: Any, *fields: str) -> None:
    """Refuse a request that sets what is not built."""
    for field, _ in request.ListFields():
        if field.name not in fields:
            message = f"{request.DESCRIPTOR.name}.{field.name} is unimplemented in infra/local/pubsub.py"
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, message)


class _Handlers(grpc.GenericRpcHandler):
    """The methods that are built. gRPC itself answers UNIMPLEMENTED for every other."""

    def __init__(self, service: PubSubService, traffic: Traffic) -> None:
        self._service = service
        self._traffic = traffic
        self._methods: dict[str, tuple[Any, Callable[[Any], Any], str]] = {
            "/google.pubsub.v1.Publisher/CreateTopic": (types.Topic.pb(), self._create_topic, "name"),
            "/google.pubsub.v1.Publisher/GetTopic": (types.GetTopicRequest.pb(), self._get_topic, "topic"),
            "/google.pubsub.v1.Publisher/Publish": (types.PublishRequest.pb(), self._publish, "topic"),
            "/google.pubsub.v1.Subscriber/CreateSubscription": (
                types.Subscription.pb(),
                self._create_subscription,
                "name",
            ),
        }

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of one call; None where its method is not built."""
        if details.method not in self._methods:
            return None
        request_type, answer, resource = self._methods[details.method]
        kind = "pubsub." + details.method.rpartition("/")[2]
        return unary(self._traffic, kind, attrgetter(resource), request_type, answer)

    def _create_topic(self, request: Any) -> Any:
        _only(request, "name")
        if not _TOPIC.fullmatch(request.name):
            raise invalid(f"Invalid resource name given (name={request.name}).")
        if self._service.has_topic(request.name):
            raise _exists(request.name)
        self._service.create_topic(request.name)
        return request

    def _get_topic(self, request: Any) -> Any:
        if not self._service.has_topic(request.topic):
            raise _not_found(request.topic)
        return types.Topic.pb()(name=request.topic)

    def _publish(self, request: Any) -> Any:
        if not self._service.has_topic(request.topic):
            raise _not_found(request.topic)
        if request.ByteSize() > REQUEST_BYTES:
            raise invalid(f"Request payload size exceeds the limit: {REQUEST_BYTES} bytes.")
        if not 0 < len(request.messages) <= REQUEST_MESSAGES:
            raise invalid(f"A publish request holds 1 to {REQUEST_MESSAGES} messages.")
        for message in request.messages:
            _publishable(message)
        messages = [(bytes(message.data), dict(message.attributes)) for message in request.messages]
        return types.PublishResponse.pb()(message_ids=self._service.publish_all(request.topic, messages))

    def _create_subscription(self, request: Any) -> Any:
        _only(
            request,
            "name",
            "topic",
            "push_config",
            "ack_deadline_seconds",
            "retry_policy",
            "dead_letter_policy",
        )
        _only(request.push_config, "push_endpoint")
        asked = _asked(request)
        if self._service.subscription(request.name):
            raise _exists(request.name)
        try:
            self._service.subscribe(
                asked.topic,
                asked.name,
                endpoint=asked.endpoint,
                ack_deadline=asked.ack_deadline,
                min_backoff=asked.min_backoff,
                max_backoff=asked.max_backoff,
                attempts=asked.attempts,
                dead_letter_topic=asked.dead_letter_topic,
            )
        except KeyError as missing:
            raise _not_found(missing.args[0]) from missing
        except ValueError as error:
            raise invalid(f"Invalid resource name given (name={request.name}).") from error
        request.ack_deadline_seconds = asked.ack_deadline
        return request


def _publishable(message: Any) -> None:
    """Refuse a message as production does. https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage"""
    _only(message, "data", "attributes")
    if not message.data and not message.attributes:
        raise invalid("One or more messages in the publish request is empty.")
    if len(message.attributes) > ATTRIBUTES:
        raise invalid(f"A message has at most {ATTRIBUTES} attributes.")
    for key, value in message.attributes.items():
        if (
            not key
            or key.startswith("goog")
            or len(key.encode()) > KEY_BYTES
            or len(value.encode()) > VALUE_BYTES
        ):
            raise invalid(f"The attribute {key[:40]!r} is empty, too long or reserved.")


def _asked(request: Any) -> Subscription:
    """The subscription that a request asks for, with production's defaults and bounds.

    https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions
    """
    deadline = request.ack_deadline_seconds or 10
    if not 10 <= deadline <= 600:
        raise invalid("The ack deadline is 10 to 600 seconds.")
    # Without a policy production delivers again at once.
    least, most = 0.0, 0.0
    if request.HasField("retry_policy"):
        policy = request.retry_policy
        least = (
            policy.minimum_backoff.ToTimedelta().total_seconds() if policy.HasField("minimum_backoff") else 10
        )
        most = (
            policy.maximum_backoff.ToTimedelta().total_seconds()
            if policy.HasField("maximum_backoff")
            else 600
        )
    if not 0 <= least <= most <= 600:
        raise invalid("Backoffs are 0 to 600 seconds, the minimum at most the maximum.")
    attempts = dead_letter = None
    if request.HasField("dead_letter_policy"):
        dead_letter = request.dead_letter_policy.dead_letter_topic
        attempts = request.dead_letter_policy.max_delivery_attempts or 5
        if not 5 <= attempts <= 100:
            raise invalid("The maximum of delivery attempts is 5 to 100.")
    return Subscription(
        name=request.name,
        topic=request.topic,
        endpoint=request.push_config.push_endpoint,
        ack_deadline=deadline,
        min_backoff=least,
        max_backoff=most,
        attempts=attempts,
        dead_letter_topic=dead_letter,
    )
