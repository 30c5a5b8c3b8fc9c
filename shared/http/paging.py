"""Pages of a list: an opaque token says after which document the next one starts.

The order of most lists never changes: what is new comes in front. A list whose documents change their place
is read on as it was when its first page was asked for (`page_as_it_was`).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from google.cloud import firestore
from pydantic import BaseModel, BeforeValidator, Field

from shared import ids
from shared.cutting import shown
from shared.errors import Invalid
from shared.gcp.documents import Snapshot

DEFAULT_PAGE = 50
"""How many entries a page has unless the request says otherwise (docs/contracts/exports.md)."""

MAX_PAGE = 500
"""How many entries a page may have."""

_NUMBER = re.compile(r"[0-9]{1,9}")
# A number of thousands of digits is none that Python would read.

LIST_LIFE = timedelta(minutes=55)
"""For how long a list can be read on as it was. Firestore can be read as of any time of the last hour.
https://cloud.google.com/firestore/docs/use-pitr"""

PAGE_BYTES = 4 * 1024 * 1024
"""How many bytes the documents of a page may have. One that has more comes by itself."""

MAX_LOOKED_AT = 2_000
"""At how many documents one page looks where it leaves some out."""

DIGEST_DIGITS = 32
"""How many hex digits stand for the filters of a list: 128 bits, since the client chooses them."""

_PINNED = re.compile(r"([^@]+)@([0-9]{1,16})@([0-9a-f]{32})")
"""What a token of `page_as_it_was` holds: an id, microseconds since 1970, and a digest of what is listed."""

_NONE_OF_THIS = "is none of this list: begin again without it"
NONE_OF_OURS = "is none of ours: begin again without it"
"""What is wrong with a token that we did not make."""

OTHER_FILTERS = "is of a list with other filters: send those of its first page"
"""What is wrong with a token of another list."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


def _size(value: Any) -> int:
    if not _NUMBER.fullmatch(str(value)) or not 1 <= int(value) <= MAX_PAGE:
        raise ValueError(f"must be a number from 1 to {MAX_PAGE}; got {shown(str(value))}")
    return int(value)


class Page(BaseModel):
    """Which page of a list is asked for."""

    page_size: Annotated[int, BeforeValidator(_size)] = Field(
        default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="How many entries the page may have."
    )
    page_token: str | None = Field(
        default=None, description="The `next_page_token` of the page before; the first page has none."
    )


def page(
    asked: Page, query: Any, collection: firestore.CollectionReference, customer: str
) -> tuple[list[Any], str | None]:
    """One page of an ordered query over a customer's documents: their snapshots, and the next page's token.

    Invalid where the page's token is none of this list.
    """
    if asked.page_token:
        after = collection.document(_id(text_of(asked.page_token))).get()
        if (after.to_dict() or {}).get("customer") != customer:
            raise Invalid.field("page_token", _NONE_OF_THIS)
        query = query.start_after(after)
    shown: list[Any] = []
    room = PAGE_BYTES
    for snapshot in query.limit(asked.page_size + 1).stream():
        room -= _bytes_of(snapshot)
        if len(shown) == asked.page_size or (shown and room < 0):
            # After one that does not say whose it is, no page could begin.
            theirs = (each.id for each in reversed(shown) if _is_of(each, customer))
            return shown, token_of(last) if (last := next(theirs, None)) else None
        shown.append(snapshot)
    return shown, None


def _is_of(snapshot: Snapshot, customer: str) -> bool:
    """Whether a document says that it is a customer's. The whole of it would be copied by `to_dict`."""
    try:
        return bool(snapshot.get("customer") == customer)
    except KeyError:
        return False


def page_as_it_was(
    asked: Page,
    query: Any,
    collection: firestore.CollectionReference,
    now: datetime,
    *,
    having: Mapping[str, Any],
    filters: str,
    orders: Sequence[str],
    keep: Callable[[Snapshot], bool],
) -> tuple[list[Snapshot], str | None]:
    """One page of an ordered query, as its documents were when the list's first page was asked for; and the
    next page's token. So no document is lost or comes twice, whatever changes in between.

    now      Firestore's time
    having   the fields that every document of the list has, and their values
    filters  what else it is filtered by: a token is good for the same filters only
    orders   the fields by which the query orders
    keep     whether a document that the query finds is shown. A page looks at about MAX_LOOKED_AT, and so
             can have fewer entries than were asked for, or none, and a next page

    Invalid where the page's token is none of this list, or of one that began more than LIST_LIFE ago.
    """
    digest = hashlib.sha256(f"{sorted(having.items())} {filters}".encode()).hexdigest()[:DIGEST_DIGITS]
    at = now
    if asked.page_token:
        id, at = _pinned(asked.page_token, digest, now)
        after = collection.document(id).get([*having, *orders], read_time=at)
        if not after.exists or any(after.get(field) != value for field, value in having.items()):
            raise Invalid.field("page_token", _NONE_OF_THIS)
        query = query.start_after(after)
    shown: list[Snapshot] = []
    last: Any = None
    most, looked_at, room = asked.page_size + 1, 0, PAGE_BYTES
    while looked_at < MAX_LOOKED_AT:
        found = 0
        for snapshot in query.limit(most).stream(read_time=at):
            found += 1
            kept = keep(snapshot)
            room -= _bytes_of(snapshot) if kept else 0
            if len(shown) == asked.page_size or (shown and room < 0):
                return shown, _pinned_token(last, at, digest)
            last = snapshot
            if kept:
                shown.append(snapshot)
        if found < most:
            return shown, None
        looked_at += found
        query, most = query.start_after(last), MAX_PAGE + 1
    return shown, _pinned_token(last, at, digest)


def _bytes_of(snapshot: Snapshot) -> int:
    """About how many bytes a document has. `to_dict` would copy all of it, which takes longer than reading
    it."""
    return _size_of(snapshot._data)


def _size_of(value: Any) -> int:
    """About how many bytes a document has, without the names of its fields."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size_of, value.values()))
    return sum(map(_size_of, value)) if isinstance(value, list) else 8


def _pinned_token(last: Snapshot, at: datetime, digest: str) -> str:
    return token_of(f"{last.id}@{(at - _EPOCH) // _MICROSECOND}@{digest}")


def _pinned(token: str, digest: str, now: datetime) -> tuple[str, datetime]:
    """The document after which a page begins, and as of when it is read."""
    pinned = _PINNED.fullmatch(text_of(token))
    if pinned is None:
        raise Invalid.field("page_token", NONE_OF_OURS)
    if pinned[3] != digest:
        raise Invalid.field("page_token", OTHER_FILTERS)
    at = _EPOCH + int(pinned[2]) * _MICROSECOND
    if not now - LIST_LIFE <= at <= now:
        minutes = LIST_LIFE // timedelta(minutes=1)
        raise Invalid.field(
            "page_token",
            f"is of a list that was begun more than {minutes} minutes ago: begin again without it",
        )
    return _id(pinned[1]), at


def token_of(text: str) -> str:
    """A token that holds a text."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def text_of(token: str) -> str:
    """The text that a token holds; Invalid where it is none of ours."""
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid.field("page_token", NONE_OF_OURS) from error


def _id(text: str) -> str:
    if not ids.NAMED.fullmatch(text):
        raise Invalid.field("page_token", NONE_OF_OURS)
    return text
