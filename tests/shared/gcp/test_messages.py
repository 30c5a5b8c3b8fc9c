"""Messages are published by a client that is made with the first of them."""

import pytest

from shared.gcp.messages import MESSAGE_BYTES, Messages
from tests.world import World


def no_client() -> None:
    raise AssertionError("Pub/Sub's client was made")


def test_without_a_message_no_client_is_made() -> None:
    messages = Messages(no_client, "p")  # type: ignore[arg-type]
    messages.publish("tick")
    with pytest.raises(ValueError, match="send ids, not payloads"):
        messages.publish("tick", {"id": "x" * MESSAGE_BYTES})
    messages.close()
    with pytest.raises(AssertionError, match="was made"):
        messages.publish("tick", {"id": "x"})


def test_a_message_reaches_its_topic(world: World) -> None:
    world.cloud.messages.publish("tick", {"id": "1"}, {"id": "2"})
    waiting = world.suite.pubsub.outstanding()
    assert [each.topic.rpartition("/")[2] for each in waiting] == ["tick", "tick"]
