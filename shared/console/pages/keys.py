"""The pages of a customer's keys: their list, the form that makes one, and the question before one ends."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import flask

from shared.accounts.keys import KEYS, MAX_NAME, SCOPES
from shared.console import sites
from shared.console.forms import Problems
from shared.console.page import Page
from shared.console.pages.signing_in import SIGN_IN
from shared.console.visit import Visit, sentences
from shared.errors import Refused
from shared.gcp.documents import server_time

HOME = "/console/keys"

PAGE_SIZE = 50
"""How many keys a page of the list has."""

GOOD_FOR: Mapping[str, str] = {
    "exports": "Exports, runs, sites and the audit trail: /v1",
    "batches": "Batches and work orders: /v0.2",
    "jobs": "Import and export jobs: /ls/api",
    "datasets": "Datasets and their export tasks: /v2",
    "signing": "Requests to datasets can be signed with it, instead of sending it",
    "keys": "Making and revoking keys: /v1/keys",
}
"""What each scope opens, for people."""

FIELDS = ("name", "scopes", "site")
"""The fields of the form."""

LATELY = timedelta(hours=1)
"""Within which time after its last use, as it is kept, a key may have been used again."""

sentences(
    key_revoked="The key was revoked. It opens nothing any more, and its sessions have ended.",
    own_key_revoked="The key that you were signed in with was revoked. Sign in with another one.",
)


def _list(visit: Visit) -> flask.Response:
    asked = {"page_size": PAGE_SIZE, "page_token": visit.query.get("page_token")}
    answer = visit.api.get("/v1/keys", asked)
    now = server_time(visit.cloud.db)
    return visit.page(
        "keys/list.html",
        keys=answer["keys"],
        used={each["id"]: _used(each["last_used"], now) for each in answer["keys"]},
        next_token=answer["next_page_token"],
        curl=visit.curl("GET", "/v1/keys", query=asked),
    )


def _used(at: str | None, now: datetime) -> str:
    """When a key was used last, as exactly as that is known: empty where the time says it all."""
    if at is None:
        return "not yet"
    return "within the hour" if now - datetime.fromisoformat(at) < LATELY else ""


def _new(visit: Visit) -> flask.Response:
    visit.caller.needs(KEYS)
    return _form(visit, {"scopes": [], "name": "", "site": ""})


def _make(visit: Visit) -> flask.Response:
    form = visit.form
    values = {"scopes": form.values("scopes"), "name": form.text("name"), "site": form.text("site")}
    body = {name: value for name, value in values.items() if value}
    try:
        made = visit.api.send("POST", "/v1/keys", body, once=form.once)
    except Refused as refused:
        return _form(visit, values, refused)
    return visit.page("keys/made.html", made=made)


def _form(visit: Visit, values: Mapping[str, Any], refused: Refused | None = None) -> flask.Response:
    wrong = Problems.of(refused, FIELDS)
    body = {name: values[name] for name in FIELDS if values[name]}
    return visit.page(
        "keys/form.html",
        status=refused.status if refused else 200,
        values=values,
        problems=wrong.fields,
        others=wrong.others,
        scopes=[(scope, GOOD_FOR[scope]) for scope in SCOPES if visit.api.may(scope)],
        sites=sites.listed(visit),
        most=MAX_NAME,
        curl=visit.curl("POST", "/v1/keys", {"scopes": ["exports"], **body}),
    )


def _ask_revoke(visit: Visit, key: str) -> flask.Response:
    found = visit.api.get(f"/v1/keys/{key}")
    return visit.page(
        "keys/revoke.html",
        key=found,
        used=_used(found["last_used"], server_time(visit.cloud.db)),
        curl=visit.curl("POST", f"/v1/keys/{found['id']}:revoke"),
    )


def _revoke(visit: Visit, key: str) -> flask.Response:
    visit.api.send("POST", f"/v1/keys/{key}:revoke")
    if key == visit.caller.key:
        return visit.redirect(SIGN_IN, said="own-key-revoked")
    return visit.redirect(HOME, said="key-revoked")


_KEY = "/keys/<string(length=16):key>"

PAGES = [
    Page("GET", "/keys", _list),
    Page("GET", "/keys/new", _new),
    Page("POST", "/keys/new", _make),
    Page("GET", f"{_KEY}/revoke", _ask_revoke),
    Page("POST", f"{_KEY}/revoke", _revoke),
]
