"""The record of docs/contracts/export-record.md, byte for byte."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from shared.workorders.record import (
    DataConformity,
    Input,
    JobConformity,
    WorkItem,
    WorkOrder,
    decode,
    encode,
    progress,
    states_record,
    timeline_line,
)

CREATED = "2023-02-23T08:52:30.110425Z"
UPDATED = "2023-02-24T18:01:00.000001Z"

WORK_ORDER = WorkOrder(
    id="1f0e3c6a-8a5d-5a53-8f2b-2f1f7c5b9a10",
    name='WO "12" / 3,"metadata":{}',
    site_id="3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b",
    metadata={"technician": "Zoë", "depth": {"cm": 12.5}},
    progress_score=0.5,
    work_items=(
        WorkItem(
            id="7a2c4a52-30a4-5d9e-9b59-0d5f2f8f5d01",
            name="meter",
            input=(
                Input(
                    id="c1b7a1de-2b62-5f0e-8f29-4b2f0f6a7e02",
                    file_extension="jpg",
                    metadata={"latitude": 48.85, "taken": "2023-02-23T08:50:00Z"},
                    data_conformity=(DataConformity("blur", "BLURRED", "warning"),),
                    job_conformity=(
                        JobConformity(
                            "reading", 1234, 1235, "2023-02-24T18:00:00.000000Z", "read anew", True
                        ),
                        JobConformity("sealed", None, None, None, None, False),
                    ),
                ),
                Input(id="0d9a2a55-6d7b-5a0b-8a71-9a6f1f4f3c03", file_extension="png"),
            ),
        ),
        WorkItem(id="2f0d8a8e-4a67-5c61-a5de-6b1c1a4a2d04", name="door"),
    ),
)


def test_a_timeline_line_is_the_golden_one(golden: Callable[[str, str], None]) -> None:
    golden("timeline.jsonl", timeline_line(encode(WORK_ORDER), CREATED, UPDATED).decode())


def test_a_states_line_is_the_golden_one_and_names_the_inputs_it_keeps(
    golden: Callable[[str, str], None],
) -> None:
    record, kept = states_record(encode(WORK_ORDER))
    golden("states.jsonl", timeline_line(record, CREATED, UPDATED).decode())
    assert kept == {"0d9a2a55-6d7b-5a0b-8a71-9a6f1f4f3c03"}


def test_a_line_has_the_fields_of_the_contract_in_its_order() -> None:
    line = orjson.loads(timeline_line(encode(WORK_ORDER), CREATED, UPDATED))
    assert list(line) == [
        "id",
        "name",
        "site_id",
        "create_date",
        "update_date",
        "metadata",
        "progress_score",
        "work_items",
    ]
    item = line["work_items"][0]
    assert list(item) == ["id", "name", "input"]
    photograph = item["input"][0]
    assert list(photograph) == ["id", "file_extension", "metadata", "data_conformity", "job_conformity"]
    assert list(photograph["data_conformity"][0]) == ["check", "code", "level"]
    assert list(photograph["job_conformity"][0]) == [
        "task_name",
        "analyzed_value",
        "corrected_value",
        "corrected_date",
        "message",
        "is_conformity_validated",
    ]


def test_a_record_comes_back_as_it_was() -> None:
    assert decode(encode(WORK_ORDER)) == WORK_ORDER


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    name=st.text(st.characters(exclude_categories=["Cs"])) | st.just('","metadata":{"x":1}'),
    metadata=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=4),
)
def test_the_dates_land_between_site_and_metadata_whatever_the_name_holds(
    name: str, metadata: dict[str, Any]
) -> None:
    work_order = replace(WORK_ORDER, name=name, metadata=metadata)
    line = orjson.loads(timeline_line(encode(work_order), CREATED, UPDATED))
    assert line.pop("create_date") == CREATED
    assert line.pop("update_date") == UPDATED
    assert orjson.dumps(line) == encode(work_order)


def test_progress_is_the_share_of_required_groups_with_an_input_that_is_not_blocked() -> None:
    good, blocked = (
        Input("a", "jpg"),
        Input("b", "jpg", data_conformity=(DataConformity("read", "X", "error"),)),
    )
    items = (
        WorkItem("1", "meter", (blocked, good)),
        WorkItem("2", "door", (blocked,)),
        WorkItem("3", "roof"),
    )
    assert progress(items, ("meter", "door", "roof")) == 0.3333
    assert progress(items, ("meter",)) == 1.0
    assert progress((), ("meter",)) == 0.0
    assert progress(items, ()) is None
