"""A run dies at every call that it makes, and lands all the same, once."""

import pytest

from tests import kills
from tests.subjects.small_run import Small, Smalls, small, smalls

__all__ = ["small", "smalls"]


def test_the_small_run_makes_every_kind_of_call(small: Small) -> None:
    kills.undisturbed(small)
    assert not small.world.failures
    kinds = {call.kind for call in small.world.suite.traffic.calls()}
    assert kinds >= {
        "storage.uploads.start",
        "storage.uploads.chunk",
        "storage.objects.compose",
        "storage.objects.rewrite",
        "storage.objects.get",
        "storage.objects.get_media",
        "storage.batch",
        "firestore.Commit",
        "firestore.BatchGetDocuments",
        "firestore.RunQuery",
        "firestore.RunAggregationQuery",
        "pubsub.Publish",
        "iamcredentials.generateAccessToken",
    }


@kills.MODES
def test_killed_or_paused_at_some_calls_it_ends_the_same(smalls: Smalls, mode: kills.Mode[Small]) -> None:
    kills.each(smalls, mode, sample=kills.QUICK[mode])


@pytest.mark.slow
@kills.MODES
@kills.SHARES
def test_killed_or_paused_at_any_call_it_ends_the_same(
    smalls: Smalls, mode: kills.Mode[Small], share: int
) -> None:
    kills.each(smalls, mode, share=share, of=kills.OF)


def test_with_every_message_delivered_twice_it_ends_the_same(smalls: Smalls) -> None:
    kills.twice(smalls())
