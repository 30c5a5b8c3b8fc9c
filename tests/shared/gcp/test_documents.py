"""Scans that break and go on, and times that are plain."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from infra.local.traffic import Fault
from shared.gcp import documents
from shared.gcp.documents import (
    Scan,
    count,
    fields_of,
    moment,
    read_together,
    server_time,
    timestamp,
)
from shared.gcp.outages import outage
from shared.gcp.transactions import Client
from shared.workorders import scan as scan_of_work_orders
from shared.workorders.record import iso
from tests.world import SITE, World

pytestmark = pytest.mark.wire

UNAVAILABLE = Fault("error", status=14)


def query(world: World) -> Any:
    found = (
        world.cloud.db.collection("work_orders")
        .where(filter=FieldFilter("site_id", "==", SITE))
        .where(filter=FieldFilter("shard", "in", [0, 1]))
        .select(["update_date"])
        .order_by("update_date")
        .order_by("__name__")
    )
    return found._to_protobuf()._pb


@pytest.fixture
def forty(world: World) -> list[str]:
    """Forty documents, ten of each stamp, so that pages end between equal stamps."""
    batch = world.cloud.db.batch()
    names = [f"d{number:02}" for number in range(40)]
    for number, name in enumerate(names):
        stamp = datetime(2026, 11, 22, 9, number // 10, tzinfo=UTC)
        fields = {"site_id": SITE, "shard": number % 2, "update_date": stamp}
        batch.set(world.cloud.db.document(f"work_orders/{name}"), fields)
    batch.commit()
    return names


def scan(world: World) -> list[str]:
    now = server_time(world.cloud.db)
    found = Scan(world.cloud.db).documents(query(world), "update_date", now)
    return [document.name.rpartition("/")[2] for document in found]


@pytest.mark.parametrize("page", [1, 7, 10, 39, 40, 41, 1000])
def test_a_scan_goes_through_pages_of_any_size(
    world: World, forty: list[str], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", page)
    assert scan(world) == forty


def test_a_scan_takes_its_answers_from_the_channel_itself(world: World) -> None:
    """Where gRPC changes how it is told to, an export costs more again, and nothing else would say so."""
    scanned = Scan(world.cloud.db)
    assert "SingleThreaded" in type(scanned._run_query).__name__


@pytest.mark.parametrize(
    "at",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 11, 22, 9, 17, 0, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    ids=str,
)
def test_a_moment_comes_back_as_protobuf_reads_it(at: datetime) -> None:
    sent = timestamp(at)
    assert moment(sent) == sent.ToDatetime(UTC) == at
    assert scan_of_work_orders._iso(sent) == iso(at) == at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


@pytest.mark.parametrize(
    "fault", [UNAVAILABLE, Fault("truncate"), Fault("reset_before")], ids=lambda f: f.action
)
def test_a_scan_that_breaks_goes_on_behind_the_last_document(
    world: World, forty: list[str], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 10)
    world.suite.traffic.arm("firestore.RunQuery", fault, nth=2, times=3)
    assert scan(world) == forty


@pytest.mark.usefixtures("forty")
def test_a_scan_that_stays_broken_is_told(world: World) -> None:
    world.suite.traffic.arm("firestore.RunQuery", UNAVAILABLE, times=documents.PAGE_ATTEMPTS)
    with pytest.raises(grpc.RpcError):
        scan(world)


def test_a_scan_sees_what_was_there_at_its_time(world: World, forty: list[str]) -> None:
    then = server_time(world.cloud.db)
    world.wait(timedelta(minutes=1))
    for name in forty[:5]:
        world.cloud.db.document(f"work_orders/{name}").delete()
    found = Scan(world.cloud.db).documents(query(world), "update_date", then)
    assert len(list(found)) == 40
    assert len(scan(world)) == 35


def test_another_invalid_argument_is_a_fault_of_ours() -> None:
    assert outage(InvalidArgument("the field path is longer than 1500 bytes")) is None


def test_a_count_is_of_now_or_of_a_past_moment(world: World, forty: list[str]) -> None:
    everything = world.cloud.db.collection("work_orders")
    then = server_time(world.cloud.db)
    world.wait(timedelta(minutes=1))
    world.cloud.db.document(f"work_orders/{forty[0]}").delete()
    assert (count(everything), count(everything, then), count(everything, up_to=5)) == (39, 40, 5)


def test_moments_from_firestore_can_be_moved_and_rounded(world: World) -> None:
    at = datetime(2026, 11, 22, 9, 17, 3, 123456, tzinfo=UTC)
    reference = world.cloud.db.document("things/one")
    reference.set({"at": at, "inner": {"at": at}})
    fields = fields_of(reference.get())
    for found in (fields["at"], fields["inner"]["at"]):
        assert type(found) is datetime
        assert found.replace(second=0, microsecond=0).astimezone(UTC).minute == 17
    assert type(server_time(world.cloud.db)) is datetime


def test_fields_are_those_of_the_client_whatever_their_type(world: World) -> None:
    at = datetime(2026, 11, 22, 9, 17, 3, 123456, tzinfo=UTC)
    reference = world.cloud.db.document("things/one")
    one = {
        "nothing": None,
        "yes": True,
        "number": 2**53,
        "share": 0.5,
        "at": at,
        "text": "ß",
        "bytes": b"\0",
        "reference": reference,
        "place": firestore.GeoPoint(1.0, 2.0),
    }
    reference.set({**one, "map": {**one, "list": [1]}, "list": [*one.values(), {"map": dict(one)}]})
    snapshot = reference.get()
    fields = fields_of(snapshot)
    assert fields == snapshot.to_dict()
    kinds = [type(value) for value in (fields["at"], fields["map"]["at"], fields["list"][4])]
    assert kinds == [datetime] * 3


def test_changing_fields_leaves_the_snapshot_as_it_was_read(world: World) -> None:
    reference = world.cloud.db.document("things/one")
    reference.set({"map": {"list": [{"a": 1}]}})
    snapshot = reference.get()
    fields = fields_of(snapshot)
    fields["map"]["list"][0]["a"] = 2
    fields["map"]["list"].append(3)
    fields["map"]["b"] = 4
    assert fields_of(snapshot) == {"map": {"list": [{"a": 1}]}}


def test_documents_are_read_together_by_one_call_in_the_order_that_they_were_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Firestore may answer in any order, and here does so backwards."""
    get_all = Client.get_all
    monkeypatch.setattr(Client, "get_all", lambda *args, **named: reversed(list(get_all(*args, **named))))
    references = [world.cloud.db.document(f"things/{name}") for name in ("z", "none", "a")]
    for each in (references[0], references[2]):
        each.set({"name": each.id})
    world.suite.traffic.forget()
    read = read_together(world.cloud.db, references)
    assert [(each.reference.path, each.exists) for each in read] == [
        ("things/z", True),
        ("things/none", False),
        ("things/a", True),
    ]
    assert [fields_of(each)["name"] for each in read if each.exists] == ["z", "a"]
    assert [each.kind for each in world.suite.traffic.calls()] == ["firestore.BatchGetDocuments"]


def test_a_document_that_must_be_there_and_is_not_is_named(world: World) -> None:
    with pytest.raises(LookupError, match="things/none"):
        fields_of(world.cloud.db.document("things/none").get())
