"""What everything is called: in the customer's bucket, and in staging. Pure functions, and no two files ever
want one name: the run is in each.
"""

import hashlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from shared.window import Window

RUN_DIGITS = 10
"""How many hex digits a run's id has."""

TAIL_BYTES = 320
"""More than any name below takes behind the customer's prefix; see the test that holds them against it."""


def stamp(at: datetime) -> str:
    """A moment in a name: `20261123T020000Z`."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def scheduled_run(export: str, window: Window) -> str:
    """The id of the run of a scheduled window: whoever starts it, it is the same."""
    name = f"{export}\n{stamp(window.start)}\n{stamp(window.end)}"
    return hashlib.sha256(name.encode()).hexdigest()[:RUN_DIGITS]


def is_run(text: str) -> bool:
    """Whether this can be the id of a run."""
    return len(text) == RUN_DIGITS and set(text) <= set("0123456789abcdef")


def data_file(
    prefix: str, site: str, source: str, window: Window, timezone: ZoneInfo, run: str, extension: str
) -> str:
    """The file of one site, in the customer's bucket."""
    day = window.start.astimezone(timezone).date().isoformat()
    bounds = f"{stamp(window.start)}_{stamp(window.end)}"
    return f"{prefix}{site}/{source}/dt={day}/{source}_{bounds}_{run}.{extension}"


def image(prefix: str, site: str, file_name: str) -> str:
    """An image, in the customer's bucket."""
    return f"{prefix}{site}/images/{file_name}"


def manifest(prefix: str, export: str, window: Window, run: str) -> str:
    """The run's manifest, in the customer's bucket; written last."""
    return f"{prefix}_manifests/{export}/{stamp(window.start)}_{stamp(window.end)}_{run}.json"


def staged(customer: str, export: str, run: str, file: str) -> str:
    """A run's file in staging, in the managed folder that the customer's account may read."""
    return f"{customer}/{export}/{run}/{file}"
