"""The pages of datasets: their list, one with its versions and tasks, a version's samples with what is drawn
on them, and what changed between two versions."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import flask

from shared.console import drawing, photographs
from shared.console import sites as own_sites
from shared.console.forms import Problems
from shared.console.page import Page
from shared.console.photographs import HowLarge
from shared.console.visit import Visit, sentences
from shared.datasets.browsing import MAX_LOOKED_AT
from shared.datasets.caller import SCOPE
from shared.datasets.request import ANNOTATION_FORMATS, PREFIXES, SAMPLE_STATES, TYPES, VERSION_FORMATS
from shared.errors import Invalid, NotFound, Outdated, Refused
from shared.http.bodies import read
from shared.workorders import images

HOME = "/console/datasets"

PAGE_SIZE = 10
"""How many datasets the list shows."""

SAMPLES = 12
"""How many samples a page shows, each with its photograph."""

CHANGES = 12
"""How many changes a page shows."""

VERSIONS, TASKS = 20, 10
"""How many of the newest versions and tasks the page of a dataset shows."""

LABELS_SHOWN = 100
"""How many labels of a dataset are shown, and suggested as filters."""

STATUSES = {0: "CREATING", 1: "READY", 4: "FAILED"}
"""What a dataset's status is called."""

TASK_OPEN = ("INIT", "RUNNING")
"""What the API says of a task that has not ended."""

STATE_NAMES = {
    "": "Any",
    "__ALL__": "Labelled",
    "__NONE__": "Not labelled",
    "__UNCHECK__": "Neither accepted nor rejected",
    "__ACCEPTED__": "Accepted",
    "__REJECTED__": "Rejected",
    "__UNREVIEWED__": "Not reviewed",
    "__REVIEWED__": "Reviewed",
    "__AUTO_ANNOTATION__": "Labelled by the analysis alone",
}
"""The states of samples as people read them."""

CONDITION = {
    "label": "label_list",
    "hard": "hard",
    "work_order": "sample_dir",
    "file_name": "sample_name",
    "score": "score",
    "time": "sample_time",
}
"""The fields of the form of filters that make one search condition, and what the API calls them."""

FILTERS = (*CONDITION, "sample_state", "search_conditions")
"""The fields of the form of filters."""

EXPORT: Mapping[str, str] = {
    "path": "",
    "version_id": "",
    "version_format": VERSION_FORMATS[0],
    "annotation_format": "",
    "export_format": "2",
    "source_type_header": PREFIXES[0],
    "sample_state": "",
    "search_conditions": "",
    "train_sample_ratio": "",
}
"""The fields of the form that exports, as the API names them, and what they hold at first."""

sentences(
    dataset_made="The dataset was made. Its first version is being made now.",
    dataset_saved="The changes were saved.",
    dataset_deleted="The dataset was deleted. What was exported stays.",
    version_begun="A version is being made. There is none where nothing has changed.",
    dataset_export_begun="The export was begun.",
    dataset_task_cancelled="The task was cancelled.",
)


# --- the list


def _list(visit: Visit) -> flask.Response:
    prefix, token = visit.query.get("name_prefix", ""), visit.query.get("page_token")
    asked = {"name_prefix": prefix, "limit": PAGE_SIZE + 1, "marker": token}
    answer = visit.api.get(_api(visit), asked)
    found = answer["datasets"]
    shown = found[:PAGE_SIZE]
    return visit.page(
        "datasets/list.html",
        datasets=shown,
        total=answer["total_number"],
        next_token=shown[-1]["dataset_id"] if len(found) > len(shown) else None,
        prefix=prefix,
        types=TYPES,
        statuses=STATUSES,
        live=any(each["status"] == 0 for each in shown),
        curl=visit.curl("GET", _api(visit), query={**asked, "limit": PAGE_SIZE}),
        first_curl=visit.curl("POST", _api(visit), FIRST),
    )


FIRST = {
    "dataset_name": "damage",
    "dataset_type": 1,
    "site_ids": ["the id of a site of GET /v1/sites"],
    "task_names": ["damage"],
}
"""The body of the call that the empty list shows."""


# --- the form


def _new(visit: Visit) -> flask.Response:
    return _form(visit, None, {"dataset_name": "", "description": "", "dataset_type": "1"}, [], [])


def _create(visit: Visit) -> flask.Response:
    values, sites, tasks = _sent(visit)
    body = {**_body(values, sites, tasks), "dataset_type": _whole_number(values["dataset_type"])}
    try:
        made = visit.api.send("POST", _api(visit), body, once=visit.form.once)
    except Refused as refused:
        return _form(visit, None, values, sites, tasks, refused)
    return visit.redirect(f"{HOME}/{made['dataset_id']}", said="dataset-made")


def _edit(visit: Visit, dataset: str) -> flask.Response:
    shown = _get(visit, dataset)
    values = {"dataset_name": shown["dataset_name"], "description": shown["description"]}
    return _form(visit, shown, values, shown["site_ids"], shown["task_names"])


def _save(visit: Visit, dataset: str) -> flask.Response:
    shown = _get(visit, dataset)
    values, sites, tasks = _sent(visit)
    body = _body(values, sites, tasks)
    # What a dataset selects is sent only where it changes: then a version is made of it.
    for name in ("site_ids", "task_names"):
        if sorted(body[name]) == sorted(shown[name]):
            del body[name]
    seen = visit.form.text("revision")
    revision = int(seen) if seen.isdecimal() and len(seen) <= 9 else 0
    try:
        visit.api.send("PUT", f"{_api(visit)}/{dataset}", body, version=revision)
    except Outdated as refused:
        # Saved again, the form is for what is there now, which its person has seen then.
        return _form(visit, _get(visit, dataset), values, sites, tasks, refused)
    except Refused as refused:
        return _form(visit, shown, values, sites, tasks, refused, revision)
    return visit.redirect(f"{HOME}/{dataset}", said="dataset-saved")


def _sent(visit: Visit) -> tuple[dict[str, str], list[str], list[str]]:
    form = visit.form
    values = {name: form.text(name) for name in ("dataset_name", "description", "dataset_type")}
    return values, [*form.values("site_ids"), *form.lines("other_site_ids")], form.lines("task_names")


def _body(values: Mapping[str, str], sites: list[str], tasks: list[str]) -> dict[str, Any]:
    named = {name: values[name] for name in ("dataset_name", "description")}
    return {**named, "site_ids": list(dict.fromkeys(sites)), "task_names": list(dict.fromkeys(tasks))}


def _whole_number(text: str) -> Any:
    """The number that a text is; the text itself where it is none, so that the API says what is wrong."""
    return int(text) if text.isdecimal() and len(text) <= 9 else text


def _form(
    visit: Visit,
    shown: Mapping[str, Any] | None,
    values: Mapping[str, str],
    sites: list[str],
    tasks: list[str],
    refused: Refused | None = None,
    revision: int | None = None,
) -> flask.Response:
    problems = Problems.of(refused, ("dataset_name", "description", "site_ids", "task_names"))
    listed = own_sites.listed(visit)
    known = {each["id"] for each in listed}
    body = _body(values, sites, tasks)
    if shown is None:
        method, path = "POST", _api(visit)
        body["dataset_type"] = _whole_number(values["dataset_type"])
    else:
        method, path = "PUT", f"{_api(visit)}/{shown['dataset_id']}"
    return visit.page(
        "datasets/form.html",
        status=200 if refused is None else refused.status,
        shown=shown,
        path=f"{HOME}/new" if shown is None else f"{HOME}/{shown['dataset_id']}/edit",
        revision=revision or (shown["revision"] if shown else None),
        stale=isinstance(refused, Outdated),
        values=values,
        sites=listed,
        chosen=sites,
        other_sites="\n".join(each for each in sites if each not in known),
        tasks="\n".join(tasks),
        types=[(str(number), name.capitalize()) for number, name in TYPES.items()],
        problems=problems.fields,
        others=() if isinstance(refused, Outdated) else problems.others,
        curl=visit.curl(method, path, body),
    )


# --- one dataset


def _show(visit: Visit, dataset: str, refused: Refused | None = None) -> flask.Response:
    shown = _get(visit, dataset)
    path = f"{_api(visit)}/{dataset}"
    versions = visit.api.get(f"{path}/versions", {"limit": VERSIONS + 1})["versions"]
    asked = {"limit": TASKS + 1, "marker": visit.query.get("page_token")}
    tasks = visit.api.get(f"{path}/export-tasks", asked)["export_tasks"]
    return visit.page(
        "datasets/show.html",
        status=200 if refused is None else refused.status,
        dataset=shown,
        home=f"{HOME}/{dataset}",
        type=TYPES.get(shown["dataset_type"], ""),
        state=STATUSES.get(shown["status"], ""),
        labels=shown["labels"][:LABELS_SHOWN],
        versions=versions[:VERSIONS],
        before={each["version_id"]: last["version_id"] for each, last in pairwise(versions)},
        more_versions=len(versions) > VERSIONS,
        tasks=tasks[:TASKS],
        task_open=TASK_OPEN,
        next_token=tasks[TASKS - 1]["task_id"] if len(tasks) > TASKS else None,
        live=shown["status"] == 0 or any(each["status"] in TASK_OPEN for each in tasks),
        refused=refused,
        curl=visit.curl("GET", path),
    )


def _make_version(visit: Visit, dataset: str) -> flask.Response:
    try:
        visit.api.send("POST", f"{_api(visit)}/{dataset}/versions", once=visit.form.once)
    except Refused as refused:
        return _show(visit, dataset, refused)
    return visit.redirect(f"{HOME}/{dataset}", said="version-begun")


def _ask_delete(visit: Visit, dataset: str) -> flask.Response:
    curl = visit.curl("DELETE", f"{_api(visit)}/{dataset}")
    return visit.page("datasets/delete.html", dataset=_get(visit, dataset), curl=curl)


def _delete(visit: Visit, dataset: str) -> flask.Response:
    try:
        visit.api.send("DELETE", f"{_api(visit)}/{dataset}")
    except NotFound:  # as after a second click
        return visit.redirect(HOME)
    return visit.redirect(HOME, said="dataset-deleted")


def _cancel(visit: Visit, dataset: str, task: str) -> flask.Response:
    try:
        visit.api.send("DELETE", f"{_api(visit)}/{dataset}/export-tasks/{task}")
    except Refused as refused:
        return _show(visit, dataset, refused)
    return visit.redirect(f"{HOME}/{dataset}", said="dataset-task-cancelled")


# --- exporting


def _new_export(visit: Visit, dataset: str) -> flask.Response:
    return _export_form(visit, dataset, {name: visit.query.get(name, each) for name, each in EXPORT.items()})


def _export(visit: Visit, dataset: str) -> flask.Response:
    values = {name: visit.form.text(name) for name in EXPORT}
    try:
        body = _export_body(values)
        visit.api.send("POST", f"{_api(visit)}/{dataset}/export-tasks", body, once=visit.form.once)
    except Refused as refused:
        return _export_form(visit, dataset, values, refused)
    return visit.redirect(f"{HOME}/{dataset}", said="dataset-export-begun")


def _export_body(values: Mapping[str, str]) -> dict[str, Any]:
    """The body of the call; Invalid where the search conditions are no JSON."""
    named = (
        "path",
        "version_id",
        "version_format",
        "annotation_format",
        "source_type_header",
        "sample_state",
    )
    body: dict[str, Any] = {name: values[name] for name in named if values[name]}
    body["export_format"] = _whole_number(values["export_format"])
    params: dict[str, Any] = {}
    if values["search_conditions"]:
        try:
            params["search_conditions"] = json.loads(values["search_conditions"])
        except (ValueError, RecursionError) as wrong:
            raise Invalid.field("search_conditions", f"is no JSON: {wrong}") from wrong
    if values["train_sample_ratio"]:
        params |= {"ratio_sample_usage": True, "train_sample_ratio": values["train_sample_ratio"]}
    return body | ({"export_params": params} if params else {})


def _export_form(
    visit: Visit, dataset: str, values: Mapping[str, str], refused: Refused | None = None
) -> flask.Response:
    problems = Problems.of(refused, EXPORT, "export_params.")
    path = f"{_api(visit)}/{dataset}"
    versions = visit.api.get(f"{path}/versions", {"limit": VERSIONS})["versions"]
    known = [(each["version_id"], each["version_name"]) for each in versions]
    if values["version_id"] and values["version_id"] not in dict(known):
        known.append((values["version_id"], values["version_id"]))
    try:
        body = _export_body(values)
    except Invalid:
        body = _export_body({**values, "search_conditions": ""})
    return visit.page(
        "datasets/export.html",
        status=200 if refused is None else refused.status,
        dataset=_get(visit, dataset),
        values=values,
        versions=[("", "The samples as they are now"), *known],
        formats=[(each, each) for each in VERSION_FORMATS],
        annotations=[("", "None"), *((each, each) for each in ANNOTATION_FORMATS)],
        layouts=[("2", "Images and label files side by side"), ("1", "A directory for each label")],
        headers=[(each, each) for each in PREFIXES],
        states=_states(),
        problems=problems.fields,
        others=problems.others,
        curl=visit.curl("POST", f"{path}/export-tasks", body),
    )


def _states() -> list[tuple[str, str]]:
    return [("", STATE_NAMES[""]), *((each, STATE_NAMES[each]) for each in SAMPLE_STATES)]


# --- samples


def _samples(visit: Visit, dataset: str, version: str) -> flask.Response:
    values = {name: visit.query.get(name, "").strip() for name in FILTERS}
    conditions = values["search_conditions"] or _condition(values)
    path = f"{_api(visit)}/{dataset}/versions/{version}"
    chosen = {"sample_state": values["sample_state"], "search_conditions": conditions}
    asked = {**chosen, "limit": SAMPLES, "marker": visit.query.get("page_token")}
    shown, about = _get(visit, dataset), visit.api.get(path)
    refused = None
    answer: Any = {"samples": [], "next_marker": None}
    try:
        answer = visit.api.get(f"{path}/samples", asked)
    except Invalid as invalid:
        refused = invalid
    problems, others = _filter_problems(refused)
    labels = [each["name"] for each in shown["labels"]]
    return visit.page(
        "datasets/samples.html",
        status=200 if refused is None else refused.status,
        dataset=shown,
        version=about,
        home=f"{HOME}/{dataset}",
        samples=[_drawn(each, labels) for each in answer["samples"]],
        next_token=answer["next_marker"],
        looked_at=MAX_LOOKED_AT,
        values=values,
        filtered=any(values.values()),
        labels=labels[:LABELS_SHOWN],
        states=_states(),
        hardness=[("", "Any"), ("1", "Hard"), ("0", "Not hard")],
        export={"version_id": version, **chosen},
        problems=problems,
        others=others,
        curl=visit.curl("GET", f"{path}/samples", query=asked),
    )


def _condition(values: Mapping[str, str]) -> str:
    """The search conditions of the fields of the form, as JSON; empty where none is given."""
    condition: dict[str, Any] = {CONDITION[name]: values[name] for name in CONDITION if values[name]}
    if values["label"]:
        condition["label_list"] = {"labels": [{"name": values["label"]}]}
    if values["work_order"]:
        condition["sample_dir"] = f"{values['work_order']}/"
    return json.dumps([condition], ensure_ascii=False) if condition else ""


def _filter_problems(refused: Invalid | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """What is wrong with the filters, at the fields of their form."""
    found = Problems.of(refused, ("sample_state", "search_conditions", *_CALLED), "export_params.")
    return {_CALLED.get(name, name): each for name, each in found.fields.items()}, found.others


_CALLED = {f"search_conditions.{theirs}": ours for ours, theirs in CONDITION.items()}


def _drawn(sample: Mapping[str, Any], labels: list[str]) -> dict[str, Any]:
    """A sample with what is drawn on it, and where its photograph is."""
    legend = [{**each, "colour": drawing.colour(each["name"], labels)} for each in sample["labels"]]
    return {
        **sample,
        "drawing": drawing.of_sample(sample, labels),
        "legend": legend[: drawing.MARKS],
        "more_labels": max(0, len(legend) - drawing.MARKS),
        "photograph": f"{HOME}/photographs/{sample['site_id']}/{sample['image']['file_name']}",
    }


def _photograph(visit: Visit, site: str, name: str) -> flask.Response:
    visit.caller.needs(SCOPE)
    id, _, extension = name.rpartition(".")
    stored = images.name_of(visit.caller.customer, site, id, extension)
    # What is drawn over it is in pixels of the image as it is stored.
    return photographs.photograph(
        visit.cloud, visit.caller, stored, read(HowLarge, visit.query), turned=False
    )


# --- what changed


def _changes(visit: Visit, dataset: str, first: str, second: str) -> flask.Response:
    path = f"{_api(visit)}/{dataset}/versions"
    before, after = (visit.api.get(f"{path}/{each}") for each in (first, second))
    shown = _get(visit, dataset)
    asked = {"limit": CHANGES, "marker": visit.query.get("page_token")}
    answer = visit.api.get(f"{path}/{first}/diff/{second}/changes", asked)
    labels = [each["name"] for each in shown["labels"]]
    small = max(each["total_sample_count"] for each in (before, after)) <= MAX_LOOKED_AT
    return visit.page(
        "datasets/changes.html",
        dataset=shown,
        home=f"{HOME}/{dataset}",
        before=before,
        after=after,
        counts=visit.api.get(f"{path}/{first}/diff/{second}") if small else None,
        changes=[{**each, "sample": _drawn(each["sample"], labels)} for each in answer["changes"]],
        most=drawing.MARKS,
        looked_at=MAX_LOOKED_AT,
        next_token=answer["next_marker"],
        curl=visit.curl("GET", f"{path}/{first}/diff/{second}/changes", query=asked),
    )


def _get(visit: Visit, dataset: str) -> dict[str, Any]:
    found: dict[str, Any] = visit.api.get(f"{_api(visit)}/{dataset}")
    return found


def _api(visit: Visit) -> str:
    """Where the API has the customer's datasets."""
    return f"/v2/{visit.caller.customer}/datasets"


PAGES = [
    Page("GET", "/datasets", _list),
    Page("GET", "/datasets/new", _new),
    Page("POST", "/datasets/new", _create),
    Page("GET", "/datasets/photographs/<site>/<name>", _photograph),
    Page("GET", "/datasets/<dataset>", _show),
    Page("GET", "/datasets/<dataset>/edit", _edit),
    Page("POST", "/datasets/<dataset>/edit", _save),
    Page("GET", "/datasets/<dataset>/delete", _ask_delete),
    Page("POST", "/datasets/<dataset>/delete", _delete),
    Page("POST", "/datasets/<dataset>/versions", _make_version),
    Page("GET", "/datasets/<dataset>/export", _new_export),
    Page("POST", "/datasets/<dataset>/export", _export),
    Page("POST", "/datasets/<dataset>/tasks/<task>/cancel", _cancel),
    Page("GET", "/datasets/<dataset>/versions/<version>", _samples),
    Page("GET", "/datasets/<dataset>/versions/<first>/diff/<second>", _changes),
]
