"""A Firestore of its own for a test, on a clock that stands still, with Google's client and the raw stub."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud import firestore
from google.protobuf.timestamp_pb2 import Timestamp

from infra.local.clock import SuiteClock
from infra.local.firestore import FirestoreService, messages
from infra.local.traffic import Traffic

START = datetime(2026, 11, 23, 2, tzinfo=UTC)
INDEXES = Path(__file__).with_name("indexes.json")
ROOT = "projects/p/databases/(default)/documents"
STREAMS = {"BatchGetDocuments", "RunQuery", "RunAggregationQuery"}


class Bench:
    """One service, its clock and faults, a client for the project p, and the raw stub."""

    def __init__(
        self,
        make_client: Callable[[str, str], firestore.Client],
        file: Path | None,
        indexes: Path,
        clock: SuiteClock,
    ) -> None:
        self.clock = clock
        self.traffic = Traffic()
        self.service = FirestoreService(clock=clock, traffic=self.traffic, file=file, indexes=indexes)
        self.host = f"127.0.0.1:{self.service.start()}"
        self._make_client = make_client
        self.db = self.client("p")
        self._channel = grpc.insecure_channel(self.host)

    def client(self, project: str) -> Any:
        """Google's client for a project. The type of its answers is left open: its own stubs are at odds."""
        return self._make_client(self.host, project)

    def call(self, method: str, request: Any) -> Any:
        """The raw stub: a response, or the list of a stream's. Raises grpc.RpcError."""
        path = f"/google.firestore.v1.Firestore/{method}"
        if method in STREAMS:
            reply = getattr(messages, f"{method}Response")
            stream = self._channel.unary_stream(path, request.SerializeToString, reply.FromString)
            return list(stream(request))
        reply = messages.Document if method == "GetDocument" else getattr(messages, f"{method}Response", None)
        reply = reply or messages.Empty
        return self._channel.unary_unary(path, lambda r: r.SerializeToString(), reply.FromString)(request)

    def stream(self, method: str, request: Any) -> tuple[list[Any], grpc.StatusCode | None]:
        """What a raw stream gives until it ends, and the code if it ends in an error."""
        reply = getattr(messages, f"{method}Response")
        path = f"/google.firestore.v1.Firestore/{method}"
        replies = self._channel.unary_stream(path, request.SerializeToString, reply.FromString)(request)
        got: list[Any] = []
        try:
            got.extend(iter(replies))
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return got, code
        return got, None

    def refused(self, method: str, request: Any) -> tuple[grpc.StatusCode, str]:
        """The code and the sentence with which a raw call is refused."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, request)
        error: Any = caught.value
        return error.code(), error.details()

    def commit(self, *writes: Any, transaction: bytes = b"") -> Any:
        """A raw Commit."""
        return self.call(
            "Commit",
            messages.CommitRequest(
                database="projects/p/databases/(default)", writes=writes, transaction=transaction
            ),
        )

    def put(self, path: str, **fields: Any) -> datetime:
        """Set a document; returns its update_time."""
        return micro(self.db.document(path).set(fields).update_time)

    def ids(self, query: Any, **how: Any) -> list[str]:
        """The ids of what a query finds."""
        return [snapshot.id for snapshot in query.stream(**how)]

    def stop(self) -> None:
        self._channel.close()
        self.service.stop()


def micro(at: Any) -> datetime:
    """A client's time as a plain datetime."""
    return datetime.fromtimestamp(at.timestamp(), UTC).replace(microsecond=at.microsecond)


def stamp(at: datetime) -> Timestamp:
    """A time as a protobuf timestamp."""
    result = Timestamp()
    result.FromDatetime(at)
    return result


@pytest.fixture
def make_bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Makes benches, and stops them after the test."""
    made: list[Bench] = []

    def client(host: str, project: str) -> firestore.Client:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        return firestore.Client(project=project)

    def make(file: Path | None = None, indexes: Path = INDEXES, clock: SuiteClock | None = None) -> Bench:
        bench = Bench(client, file, indexes, clock or SuiteClock(frozen_at=START))
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.stop()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A Firestore in memory."""
    return make_bench()
