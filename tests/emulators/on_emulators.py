"""That the emulators are what the suites run on, and that time goes by in them as in the suite.

Its name keeps it out of every other run: `python -m tests.emulators` names it.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud import firestore

from infra.local.project import topic_path
from infra.local.pubsub import Delivery
from shared.gcp.documents import fields_of, read_time, transact
from shared.gcp.outages import expired
from tests.conftest import START
from tests.emulators.firestore import GoogleFirestore
from tests.emulators.pubsub import GooglePubSub
from tests.world import World

HOUR = timedelta(hours=1)
FUNCTION = "export_work_orders_timeline"


def test_the_world_is_in_the_emulators(world: World) -> None:
    assert isinstance(world.suite.firestore, GoogleFirestore)
    assert isinstance(world.suite.pubsub, GooglePubSub)
    with pytest.raises(grpc.RpcError) as refused:
        world.suite.firestore._emulator.unary("/google.firestore.v1.Firestore/Nothing", b"")
    code: Any = refused.value
    assert code.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "google.firestore.v1.Firestore/Nothing" in code.details()


def test_each_world_is_a_project_of_its_own(new_world: Callable[[], World]) -> None:
    first = new_world()
    first.cloud.db.document("a/1").set({"v": 1})
    first.cloud.messages.publish(FUNCTION, {"v": 1})
    second = new_world()
    assert not second.cloud.db.document("a/1").get().exists
    assert second.waiting() == []


def test_documents_have_the_times_of_the_suite_and_are_read_at_them(world: World) -> None:
    document = world.cloud.db.document("a/1")
    document.set({"v": 1, "at": firestore.SERVER_TIMESTAMP})
    world.move_to(START + HOUR)
    result: Any = document.update({"v": 2, "at": firestore.SERVER_TIMESTAMP})
    now: Any = document.get()
    assert START < now.create_time < START + timedelta(minutes=1)
    assert START + HOUR <= now.update_time == result.update_time < START + HOUR + timedelta(minutes=1)
    assert result.transform_results[0].timestamp_value == now.get("at")
    assert START + HOUR <= now.get("at") <= now.update_time < read_time(now)
    before = document.get(read_time=START + HOUR / 2)
    assert (before.get("v"), before.update_time) == (1, before.create_time)
    document.update({"v": 3}, option=world.cloud.db.write_option(last_update_time=now.update_time))
    with pytest.raises(InvalidArgument, match="future"):
        document.get(read_time=START + 2 * HOUR)


def test_a_transaction_keeps_its_locks_for_a_minute(world: World) -> None:
    document = world.cloud.db.document("a/1")
    document.set({"v": 1})
    dead = world.cloud.db.transaction()
    dead._begin()
    document.get(transaction=dead)
    before = world.suite.clock.now()
    transact(world.cloud.db, lambda transaction: transaction.update(document, {"v": 2}))
    assert world.suite.clock.now() - before > timedelta(minutes=1)
    dead.update(document, {"v": 3})
    with pytest.raises(InvalidArgument) as late:
        dead._commit()
    assert expired(late.value)
    assert fields_of(document.get()) == {"v": 2}


def test_a_message_comes_again_after_its_backoff_and_at_last_is_a_dead_letter(world: World) -> None:
    topic = topic_path(FUNCTION, world.suite.project)
    name = f"projects/{world.suite.project}/subscriptions/eventarc-{FUNCTION}"
    subscription = world.suite.pubsub.subscription(name)
    assert subscription is not None
    assert subscription.topic == topic
    assert subscription.attempts is not None
    world.cloud.messages.publish(FUNCTION, {"v": 1})
    came: list[Delivery] = []

    def refuse(delivery: Delivery) -> bool:
        came.append(delivery)
        return False

    assert world.suite.pubsub.deliver_due(refuse) == 1
    assert world.suite.pubsub.deliver_due(refuse) == 0, "before its backoff"
    for _ in range(subscription.attempts - 1):
        world.wait(timedelta(minutes=11))
        assert world.suite.pubsub.deliver_due(refuse) == 1
    assert [each.attempt for each in came] == list(range(1, subscription.attempts + 1))
    assert {(each.message_id, each.data) for each in came} == {(came[0].message_id, b'{"v": 1}')}
    assert START <= came[0].publish_time < START + timedelta(minutes=1)
    (letter,) = world.suite.pubsub.held()
    assert letter.data == came[0].data
    assert letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == str(subscription.attempts)
    assert world.waiting() == []
