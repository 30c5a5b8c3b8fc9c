"""Queries: filters, orders, cursors, pages, projections and counts."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter, Or
from grpc import StatusCode

from infra.local.clock import SuiteClock
from infra.local.firestore.database import Database
from infra.local.firestore.messages import (
    BeginTransactionRequest,
    RunAggregationQueryRequest,
    RunQueryRequest,
    Write,
)
from infra.local.firestore.store import Store
from infra.local.firestore.values import encode, lookup
from tests.infra.local.firestore.conftest import INDEXES, ROOT, START, Bench

ASC, DESC = firestore.Query.ASCENDING, firestore.Query.DESCENDING

VALUES: dict[str, Any] = {
    "null": None,
    "no": False,
    "yes": True,
    "nan": float("nan"),
    "low": -1,
    "half": 0.5,
    "one": 1,
    "two": 2.0,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "text": "b",
    "text2": "b\x00",
    "text3": "c",
    "bytes": b"b",
    "list": [1],
    "map": {"x": 1},
}


def where(query: Any, *filters: tuple[str, str, Any]) -> Any:
    for path, op, value in filters:
        query = query.where(filter=FieldFilter(path, op, value))
    return query


@pytest.fixture
def values(bench: Bench) -> Any:
    """A collection with one document of each kind of value in `v`, named by it, and one without."""
    batch = bench.db.batch()
    for name, value in VALUES.items():
        batch.set(bench.db.document(f"things/{name}"), {"v": value, "m": {"v": value}})
    batch.set(bench.db.document("things/without"), {"w": 1})
    batch.commit()
    return bench.db.collection("things")


FILTERS: list[tuple[list[tuple[str, str, Any]], list[str]]] = [
    ([("v", "==", 1)], ["one"]),
    ([("m.v", "==", 1.0)], ["one"]),
    ([("v", "==", 2)], ["two"]),
    ([("v", "==", None)], ["null"]),
    ([("v", "==", float("nan"))], ["nan"]),
    ([("v", "==", [1])], ["list"]),
    ([("v", "==", {"x": 1})], ["map"]),
    ([("v", "==", "nothing")], []),
    ([("v", "==", "b")], ["text"]),
    ([("v", "==", "b\x00")], ["text2"]),
    ([("v", "==", False)], ["no"]),
    ([("v", "in", ["c", True])], ["text3", "yes"]),
    ([("v", "in", ["c", 1.0])], ["one", "text3"]),
    ([("v", "==", "b"), ("m.v", "==", "b")], ["text"]),
    ([("v", "in", ["b", "c"]), ("v", "==", "c")], ["text3"]),
    ([("v", ">", 0)], ["half", "one", "two"]),
    ([("v", ">=", 1)], ["one", "two"]),
    ([("v", "<", 1), ("v", ">=", -1)], ["low", "half"]),
    ([("v", "<=", 0.5), ("v", ">", -5)], ["low", "half"]),
    ([("v", ">", "b")], ["text2", "text3"]),
    ([("v", "<=", "b")], ["text"]),
    ([("v", "<", True)], ["no"]),
    ([("v", ">", datetime(2025, 1, 1, tzinfo=UTC))], ["time"]),
    ([("v", ">=", b"")], ["bytes"]),
    ([("v", ">", 3), ("v", "<", 2)], []),
    ([("v", "<", 1)], ["low", "half"]),
    ([("v", "<=", -1)], ["low"]),
    ([("v", "<", float("-inf"))], []),
    ([("v", ">=", float("-inf"))], ["low", "half", "one", "two"]),
    ([("v", "==", float("nan")), ("v", "<", 1)], []),
    ([("v", "in", [1, "b", 1.0, "none"])], ["one", "text"]),
    ([("v", "==", 1), ("m.v", "==", 1)], ["one"]),
    ([("v", "==", 1), ("m.v", "==", 2)], []),
    ([("v", "in", [1, 2]), ("m.v", "in", [2, 3])], ["two"]),
    ([("v", "==", 1), ("v", "==", 2)], []),
    ([("v", "in", [1, 2, "b"]), ("v", ">", 1)], ["two"]),
]


@pytest.mark.parametrize(("filters", "found"), FILTERS, ids=[str(f[0]) for f in FILTERS])
def test_filters(bench: Bench, values: Any, filters: Any, found: list[str]) -> None:
    assert bench.ids(where(values, *filters)) == found
    assert where(values, *filters).count().get()[0][0].value == len(found)


def test_orders_leave_out_what_lacks_the_field(bench: Bench, values: Any) -> None:
    assert bench.ids(values.order_by("v")) == list(VALUES)
    assert bench.ids(values.order_by("v", direction=DESC)) == list(reversed(VALUES))
    assert bench.ids(values) == sorted([*VALUES, "without"])
    assert bench.ids(values.order_by("__name__").limit(2)) == ["bytes", "half"]


PAGES: list[tuple[Callable[[Any], Any], list[int]]] = [
    (lambda q: q.start_at({"n": 3}), [3, 4, 5]),
    (lambda q: q.start_after({"n": 3}), [4, 5]),
    (lambda q: q.end_at({"n": 3}), [0, 1, 2, 3]),
    (lambda q: q.end_before({"n": 3}), [0, 1, 2]),
    (lambda q: q.start_at({"n": 1}).end_before({"n": 3}), [1, 2]),
    (lambda q: q.start_after({"n": 4}).end_at({"n": 2}), []),
    (lambda q: q.start_at({"n": 2.5}), [3, 4, 5]),
    (lambda q: q.start_at({"n": "text"}), []),
    (lambda q: q.offset(4), [4, 5]),
    (lambda q: q.offset(1).limit(2), [1, 2]),
    (lambda q: q.offset(9), []),
    (lambda q: q.limit(2), [0, 1]),
    (lambda q: q.limit_to_last(2), [4, 5]),
]


@pytest.mark.parametrize(("page", "found"), PAGES)
def test_pages(bench: Bench, page: Callable[[Any], Any], found: list[int]) -> None:
    for n in range(6):
        bench.put(f"things/d{n}", n=n)
    query = page(bench.db.collection("things").order_by("n"))
    assert [s.get("n") for s in query.get()] == found


def test_pages_of_equals_go_on_by_name(bench: Bench) -> None:
    for n in range(7):
        bench.put(f"boxes/d{n}", site="s", shard=n % 2, at=n // 3)
    for query in (
        bench.db.collection("boxes").order_by("at"),
        where(bench.db.collection("boxes"), ("site", "==", "s"), ("shard", "in", [0, 1])).order_by("at"),
    ):
        seen: list[str] = []
        last = None
        while page := (query if last is None else query.start_after(last)).limit(2).get():
            seen += [s.id for s in page]
            last = page[-1]
        assert seen == [f"d{n}" for n in range(7)]


def test_a_cursor_may_hold_the_name_itself(bench: Bench) -> None:
    for n in range(5):
        bench.put(f"boxes/d{n}", site="s", shard=0, at=1)
    query = where(bench.db.collection("boxes"), ("site", "==", "s"), ("shard", "==", 0))
    query = query.order_by("at").order_by("__name__")
    assert bench.ids(query.start_after({"at": 1, "__name__": "d2"})) == ["d3", "d4"]
    assert bench.ids(query.end_before({"at": 1, "__name__": "d2"})) == ["d0", "d1"]
    names = bench.db.collection("boxes").order_by("__name__")
    assert bench.ids(names.start_at({"__name__": "d3"})) == ["d3", "d4"]
    assert bench.ids(names.start_after({"__name__": "d3"}).limit(1)) == ["d4"]


def test_ranges_of_names(bench: Bench) -> None:
    for n in range(5):
        bench.put(f"a/d{n}", x=n % 2)
        bench.put(f"a/d{n}/b/inner", x=0)
    collection = bench.db.collection("a")
    ref = collection.document
    assert bench.ids(where(collection, ("__name__", ">", ref("d1")), ("__name__", "<=", ref("d3")))) == [
        "d2",
        "d3",
    ]
    assert bench.ids(where(collection, ("__name__", "==", ref("d1")))) == ["d1"]
    assert bench.ids(where(collection, ("__name__", "in", [ref("d4"), ref("d1"), ref("x")]))) == ["d1", "d4"]
    assert bench.ids(where(collection, ("x", "==", 0), ("__name__", ">=", ref("d1")))) == ["d2", "d4"]


def test_projections(bench: Bench) -> None:
    bench.put("a/b", x=1, y=2, m={"p": 1, "q": 2})
    collection = bench.db.collection("a")
    assert [s.to_dict() for s in collection.select(["x", "m.q", "none"]).stream()] == [
        {"x": 1, "m": {"q": 2}}
    ]
    (named,) = collection.select(["__name__"]).stream()
    assert (named.id, named.to_dict()) == ("b", {})
    assert bench.db.document("a/b").get(["m.p"]).to_dict() == {"m": {"p": 1}}
    assert named.update_time == bench.db.document("a/b").get().update_time


def test_collection_groups(bench: Bench) -> None:
    for path in ("exports/a/runs/1", "exports/b/runs/1", "runs/1", "exports/a/other/1", "exports/a"):
        bench.put(path, state="OPEN", due=int(path.startswith("exports/a")))
    group = bench.db.collection_group("runs")
    assert [s.reference.path for s in group.stream()] == ["exports/a/runs/1", "exports/b/runs/1", "runs/1"]
    query = where(group, ("state", "==", "OPEN")).order_by("due")
    assert [s.reference.path for s in query.stream()] == ["exports/b/runs/1", "runs/1", "exports/a/runs/1"]
    assert where(query, ("due", ">", 0)).count().get()[0][0].value == 1
    assert bench.ids(bench.db.collection("exports/a/runs")) == ["1"]


def test_in_with_an_order_merges_its_scans(bench: Bench) -> None:
    batch = bench.db.batch()
    for n in range(200):
        batch.set(bench.db.document(f"boxes/d{n:03}"), {"site": "s", "shard": n % 7, "at": n * 37 % 200})
    batch.commit()
    query = where(
        bench.db.collection("boxes"),
        ("site", "==", "s"),
        ("shard", "in", [6, 1, 2]),
        ("at", ">=", 20),
        ("at", "<", 150),
    )
    expected = sorted(n for n in range(200) if n % 7 in (1, 2, 6))
    by_time = sorted((n * 37 % 200, n) for n in expected if 20 <= n * 37 % 200 < 150)
    assert bench.ids(query.order_by("at")) == [f"d{n:03}" for _, n in by_time]
    assert bench.ids(query.order_by("at").offset(5).limit(70)) == [f"d{n:03}" for _, n in by_time[5:75]]
    assert query.count().get()[0][0].value == len(by_time)
    assert query.limit(10).count().get()[0][0].value == 10


def test_merged_scans_read_little_more_than_a_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of 200 from four scans of 100 each."""
    batch = bench.db.batch()
    for n in range(400):
        batch.set(bench.db.document(f"boxes/d{n:03}"), {"site": "s", "shard": n % 4, "at": n})
    batch.commit()
    read = []
    scan = Store.scan

    def counted(*args: Any, **options: Any) -> Any:
        rows = scan(*args, **options)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(Store, "scan", counted)
    query = where(bench.db.collection("boxes"), ("site", "==", "s"), ("shard", "in", [0, 1, 2, 3]))
    assert bench.ids(query.order_by("at").limit(120)) == [f"d{n:03}" for n in range(120)]
    assert sum(read) == 4 * 32, read
    read.clear()
    assert bench.ids(query.order_by("at").limit(200)) == [f"d{n:03}" for n in range(200)]
    assert sum(read) == 4 * (32 + 64), read


def test_count_stops_at_up_to(bench: Bench) -> None:
    for n in range(5):
        bench.put(f"a/{n}", x=1)
    request = RunAggregationQueryRequest(parent=ROOT)
    query = request.structured_aggregation_query
    query.structured_query.from_.add(collection_id="a")
    query.aggregations.add(alias="few").count.up_to.value = 3
    query.aggregations.add().count.SetInParent()
    (reply,) = bench.call("RunAggregationQuery", request)
    assert {k: v.integer_value for k, v in reply.result.aggregate_fields.items()} == {"few": 3, "field_1": 5}
    assert bench.db.collection("never").count(alias="none").get()[0][0].value == 0


@pytest.mark.parametrize("op", ["LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL"])
def test_a_range_with_nan_finds_nothing(bench: Bench, values: Any, op: str) -> None:
    query = {"from_": [{"collection_id": "things"}]}
    for bound, finds in ((float("nan"), False), (0.75, True)):
        asked = query | {"where": field_filter(op, {"double_value": bound}, "v")}
        replies = bench.call("RunQuery", RunQueryRequest(parent=ROOT, structured_query=asked))
        assert any(reply.HasField("document") for reply in replies) is finds


def test_nan_is_in_no_range_of_an_index(bench: Bench) -> None:
    for name, value in {"nan": float("nan"), "one": 1, "less": float("-inf")}.items():
        bench.put(f"boxes/{name}", site="s", shard=1, at=value)
    query = where(bench.db.collection("boxes"), ("site", "==", "s"), ("shard", "==", 1))
    assert bench.ids(query.order_by("at")) == ["nan", "less", "one"]
    assert bench.ids(where(query, ("at", "<", 5)).order_by("at")) == ["less", "one"]
    assert where(query, ("at", "<", 5)).count().get()[0][0].value == 2


@pytest.mark.parametrize(
    ("aliases", "answer"),
    [
        (["a", "a"], None),
        (["", "field_1"], None),
        (["__a__"], None),
        (["a" * 1501], None),
        (["a", "b", "c", "d", "e", "f"], None),
        (["", ""], ["field_1", "field_2"]),
        (["field_2", ""], ["field_1", "field_2"]),
        (["a b", "a.b", "A", "a", "1"], ["1", "A", "a", "a b", "a.b"]),
    ],
)
def test_aliases_of_counts_as_googles_emulator_takes_them(
    bench: Bench, aliases: list[str], answer: list[str] | None
) -> None:
    request = RunAggregationQueryRequest(parent=ROOT)
    request.structured_aggregation_query.structured_query.from_.add(collection_id="a")
    for alias in aliases:
        request.structured_aggregation_query.aggregations.add(alias=alias).count.SetInParent()
    if answer is None:
        assert bench.refused("RunAggregationQuery", request)[0] is StatusCode.INVALID_ARGUMENT
    else:
        (reply,) = bench.call("RunAggregationQuery", request)
        assert sorted(reply.result.aggregate_fields) == answer


BIG = 2**63 - 1


@pytest.mark.parametrize(
    ("numbers", "total"),
    [
        ([], 0.0),  # it is the integer 0, of which Google's client makes a double
        ([1, 2, None, "3", True, [4], b"5"], 3),
        ([1, 2.5], 3.5),
        ([1, 2.0], 3.0),
        ([BIG], BIG),
        ([BIG, 1], 2.0**63),
        ([BIG, 1, -1], BIG),
        ([-(2**63), -1], -(2.0**63)),
        ([1, float("inf")], float("inf")),
        ([1, float("inf"), float("-inf")], float("nan")),
        ([1, float("nan")], float("nan")),
    ],
)
def test_a_sum_adds_up_what_is_a_number(bench: Bench, numbers: list[Any], total: float) -> None:
    bench.put("things/none", other=1)
    for number, value in enumerate(numbers):
        bench.put(f"things/{number}", v={"n": value})
    found = bench.db.collection("things").sum("v.n").get()[0][0].value
    assert (type(found), repr(found)) == (type(total), repr(total))


def test_a_sum_is_of_what_the_query_finds_and_of_a_time(bench: Bench) -> None:
    for at in range(5):
        bench.put(f"boxes/{at}", at=at, size=10**at)
    bench.put("boxes/sizeless", at=9)
    asked = where(bench.db.collection("boxes"), ("at", ">", 2)).sum("size")
    assert asked.get()[0][0].value == 11_000
    before = bench.db.document("boxes/4").get().read_time
    bench.put("boxes/4", at=1, size=1)
    assert asked.get()[0][0].value == 1_000
    assert asked.get(read_time=before)[0][0].value == 11_000


@pytest.mark.parametrize(
    ("aggregations", "more", "code"),
    [
        ([{"sum": {"field": {"field_path": "v"}}}, {"count": {}}], {}, StatusCode.UNIMPLEMENTED),
        ([{"avg": {"field": {"field_path": "v"}}}], {}, StatusCode.UNIMPLEMENTED),
        ([{"sum": {"field": {"field_path": "v"}}}], {"limit": {"value": 1}}, StatusCode.UNIMPLEMENTED),
        ([{"sum": {"field": {"field_path": "v"}}}], {"offset": 1}, StatusCode.UNIMPLEMENTED),
        ([{"sum": {"field": {"field_path": ""}}}], {}, StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_sum_that_is_not_built_is_refused(
    bench: Bench, aggregations: list[Any], more: dict[str, Any], code: StatusCode
) -> None:
    asked = {"structured_query": {"from_": [{"collection_id": "a"}], **more}, "aggregations": aggregations}
    request = RunAggregationQueryRequest(parent=ROOT, structured_aggregation_query=asked)
    assert bench.refused("RunAggregationQuery", request)[0] is code


def test_a_sum_in_a_transaction_is_not_built(bench: Bench) -> None:
    sums = [{"sum": {"field": {"field_path": "v"}}}]
    asked = {"structured_query": {"from_": [{"collection_id": "a"}]}, "aggregations": sums}
    begun = bench.call("BeginTransaction", BeginTransactionRequest(database=ROOT.rpartition("/")[0]))
    ways: list[dict[str, Any]] = [
        {"transaction": begun.transaction},
        {"new_transaction": {"read_only": {}}},
    ]
    for reading in ways:
        request = RunAggregationQueryRequest(parent=ROOT, structured_aggregation_query=asked, **reading)
        assert bench.refused("RunAggregationQuery", request)[0] is StatusCode.UNIMPLEMENTED, reading


@pytest.mark.parametrize(
    ("more", "goes"),
    [
        ({}, True),
        ({"order_by": [{"field": {"field_path": "__name__"}}]}, True),
        ({"where": ("EQUAL", {"reference_value": f"{ROOT}/a/1/runs/1"}, "__name__")}, True),
        ({"where": ("EQUAL", {"string_value": "OPEN"}, "state")}, False),
        ({"order_by": [{"field": {"field_path": "due"}}]}, False),
        ({"where": ("GREATER_THAN", {"integer_value": 0}, "due")}, False),
    ],
)
@pytest.mark.parametrize("counts", [False, True])
def test_a_collection_group_below_a_parent_is_found_by_names_alone(
    bench: Bench, more: dict[str, Any], goes: bool, counts: bool
) -> None:
    for path in ("a/1/runs/1", "a/10/runs/2", "runs/3"):
        bench.put(path, state="OPEN", due=1)
    asked = {"from_": [{"collection_id": "runs", "all_descendants": True}]} | more
    if "where" in more:
        asked["where"] = field_filter(*more["where"])
    method, request = "RunQuery", RunQueryRequest(parent=f"{ROOT}/a/1", structured_query=asked)
    if counts:
        counting = {"structured_query": asked, "aggregations": [{"alias": "n", "count": {}}]}
        method = "RunAggregationQuery"
        request = RunAggregationQueryRequest(parent=f"{ROOT}/a/1", structured_aggregation_query=counting)
    if not goes:
        code, sentence = bench.refused(method, request)
        assert (code, "only allowed at the root" in sentence) == (StatusCode.INVALID_ARGUMENT, True)
    elif counts:
        assert bench.call(method, request)[0].result.aggregate_fields["n"].integer_value == 1
    else:
        assert [reply.document.name for reply in bench.call(method, request)] == [f"{ROOT}/a/1/runs/1"]


def test_an_empty_answer_still_says_when_it_was_read(bench: Bench) -> None:
    request = RunQueryRequest(parent=ROOT, structured_query={"from_": [{"collection_id": "a"}]})
    (reply,) = bench.call("RunQuery", request)
    assert reply.HasField("read_time")
    assert not reply.HasField("document")


COLLECTION = {"from_": [{"collection_id": "a"}]}
ONE = {"integer_value": 1}


def field_filter(op: str, value: Any, path: str = "x") -> Any:
    return {"field_filter": {"field": {"field_path": path}, "op": op, "value": value}}


def many(count: int) -> Any:
    return {"array_value": {"values": [{"integer_value": n} for n in range(count)]}}


REFUSED: list[tuple[str, dict[str, Any], StatusCode]] = [
    ("not equal", {"where": field_filter("NOT_EQUAL", ONE)}, StatusCode.UNIMPLEMENTED),
    ("not in", {"where": field_filter("NOT_IN", many(1))}, StatusCode.UNIMPLEMENTED),
    ("array contains", {"where": field_filter("ARRAY_CONTAINS", ONE)}, StatusCode.UNIMPLEMENTED),
    (
        "or",
        {"where": {"composite_filter": {"op": "OR", "filters": [field_filter("EQUAL", ONE)]}}},
        StatusCode.UNIMPLEMENTED,
    ),
    ("in nothing", {"where": field_filter("IN", many(0))}, StatusCode.INVALID_ARGUMENT),
    ("in 31", {"where": field_filter("IN", many(31))}, StatusCode.INVALID_ARGUMENT),
    (
        "6 times 6",
        {
            "where": {
                "composite_filter": {
                    "op": "AND",
                    "filters": [field_filter("IN", many(6)), field_filter("IN", many(6), "y")],
                }
            }
        },
        StatusCode.INVALID_ARGUMENT,
    ),
    (
        "two collections",
        {"from_": [{"collection_id": "a"}, {"collection_id": "b"}]},
        StatusCode.INVALID_ARGUMENT,
    ),
    ("every collection", {"from_": [{"all_descendants": True}]}, StatusCode.UNIMPLEMENTED),
    ("a negative limit", {"limit": {"value": -1}}, StatusCode.INVALID_ARGUMENT),
    ("a negative offset", {"offset": -1}, StatusCode.INVALID_ARGUMENT),
    ("too long a cursor", {"start_at": {"values": [ONE, ONE]}}, StatusCode.INVALID_ARGUMENT),
    (
        "a name that is no reference",
        {"where": field_filter("EQUAL", ONE, "__name__")},
        StatusCode.INVALID_ARGUMENT,
    ),
    ("a wrong path", {"where": field_filter("EQUAL", ONE, "a..b")}, StatusCode.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("query", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused_queries(bench: Bench, query: dict[str, Any], code: StatusCode) -> None:
    request = RunQueryRequest(parent=ROOT, structured_query=COLLECTION | query)
    assert bench.refused("RunQuery", request)[0] is code


def test_thirty_disjuncts_are_served(bench: Bench, values: Any) -> None:
    query = where(values, ("v", "in", list(range(5))), ("m.v", "in", list(range(6))))
    assert bench.ids(query) == ["one", "two"]
    with pytest.raises(Exception, match="not implemented"):
        bench.ids(values.where(filter=Or([FieldFilter("v", "==", 1), FieldFilter("v", "==", 2)])))


def test_any_query_gives_what_a_plain_filter_of_everything_gives() -> None:
    """Random documents and queries over the declared indexes, against the definition written out."""
    chance = random.Random(7)
    database = Database(clock=SuiteClock(frozen_at=START), file=None, indexes=INDEXES)
    space = database.space("projects/p/databases/(default)")
    scalars: list[Any] = [{"integer_value": n} for n in range(4)] + [
        {"double_value": 1.5}, {"string_value": "a"}, {"null_value": 0}, {"boolean_value": True}
    ]  # fmt: skip

    def value() -> Any:
        return chance.choice(scalars)

    for step in range(4):
        writes = []
        for n in range(120):
            name = f"{ROOT}/boxes/{n:03}"
            if chance.random() < 0.2:
                writes.append(Write(delete=name))
            else:
                kept = [f for f in ("site", "shard", "at", "size") if chance.random() < 0.9]
                writes.append(Write(update={"name": name, "fields": {f: value() for f in kept}}))
        database.commit(space, writes, database.stamp())
        if step == 1:
            middle = database.present()
    checked = 0
    for time in (middle, database.present()):
        every = [
            (database.path_of(v), lookup_all(v.fields))
            for v in database.run(
                database.understand(
                    space,
                    "",
                    RunQueryRequest(
                        structured_query={"from_": [{"collection_id": "boxes"}]}
                    ).structured_query,
                ),
                time,
                None,
            )
        ]
        assert 60 < len(every) < 120
        for _ in range(150):
            equal, second, order = chance.choice(
                [
                    ("site", "shard", [("at", False)]),
                    ("site", None, [("size", True), ("at", False)]),
                    (None, None, [("at", False), ("size", False)]),
                ]
            )
            filters, tests = [], []
            for path in [p for p in (equal, second) if p]:
                options = [value() for _ in range(chance.randint(1, 4))]
                filters.append(field_filter("IN", {"array_value": {"values": options}}, path))
                tests.append((path, "IN", [key(o) for o in options]))
            if chance.random() < 0.6:
                op = chance.choice(
                    ["LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL"]
                )
                bound = value()
                filters.append(field_filter(op, bound, order[0][0]))
                tests.append((order[0][0], op, [key(bound)]))
            asked: dict[str, Any] = {
                "from_": [{"collection_id": "boxes"}],
                "order_by": [{"field": {"field_path": p}, "direction": 2 if d else 1} for p, d in order],
            }
            if filters:
                asked["where"] = {"composite_filter": {"op": "AND", "filters": filters}}
            cursor = value() if chance.random() < 0.5 else None
            before = chance.random() < 0.5
            side = chance.choice(["start_at", "end_at"])
            if cursor is not None:
                asked[side] = {"values": [cursor], "before": before}
            asked["offset"], asked["limit"] = chance.choice([(0, None), (3, {"value": 7})])
            query = database.understand(space, "", RunQueryRequest(structured_query=asked).structured_query)
            assert query.index is not None
            expected = [
                row
                for row in every
                if all(f in row[1] for f, _ in order) and all(passes(row[1], t) for t in tests)
            ]
            if cursor is not None:
                expected = [
                    r for r in expected if kept_by(r[1][order[0][0]], key(cursor), order[0][1], side, before)
                ]
            for path, descends in [("", False), *reversed(order)]:
                expected.sort(key=lambda r: r[1][path] if path else r[0], reverse=descends)
            if order[-1][1]:
                raise AssertionError("the name is taken as ascending above")
            expected = expected[asked["offset"] :]
            expected = expected[: asked["limit"]["value"]] if asked["limit"] else expected
            assert [database.path_of(v) for v in database.run(query, time, None)] == [r[0] for r in expected]
            assert database.count(query, time, None, None) == len(expected)
            checked += len(expected)
    assert checked > 1000
    database.close()


def lookup_all(fields: bytes) -> dict[str, bytes]:
    from infra.local.firestore.messages import Document

    document = Document.FromString(fields)
    return {name: encode(lookup(document.fields, (name,))) for name in document.fields}


def key(value: Any) -> bytes:
    from infra.local.firestore.messages import Value

    return encode(Value(**value))


def passes(fields: dict[str, bytes], test: tuple[str, str, list[bytes]]) -> bool:
    path, op, bounds = test
    if path not in fields:
        return False
    found = fields[path]
    if op == "IN":
        return found in bounds
    (bound,) = bounds
    if found[0] != bound[0] and not {found[0], bound[0]} <= {0x0A, 0x0B}:
        return False
    return {
        "LESS_THAN": found < bound,
        "LESS_THAN_OR_EQUAL": found <= bound,
        "GREATER_THAN": found > bound,
        "GREATER_THAN_OR_EQUAL": found >= bound,
    }[op]


def kept_by(found: bytes, cursor: bytes, descends: bool, side: str, before: bool) -> bool:
    if found == cursor:
        return before if side == "start_at" else not before
    ahead = found > cursor if not descends else found < cursor
    return ahead if side == "start_at" else not ahead
