"""Jobs over HTTP with large and with odd data."""

import json
from typing import Any

import pytest

from tests.subjects.small_job import Jobs
from tests.world import World

JSON = "application/json"


@pytest.fixture
def jobs(world: World) -> Jobs:
    return Jobs(world)


def lines(*records: Any) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in records)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ("{'': 'x'}", 0),
        ("{'__a__': 'x'}", 0),
        ("{'n': 99999999999999999999999}", 1),
        ('{"n": 99999999999999999999999}', 1),
        ("{'n': '\\ud800'}", None),
        ("{'\\ud800': 1}", None),
        ("{'n': 1e999}", None),
        ("{'" + "n" * 2000 + "': 1}", 0),
    ],
)
def test_odd_filters_find_what_they_say_or_are_rejected(jobs: Jobs, filters: str, count: int | None) -> None:
    jobs.imported(b'{"id": "1", "n": 99999999999999999999999}', contentType=JSON)
    ended = jobs.exported(filters=filters)
    if count is None:
        assert (ended["status"], ended["reason"][:7]) == ("Rejected", "filters"), ended
    else:
        assert (ended["status"], ended["recordsProcessed"]) == ("Completed", str(count)), ended


@pytest.mark.parametrize("upload", ["a" * 5000, "a/b", "__x__", "..", "\0", "é"])
def test_odd_upload_ids_are_rejected(jobs: Jobs, upload: str) -> None:
    shown = jobs.post("import", data={"itemType": "A", "contentType": JSON, "uploadId": upload})
    assert (shown["status"], shown["reason"][:9]) == ("Rejected", "uploadId:"), shown


@pytest.mark.parametrize("id", ["", "a" * 5000, "../x", "\0", "é", "{}"])
def test_odd_job_ids_are_404(jobs: Jobs, id: str) -> None:
    for path in ("status", "cancel", "revoke"):
        assert jobs.send(f"/ls/api/batch/{path}", data={"jobId": id}).status == 404


@pytest.mark.parametrize("name", ["", "__a__", "a.b`/", "x" * 2000, "\0"])
def test_a_type_may_have_fields_with_odd_names(jobs: Jobs, name: str) -> None:
    answer = jobs.send("/ls/api/itemTypes/Odd", "PUT", json={"types": {name: "integer"}, "required": [name]})
    assert answer.status == 200, answer
    assert jobs.send("/ls/api/itemTypes/Odd", "GET").body["types"] == {name: "integer"}


def test_a_definition_that_is_too_large_is_refused(jobs: Jobs) -> None:
    body = {"types": {f"{n}" + "x" * 6000: "integer" for n in range(190)}}
    answer = jobs.send("/ls/api/itemTypes/Odd", "PUT", json=body)
    assert answer.status in (400, 413), answer
