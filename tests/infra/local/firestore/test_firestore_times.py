"""Reads at a past time, commits later than their stamp, and what survives a restart and a SIGKILL."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from grpc import StatusCode

from infra.local.clock import SuiteClock
from infra.local.firestore.indexes import Indexes
from infra.local.firestore.messages import (
    BatchGetDocumentsRequest,
    BeginTransactionRequest,
    Document,
    RunAggregationQueryRequest,
    RunQueryRequest,
)
from infra.local.firestore.store import Change, Store
from infra.local.traffic import Fault
from tests.infra.local.firestore.conftest import INDEXES, ROOT, START, Bench, micro, stamp

DATABASE = "projects/p/databases/(default)"
MICROSECOND = timedelta(microseconds=1)


def reads(at: datetime) -> dict[str, Any]:
    """The same reads in every way that takes a read_time: by name, by scan, by index, as a count."""
    query = {
        "from_": [{"collection_id": "boxes"}],
        "where": {
            "composite_filter": {
                "op": "AND",
                "filters": [
                    {
                        "field_filter": {
                            "field": {"field_path": f},
                            "op": "EQUAL",
                            "value": {"integer_value": 1},
                        }
                    }
                    for f in ("site", "shard")
                ],
            }
        },
        "order_by": [{"field": {"field_path": "at"}}],
    }
    time = stamp(at)
    return {
        "BatchGetDocuments": BatchGetDocumentsRequest(
            database=DATABASE, documents=[f"{ROOT}/boxes/{n}" for n in "abc"], read_time=time
        ),
        "RunQuery": RunQueryRequest(parent=ROOT, structured_query=query, read_time=time),
        "RunQuery (scan)": RunQueryRequest(
            parent=ROOT, structured_query={"from_": [{"collection_id": "boxes"}]}, read_time=time
        ),
        "RunAggregationQuery": RunAggregationQueryRequest(
            parent=ROOT,
            structured_aggregation_query={"structured_query": query, "aggregations": [{"count": {}}]},
            read_time=time,
        ),
    }


def seen(bench: Bench, at: datetime) -> dict[str, list[bytes]]:
    """The bytes of every such read's answers."""
    return {
        name: [
            reply.SerializeToString(deterministic=True) for reply in bench.call(name.split(" ")[0], request)
        ]
        for name, request in reads(at).items()
    }


def box(at: int, **more: Any) -> dict[str, Any]:
    return {"site": 1, "shard": 1, "at": at, **more}


def test_a_past_read_gives_the_same_bytes_whatever_comes_after(bench: Bench) -> None:
    bench.put("boxes/a", **box(2, text="x" * 50))
    time = bench.put("boxes/b", **box(1))
    first = seen(bench, time)
    assert [len(replies) for replies in first.values()] == [3, 2, 2, 1]
    bench.put("boxes/a", **box(0))
    bench.db.document("boxes/b").delete()
    bench.put("boxes/c", **box(3))
    bench.clock.advance(timedelta(minutes=59))
    assert seen(bench, time) == first
    assert seen(bench, bench.clock.now()) != first


def test_a_past_read_is_just_before_or_just_after_a_commit(bench: Bench) -> None:
    times = [bench.put("boxes/a", **box(n)) for n in range(4)]
    document = bench.db.document("boxes/a")
    query = bench.db.collection("boxes").where(filter=FieldFilter("site", "==", 1))
    query = query.where(filter=FieldFilter("shard", "==", 1)).order_by("at")
    for n, time in enumerate(times):
        for at, expected in ((time, n), (time - MICROSECOND, n - 1)):
            value = document.get(read_time=at).to_dict()
            assert value == (box(expected) if expected >= 0 else None)
            assert [s.get("at") for s in query.stream(read_time=at)] == [expected] * (expected >= 0)


@pytest.mark.parametrize(
    ("back", "code"),
    [
        (timedelta(seconds=-5), StatusCode.INVALID_ARGUMENT),
        (timedelta(0), None),
        (timedelta(minutes=59, microseconds=7), None),
        (timedelta(hours=1, microseconds=7), StatusCode.INVALID_ARGUMENT),
        (timedelta(hours=2), None),
        (timedelta(hours=2, seconds=1), StatusCode.INVALID_ARGUMENT),
        (timedelta(days=7) - timedelta(minutes=1), None),
        (timedelta(days=7, minutes=1), StatusCode.FAILED_PRECONDITION),
        (timedelta(days=7, minutes=1, microseconds=3), StatusCode.FAILED_PRECONDITION),
    ],
)
def test_how_far_back_a_read_may_go(bench: Bench, back: timedelta, code: StatusCode | None) -> None:
    now = START + timedelta(days=30)
    bench.clock.set(now)
    at = now - back
    requests = reads(at) | {
        "BeginTransaction": BeginTransactionRequest(
            database=DATABASE, options={"read_only": {"read_time": stamp(at)}}
        )
    }
    for name, request in requests.items():
        method = name.split(" ")[0]
        if code is None:
            bench.call(method, request)
        else:
            assert bench.refused(method, request)[0] is code, name


def test_a_read_time_finer_than_microseconds_is_refused(bench: Bench) -> None:
    request = reads(START)["RunQuery"]
    request.read_time.nanos += 1
    assert bench.refused("RunQuery", request)[0] is StatusCode.INVALID_ARGUMENT


def test_a_read_sees_what_is_committed_and_says_when(bench: Bench) -> None:
    for n in range(10):
        time = bench.put("boxes/a", n=n)
        snapshot = bench.db.document("boxes/a").get()
        assert snapshot.to_dict() == {"n": n}
        assert micro(snapshot.read_time) >= time
        assert bench.put("boxes/b", n=n) > micro(snapshot.read_time)


def test_an_answer_in_pieces_is_of_one_time(bench: Bench) -> None:
    for start in range(0, 700, 350):
        batch = bench.db.batch()
        for n in range(start, start + 350):
            batch.set(bench.db.document(f"boxes/{n:04}"), box(n, pad="x" * 4000))
        batch.commit()
    query = bench.db.collection("boxes").where(filter=FieldFilter("site", "==", 1))
    for shape in (
        bench.db.collection("boxes"),
        query.where(filter=FieldFilter("shard", "==", 1)).order_by("at"),
    ):
        stream = shape.stream()
        next(stream)
        bench.put("boxes/0699", **box(699, late=True))
        bench.db.document("boxes/0698").delete()
        rest = list(stream)
        assert len(rest) == 699
        assert not any("late" in (s.to_dict() or {}) for s in rest)
        bench.put("boxes/0698", **box(698))
        bench.put("boxes/0699", **box(699))


# A commit later than its stamp


def test_a_delayed_commit_comes_after_its_stamp(bench: Bench) -> None:
    bench.traffic.arm("firestore.Commit", Fault("delay", seconds=90), resource="boxes/a")
    late = bench.db.document("boxes/a").set({"t": firestore.SERVER_TIMESTAMP})
    fields = bench.db.document("boxes/a").get().to_dict()
    assert fields is not None
    assert fields["t"] == START
    assert timedelta(seconds=90) < micro(late.update_time) - START < timedelta(seconds=91)


def test_a_held_commit_becomes_visible_late(bench: Bench) -> None:
    document = bench.db.document("boxes/held")
    with ThreadPoolExecutor(1) as pool, bench.service.hold_commits("boxes/held") as hold:
        pending = pool.submit(document.set, {"t": firestore.SERVER_TIMESTAMP})
        hold.wait_held()
        bench.clock.advance(timedelta(minutes=1))
        other = bench.put("boxes/other", x=1)
        assert not document.get().exists
        assert bench.ids(bench.db.collection("boxes")) == ["other"]
        between = bench.clock.now()
        hold.release()
        committed = micro(pending.result().update_time)
    fields = document.get().to_dict()
    assert fields is not None
    assert fields["t"] == START < other < between < committed
    assert not document.get(read_time=between).exists
    assert document.get(read_time=committed).exists
    document.set({"x": 2})


def test_waiting_for_a_hold_that_catches_nothing_ends(bench: Bench) -> None:
    with bench.service.hold_commits("boxes/none") as hold:
        bench.put("boxes/some", x=1)
        with pytest.raises(TimeoutError, match="boxes/none"):
            hold.wait_held(timeout=0.01)


# Restarts


def test_everything_is_there_after_a_restart(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    file = tmp_path / "firestore.db"
    bench = make_bench(file)
    bench.put("boxes/a", **box(1))
    time = bench.put("boxes/b", **box(2))
    first = seen(bench, time)
    last = bench.put("boxes/a", **box(3))
    bench.db.document("boxes/b").delete()
    bench.service.stop()
    # The clock of the second process stands behind what the first has stored.
    bench = make_bench(file, clock=SuiteClock(frozen_at=START))
    assert seen(bench, time) == first
    assert bench.ids(bench.db.collection("boxes")) == ["a"]
    assert bench.put("boxes/c", **box(4)) > last


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "firestore.db", Indexes(INDEXES))
    space = store.space("projects/p/databases/d")
    document = Document()
    document.fields["x"].integer_value = 1

    def write(path: str, then: Exception | None) -> None:
        with store.writing():
            store.write(space, [Change(path, None, None, document, 7)], 7)
            if then:
                raise then

    with pytest.raises(OSError, match="disk"):
        write("boxes/a", OSError("disk"))
    assert store.collection(space, "boxes") is None
    assert store.last_commit() == 0
    write("boxes/a", None)
    collection = store.collection(space, "boxes")
    assert collection is not None
    assert [v.name for v in store.by_name(collection, 7, least="", limit=9)] == ["a"]
    assert store.last_commit() == 7
    store.close()


def test_what_no_read_can_reach_is_dropped(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    file = tmp_path / "firestore.db"
    bench = make_bench(file)
    for n in range(50):
        bench.put("boxes/a", **box(n, pad=os.urandom(20_000)))
    bench.service.stop()
    bench = make_bench(file, clock=SuiteClock(frozen_at=START + timedelta(days=8)))
    assert bench.ids(bench.db.collection("boxes")) == ["a"]
    bench.put("boxes/a", **box(1, pad=os.urandom(20_000)))
    size = file.stat().st_size
    for _ in range(40):
        bench.put("boxes/a", **box(2, pad=os.urandom(20_000)))
    bench.service.stop()
    assert file.stat().st_size < size + 200_000


SERVER = """
import sys
from pathlib import Path
from infra.local.clock import SuiteClock
from infra.local.firestore import FirestoreService
from infra.local.traffic import Traffic
file, indexes = map(Path, sys.argv[1:])
service = FirestoreService(clock=SuiteClock(), traffic=Traffic(), file=file, indexes=indexes)
print(service.start(), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3])
def test_a_kill_in_the_middle_of_commits_loses_and_halves_nothing(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kills: int
) -> None:
    file = tmp_path / "firestore.db"
    acknowledged: list[int] = []
    for round_ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(file), str(INDEXES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{process.stdout.readline().strip()}")
        db = firestore.Client(project="p")

        def commit(number: int, db: firestore.Client = db) -> None:
            batch = db.batch()
            for part in range(20):
                batch.set(db.document(f"boxes/{number}-{part}"), box(number))
            batch.set(db.document("boxes/last"), {"n": number})
            batch.commit(retry=None)
            acknowledged.append(number)

        with ThreadPoolExecutor(3) as pool:
            numbers = [pool.submit(commit, round_ * 1000 + n) for n in range(300)]
            while len(acknowledged) < 20 * (round_ + 1):
                numbers.pop(0).result()
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert any(n.exception() for n in numbers)
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()
    # The reader's clock is the machine's, as the killed processes' was.
    bench = make_bench(file, clock=SuiteClock())
    found = bench.ids(bench.db.collection("boxes").where(filter=FieldFilter("site", "==", 1)))
    whole = {name.split("-")[0] for name in found}
    assert len(found) == 20 * len(whole)
    assert {str(n) for n in acknowledged} <= whole
    query = bench.db.collection("boxes").where(filter=FieldFilter("site", "==", 1))
    assert sorted(bench.ids(query.where(filter=FieldFilter("shard", "==", 1)).order_by("at"))) == sorted(
        found
    )


def test_a_port_that_is_taken_is_an_error(bench: Bench, make_bench: Callable[..., Bench]) -> None:
    other = make_bench()
    with pytest.raises(RuntimeError):
        other.service.start(int(bench.host.rpartition(":")[2]))


def test_stopping_lets_held_commits_go(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    with ThreadPoolExecutor(1) as pool:
        hold = bench.service.hold_commits("boxes/a")
        pending = pool.submit(bench.db.document("boxes/a").set, {"x": 1}, retry=None)
        hold.wait_held()
        bench.service.stop()
        assert pending.exception() is None or isinstance(pending.exception(), exceptions.GoogleAPICallError)
