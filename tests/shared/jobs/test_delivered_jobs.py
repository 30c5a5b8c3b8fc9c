"""What jobs deliver is as docs/contracts/schemas/ says."""

import json

import pytest

from shared.items.types import SOURCES
from tests.delivered import Delivered
from tests.shared.exports.landed import read_csv
from tests.subjects.small_job import Jobs
from tests.world import World

REJECTED = "rejected-record.v1.json"


def test_a_rejected_record_has_the_fields_of_its_schema_in_each_form(world: World) -> None:
    jobs = Jobs(world)
    seen = Delivered()
    lines = (
        b'{"id": 1}\nno record\n{"id": 1, "id": 2}\n{"headers": {"action": "Update"}, "data": {"id": "?"}}\n'
    )
    array = b'[{"headers": {"action": "Nothing"}, "data": {}}, 3]'
    for content, form in ((lines, "lines"), (array, "array")):
        ended = jobs.imported(content, contentType="application/json")
        rejected = jobs.download(ended["rejected"])
        found = json.loads(rejected) if form == "array" else list(map(json.loads, rejected.splitlines()))
        assert found, form
        for each in found:
            seen.check(REJECTED, each)
    assert seen.left(REJECTED) == set()


def test_a_rejected_row_has_its_own_columns_and_the_reason(world: World) -> None:
    jobs = Jobs(world)
    ended = jobs.imported(b"id,name\n1,Ada,more\n2,Bob\n")
    rejected = jobs.download(ended["rejected"])
    assert rejected.startswith(b"id,name,waybill_error\r\n"), rejected


@pytest.mark.slow
@pytest.mark.parametrize("type", SOURCES)
def test_a_job_exports_the_records_of_a_source_as_an_export_does(world: World, type: str) -> None:
    world.work_order("WO")
    jobs = Jobs(world)
    [link] = jobs.exported(type, contentType="application/json")["links"]
    records = json.loads(jobs.download(link))
    assert records
    Delivered().rows(SOURCES[type], "json", records)
    [link] = jobs.exported(type, contentType="text/plain")["links"]
    rows = read_csv(jobs.download(link))
    assert [list(row) for row in rows] == [list(record) for record in records]
