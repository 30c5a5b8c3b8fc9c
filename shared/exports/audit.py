"""The audit event of a run, made by a pure function (docs/contracts/audit-event.md)."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson

from shared.exports import names
from shared.exports.mailing import NO_MAILS, Sent
from shared.exports.manifest import File
from shared.exports.runs import COMPLETED, SCHEDULE, Run
from shared.moments import milliseconds
from shared.outbox.mails import Mail
from shared.sources.export_runs import COLUMNS, FILE_KEYS
from shared.window import Window, utc_second

DESCRIPTION = "File Export Processed"

KEYS = tuple(column.name for column in COLUMNS)
"""An event's keys, in the order of docs/contracts/audit-event.md."""

IMAGES_NAMED = 100
"""How many images that did not arrive an event names; the manifest names all."""

MAILS_NAMED = 100
"""How many mails that were not sent an event names; the run's mails are listed by themselves."""


FILES_NAMED = 100
FILES_BYTES = 40 * 1024
"""How many files an event names, and how many bytes those may have as JSON; the manifest names all. So a page
of 500 runs stays below the 32 MiB of an answer. https://cloud.google.com/run/quotas#request_limits"""

MAX_EVENT_BYTES = 512 * 1024
"""An event is never larger, as JSON: its document may hold 1 MiB, and a message of Pub/Sub 10 MB.
https://cloud.google.com/firestore/quotas#limits https://cloud.google.com/pubsub/quotas#resource_limits"""


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its status; the first of the files that are there (`first`); how many images
    arrived, were gone, or met something else in their place, and the first IMAGES_NAMED of those that did not
    arrive; and what came of its mails."""

    status: str
    files: tuple[File, ...] = ()
    images: int = 0
    images_missing: int = 0
    images_conflicting: int = 0
    not_delivered: tuple[str, ...] = ()
    mails: Sent = NO_MAILS
    error: str | None = None
    next_action: str | None = None


def first(files: Iterable[File]) -> tuple[File, ...]:
    """Those files that an event names."""
    found: list[File] = []
    room = FILES_BYTES
    for file in files:
        room -= len(orjson.dumps(file)) + 1
        if room < 0 or len(found) == FILES_NAMED:
            break
        found.append(file)
    return tuple(found)


def event(run: Run, outcome: Outcome, at: datetime | None) -> dict[str, Any]:
    """The event of a run that ended at `at`, by Firestore's time; None while it has not."""
    totals, place = run.totals, run.config.connector_config
    has_manifest = outcome.status == COMPLETED and place.destination is not None
    return {
        "scheduleFrequency": run.config.interval if run.origin == SCHEDULE else "",
        "sftpDetailsKey": run.config.secret_id,
        "operations": [run.config.connector_type.upper()],
        "recipients": [{"address": each, "name": ""} for each in run.config.recipients],
        "description": DESCRIPTION,
        "from": run.origin,
        "dataSource": run.config.export_type,
        "user": run.user,
        "timestamp": milliseconds(at) if at else None,
        "run_id": run.id,
        "export_id": run.export,
        "window": bounds(run.window),
        "status": outcome.status,
        "rows": totals.rows if totals else 0,
        "file_count": totals.files if totals else 0,
        "images": outcome.images,
        "images_missing": outcome.images_missing,
        "images_conflicting": outcome.images_conflicting,
        "images_not_delivered": list(outcome.not_delivered),
        "mails_sent": outcome.mails.sent,
        "mails_not_sent": [_told(mail) for mail in outcome.mails.others[:MAILS_NAMED]],
        "bytes": totals.bytes if totals else 0,
        "duration_ms": _duration(run, at),
        "destination": place.destination,
        "files": [asdict(file) for file in outcome.files],
        "manifest": place.place(names.manifest(run.export, run.window, run.label)) if has_manifest else None,
        "error": outcome.error,
        "next_action": outcome.next_action,
    }


def ended(event: dict[str, Any], run: Run, at: datetime) -> dict[str, Any]:
    """The event of a run that was made before the run ended, with when it ended."""
    return event | {"timestamp": milliseconds(at), "duration_ms": _duration(run, at)}


def _duration(run: Run, at: datetime | None) -> int | None:
    return round((at - run.started).total_seconds() * 1000) if at and run.started else None


def _told(mail: Mail) -> dict[str, str | None]:
    return {"address": mail.address, "status": mail.state, "reason": mail.reason}


def ordered(event: dict[str, Any]) -> dict[str, Any]:
    """An event's keys in the order above, which Firestore does not keep."""

    def keyed(value: dict[str, Any], *keys: str) -> dict[str, Any]:
        return {key: value.get(key) for key in keys}  # an event of an older version lacks some

    return keyed(event, *KEYS) | {
        "window": keyed(event["window"], "start", "end"),
        "recipients": [keyed(each, "address", "name") for each in event.get("recipients", ())],
        "files": [keyed(each, *FILE_KEYS) for each in event.get("files", ())],
        "mails_not_sent": [
            keyed(each, "address", "status", "reason") for each in event.get("mails_not_sent", ())
        ],
    }


def bounds(window: Window) -> dict[str, str]:
    """A window as JSON carries it."""
    return {"start": utc_second(window.start), "end": utc_second(window.end)}
