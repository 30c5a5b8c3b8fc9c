"""A job dies at every call that it makes, and it ends the same: items, counts, one mail, one result."""

from typing import Any

import pytest

from tests import kills
from tests.subjects.small_job import (
    SmallExport,
    SmallExports,
    SmallImport,
    SmallImports,
    SmallJob,
    small_exports,
    small_imports,
)

__all__ = ["small_exports", "small_imports"]


def cancel(subject: SmallJob, place: kills.Place) -> None:
    """Cancel it there, while its attempt is under way."""
    subject.outside.arm(
        place.number, place.when, lambda: subject.jobs.post("cancel", data={"jobId": subject.id})
    )
    subject.run(subject.push)
    kills.end(subject, place)
    subject.done_or_cancelled()


CANCELLED: kills.Mode[Any] = kills.Mode("cancelled", kills.Pass.pauses, cancel)

QUICK = {kills.REDELIVERED: 5, kills.SWEPT: 3, kills.PAUSED: 3}
"""At how many places the quick tests have it die or pause; `make check` takes all."""


@kills.MODES
def test_an_import_killed_or_paused_at_some_calls_ends_the_same(
    small_imports: SmallImports, mode: kills.Mode[SmallImport]
) -> None:
    kills.each(small_imports, mode, sample=QUICK[mode])


@kills.MODES
def test_an_export_killed_or_paused_at_some_calls_ends_the_same(
    small_exports: SmallExports, mode: kills.Mode[SmallExport]
) -> None:
    kills.each(small_exports, mode, sample=QUICK[mode])


@pytest.mark.slow
@kills.MODES
@kills.SHARES
def test_an_import_killed_or_paused_at_any_call_ends_the_same(
    small_imports: SmallImports, mode: kills.Mode[SmallImport], share: int
) -> None:
    kills.each(small_imports, mode, share=share, of=kills.OF)


@pytest.mark.slow
@kills.MODES
@kills.SHARES
def test_an_export_killed_or_paused_at_any_call_ends_the_same(
    small_exports: SmallExports, mode: kills.Mode[SmallExport], share: int
) -> None:
    kills.each(small_exports, mode, share=share, of=kills.OF)


def test_an_import_cancelled_between_some_calls_shows_what_is_true(small_imports: SmallImports) -> None:
    kills.each(small_imports, CANCELLED, sample=8)


def test_an_export_cancelled_between_some_calls_shows_what_is_true(small_exports: SmallExports) -> None:
    kills.each(small_exports, CANCELLED, sample=6)


@pytest.mark.slow
@kills.SHARES
def test_an_import_cancelled_between_any_calls_shows_what_is_true(
    small_imports: SmallImports, share: int
) -> None:
    kills.each(small_imports, CANCELLED, share=share, of=kills.OF)


@pytest.mark.slow
@kills.SHARES
def test_an_export_cancelled_between_any_calls_shows_what_is_true(
    small_exports: SmallExports, share: int
) -> None:
    kills.each(small_exports, CANCELLED, share=share, of=kills.OF)


def test_with_every_message_delivered_twice_jobs_end_the_same(
    small_imports: SmallImports, small_exports: SmallExports
) -> None:
    kills.twice(small_imports())
    kills.twice(small_exports())
