"""Documents that cannot be read: a field is missing, is of another type, or has a value that there is not.

Such a document costs itself and nothing else: whoever meets one among others leaves it out and reports it
here. Operators find it in the log, and in `python -m infra status` until it has been changed or removed.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import firestore
from pydantic import ValidationError

from shared import logs
from shared.errors import Retry
from shared.gcp.documents import Snapshot, fields_of, plain

COLLECTION = "unreadable"
"""The collection in which they are listed, each by a hash of its path."""

MAX_LISTED = 200
"""How many of them operators are shown: what a person can read."""

MAX_REASON = 200
"""How many characters are kept of what is wrong."""

MALFORMED = (LookupError, TypeError, ValueError, AttributeError)
"""What reading such a document raises, where more is done than to read it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Unreadable:
    """A document that could not be read: its path, what is wrong, and when that was met last."""

    path: str
    reason: str
    met: datetime


def readable(
    db: firestore.Client, snapshots: Iterable[Snapshot], parse: Callable[[Snapshot], T]
) -> Iterator[T]:
    """What these documents hold, without those that cannot be read, which are reported."""
    for snapshot in snapshots:
        try:
            parsed = parse(snapshot)
        except (GoogleAPICallError, Retry):
            raise  # Firestore's, not the document's
        except Exception as failure:
            report(db, snapshot.reference.path, failure)
        else:
            yield parsed


def report(db: firestore.Client, path: str, failure: Exception) -> None:
    """Report that the document at a path cannot be read, for the reason that `failure` has."""
    with logs.bound(**logs.ids_of(path)):
        logs.error("a document cannot be read", exception=failure, document=path)
    met = {"path": path, "reason": _reason(failure), "met": firestore.SERVER_TIMESTAMP}
    try:
        _listed(db, path).set(met)
    except GoogleAPICallError as failed:  # what goes on without the document goes on without this, too
        logs.warning("an unreadable document could not be listed", about=failed, document=path)


def listed(db: firestore.Client) -> list[Unreadable]:
    """The documents that were met and are still as they were then, in the order of their paths."""
    found = []
    for entry in db.collection(COLLECTION).limit(MAX_LISTED).stream():
        fields = fields_of(entry)
        document = db.document(fields["path"]).get([])
        if document.exists and plain(document.update_time) <= plain(entry.update_time):
            found.append(Unreadable(fields["path"], fields["reason"], fields["met"]))
        else:
            entry.reference.delete()
    return sorted(found, key=lambda each: each.path)


def _listed(db: firestore.Client, path: str) -> Any:
    return db.document(f"{COLLECTION}/{hashlib.sha256(path.encode()).hexdigest()[:32]}")


def _reason(failure: Exception) -> str:
    """What is wrong, without what the document holds."""
    if isinstance(failure, ValidationError):
        fields = ", ".join(".".join(map(str, each["loc"])) for each in failure.errors())
        return f"wrong in it: {fields}"[:MAX_REASON]
    return f"{type(failure).__name__}: {failure}"[:MAX_REASON]
