"""Removing dies at every call, is paused or asked twice, and removes what it should and no more."""

import pytest

from tests import kills
from tests.subjects.small_removal import SmallRemoval, SmallRemovals, small_removals

__all__ = ["small_removals"]

pytestmark = pytest.mark.slow


@kills.MODES
@kills.SHARES
def test_removing_that_is_killed_at_any_call_ends_the_same(
    small_removals: SmallRemovals, mode: kills.Mode[SmallRemoval], share: int
) -> None:
    kills.each(small_removals, mode, share=share, of=kills.OF)


def test_with_every_message_delivered_twice_the_same_is_removed(small_removals: SmallRemovals) -> None:
    kills.twice(small_removals())
