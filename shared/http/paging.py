"""Pages of a list, newest first: an opaque token says after which document the next one starts."""

import base64
import binascii
import re
from typing import Any

import flask
from google.cloud import firestore

from shared.errors import Invalid

PAGE = 50
"""How many entries a page has unless asked otherwise: the audit shows the last 50 runs
(docs/contracts/exports.md)."""

PAGE_MOST = 500

_NUMBER = re.compile(r"[0-9]{1,9}")
# A number of thousands of digits is none that Python would read.

_DOCUMENT_ID = re.compile(r"[0-9a-f-]{1,64}")
"""What the ids of listed documents are made of."""


def page(
    request: flask.Request, query: Any, collection: firestore.CollectionReference, customer: str
) -> tuple[list[Any], str | None]:
    """One page of an ordered query over a customer's documents: their snapshots, and the next page's token.

    Read from the query string: `page_size` (1 to 500), `page_token`. Invalid where they are not.
    """
    size = _size(request)
    token = request.args.get("page_token")
    if token:
        after = collection.document(_id(token)).get()
        if not after.exists or after.get("customer") != customer:
            raise Invalid.field("page_token", "is none of this list: begin again without it")
        query = query.start_after(after)
    found = list(query.limit(size + 1).stream())
    more = len(found) > size
    found = found[:size]
    return found, _token(found[-1].id) if more else None


def _size(request: flask.Request) -> int:
    asked = request.args.get("page_size", str(PAGE))
    if not _NUMBER.fullmatch(asked) or not 1 <= int(asked) <= PAGE_MOST:
        raise Invalid.field("page_size", f"must be a number from 1 to {PAGE_MOST}; got {asked[:20]!r}")
    return int(asked)


def _token(id: str) -> str:
    return base64.urlsafe_b64encode(id.encode()).decode().rstrip("=")


def _id(token: str) -> str:
    try:
        id = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid.field("page_token", "is none of ours: begin again without it") from error
    if not _DOCUMENT_ID.fullmatch(id):
        raise Invalid.field("page_token", "is none of ours: begin again without it")
    return id
