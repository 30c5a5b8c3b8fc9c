"""What is repeated of a value from outside has a longest length."""

import pytest

from shared.cutting import SHOWN, cut, shown


@pytest.mark.parametrize("length", [0, 1, SHOWN])
def test_what_is_short_is_repeated_whole(length: int) -> None:
    assert cut("x" * length) == "x" * length
    assert shown("x" * length) == repr("x" * length)


@pytest.mark.parametrize("length", [SHOWN + 1, 1_000_000])
def test_what_is_longer_is_cut(length: int) -> None:
    assert cut("x" * length) == "x" * (SHOWN - 1) + "…"
    assert shown("x" * length) == repr("x" * (SHOWN - 1) + "…")
    assert len(shown([1] * length)) == SHOWN


def test_a_value_that_is_no_text_is_shown_as_it_is_written() -> None:
    assert (shown(None), shown(12.5), cut("abc", 2)) == ("None", "12.5", "a…")
