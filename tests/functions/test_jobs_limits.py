"""Jobs over HTTP with large and with odd data."""

import json
from typing import Any

import pytest

from shared.work.stages import MAX_IN_LINE
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


def test_many_jobs_of_one_customer_keep_anothers_waiting_for_a_few(world: World, jobs: Jobs) -> None:
    data = {"jobName": "j", "itemType": "A", "contentType": JSON, "filters": "0"}
    for _ in range(12):
        jobs.post("export", data=data)
    assert 0 < len(world.waiting()) <= MAX_IN_LINE
    world.drain()
    states = [each.get("state") for each in world.cloud.db.collection("jobs").stream()]
    assert states == ["COMPLETED"] * 12


def test_jobs_whose_file_came_stand_in_line(world: World, jobs: Jobs) -> None:
    made = jobs.send("/ls/api/batch/upload-url")
    assert made.status == 200, made
    data = {"itemType": "A", "contentType": JSON, "uploadId": made.body["uploadId"]}
    for _ in range(12):
        jobs.post("import", data=data)
    world.drain()
    world.upload(made.body["uploadUrl"], b'{"id": 1}')
    assert world.suite.pubsub.deliver_due(world.push) == 1, "the file's event"
    assert 0 < len(world.waiting()) <= MAX_IN_LINE
    world.drain()
    states = [each.get("state") for each in world.cloud.db.collection("jobs").stream()]
    assert states == ["COMPLETED"] * 12


@pytest.mark.parametrize("upload", ["a" * 5000, "a/b", "__x__", "..", "\0", "é"])
def test_odd_upload_ids_are_rejected(jobs: Jobs, upload: str) -> None:
    shown = jobs.post("import", data={"itemType": "A", "contentType": JSON, "uploadId": upload})
    assert (shown["status"], shown["reason"][:9]) == ("Rejected", "uploadId:"), shown


@pytest.mark.parametrize("id", ["", "a" * 5000, "../x", "é", "{}"])
def test_odd_job_ids_are_404(jobs: Jobs, id: str) -> None:
    for path in ("status", "cancel", "revoke"):
        assert jobs.send(f"/ls/api/batch/{path}", data={"jobId": id}).status == 404


def test_no_name_or_id_holds_a_nul_character(jobs: Jobs) -> None:
    types = {"types": {"a\0": "integer"}}
    for answer in (
        jobs.send("/ls/api/itemTypes/Odd", "PUT", json=types),
        *(
            jobs.send(f"/ls/api/batch/{each}", data={"jobId": "\0"})
            for each in ("status", "cancel", "revoke")
        ),
    ):
        assert answer.status == 400, answer
        assert "NUL" in answer.body["error_description"], answer
    data = {"itemType": "A", "contentType": JSON, "jobName": "a\0"}
    shown = jobs.post("import", data=data, files={"file": ("a", b'{"id": 1}')})
    assert (shown["status"], "NUL" in shown["reason"]) == ("Rejected", True), shown


@pytest.mark.parametrize("name", ["", "__a__", "a.b`/", "x" * 2000])
def test_a_type_may_have_fields_with_odd_names(jobs: Jobs, name: str) -> None:
    answer = jobs.send("/ls/api/itemTypes/Odd", "PUT", json={"types": {name: "integer"}, "required": [name]})
    assert answer.status == 200, answer
    assert jobs.send("/ls/api/itemTypes/Odd", "GET").body["types"] == {name: "integer"}


def test_a_definition_that_is_too_large_is_refused(jobs: Jobs) -> None:
    body = {"types": {f"{n}" + "x" * 6000: "integer" for n in range(190)}}
    answer = jobs.send("/ls/api/itemTypes/Odd", "PUT", json=body)
    assert answer.status in (400, 413), answer


def test_merges_into_large_items_take_several_commits(jobs: Jobs) -> None:
    count, text = 40, "x" * 400_000
    jobs.imported(lines(*({"id": f"{n:02}", "text": text} for n in range(count))), contentType=JSON)
    ended = jobs.imported(
        lines(*({"id": f"{n:02}", "n": n} for n in range(count))), contentType=JSON, merge="true"
    )
    assert (ended["status"], ended["recordsProcessed"], ended["recordsRejected"]) == ("Completed", "40", "0")
    assert [each["n"] for each in jobs.items()] == list(range(count))


@pytest.mark.slow
def test_rows_that_a_template_makes_large_take_several_commits(jobs: Jobs) -> None:
    template = b'{"id": "$id", "text": "#foreach($i in [1..9000])' + b"x" * 50 + b'#end"}'
    ended = jobs.imported(b"id\n" + b"".join(b"%03d\n" % n for n in range(40)), template=template)
    assert (ended["status"], ended["recordsProcessed"], ended["recordsRejected"]) == ("Completed", "40", "0")
    assert len(jobs.items()) == 40


@pytest.mark.slow
def test_an_item_does_not_grow_without_bound_by_merges(jobs: Jobs) -> None:
    text = "x" * (3 * 2**20)
    records = [{"id": "a", name: text} for name in ("b", "c")]
    ended = jobs.imported(lines(*records), contentType=JSON, merge="true")
    assert (ended["status"], ended["recordsProcessed"], ended["recordsRejected"]) == ("Completed", "2", "1")
    assert "5 MiB" in ended["reason"]
    assert jobs.items() == [records[0]]


def test_a_reason_names_the_field(jobs: Jobs) -> None:
    ended = jobs.imported(b'{"id": 1}\n{"id": 2, "a": {"b": 1, "b": 2}}', contentType=JSON)
    assert "a.b" in ended["reason"], ended
    assert "a.b" in jobs.download(ended["rejected"]).decode()


def test_a_merge_leaves_no_item_without_its_required_fields(jobs: Jobs) -> None:
    jobs.send("/ls/api/itemTypes/Technician", "PUT", json={"required": ["name"]})
    jobs.imported(b'{"id": "1", "name": "Ada"}', contentType=JSON)
    ended = jobs.imported(
        lines({"id": "1", "name": None}, {"id": "2"}, {"id": "1", "n": 1}), contentType=JSON, merge="true"
    )
    assert (ended["recordsProcessed"], ended["recordsRejected"]) == ("3", "2"), ended
    assert jobs.items() == [{"id": "1", "name": "Ada", "n": 1}]


def test_rejects_of_the_largest_size_fit_into_their_documents(jobs: Jobs) -> None:
    name = "\U0001f600" * 100
    jobs.send("/ls/api/itemTypes/A", "PUT", json={"required": [name]})
    record = json.dumps({"id": "x", "t": "y" * 65_000}).encode()
    ended = jobs.imported(b"\n".join([record] * 40 + [b'{"id": "k"}'] * 2), "A", contentType=JSON)
    assert (ended["recordsProcessed"], ended["recordsRejected"]) == ("42", "42"), ended
    assert len(jobs.download(ended["rejected"]).splitlines()) == 42


@pytest.mark.parametrize("key", ["a/b", "..", "__x__", "\U0001f600" * 500, " ", "#x", "é", "e\u0301"])
def test_items_have_any_key(jobs: Jobs, key: str) -> None:
    jobs.imported(lines({"id": key}, {"id": key, "n": 1}), contentType=JSON, merge="true")
    assert jobs.items() == [{"id": key, "n": 1}]


def test_a_number_beyond_a_double_is_rejected_as_a_number(jobs: Jobs) -> None:
    jobs.send("/ls/api/itemTypes/Technician", "PUT", json={"types": {"n": "number"}})
    ended = jobs.imported(b"id,n\n1,1e9999999999999999999\n2,1e999\n3,1\n")
    assert (ended["recordsProcessed"], ended["recordsRejected"]) == ("3", "2"), ended
    assert jobs.items() == [{"id": "3", "n": 1}]


def test_the_reason_of_a_job_is_short(jobs: Jobs) -> None:
    name = "x" * 3000
    jobs.send("/ls/api/itemTypes/A", "PUT", json={"required": [name], "types": {"b": "integer"}})
    ended = jobs.imported(lines({"id": 1}), "A", contentType=JSON)
    assert ended["status"] == "Failed", ended
    assert len(ended["reason"]) < 1000


@pytest.mark.parametrize("name", ["a\r\nBcc: eve@evil.example", "é" * 100, "\u202e\u2028x"])
def test_odd_names_of_jobs_end_with_one_mail(jobs: Jobs, name: str) -> None:
    data = {"itemType": "A", "contentType": JSON, "notificationEmail": "ops@acme.example", "jobName": name}
    shown = jobs.post("import", data=data, files={"file": ("a", b'{"id": 1}')})
    ended = jobs.ended(shown["jobId"])
    assert ended["status"] == "Completed", ended
    assert len(jobs.mails()) == 1
    assert "Bcc" not in [line[:3] for line in jobs.letters().splitlines()]


def test_a_file_sent_twice_is_rejected(jobs: Jobs) -> None:
    files = [("file", ("a", b'{"id": 1}')), ("file", ("b", b'{"id": 2}'))]
    shown = jobs.post("import", data={"itemType": "A", "contentType": JSON}, files=files)
    assert (shown["status"], shown["reason"][:5]) == ("Rejected", "file:"), shown


def test_a_field_sent_twice_is_rejected(jobs: Jobs) -> None:
    data = [("itemType", "A"), ("itemType", "B"), ("contentType", JSON)]
    shown = jobs.post("import", data=data, files={"file": ("a", b'{"id": 1}')})
    assert (shown["status"], shown["reason"][:9]) == ("Rejected", "itemType:"), shown


@pytest.mark.parametrize("content", ["text/plain; charset=utf-8", "TEXT/PLAIN", "application/json;charset=x"])
def test_a_content_type_may_have_parameters(jobs: Jobs, content: str) -> None:
    body = b'{"id": 1}' if "json" in content else b"id\n1\n"
    assert jobs.imported(body, contentType=content)["status"] == "Completed"


@pytest.mark.parametrize("path", ["import", "export", "status", "cancel"])
def test_other_methods_and_forms_are_refused(jobs: Jobs, path: str) -> None:
    assert jobs.send(f"/ls/api/batch/{path}", "GET").status == 405
    assert jobs.send(f"/ls/api/batch/{path}/", data={"jobId": "x"}).status in (200, 404)
    answer = jobs.send(f"/ls/api/batch/{path}", data=b"abc")
    assert answer.status in (400, 200, 404), answer


def test_an_uploaded_file_may_be_as_large_as_the_limit_and_no_larger(jobs: Jobs) -> None:
    content = b"id\n1\n"
    sent = {"itemType": "Technician", "contentType": "text/plain"}
    for most, status in ((len(content), "Completed"), (len(content) - 1, "Rejected")):
        jobs.world.cloud.db.document("customers/acme").update({"batch_bytes": most})
        answer = jobs.send("/ls/api/batch/upload-url", data={"size": str(most + 1)})
        assert (answer.status, f"at most {most};" in str(answer.body)) == (400, True), answer
        upload = jobs.send("/ls/api/batch/upload-url").body
        jobs.world.upload(upload["uploadUrl"], content)
        ended = jobs.ended(jobs.post("import", data={**sent, "uploadId": upload["uploadId"]})["jobId"])
        assert ended["status"] == status, ended
    assert ended["reason"] == (
        "The file has 5 bytes, and the limit batch_bytes is 4: "
        "split it, or ask the operators of Waybill for a higher limit."
    )
