"""What the services say that Google would charge for."""

from collections.abc import Mapping

import pytest
from google.cloud.firestore_v1 import FieldFilter

from infra.local.traffic import (
    CLASS_A,
    CLASS_B,
    DELETES,
    LEAST_BYTES,
    MESSAGE_BYTES,
    MESSAGES,
    READS,
    WRITES,
    Traffic,
)
from shared.gcp.documents import count, total
from tests.world import World


@pytest.fixture
def billed(world: World) -> Traffic:
    world.suite.traffic.take_billed()
    return world.suite.traffic


def taken(traffic: Traffic) -> Mapping[str, int]:
    return {name: number for name, number in traffic.take_billed().items() if number}


def test_documents(world: World, billed: Traffic) -> None:
    db = world.cloud.db
    things = db.collection("things")
    batch = db.batch()
    for number in range(3):
        batch.set(things.document(str(number)), {"number": number})
    batch.commit()
    assert taken(billed) == {WRITES: 3}
    things.document("0").get()
    things.document("gone").get()
    list(db.get_all([things.document("1"), things.document("2")]))
    assert taken(billed) == {READS: 4}
    things.document("0").delete()
    assert taken(billed) == {DELETES: 1}


def test_queries(world: World, billed: Traffic) -> None:
    things = world.cloud.db.collection("things")
    for number in range(3):
        things.document(str(number)).set({"number": number})
    taken(billed)
    assert len(list(things.stream())) == 3
    assert taken(billed) == {READS: 3}
    assert list(things.where(filter=FieldFilter("number", ">", 5)).stream()) == []
    assert taken(billed) == {READS: 1}
    assert (count(things), total(things, "number")) == (3, 3)
    assert taken(billed) == {READS: 2}


def test_objects(world: World, billed: Traffic) -> None:
    bucket = world.cloud.settings.staging_bucket
    stored = world.cloud.objects.create(bucket, "acme/one", b"some", "text/plain")
    world.cloud.objects.read(stored, 0, 4)
    assert taken(billed) == {CLASS_A: 1, CLASS_B: 1}


def test_messages(world: World, billed: Traffic) -> None:
    world.cloud.messages.publish("send_mail", {"a": 1}, {"b": 2})
    assert taken(billed) == {MESSAGES: 2, MESSAGE_BYTES: LEAST_BYTES}
    world.cloud.messages.publish("send_mail", {"a": "x" * LEAST_BYTES})
    found = taken(billed)
    assert found[MESSAGE_BYTES] == LEAST_BYTES + len('{"a": ""}')
