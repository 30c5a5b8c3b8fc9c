"""Messages between our functions: small JSON objects of ids, one topic a function, never a payload."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cloudevents.http.event import CloudEvent

if TYPE_CHECKING:
    from google.cloud import pubsub_v1

MESSAGE_BYTES = 8 * 1024
"""The most a message of ours may hold; an event may hold 512 KB.
https://cloud.google.com/eventarc/docs/event-size"""

REQUEST_MESSAGES = 1000
"""How many messages one request may hold; of ours they stay below its 10 MB.
https://cloud.google.com/pubsub/quotas#resource_limits"""

PUBLISH_SECONDS = 60
"""How long a publish may take, retries and all."""


@dataclass(frozen=True)
class Message:
    """What a function was sent: ids, when it was published, and the id that redeliveries share."""

    body: Mapping[str, Any]
    published: datetime
    id: str

    def __getitem__(self, key: str) -> Any:
        return self.body[key]

    def get(self, key: str) -> Any:
        """The value of a key that may be absent."""
        return self.body.get(key)


@dataclass(frozen=True)
class ObjectFinalised:
    """An object that came to be: where, what it is called, and the id that redeliveries share."""

    bucket: str
    name: str
    id: str


class Messages:
    """Publishes to the functions' topics, which are named as they are.

    `connect` makes Pub/Sub's client, when the first message is published.
    """

    def __init__(self, connect: "Callable[[], pubsub_v1.PublisherClient]", project: str) -> None:
        self._connect = connect
        self._project = project

    @cached_property
    def _publisher(self) -> "pubsub_v1.PublisherClient":
        return self._connect()

    def close(self) -> None:
        """Give the connection back, if there is one."""
        if "_publisher" in self.__dict__:
            self._publisher.transport.close()

    def publish(self, function: str, *bodies: Mapping[str, Any]) -> None:
        """Send these to a function and wait until Pub/Sub has them all. ValueError where one is too large."""
        contents = [json.dumps(body).encode() for body in bodies]
        for data in contents:
            if len(data) > MESSAGE_BYTES:
                raise ValueError(f"a message to {function} holds {len(data)} bytes: send ids, not payloads")
        if not contents:
            return
        from google.pubsub_v1 import PublisherClient, PubsubMessage  # loaded when there is something to send

        topic = self._publisher.topic_path(self._project, function)
        messages = [PubsubMessage(data=data) for data in contents]
        for start in range(0, len(messages), REQUEST_MESSAGES):
            # Not the client's own publish(), which sends from a thread of its own: after an answer Cloud Run
            # leaves threads without a processor, and what fails there fails unseen.
            PublisherClient.publish(
                self._publisher,
                topic=topic,
                messages=messages[start : start + REQUEST_MESSAGES],
                timeout=PUBLISH_SECONDS,
            )


def parse(event: CloudEvent) -> Message:
    """Read the CloudEvent that a Pub/Sub trigger delivers; ValueError where it is none of ours.

    https://cloud.google.com/eventarc/docs/cloudevents#pubsub
    """
    message = event.data["message"]
    body = json.loads(base64.b64decode(message.get("data", "")) or b"{}")
    if not isinstance(body, dict):
        raise ValueError("a message of ours holds a JSON object")
    return Message(body, datetime.fromisoformat(message["publishTime"]), message["messageId"])


def parse_finalised(event: CloudEvent) -> ObjectFinalised:
    """Read the CloudEvent that a bucket's trigger delivers.

    https://cloud.google.com/eventarc/docs/cloudevents#cloud-storage
    """
    return ObjectFinalised(event.data["bucket"], event.data["name"], event["id"])
