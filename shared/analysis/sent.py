"""Photographs that come with a request: behind a URL, or in the request itself as a `data:` URI."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.accounts.customers import Site
from shared.errors import FieldProblem, Invalid
from shared.net import outbound
from shared.settings import Settings
from shared.workorders import pictures
from shared.workorders.store import Photograph

MAX_PHOTOGRAPHS = 5
"""How many photographs one request may bring."""

PHOTOGRAPH_BYTES = 5_000_000
"""How large each may be, before base64."""

REQUEST_BYTES = 32 * 1024 * 1024
"""How large the request may be: Cloud Run takes no more, and five photographs in base64 just fit.
https://cloud.google.com/run/quotas#request_limits"""

FETCH_SECONDS = 20.0
"""How long it may take to get one photograph from its URL."""

SENTENCES = {
    "EMPTY_FILE": "is empty",
    "NOT_AN_IMAGE": "is no JPEG, PNG, WEBP or HEIC image",
    "DAMAGED_IMAGE": "is a damaged image: its header breaks off, or says nothing that is an image's",
    "TOO_MANY_PIXELS": "has too many pixels: send a smaller one",
}
"""The sentence about a file that is refused."""

_DATA = re.compile(r"data:image/[a-z]+;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Sent:
    """One of a request's inputs: its task group, and where the photograph is, a URL or a `data:` URI."""

    task_group: str
    value: str


def photographs(
    settings: Settings, site: Site, inputs: Sequence[Sent], metadata: Mapping[str, Any]
) -> list[Photograph]:
    """The photographs of a request, each with this metadata.

    Invalid naming every input that is wrong: no task group of the site's, a URL that cannot be had, too many
    bytes, no image that is taken.
    """
    problems = []
    found = []
    for place, each in enumerate(inputs):
        try:
            if each.task_group not in site.task_groups:
                there = ", ".join(site.task_groups)
                raise Invalid.field("name", f"{each.task_group!r} is none of the site's task groups: {there}")
            content = _content(settings, each.value)
            # Named by what it is, so that the same photograph sent again is the same input.
            file_name = f"{each.task_group}.{_extension(content)}"
        except Invalid as wrong:
            problems += [FieldProblem(f"inputs[{place}].{p.field}", p.message) for p in wrong.problems]
            continue
        found.append(Photograph(each.task_group, file_name, content, metadata))
    if problems:
        raise Invalid(problems)
    return found


def _content(settings: Settings, value: str) -> bytes:
    prefix = _DATA.match(value)
    if prefix is None:
        return _fetched(settings, value)
    try:
        content = base64.b64decode(value[prefix.end() :], validate=True)
    except binascii.Error:
        raise _wrong("is not base64 after the comma") from None
    if len(content) > PHOTOGRAPH_BYTES:
        raise _wrong(f"is larger than {PHOTOGRAPH_BYTES} bytes")
    return content


def _fetched(settings: Settings, url: str) -> bytes:
    try:
        answer = outbound.call(
            "GET",
            url,
            allowed=settings.private_addresses,
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
    refusal = pictures.refusal(content)
    if refusal is None:
        return pictures.extension(content)  # clients say jpg of all of them
    raise _wrong(f"{SENTENCES[refusal.code]}. {refusal.detail}".removesuffix(". "))


def _wrong(sentence: str) -> Invalid:
    return Invalid.field("data.value", sentence)
