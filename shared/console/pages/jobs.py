"""The pages of jobs: their list, one job with its rejected records, and the forms that begin an import and an
export."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import flask

from shared.console.forms import Problems
from shared.console.page import Page
from shared.console.visit import Visit, sentences
from shared.errors import Refused
from shared.http.forms import Part
from shared.jobs.job import EXPORT, IMPORT
from shared.jobs.service import STATES

HOME = "/console/jobs"
API = "/ls/api/batch"

PAGE_SIZE = 10
"""How many jobs, or rejected records, a page has."""

TEXT_SHOWN = 300
"""How many characters of a rejected record its row shows."""

TYPES_SHOWN = 100
"""How many item types the forms suggest."""

OPEN = ("Initialized", "Accepted", "Processing", "Canceling")
"""What the API says of a job that has not ended."""

CONTENT_TYPES = (("text/plain", "CSV"), ("application/json", "JSON"))
YES_OR_NO = (("true", "Yes"), ("false", "No"))

FIELDS: Mapping[str, Mapping[str, str]] = {
    IMPORT: {
        "jobName": "",
        "itemType": "",
        "contentType": "text/plain",
        "headerRow": "true",
        "merge": "false",
        "notificationEmail": "",
    },
    EXPORT: {
        "jobName": "",
        "itemType": "",
        "contentType": "text/plain",
        "rowHeader": "true",
        "filters": "",
        "sqlQuery": "",
        "template": "",
        "notificationEmail": "",
    },
}
"""The fields of the two forms but files, as the API names them, and what they hold at first."""

sentences(
    job_begun="The job was begun.",
    job_cancelled="What of the job was not processed is canceled. What was imported stays.",
    job_links_withdrawn="The links were withdrawn: they open nothing any more.",
)


# --- the list


def _list(visit: Visit) -> flask.Response:
    filters = {name: visit.query.get(name, "") for name in ("state", "kind")}
    asked = {**filters, "page_size": PAGE_SIZE, "page_token": visit.query.get("page_token")}
    answer = visit.api.get(f"{API}/jobs", asked)
    jobs = answer["jobs"]
    return visit.page(
        "jobs/list.html",
        jobs=jobs,
        next_token=answer["next_page_token"],
        filters=filters,
        states=[("", "All"), *((each, "Not ended" if each == "Open" else each) for each in STATES)],
        kinds=[("", "Both"), (IMPORT, "Import"), (EXPORT, "Export")],
        live=any(each["status"] in OPEN for each in jobs),
        curl=visit.curl("GET", f"{API}/jobs", query=asked),
        first_curl=_curl(visit, IMPORT, {**FIELDS[IMPORT], "itemType": "Technician"}),
    )


# --- one job


def _show(visit: Visit, job: UUID, refused: Refused | None = None) -> flask.Response:
    shown = visit.api.send("POST", f"{API}/status", {"jobId": str(job)})
    asked = {"jobId": str(job), "page_size": PAGE_SIZE, "page_token": visit.query.get("page_token")}
    rejects: list[Any] = []
    token = None
    if shown["jobKind"] == IMPORT:
        answer = visit.api.get(f"{API}/rejects", asked)
        rejects, token = answer["rejects"], answer["next_page_token"]
    return visit.page(
        "jobs/show.html",
        status=200 if refused is None else refused.status,
        job=shown,
        is_open=shown["status"] in OPEN,
        can_cancel=shown["status"] in OPEN and shown["status"] != "Canceling",
        downloads=_downloads(shown),
        again={name: shown[name] for name in ("jobName", "itemType", "contentType")},
        rejects=rejects,
        text_shown=TEXT_SHOWN,
        next_token=token,
        refused=refused,
        home=f"{HOME}/{job}",
        curl=visit.curl("POST", f"{API}/status", form={"jobId": str(job)}),
        rejects_curl=visit.curl("GET", f"{API}/rejects", query=asked),
    )


def _downloads(shown: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of a job can be downloaded: what it is, and its link."""
    links = shown.get("links", [])
    made = [
        ("The records" if len(links) == 1 else f"The records, {n}", url) for n, url in enumerate(links, 1)
    ]
    for name, label in (("rejected", "The rejected records"), ("unprocessed", "The records not processed")):
        if name in shown:
            made.append((label, shown[name]))
    return made


def _cancel(visit: Visit, job: UUID) -> flask.Response:
    return _act(visit, job, "cancel", "job-cancelled")


def _revoke(visit: Visit, job: UUID) -> flask.Response:
    return _act(visit, job, "revoke", "job-links-withdrawn")


def _act(visit: Visit, job: UUID, what: str, said: str) -> flask.Response:
    try:
        visit.api.send("POST", f"{API}/{what}", {"jobId": str(job)})
    except Refused as refused:
        return _show(visit, job, refused)
    return visit.redirect(f"{HOME}/{job}", said=said)


# --- the forms


def _new_import(visit: Visit) -> flask.Response:
    return _form(visit, IMPORT, _chosen(visit, IMPORT))


def _import(visit: Visit) -> flask.Response:
    sent: dict[str, str] = {}
    parts = _kept(visit.form.parts or iter(()), sent)
    try:
        made = visit.api.send("POST", f"{API}/import", parts=parts, once=visit.form.once)
    except Refused as refused:
        return _form(visit, IMPORT, {**FIELDS[IMPORT], **sent}, refused)
    return visit.redirect(f"{HOME}/{made['jobId']}", said="job-begun")


def _kept(parts: Iterator[Part], into: dict[str, str]) -> Iterator[Part]:
    """The parts of a form as they arrive; the texts of its fields are kept, so that the form can be shown
    again."""
    for part in parts:
        if part.name not in FIELDS[IMPORT]:
            yield part
            continue
        into[part.name] = part.text()
        yield replace(part, blocks=iter([into[part.name].encode()]))


def _new_export(visit: Visit) -> flask.Response:
    return _form(visit, EXPORT, _chosen(visit, EXPORT))


def _export(visit: Visit) -> flask.Response:
    sent = {name: visit.form.whole(name) for name in FIELDS[EXPORT]}
    try:
        made = visit.api.send("POST", f"{API}/export", sent, once=visit.form.once)
    except Refused as refused:
        return _form(visit, EXPORT, sent, refused)
    return visit.redirect(f"{HOME}/{made['jobId']}", said="job-begun")


def _chosen(visit: Visit, kind: str) -> dict[str, str]:
    """What a form holds at first; an address can choose of it."""
    return {name: visit.query.get(name, value) for name, value in FIELDS[kind].items()}


def _form(
    visit: Visit, kind: str, values: Mapping[str, str], refused: Refused | None = None
) -> flask.Response:
    problems = Problems.of(refused, (*FIELDS[kind], "file", "template"))
    types = visit.api.get("/ls/api/itemTypes", {"page_size": TYPES_SHOWN})["itemTypes"]
    return visit.page(
        f"jobs/{kind}.html",
        status=200 if refused is None else refused.status,
        values=values,
        problems=problems.fields,
        others=problems.others,
        types=[each["itemType"] for each in types],
        content_types=CONTENT_TYPES,
        yes_or_no=YES_OR_NO,
        curl=_curl(visit, kind, values),
    )


def _curl(visit: Visit, kind: str, values: Mapping[str, str]) -> str:
    file = "records.csv" if values["contentType"] == "text/plain" else "records.json"
    return visit.curl("POST", f"{API}/{kind}", form=values, file=file if kind == IMPORT else None)


PAGES = [
    Page("GET", "/jobs", _list),
    Page("GET", "/jobs/import", _new_import),
    Page("POST", "/jobs/import", _import, files=True),
    Page("GET", "/jobs/export", _new_export),
    Page("POST", "/jobs/export", _export),
    Page("GET", "/jobs/<uuid:job>", _show),
    Page("POST", "/jobs/<uuid:job>/cancel", _cancel),
    Page("POST", "/jobs/<uuid:job>/revoke", _revoke),
]
