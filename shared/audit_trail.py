"""The audit trail: who changed what of a customer, and when. `audit_trail/<id>` is an entry.

`acting` says who acts: a key, by the route that it called, or an operator, by a command. `note` then adds an
entry to the very commit that makes a change true, so neither is there without the other. Where nobody acts,
as in the functions that messages start, `note` adds nothing: what they do comes of something that was noted.

A request or a command has an entry for each thing that it changes. Its id is derived from both: a commit that
is tried again writes the same entry again.
"""

import contextlib
import contextvars
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.gcp.documents import Snapshot, fields_of, moment_in, server_time
from shared.work.lifetimes import ENTRIES_KEPT, REMOVE_AFTER

COLLECTION = "audit_trail"

OPERATOR = "operator"
"""Who acted, where it was no key of the customer's."""

MAX_FIELDS = 50
"""How many names of fields an entry has."""

MAX_FIELD_LENGTH = 64
"""How many characters of each."""

ID_DIGITS = 32
"""How many hex digits an entry's id has: 128 bits."""


@dataclass
class Actor:
    """Who acts, and how.

    key      the id of the key, or OPERATOR
    action   a route's method and path, as OpenAPI writes it, or a command's name
    request  the id of the request, or of the one run of the command
    fields   the names of the fields that were sent, never their values
    """

    key: str
    action: str
    request: str
    fields: tuple[str, ...] = ()
    _began: datetime | None = None

    def began(self, db: firestore.Client) -> datetime:
        """About when it acted, by Firestore: read once, from which on an entry is kept."""
        if self._began is None:
            self._began = server_time(db)
        return self._began


@dataclass(frozen=True)
class Entry:
    """An entry. `thing` is what was changed, as a path: `exports/<id>/runs/<id>`."""

    time: datetime
    key: str
    action: str
    thing: str
    fields: tuple[str, ...]
    request: str


_acting: contextvars.ContextVar[Actor | None] = contextvars.ContextVar("actor", default=None)


@contextlib.contextmanager
def acting(actor: Actor | None) -> Iterator[None]:
    """Have what is noted inside be done by this actor; by nobody where it is None."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


def sent(fields: Sequence[str]) -> None:
    """Have the entries of who acts name these fields, which were sent."""
    actor = _acting.get()
    if actor is not None:
        actor.fields = tuple(fields)


def note(
    db: firestore.Client,
    writes: firestore.WriteBatch,
    customer: str,
    thing: str,
    fields: Sequence[str] | None = None,
) -> None:
    """Add an entry to the batch or the transaction that changes a thing of a customer; nothing where nobody
    acts. `fields` are the names of those that change, where they are not the ones that were sent."""
    actor = _acting.get()
    if actor is None:
        return
    names = actor.fields if fields is None else fields
    entry = {
        "customer": customer,
        "time": firestore.SERVER_TIMESTAMP,
        "key": actor.key,
        "action": actor.action,
        "thing": thing,
        "about": "/".join(thing.split("/")[:2]),
        "fields": [name[:MAX_FIELD_LENGTH] for name in names[:MAX_FIELDS]],
        "request": actor.request,
        REMOVE_AFTER: actor.began(db) + ENTRIES_KEPT,
    }
    id = hashlib.sha256(f"{actor.request}\n{thing}".encode()).hexdigest()[:ID_DIGITS]
    writes.set(db.collection(COLLECTION).document(id), entry)


def entries_of(
    db: firestore.Client,
    customer: str,
    *,
    thing: str | None = None,
    key: str | None = None,
    since: datetime | None = None,
    before: datetime | None = None,
) -> Any:
    """The query of a customer's entries, the newest first: those about a thing (`exports/<id>`) and
    what is below it, of a key, from `since` on, and before `before`."""
    query: Any = db.collection(COLLECTION).where(filter=FieldFilter("customer", "==", customer))
    if thing is not None:
        query = query.where(filter=FieldFilter("about", "==", thing))
    if key is not None:
        query = query.where(filter=FieldFilter("key", "==", key))
    if since is not None:
        query = query.where(filter=FieldFilter("time", ">=", since))
    if before is not None:
        query = query.where(filter=FieldFilter("time", "<", before))
    return query.order_by("time", direction=firestore.Query.DESCENDING)


def from_snapshot(snapshot: Snapshot) -> Entry:
    """The entry of a document."""
    fields = fields_of(snapshot)
    return Entry(
        time=moment_in(fields, "time"),
        key=fields["key"],
        action=fields["action"],
        thing=fields["thing"],
        fields=tuple(fields["fields"]),
        request=fields["request"],
    )
