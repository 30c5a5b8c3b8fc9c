"""Removes objects that are not needed any more: one standing work for each customer, a piece for what is due
together.

The piece is written in the very commit by which its objects are not needed any more, and says when it is due.
So none can be lost, whatever dies, and nothing is removed early.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from google.cloud import firestore

from shared import logs
from shared.accounts import stored
from shared.clock import elapsed_since, stopwatch
from shared.errors import Busy
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, read_time, transact
from shared.gcp.objects import Stored
from shared.work import control, pieces
from shared.work.attempts import Attempt, Stopped, holds
from shared.work.kinds import Documents, Done, Kind, Later, Stage
from shared.workorders import images
from shared.workorders.envelope import ROOM
from shared.workorders.removed import COLLECTION, GRACE, IMAGES_KEPT, PLAN, STAGE, piece_path, work_path

FUNCTION = "remove_objects"

ARCHIVES_KEPT = timedelta(days=3)
"""How long an archive stays after it was taken in: for whoever looks why a work order came as it did. One
that was not taken in stays until its bucket's own rule removes it, since its batch may still go on."""

SAVED_EVERY = 500
"""After how many removed objects the position is saved, where there is no more time."""


@dataclass(frozen=True)
class Removals:
    """The removals of a customer."""

    customer: str


def ready(cloud: Cloud, customer: str) -> None:
    """Have the document of a customer's removals there, before a piece of it is written."""
    control.stand(cloud, KIND, cloud.db.document(work_path(customer)), customer, PLAN)


def of_images(cloud: Cloud, customer: str, site: str, id: str) -> Callable[[bytes, datetime], Documents]:
    """The piece that is written with the tombstone of a work order, at Firestore's time, for the lines of its
    images. A piece of an earlier deletion, after which it was made anew, goes on in this one.

    Busy where both together have too many images for a document.
    """
    path = piece_path(customer, id)

    def beside(lines: bytes, at: datetime) -> Documents:
        earlier: Any = cloud.db.document(path).get(["images"])
        if earlier.exists:
            lines += images.without(earlier.get("images"), lines)
        if not lines:
            return {}
        if len(lines) > ROOM:
            raise Busy("images from before it was made anew are still to be removed: delete it in a week")
        piece = _piece(customer, id, at, IMAGES_KEPT + GRACE)
        return {path: {**piece, "site_id": site, "images": lines, "removed": 0}}

    return beside


def of_archive(customer: str, batch: str, archive: Stored, at: datetime) -> Documents:
    """The piece that is written with the end of a batch whose archive was taken in."""
    name = f"batch-{batch}"
    place = {"bucket": archive.bucket, "name": archive.name, "generation": archive.generation}
    return {piece_path(customer, name): {**_piece(customer, name, at, ARCHIVES_KEPT), "archive": place}}


def _piece(customer: str, name: str, at: datetime, kept: timedelta) -> dict[str, Any]:
    piece = pieces.new(customer, FUNCTION, STAGE, PLAN, name, at)
    return {**piece, **_untried(at, at + kept), "due": at + kept}


def _untried(at: datetime, due: datetime) -> dict[str, Any]:
    """The fields of a piece that nobody has begun, and that the sweep publishes when it is due. It is open
    and not queued: of what is queued the next is published when few are open, and here many wait for days."""
    return {**pieces.untried(at), "in_line": False, "next": due}


def remove(cloud: Cloud, removals: Removals, attempt: Attempt) -> Done | Later:
    """Remove what a piece names, once that is due; Stopped before. What is gone, or is another object by now,
    is left."""
    fields = attempt.fields
    snapshot: Snapshot = cloud.db.document(f"work_orders/{attempt.piece.name}").get(["deleted", "images"])
    if read_time(snapshot) < fields["due"]:
        _put_back(cloud, attempt)
        raise Stopped
    if "archive" in fields:
        cloud.objects.remove(**fields["archive"])
        stored.removed(cloud, fields["archive"]["name"])
        logs.info("an archive is removed", object=fields["archive"]["name"])
        return Done()
    return _remove_images(cloud, removals, attempt, _needed(snapshot))


def _put_back(cloud: Cloud, attempt: Attempt) -> None:
    """Leave a piece whose message came early to the sweep, unless it was made due anew meanwhile."""
    reference = cloud.db.document(attempt.piece.path)

    def put_back(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        if holds(snapshot, attempt.id):
            transaction.update(reference, _untried(read_time(snapshot), snapshot.get("due")))

    transact(cloud.db, put_back)


def _needed(work_order: Snapshot) -> set[str]:
    """The images of a work order that was made anew since it was deleted."""
    if not work_order.exists or work_order.get("deleted"):
        return set()
    return {each.id for each in images.decode(fields_of(work_order).get("images") or b"")}


def _remove_images(cloud: Cloud, removals: Removals, attempt: Attempt, needed: set[str]) -> Done | Later:
    began, fields = stopwatch(), attempt.fields
    for number, image in enumerate(images.decode(fields["images"])):
        if number < fields["removed"] or image.id in needed:
            continue
        name = images.name_of(removals.customer, fields["site_id"], image.id, image.file_extension)
        cloud.objects.remove(cloud.settings.images_bucket, name, image.generation)
        if number % SAVED_EVERY == SAVED_EVERY - 1 and elapsed_since(began) > cloud.settings.attempt_seconds:
            return Later({"removed": number + 1})
    logs.info("the images of a deleted work order are removed", work_order=attempt.piece.name)
    return Done()


KIND = Kind(
    name="removals",
    collection=COLLECTION,
    stages=(Stage(STAGE, "REMOVING", lambda _: FUNCTION, remove),),
    parse=lambda work: Removals(work.id),
    ids=lambda removals: {"customer": removals.customer},
    standing=True,
)
"""What is removed of a customer's, and when."""
