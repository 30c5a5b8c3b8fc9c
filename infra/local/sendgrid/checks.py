"""What is wrong with a request to send mail, as SendGrid checks it before it accepts anything.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors; fields are named as there, the
sentences are ours.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

RECIPIENTS = 1_000
"""The most recipients of a request, `to`, `cc` and `bcc` of all personalizations together.
https://www.twilio.com/docs/sendgrid/api-reference/mail-send#limitations"""

CUSTOM_ARGS_BYTES = 10_000
"""What the custom arguments of a personalization, with the request's own, must stay below; the same page."""

RESERVED_HEADERS = frozenset(
    {
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    }
)
"""Headers that nobody sets by `headers`; the page of errors."""

CONTENT_TYPES = ("text/plain", "text/html")
"""The kinds of content that are built, in the order in which they must come."""

# The plain form of an address, which is also what Python's email package takes apart without surprises.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")
_HEADER = re.compile(r"[!-9;-~]+")

_REQUEST = {
    *("personalizations", "from", "reply_to", "subject", "content", "headers", "custom_args"),
    "tracking_settings",
}
_PERSONALIZATION = {"to", "cc", "bcc", "subject", "headers", "custom_args"}


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong; `field` is its path, such as `personalizations.0.to.0.email`."""

    message: str
    field: str


def not_built(sent: dict[str, Any]) -> list[str]:
    """The fields that production knows and the suite does not, or that nobody knows."""
    named = [field for field in sent if field not in _REQUEST]
    for number, each in _numbered(sent, "personalizations"):
        named += [f"personalizations.{number}.{field}" for field in each if field not in _PERSONALIZATION]
    for _, each in _numbered(sent, "content"):
        kind = each.get("type")
        if isinstance(kind, str) and kind and not _has_break(kind, ";") and kind not in CONTENT_TYPES:
            named.append(f"content of type {kind}")
    return named


def wrong(sent: dict[str, Any]) -> list[Wrong]:
    """Everything that is wrong with a request, in its order; nothing where it is accepted."""
    return [
        *_from(sent),
        *_personalizations(sent),
        *_subjects(sent),
        *_content(sent),
        *_headers(sent.get("headers"), "headers"),
        *_custom_args(sent),
    ]


def addresses(personalization: dict[str, Any], *fields: str) -> list[str]:
    """The addresses that stand in these fields of a personalization, those that are texts."""
    return [
        each["email"]
        for field in fields
        for _, each in _numbered(personalization, field)
        if isinstance(each.get("email"), str)
    ]


def _from(sent: dict[str, Any]) -> Iterator[Wrong]:
    if not isinstance(sent.get("from"), dict):
        yield Wrong("The from object is missing: each mail needs one, with an email.", "from")
    else:
        yield from _mailbox(sent["from"], "from")
    if "reply_to" in sent:
        yield from _mailbox(sent["reply_to"], "reply_to")


def _personalizations(sent: dict[str, Any]) -> Iterator[Wrong]:
    given = sent.get("personalizations")
    if not isinstance(given, list) or not given:
        yield Wrong("There must be at least one personalization.", "personalizations")
        return
    if len(given) > RECIPIENTS:
        yield Wrong(f"There are more than {RECIPIENTS} personalizations.", "personalizations")
    total = 0
    for number, each in enumerate(given):
        here = f"personalizations.{number}"
        if not isinstance(each, dict):
            yield Wrong("A personalization is an object.", here)
            continue
        if not isinstance(each.get("to"), list) or not each["to"]:
            yield Wrong("The to array needs at least one object with an email.", f"{here}.to")
        seen: set[str] = set()
        for field in ("to", "cc", "bcc"):
            boxes = each.get(field, [])
            if not isinstance(boxes, list):
                yield Wrong(f"{field} is an array of objects.", f"{here}.{field}")
                continue
            total += len(boxes)
            for place, box in enumerate(boxes):
                yield from _mailbox(box, f"{here}.{field}.{place}")
            for address in addresses(each, field):
                # Case makes no difference: https://github.com/sendgrid/sendgrid-ruby/issues/461
                if address.lower() in seen:
                    yield Wrong(f"[{address}] is more than once among to, cc and bcc.", here)
                seen.add(address.lower())
        yield from _headers(each.get("headers"), f"{here}.headers")
    if total > RECIPIENTS:
        yield Wrong(f"There are more than {RECIPIENTS} recipients (to + cc + bcc).", "personalizations")


def _mailbox(box: Any, field: str) -> Iterator[Wrong]:
    email = box.get("email") if isinstance(box, dict) else None
    if not isinstance(email, str) or not _ADDRESS.fullmatch(email):
        yield Wrong("Does not contain a valid address.", f"{field}.email")
    name = box.get("name") if isinstance(box, dict) else None
    if name is not None and (not isinstance(name, str) or _has_break(name)):
        yield Wrong("A name is a text without CR or LF.", f"{field}.name")


def _subjects(sent: dict[str, Any]) -> Iterator[Wrong]:
    each_has = bool(sent.get("personalizations"))
    if "subject" in sent:
        yield from _subject(sent["subject"], "subject")
    for number, each in _numbered(sent, "personalizations"):
        each_has = each_has and "subject" in each
        if "subject" in each:
            yield from _subject(each["subject"], f"personalizations.{number}.subject")
    if "subject" not in sent and not each_has:
        yield Wrong("The subject is missing, here or in each personalization.", "subject")


def _subject(subject: Any, field: str) -> Iterator[Wrong]:
    if not isinstance(subject, str) or not subject:
        yield Wrong("A subject is a text of at least one character.", field)
    elif _has_break(subject):
        yield Wrong("A subject holds no CR or LF.", field)


def _content(sent: dict[str, Any]) -> Iterator[Wrong]:
    given = sent.get("content")
    if not isinstance(given, list) or not given:
        yield Wrong("There must be at least one content.", "content")
        return
    kinds = []
    for number, each in enumerate(given):
        kind = each.get("type") if isinstance(each, dict) else None
        value = each.get("value") if isinstance(each, dict) else None
        if not isinstance(kind, str) or not kind or _has_break(kind, ";"):
            yield Wrong("A type is a text without ';', CR or LF.", f"content.{number}.type")
        kinds.append(kind)
        if not isinstance(value, str) or not value:
            yield Wrong("A value is a text of at least one character.", f"content.{number}.value")
    ours = [CONTENT_TYPES.index(kind) for kind in kinds if kind in CONTENT_TYPES]
    if ours != sorted(set(ours)):
        yield Wrong("text/plain comes first, then text/html, each once.", "content")


def _headers(headers: Any, here: str) -> Iterator[Wrong]:
    if headers is None:
        return
    if not isinstance(headers, dict):
        yield Wrong("Headers are an object of texts.", here)
        return
    if len({name.lower() for name in headers}) < len(headers):
        yield Wrong("A header is there more than once.", here)
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            yield Wrong("A header's name is of ASCII characters without spaces and colons.", here)
        elif name.lower() in RESERVED_HEADERS:
            yield Wrong(f"{name} is reserved.", here)
        elif not isinstance(value, str) or _has_break(value):
            yield Wrong("A header's value is a text without CR or LF.", f"{here}.{name}")


def _custom_args(sent: dict[str, Any]) -> Iterator[Wrong]:
    common = sent.get("custom_args", {})
    places = [(common, "custom_args")]
    for number, each in _numbered(sent, "personalizations"):
        places.append((each.get("custom_args", {}), f"personalizations.{number}.custom_args"))
    for arguments, here in places:
        if not isinstance(arguments, dict) or not all(isinstance(each, str) for each in arguments.values()):
            yield Wrong("Custom arguments are an object of texts.", here)
            return
    for arguments, here in places:
        if (
            sum(len(f"{key}{each}".encode()) for key, each in (common | arguments).items())
            >= CUSTOM_ARGS_BYTES
        ):
            yield Wrong(f"Custom arguments stay below {CUSTOM_ARGS_BYTES} bytes.", here)


def _numbered(holder: dict[str, Any], field: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of an array, with their places; what is none was told elsewhere."""
    given = holder.get(field)
    for number, each in enumerate(given if isinstance(given, list) else []):
        if isinstance(each, dict):
            yield number, each


def _has_break(text: str, also: str = "") -> bool:
    return any(character in text for character in f"\r\n{also}")
