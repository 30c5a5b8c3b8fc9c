"""Which queries an index serves, and that every other is refused as production refuses it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from tests.infra.local.firestore.conftest import Bench

ASC, DESC = firestore.Query.ASCENDING, firestore.Query.DESCENDING


def query(collection: Any, *parts: Any) -> Any:
    """Filters are (path, op, value), orders (path, direction)."""
    for part in parts:
        if len(part) == 3:
            collection = collection.where(filter=FieldFilter(*part))
        else:
            collection = collection.order_by(part[0], direction=part[1])
    return collection


SITE, SHARD, SHARDS, AT = ("site", "==", "s"), ("shard", "==", 1), ("shard", "in", [1, 2]), ("at", ">", 0)

SERVED: list[tuple[str, str, list[Any]]] = [
    ("no filter", "boxes", []),
    ("by name", "boxes", [("__name__", ASC)]),
    ("one equality", "boxes", [SITE]),
    ("one in", "boxes", [SHARDS]),
    ("equalities merged", "boxes", [SITE, ("other", "==", 1), ("third", "==", 1)]),
    ("one range", "boxes", [AT]),
    ("a range and its order", "boxes", [AT, ("at", DESC)]),
    ("an order", "boxes", [("other", DESC)]),
    ("an order and the name the same way", "boxes", [("other", DESC), ("__name__", DESC)]),
    ("a field in a map", "boxes", [("inner.other", ">", 1)]),
    ("an equality, ordered by itself", "boxes", [SITE, ("site", DESC)]),
    ("the declared index", "boxes", [SITE, SHARD, AT]),
    ("its equalities the other way round", "boxes", [SHARD, SITE, AT]),
    ("with an in", "boxes", [SITE, SHARDS, ("at", ASC)]),
    ("with an in that is ordered", "boxes", [SITE, SHARDS, ("shard", ASC), ("at", ASC)]),
    ("all equalities on it", "boxes", [SITE, SHARD, ("at", "==", 3)]),
    ("mixed directions", "boxes", [SITE, ("size", DESC), ("at", ASC)]),
    ("two orders", "boxes", [("at", ASC), ("size", ASC)]),
    ("a range in a composite", "boxes", [AT, ("at", ASC), ("size", ASC)]),
    ("a nested field in a composite", "boxes", [("inner.tag", "==", 1), ("size", ">", 1)]),
    ("the same in a collection below", "sites/a/boxes", [SITE, SHARD, AT]),
    ("a group", "*runs", []),
    ("a group's declared index", "*runs", [("state", "==", "x"), ("due", "<", 3)]),
    ("a group's declared field", "*runs", [("owner", "==", 1)]),
    ("its order", "*runs", [("owner", ASC)]),
]

REFUSED: list[tuple[str, str, list[Any]]] = [
    ("an equality and a range", "boxes", [SITE, AT]),
    ("one equality too few", "boxes", [SHARD, AT]),
    ("one equality too many", "boxes", [SITE, SHARD, ("other", "==", 1), AT]),
    ("the whole order turned", "boxes", [SITE, SHARD, ("at", DESC)]),
    ("mixed directions turned", "boxes", [SITE, ("size", ASC), ("at", DESC)]),
    ("one direction turned", "boxes", [SITE, ("size", ASC), ("at", ASC)]),
    ("the orders exchanged", "boxes", [("size", ASC), ("at", ASC)]),
    ("an order on a third field", "boxes", [SITE, SHARD, ("size", ASC)]),
    ("the name the other way", "boxes", [SITE, SHARD, ("at", ASC), ("__name__", DESC)]),
    ("an order, the name the other way", "boxes", [("other", ASC), ("__name__", DESC)]),
    ("names downwards", "boxes", [("__name__", DESC)]),
    ("an exempted field", "boxes", [("blob", "==", 1)]),
    ("an exempted field's order", "boxes", [("blob", ASC)]),
    ("a field inside an exempted one", "boxes", [("blob.x", "==", 1)]),
    ("an exempted field in a merge", "boxes", [SITE, ("blob", "==", 1)]),
    ("another collection", "crates", [SITE, SHARD, AT]),
    ("the collection's index for a group", "*boxes", [SITE, SHARD, AT]),
    ("a group's one field, undeclared", "*boxes", [SITE]),
    ("a group's order, undeclared", "*runs", [("due", ASC)]),
    ("a group's field the other way", "*runs", [("owner", DESC)]),
    ("a field declared for groups only", "runs", [("owner", "==", 1)]),
    ("the group's index for a collection", "runs", [("state", "==", "x"), ("due", "<", 3)]),
]


def source(bench: Bench, name: str) -> Any:
    return bench.db.collection_group(name[1:]) if name[0] == "*" else bench.db.collection(name)


@pytest.mark.parametrize(("name", "parts"), [row[1:] for row in SERVED], ids=[row[0] for row in SERVED])
def test_served(bench: Bench, name: str, parts: list[Any]) -> None:
    assert query(source(bench, name), *parts).get() == []
    assert query(source(bench, name), *parts).count().get()[0][0].value == 0


@pytest.mark.parametrize(("name", "parts"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(bench: Bench, name: str, parts: list[Any]) -> None:
    with pytest.raises(exceptions.FailedPrecondition, match="The query requires an index"):
        query(source(bench, name), *parts).get()
    with pytest.raises(exceptions.FailedPrecondition, match="The query requires an index"):
        query(source(bench, name), *parts).count().get()


def test_the_refusal_names_the_index(bench: Bench) -> None:
    with pytest.raises(exceptions.FailedPrecondition) as caught:
        query(bench.db.collection("boxes"), SITE, ("size", DESC)).get()
    assert "collectionGroup boxes, queryScope COLLECTION, fields site ASCENDING, size DESCENDING" in str(
        caught.value
    )


def test_a_sum_needs_the_index_with_its_field_too(bench: Bench) -> None:
    boxes = bench.db.collection("boxes")
    assert boxes.sum("size").get()[0][0].value == 0
    assert query(boxes, ("at", ">", 1)).sum("size").get()[0][0].value == 0
    assert query(boxes, ("size", ">", 1)).sum("size").get()[0][0].value == 0
    assert query(boxes, SITE, SHARD).sum("shard").get()[0][0].value == 0
    for refused in (
        boxes.sum("blob"),
        query(boxes, ("at", ">", 1)).sum("other"),
        query(boxes, SITE).sum("size"),
    ):
        with pytest.raises(exceptions.FailedPrecondition, match="The query requires an index"):
            refused.get()


def test_what_lacks_an_indexed_field_is_not_found(bench: Bench) -> None:
    bench.put("boxes/whole", site="s", shard=1, at=1)
    bench.put("boxes/part", site="s", shard=1)
    bench.put("boxes/null", site="s", shard=1, at=None)
    assert bench.ids(query(bench.db.collection("boxes"), SITE, SHARD, ("at", ASC))) == ["null", "whole"]
    bench.put("boxes/whole", site="s", shard=1)
    assert bench.ids(query(bench.db.collection("boxes"), SITE, SHARD, ("at", ASC))) == ["null"]


def test_an_index_does_not_reach_into_another_collection_or_project(bench: Bench) -> None:
    for path in ("boxes/b", "sites/a/boxes/b"):
        bench.put(path, site="s", shard=1, at=len(path))
    bench.client("q").document("boxes/b").set({"site": "s", "shard": 1, "at": 1})
    (found,) = query(bench.db.collection("sites/a/boxes"), SITE, SHARD, AT).get()
    assert found.reference.path == "sites/a/boxes/b"
    assert query(bench.db.collection("boxes"), SITE, SHARD, AT).count().get()[0][0].value == 1


def test_an_index_declared_later_holds_what_was_there_before(
    make_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    file, indexes = tmp_path / "firestore.db", tmp_path / "indexes.json"
    entry = {
        "collectionGroup": "boxes",
        "fields": [{"fieldPath": "a", "order": "ASCENDING"}, {"fieldPath": "b", "order": "ASCENDING"}],
    }

    def found(bench: Bench) -> list[str]:
        return bench.ids(query(bench.db.collection("boxes"), ("a", "==", 1), ("b", ">", 0)))

    def open_with(*declared: Any) -> Bench:
        indexes.write_text(json.dumps({"indexes": declared}))
        return make_bench(file, indexes)

    bench = open_with()
    bench.put("boxes/x", a=1, b=1)
    bench.put("boxes/y", a=1, b=2)
    bench.db.document("boxes/x").delete()
    with pytest.raises(exceptions.FailedPrecondition):
        found(bench)
    bench.service.stop()
    bench = open_with(entry)
    assert found(bench) == ["y"]
    bench.service.stop()
    bench = open_with()
    bench.put("boxes/z", a=1, b=3)
    bench.service.stop()
    assert found(open_with(entry, entry)) == ["y", "z"]
