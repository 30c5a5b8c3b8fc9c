"""What the clients of `/ls/api` send from their first call to their last, byte by byte."""

import json
from collections.abc import Mapping

import pytest

from tests.subjects.small_job import Jobs
from tests.world import World

RECORDS = b'[{"id": "a1", "name": "Ada"}, {"id": "a2", "name": "Bob", "processStatus": "Editing"}]'

FIELDS = {
    "notificationEmail": "ops@acme.example",
    "jobName": "Attendee Import Job",
    "contentType": "application/json",
    "itemType": "Attendee",
    "merge": "False",
}

REQUESTS = ("c1a3f1a2b54d4f0b9f6f3d1f5d3c2b1a", 'filename="data.json"', "Expires: 0\r\n")
CURL = ("------------------------d74496d66958873e", 'filename="data.json"', "")
BROWSER = ("----WebKitFormBoundary7MA4YWxkTrZu0gW", 'filename="Teilnehmer (März).json"', "")

URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}


def multipart(client: tuple[str, str, str], *, file_first: bool = False) -> tuple[bytes, Mapping[str, str]]:
    """The import as a client writes it, and its headers."""
    boundary, filename, more = client
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in FIELDS.items()
    )
    file = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; {filename}\r\n'
        f"Content-Type: application/json\r\n{more}\r\n{RECORDS.decode()}\r\n"
    )
    parts = file + fields if file_first else fields + file
    body = f"{parts}--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@pytest.fixture
def jobs(world: World) -> Jobs:
    """Jobs whose key is an access token, without a client id, as the published scripts get it."""
    jobs = Jobs(world)
    form = f"grant_type=password&username=bob%40acme.com&password={jobs.key}&scope=community%3Dplant"
    answer = world.request("POST", "/ls/api/oauth2/token", form.encode(), headers=URLENCODED)
    assert answer.status == 200, answer
    jobs.key = answer.body["access_token"]
    return jobs


@pytest.mark.parametrize("file_first", [False, True], ids=["file last", "file first"])
@pytest.mark.parametrize("client", [REQUESTS, CURL, BROWSER], ids=["requests", "curl", "browser"])
def test_an_import_of_every_client_goes_in(
    jobs: Jobs, client: tuple[str, str, str], file_first: bool
) -> None:
    body, headers = multipart(client, file_first=file_first)
    shown = jobs.post("import", data=body, headers=headers)
    assert (shown["status"], shown["jobName"], shown["itemType"]) == (
        "Accepted",
        "Attendee Import Job",
        "Attendee",
    )
    ended = jobs.ended(shown["jobId"])
    assert (ended["status"], ended["recordsProcessed"]) == ("Completed", "2")
    assert jobs.items("Attendee") == json.loads(RECORDS)


EXPORTS = {
    "no filters, empty template": (
        b"notificationEmail=&jobName=Attendees&itemType=Attendee&contentType=application%2Fjson"
        b"&filters=0&template=",
        ["a1", "a2"],
    ),
    "filters as Python writes them": (
        b"notificationEmail=&jobName=Attendees&itemType=Attendee&contentType=application%2Fjson&filters="
        b"%7B%27name%27%3A+%27Bob%27%2C+%27processStatus%27%3A+%27%2FWorkflow%2FprocessStatus%5BEditing%5D%27%7D"
        b"&template=",
        ["a2"],
    ),
    "a query, which beats the filters": (
        b"notificationEmail=&jobName=Attendees&itemType=Attendee"
        b"&sqlQuery=select+*+from+PLANT_entity_attendee+where+name+%3D+%27Ada%27"
        b"&contentType=application%2Fjson&filters=%7B%27name%27%3A+%27Bob%27%7D&template=",
        ["a1"],
    ),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_the_published_export_and_status_scripts_work(jobs: Jobs, name: str) -> None:
    body, ids = EXPORTS[name]
    imported, headers = multipart(REQUESTS)
    jobs.ended(jobs.post("import", data=imported, headers=headers)["jobId"])
    shown = jobs.post("export", data=body, headers=URLENCODED)
    assert shown["status"] == "Accepted", shown
    jobs.world.drain()
    status = jobs.post("status", data=b"jobId=" + shown["jobId"].encode(), headers=URLENCODED)
    assert status["status"] == "Completed", status
    assert set(status) == {
        "submitTime",
        "jobId",
        "notificationEmail",
        "jobName",
        "jobKind",
        "contentType",
        "itemType",
        "recordsProcessed",
        "recordsRejected",
        "runTime",
        "status",
        "reason",
        "links",
    }
    [url] = status["links"]
    assert sorted(each["id"] for each in json.loads(jobs.download(url))) == ids
