"""Batches: their list, making one, uploading its archive from the browser, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import flask
import orjson

from shared.batches.batch import ENDED, UNDER_WAY, WAITING_FOR_UPLOAD
from shared.console import sites
from shared.console.forms import Problems
from shared.console.page import Page
from shared.console.rendering import words
from shared.console.visit import Visit, sentences
from shared.errors import Conflict, Invalid
from shared.settings import origin_of

STATUSES = (WAITING_FOR_UPLOAD, *UNDER_WAY, *ENDED)
"""The statuses that a list can be filtered by."""

ERRORS_SHOWN = 50
"""How many errors a page has."""

FIELDS = ("filename", "code_page", "notify", "site_id")
"""The fields of the form of a new batch, by the names that the API has for them."""

sentences(
    batch_made="The batch is made. Upload its archive now.",
    batch_cancelled="The batch is cancelled. What was imported before stays.",
)


def _list(visit: Visit) -> flask.Response:
    asked = {name: visit.query.get(name, "") for name in ("site_id", "status", "page_token")}
    every = {} if asked["site_id"] else {"all_sites": "true"}
    found = visit.api.get("/v0.2/batches", {**asked, **every})
    return visit.page(
        "batches/list.html",
        batches=found["batches"],
        next_page_token=found["next_page_token"],
        sites=sites.names(visit),
        statuses=[(status, words(status)) for status in STATUSES],
        filtered=bool(asked["site_id"] or asked["status"]),
        live=any(each["status"] not in ENDED for each in found["batches"]),
    )


def _new(visit: Visit) -> flask.Response:
    return _form(visit, {"site_id": visit.query.get("site_id") or visit.caller.site or ""})


def _make(visit: Visit) -> flask.Response:
    form = visit.form
    # What a page of ours uploads needs a URL that was made for our pages.
    body: dict[str, Any] = {"origin": visit.cloud.settings.origin or None}
    body |= {name: form.text(name) for name in ("filename", "code_page") if form.has(name)}
    if form.lines("notify"):
        body["notify"] = form.lines("notify")
    query = {"site_id": form.text("site_id")} if form.has("site_id") else {}
    try:
        made = visit.api.send("POST", "/v0.2/batches", body, query=query, once=form.once)
    except Invalid as wrong:
        values = {**{name: form.whole(name) for name in FIELDS}, "once": form.once}
        return _form(visit, values, wrong)
    return visit.redirect(f"/console/batches/{made['id']}", said="batch-made")


def _form(visit: Visit, values: Mapping[str, str], wrong: Invalid | None = None) -> flask.Response:
    problems = Problems.of(wrong, FIELDS)
    return visit.page(
        "batches/new.html",
        status=200 if wrong is None else 422,
        values={name: values.get(name, "") for name in FIELDS},
        problems=problems.fields,
        others=problems.others,
        sites=sites.names(visit),
    )


def _show(visit: Visit, batch: UUID) -> flask.Response:
    shown = visit.api.get(f"/v0.2/batches/{batch}")
    settings = visit.cloud.settings
    waits = shown["status"] == WAITING_FOR_UPLOAD
    uploads = waits and shown["origin"] is not None
    if uploads:
        # The upload itself is the one request of a page that leaves our host.
        visit.connect = (origin_of(settings.storage_url),)
    return visit.page(
        "batches/show.html",
        batch=shown,
        sites=sites.names(visit),
        waits=waits,
        uploads=uploads,
        ended=shown["status"] in ENDED,
        url=settings.url,
    )


def _upload_url(visit: Visit, batch: UUID) -> flask.Response:
    """The upload URL, for the script that uploads: it is a secret, so it is in no page and in no history."""
    shown = visit.api.get(f"/v0.2/batches/{batch}")
    if shown["status"] != WAITING_FOR_UPLOAD:
        raise Conflict(f"the batch waits for no archive: it is {shown['status']}")
    return flask.Response(orjson.dumps({"upload_url": shown["upload_url"]}), content_type="application/json")


def _ask_to_cancel(visit: Visit, batch: UUID) -> flask.Response:
    shown = visit.api.get(f"/v0.2/batches/{batch}")
    return visit.page("batches/cancel.html", batch=shown, ended=shown["status"] in ENDED)


def _cancel(visit: Visit, batch: UUID) -> flask.Response:
    visit.api.send("DELETE", f"/v0.2/batches/{batch}")
    return visit.redirect(f"/console/batches/{batch}", said="batch-cancelled")


def _errors(visit: Visit, batch: UUID) -> flask.Response:
    shown = visit.api.get(f"/v0.2/batches/{batch}")
    asked = {name: visit.query.get(name, "") for name in ("code", "level", "work_order_prefix", "page_token")}
    query = {**asked, "page_size": ERRORS_SHOWN}
    path = f"/v0.2/batches/{batch}/errors/list"
    found = visit.api.get(path, query)
    return visit.page(
        "batches/errors.html",
        batch=shown,
        errors=found["errors"],
        next_page_token=found["next_page_token"],
        codes=_codes(shown["codes"], asked["code"]),
        asked=asked,
        filtered=any(value for name, value in asked.items() if name != "page_token"),
        command=visit.curl("GET", path, query={**query, "page_token": ""}),
    )


def _codes(codes: Mapping[str, int], asked: str) -> Sequence[tuple[str, str]]:
    """The codes to choose from, the most frequent first."""
    known = sorted(codes, key=lambda code: (-codes[code], code))
    more = [asked] if asked and asked not in codes else []
    return [(code, f"{code} ({codes[code]:,})") for code in known] + [(code, code) for code in more]


def _errors_csv(visit: Visit, batch: UUID) -> flask.Response:
    answer: flask.Response = visit.api.get(f"/v0.2/batches/{batch}/errors", {"format": "csv"})
    return answer


def _errors_jsonl(visit: Visit, batch: UUID) -> flask.Response:
    answer: flask.Response = visit.api.get(f"/v0.2/batches/{batch}/errors")
    return answer


def _failed_folders(visit: Visit, batch: UUID) -> flask.Response:
    answer: flask.Response = visit.api.get(f"/v0.2/batches/{batch}/failed-folders")
    return answer


PAGES = [
    Page("GET", "/batches", _list),
    Page("GET", "/batches/new", _new),
    Page("POST", "/batches/new", _make),
    Page("GET", "/batches/<uuid:batch>", _show),
    Page("POST", "/batches/<uuid:batch>/upload-url", _upload_url),
    Page("GET", "/batches/<uuid:batch>/cancel", _ask_to_cancel),
    Page("POST", "/batches/<uuid:batch>/cancel", _cancel),
    Page("GET", "/batches/<uuid:batch>/errors", _errors),
    Page("GET", "/batches/<uuid:batch>/errors.csv", _errors_csv),
    Page("GET", "/batches/<uuid:batch>/errors.jsonl", _errors_jsonl),
    Page("GET", "/batches/<uuid:batch>/failed-folders.txt", _failed_folders),
]
