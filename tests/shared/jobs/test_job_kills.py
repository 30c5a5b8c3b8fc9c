"""A job dies at every call that it makes, and it ends the same: items, counts, one mail, one result."""

import pytest

from tests import kills
from tests.subjects.small_job import (
    SmallExport,
    SmallExports,
    SmallImport,
    SmallImports,
    small_exports,
    small_imports,
)

__all__ = ["small_exports", "small_imports"]


@kills.MODES
def test_an_import_killed_or_paused_at_some_calls_ends_the_same(
    small_imports: SmallImports, mode: kills.Mode[SmallImport]
) -> None:
    kills.each(small_imports, mode, sample=kills.QUICK[mode])


@kills.MODES
def test_an_export_killed_or_paused_at_some_calls_ends_the_same(
    small_exports: SmallExports, mode: kills.Mode[SmallExport]
) -> None:
    kills.each(small_exports, mode, sample=kills.QUICK[mode])


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
    kills.each(small_imports, kills.CANCELLED, sample=8)


def test_an_export_cancelled_between_some_calls_shows_what_is_true(small_exports: SmallExports) -> None:
    kills.each(small_exports, kills.CANCELLED, sample=6)


@pytest.mark.slow
@kills.SHARES
def test_an_import_cancelled_between_any_calls_shows_what_is_true(
    small_imports: SmallImports, share: int
) -> None:
    kills.each(small_imports, kills.CANCELLED, share=share, of=kills.OF)


@pytest.mark.slow
@kills.SHARES
def test_an_export_cancelled_between_any_calls_shows_what_is_true(
    small_exports: SmallExports, share: int
) -> None:
    kills.each(small_exports, kills.CANCELLED, share=share, of=kills.OF)


def test_with_every_message_delivered_twice_jobs_end_the_same(
    small_imports: SmallImports, small_exports: SmallExports
) -> None:
    kills.twice(small_imports())
    kills.twice(small_exports())
