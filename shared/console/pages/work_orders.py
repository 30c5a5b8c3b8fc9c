"""Work orders: those of a site, one with its photographs and what is known of them, and correcting that."""

import math
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import flask

from shared.console import sites
from shared.console.page import Page
from shared.console.photographs import HowLarge, photograph
from shared.console.rendering import with_query, words
from shared.console.visit import Visit, sentences
from shared.errors import Conflict, Invalid, NotFound
from shared.http.bodies import read
from shared.workorders.stored import DONE, DUE, FAILED, WAITING

INPUTS_SHOWN = 30
"""How many inputs a page has; a work order may have 5,000."""

HISTORY_SHOWN = 20
"""How many entries of the audit trail a page has."""

JSON_SHOWN = 8_000
"""How many characters of metadata a page shows; they may have 4 MiB."""

KINDS = (("text", "Text"), ("number", "Number"), ("yes", "Yes"), ("no", "No"), ("none", "No value"))
"""What a corrected value can be."""

sentences(value_corrected="The value is corrected.")


def _list(visit: Visit) -> flask.Response:
    known = sites.names(visit)
    site = visit.query.get("site_id") or visit.caller.site or next(iter(known), "")
    names = ("name", "name_prefix", "analysis", "page_token")
    asked = {name: visit.query.get(name, "") for name in names}
    path, query = "/v0.2/work-orders", {"site_id": site, **asked}
    found = visit.api.get(path, query) if site else {"work_orders": [], "next_page_token": None}
    return visit.page(
        "work_orders/list.html",
        work_orders=found["work_orders"],
        next_page_token=found["next_page_token"],
        sites=known,
        site=site,
        asked=asked,
        filtered=any(asked.values()),
        analyses=[(each, words(each)) for each in (DUE, WAITING, DONE, FAILED)],
        command=visit.curl("GET", path, query={**query, "page_token": ""}),
    )


def _show(visit: Visit, work_order: UUID) -> flask.Response:
    site = _site(visit)
    shown = _work_order(visit, work_order, site)
    inputs = [{"task_group": item["name"], **each} for item in shown["work_items"] for each in item["input"]]
    first = _number(visit.query.get("from", ""), len(inputs))
    return visit.page(
        "work_orders/show.html",
        work_order=shown,
        site=site,
        sites=sites.names(visit),
        inputs=inputs[first : first + INPUTS_SHOWN],
        first=first,
        total=len(inputs),
        step=INPUTS_SHOWN,
        json_shown=JSON_SHOWN,
        history=_history(visit, work_order),
        live=shown["analysis"] in (DUE, WAITING),
        command=visit.curl("GET", f"/v0.2/work-orders/{work_order}", query={"site_id": site}),
    )


def _site(visit: Visit) -> str:
    """The site that a page of a work order names, or the key's own."""
    return visit.query.get("site_id") or visit.form.text("site_id") or visit.caller.site or ""


def _work_order(visit: Visit, work_order: UUID, site: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = visit.api.get(f"/v0.2/work-orders/{work_order}", {"site_id": site})
    return found


def _number(text: str, most: int) -> int:
    """The first input of a page."""
    return int(text) if text.isdecimal() and len(text) < 6 and int(text) < most else 0


def _history(visit: Visit, work_order: UUID) -> list[Mapping[str, Any]] | None:
    """What was changed of it, newest first; None where the key may not see that."""
    if not visit.api.may("exports"):
        return None
    query = {"thing": f"work_orders/{work_order}", "page_size": HISTORY_SHOWN}
    entries: list[Mapping[str, Any]] = visit.api.get("/v1/audit", query)["entries"]
    return entries


def _correct(visit: Visit, work_order: UUID) -> flask.Response:
    site, input, task = _site(visit), visit.query.get("input", ""), visit.query.get("task", "")
    shown = _work_order(visit, work_order, site)
    result = _result(shown, input, task)
    value = result["corrected_value"] if result["corrected_date"] else result["analyzed_value"]
    kind = _kind(value)
    values = {
        "kind": kind,
        "value": "" if value is None or kind in ("yes", "no") else str(value),
        "message": "",
    }
    return _form(visit, shown, site, input, result, values)


def _result(shown: Mapping[str, Any], input: str, task: str) -> Mapping[str, Any]:
    """The result of a task of an input; NotFound where the work order has none."""
    for item in shown["work_items"]:
        for each in item["input"]:
            for result in each["job_conformity"] if each["id"] == input else ():
                if result["task_name"] == task:
                    found: Mapping[str, Any] = result
                    return found
    raise NotFound("the work order has no such result: go back, and load its page anew")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return "number" if isinstance(value, int | float) else "text"


def _value(kind: str, text: str) -> Any:
    """The value that a form says; Invalid where it is no number."""
    if kind != "number":
        return {"yes": True, "no": False, "none": None}.get(kind, text)
    try:
        number = int(text) if text.removeprefix("-").isdecimal() else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Invalid.field("value", "must be a number, as 12.5")
    return number


def _send_correction(visit: Visit, work_order: UUID) -> flask.Response:
    form, site = visit.form, _site(visit)
    input, task = form.whole("input"), form.whole("task")
    values = {name: form.whole(name) for name in ("kind", "value", "message")}
    try:
        correction = {
            "input_id": input,
            "task_name": task,
            "corrected_value": _value(values["kind"], values["value"].strip()),
            "seen_date": form.whole("seen_date"),
            **({"message": values["message"].strip()} if values["message"].strip() else {}),
        }
        path, query = f"/v0.2/work-orders/{work_order}", {"site_id": site}
        visit.api.send("PATCH", path, {"corrections": [correction]}, query=query)
    except (Invalid, Conflict) as refused:
        shown = _work_order(visit, work_order, site)
        return _form(visit, shown, site, input, _result(shown, input, task), values, refused)
    page = with_query(f"/console/work-orders/{work_order}", {"site_id": site})
    return visit.redirect(f"{page}#input-{input}", said="value-corrected")


def _form(
    visit: Visit,
    shown: Mapping[str, Any],
    site: str,
    input: str,
    result: Mapping[str, Any],
    values: Mapping[str, str],
    refused: Invalid | Conflict | None = None,
) -> flask.Response:
    problems, status = {}, 200
    if isinstance(refused, Invalid):
        status = 422
        problems = {
            each.field.rpartition(".")[2].replace("corrected_value", "value"): each.message
            for each in refused.problems
        }
    elif refused is not None:
        status = 409
    return visit.page(
        "work_orders/correct.html",
        status=status,
        work_order=shown,
        site=site,
        input=input,
        result=result,
        values=values,
        kinds=KINDS,
        problems=problems,
        stale=isinstance(refused, Conflict),
        command=visit.curl(
            "PATCH",
            f"/v0.2/work-orders/{shown['id']}",
            {
                "corrections": [
                    {"input_id": input, "task_name": result["task_name"], "corrected_value": values["value"]}
                ]
            },
            {"site_id": site},
        ),
    )


def _photograph(visit: Visit, site: str, file: str) -> flask.Response:
    """A photograph of a site, as it is stored or small: what the page of its work order shows."""
    visit.caller.needs("batches")
    name = f"{visit.caller.customer}/{site}/{file}"
    return photograph(visit.cloud, visit.caller, name, read(HowLarge, visit.query))


PAGES = [
    Page("GET", "/work-orders", _list),
    Page("GET", "/work-orders/<uuid:work_order>", _show),
    Page("GET", "/work-orders/<uuid:work_order>/correct", _correct),
    Page("POST", "/work-orders/<uuid:work_order>/correct", _send_correction),
    Page("GET", "/photographs/<site>/<file>", _photograph),
]
