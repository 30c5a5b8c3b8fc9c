"""Inputs that come with a request: photographs, behind a URL or in the request itself as a `data:` URI;
texts, and numbers."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from google.cloud import firestore

from shared import exact
from shared.accounts.customers import Site
from shared.accounts.networks import networks_of
from shared.cutting import shown
from shared.errors import FieldProblem, Invalid
from shared.gcp.urls import bucket_in
from shared.net import outbound
from shared.settings import Settings
from shared.workorders import pictures
from shared.workorders.headers import read_header
from shared.workorders.store import VALUE, Photograph, PlainInput

MAX_INPUTS = 5
"""How many inputs one request may bring."""

MAX_TEXT = 10_000
"""How many characters a text may have."""

PHOTOGRAPH_BYTES = 5_000_000
"""How large each may be, before base64."""

REQUEST_BYTES = 32 * 1024 * 1024
"""How large the request may be: Cloud Run takes no more, and five photographs in base64 just fit.
https://cloud.google.com/run/quotas#request_limits"""

FETCH_SECONDS = 20.0
"""How long it may take to get one photograph from its URL."""

METADATA_BYTES = 256 * 1024
"""How large the metadata of a request's inputs may be, as JSON: each of them gets a copy."""

Type = Literal["image", "text", "number"]
"""What an input is."""

SENTENCES = {
    "EMPTY_FILE": "is empty",
    "NOT_AN_IMAGE": "is no JPEG, PNG, WEBP or HEIC image",
    "DAMAGED_IMAGE": "is a damaged image: its header breaks off, or says nothing that is an image's",
    "TOO_MANY_PIXELS": "has too many pixels: send a smaller one",
}
"""The sentence about a file that is refused."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# https://www.rfc-editor.org/rfc/rfc8259#section-6

_DATA = re.compile(r"data:image/[a-z]+;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Sent:
    """One of a request's inputs: its task group, its type, and its value: of a photograph where it is, a URL
    or a `data:` URI; of a number also its digits as text."""

    task_group: str
    type: Type
    value: str | int | float


def inputs_of(
    db: firestore.Client, site: Site, inputs: Sequence[Sent], metadata: Mapping[str, Any]
) -> list[Photograph | PlainInput]:
    """The inputs of a request, each with this metadata.

    Invalid naming every input that is wrong: no task group of the site's, a URL that cannot be had, too many
    bytes, no image that is taken, no number that can be kept. `value` is not free in the metadata of texts
    and numbers.
    """
    problems = []
    found: list[Photograph | PlainInput] = []
    if len(orjson.dumps(metadata)) > METADATA_BYTES:
        raise Invalid.field("metadata", f"may have {METADATA_BYTES:,} bytes: each of the inputs gets a copy")
    if VALUE in metadata and any(each.type != "image" for each in inputs):
        taken = "is where the value of a text or a number stands: give it another name"
        problems.append(FieldProblem(f"metadata.{VALUE}", taken))
    for place, each in enumerate(inputs):
        try:
            if each.task_group not in site.task_groups:
                there = ", ".join(site.task_groups)
                raise Invalid.field(
                    "name", f"{shown(each.task_group)} is none of the site's task groups: {there}"
                )
            if each.type != "image":
                value = _text(each.value) if each.type == "text" else _number(each.value)
                found.append(PlainInput(each.task_group, value, metadata))
                continue
            if not isinstance(each.value, str):
                raise _wrong("must be a text: a URL, or a data: URI")
            content = _content(db, site, each.value)
            # Named by what it is, so that the same photograph sent again is the same input.
            file_name = f"{each.task_group}.{_extension(content)}"
        except Invalid as wrong:
            problems += [FieldProblem(f"inputs[{place}].{p.field}", p.message) for p in wrong.problems]
            continue
        found.append(Photograph(each.task_group, file_name, content, metadata))
    if problems:
        raise Invalid(problems)
    return found


def _text(value: str | int | float) -> str:
    if not isinstance(value, str):
        raise _wrong("must be a text")
    if len(value) > MAX_TEXT:
        raise _wrong(f"may have {MAX_TEXT:,} characters")
    return value


def _number(value: str | int | float) -> int | float:
    """A number; the command line of the original service sends its digits as text."""
    if not isinstance(value, str):
        return value
    try:
        number = exact.parse(value.encode()) if _NUMBER.fullmatch(value) else None
    except exact.NotExact:
        raise _wrong("cannot be stored exactly as a number: send it with the type text") from None
    if number is None:
        raise _wrong(f"must be a number, such as 12.5; got {shown(value)}")
    plain: int | float = number
    return plain


def _content(db: firestore.Client, site: Site, value: str) -> bytes:
    prefix = _DATA.match(value)
    if prefix is None:
        return _fetched(db, site, value)
    try:
        content = base64.b64decode(value[prefix.end() :], validate=True)
    except binascii.Error:
        raise _wrong("is not base64 after the comma") from None
    if len(content) > PHOTOGRAPH_BYTES:
        raise _wrong(f"is larger than {PHOTOGRAPH_BYTES} bytes")
    return content


def _fetched(db: firestore.Client, site: Site, url: str) -> bytes:
    if (bucket := bucket_in(url)) and bucket in Settings(project=db.project).own_buckets:
        raise _wrong(
            f"is in {bucket}, a bucket of Waybill's own: give a URL of yours, or send the photograph"
        )
    try:
        answer = outbound.call(
            "GET",
            url,
            allowed=networks_of(db, site.customer),
            seconds=FETCH_SECONDS,
            bytes_most=PHOTOGRAPH_BYTES,
        )
    except outbound.TooMuch:
        raise _wrong(f"is larger than {PHOTOGRAPH_BYTES} bytes") from None
    except (outbound.Blocked, outbound.Failed) as failed:
        raise _wrong(f"could not be fetched. {failed}") from None
    if answer.status != 200:
        raise _wrong(f"could not be fetched: it was answered {answer.status}, and redirects are not followed")
    return answer.content


def _extension(content: bytes) -> str:
    refusal = pictures.refusal(content, read_header(content))
    if refusal is None:
        return pictures.extension(content)  # clients say jpg of all of them
    raise _wrong(f"{SENTENCES[refusal.code]}. {refusal.detail}".removesuffix(". "))


def _wrong(sentence: str) -> Invalid:
    return Invalid.field("data.value", sentence)
