"""The lists of `/ls/api`, of jobs, rejected records and item types: what they hold and cost, and who sees
it."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from google.cloud import firestore

from shared.accounts.keys import create_key
from shared.gcp.documents import fields_of
from shared.http import paging
from shared.jobs import importing, rejects, service
from tests.subjects.documents_read import documents_read
from tests.subjects.small_job import Jobs
from tests.world import World

OURS = pytest.mark.ours_only("looks at what our Firestore reads")

HOSTILE = "<script>alert(1)</script> \"' \u202eabc\u202c 🚧 " + "x" * 100


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return documents_read(monkeypatch)


@pytest.fixture
def jobs(world: World) -> Jobs:
    return Jobs(world)


def url(path: str, **query: Any) -> str:
    return f"/ls/api/{path}?{urlencode(query)}"


def got(jobs: Jobs, path: str, **query: Any) -> dict[str, Any]:
    answer = jobs.send(url(path, **query), "GET")
    assert answer.status == 200, answer
    body: dict[str, Any] = answer.body
    return body


def everything(jobs: Jobs, path: str, entries: str, **query: Any) -> list[dict[str, Any]]:
    """The entries on all pages."""
    found, token = [], None
    while True:
        page = got(jobs, path, **query, **({"page_token": token} if token else {}))
        found += page[entries]
        token = page["next_page_token"]
        if token is None:
            return found


def copies(world: World, job: str, number: int) -> None:
    """Write documents of that many jobs that are as this one."""
    template = fields_of(world.cloud.db.document(f"jobs/{job}").get())
    for start in range(0, number, 500):
        batch = world.cloud.db.batch()
        for each in range(start, min(number, start + 500)):
            reference = world.cloud.db.document(f"jobs/00000000-0000-4000-8000-{each:012}")
            batch.set(reference, {**template, "created": firestore.SERVER_TIMESTAMP})
        batch.commit()


def test_jobs_are_listed_newest_first_and_by_state_and_kind(jobs: Jobs) -> None:
    done = jobs.imported(b"id,name\n1,Ada\n", jobName=HOSTILE)
    jobs.world.wait(timedelta(seconds=1))
    wrong = jobs.post("import", data={"itemType": "Technician", "contentType": "text/plain"})
    jobs.world.wait(timedelta(seconds=1))
    waiting = jobs.begin_import(b"id\n2\n")
    jobs.world.wait(timedelta(seconds=1))
    exporting = jobs.post("export", data={"itemType": "Technician", "contentType": "text/plain"})
    listed = got(jobs, "batch/jobs")
    assert [each["jobId"] for each in listed["jobs"]] == [
        exporting["jobId"],
        waiting,
        wrong["jobId"],
        done["jobId"],
    ]
    assert listed["next_page_token"] is None
    for filters, expected in (
        ({"state": "Open"}, [exporting["jobId"], waiting]),
        ({"state": "Rejected"}, [wrong["jobId"]]),
        ({"state": "Completed"}, [done["jobId"]]),
        ({"state": "Failed"}, []),
        ({"kind": "export"}, [exporting["jobId"]]),
        ({"kind": "import", "state": "Open"}, [waiting]),
    ):
        found = got(jobs, "batch/jobs", **filters)["jobs"]
        assert [each["jobId"] for each in found] == expected, filters
    last = listed["jobs"][-1]
    shown = {name: value for name, value in done.items() if name in last}
    assert last == shown, "the list says of a job what its status says"
    assert (last["jobName"], last["recordsProcessed"], last["jobKind"]) == (HOSTILE, "1", "import")
    assert "recordsProcessed" not in listed["jobs"][0], "what is only known of pieces is not read for a list"


def test_a_list_of_jobs_names_no_link(jobs: Jobs) -> None:
    jobs.imported(b"id,name\n1\n2,Bob\n")
    [listed] = got(jobs, "batch/jobs")["jobs"]
    assert {"links", "rejected", "unprocessed"}.isdisjoint(listed)


def test_what_a_list_of_jobs_does_not_know_is_refused(jobs: Jobs) -> None:
    for field, value in (
        ("state", "PENDING"),
        ("kind", "both"),
        ("page_size", "0"),
        ("page_token", "%"),
        ("stat", "Open"),
    ):
        answer = jobs.send(url("batch/jobs", **{field: value}), "GET")
        assert (answer.status, answer.body["error_description"].split(":")[0]) == (400, field), answer


@OURS
@pytest.mark.parametrize(
    ("filters", "number"),
    [
        ({"state": "Open"}, 45),
        pytest.param({}, 60, marks=pytest.mark.slow),
        pytest.param({"kind": "import"}, 60, marks=pytest.mark.slow),
        pytest.param({"state": "Open", "kind": "import"}, 10_000, marks=pytest.mark.slow),
    ],
)
def test_a_page_of_jobs_reads_a_page_however_many_there_are(
    jobs: Jobs, read: list[str], filters: dict[str, str], number: int
) -> None:
    copies(jobs.world, jobs.begin_import(b"id\n1\n"), number)
    first = got(jobs, "batch/jobs", page_size=20, **filters)
    read.clear()
    second = got(jobs, "batch/jobs", page_size=20, page_token=first["next_page_token"], **filters)
    seen = {each["jobId"] for page in (first, second) for each in page["jobs"]}
    assert (len(second["jobs"]), len(seen)) == (20, 40)
    assert len(read) <= 20 + 10, read


def test_every_job_is_on_one_page(jobs: Jobs) -> None:
    copies(jobs.world, jobs.begin_import(b"id\n1\n"), 11)
    for size in (5, 12):
        found = [each["jobId"] for each in everything(jobs, "batch/jobs", "jobs", page_size=size)]
        assert (len(found), len(set(found))) == (12, 12), size


def test_another_customers_jobs_rejects_and_types_are_not_found(jobs: Jobs) -> None:
    job = jobs.imported(b"id,name\n1\n2,Bob\n")["jobId"]
    jobs.begin_import(b"id\n2\n")
    token = got(jobs, "batch/jobs", page_size=1)["next_page_token"]
    jobs.world.stranger()
    theirs = Jobs(jobs.world, "globex")
    assert got(theirs, "batch/jobs")["jobs"] == got(theirs, "itemTypes")["itemTypes"] == []
    assert theirs.send(url("batch/jobs", page_token=token), "GET").status == 400
    assert theirs.send(url("batch/rejects", jobId=job), "GET").status == 404


def test_lists_need_the_scope(jobs: Jobs) -> None:
    jobs.key = create_key(jobs.world.cloud.db, customer="acme", scopes=["exports"])
    for path in ("batch/jobs", "batch/rejects?jobId=1", "itemTypes"):
        assert jobs.send(f"/ls/api/{path}", "GET").status == 403, path


# --- rejected records


def test_rejected_records_are_listed_as_they_came_in(jobs: Jobs) -> None:
    content = f'id,name\n1,Ada\n2,"{HOSTILE.replace(chr(34), chr(34) * 2)}",more\n3\n'.encode()
    job = jobs.imported(content)
    first, second = got(jobs, "batch/rejects", jobId=job["jobId"])["rejects"]
    assert (first["record"], first["line"], first["cut"]) == (2, 3, False)
    assert first["text"] == content.decode().splitlines()[2]
    assert (second["record"], second["line"], second["text"]) == (3, 4, "3")
    assert "columns" in first["reason"] or "fields" in first["reason"], first


def test_every_rejected_record_is_on_one_page(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK_RECORDS", 14)  # so that documents have ten and four records
    job = jobs.imported(b"id,name\n" + b"".join(b"%d\n" % number for number in range(33)))
    for size in (10, 11, 500):
        found = everything(jobs, "batch/rejects", "rejects", jobId=job["jobId"], page_size=size)
        assert [each["record"] for each in found] == list(range(1, 34)), size
        assert [each["text"] for each in found] == [str(number) for number in range(33)], size


def test_a_long_record_is_cut_without_reading_its_object(jobs: Jobs) -> None:
    short, long = "é" * rejects.SHOWN_BYTES, "é" * rejects.MAX_INLINE
    job = jobs.imported(f"id,name\n{short},1,2\n{long},1,2\n3\n".encode())
    jobs.world.suite.traffic.forget()
    found = got(jobs, "batch/rejects", jobId=job["jobId"])["rejects"]
    assert [each["cut"] for each in found] == [True, True, False]
    assert {each["text"] for each in found[:2]} == {"é" * (rejects.SHOWN_BYTES // 2)}
    assert not jobs.world.suite.traffic.calls("storage.")
    assert long in jobs.download(job["rejected"]).decode(), "the file has all of it"


def test_a_page_of_rejects_ends_where_it_has_bytes_enough(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.imported(b"id,name\n" + b"".join(b"%0100d\n" % number for number in range(45)))
    monkeypatch.setattr(rejects, "PAGE_BYTES", 1_500)
    page = got(jobs, "batch/rejects", jobId=job["jobId"])
    assert len(page["rejects"]) == 10
    found = everything(jobs, "batch/rejects", "rejects", jobId=job["jobId"])
    assert [each["record"] for each in found] == list(range(1, 46))


@OURS
@pytest.mark.parametrize("documents", [20, pytest.param(450, marks=pytest.mark.slow)])
def test_a_page_of_rejects_reads_a_page(jobs: Jobs, read: list[str], documents: int) -> None:
    job = jobs.imported(b"id,name\n1\n")["jobId"]
    collection = jobs.world.cloud.db.collection(f"jobs/{job}/rejects")
    record = {"line": 2, "raw": b"1", "object": None, "reason": "none"}
    batch = jobs.world.cloud.db.batch()
    for number in range(documents):
        records = [{**record, "number": 10 * number + each} for each in range(1, 11)]
        batch.set(collection.document(f"{10 * number + 1:012}"), {"records": records})
    batch.commit()
    first = got(jobs, "batch/rejects", jobId=job, page_size=25)
    read.clear()
    second = got(jobs, "batch/rejects", jobId=job, page_size=25, page_token=first["next_page_token"])
    assert [each["record"] for each in second["rejects"]] == list(range(26, 51))
    assert len(read) <= 10, read


def test_a_token_of_rejects_that_is_none_is_refused(jobs: Jobs) -> None:
    job = jobs.begin_import(b"id\n1\n")
    for token in ("0", "000000000001-", "../../exports-1", "000000000001-100", "é"):
        answer = jobs.send(url("batch/rejects", jobId=job, page_token=token), "GET")
        assert answer.status == 400, (token, answer)


def test_an_import_under_way_and_an_export_have_lists_of_rejects(jobs: Jobs) -> None:
    waiting = jobs.begin_import(b"id\n1\n")
    export = jobs.post("export", data={"itemType": "Technician", "contentType": "text/plain"})["jobId"]
    for job in (waiting, export):
        assert got(jobs, "batch/rejects", jobId=job) == {"rejects": [], "next_page_token": None}


# --- item types


@OURS
def test_item_types_are_listed_by_name(jobs: Jobs, read: list[str]) -> None:
    names = [f"T{number:02}" for number in range(20)]
    for name in reversed(names):
        jobs.send(f"/ls/api/itemTypes/{name}", "PUT", json={"key": "number"})
    found = everything(jobs, "itemTypes", "itemTypes", page_size=7)
    assert [each["itemType"] for each in found] == names
    assert found[0] == {"itemType": "T00", "key": "number", "required": [], "types": {}}
    read.clear()
    assert len(got(jobs, "itemTypes", page_size=7)["itemTypes"]) == 7
    assert len(read) <= 7 + 10, read


def test_a_jobs_state_is_one_that_a_list_can_be_filtered_by() -> None:
    assert set(service.STATES) == {"Open", "Completed", "Rejected", "Failed", "Canceled"}
    assert paging.MAX_PAGE == 500
