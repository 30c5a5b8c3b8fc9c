"""Storage, Firestore and Pub/Sub fail a batch at each kind of call; what it holds is all in, once."""

from itertools import product

import pytest

from infra.local.traffic import Fault
from shared.gcp import objects
from tests.kills import fresh_from
from tests.subjects.faults import GRPC, GRPC_FAULTS, HTTP_FAULTS, named
from tests.subjects.small_batch import Small, Smalls, small, smalls

__all__ = ["small", "smalls"]

HTTP = [
    "storage.uploads.start",
    "storage.uploads.chunk",
    "storage.objects.insert",
    "storage.objects.get",
    "storage.objects.get_media",
]
EVERY = {**dict.fromkeys(HTTP, HTTP_FAULTS), **dict.fromkeys(GRPC, GRPC_FAULTS)}
SOME = [
    ("storage.uploads.chunk", Fault("reset_after")),
    ("storage.objects.insert", Fault("reset_after")),
    ("storage.objects.insert", Fault("error", status=503)),
    ("storage.objects.get_media", Fault("truncate")),
    ("firestore.Commit", Fault("reset_after")),
    ("firestore.BatchGetDocuments", Fault("error", status=14)),
    ("pubsub.Publish", Fault("reset_after")),
]
"""For the quick tests; `make check` takes every fault on every kind."""


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a large batch writes goes as streams; a small one's would be sent whole."""
    monkeypatch.setattr(objects, "WHOLE_BYTES", 1)


def fail_and_end(small: Small, kind: str, fault: Fault, *, times: int) -> None:
    """Let that many calls of a kind fail in a row; then time, redelivery and the sweep do their work."""
    traffic = small.world.suite.traffic
    traffic.disarm()
    traffic.arm(kind, fault, times=times)
    before = len(traffic.calls(kind))
    small.run(small.world.push)
    assert len(traffic.calls(kind)) > before, f"no call was a {kind}"
    traffic.disarm()
    small.settle()
    small.done_once()


@pytest.mark.parametrize(("kind", "fault"), SOME, ids=named)
def test_a_call_that_fails_in_passing_is_tried_again(small: Small, kind: str, fault: Fault) -> None:
    fail_and_end(small, kind, fault, times=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_every_call_of_a_kind_may_fail_for_a_while(
    smalls: Smalls, subtests: pytest.Subtests, kind: str
) -> None:
    fresh = fresh_from(smalls)
    for fault, times in product(EVERY[kind], (2, 12)):
        with subtests.test(named(fault), times=times):
            fail_and_end(fresh(None), kind, fault, times=times)
