"""`/v1/exports` over HTTP: what is sent and answered; `service` does the work."""

from dataclasses import asdict
from typing import Any, get_args
from uuid import UUID

import flask
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.callers import who
from shared.delivery.base import passed
from shared.delivery.connectors import CONNECTORS
from shared.errors import Conflict, Invalid
from shared.exports import audit, by_hand, mailing, pausing, runs, service
from shared.exports.audit import Outcome
from shared.exports.config import ExportConfig
from shared.exports.export import LISTED, STATES, Export, from_snapshot
from shared.exports.schedules import INTERVALS
from shared.formats import FORMATS
from shared.formats.base import DateFormat
from shared.gcp.documents import Snapshot, fields_of
from shared.http.answers import Answer, Routes, json_object
from shared.http.idempotency import repeatable
from shared.http.paging import page
from shared.outbox import api as downloads
from shared.outbox import service as mailed
from shared.outbox.links import Link
from shared.outbox.service import Shown
from shared.sources import SOURCES
from shared.window import utc_second

SCOPE = "exports"

_RUN = "/v1/exports/<uuid:export>/runs/<string(length=10):run>"
_MAIL = f"{_RUN}/mails/<string(length=32):mail>"


def _create(request: flask.Request) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown(service.create(cloud, caller, json_object(request), repeatable(request))), 201


def _get(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown(service.get(cloud, caller, str(export))), 200


def _edit(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown(service.edit(cloud, caller, str(export), json_object(request))), 200


def _delete(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    service.delete(cloud, caller, str(export))
    return None, 204


def _list(request: flask.Request) -> Answer:
    """Those that are not at their end, unless `?state=` names another, or `all`."""
    cloud, caller = who(request, SCOPE)
    asked = request.args.get("state")
    if asked not in (None, "all", *STATES):
        raise Invalid.field("state", f"must be all or one of {', '.join(STATES)}; got {asked!r}")
    states = list(LISTED) if asked is None else list(STATES) if asked == "all" else [asked]
    collection = cloud.db.collection("exports")
    newest = (
        collection.where(filter=FieldFilter("customer", "==", caller.customer))
        .where(filter=FieldFilter("state", "in", states))
        .order_by("created", direction=firestore.Query.DESCENDING)
    )
    found, token = page(request, newest, collection, caller.customer)
    exports = [_shown(from_snapshot(snapshot)) for snapshot in found]
    return {"exports": exports, "next_page_token": token}, 200


def _history(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    collection = cloud.db.collection(f"{service.get(cloud, caller, str(export)).path}/versions")
    newest = collection.order_by("version", direction=firestore.Query.DESCENDING)
    found, token = page(request, newest, collection, caller.customer)
    return {"history": [_shown_version(snapshot) for snapshot in found], "next_page_token": token}, 200


def _pause(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown(pausing.pause(cloud, caller, str(export))), 200


def _resume(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    resumed, left_out = pausing.resume(cloud, caller, str(export))
    return {**_shown(resumed), "left_out": audit.bounds(left_out) if left_out else None}, 200


def _test(request: flask.Request, export: UUID) -> Answer:
    """Test the connection; one that passes has an export that was suspended go on."""
    cloud, caller = who(request, SCOPE)
    asked = service.get(cloud, caller, str(export))
    service.must_be_alive(asked)
    steps = pausing.test(cloud, caller, asked)
    return {"passed": passed(steps), "steps": [asdict(step) for step in steps]}, 200


def _run_now(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    run = by_hand.run_now(cloud, caller, str(export), repeatable(request))
    return _shown_run(cloud.db.document(run.path).get()), 201


def _backfill(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    run = by_hand.backfill(cloud, caller, str(export), json_object(request), repeatable(request))
    return _shown_run(cloud.db.document(run.path).get()), 201


def _runs(request: flask.Request, export: UUID) -> Answer:
    cloud, caller = who(request, SCOPE)
    collection = cloud.db.collection(f"exports/{service.get(cloud, caller, str(export)).id}/runs")
    newest = collection.order_by("due", direction=firestore.Query.DESCENDING)
    found, token = page(request, newest, collection, caller.customer)
    return {"runs": [_shown_run(snapshot) for snapshot in found], "next_page_token": token}, 200


def _run(request: flask.Request, export: UUID, run: str) -> Answer:
    cloud, caller = who(request, SCOPE)
    return _shown_run(by_hand.get_run(cloud, caller, str(export), run)), 200


def _cancel(request: flask.Request, export: UUID, run: str) -> Answer:
    cloud, caller = who(request, SCOPE)
    cancelled = by_hand.cancel(cloud, caller, str(export), run)
    return _shown_run(cloud.db.document(cancelled.path).get()), 200


def _retry(request: flask.Request, export: UUID, run: str) -> Answer:
    cloud, caller = who(request, SCOPE)
    taken_up = by_hand.retry(cloud, caller, str(export), run, repeatable(request))
    return _shown_run(cloud.db.document(taken_up.path).get()), 200


def _mails(request: flask.Request, export: UUID, run: str) -> Answer:
    cloud, caller = who(request, SCOPE)
    owner = by_hand.get_run(cloud, caller, str(export), run).reference
    found, token = page(request, mailed.newest(cloud, owner.path), owner.collection("mails"), caller.customer)
    listed = [_shown_mail(each) for each in mailed.shown(cloud, found)]
    return {"mails": listed, "next_page_token": token}, 200


def _revoke(request: flask.Request, export: UUID, run: str, mail: str) -> Answer:
    """Withdraw the links of a mail."""
    cloud, caller = who(request, SCOPE)
    owner = by_hand.get_run(cloud, caller, str(export), run).reference.path
    return _shown_mail(mailed.revoke(cloud, owner, mail)), 200


def _resend(request: flask.Request, export: UUID, run: str, mail: str) -> Answer:
    """Send a mail once more: a person's word, which one of which nobody knows whether it was sent needs."""
    cloud, caller = who(request, SCOPE)
    service.must_be_alive(service.get(cloud, caller, str(export)))
    found = runs.from_snapshot(by_hand.get_run(cloud, caller, str(export), run))
    if found.state == runs.FAILED and mailed.find(cloud, found.path, mail).kind == mailing.DELIVERY:
        raise Conflict(f"the run {run} has failed: retry it, which sends what was refused")
    return _shown_mail(mailed.resend(cloud, found.path, mail)), 200


def _options(request: flask.Request) -> Answer:
    who(request, SCOPE)
    return {
        "export_types": list(SOURCES),
        "file_formats": list(FORMATS),
        "intervals": list(INTERVALS),
        "connector_types": list(CONNECTORS),
        "date_formats": list(get_args(DateFormat)),
    }, 200


ROUTES = Routes(
    {
        ("POST", "/v1/exports"): _create,
        ("GET", "/v1/exports"): _list,
        ("GET", "/v1/options"): _options,
        ("GET", "/v1/exports/<uuid:export>"): _get,
        ("PATCH", "/v1/exports/<uuid:export>"): _edit,
        ("DELETE", "/v1/exports/<uuid:export>"): _delete,
        ("GET", "/v1/exports/<uuid:export>/history"): _history,
        ("POST", "/v1/exports/<uuid:export>:pause"): _pause,
        ("POST", "/v1/exports/<uuid:export>:resume"): _resume,
        ("POST", "/v1/exports/<uuid:export>:run"): _run_now,
        ("POST", "/v1/exports/<uuid:export>:backfill"): _backfill,
        ("POST", "/v1/exports/<uuid:export>:test"): _test,
        ("GET", "/v1/exports/<uuid:export>/runs"): _runs,
        ("GET", _RUN): _run,
        ("POST", f"{_RUN}:cancel"): _cancel,
        ("POST", f"{_RUN}:retry"): _retry,
        ("GET", f"{_RUN}/mails"): _mails,
        (
            "POST",
            f"{_MAIL}:revoke",
        ): _revoke,
        (
            "POST",
            f"{_MAIL}:resend",
        ): _resend,
        **downloads.ROUTES,
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
        "suspended": export.suspended,
    }


def _shown_mail(shown: Shown) -> dict[str, Any]:
    mail = shown.mail
    return {
        "id": mail.id,
        "kind": mail.kind,
        "address": mail.address,
        "status": mail.state,
        "reason": mail.reason,
        "next_action": mail.next_action,
        "created": audit.milliseconds(mail.created),
        "ended": audit.milliseconds(mail.ended) if mail.ended else None,
        "links": [_shown_link(link) for link in shown.links],
    }


def _shown_link(link: Link) -> dict[str, Any]:
    return {
        "id": link.id,
        "created": audit.milliseconds(link.created),
        "expires": audit.milliseconds(link.expires),
        "revoked": link.revoked,
        "downloads": link.downloads,
        "clicks": [
            {"at": audit.milliseconds(each.at), "agent": each.agent, "file": each.file}
            for each in link.clicks
        ],
    }


def _shown_version(snapshot: Snapshot) -> dict[str, Any]:
    fields = fields_of(snapshot)
    config = ExportConfig.model_validate(fields["config"]).model_dump(mode="json")
    return {
        "version": fields["version"],
        "created": audit.milliseconds(fields["created"]),
        "user": fields["user"],
        "config": config,
    }


def _shown_run(snapshot: Snapshot) -> dict[str, Any]:
    ended: dict[str, Any] | None = fields_of(snapshot).get("audit")
    if ended is not None:
        return audit.ordered(ended)
    run = runs.from_snapshot(snapshot)
    return audit.event(run, Outcome(status=run.state), None)
