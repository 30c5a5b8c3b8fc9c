"""Pages of a list, newest first: an opaque token says after which document the next one starts."""

import base64
import binascii
import re
from typing import Annotated, Any

from google.cloud import firestore
from pydantic import BaseModel, BeforeValidator, Field

from shared.errors import Invalid

DEFAULT_PAGE = 50
"""How many entries a page has unless the request says otherwise (docs/contracts/exports.md)."""

MAX_PAGE = 500
"""How many entries a page may have."""

_NUMBER = re.compile(r"[0-9]{1,9}")
# A number of thousands of digits is none that Python would read.

_DOCUMENT_ID = re.compile(r"[0-9a-f-]{1,64}")
"""What the ids of listed documents are made of."""


def _size(value: Any) -> int:
    if not _NUMBER.fullmatch(str(value)) or not 1 <= int(value) <= MAX_PAGE:
        raise ValueError(f"must be a number from 1 to {MAX_PAGE}; got {str(value)[:20]!r}")
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
        after = collection.document(_id(asked.page_token)).get()
        if not after.exists or after.get("customer") != customer:
            raise Invalid.field("page_token", "is none of this list: begin again without it")
        query = query.start_after(after)
    found = list(query.limit(asked.page_size + 1).stream())
    more = len(found) > asked.page_size
    found = found[: asked.page_size]
    return found, _token(found[-1].id) if more else None


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
