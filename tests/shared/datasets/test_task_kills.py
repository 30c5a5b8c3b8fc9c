"""A task dies at every call that it makes, and it ends the same: every sample once, the manifest last."""

import pytest

from tests import kills
from tests.subjects.small_dataset import (
    SmallCopies,
    SmallCopy,
    SmallTask,
    SmallTasks,
    small_copies,
    small_tasks,
)

__all__ = ["small_copies", "small_tasks"]


@kills.MODES
def test_an_export_of_a_dataset_killed_at_some_calls_ends_the_same(
    small_tasks: SmallTasks, mode: kills.Mode[SmallTask]
) -> None:
    kills.each(small_tasks, mode, sample=kills.QUICK[mode])


@kills.MODES
def test_a_new_dataset_killed_at_some_calls_ends_the_same(
    small_copies: SmallCopies, mode: kills.Mode[SmallCopy]
) -> None:
    kills.each(small_copies, mode, sample=kills.QUICK[mode])


@pytest.mark.slow
@kills.MODES
@kills.SHARES
def test_an_export_of_a_dataset_killed_at_any_call_ends_the_same(
    small_tasks: SmallTasks, mode: kills.Mode[SmallTask], share: int
) -> None:
    kills.each(small_tasks, mode, share=share, of=kills.OF)


@pytest.mark.slow
@kills.MODES
@kills.SHARES
def test_a_new_dataset_killed_at_any_call_ends_the_same(
    small_copies: SmallCopies, mode: kills.Mode[SmallCopy], share: int
) -> None:
    kills.each(small_copies, mode, share=share, of=kills.OF)


@pytest.mark.slow
def test_a_task_cancelled_between_some_calls_has_no_manifest(small_tasks: SmallTasks) -> None:
    kills.each(small_tasks, kills.CANCELLED, sample=8)


@pytest.mark.slow
@kills.SHARES
def test_a_task_cancelled_between_any_calls_has_no_manifest(small_tasks: SmallTasks, share: int) -> None:
    kills.each(small_tasks, kills.CANCELLED, share=share, of=kills.OF)


def test_with_every_message_delivered_twice_a_task_ends_the_same(
    small_tasks: SmallTasks, small_copies: SmallCopies
) -> None:
    kills.twice(small_tasks())
    kills.twice(small_copies())
