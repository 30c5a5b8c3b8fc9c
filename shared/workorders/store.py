"""The use cases that create, change, correct and delete a work order, and add its inputs.

Each write stamps `update_date` with the server's time, by which exports find the work order. The commit can
come later than its stamp; exports look back a margin, and a commit later than half of it is stamped again.
"""

import contextlib
import hashlib
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from google.api_core.exceptions import AlreadyExists, FailedPrecondition
from google.cloud import firestore

from shared import audit_trail
from shared.accounts.customers import Site
from shared.cutting import shown
from shared.errors import Busy, Conflict, Invalid, NotFound, Refused
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, plain, read_time
from shared.patches import merged
from shared.workorders import envelope, images, removed, stored
from shared.workorders.envelope import METADATA_BYTES
from shared.workorders.headers import read_header
from shared.workorders.record import (
    SCHEMA,
    DataConformity,
    Input,
    JobConformity,
    WorkOrder,
    decode,
    encode,
    iso,
)
from shared.workorders.stored import Correction, StoredInput, StoredWorkOrder

MARGIN = timedelta(minutes=2)
"""How much later than its stamp a commit may come and still be found by an export of its window."""

COMMIT_ORDERS = 20
COMMIT_BYTES = 4 * 1024 * 1024
"""How many work orders, and about how many bytes of them, one commit takes; its request may hold 10 MiB.
https://cloud.google.com/firestore/quotas#writes_and_transactions"""

COMMITS_AT_ONCE = 3
"""How many of these commits are under way at once."""

WRITE_ATTEMPTS = 10
"""How often a change that met another, or a commit that came late, is tried again."""

NAMESPACE = uuid.UUID("6f4a3a0e-3f0a-4c55-9d8e-0b6a2f5b7c11")
"""The namespace of the ids that are derived from names and contents (UUIDv5)."""

CONTENT_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
}
"""The images we take, by the extension that they keep."""


@dataclass(frozen=True)
class Photograph:
    """A photograph to be stored: its task group, what it is called where it came from, what is in it, and
    what an analysis already says of it."""

    task_group: str
    file_name: str
    content: bytes
    metadata: Mapping[str, Any] = field(default_factory=dict)
    data_conformity: tuple[DataConformity, ...] = ()
    job_conformity: tuple[JobConformity, ...] = ()


VALUE = "value"
"""The name in the metadata of an input without an image that its text or number has."""


@dataclass(frozen=True)
class PlainInput:
    """An input without an image: its task group, and the text or number that it is."""

    task_group: str
    value: str | int | float
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """A work order as its document holds it; the times are Firestore's."""

    stored: StoredWorkOrder
    created: datetime
    updated: datetime
    read: datetime
    version: datetime
    """`updated` as the client gave it, which alone it takes as a precondition."""


def work_order_id(site: str, name: str) -> str:
    """The id of a site's work order of that name: the same name is the same work order."""
    return str(uuid.uuid5(NAMESPACE, f"work order\n{site}\n{name}"))


def input_id(work_order: str, file_name: str, content: bytes) -> str:
    """The id of a photograph: the same file of the same work order is the same input."""
    digest = hashlib.sha256(content).hexdigest()
    return str(uuid.uuid5(uuid.UUID(work_order), f"{file_name}\n{digest}"))


def create(
    cloud: Cloud,
    site: Site,
    name: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    photographs: Sequence[Photograph] = (),
) -> WorkOrder:
    """Make a work order with its photographs, which are stored first.

    Conflict where the site has one of that name; one that was deleted comes back new. Invalid where a
    photograph's task group or extension is not admissible, or it does not fit into a document; Retry while
    the images of one that was deleted are being removed.
    """
    id = work_order_id(site.id, name)
    taken = _stored(cloud, site, id, photographs)
    new = stored.change(
        site, stored.new(site, id, name), metadata=metadata, tags=tags, parameters=parameters, taken=taken
    )
    reference = cloud.db.document(f"work_orders/{id}")
    tried = False
    for _ in range(WRITE_ATTEMPTS):
        snapshot = _on_time(cloud, reference)
        if snapshot.exists and not snapshot.get("deleted"):
            if tried and _held(cloud, site, snapshot).stored == new:
                return new.work_order  # our own write, whose answer was lost
            raise Conflict(f"the site already has a work order named {shown(name)}: change that one", id)
        if snapshot.exists:
            removed.check_images(cloud, site.customer, site.id, snapshot, new.images)
        tried = True
        try:
            _write(cloud, site, new, snapshot.update_time)
        except (AlreadyExists, FailedPrecondition):
            continue  # somebody was quicker: look again at what there is now
        return new.work_order
    raise _too_busy(id)


Beside = Callable[[StoredWorkOrder, datetime], Mapping[str, Mapping[str, Any]]]
"""Documents that are written in the commit that changes a work order, by their paths. It is given what the
work order becomes, and Firestore's time when that was read."""


def _nothing(_: StoredWorkOrder, __: datetime) -> Mapping[str, Mapping[str, Any]]:
    return {}


def import_many(
    cloud: Cloud,
    site: Site,
    arrivals: Mapping[str, Callable[[StoredWorkOrder], StoredWorkOrder]],
    beside: Beside = _nothing,
) -> dict[str, StoredWorkOrder | Refused]:
    """Put what each arrival makes of the work order of its name in that one's place, a new one where the site
    has none; many with one commit. What is as it was already is not written.

    An arrival may refuse, by raising Refused, as may the room in a document: that is the outcome then, and
    the others are imported all the same. It is called again where others were quicker.
    """
    if not arrivals:
        return {}
    outcomes: dict[str, StoredWorkOrder | Refused] = {}
    references = {
        work_order_id(site.id, name): cloud.db.document(f"work_orders/{work_order_id(site.id, name)}")
        for name in arrivals
    }
    there = {snapshot.id: snapshot for snapshot in cloud.db.get_all(list(references.values()))}
    commits: list[dict[str, _Change]] = [{}]
    room = COMMIT_BYTES
    for name, arrive in arrivals.items():
        snapshot = there[work_order_id(site.id, name)]
        if _late(snapshot):
            outcomes[name] = _take_in_one(cloud, site, name, arrive, beside)
            continue
        try:
            change = _arrived(cloud, site, name, snapshot, arrive, beside)
        except Refused as refused:
            outcomes[name] = refused
            continue
        outcomes[name] = change.after
        if not change.fields:
            continue
        size = change.size
        if commits[-1] and (size > room or len(commits[-1]) == COMMIT_ORDERS):
            commits.append({})
            room = COMMIT_BYTES
        commits[-1][name] = change
        room -= size
    with ThreadPoolExecutor(COMMITS_AT_ONCE) as pool:
        for written in pool.map(partial(_write_all, cloud, site, arrivals, beside), commits):
            outcomes |= written
    return outcomes


@dataclass(frozen=True)
class _Change:
    """What a work order is to be, and the fields to write for it: none where it is that already."""

    after: StoredWorkOrder
    fields: Mapping[str, Any]
    expected: datetime | None
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes its write has."""
        return sum(len(value) for value in self.fields.values() if isinstance(value, bytes | str))


def _arrived(
    cloud: Cloud,
    site: Site,
    name: str,
    snapshot: Snapshot,
    arrive: Callable[[StoredWorkOrder], StoredWorkOrder],
    beside: Beside,
) -> _Change:
    there = snapshot.exists and not snapshot.get("deleted")
    before = _held(cloud, site, snapshot).stored if there else stored.new(site, snapshot.id, name)
    after = arrive(before)
    if there and after == before:
        return _Change(after, {}, None)
    if snapshot.exists and not there:
        removed.check_images(cloud, site.customer, site.id, snapshot, after.images)
    more = beside(after, read_time(snapshot))
    return _Change(after, _fields(cloud, site, after), snapshot.update_time, more)


def _write_all(
    cloud: Cloud,
    site: Site,
    arrivals: Mapping[str, Callable[[StoredWorkOrder], StoredWorkOrder]],
    beside: Beside,
    changes: Mapping[str, _Change],
) -> dict[str, StoredWorkOrder | Refused]:
    """Write these with one commit; where one of them met others, each by itself."""
    if not changes:
        return {}
    batch = cloud.db.batch()
    references = []
    for change in changes.values():
        reference = cloud.db.document(f"work_orders/{change.after.work_order.id}")
        references.append(reference)
        stamped = {**change.fields, "update_date": firestore.SERVER_TIMESTAMP}
        if change.expected is None:
            batch.create(reference, stamped)
        else:
            batch.update(reference, stamped, option=cloud.db.write_option(last_update_time=change.expected))
    for change in changes.values():
        for path, content in change.beside.items():
            batch.set(cloud.db.document(path), dict(content))
    try:
        results: Any = batch.commit()
    except (AlreadyExists, FailedPrecondition):
        return {name: _take_in_one(cloud, site, name, arrivals[name], beside) for name in changes}
    for reference, result in zip(references, results, strict=False):
        _see_to_it(cloud, reference, result)
    return {name: change.after for name, change in changes.items()}


def _take_in_one(
    cloud: Cloud, site: Site, name: str, arrive: Callable[[StoredWorkOrder], StoredWorkOrder], beside: Beside
) -> StoredWorkOrder | Refused:
    reference = cloud.db.document(f"work_orders/{work_order_id(site.id, name)}")
    for _ in range(WRITE_ATTEMPTS):
        try:
            change = _arrived(cloud, site, name, _on_time(cloud, reference), arrive, beside)
            if change.fields:
                _stamped(cloud, site, reference, change.fields, change.expected, change.beside)
        except Refused as refused:
            return refused
        except (AlreadyExists, FailedPrecondition):
            continue  # it changed since it was read: change what it is now
        return change.after
    raise Busy(f"the work order {shown(name)} is being changed by others")


def add_inputs(
    cloud: Cloud,
    site: Site,
    id: str,
    inputs: Sequence[Photograph | PlainInput],
    beside: Beside = _nothing,
) -> WorkOrder:
    """Add inputs to a work order; one that it already has changes nothing. Errors as `create`."""
    removed.check_before(cloud, site.customer, [id])
    taken = _stored(cloud, site, id, inputs)
    return change(
        cloud, site, id, lambda held: stored.change(site, held.stored, taken=taken), beside
    ).work_order


def edit(
    cloud: Cloud,
    site: Site,
    id: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    emptied: Collection[str] = (),
    corrections: Sequence[Correction] = (),
    beside: Beside = _nothing,
) -> StoredWorkOrder:
    """Change a work order, and store a person's corrections beside the values that they correct; their date
    is Firestore's time when the work order was read for it.

    metadata, parameters  merge patches (`patches.merged`): null removes a name
    tags                  what takes the place of its tags
    emptied               which of these three are emptied, before anything is merged into them

    NotFound where the site has no such work order, or it has not the input or the task; else as `change`.
    """

    def patched(name: str, before: Mapping[str, Any], patch: Mapping[str, Any] | None) -> Any:
        if patch is None and name not in emptied:
            return None
        return merged({} if name in emptied else before, patch or {})

    def edited(held: Held) -> StoredWorkOrder:
        before = held.stored
        return stored.change(
            site,
            before,
            metadata=patched("metadata", before.work_order.metadata, metadata),
            tags=() if tags is None and "tags" in emptied else tags,
            parameters=patched("parameters", before.parameters, parameters),
            corrections=corrections,
            at=iso(held.read),
        )

    return change(cloud, site, id, edited, beside)


def delete(
    cloud: Cloud,
    site: Site,
    id: str,
    beside: Callable[[bytes, datetime], Mapping[str, Mapping[str, Any]]] = lambda *_: {},
) -> None:
    """Delete a work order, leaving a tombstone that exports report; `beside` is given the lines of its
    images, and Firestore's time when they were read. NotFound where there is none."""
    reference = cloud.db.document(f"work_orders/{id}")
    tried = False
    for _ in range(WRITE_ATTEMPTS):
        snapshot = _on_time(cloud, reference)
        if tried and snapshot.exists and snapshot.get("deleted"):
            return  # our own write, whose answer was lost, or somebody else's of the same
        _there(site, snapshot)
        tried = True
        try:
            tombstone = {"deleted": True, "encoding": "plain", "record": b""}
            more = beside(snapshot.get("images"), read_time(snapshot))
            _stamped(cloud, site, reference, tombstone, snapshot.update_time, more)
        except FailedPrecondition:
            continue
        return
    raise _too_busy(id)


def get(cloud: Cloud, site: Site, id: str) -> WorkOrder:
    """A work order of the site, or NotFound."""
    return look(cloud, site, id).stored.work_order


def look(cloud: Cloud, site: Site, id: str) -> Held:
    """A work order of the site as it is kept, or NotFound."""
    return _held(cloud, site, cloud.db.document(f"work_orders/{id}").get())


def look_at(cloud: Cloud, site: Site, ids: Sequence[str]) -> dict[str, Held]:
    """Work orders of the site as they are kept, by their ids, read with one call; those that are not there,
    or not to be read, are left out."""
    there: dict[str, Held] = {}
    for snapshot in cloud.db.get_all([cloud.db.document(f"work_orders/{id}") for id in ids]):
        with contextlib.suppress(NotFound, envelope.Oversized):
            there[snapshot.id] = _held(cloud, site, snapshot)
    return there


def change(
    cloud: Cloud, site: Site, id: str, change: Callable[[Held], StoredWorkOrder], beside: Beside = _nothing
) -> StoredWorkOrder:
    """Put what `change` makes of a work order in its place; it is called again where others were quicker.

    NotFound where the site has no such work order, Invalid where it would be larger than one may be: its
    record, its metadata, or what is kept beside them.
    """
    reference = cloud.db.document(f"work_orders/{id}")
    for _ in range(WRITE_ATTEMPTS):
        held = _held(cloud, site, _on_time(cloud, reference))
        after = change(held)
        if after == held.stored:
            return after
        try:
            _write(cloud, site, after, held.version, beside(after, held.read))
        except FailedPrecondition:
            continue  # it changed since it was read: change what it is now
        return after
    raise _too_busy(id)


def _there(site: Site, snapshot: Snapshot) -> dict[str, Any]:
    """The fields of a work order that the site has, or NotFound."""
    fields = fields_of(snapshot) if snapshot.exists else {}
    if fields.get("site_id") != site.id or fields["deleted"]:
        raise NotFound(f"the site {site.id} has no work order {snapshot.id}")
    return fields


def _held(cloud: Cloud, site: Site, snapshot: Snapshot) -> Held:
    fields = _there(site, snapshot)
    record = envelope.unpack(
        fields["encoding"],
        fields["record"],
        lambda name: cloud.objects.read_whole(cloud.settings.records_bucket, name),
    )
    details = envelope.read_details(fields)
    return Held(
        stored=StoredWorkOrder(work_order=decode(record), images=fields["images"], **details),
        created=plain(snapshot.create_time),
        updated=plain(snapshot.update_time),
        read=read_time(snapshot),
        version=snapshot.update_time,
    )


def _stored(
    cloud: Cloud, site: Site, id: str, inputs: Sequence[Photograph | PlainInput]
) -> list[StoredInput]:
    taken = []
    for each in inputs:
        if each.task_group not in site.task_groups:
            known = ", ".join(site.task_groups)
            raise Invalid.field("task_group", f"must be one of {known}; got {shown(each.task_group)}")
        if isinstance(each, PlainInput):
            kind = "text" if isinstance(each.value, str) else "number"
            plain = input_id(id, f"{each.task_group} {kind}", orjson.dumps(each.value))
            metadata = {**each.metadata, VALUE: each.value}
            taken.append(
                StoredInput(each.task_group, Input(plain, file_extension="", metadata=metadata), None)
            )
            continue
        photograph = each
        extension = photograph.file_name.rpartition(".")[2].lower()
        if extension not in CONTENT_TYPES:
            known = ", ".join(CONTENT_TYPES)
            raise Invalid.field("file_name", f"must end in one of {known}; got {shown(photograph.file_name)}")
        new = Input(
            id=input_id(id, photograph.file_name, photograph.content),
            file_extension=extension,
            metadata=photograph.metadata,
            data_conformity=photograph.data_conformity,
            job_conformity=photograph.job_conformity,
        )
        stored = cloud.objects.create(
            cloud.settings.images_bucket,
            images.name_of(site.customer, site.id, new.id, extension),
            photograph.content,
            CONTENT_TYPES[extension],
        )
        taken.append(
            StoredInput(
                photograph.task_group,
                new,
                images.stored(new.id, extension, stored, read_header(photograph.content)),
            )
        )
    return taken


def _write(
    cloud: Cloud,
    site: Site,
    after: StoredWorkOrder,
    expected: datetime | None,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    reference = cloud.db.document(f"work_orders/{after.work_order.id}")
    _stamped(cloud, site, reference, _fields(cloud, site, after), expected, beside)


def _fields(cloud: Cloud, site: Site, after: StoredWorkOrder) -> dict[str, Any]:
    """The fields of its document; a record that is kept as an object is made first. Invalid where it would be
    larger than a work order may be."""
    record = encode(after.work_order)
    if len(record) > METADATA_BYTES and len(orjson.dumps(after.work_order.metadata)) > METADATA_BYTES:
        raise Invalid.field("metadata", f"may have {METADATA_BYTES:,} bytes, merged with what is there")
    details = envelope.details(
        tags=after.tags,
        parameters=after.parameters,
        labels=after.labels,
        checked=after.checked,
        analysis=after.analysis,
        failure=after.failure,
    )
    taken = len(after.images) + envelope.size_of(details)
    packed = envelope.pack(record, site.customer, taken)
    if packed.encoding == "object":
        cloud.objects.create(
            cloud.settings.records_bucket,
            packed.record.decode(),
            packed.content,
            "application/octet-stream",
        )
    return {
        "customer": site.customer,
        "site_id": site.id,
        "name": after.work_order.name,
        "shard": envelope.shard_of(after.work_order.id),
        "schema": SCHEMA,
        "deleted": False,
        "encoding": packed.encoding,
        "record": packed.record,
        "images": after.images,
        **details,
    }


def _stamped(
    cloud: Cloud,
    site: Site,
    reference: firestore.DocumentReference,
    fields: Mapping[str, Any],
    expected: datetime | None,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write `fields` with a stamp, if the document is as it was at `expected` (None: not there yet), with the
    documents `beside` it in one commit, and see to it that the commit is on time."""
    changes = {**fields, "update_date": firestore.SERVER_TIMESTAMP}
    batch = cloud.db.batch()
    if expected is None:
        batch.create(reference, changes)
    else:
        batch.update(reference, changes, option=cloud.db.write_option(last_update_time=expected))
    for path, content in (beside or {}).items():
        batch.set(cloud.db.document(path), dict(content))
    audit_trail.note(cloud.db, batch, site.customer, reference.path)
    result: Any = batch.commit()[0]  # typed as protobuf's classes, though the client gives datetimes
    _see_to_it(cloud, reference, result)


def _see_to_it(cloud: Cloud, reference: firestore.DocumentReference, result: Any) -> None:
    if result.update_time - result.transform_results[0].timestamp_value > MARGIN / 2:
        _on_time(cloud, reference)


def _late(snapshot: Snapshot) -> bool:
    if not snapshot.exists:
        return False
    late: bool = snapshot.update_time - snapshot.get("update_date") > MARGIN / 2
    return late


def _on_time(cloud: Cloud, reference: firestore.DocumentReference) -> Snapshot:
    """The document as it is, stamped again while its commit came more than half the margin after its stamp.

    Whoever writes looks at it through here first: so a late commit whose writer died, or never had its
    answer, is fixed by whoever tries again. TimeoutError where Firestore stays late.
    """
    for _ in range(WRITE_ATTEMPTS):
        snapshot: Snapshot = reference.get()
        if not _late(snapshot):
            return snapshot
        with contextlib.suppress(FailedPrecondition):  # somebody wrote meanwhile: look again
            option = cloud.db.write_option(last_update_time=snapshot.update_time)
            reference.update({"update_date": firestore.SERVER_TIMESTAMP}, option=option)
    raise TimeoutError(f"{reference.path}: Firestore commits it more than {MARGIN / 2} after its timestamp")


def _too_busy(id: str) -> Conflict:
    return Conflict(f"the work order {id} is being changed by others: try again")
