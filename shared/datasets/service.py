"""What is asked of datasets and their tasks."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson
from google.api_core.exceptions import NotFound
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail, exact, logs
from shared.accounts import limits
from shared.accounts.customers import sites_of
from shared.accounts.keys import Caller
from shared.cutting import shown
from shared.datasets import claims, destination, request
from shared.datasets import dataset as datasets
from shared.datasets import task as tasks
from shared.datasets.claims import Claim
from shared.datasets.dataset import ID, Dataset, Version
from shared.datasets.errors import (
    DatasetExists,
    InvalidExportParameter,
    InvalidPath,
    NoSuchDataset,
    NoSuchOutputPath,
    NoSuchTask,
    NoSuchVersion,
    ParameterError,
    PathInUse,
    TooManyTasks,
)
from shared.datasets.forms import unsupported
from shared.datasets.request import Chosen
from shared.datasets.steps import KIND
from shared.datasets.task import EXPORT, VERSION, Task
from shared.delivery.cloud_storage.bucket import CustomerBucket, why_not
from shared.delivery.cloud_storage.uri import BucketUri
from shared.errors import Conflict, FieldProblem, GiveUp, Invalid
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, beginning_with, count, transact
from shared.gcp.unreadable import readable
from shared.http.idempotency import FRESH, Repeatable
from shared.http.matching import ANY, IfMatch
from shared.work import control

MAX_SITES = 100
MAX_TASK_NAMES = 100
"""How many sites and tasks a dataset may name."""

MAX_SEARCHED = 2_000
"""How many datasets, the newest, a search for a text in their names looks at: Firestore has no index of texts
that names hold. A search for how names begin has one, and finds all."""

MAX_KEPT_BYTES = 768 * 1024
"""How many bytes of what a task is asked to do are kept. Its document, which may have 1 MiB, has more fields.
https://cloud.google.com/firestore/quotas#limits"""


@dataclass(frozen=True)
class Wanted:
    """Which datasets are listed: those whose name begins with `prefix` and holds `text`, where these are
    given."""

    prefix: str = ""
    text: str = ""


def create(
    cloud: Cloud,
    caller: Caller,
    *,
    name: str,
    type: int,
    sites: Sequence[str],
    task_names: Sequence[str],
    description: str,
    once: Repeatable = FRESH,
) -> Dataset:
    """Create a dataset, and have its first version made; once, also where the request is sent again.

    ParameterError where a site is not the customer's, DatasetExists where the name is taken or there are
    as many as there may be.
    """
    id = once.id(cloud, f"datasets\n{caller.customer}", 32)
    task = _task_id(cloud, caller, once, "create")
    if _made_before(cloud, once, datasets.path(id)):
        return get(cloud, caller, id)
    _check_sites(cloud, caller, sites)
    _check_room(cloud, caller)
    _check_number(cloud, caller)
    fields = datasets.fields(
        customer=caller.customer,
        name=name,
        description=description,
        type=type,
        sites=sites,
        tasks=task_names,
    )
    claim = Claim(caller.customer, "name", name, task)
    transact(cloud.db, lambda transaction: claims.take(cloud, transaction, [claim]))

    def write(batch: firestore.WriteBatch) -> None:
        at = firestore.SERVER_TIMESTAMP
        batch.create(
            cloud.db.document(datasets.path(id)),
            {**fields, "asked": once.asked, "created": at, "updated": at},
        )
        claims.keep(cloud, batch, claim)
        audit_trail.note(cloud.db, batch, caller.customer, datasets.path(id))

    with logs.bound(dataset=id, customer=caller.customer):
        _create_task(cloud, caller, id, type, task, VERSION, {}, also=write)
        logs.info("dataset created")
    return get(cloud, caller, id)


def get(cloud: Cloud, caller: Caller, id: str) -> Dataset:
    """A dataset of the customer. NoSuchDataset where there is none of that id."""
    found = datasets.get(cloud, id) if ID.fullmatch(id) else None
    if found is None or found.customer != caller.customer or found.deleted:
        raise NoSuchDataset(
            f"there is no dataset with the id {shown(id)}: GET the list of datasets for their ids and names"
        )
    return found


def listed(
    cloud: Cloud, caller: Caller, wanted: Wanted, *, limit: int, page: int, after: str | None
) -> tuple[int, list[Dataset]]:
    """How many datasets of the customer are wanted, and some of them without their labels: those behind the
    dataset of the id `after`, else a page. The newest come first, or where a beginning of names is wanted,
    they are in the order of names. NoSuchDataset where there is no such dataset."""
    every = datasets_of(cloud, caller.customer)
    newest = every.order_by("created", direction=firestore.Query.DESCENDING)
    if wanted.text:
        return _holding(cloud, newest, wanted, limit=limit, page=page, after=after)
    query = beginning_with(every, "name", wanted.prefix) if wanted.prefix else newest
    total = count(query)
    if after is not None:
        marker = cloud.db.document(get(cloud, caller, after).path).get(["created", "name"])
        query = query.start_after(marker)
    else:
        query = query.offset(page * limit)
    found = query.select(datasets.LISTED).limit(limit).stream()
    return total, list(readable(cloud.db, found, datasets.from_snapshot))


def _holding(
    cloud: Cloud, newest: Any, wanted: Wanted, *, limit: int, page: int, after: str | None
) -> tuple[int, list[Dataset]]:
    """The same of the datasets whose names hold a text, among the newest MAX_SEARCHED: of each the name is
    read, and the rest only of those that are answered."""
    names = newest.select(["name"]).limit(MAX_SEARCHED).stream()
    found = [
        each.reference
        for each in names
        if wanted.text in (name := str(each.get("name"))) and name.startswith(wanted.prefix)
    ]
    first = page * limit
    if after is not None:
        first = next((number for number, each in enumerate(found, 1) if each.id == after), len(found))
    shown = [each.get(datasets.LISTED) for each in found[first : first + limit]]
    there = (each for each in shown if each.exists)
    return len(found), list(readable(cloud.db, there, datasets.from_snapshot))


def datasets_of(cloud: Cloud, customer: str) -> Any:
    """The query of a customer's datasets."""
    query = cloud.db.collection("datasets").where(filter=FieldFilter("customer", "==", customer))
    return query.where(filter=FieldFilter("deleted", "==", False))


def update(
    cloud: Cloud,
    caller: Caller,
    dataset: Dataset,
    *,
    name: str | None = None,
    description: str | None = None,
    sites: Sequence[str] | None = None,
    task_names: Sequence[str] | None = None,
    if_match: IfMatch = ANY,
) -> Dataset:
    """Change what is given of a dataset. Where that is what it selects, a version is made of it. Outdated
    where the request is for another revision of it.

    ParameterError where a site is not the customer's, or the dataset was exported from another one and so
    never changes; DatasetExists where the name is taken.
    """
    selects = sites is not None or task_names is not None
    if selects and dataset.origin is not None:
        field = "site_ids" if sites is not None else "task_names"
        raise ParameterError(
            [
                FieldProblem(
                    field, "cannot change: the dataset was exported from another one, and stays as it is"
                )
            ]
        )
    if sites is not None:
        _check_sites(cloud, caller, sites)
    if selects:
        _check_number(cloud, caller)
    given = {
        "name": name,
        "description": description,
        "sites": None if sites is None else sorted(set(sites)),
        "tasks": None if task_names is None else sorted(set(task_names)),
    }
    changes = {field: value for field, value in given.items() if value is not None}
    reference = cloud.db.document(dataset.path)

    def write(transaction: firestore.Transaction) -> None:
        now = datasets.from_snapshot(reference.get(transaction=transaction))
        if now.deleted:
            raise NoSuchDataset(f"the dataset {dataset.id} was deleted")
        if_match.must_be(now.revision, f"the dataset {now.name}")
        if name is not None and name != now.name:
            claims.take(cloud, transaction, [Claim(now.customer, "name", name)])
            claims.give_back(cloud, transaction, Claim(now.customer, "name", now.name))
        counted = {"revision": now.revision + 1, "updated": firestore.SERVER_TIMESTAMP}
        transaction.update(reference, {**changes, **counted})
        audit_trail.note(cloud.db, transaction, now.customer, reference.path)

    transact(cloud.db, write)
    after = get(cloud, caller, dataset.id)
    if selects:
        # Also where nothing changes now: a request before may have died between its change and its task.
        _create_task(cloud, caller, after.id, after.type, cloud.new_id(), VERSION, {})
    return after


def delete(cloud: Cloud, caller: Caller, dataset: Dataset) -> None:
    """Delete a dataset, and cancel its tasks. What was exported stays where it is."""
    reference = cloud.db.document(dataset.path)

    def write(transaction: firestore.Transaction) -> None:
        now = datasets.from_snapshot(reference.get(transaction=transaction))
        if now.deleted:
            return  # another one may have its name by now
        transaction.update(reference, {"deleted": True, "updated": firestore.SERVER_TIMESTAMP})
        claims.give_back(cloud, transaction, Claim(now.customer, "name", now.name))
        audit_trail.note(cloud.db, transaction, now.customer, reference.path)

    transact(cloud.db, write)
    logs.info("dataset deleted", dataset=dataset.id, customer=dataset.customer)
    for snapshot in open_tasks(cloud, caller.customer, dataset.id).stream():
        _cancel_if_possible(cloud, snapshot)


def make_version(cloud: Cloud, caller: Caller, dataset: Dataset, once: Repeatable) -> Task:
    """Have a version made of a dataset as it is now, unless it is the same as the newest; once, also where
    the request is sent again.

    ParameterError where the dataset was exported from another one: then it never changes. TooManyTasks where
    as many are under way as there may be.
    """
    if dataset.origin is not None:
        raise ParameterError(
            [FieldProblem("dataset_id", "was exported from another dataset, and has one version for good")]
        )
    id = _task_id(cloud, caller, once, "version")
    if not _made_before(cloud, once, tasks.path(id)):
        _check_number(cloud, caller)
        asked = {"asked": once.asked}
        _create_task(cloud, caller, dataset.id, dataset.type, id, VERSION, {}, asked)
    return get_task(cloud, caller, dataset, id)


def versions(cloud: Cloud, dataset: Dataset, most: int, after: str | None = None) -> list[Version]:
    """The newest versions of a dataset without their labels, the newest first; those behind the version of
    the id `after`. NoSuchVersion where there is no such version."""
    newest = (
        cloud.db.collection(f"{dataset.path}/versions")
        .select(datasets.LISTED_OF_VERSION)
        .order_by("number", direction=firestore.Query.DESCENDING)
    )
    if after is not None:
        newest = newest.start_after({"number": get_version(cloud, dataset, after).number})
    return list(readable(cloud.db, newest.limit(most).stream(), datasets.version_of))


def get_version(cloud: Cloud, dataset: Dataset, id: str) -> Version:
    """A version of a dataset. NoSuchVersion where there is none of that id."""
    found = datasets.get_version(cloud, dataset.id, id) if ID.fullmatch(id) else None
    if found is None:
        raise NoSuchVersion(f"the dataset {dataset.name} has no version with the id {shown(id)}")
    return found


def chosen(dataset: Dataset, *, export_type: int, sample_state: str, search_conditions: str) -> Chosen:
    """Which samples of a dataset query parameters choose; `search_conditions` is JSON. Raises what
    `request.parse` raises of these fields."""
    conditions: Any = []
    if search_conditions:
        try:
            conditions = exact.loads(search_conditions.encode())
        except (ValueError, RecursionError) as wrong:
            problem = FieldProblem("search_conditions", f"is no JSON: {wrong}")
            raise ParameterError([problem]) from wrong
    params = {"search_conditions": conditions}
    body = {"export_type": export_type, "sample_state": sample_state, "export_params": params}
    try:
        return request.parse_chosen(body, dataset.type)
    except Invalid as wrong:
        named = [
            FieldProblem(each.field.removeprefix("export_params."), each.message) for each in wrong.problems
        ]
        raise type(wrong)(named, wrong.more) from wrong


def begin_export(
    cloud: Cloud, caller: Caller, dataset: Dataset, body: Mapping[str, Any], once: Repeatable = FRESH
) -> Task:
    """Create a task that exports a dataset, once its path is seen to be empty, and open to the customer's
    account; one task, also where the request is sent again.

    Raises what `request.parse` raises; InvalidExportParameter for a form that cannot hold the dataset,
    NoSuchVersion, NoSuchOutputPath, InvalidPath where the bucket refuses, PathInUse, DatasetExists where the
    name of the new dataset is taken or there are as many as there may be, TooManyTasks.
    """
    id = _task_id(cloud, caller, once, "export")
    if _made_before(cloud, once, tasks.path(id)):
        return get_task(cloud, caller, dataset, id)
    asked = request.parse(body, dataset.type)
    kept = {name: value for name, value in body.items() if name not in request.IGNORED}
    if len(orjson.dumps(kept)) > MAX_KEPT_BYTES:
        raise ParameterError([FieldProblem("body", f"must have at most {MAX_KEPT_BYTES:,} bytes")])
    why = unsupported(dataset.type, asked.version_format, asked.annotation_format, asked.export_format)
    if why and not asked.new_dataset:
        raise InvalidExportParameter([FieldProblem("version_format", why)])
    if asked.version_id:
        get_version(cloud, dataset, asked.version_id)
    if asked.new_dataset:
        _check_room(cloud, caller)
    _check_number(cloud, caller)
    if why := why_not(cloud.settings, asked.path.bucket):
        raise InvalidPath([FieldProblem("path", why)])
    bucket = destination.bucket_of(cloud, caller.customer, asked.path)
    with _refused_of_path(bucket):
        bucket.objects.probe(bucket.bucket, f"{asked.path.prefix}.waybill-probe-{cloud.new_id()}")
        _check_free(bucket, asked.path)
    wanted = [claims.of_path(caller.customer, asked.path, id)]
    if asked.new_dataset:
        wanted.append(Claim(caller.customer, "name", asked.new_dataset.name, id))
    transact(cloud.db, lambda transaction: claims.take(cloud, transaction, wanted))
    # A task that had the path until then has written to it.
    with _refused_of_path(bucket):
        _check_free(bucket, asked.path)
    more = {"export_type": asked.export_type, "asked": once.asked}
    _create_task(cloud, caller, dataset.id, dataset.type, id, EXPORT, kept, more)
    return get_task(cloud, caller, dataset, id)


def get_task(cloud: Cloud, caller: Caller, dataset: Dataset, id: str) -> Task:
    """A task of a dataset. NoSuchTask where there is none of that id."""
    found = tasks.get(cloud, id) if ID.fullmatch(id) else None
    if found is None or found.customer != caller.customer or found.dataset != dataset.id:
        raise NoSuchTask(f"the dataset {dataset.name} has no task with the id {shown(id)}")
    return found


def export_tasks(
    cloud: Cloud, dataset: Dataset, *, export_type: int | None, limit: int, page: int, after: str | None
) -> tuple[int, list[Task]]:
    """How many export tasks of that type a dataset has, and some of them, the newest first: those behind the
    task of the id `after`, else a page. NoSuchTask where there is no such task."""
    query = (
        cloud.db.collection("dataset_tasks")
        .where(filter=FieldFilter("dataset", "==", dataset.id))
        .where(filter=FieldFilter("does", "==", EXPORT))
    )
    if export_type is not None:
        query = query.where(filter=FieldFilter("export_type", "==", export_type))
    total = count(query)
    query = query.order_by("created", direction=firestore.Query.DESCENDING)
    if after is not None:
        marker = cloud.db.document(tasks.path(after)).get() if ID.fullmatch(after) else None
        if marker is None or not marker.exists or marker.get("dataset") != dataset.id:
            raise NoSuchTask(f"marker: the dataset {dataset.name} has no task with the id {shown(after)}")
        query = query.start_after(marker)
    else:
        query = query.offset(page * limit)
    return total, list(readable(cloud.db, query.limit(limit).stream(), tasks.from_snapshot))


def cancel(cloud: Cloud, task: Task) -> None:
    """Cancel a task. Conflict where it has ended or finishes."""
    with logs.bound(task=task.id, customer=task.customer):
        if control.cancel(cloud, KIND, cloud.db.document(task.path)):
            logs.info("task cancelled")


def open_tasks(cloud: Cloud, customer: str, dataset: str | None = None) -> Any:
    """The query of a customer's tasks that have not ended: all, or those of one dataset."""
    query = cloud.db.collection("dataset_tasks").where(filter=FieldFilter("customer", "==", customer))
    if dataset is not None:
        query = query.where(filter=FieldFilter("dataset", "==", dataset))
    return query.where(filter=FieldFilter("open", "==", True))


def _task_id(cloud: Cloud, caller: Caller, once: Repeatable, does: str) -> str:
    """The id of the task that a request makes."""
    return once.id(cloud, f"dataset tasks\n{does}\n{caller.customer}", 32)


def _made_before(cloud: Cloud, once: Repeatable, path: str) -> bool:
    """Whether the same request has made the document at a path before. Conflict where another has."""
    if once.key is None:
        return False
    made = cloud.db.document(path).get(["asked"])
    if made.exists:
        once.must_be((made.to_dict() or {}).get("asked", ""), made.id)
    return bool(made.exists)


def _create_task(
    cloud: Cloud,
    caller: Caller,
    dataset: str,
    type: int,
    id: str,
    does: str,
    body: Mapping[str, Any],
    more: Mapping[str, Any] = MappingProxyType({}),
    also: Callable[[firestore.WriteBatch], None] = lambda _: None,
) -> None:
    fields = {"does": does, "dataset": dataset, "type": type, "user": caller.key, "body": orjson.dumps(body)}
    with logs.bound(task=id, dataset=dataset, customer=caller.customer):
        reference = cloud.db.document(tasks.path(id))
        control.create(cloud, KIND, reference, caller.customer, {**fields, **more}, also=also)
        logs.info("task created", does=does)


def _check_sites(cloud: Cloud, caller: Caller, sites: Sequence[str]) -> None:
    theirs = sites_of(cloud.db, list(sites), caller.customer) if sites else {}
    problems = [
        FieldProblem(f"site_ids[{number}]", f"there is no site {shown(site)} of yours")
        for number, site in enumerate(sites)
        if site not in theirs
    ]
    if problems:
        raise ParameterError(problems)


def _check_room(cloud: Cloud, caller: Caller) -> None:
    most = limits.value(cloud.db, caller.customer, limits.DATASETS)
    used = limits.in_use(datasets_of(cloud, caller.customer), most)
    if used >= most:
        raise DatasetExists(limits.DATASETS.sentence(most, used))


def _check_number(cloud: Cloud, caller: Caller) -> None:
    most = limits.value(cloud.db, caller.customer, limits.DATASET_TASKS)
    used = limits.in_use(open_tasks(cloud, caller.customer), most)
    if used >= most:
        raise TooManyTasks(limits.DATASET_TASKS.sentence(most, used))


def _check_free(bucket: CustomerBucket, place: BucketUri) -> None:
    """See that nothing is below a path: whatever an export finds there would be mixed with it. Consoles keep
    an empty object for a folder, whose name is the path itself."""
    for name in bucket.objects.names(place.bucket, place.prefix, 2):
        if name != place.prefix:
            raise PathInUse(f"gs://{place.bucket}/{name} is there already: choose a path that is empty")


@contextlib.contextmanager
def _refused_of_path(bucket: CustomerBucket) -> Iterator[None]:
    """Raise what the bucket refuses as an error of the path."""
    try:
        with bucket.explained():
            yield
    except GiveUp as refused:
        told = f"{refused} {refused.next_action}"
        missing = isinstance(refused.__cause__, NotFound)
        kind = NoSuchOutputPath if missing else InvalidPath
        raise kind([FieldProblem("path", told)]) from refused


def _cancel_if_possible(cloud: Cloud, snapshot: Snapshot) -> None:
    with contextlib.suppress(Conflict):  # it finishes: what it exported stays
        cancel(cloud, tasks.from_snapshot(snapshot))
