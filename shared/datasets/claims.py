"""What only one can have at a time: the name of a dataset, and a path that a task exports to.

A claim is a document. It is taken in the transaction that needs it, and says which dataset or task has it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.datasets import task as tasks
from shared.datasets.errors import DatasetExists, PathInUse
from shared.delivery.cloud_storage.uri import BucketUri
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, plain, read_time
from shared.work.kinds import COMPLETED

LIFE = timedelta(minutes=5)
"""How long a claim holds for a task that is not there yet: it is created right after the claim."""


@dataclass(frozen=True)
class Claim:
    """A claim of a customer.

    what  whether it is on a dataset's name or on a path
    name  the name, or the path
    task  the task that has it, or is to make the dataset; None where the dataset is there
    """

    customer: str
    what: Literal["name", "path"]
    name: str
    task: str | None = None


def of_path(customer: str, place: BucketUri, task: str) -> Claim:
    """A task's claim on the path that it exports to."""
    return Claim(customer, "path", f"gs://{place.bucket}/{place.prefix}", task)


def take(cloud: Cloud, transaction: firestore.Transaction, claims: Iterable[Claim]) -> None:
    """Take these in a transaction that has written nothing yet; what the same task has, it has.
    PathInUse where an open task has the path.
    DatasetExists where another dataset has the name, or a task that is to make one."""
    for claim in (claims := list(claims)):
        found = _reference(cloud, claim).get(transaction=transaction)
        if not found.exists or (claim.task is not None and found.get("task") == claim.task):
            continue
        if claim.what == "path" and _holds(cloud, transaction, found, ended=False):
            raise PathInUse(
                f"path: the task {found.get('task')} exports to {claim.name}. Choose another path, or wait "
                "until it has ended",
                found.get("task"),
            )
        if claim.what == "name" and _holds(cloud, transaction, found, ended=True):
            raise DatasetExists(
                f"there is a dataset named {claim.name!r} already, or a task that makes it: choose another "
                "name",
                _dataset(cloud, transaction, claim) or found.get("task"),
            )
    for claim in claims:
        fields = {"customer": claim.customer, "task": claim.task, "at": firestore.SERVER_TIMESTAMP}
        transaction.set(_reference(cloud, claim), fields)


def keep(cloud: Cloud, batch: firestore.WriteBatch, claim: Claim) -> None:
    """Have a name stay taken whatever becomes of the task that took it, in a commit."""
    batch.update(_reference(cloud, claim), {"task": None})


def give_back(cloud: Cloud, transaction: firestore.Transaction, claim: Claim) -> None:
    """Have nobody have it, in a transaction."""
    transaction.delete(_reference(cloud, claim))


def _reference(cloud: Cloud, claim: Claim) -> Any:
    digest = hashlib.sha256(f"{claim.customer}\n{claim.what}\n{claim.name}".encode()).hexdigest()
    return cloud.db.document(f"dataset_claims/{digest}")


def _dataset(cloud: Cloud, transaction: firestore.Transaction, claim: Claim) -> str | None:
    """The id of the dataset that has the name, None where its task has yet to make it."""
    query: Any = cloud.db.collection("datasets")
    for field, value in (("customer", claim.customer), ("name", claim.name), ("deleted", False)):
        query = query.where(filter=FieldFilter(field, "==", value))
    return next((each.id for each in query.select([]).limit(1).stream(transaction=transaction)), None)


def _holds(cloud: Cloud, transaction: firestore.Transaction, claim: Snapshot, *, ended: bool) -> bool:
    """Whether a claim still holds. That of a task does while the task is open, and with `ended` also if the
    task completed."""
    if claim.get("task") is None:
        return True
    task = cloud.db.document(tasks.path(claim.get("task"))).get(transaction=transaction)
    if not task.exists:
        age: timedelta = read_time(claim) - plain(claim.get("at"))
        return age < LIFE
    held: bool = task.get("open") or (ended and task.get("state") == COMPLETED)
    return held
