"""`/v1/exports` over HTTP: what is sent and answered; `service` does the work."""

from typing import Any
from uuid import UUID

import flask
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.callers import who
from shared.exports import audit, runs, service
from shared.exports.audit import Outcome
from shared.exports.service import Export
from shared.gcp.documents import Snapshot, fields_of
from shared.http.answers import Answer, Routes, json_object
from shared.http.paging import page
from shared.window import utc_second

SCOPE = "exports"


def _create(request: flask.Request) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown(service.create(cloud, caller, json_object(request))), 201


def _get(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown(service.get(cloud, caller, str(export))), 200


def _list(request: flask.Request) -> Answer:
    cloud, caller = who(request, SCOPE)
    collection = cloud.db.collection("exports")
    newest = collection.where(filter=FieldFilter("customer", "==", caller.customer)).order_by(
        "created", direction=firestore.Query.DESCENDING
    )
    found, token = page(request, newest, collection, caller.customer)
    exports = [_shown(service.from_snapshot(snapshot)) for snapshot in found]
    return {"exports": exports, "next_page_token": token}, 200


def _run_now(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    run = service.run_now(cloud, caller, str(export))
    return _shown_run(cloud.db.document(run.path).get()), 201


def _backfill(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    run = service.backfill(cloud, caller, str(export), json_object(request))
    return _shown_run(cloud.db.document(run.path).get()), 201


def _runs(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    collection = cloud.db.collection(f"exports/{service.get(cloud, caller, str(export)).id}/runs")
    newest = collection.order_by("due", direction=firestore.Query.DESCENDING)
    found, token = page(request, newest, collection, caller.customer)
    return {"runs": [_shown_run(snapshot) for snapshot in found], "next_page_token": token}, 200


def _run(request: flask.Request, export: UUID, run: str) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown_run(service.get_run(cloud, caller, str(export), run)), 200


def _retry(request: flask.Request, export: UUID, run: str) -> Answer:
    cloud, caller = who(request, SCOPE)
    taken_up = service.retry(cloud, caller, str(export), run)
    return _shown_run(cloud.db.document(taken_up.path).get()), 200


ROUTES = Routes(
    {
        ("POST", "/v1/exports"): _create,
        ("GET", "/v1/exports"): _list,
        ("GET", "/v1/exports/<uuid:export>"): _get,
        ("POST", "/v1/exports/<uuid:export>:run"): _run_now,
        ("POST", "/v1/exports/<uuid:export>:backfill"): _backfill,
        ("GET", "/v1/exports/<uuid:export>/runs"): _runs,
        ("GET", "/v1/exports/<uuid:export>/runs/<string(length=10):run>"): _run,
        ("POST", "/v1/exports/<uuid:export>/runs/<string(length=10):run>:retry"): _retry,
    }
)


def _shown(export: Export) -> dict[str, Any]:
    return {
        "id": export.id,
        **export.config.model_dump(mode="json"),
        "version": export.version,
        "state": export.state,
        "account": export.account,
        "created": audit.milliseconds(export.created),
        "next_window_start": utc_second(export.next_start),
        "next_due": utc_second(export.next_due) if export.next_due else None,
    }


def _shown_run(snapshot: Snapshot) -> dict[str, Any]:
    ended: dict[str, Any] | None = fields_of(snapshot).get("audit")
    if ended is not None:
        return audit.ordered(ended)
    run = runs.from_snapshot(snapshot)
    return audit.event(run, Outcome(status=run.state), None)
