"""Writes: masks, transforms, preconditions, limits, and that a commit is all or nothing."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from grpc import StatusCode

from infra.local.firestore.messages import BatchWriteRequest, Document, GetDocumentRequest, Value, Write
from tests.infra.local.firestore.conftest import ROOT, START, Bench, micro, stamp


def write(path: str, fields: dict[str, Any] | None = None, **more: Any) -> Any:
    """A raw update of a document with integer fields."""
    document = Document(name=f"{ROOT}/{path}")
    for name, value in (fields or {}).items():
        document.fields[name].integer_value = value
    return Write(update=document, **more)


MERGES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("a field", {"a": 1, "b": 2}, {"a": 5}, {"a": 5, "b": 2}),
    ("a field inside a map", {"m": {"x": 1, "y": 2}}, {"m.x": 5}, {"m": {"x": 5, "y": 2}}),
    ("a path of maps not there yet", {"a": 1}, {"m.n.x": 5}, {"a": 1, "m": {"n": {"x": 5}}}),
    ("a map in place of what is no map", {"m": 1}, {"m.x": 5}, {"m": {"x": 5}}),
    ("a deleted field", {"a": 1, "b": 2}, {"a": firestore.DELETE_FIELD}, {"b": 2}),
    (
        "a deleted field inside a map",
        {"m": {"x": 1, "y": 2}},
        {"m.x": firestore.DELETE_FIELD},
        {"m": {"y": 2}},
    ),
    ("deleting what is not there", {"a": 1}, {"m.x": firestore.DELETE_FIELD, "a": 2}, {"a": 2}),
    ("a name that needs quotes", {"a": 1}, {"`x-y`.`p.q`": 5}, {"a": 1, "x-y": {"p.q": 5}}),
    ("a whole map", {"m": {"x": 1}}, {"m": {"y": 2}}, {"m": {"y": 2}}),
]


@pytest.mark.parametrize(("before", "update", "after"), [m[1:] for m in MERGES], ids=[m[0] for m in MERGES])
def test_update_touches_only_what_it_names(
    bench: Bench, before: dict[str, Any], update: dict[str, Any], after: dict[str, Any]
) -> None:
    document = bench.db.document("a/b")
    document.set(before)
    document.update(update)
    assert document.get().to_dict() == after


def test_set_replaces_and_merge_merges(bench: Bench) -> None:
    document = bench.db.document("a/b")
    document.set({"a": 1, "m": {"x": 1}})
    document.set({"m": {"y": 2}}, merge=True)
    assert document.get().to_dict() == {"a": 1, "m": {"x": 1, "y": 2}}
    document.set({"b": 1})
    assert document.get().to_dict() == {"b": 1}
    bench.db.document("a/new").set({"c": 1}, merge=True)
    assert bench.db.document("a/new").get().to_dict() == {"c": 1}


def test_fields_outside_the_mask_are_left_out(bench: Bench) -> None:
    bench.commit(write("a/b", {"x": 1, "y": 2}, update_mask={"field_paths": ["x", "z"]}))
    assert bench.db.document("a/b").get().to_dict() == {"x": 1}


@pytest.mark.parametrize("paths", [["m", "m.x"], ["1a"], ["__x__"], ["a" * 1501], [""]])
def test_a_wrong_mask_is_refused(bench: Bench, paths: list[str]) -> None:
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        bench.commit(write("a/b", {"a": 1}, update_mask={"field_paths": paths}))


def test_every_kind_of_value_comes_back(bench: Bench) -> None:
    fields: dict[str, Any] = {
        "null": None,
        "yes": True,
        "int": -(2**63),
        "double": 0.1,
        "nan": math.inf,
        "text": "é\x00😀",
        "bytes": b"\x00\xff",
        "at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "point": firestore.GeoPoint(1.5, -2.5),
        "ref": bench.db.document("c/d"),
        "list": [1, "a", {"x": [None]}],
        "empty": {},
        "none": [],
    }
    bench.db.document("a/b").set(fields)
    assert bench.db.document("a/b").get().to_dict() == fields


def test_timestamps_are_cut_to_microseconds(bench: Bench) -> None:
    document = Document(name=f"{ROOT}/a/b")
    document.fields["m"].map_value.fields["t"].timestamp_value.nanos = 1999
    bench.commit(Write(update=document))
    stored = bench.call("GetDocument", GetDocumentRequest(name=document.name))
    assert stored.fields["m"].map_value.fields["t"].timestamp_value.nanos == 1000


# Transforms

NOW = object()
TRANSFORMS: list[tuple[str, Any, Any, Any, Any]] = [
    ("increment of nothing", None, firestore.Increment(3), 3, 3),
    ("increment of an integer", 4, firestore.Increment(3), 7, 7),
    ("increment of a double", 1.5, firestore.Increment(3), 4.5, 4.5),
    ("increment by a double", 4, firestore.Increment(0.5), 4.5, 4.5),
    ("increment of a text", "x", firestore.Increment(3), 3, 3),
    ("increment over the top", 2**63 - 2, firestore.Increment(5), 2**63 - 1, 2**63 - 1),
    ("increment below the bottom", -(2**63) + 2, firestore.Increment(-5), -(2**63), -(2**63)),
    ("maximum taken", 4, firestore.Maximum(5), 5, 5),
    ("maximum kept", 4, firestore.Maximum(3.5), 4, 4),
    ("maximum of equals keeps the type", 3, firestore.Maximum(3.0), 3, 3),
    ("maximum of nothing", None, firestore.Maximum(-1), -1, -1),
    ("minimum taken", 4, firestore.Minimum(3.5), 3.5, 3.5),
    ("minimum kept", 4, firestore.Minimum(5), 4, 4),
    ("minimum of a text", "x", firestore.Minimum(5), 5, 5),
    ("union", [1, "a"], firestore.ArrayUnion(["b", 1, 1.0, "b"]), [1, "a", "b"], None),
    ("union of nothing", None, firestore.ArrayUnion([1, 1]), [1], None),
    ("union of a text", "x", firestore.ArrayUnion([1]), [1], None),
    ("remove", [1, 2, 1, 3.0], firestore.ArrayRemove([1, 3]), [2], None),
    ("remove from nothing", None, firestore.ArrayRemove([1]), [], None),
]


@pytest.mark.parametrize(
    ("before", "transform", "after", "answer"), [t[1:] for t in TRANSFORMS], ids=[t[0] for t in TRANSFORMS]
)
def test_transforms(bench: Bench, before: Any, transform: Any, after: Any, answer: Any) -> None:
    document = bench.db.document("a/b")
    document.set({"keep": 1} if before is None else {"keep": 1, "m": {"x": before}})
    result = document.update({"m.x": transform})
    stored = document.get().to_dict()
    assert stored == {"keep": 1, "m": {"x": after}}
    assert type(stored["m"]["x"]) is type(after)
    (given,) = result.transform_results
    assert (
        given
        == {
            int: Value(integer_value=answer) if isinstance(answer, int) else None,
            float: Value(double_value=answer) if isinstance(answer, float) else None,
            type(None): Value(null_value=0),
        }[type(answer)]
    )


def test_a_transform_alone_makes_the_document(bench: Bench) -> None:
    result = bench.commit(
        Write(
            transform={
                "document": f"{ROOT}/a/b",
                "field_transforms": [
                    {"field_path": "n", "increment": {"integer_value": 2}},
                    {"field_path": "t", "set_to_server_value": 1},
                ],
            }
        )
    )
    number, time = result.write_results[0].transform_results
    assert number == Value(integer_value=2)
    assert bench.db.document("a/b").get().to_dict() == {"n": 2, "t": micro_of(time.timestamp_value)}


def micro_of(at: Any) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at.seconds, microseconds=at.nanos // 1000)


def test_the_server_timestamp_is_the_suites_time_in_milliseconds(bench: Bench) -> None:
    bench.clock.advance(timedelta(microseconds=1_234_567))
    document = bench.db.document("a/b")
    result = document.set({"t": firestore.SERVER_TIMESTAMP, "n": 1})
    stored = document.get().to_dict()
    assert stored is not None
    assert stored["t"] == START + timedelta(milliseconds=1234)
    assert (
        START + timedelta(microseconds=1_234_567) < micro(result.update_time) < START + timedelta(seconds=2)
    )


# Times of documents


def test_a_write_that_changes_nothing_keeps_the_update_time(bench: Bench) -> None:
    first = bench.put("a/b", x=1, m={"y": 2})
    document = bench.db.document("a/b")
    again = [
        document.set({"m": {"y": 2}, "x": 1}),
        document.update({"x": 1}),
        document.update({"z": firestore.DELETE_FIELD}),
        document.set({"x": firestore.Maximum(0)}, merge=True),
    ]
    assert [micro(result.update_time) for result in again] == [first] * 4
    snapshot = document.get()
    assert (micro(snapshot.update_time), micro(snapshot.create_time)) == (first, first)
    later = micro(document.update({"x": 2}).update_time)
    snapshot = document.get()
    assert (micro(snapshot.create_time), micro(snapshot.update_time)) == (first, later)
    assert later > first


def test_a_document_made_again_has_a_new_create_time(bench: Bench) -> None:
    first = bench.put("a/b", x=1)
    bench.db.document("a/b").delete()
    second = bench.put("a/b", x=1)
    assert second > first
    assert micro(bench.db.document("a/b").get().create_time) == second
    third = bench.commit(Write(delete=f"{ROOT}/a/b"), write("a/b", {"x": 1})).commit_time
    assert micro(bench.db.document("a/b").get().create_time) == micro_of(third) > second


def test_commit_times_only_grow(bench: Bench) -> None:
    times = [bench.put("a/b", x=n) for n in range(20)]
    assert times == sorted(set(times))


def test_a_delete_has_no_update_time(bench: Bench) -> None:
    bench.put("a/b", x=1)
    result = bench.commit(Write(delete=f"{ROOT}/a/b"), Write(delete=f"{ROOT}/a/never"))
    assert not any(r.HasField("update_time") for r in result.write_results)
    assert not bench.db.document("a/b").get().exists


# Preconditions


@pytest.mark.parametrize("kind", ["update", "delete", "transform"])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("condition", "missing", "present"),
    [
        ("exists", StatusCode.NOT_FOUND, None),
        ("absent", None, StatusCode.ALREADY_EXISTS),
        ("same", StatusCode.FAILED_PRECONDITION, None),
        ("older", StatusCode.FAILED_PRECONDITION, StatusCode.FAILED_PRECONDITION),
        ("later", StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT),
        ("finer", StatusCode.INVALID_ARGUMENT, StatusCode.INVALID_ARGUMENT),
        ("year 0", StatusCode.INVALID_ARGUMENT, StatusCode.INVALID_ARGUMENT),
    ],
)
def test_preconditions(
    bench: Bench, kind: str, there: bool, condition: str, missing: Any, present: Any
) -> None:
    old = bench.put("a/b", x=0)
    new = bench.put("a/b", x=1)
    if not there:
        bench.db.document("a/b").delete()
    current = {
        "exists": {"exists": True},
        "absent": {"exists": False},
        "same": {"update_time": stamp(new)},
        "older": {"update_time": stamp(old)},
        "later": {"update_time": stamp(new + timedelta(microseconds=1))},
        "finer": {"update_time": {"seconds": 1, "nanos": 1}},
        "year 0": {"update_time": {"seconds": -62_135_596_801}},
    }[condition]
    name = f"{ROOT}/a/b"
    asked = {
        "update": write("a/b", {"x": 2}, current_document=current),
        "delete": Write(delete=name, current_document=current),
        "transform": Write(
            transform={
                "document": name,
                "field_transforms": [{"field_path": "x", "increment": {"integer_value": 1}}],
            },
            current_document=current,
        ),
    }[kind]
    refusal = present if there else missing
    if refusal is None:
        bench.commit(asked)
        after = bench.db.document("a/b").get().to_dict()
        assert after == (None if kind == "delete" else {"x": 2 if kind == "update" or there else 1})
    else:
        with pytest.raises(Exception, match=refusal.name):
            bench.commit(asked)
        assert bench.db.document("a/b").get().to_dict() == ({"x": 1} if there else None)


def test_the_client_gets_its_usual_exceptions(bench: Bench) -> None:
    document = bench.db.document("a/b")
    with pytest.raises(exceptions.NotFound):
        document.update({"x": 1})
    document.create({"x": 1})
    with pytest.raises(exceptions.AlreadyExists):
        document.create({"x": 2})
    stale = bench.db.write_option(last_update_time=stamp(START - timedelta(days=1)))
    with pytest.raises(exceptions.FailedPrecondition):
        document.update({"x": 3}, option=stale)
    with pytest.raises(exceptions.FailedPrecondition):
        document.delete(option=stale)


# All or nothing


def test_a_commit_is_atomic(bench: Bench) -> None:
    bench.put("a/there", x=1)
    batch = bench.db.batch()
    batch.set(bench.db.document("a/one"), {"x": 1})
    batch.update(bench.db.document("a/there"), {"x": 2})
    batch.delete(bench.db.document("a/there"))
    batch.create(bench.db.document("a/one"), {"x": 3})
    with pytest.raises(exceptions.AlreadyExists):
        batch.commit()
    assert bench.ids(bench.db.collection("a")) == ["there"]
    assert bench.db.document("a/there").get().to_dict() == {"x": 1}


def test_writes_of_one_commit_follow_one_another(bench: Bench) -> None:
    batch = bench.db.batch()
    document = bench.db.document("a/b")
    batch.create(document, {"x": 1})
    batch.update(document, {"x": firestore.Increment(5)})
    batch.update(document, {"y": 2})
    results = batch.commit()
    assert document.get().to_dict() == {"x": 6, "y": 2}
    assert len({result.update_time for result in results}) == 1


def test_batch_write_says_for_each_write_what_became_of_it(bench: Bench) -> None:
    bench.put("a/there", x=1)
    request = BatchWriteRequest(
        database="projects/p/databases/(default)",
        writes=[
            write("a/one", {"x": 1}, current_document={"exists": False}),
            write("a/there", {"x": 2}, current_document={"exists": False}),
            write("a/never", {"x": 2}, current_document={"exists": True}),
            write("a/__bad__", {"x": 2}),
            Write(delete=f"{ROOT}/a/two"),
        ],
    )
    reply = bench.call("BatchWrite", request)
    assert [status.code for status in reply.status] == [0, 6, 5, 3, 0]
    assert [r.HasField("update_time") for r in reply.write_results] == [True, False, False, False, False]
    assert bench.ids(bench.db.collection("a")) == ["one", "there"]
    request.writes.add().CopyFrom(write("a/one", {"x": 1}))
    assert bench.refused("BatchWrite", request)[0] is StatusCode.INVALID_ARGUMENT


def test_the_bulk_writer_writes(bench: Bench) -> None:
    writer = bench.db.bulk_writer()
    for number in range(45):
        writer.create(bench.db.document(f"a/{number:03}"), {"n": number})
    writer.close()
    assert len(bench.ids(bench.db.collection("a"))) == 45


# Limits


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"m": value}
    return {"f": value}


LIMITS: list[tuple[str, str, dict[str, Any], bool]] = [
    ("20 levels", "a/b", nested(20), True),
    ("21 levels", "a/b", nested(21), False),
    ("an array in an array", "a/b", {"f": [[1]]}, False),
    ("an array in a map in an array", "a/b", {"f": [{"g": [1]}]}, True),
    ("a reserved field", "a/b", {"m": {"__f__": 1}}, False),
    ("a field's name of 1,500 bytes", "a/b", {"f" * 1500: 1}, True),
    ("a field's name of 1,501 bytes", "a/b", {"f" * 1501: 1}, False),
    ("a path of 1,501 bytes", "a/b", {"f" * 750: {"g" * 750: 1}}, False),
    ("a value of 1,048,487 bytes", "a/b", {"f": b"x" * 1_048_487}, True),
    ("a value of 1,048,488 bytes", "a/b", {"f": b"x" * 1_048_488}, False),
    ("a document of 1 MiB", "a/b", {"f": b"x" * (2**20 - 400), "g": b"x" * (400 - 20 - 32 - 4)}, True),
    ("a byte more", "a/b", {"f": b"x" * (2**20 - 400), "g": b"x" * (401 - 20 - 32 - 4)}, False),
    ("an id of 1,500 bytes", f"a/{'é' * 750}", {}, True),
    ("an id of 1,502 bytes", f"a/{'é' * 751}", {}, False),
    ("a reserved id", "a/__b__", {}, False),
    ("an id of a dot", "a/.", {}, False),
    ("a reserved collection", "__a__/b", {}, False),
]


@pytest.mark.parametrize(
    ("path", "fields", "fits"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS]
)
def test_limits(bench: Bench, path: str, fields: dict[str, Any], fits: bool) -> None:
    document = bench.db.document(path)
    if fits:
        document.set(fields)
        assert document.get().to_dict() == fields
    else:
        with pytest.raises(exceptions.InvalidArgument, match=r"."):
            document.set(fields)


def test_a_transform_cannot_outgrow_a_document(bench: Bench) -> None:
    document = bench.db.document("a/b")
    document.set({"f": b"x" * 1_000_000, "l": []})
    with pytest.raises(exceptions.InvalidArgument, match="maximum"):
        document.update({"l": firestore.ArrayUnion([b"y" * 60_000])})


def test_a_request_of_more_than_10_mib_is_refused(bench: Bench) -> None:
    fields = {"f": b"x" * 1_000_000}
    batch = bench.db.batch()
    for number in range(11):
        batch.set(bench.db.document(f"a/{number}"), fields)
    with pytest.raises(exceptions.InvalidArgument, match="10485760"):
        batch.commit()
    assert bench.ids(bench.db.collection("a")) == []


@pytest.mark.parametrize(
    "name",
    [f"{ROOT}/a", f"{ROOT}/a/b/c", "projects/q/databases/(default)/documents/a/b", "a/b", f"{ROOT}/a//b/c"],
)
def test_a_name_that_is_no_document_of_this_database_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        bench.commit(Write(delete=name))


def test_projects_and_databases_are_apart(bench: Bench) -> None:
    bench.put("a/b", x=1)
    other = bench.client("q")
    assert not other.document("a/b").get().exists
    other.document("a/b").set({"x": 2})
    assert bench.db.document("a/b").get().to_dict() == {"x": 1}
    named: Any = firestore.Client(project="p", database="second")
    assert bench.ids(named.collection("a")) == []
