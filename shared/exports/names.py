"""What everything is called: where it is delivered (docs/contracts/delivered-files.md), and in staging. Pure
functions, and no two files ever want one name: the run is in each. Names to deliver under are relative to the
place that the config gives.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from shared.window import EARLIEST, Window

RUN_DIGITS = 32
"""How many hex digits a run's id has behind its letter: 128 bits, since who sends an `Idempotency-Key`, or
chooses when windows begin, chooses what is hashed."""

SCHEDULED, BY_HAND = "s", "h"
"""The letter with which a run's id begins. So a run by hand never has the id of a scheduled window, which
could not begin then."""

OLD_RUN_DIGITS = 10
"""How many hex digits, and nothing else, ids had that were given before. Those runs keep theirs."""

_RUN = re.compile(f"[{SCHEDULED}{BY_HAND}][0-9a-f]{{{RUN_DIGITS}}}|[0-9a-f]{{{OLD_RUN_DIGITS}}}")

NUMBER_DIGITS = 5
"""With how many digits files of one run are numbered: a run has at most 50,000 parts, and so files."""


BEGINNING = "beginning"
"""What stands for the start of a window that begins with everything so far."""


def stamp(at: datetime) -> str:
    """A moment in a name: `20261123T020000Z`."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def scheduled_run(export: str, window: Window) -> str:
    """The id of the run of a scheduled window: whoever starts it, it is the same."""
    return SCHEDULED + _digits(f"{export}\n{stamp(window.start)}\n{stamp(window.end)}", RUN_DIGITS)


def run_by_hand(digits: str) -> str:
    """The id of a run by hand, of RUN_DIGITS hex digits that are its own."""
    return BY_HAND + digits


def label(run: str, replanned: int) -> str:
    """What stands for a run in the names of its files: its id, and how often it was planned anew.

    What it delivered by an older plan may be something else, and is never overwritten. Of a run whose id was
    given before it is a hash: what such a run has staged is named so.
    """
    if not replanned:
        return run
    if len(run) == OLD_RUN_DIGITS:
        return _digits(f"{run}\n{replanned}", OLD_RUN_DIGITS)
    return f"{run}r{replanned}"


def is_run(text: str) -> bool:
    """Whether this can be the id of a run."""
    return _RUN.fullmatch(text) is not None


def data_file(
    site: str | None,
    source: str,
    window: Window,
    timezone: ZoneInfo,
    run: str,
    number: int | None,
    extension: str,
) -> str:
    """A data file: of one site, or of all where that is None; with its number where it is one of several.

    Its folder is a partition by date in Hive's style, so it always has a date. It is the day on which the
    window begins; where everything so far is in it, the last day.
    https://cloud.google.com/bigquery/docs/hive-partitioned-queries#supported_data_layouts
    """
    folder = f"{source}/dt={_day(window).astimezone(timezone).date().isoformat()}"
    counted = "" if number is None else f"-{number:0{NUMBER_DIGITS}}"
    name = f"{folder}/{source}_{_bounds(window)}_{run}{counted}.{extension}"
    return f"{site}/{name}" if site else name


def image(site: str, file_name: str) -> str:
    """An image."""
    return f"{site}/images/{file_name}"


def manifest(export: str, window: Window, run: str) -> str:
    """The run's manifest; written last."""
    return f"_manifests/{export}/{_bounds(window)}_{run}.json"


def staged(customer: str, export: str, run: str, file: str) -> str:
    """A run's file in staging, in the managed folder that the customer's account may read."""
    return f"{customer}/{export}/{run}/{file}"


def _bounds(window: Window) -> str:
    start = BEGINNING if window.start == EARLIEST else stamp(window.start)
    return f"{start}_{stamp(window.end)}"


def _day(window: Window) -> datetime:
    """A moment of the day that a window's folder is named by."""
    # A window that ends at midnight holds nothing of the day that begins there.
    return window.end - timedelta(minutes=1) if window.start == EARLIEST else window.start


def _digits(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
