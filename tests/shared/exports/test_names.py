"""Names in the customer's bucket (docs/contracts/delivered-files.md)."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from shared.delivery.base import TAIL_BYTES
from shared.exports import names
from shared.window import EARLIEST, Window

SITE = "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b"
EXPORT = "9d8c7b6a-1111-4222-8333-944455566677"
WINDOW = Window(datetime(2026, 11, 22, 23, tzinfo=UTC), datetime(2026, 11, 23, 23, tzinfo=UTC))
LONGEST_LABEL = names.label(names.run_by_hand("f" * 32), 99_999)
PARIS = ZoneInfo("Europe/Paris")


def test_a_data_file() -> None:
    assert names.data_file(SITE, "work-orders-timeline", WINDOW, PARIS, "0a1b2c3d4e", None, "jsonl") == (
        "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b/work-orders-timeline/dt=2026-11-23/"
        "work-orders-timeline_20261122T230000Z_20261123T230000Z_0a1b2c3d4e.jsonl"
    )


def test_the_date_in_a_name_is_the_local_one() -> None:
    name = names.data_file(SITE, "s", WINDOW, ZoneInfo("UTC"), "r", None, "jsonl")
    assert "/dt=2026-11-22/" in name


def test_data_files_of_one_run_are_numbered_so_that_their_names_sort() -> None:
    made = [names.data_file(SITE, "s", WINDOW, PARIS, "r", number, "csv") for number in (1, 2, 10)]
    assert [name.rpartition("_")[2] for name in made] == ["r-00001.csv", "r-00002.csv", "r-00010.csv"]
    assert made == sorted(made)


def test_a_data_file_of_all_sites() -> None:
    name = names.data_file(None, "s", WINDOW, PARIS, "r", None, "csv")
    assert name == "s/dt=2026-11-23/s_20261122T230000Z_20261123T230000Z_r.csv"


def test_a_manifest() -> None:
    assert names.manifest(EXPORT, WINDOW, "0a1b2c3d4e") == (
        "_manifests/9d8c7b6a-1111-4222-8333-944455566677/20261122T230000Z_20261123T230000Z_0a1b2c3d4e.json"
    )


@pytest.mark.parametrize(
    ("zone", "end", "day"),
    [
        ("UTC", datetime(2026, 11, 23, 2, tzinfo=UTC), "2026-11-23"),
        ("UTC", datetime(2026, 11, 23, tzinfo=UTC), "2026-11-22"),
        ("Europe/Paris", datetime(2026, 11, 22, 23, tzinfo=UTC), "2026-11-22"),
        ("America/New_York", datetime(2026, 11, 23, 2, tzinfo=UTC), "2026-11-22"),
        ("Asia/Tokyo", datetime(2026, 11, 22, 15, 1, tzinfo=UTC), "2026-11-23"),
    ],
)
def test_everything_so_far_is_named_so_and_lies_in_the_folder_of_its_last_day(
    zone: str, end: datetime, day: str
) -> None:
    window = Window(EARLIEST, end)
    bounds = f"beginning_{names.stamp(end)}_r"
    assert names.data_file(SITE, "s", window, ZoneInfo(zone), "r", None, "csv") == (
        f"{SITE}/s/dt={day}/s_{bounds}.csv"
    )
    assert names.manifest(EXPORT, window, "r") == f"_manifests/{EXPORT}/{bounds}.json"


def test_an_image() -> None:
    assert names.image(SITE, "a.jpg") == f"{SITE}/images/a.jpg"


def test_a_scheduled_run_has_128_bits_of_its_export_and_window() -> None:
    run = names.scheduled_run(EXPORT, WINDOW)
    assert re.fullmatch("s[0-9a-f]{32}", run)
    assert names.is_run(run)
    assert run == names.scheduled_run(EXPORT, WINDOW)
    assert run != names.scheduled_run(SITE, WINDOW)
    assert run != names.scheduled_run(EXPORT, Window(WINDOW.start, datetime(2026, 11, 24, tzinfo=UTC)))


def test_no_name_takes_more_than_is_kept_free_behind_the_prefix() -> None:
    longest_source = "s" * 50
    tails = [
        names.data_file(SITE, longest_source, WINDOW, PARIS, LONGEST_LABEL, 10_000, "jsonl.gz.parquet"),
        names.image(SITE, SITE + ".jpeg"),
        names.manifest(EXPORT, WINDOW, LONGEST_LABEL),
    ]
    assert max(len(tail.encode()) for tail in tails) <= TAIL_BYTES


def test_a_run_by_hand_has_an_id_that_no_scheduled_window_has() -> None:
    digits = names.scheduled_run(EXPORT, WINDOW)[1:]
    by_hand = names.run_by_hand(digits)
    assert names.is_run(by_hand)
    assert by_hand != names.scheduled_run(EXPORT, WINDOW)


def test_a_run_that_is_planned_anew_has_a_name_that_no_other_run_has() -> None:
    run, other = names.scheduled_run(EXPORT, WINDOW), names.run_by_hand("0" * 32)
    labels = [names.label(each, number) for each in (run, other) for number in range(12)]
    assert len(set(labels)) == len(labels)
    assert names.label(run, 0) == run
    assert names.label(run, 1) == f"{run}r1"


def test_a_run_of_ten_digits_keeps_its_names() -> None:
    assert names.is_run("0a1b2c3d4e")
    assert names.label("0a1b2c3d4e", 0) == "0a1b2c3d4e"
    assert names.label("0a1b2c3d4e", 1) == "2e71f8bc3a"


@pytest.mark.parametrize(
    "text", ["", "s", "0" * 9, "0" * 11, "0" * 32, "0" * 33, "s" + "0" * 31, "h" + "g" * 32, "S" + "0" * 32]
)
def test_what_is_no_id_of_a_run(text: str) -> None:
    assert not names.is_run(text)
