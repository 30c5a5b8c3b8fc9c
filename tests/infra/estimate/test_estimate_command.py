"""`python -m infra estimate`: its tables, its JSON, its arguments, and which limits it says are met first."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from infra.__main__ import main
from infra.bundle import Bundle
from infra.estimate import charges, limits, prices
from infra.estimate.charges import Charges
from infra.estimate.usage import Usage

LARGEST = Usage(
    customers=10_000,
    work_orders=20_000,
    images=100_000,
    imports=0,
    job_exports=0,
    datasets=0,
    accounts=11_000,
)
"""Ten thousand customers who send 10^9 photographs a month."""


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["estimate", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_it_shows_counts_bytes_and_dollars_by_function(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "--customers", "1", "--work-orders", "1000", "--images", "2000", "--requests", "0")
    by_function = {each["function"]: each for each in found["functions"]}
    assert (found["usage"]["customers"], found["region"]) == (1, "us-central1")
    assert by_function["copy_images"]["class_a"] == 2000
    assert by_function["ingest_work_orders"]["class_a"] == 2000
    assert by_function["export_work_orders_timeline"]["calls"] == 30 * 4
    assert by_function["tick"]["calls"] == 30 * 24 * 60
    dollars = sum(float(each["dollars"]) for name in ("functions", "amounts") for each in found[name])
    assert dollars == pytest.approx(float(found["total"][0]["dollars"]), abs=0.2)
    assert {each["grows"] for each in found["limits"]} == set(limits.GROWN)


@pytest.mark.slow
def test_it_shows_tables_to_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("FUNCTION ")
    assert "service accounts of the project" in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--interval", "once"), "--interval must say how often"),
        (("--interval", "every 7 minutes"), "--interval N must divide 1440, the minutes of a day; got 7"),
        (("--batch", "0"), "--batch must be at least 1: how many work orders an archive has"),
        (("--sites", "0"), "--sites must be at least 1: work orders are of a site"),
        (("--images", "-1"), "argument --images: '-1' is not a number from 0 of at most 12 digits"),
    ],
)
def test_what_it_refuses(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str) -> None:
    assert main(["estimate", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_a_usage_of_nothing_costs_the_ticks_alone() -> None:
    numbers = {each.name: 0 for each in dataclasses.fields(Usage) if each.type is int}
    nothing = dataclasses.replace(Usage(), **(numbers | {"batch": 1}))  # type: ignore[arg-type]
    found = {name: each for name, each in charges.of_month(nothing).items() if each != Charges()}
    assert found == {"tick": charges.TICK * charges.ticks()}


@pytest.mark.parametrize("interval", ["monthly", "weekly", "daily", "hourly", "every 5 minutes"])
def test_each_interval_has_its_runs(interval: str) -> None:
    usage = Usage(customers=1, interval=interval, images=0)
    times = {"monthly": 1, "weekly": 30 / 7, "daily": 30, "hourly": 720, "every 5 minutes": 8640}[interval]
    assert usage.due_times == pytest.approx(times)
    run = charges.of_month(usage)[charges.TIMELINE]
    assert run.calls == pytest.approx(times * 4)


def test_each_price_has_a_page_and_is_used() -> None:
    known = prices.load()
    assert known.date
    text = Path(prices.__file__).read_text()
    assert [name for name in known.prices if f'"{name}"' not in text] == []


@pytest.mark.slow
def test_the_limit_met_first_is_the_nearest_one() -> None:
    usage = Usage(customers=50)
    known = list(limits.every(Bundle.load(), usage))
    for met in limits.growth(usage):
        found = [each for each in known if each.met(usage.grown(met.quantity, met.factor))]
        assert bool(found) == met.met, met
        assert not met.met or met.limit.name in {each.name for each in found}, met
        before = dataclasses.replace(usage, **{met.quantity: met.at - 1})  # type: ignore[arg-type]
        assert met.limit.used(before) <= met.limit.value, met


def test_no_limit_is_met_below_ten_thousand_customers_and_a_billion_photographs() -> None:
    assert [each.name for each in limits.met_already(LARGEST)] == []


def test_more_service_accounts_than_the_quota_are_said() -> None:
    [met] = limits.met_already(Usage(customers=100))
    assert (met.name, met.value) == ("service accounts of the project", 100)
    assert "Service Account Count" in met.then
    assert limits.met_already(Usage(customers=100, accounts=200)) == []
