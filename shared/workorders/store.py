"""The use cases that create, change, correct and delete a work order, and add its photographs.

Each write stamps `update_date` with the server's time, by which exports find the work order. The commit can
come later than its stamp; exports look back a margin, and a commit later than half of it is stamped again.
"""

import contextlib
import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from google.api_core.exceptions import AlreadyExists, FailedPrecondition
from google.cloud import firestore

from shared.accounts.customers import Site
from shared.errors import Conflict, Invalid, NotFound
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time
from shared.workorders import envelope, images
from shared.workorders.images import Image
from shared.workorders.record import (
    SCHEMA,
    DataConformity,
    Input,
    JobConformity,
    Value,
    WorkItem,
    WorkOrder,
    decode,
    encode,
    iso,
    progress,
)

MARGIN = timedelta(minutes=2)
"""How much later than its stamp a commit may come and still be found by an export of its window."""

INPUTS_MOST = 5_000
"""How many photographs a work order may have: their lines are kept in its document, which holds 1 MiB."""

WRITE_ATTEMPTS = 10
"""How often a change that met another, or a commit that came late, is tried again."""

NAMESPACE = uuid.UUID("6f4a3a0e-3f0a-4c55-9d8e-0b6a2f5b7c11")
"""The namespace of the ids that are derived from names and contents (UUIDv5)."""

CONTENT_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""The images we take, by the extension that they keep."""


@dataclass(frozen=True)
class Photograph:
    """A photograph to be taken in: its task group, what it is called where it came from, what is in it, and
    what an analysis already says of it."""

    task_group: str
    file_name: str
    content: bytes
    metadata: Mapping[str, Any] = field(default_factory=dict)
    data_conformity: tuple[DataConformity, ...] = ()
    job_conformity: tuple[JobConformity, ...] = ()


@dataclass(frozen=True)
class _Held:
    """A work order as its document holds it, `update_time` and `read_time` being Firestore's."""

    work_order: WorkOrder
    images: bytes
    update_time: datetime
    read_time: datetime


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
    photographs: Sequence[Photograph] = (),
) -> WorkOrder:
    """Make a work order with its photographs, which are stored first.

    Conflict where the site has one of that name; one that was deleted comes back new. Invalid where a
    photograph's task group or extension is not admissible.
    """
    id = work_order_id(site.id, name)
    empty = WorkOrder(id, name, site.id, metadata or {}, None, ())
    work_order, lines = _with_photographs(cloud, site, empty, b"", photographs)
    reference = cloud.db.document(f"work_orders/{id}")
    tried = False
    for _ in range(WRITE_ATTEMPTS):
        snapshot = _on_time(cloud, reference)
        if snapshot.exists and not snapshot.get("deleted"):
            held = _held(cloud, site, snapshot)
            if tried and (held.work_order, held.images) == (work_order, lines):
                return work_order  # our own write, whose answer was lost
            raise Conflict(f"the site already has a work order named {name!r}: change that one")
        tried = True
        try:
            _write(cloud, site, work_order, lines, snapshot.update_time)
        except (AlreadyExists, FailedPrecondition):
            continue  # somebody was quicker: look again at what there is now
        return work_order
    raise _too_busy(id)


def add_photographs(cloud: Cloud, site: Site, id: str, photographs: Sequence[Photograph]) -> WorkOrder:
    """Add photographs to a work order; one that it already has changes nothing. Errors as `create`."""
    return _change(
        cloud,
        site,
        id,
        lambda held: _with_photographs(cloud, site, held.work_order, held.images, photographs),
    )


def change_metadata(cloud: Cloud, site: Site, id: str, metadata: Mapping[str, Any]) -> WorkOrder:
    """Replace a work order's metadata. NotFound where the site has no such work order."""
    return _change(cloud, site, id, lambda held: (replace(held.work_order, metadata=metadata), held.images))


def correct(
    cloud: Cloud, site: Site, id: str, *, input_id: str, task_name: str, value: Value, message: str | None
) -> WorkOrder:
    """Store a person's correction beside the value that it corrects.

    NotFound where the work order, the input or the task is not there. The correction's date is Firestore's
    time when the work order was read for it.
    """

    def corrected(held: _Held) -> tuple[WorkOrder, bytes]:
        date = iso(held.read_time)
        for item in held.work_order.work_items:
            for each in item.input:
                if each.id == input_id:
                    results = _correct_one(each.job_conformity, task_name, value, message, date)
                    inputs = tuple(
                        replace(i, job_conformity=results) if i.id == input_id else i for i in item.input
                    )
                    return held.work_order.with_work_item(replace(item, input=inputs)), held.images
        raise NotFound(f"the work order {id} has no input {input_id}")

    return _change(cloud, site, id, corrected)


def delete(cloud: Cloud, site: Site, id: str) -> None:
    """Delete a work order, leaving a tombstone that exports report. NotFound where there is none."""
    reference = cloud.db.document(f"work_orders/{id}")
    tried = False
    for _ in range(WRITE_ATTEMPTS):
        snapshot = _on_time(cloud, reference)
        if tried and snapshot.exists and snapshot.get("deleted"):
            return  # our own write, whose answer was lost, or somebody else's of the same
        held = _held(cloud, site, snapshot)
        tried = True
        try:
            tombstone = {"deleted": True, "encoding": "plain", "record": b""}
            _stamped(cloud, reference, tombstone, held.update_time)
        except FailedPrecondition:
            continue
        return
    raise _too_busy(id)


def get(cloud: Cloud, site: Site, id: str) -> WorkOrder:
    """A work order of the site, or NotFound."""
    return _held(cloud, site, cloud.db.document(f"work_orders/{id}").get()).work_order


def _change(
    cloud: Cloud, site: Site, id: str, change: Callable[[_Held], tuple[WorkOrder, bytes]]
) -> WorkOrder:
    reference = cloud.db.document(f"work_orders/{id}")
    for _ in range(WRITE_ATTEMPTS):
        held = _held(cloud, site, _on_time(cloud, reference))
        work_order, lines = change(held)
        if (work_order, lines) == (held.work_order, held.images):
            return work_order
        try:
            _write(cloud, site, work_order, lines, held.update_time)
        except FailedPrecondition:
            continue  # it changed since it was read: change what it is now
        return work_order
    raise _too_busy(id)


def _held(cloud: Cloud, site: Site, snapshot: Snapshot) -> _Held:
    fields = fields_of(snapshot) if snapshot.exists else {}
    if fields.get("site_id") != site.id or fields["deleted"]:
        raise NotFound(f"the site {site.id} has no work order {snapshot.id}")
    record = envelope.unpack(
        fields["encoding"],
        fields["record"],
        lambda name: cloud.objects.read_whole(cloud.settings.records_bucket, name),
    )
    return _Held(decode(record), fields["images"], snapshot.update_time, read_time(snapshot))


def _with_photographs(
    cloud: Cloud, site: Site, work_order: WorkOrder, lines: bytes, photographs: Sequence[Photograph]
) -> tuple[WorkOrder, bytes]:
    for photograph in photographs:
        if photograph.task_group not in site.task_groups:
            known = ", ".join(site.task_groups)
            raise Invalid.field("task_group", f"{photograph.task_group!r} is none of the site's: {known}")
        extension = photograph.file_name.rpartition(".")[2].lower()
        if extension not in CONTENT_TYPES:
            raise Invalid.field("file_name", f"{photograph.file_name!r} is no {', '.join(CONTENT_TYPES)}")
        new = Input(
            id=input_id(work_order.id, photograph.file_name, photograph.content),
            file_extension=extension,
            metadata=photograph.metadata,
            data_conformity=photograph.data_conformity,
            job_conformity=photograph.job_conformity,
        )
        item = work_order.work_item(photograph.task_group) or WorkItem(
            id=str(uuid.uuid5(uuid.UUID(work_order.id), photograph.task_group)), name=photograph.task_group
        )
        if any(each.id == new.id for each in item.input):
            continue
        if len(lines) >= INPUTS_MOST * images.LINE_BYTES:
            raise Invalid.field("inputs", f"a work order has at most {INPUTS_MOST}")
        lines += images.encode(_store_image(cloud, site, new, photograph.content))
        work_order = work_order.with_work_item(replace(item, input=(*item.input, new)))
    score = progress(work_order.work_items, site.required)
    return replace(work_order, progress_score=score), lines


def _store_image(cloud: Cloud, site: Site, new: Input, content: bytes) -> Image:
    image = Image(new.id, new.file_extension, 0, 0, "")
    stored = cloud.objects.create(
        cloud.settings.images_bucket,
        images.object_name(site.customer, site.id, image),
        content,
        CONTENT_TYPES[new.file_extension],
    )
    return replace(image, generation=stored.generation, size=stored.size, crc32c=stored.crc32c)


def _correct_one(
    results: tuple[JobConformity, ...], task_name: str, value: Value, message: str | None, date: str
) -> tuple[JobConformity, ...]:
    if all(result.task_name != task_name for result in results):
        raise NotFound(f"the input has no result of the task {task_name!r} to correct")
    return tuple(
        replace(result, corrected_value=value, corrected_date=date, message=message or result.message)
        if result.task_name == task_name
        else result
        for result in results
    )


def _write(cloud: Cloud, site: Site, work_order: WorkOrder, lines: bytes, expected: datetime | None) -> None:
    packed = envelope.pack(encode(work_order), site.customer, len(lines))
    if packed.encoding == "object":
        cloud.objects.create(
            cloud.settings.records_bucket,
            packed.record.decode(),
            packed.content,
            "application/octet-stream",
        )
    fields = {
        "customer": site.customer,
        "site_id": site.id,
        "name": work_order.name,
        "shard": envelope.shard_of(work_order.id),
        "schema": SCHEMA,
        "deleted": False,
        "encoding": packed.encoding,
        "record": packed.record,
        "images": lines,
    }
    _stamped(cloud, cloud.db.document(f"work_orders/{work_order.id}"), fields, expected)


def _stamped(
    cloud: Cloud, reference: firestore.DocumentReference, fields: Mapping[str, Any], expected: datetime | None
) -> None:
    """Write `fields` with a stamp, if the document is as it was at `expected` (None: not there yet), and see
    to it that the commit is on time."""
    changes = {**fields, "update_date": firestore.SERVER_TIMESTAMP}
    result: Any  # typed as protobuf's classes, though the client gives datetimes
    if expected is None:
        result = reference.create(changes)
    else:
        result = reference.update(changes, option=cloud.db.write_option(last_update_time=expected))
    if result.update_time - result.transform_results[0].timestamp_value > MARGIN / 2:
        _on_time(cloud, reference)


def _on_time(cloud: Cloud, reference: firestore.DocumentReference) -> Snapshot:
    """The document as it is, stamped again while its commit came more than half the margin after its stamp.

    Whoever writes looks at it through here first: so a late commit whose writer died, or never had its
    answer, is mended by whoever tries again. TimeoutError where Firestore stays late.
    """
    for _ in range(WRITE_ATTEMPTS):
        snapshot: Snapshot = reference.get()
        if not snapshot.exists or snapshot.update_time - snapshot.get("update_date") <= MARGIN / 2:
            return snapshot
        with contextlib.suppress(FailedPrecondition):  # somebody wrote meanwhile: look again
            option = cloud.db.write_option(last_update_time=snapshot.update_time)
            reference.update({"update_date": firestore.SERVER_TIMESTAMP}, option=option)
    raise TimeoutError(f"{reference.path}: Firestore commits more than {MARGIN / 2} after the stamp")


def _too_busy(id: str) -> Conflict:
    return Conflict(f"the work order {id} is being changed by others: try again")
