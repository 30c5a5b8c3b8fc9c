"""Withdraws many links with one write: what is withdrawn stands on the document that the links are about.

That is the first document of the path of a mail or of a link's owner, such as `exports/<id>`. Whoever reads a
link looks there, too. So however many links there are, and wherever the process dies, all of them are
withdrawn or none. `FIELD` of that document has:

all         every link is withdrawn, also one that is still to be sent
before      every link is withdrawn that was made by then
recipients  only these recipients have links, by `key`: those that were made after the time
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.cloud import firestore

from shared.addresses import folded

FIELD = "withdrawn"
"""The field of the document that links are about."""

KEY_DIGITS = 32
"""How many hex digits stand for a recipient: 128 bits, since who gives addresses chooses them."""

_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


def root(path: str) -> str:
    """The path of the document that a mail or a link's owner is about: `exports/<id>` of a run's mail."""
    return "/".join(path.split("/")[:2])


def all_links() -> dict[str, Any]:
    """What is written where every link is withdrawn for good."""
    return {f"{FIELD}.all": True}


def until_now() -> dict[str, Any]:
    """What is written where every link that there is now is withdrawn."""
    return {f"{FIELD}.before": firestore.SERVER_TIMESTAMP}


def changed(fields: Mapping[str, Any], old: Iterable[str], new: Iterable[str]) -> dict[str, Any]:
    """What is written where the recipients become others: the links of those that are removed are withdrawn,
    and stay so if they come back. `fields` are those of the document. Empty where they stay the same."""
    before, after = set(map(key, old)), set(map(key, new))
    if before == after:
        return {}
    known = _recipients(fields) or dict.fromkeys(before, _ALWAYS)
    return {f"{FIELD}.recipients": {each: known.get(each, firestore.SERVER_TIMESTAMP) for each in after}}


def of_one(fields: Mapping[str, Any], recipients: Iterable[str], recipient: str) -> dict[str, Any]:
    """What is written where the links of one recipient are withdrawn that there are now. One that is not
    among the `recipients`, whom files are mailed to, has none from then on."""
    known = {key(each): _ALWAYS for each in recipients} | (_recipients(fields) or {})
    if key(recipient) in known:
        known |= {key(recipient): firestore.SERVER_TIMESTAMP}
    return {f"{FIELD}.recipients": known}


def is_withdrawn(fields: Mapping[str, Any], recipient: str, made: datetime | None = None) -> bool:
    """Whether a link of a recipient is withdrawn by the fields of the document that it is about; `made` when,
    None for a link that is still to be made. A link without a recipient is whoever's that may read it."""
    marks: Mapping[str, Any] = fields.get(FIELD) or {}
    if marks.get("all") or _by(marks.get("before"), made):
        return True
    recipients = _recipients(fields)
    if recipients is None or not recipient:
        return False
    return key(recipient) not in recipients or _by(recipients[key(recipient)], made)


def key(recipient: str) -> str:
    """What stands for a recipient: no field has to be named by an address."""
    return hashlib.sha256(folded(recipient).encode()).hexdigest()[:KEY_DIGITS]


def _recipients(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    recipients: dict[str, Any] | None = (fields.get(FIELD) or {}).get("recipients")
    return recipients


def _by(mark: datetime | None, made: datetime | None) -> bool:
    return mark is not None and made is not None and made <= mark
