"""The same calls to our Firestore and to Google's emulator, where the machine has it: the same answers."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from infra.local.clock import SuiteClock, machine_time
from infra.local.firestore import messages as m
from tests.emulators import programs
from tests.infra.local.firestore.conftest import ROOT, STREAMS, Bench

pytestmark = pytest.mark.slow

DATABASE = ROOT.removesuffix("/documents")
VALUES = {"nan": math.nan, "least": -math.inf, "low": -1.0, "half": 0.5, "two": 2.0, "most": math.inf}

Call = Callable[[str, Any], Any]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if programs.found(programs.FIRESTORE) is None:
        pytest.skip("Google's emulator of Firestore is not on this machine: its opinion is missing")
    with programs.running(programs.FIRESTORE, tmp_path_factory.mktemp("emulator") / "output") as host:
        yield host


def caller(host: str) -> Call:
    channel = grpc.insecure_channel(host)

    def call(method: str, request: Any) -> Any:
        """The replies of a call, or the name of the code that refuses it."""
        path = f"/google.firestore.v1.Firestore/{method}"
        reply = getattr(m, f"{method}Response")
        owner = (("authorization", "Bearer owner"),)
        try:
            if method in STREAMS:
                stream = channel.unary_stream(path, request.SerializeToString, reply.FromString)
                return list(stream(request, metadata=owner, timeout=30))
            unary = channel.unary_unary(path, request.SerializeToString, reply.FromString)
            return unary(request, metadata=owner, timeout=30)
        except grpc.RpcError as error:
            code: Any = error
            return code.code().name

    return call


def commit(call: Call, *writes: Any) -> Any:
    return call("Commit", m.CommitRequest(database=DATABASE, writes=writes))


def names(replies: Any) -> Any:
    if isinstance(replies, str):
        return replies
    return [each.document.name.removeprefix(ROOT) for each in replies if each.HasField("document")]


def field_filter(op: str, value: Any, path: str = "v") -> dict[str, Any]:
    return {"field_filter": {"field": {"field_path": path}, "op": op, "value": value}}


def found(call: Call, parent: str, query: dict[str, Any]) -> Any:
    return names(call("RunQuery", m.RunQueryRequest(parent=parent, structured_query=query)))


def counted(call: Call, aliases: list[str]) -> Any:
    counting = {
        "structured_query": {"from_": [{"collection_id": "numbers"}]},
        "aggregations": [{"alias": alias, "count": {}} for alias in aliases],
    }
    request = m.RunAggregationQueryRequest(parent=ROOT, structured_aggregation_query=counting)
    replies = call("RunAggregationQuery", request)
    return replies if isinstance(replies, str) else sorted(replies[0].result.aggregate_fields)


def summed(call: Call, path: str, **more: Any) -> Any:
    adding = {
        "structured_query": {"from_": [{"collection_id": "numbers"}], **more},
        "aggregations": [{"alias": "total", "sum": {"field": {"field_path": path}}}],
    }
    request = m.RunAggregationQueryRequest(parent=ROOT, structured_aggregation_query=adding)
    replies = call("RunAggregationQuery", request)
    return replies if isinstance(replies, str) else str(replies[0].result.aggregate_fields["total"])


def opinions(call: Call) -> dict[str, Any]:
    """What a server says of each of these."""
    fields = {name: {"fields": {"v": {"double_value": value}}} for name, value in VALUES.items()}
    commit(call, *(m.Write(update={"name": f"{ROOT}/numbers/{name}", **f}) for name, f in fields.items()))
    told: dict[str, Any] = {}
    for op in ("LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL"):
        for name, bound in VALUES.items():
            query: dict[str, Any] = {"from_": [{"collection_id": "numbers"}]}
            query |= {"where": field_filter(op, {"double_value": bound})}
            told[f"{op} {name}"] = found(call, ROOT, query)
    for aliases in (
        ["a", "a"],
        ["", "field_1"],
        ["", ""],
        ["field_2", ""],
        ["a", "field_1"],
        ["__a__"],
        ["1", "a.b", "a b"],
        ["a" * 1501],
    ):
        told[f"aliases {[each[:9] for each in aliases]}"] = counted(call, aliases)
    told["the sum of every kind of number"] = summed(call, "v")
    told["the sum of some"] = summed(call, "v", where=field_filter("GREATER_THAN", {"double_value": 0.0}))
    told["the sum of what is not there"] = summed(call, "w")
    now = int(machine_time().timestamp())
    past, ahead = now - 1000, now + 1000
    times = {"past": (past, 0), "ahead": (ahead, 0), "finer": (past, 1), "year 0": (-(2**36), 0)}
    there = m.Write(update={"name": f"{ROOT}/one/there", "fields": {"v": {"integer_value": 1}}})
    for place in ("there", "missing"):
        for time, (seconds, nanos) in times.items():
            commit(call, there)
            asked = m.Write(
                update={"name": f"{ROOT}/one/{place}", "fields": {"v": {"integer_value": 2}}},
                current_document={"update_time": {"seconds": seconds, "nanos": nanos}},
            )
            answer = commit(call, asked)
            told[f"{place}, update_time {time}"] = answer if isinstance(answer, str) else "OK"
    for path in ("a/1/deep/1", "a/10/deep/2", "deep/3"):
        commit(call, m.Write(update={"name": f"{ROOT}/{path}", "fields": {"v": {"integer_value": 1}}}))
    group: dict[str, Any] = {"from_": [{"collection_id": "deep", "all_descendants": True}]}
    limits: dict[str, dict[str, Any]] = {
        "all": {},
        "by name": {"where": field_filter("EQUAL", {"reference_value": f"{ROOT}/a/1/deep/1"}, "__name__")},
        "by field": {"where": field_filter("EQUAL", {"integer_value": 1})},
        "ordered": {"order_by": [{"field": {"field_path": "v"}}]},
    }
    for how, more in limits.items():
        told[f"a group below a document, {how}"] = found(call, f"{ROOT}/a/1", group | more)
    return told


def test_googles_emulator_answers_as_we_do(emulator: str, make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(clock=SuiteClock())  # theirs runs with the machine's
    theirs, ours = opinions(caller(emulator)), opinions(caller(bench.host))
    assert ours == theirs
    assert len({str(each) for each in ours.values()}) > 10
