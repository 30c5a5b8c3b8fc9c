"""The pages of exports: their list, the form that makes and edits them, and one with all that can be done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args
from uuid import UUID
from zoneinfo import ZoneInfo

import flask

from shared.console import calendar, export_form
from shared.console.export_form import INPUTS, Kept, Values
from shared.console.forms import Problems
from shared.console.page import Page
from shared.console.rendering import with_query
from shared.console.testing import Testing
from shared.console.visit import Visit, sentences
from shared.errors import Invalid, Outdated, Refused
from shared.exports.config import MAX_SITES, timezones
from shared.exports.export import DELETED, ENDED, OUTCOMES, PAUSED, STATES, SUSPENDED
from shared.exports.runs import PENDING
from shared.formats import FORMATS
from shared.formats.base import DateFormat
from shared.gcp.documents import server_time
from shared.http.paging import MAX_PAGE
from shared.http.routes import failure
from shared.sources import SOURCES
from shared.window import floor_minute, utc_second

HOME = "/console/exports"

PAGE_SIZE = 10
"""How many exports, versions or runs a page of a list has: its first byte comes within twice an empty page's
(tests/benchmarks/pages.py)."""

FILTERS = ("state", "connector_type", "export_type", "outcome")
"""The filters of the list, as the API names them."""

CHOICES = ("connector_type", "export_type", "file_format")
"""What an address can choose of an empty form."""

LAST_RUNS = 5
"""How many of the last runs the page of an export shows."""

SITES_SHOWN = 100
"""How many sites the form lists; the ids of others are typed."""

VERSIONS_LOOKED_AT = 20
"""Among how many of the last versions the one is looked for that a form was made from."""

sentences(
    export_made="The export was made. Test its connection before its first run.",
    export_saved="The changes were saved. What has begun goes on as it was.",
    export_paused="The export is paused. What has begun is finished.",
    export_resumed="The export goes on.",
    export_deleted="The export was deleted. Its history stays.",
    export_retrying="Its failed windows are retried, the oldest first.",
    export_links_withdrawn="The links were withdrawn: they open nothing any more.",
    run_begun="The run was begun.",
)


@dataclass(frozen=True)
class Action:
    """What can be done with an export: a link where `path` leads to a page, else a form with one button. With
    a `reason` it cannot be done now."""

    label: str
    path: str
    reason: str = ""
    page: bool = False
    kind: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


# --- the list


def _list(visit: Visit) -> flask.Response:
    filters = {name: visit.query.get(name, "") for name in FILTERS}
    asked = {**filters, "page_size": PAGE_SIZE, "page_token": visit.query.get("page_token")}
    answer = visit.api.get("/v1/exports", asked)
    return visit.page(
        "exports/list.html",
        exports=answer["exports"],
        next_token=answer["next_page_token"],
        filters=filters,
        states=[("", "Not ended"), *((each, each.capitalize()) for each in STATES), ("all", "All")],
        connectors=[("", "Any"), *((each, each) for each in INPUTS)],
        sources=[("", "Any"), *((each, each) for each in SOURCES)],
        outcomes=[("", "Any"), *((each, each.capitalize()) for each in OUTCOMES)],
        curl=visit.curl("GET", "/v1/exports", query=asked),
        first_curl=visit.curl("POST", "/v1/exports", FIRST),
    )


FIRST = {
    "name": "Nightly, to BI",
    "site_ids": ["the id of a site of GET /v1/sites"],
    "interval": "daily",
    "timezone": "Europe/Paris",
    "at": "02:30",
    "connector_type": "cloud_storage",
    "connector_config": {"storage_uri": "gs://your-bucket/waybill/", "export_images": True},
}
"""The body of the call that the empty list shows."""


# --- the form


def _new(visit: Visit) -> flask.Response:
    chosen: Values = {name: visit.query[name] for name in CHOICES if name in visit.query}
    return _form(visit, None, export_form.whole(chosen), Kept())


def _create(visit: Visit) -> flask.Response:
    values = export_form.of_form(visit.form)
    body = export_form.body(values, visit.form, Kept(), edits=False)
    try:
        made = visit.api.send("POST", "/v1/exports", body, once=visit.form.once)
    except Refused as refused:
        return _form(visit, None, values, Kept(), refused=refused)
    return visit.redirect(f"{HOME}/{made['id']}", said="export-made")


def _preview_new(visit: Visit) -> flask.Response:
    return _form(visit, None, export_form.of_form(visit.form), Kept())


def _edit(visit: Visit, export: UUID) -> flask.Response:
    shown = visit.api.get(f"/v1/exports/{export}")
    return _form(visit, shown, export_form.whole(export_form.of_config(shown)), Kept.of_config(shown))


def _save(visit: Visit, export: UUID) -> flask.Response:
    values, kept = export_form.of_form(visit.form), Kept.of_form(visit.form)
    body = export_form.body(values, visit.form, kept, edits=True)
    seen = visit.form.text("version")
    version = int(seen) if seen.isdecimal() and len(seen) <= 9 else 0
    path = f"/v1/exports/{export}"
    try:
        visit.api.send("PATCH", path, body, once=visit.form.once, version=version)
    except Outdated:
        shown = visit.api.get(path)
        return _form(visit, shown, values, kept, changed=_changed(visit, path, version), stale_since=version)
    except Refused as refused:
        return _form(visit, visit.api.get(path), values, kept, refused=refused, version=version)
    return visit.redirect(f"{HOME}/{export}", said="export-saved")


def _preview_edit(visit: Visit, export: UUID) -> flask.Response:
    shown = visit.api.get(f"/v1/exports/{export}")
    seen = visit.form.text("version")
    values, kept = export_form.of_form(visit.form), Kept.of_form(visit.form)
    return _form(visit, shown, values, kept, version=int(seen) if seen.isdecimal() else None)


def _changed(visit: Visit, path: str, since: int) -> list[export_form.Difference] | None:
    """What of a config was changed since a version; None where that is too long ago."""
    history = visit.api.get(f"{path}/history", {"page_size": VERSIONS_LOOKED_AT})["history"]
    before = next((each["config"] for each in history if each["version"] == since), None)
    return None if before is None else export_form.differences(before, history[0]["config"])


def _form(
    visit: Visit,
    shown: dict[str, Any] | None,
    values: Values,
    kept: Kept,
    *,
    refused: Refused | None = None,
    changed: list[export_form.Difference] | None = None,
    stale_since: int | None = None,
    version: int | None = None,
) -> flask.Response:
    """The form with these values, of a new export or of one that is `shown`.

    refused      why it could not be saved
    stale_since  of which version the form was that could not be saved, since there is another by now;
                 `changed` is what was changed since
    version      which version the form is of, where not of the newest
    """
    values = export_form.whole(values)
    call = ("POST", "/v1/exports") if shown is None else ("PATCH", f"/v1/exports/{shown['id']}")
    body = export_form.body(values, visit.form, kept, edits=shown is not None)
    inputs = INPUTS.get(values["connector_type"], ())
    secrets = [each for each in inputs if each.secret]
    problems = Problems.of(refused, (*export_form.FIELDS, "site_ids"))
    status = 412 if stale_since is not None else 200 if refused is None else max(refused.status, 422)
    sites = visit.api.get("/v1/sites", {"page_size": SITES_SHOWN})
    listed = {each["id"] for each in sites["sites"]}
    windows, wrong = _windows(visit, shown, body, [*listed])
    chosen = values["site_ids"].split("\n") if values["site_ids"] else []
    return visit.page(
        "exports/form.html",
        status=status,
        shown=shown,
        path=f"{HOME}/new" if shown is None else f"{HOME}/{shown['id']}/edit",
        version=None if shown is None else shown["version"] if version is None else version,
        values=values,
        kept=kept,
        problems=problems,
        stale_since=stale_since,
        changed=changed,
        secret_problems=[problems.fields[each.key] for each in secrets if each.key in problems.fields],
        inputs=[each for each in inputs if not each.secret],
        secrets=secrets,
        others=[each for each in _all_inputs() if each not in inputs and not each.secret],
        sites=sites["sites"],
        chosen=chosen,
        other_sites="\n".join(each for each in chosen if each not in listed),
        types_sites=bool(sites["next_page_token"]) or bool(set(chosen) - listed),
        max_sites=MAX_SITES,
        format=FORMATS.get(values["file_format"]),
        source=SOURCES.get(values["export_type"]),
        sources=[(each, each) for each in SOURCES],
        formats=[(each, each) for each in FORMATS],
        connectors=[(each, each) for each in INPUTS],
        dates=[(each, each) for each in get_args(DateFormat)],
        intervals=export_form.INTERVAL_CHOICES,
        timezones=sorted(timezones()),
        on_a_clock=export_form.on_a_clock,
        windows=windows,
        wrong_schedule=wrong,
        zone=values["timezone"],
        label=export_form.label,
        curl=visit.curl(*call, body),
    )


SCHEDULE = ("interval", "timezone", "at", "start", "end")
"""The fields of a config that say when its windows are."""

STAND_IN = {"name": "…", "connector_type": "email", "connector_config": {"emails": ["nobody@example.com"]}}
"""What a preview is asked with beside the schedule, where an export is still to be made: its windows follow
from the schedule alone, and are shown while the rest is still missing."""


def _windows(
    visit: Visit, shown: dict[str, Any] | None, body: Mapping[str, Any], sites: list[str]
) -> tuple[list[dict[str, str]], list[str]]:
    """The windows that would begin next by the form's schedule, and what is wrong with that."""
    schedule = {name: body.get(name) for name in SCHEDULE}
    if shown is not None and shown["state"] == DELETED:
        return [], ["The export was deleted."]
    if shown is None and not sites:
        return [], ["There is no site of yours yet: Waybill's operators add one."]
    try:
        if shown is not None:
            answer = visit.api.send("POST", f"/v1/exports/{shown['id']}:preview", schedule)
        else:
            given = {name: value for name, value in schedule.items() if value is not None}
            answer = visit.api.send(
                "POST", "/v1/exports:preview", {**STAND_IN, "site_ids": sites[:1], **given}
            )
    except Invalid as wrong:
        return [], [f"{export_form.label(each.field)}: {each.message}" for each in wrong.problems]
    return list(answer["next_windows"]), []


def _all_inputs() -> list[export_form.Input]:
    """The fields of all connectors, each name once."""
    found = {each.key: each for inputs in INPUTS.values() for each in inputs}
    return list(found.values())


# --- one export


def _show(visit: Visit, export: UUID) -> flask.Response:
    return show(visit, str(export))


def show(visit: Visit, export: str, refused: Refused | None = None) -> flask.Response:
    """The page of an export; `refused` says why nothing was done there."""
    path = f"/v1/exports/{export}"
    shown = visit.api.get(path)
    runs = visit.api.get(f"{path}/runs", {"page_size": LAST_RUNS, "files": "false"})
    under_way = any(each["timestamp"] is None for each in runs["runs"])
    return visit.page(
        "exports/show.html",
        status=200 if refused is None else refused.status,
        shown=shown,
        runs=runs["runs"],
        more_runs=runs["next_page_token"] is not None,
        windows=shown["next_windows"],
        live=under_way or shown["failed_windows"]["retrying"],
        refused=refused,
        actions=_actions(shown),
        config=export_form.flat(shown),
        label=export_form.label,
        left_out=_left_out(visit),
        waits=waits,
        curl=visit.curl("GET", path),
    )


def waits(run: Mapping[str, Any]) -> str:
    """What a run waits for, in words; empty where it waits for nothing."""
    slot = "a free slot, or an earlier run of this export" if run["status"] == PENDING else ""
    return str(run.get("waits_for") or slot)


def _actions(shown: Mapping[str, Any]) -> list[Action]:
    """What can be done with an export, and why what cannot be done now cannot."""
    home, state = f"{HOME}/{shown['id']}", shown["state"]
    deleted = "It was deleted." if state == DELETED else ""
    ended = deleted or ("It has ended: no window is left." if state == ENDED else "")
    stands = deleted or ended or ("It is active." if state not in (PAUSED, SUSPENDED) else "")
    return [
        Action("Edit", f"{home}/edit", deleted, page=True),
        Action("Test the connection", f"{home}/test", deleted, page=True),
        Action("Run now", f"{home}/run", ended),
        Action("Backfill", f"{home}/backfill", deleted, page=True),
        Action("Pause", f"{home}/pause", ended or ("It is paused." if state == PAUSED else "")),
        Action("Resume", f"{home}/resume", stands),
        *(
            [Action("Resume, and skip the open window", f"{home}/resume", fields={"skip": "true"})]
            if state == PAUSED
            else []
        ),
        Action("Delete", f"{home}/delete", deleted, page=True, kind="danger"),
    ]


def _left_out(visit: Visit) -> tuple[str, str] | None:
    """What resuming left out, as this page's address has it."""
    bounds = visit.query.get("left_out_since", ""), visit.query.get("left_out_before", "")
    try:
        start, end = (utc_second(datetime.fromisoformat(each)) for each in bounds)
    except (ValueError, OverflowError):
        return None
    return start, end


def act(visit: Visit, export: str, call: Callable[[], Any], said: str) -> flask.Response:
    """Do something with an export and lead back to it; where the API refuses, its page says why."""
    try:
        call()
    except Refused as refused:
        return show(visit, export, refused)
    return visit.redirect(f"{HOME}/{export}", said=said)


def _pause(visit: Visit, export: UUID) -> flask.Response:
    path = f"/v1/exports/{export}:pause"
    return act(visit, str(export), lambda: visit.api.send("POST", path), "export-paused")


def _resume(visit: Visit, export: UUID) -> flask.Response:
    query = {"skip": "true"} if visit.form.has("skip") else {}
    try:
        resumed = visit.api.send("POST", f"/v1/exports/{export}:resume", query=query)
    except Refused as refused:
        return show(visit, str(export), refused)
    left = resumed["left_out"] or {"start": None, "end": None}
    page = with_query(f"{HOME}/{export}", {"left_out_since": left["start"], "left_out_before": left["end"]})
    return visit.redirect(page, said="export-resumed")


def _retry_failed(visit: Visit, export: UUID) -> flask.Response:
    path, once = f"/v1/exports/{export}:retry-failed", visit.form.once
    return act(visit, str(export), lambda: visit.api.send("POST", path, once=once), "export-retrying")


def _revoke_links(visit: Visit, export: UUID) -> flask.Response:
    recipient = visit.form.text("recipient")
    path, body = f"/v1/exports/{export}:revoke-links", {"recipient": recipient} if recipient else {}
    return act(visit, str(export), lambda: visit.api.send("POST", path, body), "export-links-withdrawn")


def _run(visit: Visit, export: UUID) -> flask.Response:
    try:
        run = visit.api.send("POST", f"/v1/exports/{export}:run", once=visit.form.once)
    except Refused as refused:
        return show(visit, str(export), refused)
    return visit.redirect(f"{HOME}/{export}/runs/{run['run_id']}", said="run-begun")


def _ask_delete(visit: Visit, export: UUID) -> flask.Response:
    path = f"/v1/exports/{export}"
    return visit.page("exports/delete.html", shown=visit.api.get(path), curl=visit.curl("DELETE", path))


def _delete(visit: Visit, export: UUID) -> flask.Response:
    path = f"/v1/exports/{export}"
    return act(visit, str(export), lambda: visit.api.send("DELETE", path), "export-deleted")


def _ask_test(visit: Visit, export: UUID) -> flask.Response:
    return visit.page("exports/test.html", **_of_test(visit, str(export)), testing=None, steps=())


def _test(visit: Visit, export: UUID) -> flask.Response:
    shown, testing = _of_test(visit, str(export)), Testing()
    steps = testing.begin(lambda: visit.api.send("POST", f"/v1/exports/{export}:test"))

    def why(error: Exception) -> str:
        return failure(visit.request, visit.request_id, error, "POST /exports/<export>/test").detail

    return visit.stream("exports/test.html", **shown, testing=testing, steps=steps, why=why)


def _of_test(visit: Visit, export: str) -> dict[str, Any]:
    return {
        "shown": visit.api.get(f"/v1/exports/{export}"),
        "curl": visit.curl("POST", f"/v1/exports/{export}:test"),
    }


def _history(visit: Visit, export: UUID) -> flask.Response:
    path = f"/v1/exports/{export}"
    asked = {"page_size": PAGE_SIZE, "page_token": visit.query.get("page_token")}
    answer = visit.api.get(f"{path}/history", asked)
    versions, token = answer["history"], answer["next_page_token"]
    # What the last version of this page changed shows beside the first of the next one.
    next_one = {"page_size": 1, "page_token": token}
    further = visit.api.get(f"{path}/history", next_one)["history"] if token else []
    return visit.page(
        "exports/history.html",
        shown=visit.api.get(path),
        versions=[
            (each, export_form.differences(before["config"], each["config"]) if before else None)
            for each, before in zip(versions, [*versions[1:], *(further or [None])], strict=False)
        ],
        next_token=token,
        curl=visit.curl("GET", f"{path}/history", query=asked),
    )


# --- backfill


def _ask_backfill(visit: Visit, export: UUID) -> flask.Response:
    return _calendar(visit, str(export), visit.query.get("start", ""), visit.query.get("end", ""))


def _backfill(visit: Visit, export: UUID) -> flask.Response:
    body = {name: visit.form.text(name) for name in ("start", "end")}
    try:
        run = visit.api.send("POST", f"/v1/exports/{export}:backfill", body, once=visit.form.once)
    except Refused as refused:
        return _calendar(visit, str(export), body["start"], body["end"], refused)
    return visit.redirect(f"{HOME}/{export}/runs/{run['run_id']}", said="run-begun")


def _calendar(
    visit: Visit, export: str, start: str, end: str, refused: Refused | None = None
) -> flask.Response:
    """A month of an export, and the form that backfills a window of it."""
    path = f"/v1/exports/{export}"
    shown = visit.api.get(path)
    zone, now = ZoneInfo(shown["timezone"]), floor_minute(server_time(visit.cloud.db))
    first = calendar.month_of(visit.query.get("month", ""), now, zone)
    whole = calendar.bounds(first, zone)
    token = visit.query.get("page_token")
    asked = {
        "since": utc_second(whole.start),
        "before": utc_second(whole.end),
        "page_size": MAX_PAGE,
        "page_token": token,
    }
    answer = visit.api.get(f"{path}/windows", asked)
    windows, more = answer["windows"], answer["next_page_token"]
    known = calendar.known(whole, windows, since_first=bool(token), to_last=more is not None)
    problems = {each.field: each.message for each in refused.problems} if isinstance(refused, Invalid) else {}
    body = {"start": start or "2026-11-01T00:00", "end": end or "2026-11-02T00:00"}
    return visit.page(
        "exports/backfill.html",
        status=200 if refused is None else max(refused.status, 422),
        shown=shown,
        month=calendar.month(first, zone, windows, now, known),
        start=start,
        end=end,
        problems=problems,
        refused=None if problems else refused,
        on_a_clock=export_form.on_a_clock,
        next_token=more,
        curl=visit.curl("POST", f"{path}:backfill", body),
    )


_EXPORT = "/exports/<uuid:export>"

PAGES = [
    Page("GET", "/exports", _list),
    Page("GET", "/exports/new", _new),
    Page("POST", "/exports/new", _create),
    Page("POST", "/exports/new/preview", _preview_new),
    Page("GET", _EXPORT, _show),
    Page("GET", f"{_EXPORT}/edit", _edit),
    Page("POST", f"{_EXPORT}/edit", _save),
    Page("POST", f"{_EXPORT}/edit/preview", _preview_edit),
    Page("GET", f"{_EXPORT}/history", _history),
    Page("POST", f"{_EXPORT}/pause", _pause),
    Page("POST", f"{_EXPORT}/resume", _resume),
    Page("POST", f"{_EXPORT}/retry-failed", _retry_failed),
    Page("POST", f"{_EXPORT}/revoke-links", _revoke_links),
    Page("POST", f"{_EXPORT}/run", _run),
    Page("GET", f"{_EXPORT}/backfill", _ask_backfill),
    Page("POST", f"{_EXPORT}/backfill", _backfill),
    Page("GET", f"{_EXPORT}/test", _ask_test),
    Page("POST", f"{_EXPORT}/test", _test),
    Page("GET", f"{_EXPORT}/delete", _ask_delete),
    Page("POST", f"{_EXPORT}/delete", _delete),
]
