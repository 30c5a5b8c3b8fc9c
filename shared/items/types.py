"""Item types: what a customer says of the items of one type, `item_types/<id>`. A type needs no definition.

A type's name is matched without regard to case, as SQL does: `Technician` and `technician` are one type.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson
from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from pydantic import BaseModel, ConfigDict, Field

from shared import audit_trail
from shared.accounts import limits
from shared.accounts.limits import ITEM_TYPES
from shared.errors import Invalid
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.unreadable import readable

MAX_NAME = 100
"""How many characters a type's name may have."""

MAX_FIELDS = 200
"""How many fields a definition may name."""

SOURCES = {
    "workorder": "work-orders-timeline",
    "input": "inputs",
    "conformity": "conformity-results",
}
"""The types that are not imported, by their folded names, and the sources of exports that they are."""

FieldType = Literal["text", "integer", "number", "boolean", "moment", "object", "array"]
"""What a field's values are. A moment is a text of ISO 8601."""

MAX_DEFINITION_BYTES = 256 * 1024
"""How long a definition may be, as JSON: it is stored in one document, which holds 1 MiB."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


class Definition(BaseModel):
    """What the items of a type are."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The field whose value tells two items apart; without it `id`, else `objectId`.",
    )
    required: tuple[str, ...] = Field(
        default=(), max_length=MAX_FIELDS, description="The fields that every item must have."
    )
    types: dict[str, FieldType] = Field(
        default_factory=dict, max_length=MAX_FIELDS, description="The type of each field that must have one."
    )


@dataclass(frozen=True)
class ItemType:
    """A type as it stands: its name as it was first written, and its definition, if it has one."""

    name: str
    key: str | None = None
    required: tuple[str, ...] = ()
    types: Mapping[str, FieldType] = field(default_factory=dict)


def folded(name: str) -> str:
    """The form of a name by which types are told apart."""
    return name.casefold()


def check_name(name: str) -> str:
    """A type's name; Invalid where it cannot be one."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise Invalid.field(
            "itemType",
            f"must begin with a letter and hold letters, digits, '_', '-' and '.' only, at most {MAX_NAME}; "
            f"got {name[:MAX_NAME]!r}",
        )
    return name


def check_importable(name: str) -> str:
    """The name of a type whose items are imported; Invalid where it cannot be one."""
    if folded(check_name(name)) in SOURCES:
        raise Invalid.field(
            "itemType", f"{name} cannot be imported: those come with batches; choose another name"
        )
    return name


def get(cloud: Cloud, customer: str, name: str) -> ItemType | None:
    """A customer's type of that name, or None where it was neither defined nor imported."""
    snapshot = cloud.db.document(_path(customer, name)).get()
    return from_snapshot(snapshot) if snapshot.exists else None


def all_of(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's types."""
    return cloud.db.collection("item_types").where(filter=FieldFilter("customer", "==", customer))


def check_room(cloud: Cloud, customer: str, name: str) -> ItemType | None:
    """The type of that name, where there is one already; Conflict where it would be one too many."""
    known = get(cloud, customer, name)
    if known is None:
        ITEM_TYPES.check(limits.value(cloud.db, customer, ITEM_TYPES), all_of(cloud, customer))
    return known


def of_customer(cloud: Cloud, customer: str, up_to: int) -> list[ItemType]:
    """A customer's types by name, at most so many."""
    found = readable(cloud.db, all_of(cloud, customer).limit(up_to).stream(), from_snapshot)
    return sorted(found, key=lambda each: folded(each.name))


def put(cloud: Cloud, customer: str, name: str, definition: Definition) -> ItemType:
    """Define a type, in place of what was said of it before. Items that are there stay as they are. Invalid
    where the name or the definition is not allowed, Conflict where there may be no further type."""
    check_importable(name)
    if len(definition.model_dump_json().encode()) > MAX_DEFINITION_BYTES:
        raise Invalid.field(
            "types", f"has too long names: a definition has at most {MAX_DEFINITION_BYTES} bytes"
        )
    known = check_room(cloud, customer, name)
    made = ItemType(known.name if known else name, **definition.model_dump())
    batch = cloud.db.batch()
    batch.set(cloud.db.document(_path(customer, name)), _document(customer, made))
    audit_trail.note(cloud.db, batch, customer, f"item_types/{made.name}")
    batch.commit()
    return made


def know(cloud: Cloud, customer: str, name: str) -> None:
    """Have a type there, also without a definition: then it is a table of queries."""
    if get(cloud, customer, name) is None:
        with contextlib.suppress(AlreadyExists):  # its customer may define it at this moment
            cloud.db.document(_path(customer, name)).create(_document(customer, ItemType(name)))


def _document(customer: str, made: ItemType) -> dict[str, Any]:
    return {
        "customer": customer,
        "name": made.name,
        "key": made.key,
        "required": list(made.required),
        # As JSON: a map in Firestore cannot have every name.
        # https://cloud.google.com/firestore/quotas#limits
        "types": orjson.dumps(dict(made.types)),
        "updated": firestore.SERVER_TIMESTAMP,
    }


def _path(customer: str, name: str) -> str:
    return "item_types/" + hashlib.sha256(f"{customer}\0{folded(name)}".encode()).hexdigest()[:32]


def from_snapshot(snapshot: Snapshot) -> ItemType:
    """The type that a snapshot holds; it must exist."""
    fields = fields_of(snapshot)
    return ItemType(fields["name"], fields["key"], tuple(fields["required"]), orjson.loads(fields["types"]))


def is_moment(value: str) -> bool:
    """Whether a text is a moment of ISO 8601, as `2014-02-01T05:00:00+0000`."""
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
