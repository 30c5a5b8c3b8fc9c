"""Jobs over HTTP: what the published scripts send, byte by byte, and what becomes of it."""

import json
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from shared.accounts.keys import create_key, revoke_key
from shared.jobs import exporting, importing, planning
from tests.shared.exports.landed import read
from tests.shared.exports.test_read_by_others import beginning_with, crc32c, photograph
from tests.shared.outbox.post import TOKEN
from tests.subjects.small_job import Jobs
from tests.world import World

TECHNICIANS = b"id,name,age\r\n1,Ada,36\r\n2,Bob,41\r\n3,Eve,29\r\n"


@pytest.fixture
def jobs(world: World) -> Jobs:
    return Jobs(world)


# --- import


def test_the_published_import_script_works(jobs: Jobs) -> None:
    records = [{"id": "a1", "name": "Ada"}, {"id": "a2", "name": "Bob"}]
    shown = jobs.post(
        "import",
        files={"file": ("data.json", json.dumps(records).encode(), "application/json", {"Expires": "0"})},
        data={
            "notificationEmail": "ops@acme.example",
            "jobName": "Attendee Import Job",
            "contentType": "application/json",
            "itemType": "Attendee",
            "merge": False,
        },
    )
    assert (shown["status"], shown["recordsProcessed"], shown["jobName"]) == (
        "Accepted",
        "0",
        "Attendee Import Job",
    )
    assert shown["submitTime"].endswith("+0000")
    ended = jobs.ended(shown["jobId"])
    assert (ended["status"], ended["recordsProcessed"], ended["recordsRejected"]) == ("Completed", "2", "0")
    assert ended["reason"] == "2 records were imported."
    assert jobs.items("Attendee") == records
    assert jobs.mails() == ["Attendee Import Job: import completed (Attendee)"]


PARTS = ("fields", "file", "template")


@pytest.mark.parametrize("order", list(permutations(PARTS)))
def test_parts_may_come_in_any_order_and_the_template_may_be_empty(
    jobs: Jobs, order: tuple[str, ...]
) -> None:
    boundary = b"0123456789abcdef"
    written = {
        "fields": b"".join(
            b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, name, value)
            for name, value in (
                (b"jobName", b"Techs"),
                (b"itemType", b"Technician"),
                (b"contentType", b"plain/text"),
                (b"headerRow", b"True"),
                (b"merge", b"False"),
            )
        ),
        "file": b'--%s\r\nContent-Disposition: form-data; name="file"; filename="C:\\data\\techs.csv"\r\n'
        b"Content-Type: text/plain\r\nExpires: 0\r\n\r\n%s\r\n" % (boundary, TECHNICIANS),
        "template": b'--%s\r\nContent-Disposition: form-data; name="template"; filename="t.vm"\r\n'
        b"Content-Type: application/json\r\nExpires: 0\r\n\r\n\r\n" % boundary,
    }
    body = b"".join(written[name] for name in order) + b"--" + boundary + b"--\r\n"
    answer = jobs.send(
        "/ls/api/batch/import",
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=" + boundary.decode()},
    )
    assert answer.body["status"] == "Accepted", answer
    assert jobs.ended(answer.body["jobId"])["status"] == "Completed"
    assert [each["name"] for each in jobs.items()] == ["Ada", "Bob", "Eve"]


def test_bad_rows_are_rejected_and_the_others_go_in(jobs: Jobs) -> None:
    jobs.send("/ls/api/itemTypes/Technician", "PUT", json={"required": ["name"], "types": {"age": "integer"}})
    content = b"id;name;age\r\n1;Ada;36\r\n2;;41\r\n3;Eve;many\r\n4;Dan\r\n5;Zoe;50\r\n"
    ended = jobs.imported(content)
    assert ended["status"] == "Completed"
    assert (ended["recordsProcessed"], ended["recordsRejected"]) == ("5", "3")
    assert ended["reason"].startswith("2 of 5 records were imported, and 3 rejected. Line 3: "), ended
    assert jobs.items() == [{"id": "1", "name": "Ada", "age": 36}, {"id": "5", "name": "Zoe", "age": 50}]
    rejected = jobs.download(ended["rejected"]).decode()
    lines = rejected.splitlines()
    assert lines[0] == "id;name;age;waybill_error"
    assert lines[1].startswith("2;;41;"), rejected
    assert "The field name is required" in lines[1]
    assert lines[2].startswith("3;Eve;many;"), rejected
    assert lines[3].startswith("4;Dan;"), rejected
    fixed = rejected.replace("2;;41", "2;Bob;41").replace("many", "29").replace("4;Dan;", "4;Dan;33;")
    again = jobs.imported(fixed.encode())
    assert (again["status"], again["recordsRejected"]) == ("Completed", "0"), again
    assert [each["id"] for each in jobs.items()] == ["1", "2", "3", "4", "5"]


def test_importing_again_changes_nothing_and_merge_merges(jobs: Jobs) -> None:
    jobs.imported(TECHNICIANS)
    before = jobs.items()
    jobs.imported(TECHNICIANS)
    assert jobs.items() == before
    records = b'[{"id": "1", "skills": {"fibre": true}}]'
    jobs.imported(records, contentType="application/json", merge="true")
    assert jobs.items()[0] == {"id": "1", "name": "Ada", "age": "36", "skills": {"fibre": True}}
    jobs.imported(
        b'{"id": "1", "name": null, "skills": {"fibre": null, "roof": 1}}',
        contentType="application/json",
        merge="True",
    )
    assert jobs.items()[0] == {"id": "1", "age": "36", "skills": {"roof": 1}}
    jobs.imported(b'{"id": "1", "name": "Ada"}', contentType="application/json")
    assert jobs.items()[0] == {"id": "1", "name": "Ada"}


def test_envelopes_do_what_they_say_in_the_order_of_the_file(jobs: Jobs) -> None:
    def line(action: str, **data: Any) -> str:
        return json.dumps(
            {"headers": {"category": "entity", "type": "Account", "action": action}, "data": data}
        )

    lines = [
        line("Create", id="a", n=1),
        line("Create", id="a", n=2),
        line("Merge", id="a", m=1),
        line("Update", id="b"),
        line("Create", id="c"),
        line("Delete", id="c"),
        line("Delete", id="c"),
    ]
    ended = jobs.imported("\n".join(lines).encode(), "Account", contentType="application/json")
    assert (ended["status"], ended["recordsProcessed"], ended["recordsRejected"]) == ("Completed", "7", "3")
    assert jobs.items("Account") == [{"id": "a", "n": 1, "m": 1}]
    rejected = [json.loads(each) for each in jobs.download(ended["rejected"]).splitlines()]
    assert [each["waybill_error"] for each in rejected] == [
        "Line 2: There is an item a already: use Update or Merge.",
        "Line 4: There is no item b: use Create.",
        "Line 7: There is no item c to delete.",
    ]


@pytest.mark.parametrize(
    ("content", "fields", "status", "reason"),
    [
        (b"", {}, "Rejected", "empty"),
        (b"id,name\r\n", {}, "Rejected", "The file holds no records: see that it is the right one."),
        (b"[]", {"contentType": "application/json"}, "Rejected", "The file holds no records"),
        (b"PK\x03\x04....", {}, "Rejected", "zip"),
        (b"id,id\r\n1,2\r\n", {}, "Rejected", "id"),
        (b"id,name\r\n1\r\n", {}, "Failed", "None"),
        (b'[{"id": 1}, {"id": 2', {"contentType": "application/json"}, "Failed", "closed"),
    ],
)
def test_completed_never_stands_where_nothing_was_imported(
    jobs: Jobs, content: bytes, fields: dict[str, str], status: str, reason: str
) -> None:
    ended = jobs.imported(content, **fields)
    assert ended["status"] == status, ended
    assert reason in ended["reason"] or reason == "None", ended


@pytest.mark.parametrize("seconds", ["0", "400"])
def test_a_file_that_breaks_off_fails_and_what_came_before_is_in(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", seconds)
    content = b'[{"id": "1"}, {"id": "2"}, {"id": "3"'
    ended = jobs.imported(content, contentType="application/json")
    assert (ended["status"], ended["recordsProcessed"], ended["recordsRejected"]) == ("Failed", "3", "1")
    assert "never closed" in ended["reason"], ended
    assert [each["id"] for each in jobs.items()] == ["1", "2"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"contentType": "image/png"}, "contentType: must be application/json, or text/plain for CSV"),
        ({"itemType": ""}, "itemType: must begin with a letter"),
        ({"itemType": "a/b"}, "itemType: must begin with a letter"),
        ({"itemType": "x" * 101}, "itemType: must begin with a letter"),
        ({"itemType": "workorder"}, "itemType: workorder cannot be imported"),
        ({"merge": "perhaps"}, "merge: must be true or false"),
        ({"headerRow": "2"}, "headerRow: must be true or false"),
        ({"notificationEmail": "nobody"}, "notificationEmail: 'nobody' is not an address"),
        ({"uploadId": "abc"}, "uploadId: must not be sent together with a file"),
        ({"template": b"{}", "contentType": "application/json"}, "template: is for CSV files"),
    ],
)
def test_bad_parameters_are_rejected_with_a_reason(jobs: Jobs, fields: dict[str, Any], reason: str) -> None:
    id = jobs.begin_import(TECHNICIANS, **fields)
    shown = jobs.status(id)
    assert (shown["status"], shown["recordsProcessed"]) == ("Rejected", "0")
    assert reason in shown["reason"], shown
    assert jobs.ended(id)["status"] == "Rejected"


def test_a_file_of_more_than_32_mb_is_rejected_and_told_how_it_goes(jobs: Jobs) -> None:
    shown = jobs.status(jobs.begin_import(b"x" * (33 * 1024 * 1024)))
    assert shown["status"] == "Rejected"
    assert "POST /ls/api/batch/upload-url" in shown["reason"]


# --- templates


def test_a_template_makes_an_item_of_each_row(jobs: Jobs) -> None:
    template = b'{"id": "t-$id", "name": "$name.toUpperCase()", "age": #if($age != "")$age#{else}null#end}'
    ended = jobs.imported(b"id,name,age\r\n1,Ada,36\r\n2,Bob,\r\n3,Eve,x y\r\n", template=template)
    assert (ended["status"], ended["recordsRejected"]) == ("Completed", "1"), ended
    assert "The template made no item of this row." in ended["reason"]
    assert jobs.items() == [
        {"id": "t-1", "name": "ADA", "age": 36},
        {"id": "t-2", "name": "BOB", "age": None},
    ]
    assert jobs.download(ended["rejected"]).splitlines()[1].startswith(b"3,Eve,x y,")


def test_a_template_makes_a_row_of_each_item(jobs: Jobs) -> None:
    jobs.imported(TECHNICIANS)
    ended = jobs.exported(
        template="$id;$item.name#if($age == '41');!#end", filters="{'name': ['Ada', 'Bob']}"
    )
    [url] = ended["links"]
    assert sorted(jobs.download(url).splitlines()) == [b"1;Ada", b"2;Bob;!"]


@pytest.mark.parametrize(
    "template",
    [
        "#foreach($i in [1..3])",
        "#include('/etc/passwd')",
        "$item.__class__",
        "#set($x = ",
    ],
)
def test_a_template_that_is_not_allowed_is_rejected_and_nothing_runs(jobs: Jobs, template: str) -> None:
    jobs.imported(TECHNICIANS)
    for ended in (
        jobs.imported(b"id\n9\n", template=template.encode()),
        jobs.exported(template=template),
    ):
        assert ended["status"] == "Rejected", ended
        assert ended["reason"].endswith("."), ended
    assert len(jobs.items()) == 3


def test_a_row_on_which_a_template_goes_on_and_on_is_rejected_and_the_others_go_in(jobs: Jobs) -> None:
    loops = "#foreach($a in [1..1000])#foreach($b in [1..1000])#end#end"
    template = '#if($id == "2")' + loops + '#end{"id": "$id"}'
    ended = jobs.imported(TECHNICIANS, template=template.encode())
    assert (ended["status"], ended["recordsRejected"]) == ("Completed", "1"), ended
    assert [each["id"] for each in jobs.items()] == ["1", "3"]


# --- uploads


def test_a_large_file_is_uploaded_by_a_url_and_imported_when_it_is_there(jobs: Jobs) -> None:
    answer = jobs.send("/ls/api/batch/upload-url", data={"size": str(len(TECHNICIANS))})
    assert answer.status == 200, answer
    shown = jobs.post(
        "import",
        data={"itemType": "Technician", "contentType": "text/plain", "uploadId": answer.body["uploadId"]},
    )
    jobs.world.drain()
    assert jobs.status(shown["jobId"])["status"] == "Initialized"
    jobs.world.upload(answer.body["uploadUrl"], TECHNICIANS)
    assert jobs.ended(shown["jobId"])["status"] == "Completed"
    assert len(jobs.items()) == 3


def test_the_run_time_of_a_job_leaves_out_that_it_waited_for_its_file(jobs: Jobs) -> None:
    answer = jobs.send("/ls/api/batch/upload-url")
    sent = {"itemType": "Technician", "contentType": "text/plain", "uploadId": answer.body["uploadId"]}
    id = jobs.post("import", data=sent)["jobId"]
    jobs.world.drain()
    jobs.world.wait(timedelta(days=2))
    jobs.world.upload(answer.body["uploadUrl"], TECHNICIANS)
    assert int(jobs.ended(id)["runTime"]) < 3_600_000


def test_a_file_that_never_comes_rejects_its_job_after_a_week(jobs: Jobs) -> None:
    answer = jobs.send("/ls/api/batch/upload-url")
    sent = {"itemType": "Technician", "contentType": "text/plain", "uploadId": answer.body["uploadId"]}
    id = jobs.post("import", data=sent)["jobId"]
    jobs.world.drain()
    jobs.world.wait(timedelta(days=8))
    jobs.world.tick()
    ended = jobs.ended(id)
    assert ended["status"] == "Rejected"
    assert ended["reason"].startswith("No file was uploaded within seven days"), ended


def test_the_upload_of_another_customer_wakes_no_job(jobs: Jobs, world: World) -> None:
    world.stranger()
    theirs = Jobs(world, "globex")
    uploads = [each.send("/ls/api/batch/upload-url").body for each in (jobs, theirs)]
    sent = {"itemType": "Technician", "contentType": "text/plain", "uploadId": uploads[0]["uploadId"]}
    id = jobs.post("import", data=sent)["jobId"]
    world.drain()
    world.upload(uploads[1]["uploadUrl"], TECHNICIANS)
    world.drain()
    assert jobs.status(id)["status"] == "Initialized"
    assert jobs.items() == theirs.items() == []


@pytest.mark.parametrize("upload", ["", "0" * 32, "../x", "a b"])
def test_an_upload_that_is_not_there_is_rejected(jobs: Jobs, upload: str) -> None:
    shown = jobs.post(
        "import", data={"itemType": "Technician", "contentType": "text/plain", "uploadId": upload}
    )
    assert shown["status"] == "Rejected"
    assert ("there is no upload" if upload else "file: is needed") in shown["reason"]


# --- export


def test_items_are_exported_as_csv_and_as_json(jobs: Jobs) -> None:
    jobs.imported(
        b'[{"id": "1", "name": "Ada"}, {"id": "2", "age": 41, "tags": ["a"]}]', contentType="application/json"
    )
    ended = jobs.exported()
    assert (ended["status"], ended["reason"], ended["recordsProcessed"]) == (
        "Completed",
        "2 records were exported.",
        "2",
    )
    [url] = ended["links"]
    lines = sorted(jobs.download(url).decode().splitlines())
    assert sorted(lines[-1].split(",")) == ["age", "id", "name", "tags"]
    [url] = jobs.exported(contentType="application/json")["links"]
    found = json.loads(jobs.download(url))
    assert sorted(found, key=lambda each: each["id"]) == jobs.items()


def test_a_csv_without_a_header_row_has_only_records(jobs: Jobs) -> None:
    jobs.imported(TECHNICIANS)
    [url] = jobs.exported(rowHeader="false")["links"]
    assert len(jobs.download(url).splitlines()) == 3


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ("0", ["1", "2", "3"]),
        (str({"name": "Ada"}), ["1"]),
        (json.dumps({"name": ["Ada", "Eve"]}), ["1", "3"]),
        (str({"name": "/Person/name[Bob]"}), ["2"]),
    ],
)
def test_filters_choose_the_records(jobs: Jobs, filters: str, ids: list[str]) -> None:
    jobs.imported(TECHNICIANS)
    ended = jobs.exported(contentType="application/json", filters=filters)
    [url] = ended["links"]
    assert sorted(each["id"] for each in json.loads(jobs.download(url))) == ids


def test_an_export_of_nothing_has_an_empty_file(jobs: Jobs) -> None:
    ended = jobs.exported(contentType="application/json")
    assert (ended["status"], ended["recordsProcessed"]) == ("Completed", "0")
    [url] = ended["links"]
    assert json.loads(jobs.download(url)) == []


def test_work_orders_are_exported(jobs: Jobs) -> None:
    jobs.world.work_order("WO_1")
    for type in ("WorkOrder", "workorder", "Input", "Conformity"):
        ended = jobs.exported(type, contentType="application/json")
        assert ended["status"] == "Completed", ended
        [url] = ended["links"]
        records = json.loads(jobs.download(url))
        assert type == "Conformity" or records, type


def test_what_waybill_made_is_as_it_is_in_a_csv_and_what_people_wrote_is_guarded(jobs: Jobs) -> None:
    content = beginning_with("+")
    jobs.world.work_order("=WO", photos=[photograph("=1+1", "Red", 5, content=content)])
    [url] = jobs.exported("Input")["links"]
    [row] = read("csv", jobs.download(url))
    assert (row["crc32c"], row["work_order_name"]) == (crc32c(content), "'=WO")
    [url] = jobs.exported("Conformity")["links"]
    rows = [row for row in read("csv", jobs.download(url)) if row["kind"] == "job_conformity"]
    assert [row["analyzed_value"] for row in rows] == ["'=1+1", "Red", "5"]
    jobs.imported(b'[{"id": "1", "crc32c": "+theirs"}]', contentType="application/json")
    [url] = jobs.exported()["links"]
    assert read("csv", jobs.download(url)) == [{"id": "1", "crc32c": "'+theirs"}]


def test_no_site_is_left_out_where_a_customer_has_too_many(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.world.work_order("WO_1")
    monkeypatch.setattr(planning, "MAX_SITES", 0)
    ended = jobs.exported("WorkOrder")
    assert ended["status"] == "Rejected", ended
    assert ended["reason"].startswith("There are more than 0 sites, too many for a job"), ended


def test_a_query_joins_items_and_work_orders(jobs: Jobs) -> None:
    jobs.world.work_order("WO_1")
    jobs.imported(TECHNICIANS)
    ended = jobs.exported(
        "Technician",
        sqlQuery="select t.name, w.name as work_order "
        "from acme_entity_Technician t, WorkOrder w order by t.name",
    )
    assert ended["status"] == "Completed", ended
    [url] = ended["links"]
    assert jobs.download(url) == b"name,work_order\r\nAda,WO_1\r\nBob,WO_1\r\nEve,WO_1\r\n"
    assert (ended["recordsProcessed"], ended["reason"]) == ("3", "3 records were exported.")
    [row] = jobs.exported(sqlQuery="select count(*) as n from technician", contentType="application/json")[
        "links"
    ]
    assert json.loads(jobs.download(row)) == [{"n": 3}]


def test_records_with_too_many_fields_fail_with_a_reason(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MAX_COLUMNS", 2)
    jobs.imported(TECHNICIANS)
    ended = jobs.exported()
    assert (ended["status"], ended["reason"]) == ("Failed", "The records have more than 2 different fields.")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            "select * from nobody",
            "There is no table nobody. The tables are Technician, WorkOrder, Input, Conformity.",
        ),
        ("select * from other_entity_Technician", "There is no table other_entity_Technician."),
        ("drop table Technician", "SELECT"),
        ("select 1; select 2", "one"),
    ],
)
def test_a_query_that_cannot_run_is_rejected(jobs: Jobs, query: str, reason: str) -> None:
    jobs.imported(TECHNICIANS)
    ended = jobs.exported(sqlQuery=query)
    assert ended["status"] == "Rejected", ended
    assert reason in ended["reason"], ended


# --- cancel, strangers


def test_a_job_of_another_customer_is_not_there(jobs: Jobs, world: World) -> None:
    world.stranger()
    id = jobs.begin_import(TECHNICIANS)
    theirs = Jobs(world, "globex")
    for path in ("status", "cancel", "revoke"):
        answer = theirs.send(f"/ls/api/batch/{path}", data={"jobId": id})
        assert (answer.status, answer.body["error"]) == (404, "not_found"), answer
        assert answer.body == theirs.send(f"/ls/api/batch/{path}", data={"jobId": id}).body | {
            "request_id": answer.body["request_id"]
        }
    jobs.ended(id)
    assert theirs.items() == []
    assert theirs.send("/ls/api/itemTypes/Technician", "GET").status == 404
    assert jobs.send("/ls/api/itemTypes/Technician", "GET").status == 200
    ended = theirs.exported(sqlQuery="select * from Technician")
    assert ended["status"] == "Rejected", ended
    upload = jobs.send("/ls/api/batch/upload-url").body["uploadId"]
    shown = theirs.post("import", data={"itemType": "A", "contentType": "text/plain", "uploadId": upload})
    assert "there is no upload" in shown["reason"]


def test_a_revoked_key_opens_nothing(jobs: Jobs) -> None:
    id = jobs.begin_import(TECHNICIANS)
    revoke_key(jobs.world.cloud.db, jobs.key.split("_")[1])
    answer = jobs.send("/ls/api/batch/status", data={"jobId": id})
    assert answer.status == 401
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize("id", ["", "x", "00000000-0000-4000-8000-000000000000"])
def test_a_job_that_there_is_not_is_404(jobs: Jobs, id: str) -> None:
    assert jobs.send("/ls/api/batch/status", data={"jobId": id}).status == 404


def test_a_key_without_the_scope_is_refused(jobs: Jobs) -> None:
    jobs.key = create_key(jobs.world.cloud.db, customer="acme", scopes=["exports"])
    assert jobs.send("/ls/api/batch/status", data={"jobId": "x"}).status == 403


def in_status(jobs: Jobs, status: str) -> str:
    """A job of three records in that status."""
    if status == "Initialized":
        upload = jobs.send("/ls/api/batch/upload-url").body["uploadId"]
        sent = {"itemType": "Technician", "contentType": "text/plain", "uploadId": upload}
        id: str = jobs.post("import", data=sent)["jobId"]
        jobs.world.drain()
        return id
    if status == "Rejected":
        return jobs.begin_import(TECHNICIANS, merge="perhaps")
    id = jobs.begin_import(b"id,name\n1\n" if status == "Failed" else TECHNICIANS)
    if status == "Processing":
        while jobs.status(id)["recordsProcessed"] != "1":
            assert jobs.world.step()
    elif status in ("Completed", "Failed"):
        jobs.ended(id)
    elif status in ("Canceling", "Canceled"):
        jobs.post("cancel", data={"jobId": id})
        if status == "Canceled":
            jobs.ended(id)
    return id


@pytest.mark.parametrize(
    ("status", "then", "processed"),
    [
        ("Initialized", "Canceled", 0),
        ("Accepted", "Canceled", 0),
        ("Processing", "Canceled", 1),
        ("Canceling", "Canceled", 0),
        ("Canceled", "Canceled", 0),
        ("Completed", "Completed", 3),
        ("Rejected", "Rejected", 0),
        ("Failed", "Failed", 1),
    ],
)
def test_a_job_can_be_cancelled_in_each_status(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, status: str, then: str, processed: int
) -> None:
    monkeypatch.setattr(importing, "CHUNK_RECORDS", 1)
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
    id = in_status(jobs, status)
    assert jobs.status(id)["status"] == status
    shown = jobs.post("cancel", data={"jobId": id})
    assert shown["status"] in (then, "Canceling"), shown
    ended = jobs.ended(id)
    assert (ended["status"], ended["recordsProcessed"]) == (then, str(processed)), ended
    if then != "Failed":
        assert len(jobs.items()) == processed
    assert ("unprocessed" in ended) == (status == "Processing"), "of a file that was begun"
    assert jobs.post("cancel", data={"jobId": id}) == jobs.status(id)


def test_what_a_cancelled_import_did_not_process_can_be_imported_later(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_RECORDS", 1)
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
    id = in_status(jobs, "Processing")
    jobs.post("cancel", data={"jobId": id})
    ended = jobs.ended(id)
    assert ended["reason"] == "The job was canceled. 1 record was imported."
    rest = jobs.download(ended["unprocessed"])
    assert rest == b"id,name,age\r\n2,Bob,41\r\n3,Eve,29\r\n"
    jobs.imported(rest)
    assert [each["name"] for each in jobs.items()] == ["Ada", "Bob", "Eve"]


def test_a_cancelled_export_ends_without_a_result(jobs: Jobs) -> None:
    jobs.imported(TECHNICIANS)
    id = jobs.post("export", data={"itemType": "Technician", "contentType": "text/plain"})["jobId"]
    jobs.post("cancel", data={"jobId": id})
    ended = jobs.ended(id)
    assert ended["status"] == "Canceled"
    assert "links" not in ended


def test_the_links_of_a_job_expire_after_a_week(jobs: Jobs) -> None:
    jobs.imported(TECHNICIANS)
    ended = jobs.exported()
    [url] = ended["links"]
    path = url[url.index("/v1/downloads/") :]
    jobs.world.wait(timedelta(days=8))
    assert jobs.world.request("GET", path).status == 410
    assert "links" not in jobs.status(ended["jobId"])


def test_the_links_of_a_job_can_be_withdrawn(jobs: Jobs) -> None:
    jobs.imported(TECHNICIANS)
    ended = jobs.exported(notificationEmail="ops@acme.example")
    [url] = ended["links"]
    [mailed] = TOKEN.findall(jobs.letters())
    shown = jobs.post("revoke", data={"jobId": ended["jobId"]})
    assert "links" not in shown
    for path in (url[url.index("/v1/downloads/") :], f"/v1/downloads/{mailed}"):
        assert jobs.world.request("GET", path).status == 410
    assert jobs.send("/ls/api/batch/revoke", data={"jobId": ended["jobId"]}).status == 409


def test_links_whose_key_is_gone_are_not_shown(jobs: Jobs) -> None:
    jobs.imported(TECHNICIANS)
    id = jobs.exported()["jobId"]
    assert "links" in jobs.status(id)
    jobs.world.cloud.db.document(f"jobs/{id}").update({"link.key_version": 999})
    assert "links" not in jobs.status(id)


def test_why_nobody_was_mailed_is_shown_at_the_job(jobs: Jobs, world: World) -> None:
    mailed = jobs.exported(notificationEmail="ann@acme.example")
    assert "notificationError" not in jobs.status(mailed["jobId"])
    world.suite.sendgrid.bounce("bob@acme.example")
    ended = jobs.exported(notificationEmail="bob@acme.example")
    shown = jobs.status(ended["jobId"])
    sentence = "bob@acme.example was not mailed. An earlier mail to this address came back: "
    assert shown["notificationError"].startswith(sentence)
    assert (shown["status"], shown["links"]) == ("Completed", ended["links"])
