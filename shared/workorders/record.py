"""The export record of a work order: every field, in the order of docs/contracts/export-record.md.

A record is kept as the JSON that is exported, but for its two dates: those are the document's own and are
spliced in when a line is written, so that writing a line copies bytes and parses nothing.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

SCHEMA = 1
"""The version of the record's form; it is in each envelope and in each manifest."""

Level = Literal["error", "information", "warning"]
Value = str | int | float | bool | None

_AFTER_DATES = b',"metadata":'
# No string inside JSON can hold this: its quotes would be escaped. So the first one is the field's own.


@dataclass(frozen=True, slots=True)
class DataConformity:
    """A check on the raw input. An `error` is blocking."""

    check: str
    code: str
    level: Level


@dataclass(frozen=True, slots=True)
class JobConformity:
    """What an analysis or a person says of a task. `corrected_date` is ISO 8601 with a timezone, or null."""

    task_name: str
    analyzed_value: Value
    corrected_value: Value
    corrected_date: str | None
    message: str | None
    is_conformity_validated: bool


@dataclass(frozen=True, slots=True)
class Input:
    """A photograph; or a text or a number, which is the `value` of its metadata: then `file_extension` is
    empty. It has no dot."""

    id: str
    file_extension: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    data_conformity: tuple[DataConformity, ...] = ()
    job_conformity: tuple[JobConformity, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether a check found an error in it."""
        return any(check.level == "error" for check in self.data_conformity)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """The inputs of one task group, whose name it has, in the order in which they were created."""

    id: str
    name: str
    input: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """All of a record but its dates. `progress_score` is between 0 and 1, or null."""

    id: str
    name: str
    site_id: str
    metadata: Mapping[str, Any]
    progress_score: float | None
    work_items: tuple[WorkItem, ...]

    def work_item(self, name: str) -> WorkItem | None:
        """The work item of a task group."""
        return next((item for item in self.work_items if item.name == name), None)

    def with_work_item(self, item: WorkItem) -> "WorkOrder":
        """The same with this work item in place of the one of its name, or added at the end."""
        if self.work_item(item.name) is None:
            return dataclasses.replace(self, work_items=(*self.work_items, item))
        items = tuple(item if each.name == item.name else each for each in self.work_items)
        return dataclasses.replace(self, work_items=items)


def encode(work_order: WorkOrder) -> bytes:
    """The record as JSON, without its dates. orjson.JSONEncodeError where a value is not JSON."""
    return orjson.dumps(work_order)


def decode(record: bytes) -> WorkOrder:
    """What `encode` wrote; KeyError or orjson.JSONDecodeError where it did not."""
    fields = orjson.loads(record)
    return WorkOrder(
        id=fields["id"],
        name=fields["name"],
        site_id=fields["site_id"],
        metadata=fields["metadata"],
        progress_score=fields["progress_score"],
        work_items=tuple(
            WorkItem(
                id=item["id"],
                name=item["name"],
                input=tuple(
                    Input(
                        id=each["id"],
                        file_extension=each["file_extension"],
                        metadata=each["metadata"],
                        data_conformity=tuple(DataConformity(**check) for check in each["data_conformity"]),
                        job_conformity=tuple(JobConformity(**result) for result in each["job_conformity"]),
                    )
                    for each in item["input"]
                ),
            )
            for item in fields["work_items"]
        ),
    )


def progress(work_items: tuple[WorkItem, ...], required: tuple[str, ...]) -> float | None:
    """The share of the required task groups that have an input without a blocking error; null without any."""
    if not required:
        return None
    done = {item.name for item in work_items if any(not each.blocked for each in item.input)}
    return round(sum(name in done for name in required) / len(required), 4)


def iso(at: datetime) -> str:
    """A moment as records carry it: `2023-02-23T08:52:30.110425Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def timeline_line(record: bytes, created: str, updated: str) -> bytes:
    """A line of the timeline: the record with its two dates spliced in, and a newline."""
    cut = record.index(_AFTER_DATES)
    return b'%b,"create_date":"%b","update_date":"%b"%b\n' % (
        record[:cut],
        created.encode(),
        updated.encode(),
        record[cut:],
    )


def states_record(record: bytes) -> tuple[bytes, frozenset[str]]:
    """The states view of a record: of each work item only the last created input; and those inputs' ids."""
    fields = orjson.loads(record)
    kept: set[str] = set()
    for item in fields["work_items"]:
        item["input"] = item["input"][-1:]
        kept.update(each["id"] for each in item["input"])
    return orjson.dumps(fields), frozenset(kept)
