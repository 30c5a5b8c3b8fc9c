"""Buckets of tokens: how often something may happen, by name, in bounded memory."""

import pytest

from shared.http.rates import BURST_SECONDS, Rate, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate(clock: Clock) -> None:
    rates, rate = Rates(10, clock), Rate(per_second=2, burst=3)
    assert [rates.take("a", rate) for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    clock.now += 0.4
    assert rates.take("a", rate) == pytest.approx(0.1)
    clock.now += 0.1
    assert [rates.take("a", rate) for _ in range(2)] == [pytest.approx(0), pytest.approx(0.5)]
    clock.now += 1000
    assert [rates.take("a", rate) for _ in range(4)] == [0, 0, 0, 0.5], "it is never fuller than its burst"


def test_to_wait_takes_nothing_and_each_name_has_its_own(clock: Clock) -> None:
    rates, rate = Rates(10, clock), Rate(per_second=1, burst=1)
    assert [rates.wait("a", rate) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", rate) == 0
    assert (rates.wait("a", rate), rates.wait("b", rate)) == (1, 0)
    assert len(rates) == 1, "whoever only asks is not kept"


def test_no_more_names_are_kept_than_said_and_the_one_used_last_stays(clock: Clock) -> None:
    rates, rate = Rates(3, clock), Rate(per_second=1, burst=1)
    for name in ("a", "b", "c", "a", "d"):
        rates.take(name, rate)
    assert len(rates) == 3
    assert [rates.wait(name, rate) for name in "abcd"] == [1, 0, 1, 1], "b was not used for the longest"
    rates.clear()
    assert len(rates) == 0


def test_a_rate_can_be_another_each_time(clock: Clock) -> None:
    """A limit that an operator raises counts from the next request on."""
    rates = Rates(3, clock)
    assert [rates.take("a", Rate.of(0.25)) for _ in range(2)] == [0, 4]
    clock.now += 1
    assert Rate.of(10) == Rate(10, 10 * BURST_SECONDS)
    assert rates.take("a", Rate.of(10)) == 0
