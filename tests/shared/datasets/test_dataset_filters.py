"""Every filter alone, each `op`, and pairs of filters, against a small dataset that is written out here."""

import itertools
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from shared.datasets import filters, request
from shared.datasets.samples import CLASSIFICATION, Label, Sample
from shared.workorders.images import Image

AS_OF = datetime(2026, 3, 31, 12, tzinfo=UTC)
SITE_A = "aaaaaaaa-0000-4000-8000-00000000000a"
SITE_B = "bbbbbbbb-0000-4000-8000-00000000000b"


def auto(name: str, task: str = "state", confidence: float | None = None) -> Label:
    return Label(name, task, confidence=confidence)


def human(name: str, task: str = "state") -> Label:
    return Label(name, task, human=True, at="2026-04-02T09:00:00Z")


def sample(
    id: str,
    site: str,
    work_order: str,
    added: str,
    labels: tuple[Label, ...] = (),
    *,
    review: tuple[str, ...] = (),
    labelers: tuple[str, ...] = (),
    hard: bool = False,
    coefficient: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Sample:
    return Sample(
        id=id,
        name=f"{id}.jpg",
        site_id=site,
        work_order=work_order,
        work_order_id=f"{site}/{work_order}",
        task_group="meter",
        added=added,
        image=Image(id, "jpg", 1, 1, "AAAAAA=="),
        labels=labels,
        review=review,
        labelers=labelers,
        hard=hard,
        hard_coefficient=coefficient,
        metadata=metadata,
    )


DATASET = [
    sample(
        *("a", SITE_A, "WO-1", "2026-03-31T08:00:00Z", (human("ok"),)),
        review=("accepted",),
        labelers=("ada",),
        metadata={"region": "north", "floor": 3},
    ),
    sample(
        *("b", SITE_A, "WO-1", "2026-03-30T00:00:00Z", (auto("broken", confidence=0.9),)),
        labelers=("bo",),
        coefficient=0.1,
        metadata={"region": "north", "floor": 4},
    ),
    sample(
        *("c", SITE_A, "WO-1", "2026-03-29T23:59:59.999999Z", (auto("broken", confidence=0.4),)),
        review=("rejected",),
        hard=True,
        coefficient=0.6,
        metadata={"region": "south", "indoor": True},
    ),
    sample(
        *(
            "d",
            SITE_A,
            "WO-2",
            "2026-03-01T00:00:00Z",
            (auto("ok", confidence=0.2), human("rust", "surface")),
        ),
        review=("reviewed",),
        labelers=("ada", "bo"),
        hard=True,
        coefficient=0.8,
        metadata={"tags": ["new", "wet"]},
    ),
    sample("e", SITE_A, "WO-2", "2026-02-28T23:59:59Z", metadata={}),
    sample(
        *("f", SITE_B, "WO-1", "2026-03-15T10:00:00Z"),
        (auto("ok", confidence=0.8), auto("rust", "surface", 0.8)),
        review=("accepted", "pending"),
        coefficient=0.2,
        metadata={"region": "north", "floor": 4.5},
    ),
    sample(
        *("g", SITE_B, "WO-3", "2019-09-01T00:00:00Z", (human("rust", "surface"),)),
        review=("Approved",),
        labelers=("cy",),
        hard=True,
        metadata={"region": "east, coast"},
    ),
    sample(
        *("h", SITE_B, "WO-3", "2019-09-15T23:59:59Z"),
        review=("accepted",),
        coefficient=0.5,
        metadata={"indoor": False},
    ),
    sample(
        *("i", SITE_B, "WO-3", "2019-09-16T00:00:00Z", (auto("broken", confidence=0.5),)),
        review=("pending",),
        coefficient=0.5,
        metadata={"region": None},
    ),
    sample(
        *("j", SITE_B, "WO 4", "2026-03-02T00:00:00Z", (auto("ok"),)),
        review=("accepted", "rejected"),
        metadata={"region": "south", "tags": ["wet"]},
    ),
    sample(
        *("k", SITE_A, "WO-5", "2026-04-01T00:00:00Z", (human("ok"), human("broken"))),
        review=("checked",),
        labelers=("ada",),
        hard=True,
        coefficient=0.7,
        metadata={"region": "north", "indoor": True},
    ),
    sample("l", SITE_A, "WO-5", "2026-03-31T23:59:59Z", labelers=("cy",), hard=True),
]
EVERY = "abcdefghijkl"
LABELLED, UNLABELLED = "abcdfgijk", "ehl"


def chosen(body: Mapping[str, Any], as_of: datetime = AS_OF) -> str:
    """The ids of the samples that this request exports."""
    parsed = request.parse({"path": "/bucket/out/", **body}, CLASSIFICATION)
    wanted = filters.matcher(parsed, as_of)
    return "".join(each.id for each in DATASET if wanted(each))


def searched(*conditions: Mapping[str, Any], as_of: datetime = AS_OF, **params: Any) -> str:
    """The ids of the samples that meet one of the search conditions."""
    return chosen({"export_type": 3, "export_params": {"search_conditions": [*conditions], **params}}, as_of)


def labels(*searches: Mapping[str, Any], op: str | None = None) -> dict[str, Any]:
    return {"label_list": {"op": op, "labels": [*searches]}}


def props(searches: Mapping[str, Any], op: str | None = None) -> dict[str, Any]:
    return {"metadata": {"op": op, "props": searches}}


TASK, BY = "task", "annotated-by"

CONDITIONS: list[tuple[dict[str, Any], str]] = [
    ({"hard": "1"}, "cdgkl"),
    ({"hard": "0"}, "abefhij"),
    ({"import_origin": SITE_A}, "abcdekl"),
    ({"import_origin": SITE_B}, "fghij"),
    ({"labeler": "ada"}, "adk"),
    ({"labeler": "bo"}, "bd"),
    ({"labeler": "Ada"}, ""),
    ({"sample_dir": "WO-1/"}, "abcf"),
    ({"sample_dir": "WO 4/"}, "j"),
    ({"sample_dir": "WO/"}, ""),
    ({"sample_name": "b.jpg"}, "b"),
    ({"sample_name": "b"}, ""),
    ({"coefficient": "0.5-0.7"}, "chik"),
    ({"coefficient": "0.8-1"}, "d"),
    ({"coefficient": "0-0.1"}, "b"),
    ({"score": "0.4-0.5"}, "ci"),
    ({"score": "0.8-1.0"}, "bf"),
    ({"score": "0.2-0.2"}, "d"),
    ({"score": "0-1"}, "bcdfi"),
    ({"sample_time": "day"}, "abl"),
    ({"sample_time": "month"}, "abcdfjl"),
    ({"sample_time": "20190901-20190915"}, "gh"),
    ({"sample_time": "20190916-20190916"}, "i"),
    (props({"region": ["north"]}), "abfk"),
    (props({"region": ["north", "south"]}), "abcfjk"),
    (props({"region": None}), "abcfgjk"),
    (props({"region": []}), "abcfgjk"),
    (props({"region": ["east, coast"]}), "g"),
    (props({"floor": ["3"]}), "a"),
    (props({"floor": ["4.5", "4"]}), "bf"),
    (props({"indoor": ["true"]}), "ck"),
    (props({"indoor": ["false"]}), "h"),
    (props({"tags": ["wet"]}), "dj"),
    (props({"tags": ["new"]}), "d"),
    (props({"colour": None}), ""),
    (props({"region": ["north"], "indoor": ["true"]}, "AND"), "k"),
    (props({"region": ["north"], "indoor": ["true"]}, "OR"), "abcfk"),
    (props({"region": ["north"]}, "OR"), "abfk"),
    (labels({"name": "ok"}), "adfjk"),
    (labels({"name": "ok"}, op="OR"), "adfjk"),
    (labels({"name": "OK"}), ""),
    (labels({"name": "broken"}), "bcik"),
    (labels({"name": "ok"}, {"name": "broken"}, op="AND"), "k"),
    (labels({"name": "ok"}, {"name": "broken"}, op="OR"), "abcdfijk"),
    (labels({"name": "ok"}, {"name": "rust"}, op="AND"), "df"),
    (labels({"name": "ok"}, {"name": ""}), "adfjk"),
    (labels({"type": 0}), LABELLED),
    (labels({"name": "rust", "type": 0}), "dfg"),
    (labels({"property": {TASK: ["surface"]}}), "dfg"),
    (labels({"property": {TASK: ["state", "surface"]}}), LABELLED),
    (labels({"property": {TASK: None}}), LABELLED),
    (labels({"property": {TASK: ["meter"]}}), ""),
    (labels({"property": {BY: ["human"]}}), "adgk"),
    (labels({"property": {BY: ["auto"]}}), "bcdfij"),
    (labels({"property": {BY: []}}), LABELLED),
    (labels({"name": "ok", "property": {BY: ["human"]}}), "ak"),
    (labels({"name": "ok", "property": {BY: ["auto"]}}), "dfj"),
    (labels({"name": "rust", "property": {TASK: ["state"]}}), ""),
    (labels({"op": "AND", "property": {TASK: ["surface"], BY: ["human"]}}), "dg"),
    (labels({"op": "AND", "property": {TASK: ["state"], BY: ["human"]}}), "ak"),
    (labels({"op": "OR", "property": {TASK: ["surface"], BY: ["human"]}}), "adfgk"),
    (labels({"name": "ok", "op": "OR", "property": {TASK: ["surface"], BY: ["human"]}}), "ak"),
]

STATES = {
    "__ALL__": LABELLED,
    "__NONE__": UNLABELLED,
    "__UNCHECK__": "bdfik",
    "__ACCEPTED__": "agh",
    "__REJECTED__": "cj",
    "__UNREVIEWED__": "bfi",
    "__REVIEWED__": "acdghjk",
    "__AUTO_ANNOTATION__": "bcfij",
}


@pytest.mark.parametrize(
    ("export_type", "expected"), [(0, LABELLED), (1, UNLABELLED), (2, EVERY), (3, EVERY), (None, EVERY)]
)
def test_the_export_type_alone(export_type: int | None, expected: str) -> None:
    assert chosen({"export_type": export_type}) == expected


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS, ids=lambda value: str(value))
def test_each_filter_alone(condition: dict[str, Any], expected: str) -> None:
    assert searched(condition) == expected


@pytest.mark.parametrize(("state", "expected"), STATES.items())
def test_each_sample_state_alone_in_both_places(state: str, expected: str) -> None:
    assert chosen({"sample_state": state}) == expected
    assert chosen({"export_params": {"sample_state": state}}) == expected


def test_every_sample_state_has_a_meaning_and_a_test() -> None:
    assert set(filters.STATES) == set(request.SAMPLE_STATES) == set(STATES)


def test_every_filter_that_applies_has_a_test() -> None:
    tested = {field for condition, _ in CONDITIONS for field in condition}
    assert tested == set(request.SearchCondition.model_fields) - set(request.NOT_OF_PHOTOGRAPHS)


def test_ids_alone() -> None:
    assert chosen({"export_params": {"samples": ["a", "l", "unknown"]}}) == "al"


@pytest.mark.parametrize(
    "body",
    [
        {"sample_state": ""},
        {"export_params": None},
        {"export_params": {"sample_state": "", "samples": [], "search_conditions": []}},
        {"export_params": {"samples": None, "search_conditions": None}},
        {"export_params": {"search_conditions": [{}]}},
        {"export_params": {"search_conditions": [dict.fromkeys(request.SearchCondition.model_fields)]}},
        {"export_params": {"search_conditions": [dict.fromkeys(request.SearchCondition.model_fields, "")]}},
        {"export_params": {"search_conditions": [{"label_list": {}, "metadata": {}}]}},
        {"export_params": {"search_conditions": [{"label_list": {"op": "OR", "labels": [{}]}}]}},
        {
            "export_params": {
                "search_conditions": [{"label_list": {"labels": [{"name": "", "property": {}}]}}]
            }
        },
        {"export_params": {"search_conditions": [{"metadata": {"op": "AND", "props": {}}}]}},
    ],
)
def test_an_empty_filter_is_no_filter(body: dict[str, Any]) -> None:
    assert chosen({"export_type": 3, **body}) == EVERY


def test_the_fields_of_a_condition_must_all_hold() -> None:
    assert searched({"hard": "1", "import_origin": SITE_A}) == "cdkl"
    assert searched({"hard": "1", "labeler": "ada", "score": "0.1-0.3"}) == "d"
    assert searched({"sample_dir": "WO-1/", **labels({"name": "broken"})}) == "bc"
    assert searched({"sample_time": "month", **props({"region": ["south"]})}) == "cj"


def test_one_of_the_conditions_must_hold() -> None:
    assert searched({"hard": "1"}, {"labeler": "bo"}) == "bcdgkl"
    assert searched({"sample_name": "a.jpg"}, {"sample_name": "e.jpg"}, {"coefficient": "0.1-0.2"}) == "abef"


def test_a_condition_with_nothing_in_it_lets_nothing_through() -> None:
    says_nothing: list[dict[str, Any]] = [{}, {"metadata": {}}, {"label_list": {"labels": [{}]}}]
    for empty in says_nothing:
        assert searched(empty, {"hard": "1"}) == "cdgkl", empty


def test_all_parts_of_a_request_must_hold() -> None:
    hard = {"search_conditions": [{"hard": "1"}]}
    assert chosen({"export_type": 0, "export_params": hard}) == "cdgk"
    assert chosen({"export_type": 1, "export_params": hard}) == "l"
    assert chosen({"export_type": 2, "export_params": hard}) == "cdgkl"
    assert chosen({"sample_state": "__ACCEPTED__", "export_params": {"samples": ["a", "c", "g"]}}) == "ag"
    assert chosen({"sample_state": "__ACCEPTED__", "export_params": {"sample_state": "__ALL__"}}) == "ag"
    assert chosen({"export_type": 0, "sample_state": "__ACCEPTED__"}) == "ag"
    assert searched({"hard": "1"}, samples=["a", "c", "d"], sample_state="__REVIEWED__") == "cd"


def test_pairs_of_filters_hold_together_in_one_condition_and_apart_in_two() -> None:
    for (one, first), (two, second) in itertools.combinations(CONDITIONS, 2):
        if not one.keys() & two.keys():
            both = "".join(sorted(set(first) & set(second)))
            assert searched({**one, **two}) == both, f"{one} and {two}"
        either = "".join(sorted(set(first) | set(second)))
        assert searched(one, two) == either, f"{one} or {two}"


def test_pairs_of_a_filter_and_a_sample_state_hold_together() -> None:
    for (condition, first), (state, second) in itertools.product(CONDITIONS, STATES.items()):
        both = "".join(sorted(set(first) & set(second)))
        assert searched(condition, sample_state=state) == both, f"{condition} and {state}"


def test_days_are_counted_in_utc() -> None:
    """It is the 1st of April already two hours east of Greenwich."""
    east = datetime(2026, 4, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert searched({"sample_time": "day"}, as_of=east) == "abl"
    assert searched({"sample_time": "day"}, as_of=datetime(2026, 4, 1, tzinfo=UTC)) == "akl"


PAGE = (Path(__file__).parents[3] / "docs/customers/datasets-filters.md").read_text()


def first_cells(heading: str) -> list[str]:
    """What is written as code in the first column of the table under a heading."""
    [text] = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_the_page_has_each_filter_once() -> None:
    of_condition = [*request.SearchCondition.model_fields]
    parts = {
        "label_list": [f"label_list.{name}" for name in request.SearchLabels.model_fields],
        "labels": [f"label_list.labels.{name}" for name in request.SearchLabel.model_fields],
        "metadata": [f"metadata.{name}" for name in request.SearchProp.model_fields],
    }
    expected = of_condition + [each for part in parts.values() for each in part]
    assert sorted(first_cells("Search conditions")) == sorted(expected)


def test_the_page_has_each_sample_state_once() -> None:
    assert sorted(first_cells("Sample states")) == sorted(request.SAMPLE_STATES + request.SAMPLED_STATES)


def test_the_page_has_each_word_of_a_review() -> None:
    assert sorted(first_cells("Words of a review")) == sorted(filters.REVIEW_WORDS)


def test_the_page_names_the_limits() -> None:
    limits = {
        "search conditions": request.MAX_CONDITIONS,
        "labels": request.MAX_LABELS,
        "attributes": request.MAX_PROPERTIES,
        "values": request.MAX_VALUES,
        "ids": request.MAX_SAMPLES,
    }
    for what, limit in limits.items():
        assert f"{limit:,} {what}" in PAGE, f"the page does not say that there may be {limit:,} {what}"
