"""`/v0.2` over HTTP: what is sent and answered of batches; `service` does the work. Work orders are in
`work_orders`."""

from pathlib import Path
from typing import Any
from uuid import UUID

import flask
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.callers import who
from shared.batches import batch as batches
from shared.batches import errors_file, service
from shared.batches.batch import WAITING_FOR_UPLOAD, Batch
from shared.batches.caller import SCOPE, named_site, who_and_where
from shared.batches.work_orders import WORK_ORDERS
from shared.errors import Invalid, NotFound
from shared.gcp.clients import Cloud
from shared.http.answers import Answer, Handler, Routes, json_object
from shared.http.paging import page
from shared.workorders.record import iso

CLIENT = Path(__file__).parent / "client" / "upload.py"
"""The client that customers may use: one file."""


def _create(request: flask.Request, site: str | None = None) -> Answer:
    cloud, caller, where = who_and_where(request, site)
    batch = service.create(cloud, caller, where, json_object(request))
    return _shown(cloud, batch), 201


def _get(request: flask.Request, batch: UUID, site: str | None = None) -> Answer:
    cloud, found = _batch(request, batch, site)
    return _shown(cloud, found), 200


def _list(request: flask.Request, site: str | None = None) -> Answer:
    cloud, caller, where = who_and_where(request, site)
    collection = cloud.db.collection("batches")
    newest = collection.where(filter=FieldFilter("site_id", "==", where.id)).order_by(
        "created", direction=firestore.Query.DESCENDING
    )
    found, token = page(request, newest, collection, caller.customer)
    shown = [_shown(cloud, batches.from_snapshot(snapshot)) for snapshot in found]
    return {"batches": shown, "next_page_token": token}, 200


def _cancel(request: flask.Request, batch: UUID, site: str | None = None) -> Answer:
    cloud, found = _batch(request, batch, site)
    service.cancel(cloud, found)
    return None, 204


def _errors(request: flask.Request, batch: UUID, site: str | None = None) -> Answer:
    cloud, found = _batch(request, batch, site)
    asked = request.args.get("format", "jsonl")
    if asked not in ("jsonl", "csv"):
        raise Invalid.field("format", f"must be jsonl or csv; got {asked!r}")
    pieces = errors_file.lines(cloud, found)
    answer = flask.Response(
        errors_file.as_csv(pieces) if asked == "csv" else pieces,
        content_type="text/csv; charset=utf-8" if asked == "csv" else "application/x-ndjson",
    )
    answer.headers["Content-Disposition"] = f'attachment; filename="{batch}-errors.{asked}"'
    return answer, 200


def _client(request: flask.Request, site: str | None = None) -> Answer:
    return flask.Response(CLIENT.read_bytes(), content_type="text/x-python; charset=utf-8"), 200


BATCHES: dict[tuple[str, str], Handler] = {
    ("POST", "/v0.2/batches"): _create,
    ("GET", "/v0.2/batches"): _list,
    ("GET", "/v0.2/batches/upload.py"): _client,
    ("GET", "/v0.2/batches/<uuid:batch>"): _get,
    ("DELETE", "/v0.2/batches/<uuid:batch>"): _cancel,
    ("GET", "/v0.2/batches/<uuid:batch>/errors"): _errors,
}

ROUTES = Routes(
    {
        (method, prefix + path): handler
        for (method, path), handler in {**BATCHES, **WORK_ORDERS}.items()
        for prefix in ("", "/sites/<site>")
    }
)


def _batch(request: flask.Request, batch: UUID, site: str | None) -> tuple[Cloud, Batch]:
    """The caller's batch of that id; NotFound where the request names a site that is not the batch's."""
    cloud, caller = who(request, SCOPE)
    found = service.get(cloud, caller, str(batch))
    named = named_site(request, site)
    if named not in (None, found.site):
        raise NotFound(f"there is no batch {batch} of the site {named}")
    return cloud, found


def _shown(cloud: Cloud, batch: Batch) -> dict[str, Any]:
    progress = batches.progress(cloud, batch)
    waiting = {"upload_url": batch.upload_url} if batch.status == WAITING_FOR_UPLOAD else {}
    return {
        "id": batch.id,
        "batch_id": batch.id,
        "status": batch.status,
        "site_id": batch.site,
        "filename": batch.filename,
        "create_date": iso(batch.created),
        "expire_date": iso(batch.expires),
        "finish_date": iso(batch.finished) if batch.finished else None,
        **waiting,
        "work_orders_total": batch.work_orders,
        "work_orders_done": progress.work_orders_done,
        "work_orders_failed": progress.work_orders_failed,
        "images": progress.images,
        "bytes": progress.bytes,
        "errors": progress.errors,
        "warnings": progress.warnings,
        "error": batch.error,
    }
