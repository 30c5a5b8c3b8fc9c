"""The pages of an export's runs: their list, and one with its steps, its files and its mails."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import flask

from shared.console.page import Page
from shared.console.pages.exports import HOME, PAGE_SIZE, waits
from shared.console.visit import Visit, sentences
from shared.errors import Refused
from shared.exports.runs import CANCELLED, DELIVERING, ENDED, FAILED, STATES

MAILS_SHOWN = 20
"""How many mails the page of a run lists at once."""

sentences(
    run_cancelled="The run was cancelled.",
    run_retried="The run goes on.",
    mail_links_withdrawn="The links of the mail were withdrawn: they open nothing any more.",
    mail_resent="The mail is sent again.",
)

STEPS = {
    "plan": "Plan",
    "write": "Write",
    "pin": "Count what was written",
    "deliver": "Deliver the files",
    "copy": "Copy the images",
    "mail": "Send the mails",
    "finish": "Deliver the manifest",
}
"""What the steps of a run are called in a page, by their names in the API."""


def _list(visit: Visit, export: UUID) -> flask.Response:
    path = f"/v1/exports/{export}"
    status = visit.query.get("status", "")
    asked = {
        "status": status,
        "files": "false",
        "page_size": PAGE_SIZE,
        "page_token": visit.query.get("page_token"),
    }
    answer = visit.api.get(f"{path}/runs", asked)
    return visit.page(
        "runs/list.html",
        shown=visit.api.get(path),
        runs=answer["runs"],
        next_token=answer["next_page_token"],
        chosen=status,
        statuses=[("", "Any"), *((each, each.capitalize()) for each in STATES)],
        live=any(each["timestamp"] is None for each in answer["runs"]),
        waits=waits,
        curl=visit.curl("GET", f"{path}/runs", query=asked),
        run_curl=visit.curl("POST", f"{path}:run"),
    )


def _show(visit: Visit, export: UUID, run: str) -> flask.Response:
    return _page(visit, str(export), run)


def _page(visit: Visit, export: str, run: str, refused: Refused | None = None) -> flask.Response:
    path = f"/v1/exports/{export}/runs/{run}"
    shown = visit.api.get(path)
    token = visit.query.get("page_token")
    mails = visit.api.get(f"{path}/mails", {"page_size": MAILS_SHOWN, "page_token": token})
    status = shown["status"]
    home = f"{HOME}/{export}/runs/{run}"
    return visit.page(
        "runs/show.html",
        status=200 if refused is None else refused.status,
        export=visit.api.get(f"/v1/exports/{export}"),
        run=shown,
        home=home,
        steps=[(STEPS.get(each["name"], each["name"]), each) for each in shown["steps"]],
        live=status not in ENDED,
        waits=waits(shown),
        cannot_cancel=_cannot_cancel(shown),
        cannot_retry="" if status == FAILED else "Only a run that failed can be retried.",
        mails=mails["mails"],
        next_token=mails["next_page_token"],
        refused=refused,
        curl=visit.curl("GET", path),
    )


def _cannot_cancel(run: Mapping[str, Any]) -> str:
    """Why a run cannot be cancelled; empty where it can be."""
    if run["status"] in ENDED:
        return "It was cancelled." if run["status"] == CANCELLED else "It has ended."
    return "It is being delivered, and finishes." if run["status"] == DELIVERING and not waits(run) else ""


def _act(visit: Visit, export: UUID, run: str, call: Callable[[str], Any], said: str) -> flask.Response:
    try:
        call(f"/v1/exports/{export}/runs/{run}")
    except Refused as refused:
        return _page(visit, str(export), run, refused)
    return visit.redirect(f"{HOME}/{export}/runs/{run}", said=said)


def _cancel(visit: Visit, export: UUID, run: str) -> flask.Response:
    return _act(visit, export, run, lambda path: visit.api.send("POST", f"{path}:cancel"), "run-cancelled")


def _retry(visit: Visit, export: UUID, run: str) -> flask.Response:
    once = visit.form.once
    return _act(
        visit, export, run, lambda path: visit.api.send("POST", f"{path}:retry", once=once), "run-retried"
    )


def _revoke(visit: Visit, export: UUID, run: str, mail: str) -> flask.Response:
    said = "mail-links-withdrawn"
    return _act(visit, export, run, lambda path: visit.api.send("POST", f"{path}/mails/{mail}:revoke"), said)


def _resend(visit: Visit, export: UUID, run: str, mail: str) -> flask.Response:
    said = "mail-resent"
    return _act(visit, export, run, lambda path: visit.api.send("POST", f"{path}/mails/{mail}:resend"), said)


_RUNS = "/exports/<uuid:export>/runs"
_RUN = f"{_RUNS}/<run>"

PAGES = [
    Page("GET", _RUNS, _list),
    Page("GET", _RUN, _show),
    Page("POST", f"{_RUN}/cancel", _cancel),
    Page("POST", f"{_RUN}/retry", _retry),
    Page("POST", f"{_RUN}/mails/<mail>/revoke", _revoke),
    Page("POST", f"{_RUN}/mails/<mail>/resend", _resend),
]
