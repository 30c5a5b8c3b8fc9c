"""What an imported record does to an item: pure functions of values.

A record is the item itself, or an envelope around it, `{"headers": {"action": …}, "data": {…}}`.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared import exact
from shared.items.types import FieldType, ItemType, folded, is_moment

OVERRIDE, CREATE, MERGE, UPDATE, DELETE = "Override", "Create", "Merge", "Update", "Delete"
ACTIONS = (CREATE, MERGE, UPDATE, DELETE)
"""What an envelope may ask for."""

KEYS = ("id", "objectId")
"""The fields that tell items apart where their type's definition names none."""

WANTED: Mapping[FieldType, str] = {
    "text": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "moment": "a date of ISO 8601, such as 2026-03-31 or 2026-03-31T05:00:00+0000",
    "object": "an object",
    "array": "an array",
}
"""What a field's value must be, as an error says it."""

_INFINITE = (math.inf, -math.inf)
"""What Python makes of a number beyond the range of a double, such as 1e999."""

MAX_KEY = 500
"""How many characters a key may have."""

Record = dict[str, Any]


class Unusable(Exception):
    """A record cannot be imported: why, and what to do, in a sentence."""


@dataclass(frozen=True)
class Change:
    """What one record asks for: what is done to the item of that key."""

    action: str
    key: str
    data: Record

    @property
    def needs_item(self) -> bool:
        """Whether what comes of it depends on the item as it is."""
        return self.action != OVERRIDE


def parse(record: Record, of: ItemType, *, merge: bool) -> Change:
    """What a record asks for. Unusable where it is not an item of that type."""
    action, data = _opened(record, of, merge)
    if action != DELETE:
        data = {name: _value(name, value, of.types.get(name)) for name, value in data.items()}
        if action != MERGE:
            _check_required(data, of)
    return Change(action, _key(data, of), data)


def applied(change: Change, before: Record | None, of: ItemType) -> Record | None:
    """The item of that type after a change, None where it is deleted. Unusable where the change cannot be
    made."""
    if change.action == CREATE and before is not None:
        raise Unusable(f"There is an item {change.key} already: use Update or Merge.")
    if change.action == UPDATE and before is None:
        raise Unusable(f"There is no item {change.key}: use Create.")
    if change.action == DELETE:
        if before is None:
            raise Unusable(f"There is no item {change.key} to delete.")
        return None
    if change.action == MERGE:
        after = merged(before or {}, change.data)
        _check_required(after, of)
        return after
    return change.data


def merged(before: Record, data: Mapping[str, Any]) -> Record:
    """An object with another merged into it, deeply: null removes a field, and what is no object replaces.
    https://www.rfc-editor.org/rfc/rfc7396"""
    after = dict(before)
    for name, value in data.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            known = after.get(name)
            after[name] = merged(known if isinstance(known, dict) else {}, value)
        else:
            after[name] = value
    return after


def _check_required(data: Record, of: ItemType) -> None:
    for name in of.required:
        if data.get(name) in (None, ""):
            raise Unusable(f"The field {name} is required: give it a value.")


def _opened(record: Record, of: ItemType, merge: bool) -> tuple[str, Record]:
    headers, data = record.get("headers"), record.get("data")
    if not (record.keys() == {"headers", "data"} and isinstance(headers, dict)):
        return MERGE if merge else OVERRIDE, record
    if not isinstance(data, dict):
        raise Unusable("The data of an envelope must be an object.")
    if headers.get("category", "entity") != "entity":
        raise Unusable("Only envelopes of the category entity are imported.")
    type = headers.get("type", of.name)
    if not isinstance(type, str) or folded(type) != folded(of.name):
        raise Unusable(f"The envelope is of another type than the job, which imports {of.name}.")
    asked = headers.get("action")
    if asked is None:
        return MERGE if merge else OVERRIDE, data
    for action in ACTIONS:
        if isinstance(asked, str) and asked.casefold() == action.casefold():
            return action, data
    raise Unusable(f"The action must be one of {', '.join(ACTIONS)}.")


def _key(data: Record, of: ItemType) -> str:
    for name in [of.key] if of.key else KEYS:
        value = data.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise Unusable(f"The field {name} tells items apart: it must be a text or an integer.")
        key = str(value)
        if len(key) > MAX_KEY:
            raise Unusable(f"The field {name} may have at most {MAX_KEY} characters.")
        return key
    if of.key:
        raise Unusable(f"The field {of.key} tells items apart: give it a value.")
    return "#" + hashlib.sha256(exact.dumps(data)).hexdigest()


def _value(name: str, value: Any, type: FieldType | None) -> Any:
    """A field's value, as its type. Text as CSV has it becomes what the type says."""
    if type is None or value is None:
        return value
    if isinstance(value, str) and type not in ("text", "moment"):
        if not value.strip():
            return None
        value = _from_text(value.strip(), type)
    fits = {
        "text": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool) and value not in _INFINITE,
        "boolean": isinstance(value, bool),
        "moment": isinstance(value, str) and (not value or is_moment(value)),
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
    }
    if not fits[type]:
        raise Unusable(f"The field {name} must be {WANTED[type]}.")
    return value


def _from_text(text: str, type: str) -> Any:
    if type == "boolean":
        text = text.casefold()
    try:
        return exact.parse(text.encode(), any_integer=True)
    except ValueError:
        return text
