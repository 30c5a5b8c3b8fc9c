"""The customers' client, importing a file of records: against a server that answers as `/ls/api` does, with
upload URLs as Cloud Storage has them, and that fails when a test says so.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from werkzeug.serving import make_server

from infra.local.traffic import Fault
from shared.accounts.keys import create_key
from shared.batches.client import upload
from shared.gcp.clients import connect
from tests.http_server import Quiet, serving
from tests.shared.batches.client.test_upload import QUANTUM, Client, Stub
from tests.subjects.small_job import Jobs
from tests.world import World, framework

CONTENT = b"".join(b"%07d,Ann Technician\n" % n for n in range(40_000))
"""A file of records, of two chunks."""


@dataclass
class Job:
    """A job of the stub: how its import was asked for, and how it is."""

    id: str
    form: dict[str, str]
    parts: dict[str, bytes]
    shown: dict[str, Any]
    cancelled: bool = False


@dataclass
class Server:
    """Upload URLs and jobs.

    `answers` has the statuses to answer the next calls of a name with, after they did what they do. `chunks`
    is what happens to the chunks of the next upload URL, and `gone` what a new one answers instead. A job is
    `at_first` until its file is there, and then `at_end`. So many downloads break off: `breaks_off`; `page`
    is answered once in place of a file.
    """

    url: str = ""
    sessions: dict[str, Stub] = field(default_factory=dict)
    sizes: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)
    at_end: dict[str, Any] = field(
        default_factory=lambda: {"status": "Completed", "reason": "All records are in."}
    )
    at_first: dict[str, Any] = field(default_factory=lambda: {"status": "Accepted", "reason": ""})
    chunks: list[Any] = field(default_factory=list)
    gone: int = 0
    breaks_off: int = 0
    page: bytes = b""
    rejects: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def call(self, name: str, form: dict[str, str], parts: dict[str, bytes]) -> tuple[int, dict[str, Any]]:
        """Do what the call does, and return what it answers."""
        self.calls.append(name)
        if name in self.rejects:
            return 200, {"jobId": "0", "status": "Rejected", "reason": self.rejects[name]}
        if name == "upload-url":
            id = f"upload-{len(self.sessions) + 1}"
            self.sessions[id] = Stub(next=self.chunks, session=self.gone)
            self.chunks = []
            self.sizes.append(form["size"])
            body = {"uploadId": id, "uploadUrl": f"{self.url}/secret-session/{id}"}
        elif name == "import":
            assert form["uploadId"] in self.sessions
            job = Job(f"job-{len(self.jobs) + 1}", form, parts, dict(self.at_first))
            self.jobs[job.id] = job
            body = self.show(job)
        elif form["jobId"] not in self.jobs:
            return 404, {"error": "not_found", "error_description": "There is no such job."}
        else:
            job = self.jobs[form["jobId"]]
            job.cancelled = job.cancelled or name == "cancel"
            body = self.show(job)
        failures = self.answers.get(name)
        return (failures.pop(0), {}) if failures else (200, body)

    def show(self, job: Job) -> dict[str, Any]:
        """The status of a job."""
        if job.shown == self.at_first and self.is_whole(job):
            job.shown = dict(self.at_end)
        return {"jobId": job.id, "recordsProcessed": "0", "recordsRejected": "0", **job.shown}

    def is_whole(self, job: Job) -> bool:
        """Whether the job's file is there."""
        session = self.sessions[job.form["uploadId"]]
        return bool(session.total) and len(session.kept) == session.total

    @property
    def imported(self) -> list[bytes]:
        """The files that jobs import, one for each job that has its file and was not cancelled."""
        return [
            bytes(self.sessions[job.form["uploadId"]].kept)
            for job in self.jobs.values()
            if self.is_whole(job) and not job.cancelled
        ]


def read_form(headers: Message, body: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """The fields of a form, and the files of one that is multipart."""
    content_type = headers["Content-Type"]
    if content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)), {}
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    form, files = {}, {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_filename() is None:
            form[name] = content.decode()
        else:
            files[name] = content
    return form, files


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found = re.fullmatch(r"/ls/api/batch/(upload-url|import|status|cancel)", self.path)
            if not found:
                return self.answer(404, {})
            if self.headers["Authorization"] != "Bearer wb_the_key":
                said = {"error": "invalid_token", "error_description": "The key is not valid."}
                return self.answer(401, {"WWW-Authenticate": "Bearer"}, json.dumps(said).encode())
            status, said = server.call(found[1], *read_form(self.headers, body))
            return self.answer(status, {}, json.dumps(said).encode())

        def do_PUT(self) -> None:
            assert "Authorization" not in self.headers
            session = server.sessions[self.path.rpartition("/")[2]]
            server.calls.append("PUT")
            length = int(self.headers["Content-Length"])
            status, headers = session.put(self.headers["Content-Range"], self.rfile.read, length)
            self.answer(status, headers, session.body if status == 200 else b"")

        def do_GET(self) -> None:
            assert "Authorization" not in self.headers
            server.calls.append("GET")
            failures = server.answers.get("GET")
            if failures:
                return self.answer(failures.pop(0), {})
            link, _, name = self.path[1:].partition("/")
            if link == "secret-session-link":
                return self.answer(302, {"Location": f"/stored/{name}"})
            content = server.files[name]
            if server.page:
                page, server.page = server.page, b""
                return self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, page)
            if server.breaks_off:
                server.breaks_off -= 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:-5])
                self.close_connection = True
                return None
            return self.answer(200, {}, content)

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server.url:
        yield server


@pytest.fixture
def client(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(upload, "CHUNK_MOST", 2 * QUANTUM)
    return Client(capsys)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    file = tmp_path / "technicians.csv"
    file.write_bytes(CONTENT)
    return file


def memory_of(records: Path) -> Path:
    return records.with_name(f"{records.name}.waybill-upload")


def stop(client: Client, *arguments: object) -> None:
    """Run the client, with Ctrl-C the first time that it waits."""

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    run = client(*arguments, meanwhile=ctrl_c)
    assert run.code == 130, run


def stop_after_a_chunk(server: Server, client: Client, *arguments: object) -> None:
    """Begin an import, and stop it with Ctrl-C after its first chunk."""
    server.chunks = [None, 503]
    stop(client, *arguments)
    (session,) = server.sessions.values()
    assert len(session.kept) == 2 * QUANTUM


# What is sent.


def test_a_file_of_records_is_imported(server: Server, client: Client, records: Path) -> None:
    run = client(server.url, records, "--import", "Technician")
    assert (run.code, run.out) == (0, f"Uploaded {records} as job job-1.\n"), run
    assert "Job job-1\n" in run.err
    assert "technicians.csv" in run.err
    assert server.imported == [CONTENT]
    assert server.sizes == [str(len(CONTENT))]
    # The first PUT asks what is there; the status tells that the job was not canceled meanwhile.
    assert server.calls == ["upload-url", "import", "PUT", "PUT", "PUT", "status"]
    assert server.jobs["job-1"].form == {
        "jobName": "technicians.csv",
        "itemType": "Technician",
        "contentType": "text/plain",
        "uploadId": "upload-1",
    }
    assert [each.name for each in records.parent.iterdir()] == ["technicians.csv"]


def test_the_options_go_into_the_form(server: Server, client: Client, records: Path) -> None:
    template = records.with_name("template.vm")
    template.write_bytes(b'{"name": "$name"}\r\n\xff')
    run = client(
        *(server.url, records, "--import", "Technician", "--merge", "--csv-without-header"),
        *("--template", template, "--job-name", "Monday", "--notify", "ann@example.com"),
    )
    assert run.code == 0, run
    job = server.jobs["job-1"]
    assert job.form == {
        "jobName": "Monday",
        "itemType": "Technician",
        "contentType": "text/plain",
        "merge": "true",
        "headerRow": "false",
        "notificationEmail": "ann@example.com",
        "uploadId": "upload-1",
    }
    assert job.parts == {"template": template.read_bytes()}


@pytest.mark.parametrize(
    ("name", "options", "content_type"),
    [
        ("a.csv", [], "text/plain"),
        ("a.TSV", [], "text/plain"),
        ("a.b.txt", [], "text/plain"),
        ("a.json", [], "application/json"),
        ("a.jsonl", [], "application/json"),
        ("a.ndjson", [], "application/json"),
        ("a.txt", ["--content-type", "application/json"], "application/json"),
        ("a", ["--content-type", "text/plain"], "text/plain"),
    ],
)
def test_the_content_type_is_that_of_the_ending(
    server: Server, client: Client, tmp_path: Path, name: str, options: list[str], content_type: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b"{}")
    run = client(server.url, file, "--import", "Account", *options)
    assert run.code == 0, run
    assert server.jobs["job-1"].form["contentType"] == content_type


def test_a_wrong_command_sends_nothing(client: Client, tmp_path: Path, records: Path) -> None:
    host = "127.0.0.1:9"  # nothing listens there, and waiting would be seen
    other = tmp_path / "technicians.xlsx"
    other.write_bytes(CONTENT)
    typed = ["--import", "Technician"]
    for arguments, words in (
        ([other, *typed], "the ending of technicians.xlsx does not tell what it holds"),
        ([tmp_path, *typed, "--content-type", "text/plain"], "is a folder. Give the file of records"),
        ([tmp_path / "none.csv", *typed], "There is no file"),
        ([records, *typed, "--content-type", "text/csv"], "invalid choice"),
        ([records, *typed, "--site", "1"], "--site is for batches"),
        ([records, *typed, "--batch", "1"], "--batch is for batches"),
        ([records, *typed, "--url", "https://x"], "--url is for batches"),
        ([records, *typed, "--wait", "--errors", "e.csv"], "--errors is for batches"),
        ([records, *typed, "--notify", "a@b.c", "d@e.f"], "--notify takes one address"),
        ([records, *typed, "--template", tmp_path / "none.vm"], "--template: "),
        (
            [records, *typed, "--content-type", "application/json", "--csv-without-header"],
            "--csv-without-header is for CSV",
        ),
        ([records, "--merge"], "--merge needs --import"),
        ([records, "--csv-without-header"], "--csv-without-header needs --import"),
        ([records, "--job-name", "x"], "--job-name needs --import"),
        ([records, "--template", records], "--template needs --import"),
        ([records, "--content-type", "text/plain"], "--content-type needs --import"),
    ):
        run = client(host, *arguments)
        assert (run.code, run.slept) == (2, []), (words, run)
        assert words in run.err, (words, run)
    client.environment.clear()
    run = client(host, records, *typed)
    assert run.code == 2, run
    assert "There is no key" in run.err


@pytest.mark.parametrize("short", ["--s", "--w", "--n", "--b", "--u", "--e", "--h"])
def test_the_options_for_batches_can_be_abbreviated_as_before(
    client: Client, records: Path, short: str
) -> None:
    run = client("127.0.0.1:9", records, short)
    assert "ambiguous" not in run.err, run


@pytest.mark.parametrize("call", ["upload-url", "import"])
def test_what_the_server_rejects_is_told_and_nothing_is_uploaded(
    server: Server, client: Client, records: Path, call: str
) -> None:
    server.rejects[call] = "The template does not parse: line 3."
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert (run.code, run.slept) == (1, []), run
    assert "The template does not parse: line 3.\n" in run.err
    assert "PUT" not in server.calls
    assert not memory_of(records).exists()


def test_a_refusal_is_told(server: Server, client: Client, records: Path) -> None:
    client.environment["WAYBILL_API_KEY"] = "wb_another"
    run = client(server.url, records, "--import", "Technician")
    assert (run.code, run.slept) == (1, []), run
    assert "The key is not valid. Check the key in WAYBILL_API_KEY" in run.err
    client.environment["WAYBILL_API_KEY"] = "wb_the_key"
    run = client(f"{server.url}/elsewhere", records, "--import", "Technician")
    assert (run.code, run.slept) == (1, []), run
    assert "Is this the address of Waybill?" in run.err


# What comes of it.


@pytest.mark.parametrize(
    ("status", "rejected", "code"),
    [
        ("Completed", "0", 0),
        ("Completed", "3", 3),
        ("Completed", 3, 3),
        ("Rejected", "0", 1),
        ("Rejected", "3", 1),
        ("Failed", "3", 1),
        ("Canceled", "0", 1),
    ],
)
def test_exit_codes(
    server: Server, client: Client, records: Path, status: str, rejected: object, code: int
) -> None:
    stages = iter(["Initialized", "Accepted", "Something new", "Processing", "Canceling", status])
    server.at_end = {"status": "Initialized"}

    def goes_on() -> None:
        server.jobs["job-1"].shown = {
            "status": next(stages),
            "reason": "That is why.",
            "recordsProcessed": "40000",
            "recordsRejected": rejected,
        }

    run = client(server.url, records, "--import", "Technician", "--wait", meanwhile=goes_on)
    assert run.code == code, run
    assert run.out.splitlines() == [
        f"Job job-1: {status}",
        "  That is why.",
    ]
    assert run.slept == [1.0, 1.0 * 1.5, 1.5**2, 1.5**3, 1.5**4, 1.5**5]
    assert not memory_of(records).exists()


@pytest.mark.slow
def test_progress_is_shown_while_it_waits(server: Server, client: Client, records: Path) -> None:
    server.at_end = {"status": "Processing", "recordsProcessed": "1200", "recordsRejected": "1"}
    stages = iter([{"status": "Processing", "recordsProcessed": "30000"}] * 40 + [{"status": "Completed"}])

    def goes_on() -> None:
        server.jobs["job-1"].shown = next(stages)

    run = client(server.url, records, "--import", "Technician", "--wait", meanwhile=goes_on)
    assert run.code == 0, run
    assert "Importing: 30,000 records processed, 0 rejected\n" in run.err


REJECTED = b"number,name,reason\n12,,name: is needed\n"


def partly_rejected(server: Server, **more: Any) -> None:
    """Let the job end with some records that were rejected."""
    server.files = {"r": REJECTED, "u": b"number,name\n"}
    server.at_end = {
        "status": "Completed",
        "reason": "3 records were rejected.",
        "recordsProcessed": "40000",
        "recordsRejected": "3",
        "rejected": f"{server.url}/secret-session-link/r",
        **more,
    }


def test_the_rejected_records_are_saved_beside_the_file(
    server: Server, client: Client, records: Path
) -> None:
    partly_rejected(server)
    server.answers["GET"] = [503, 503]
    saved = records.with_name("technicians.rejected.csv")
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert run.code == 3, run
    assert run.out.splitlines() == [
        "Job job-1: Completed",
        "  3 records were rejected.",
        f"The rejected records are in {saved}.",
    ]
    assert saved.read_bytes() == REJECTED
    assert sorted(each.name for each in records.parent.iterdir()) == [records.name, saved.name]

    saved.write_bytes(b"fixed by the user")
    run = client(server.url, records, "--import", "Technician", "--wait")
    second = records.with_name("technicians.rejected-2.csv")
    assert run.out.splitlines()[-1] == f"The rejected records are in {second}."
    assert (saved.read_bytes(), second.read_bytes()) == (b"fixed by the user", REJECTED)


def test_a_link_without_a_host_is_of_the_same_host(server: Server, client: Client, records: Path) -> None:
    partly_rejected(server, rejected="/secret-session-link/r")
    assert client(server.url, records, "--import", "Technician", "--wait").code == 3
    assert records.with_name("technicians.rejected.csv").read_bytes() == REJECTED


def test_a_cancelled_job_gives_back_what_it_did_not_process(
    server: Server, client: Client, records: Path
) -> None:
    partly_rejected(server, status="Canceled", unprocessed=f"{server.url}/secret-session-link/u")
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert run.code == 1, run
    assert records.with_name("technicians.rejected.csv").read_bytes() == REJECTED
    assert records.with_name("technicians.unprocessed.csv").read_bytes() == b"number,name\n"


def test_records_that_cannot_be_downloaded_are_downloaded_by_the_next_run(
    server: Server, client: Client, records: Path
) -> None:
    partly_rejected(server)
    server.answers["GET"] = [410]
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert run.code == 1, run
    assert "rejected records could not be downloaded: 127.0.0.1 answered 410" in run.err
    assert f"or remove {memory_of(records)} first" in run.err
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert run.code == 3, run
    assert len(server.jobs) == 1
    assert records.with_name("technicians.rejected.csv").read_bytes() == REJECTED


def test_a_download_that_breaks_off_is_tried_again(server: Server, client: Client, records: Path) -> None:
    partly_rejected(server)
    server.breaks_off = 2
    command = (server.url, records, "--import", "Technician", "--wait")
    stop(client, *command)
    assert sorted(each.name for each in records.parent.iterdir()) == [records.name, memory_of(records).name]
    run = client(*command)
    assert (run.code, len(run.slept)) == (3, 1), run
    assert records.with_name("technicians.rejected.csv").read_bytes() == REJECTED


def test_a_sign_in_page_is_no_file_of_records(server: Server, client: Client, records: Path) -> None:
    partly_rejected(server)
    server.page = b"<html><title>Sign in</title></html>"
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert run.code == 3, run
    assert records.with_name("technicians.rejected.csv").read_bytes() == REJECTED
    assert "Does your network want you to sign in" in run.err


def test_records_that_cannot_be_written_end_it(
    server: Server, client: Client, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partly_rejected(server)
    monkeypatch.setattr(upload, "free_name", lambda file, name: file.parent / "none" / "a.csv")
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert run.code == 1, run
    assert "cannot be written to" in run.err
    assert memory_of(records).exists(), "the next run cannot tell what came of the job"


# After a break.


class Killed(BaseException):
    """The process ends here, as by SIGKILL: nothing after it is done."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[str]:
    """End the client at the step of that number: before or after a request is sent, the memory is written,
    or it is removed. Returns a list that grows by the name of each step that was done."""
    steps: list[str] = []

    def done(name: str) -> None:
        steps.append(name)
        if len(steps) == step:
            raise Killed

    def watch(holder: Any, name: str) -> None:
        real = getattr(holder, name)

        def watched(*arguments: Any, **more: Any) -> Any:
            done(f"before {name}")
            result = real(*arguments, **more)
            done(f"after {name}")
            return result

        monkeypatch.setattr(holder, name, watched)

    watch(upload.Line, "send")
    watch(upload.Memory, "keep")
    watch(upload.Memory, "forget")
    return steps


@pytest.mark.slow
def test_a_file_is_imported_once_wherever_the_client_is_killed(
    server: Server, client: Client, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (server.url, records, "--import", "Technician", "--wait")
    partly_rejected(server)
    for step in range(1, 100):
        server.jobs.clear()
        with monkeypatch.context() as patched:
            steps = kill_at(patched, step)
            try:
                client(*command)
                break
            except Killed:
                pass
        if steps[-1] != "after forget":
            run = client(*command)
            assert run.code == 3, (steps, run)
        assert server.imported == [CONTENT], f"killed after {steps}, it imported {len(server.imported)} files"
        assert not memory_of(records).exists(), steps
    # Two requests make the job, which is remembered; three upload; one asks for the status; one downloads.
    assert step == 2 * (2 + 1 + 3 + 1 + 1 + 1) + 1, steps


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_import_whose_answer_is_lost_is_asked_for_with_a_new_upload(
    server: Server, client: Client, records: Path, status: int
) -> None:
    server.answers["import"] = [status, status]
    run = client(server.url, records, "--import", "Technician", "--wait")
    assert run.code == 0, run
    assert [job.form["uploadId"] for job in server.jobs.values()] == ["upload-1", "upload-2", "upload-3"]
    assert [server.is_whole(job) for job in server.jobs.values()] == [False, False, True]
    assert "Job job-3: Completed" in run.out


def test_the_same_command_goes_on_with_the_job(server: Server, client: Client, records: Path) -> None:
    command = (server.url, records, "--import", "Technician")
    stop_after_a_chunk(server, client, *command)
    state = json.loads(memory_of(records).read_text())
    assert (state["job"], memory_of(records).stat().st_mode & 0o777) == ("job-1", 0o600)
    run = client(*command)
    assert (run.code, run.out) == (0, f"Uploaded {records} as job job-1.\n"), run
    assert "Going on with the upload" in run.err
    assert (len(server.jobs), server.imported) == (1, [CONTENT])
    starts = [start for start, _ in server.sessions["upload-1"].sent]
    assert starts == [0, 2 * QUANTUM, 2 * QUANTUM], "what was there was sent again"


@pytest.mark.parametrize("change", ["type", "merge", "template", "name", "content", "as a batch"])
def test_another_import_of_the_file_begins_anew(
    server: Server, client: Client, records: Path, change: str
) -> None:
    template = records.with_name("template.vm")
    template.write_text("one")
    command: list[object] = [server.url, records, "--import", "Technician", "--template", template]
    stop_after_a_chunk(server, client, *command)
    if change == "type":
        command[3] = "Account"
    elif change == "merge":
        command.append("--merge")
    elif change == "template":
        template.write_text("two")
    elif change == "name":
        command += ["--job-name", "another"]
    elif change == "content":
        kept = records.stat().st_mtime_ns
        records.write_bytes(b"9" + CONTENT[1:])
        os.utime(records, ns=(kept, kept))
    else:
        state = json.loads(memory_of(records).read_text())
        state["batch"] = state.pop("job")
        memory_of(records).write_text(json.dumps(state))
    run = client(*command)
    assert run.code == 0, run
    assert server.imported == [records.read_bytes()]
    assert list(server.jobs) == ["job-1", "job-2"]
    assert "as job job-2.\n" in run.out


@pytest.mark.parametrize(("status", "code"), [("Completed", 3), ("Failed", 1), ("Canceled", 1)])
def test_a_job_that_has_ended_meanwhile_is_told(
    server: Server, client: Client, records: Path, status: str, code: int
) -> None:
    partly_rejected(server, status="Processing")
    command = (server.url, records, "--import", "Technician", "--wait")
    stop(client, *command)
    server.jobs["job-1"].shown["status"] = status
    sent = server.calls.count("PUT")
    run = client(*command)
    assert run.code == code, run
    assert f"Job job-1: {status}\n" in run.out
    assert records.with_name("technicians.rejected.csv").read_bytes() == REJECTED
    assert (len(server.jobs), server.calls.count("PUT")) == (1, sent)
    assert not memory_of(records).exists()


def test_a_job_that_is_gone_is_replaced(server: Server, client: Client, records: Path) -> None:
    command = (server.url, records, "--import", "Technician")
    stop_after_a_chunk(server, client, *command)
    server.jobs.clear()
    run = client(*command)
    assert run.code == 0, run
    assert [job.form["uploadId"] for job in server.jobs.values()] == ["upload-2"]
    assert server.imported == [CONTENT]


def test_a_job_whose_upload_url_expired_is_cancelled_and_replaced(
    server: Server, client: Client, records: Path
) -> None:
    command = (server.url, records, "--import", "Technician", "--wait")
    stop_after_a_chunk(server, client, *command)
    server.sessions["upload-1"].session = 410
    run = client(*command)
    assert run.code == 0, run
    assert "beginning anew, with a new job" in run.err
    assert server.jobs["job-1"].cancelled
    assert server.imported == [CONTENT]


def test_a_file_that_is_there_already_is_not_sent_again(
    server: Server, client: Client, records: Path
) -> None:
    partly_rejected(server, status="Processing")
    command = (server.url, records, "--import", "Technician")
    stop(client, *command, "--wait")
    server.sessions["upload-1"].session = 404
    run = client(*command)
    assert (run.code, run.out) == (0, f"Uploaded {records} as job job-1.\n"), run
    assert "The file is there already" in run.err
    assert (len(server.jobs), server.imported) == (1, [CONTENT])


@pytest.mark.parametrize("status", ["Canceling", "Canceled", "Failed"])
def test_a_job_that_ends_while_its_file_is_uploaded_is_not_replaced(
    server: Server, client: Client, records: Path, status: str
) -> None:
    server.gone, server.at_first = 499, {"status": status, "reason": "Ann stopped it."}
    run = client(server.url, records, "--import", "Technician")
    assert run.code == 1, run
    assert f"ended before its file was uploaded: {status}. Ann stopped it." in run.err
    assert (len(server.jobs), server.imported) == (1, [])
    assert not memory_of(records).exists()


@pytest.mark.parametrize("status", ["Canceling", "Canceled", "Failed", "Rejected"])
def test_a_file_uploaded_for_a_job_that_has_failed_is_no_success(
    server: Server, client: Client, records: Path, status: str
) -> None:
    """The upload URL of a job takes the file whatever becomes of the job."""
    server.at_end = {"status": status, "reason": "Ann stopped it."}

    def ends() -> None:
        server.jobs["job-1"].shown["status"] = "Canceled"

    run = client(server.url, records, "--import", "Technician", meanwhile=ends)
    assert run.code == 1, run
    assert run.out.splitlines() == [
        f"Job job-1: {'Canceled' if status == 'Canceling' else status}",
        "  Ann stopped it.",
    ]


# Against the functions themselves.


@pytest.fixture
def host(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The functions `jobs` and `exports` at one address, to which their links lead."""

    def answer(environ: Any, start: Any) -> Any:
        function = "jobs" if environ["PATH_INFO"].startswith("/ls/api") else "exports"
        return framework(function)(environ, start)

    with serving(make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)) as url:
        monkeypatch.setenv("WAYBILL_URL", url)
        yield url
        connect().close()


def test_the_functions_import_what_the_client_uploads(
    world: World, host: str, client: Client, tmp_path: Path
) -> None:
    jobs = Jobs(world)
    client.environment["WAYBILL_API_KEY"] = jobs.key
    client.meanwhile = world.drain
    jobs.send("/ls/api/itemTypes/Technician", "PUT", json={"required": ["name"]})
    records = tmp_path / "technicians.csv"
    rows = [b"%d;Ann;%s\n" % (n, b"x" * 1_000) for n in range(900)]
    records.write_bytes(b"id;name;note\n900;;\n" + b"".join(rows))
    world.suite.traffic.arm("storage.uploads.chunk", Fault("error", 503), nth=2)
    command = (host, records, "--import", "Technician", "--wait")
    stop(client, *command)

    run = client(*command)
    assert run.code == 3, run
    saved = records.with_name("technicians.rejected.csv")
    lines = run.out.splitlines()
    assert re.fullmatch(r"Job [0-9a-f-]{36}: Completed", lines[0]), lines
    assert lines[1].startswith("  900 of 901 records were imported, and 1 rejected. Line 2: "), lines
    assert lines[2:] == [f"The rejected records are in {saved}."]
    assert len(jobs.items()) == 900
    assert saved.read_text().startswith("id;name;note;waybill_error\n900;;;"), saved.read_text()
    assert "The field name is required" in saved.read_text()
    assert not memory_of(records).exists()
    assert len(list(world.cloud.db.collection("jobs").stream())) == 1

    saved.write_text(saved.read_text().replace("900;;", "900;Bob;"))
    run = client(host, saved, "--import", "Technician", "--wait")
    assert run.code == 0, run
    assert run.out.splitlines()[1:] == ["  1 record was imported."]
    assert len(jobs.items()) == 901


def test_the_functions_template_and_reasons(world: World, host: str, client: Client, tmp_path: Path) -> None:
    jobs = Jobs(world)
    client.environment["WAYBILL_API_KEY"] = jobs.key
    client.meanwhile = world.drain
    records, template = tmp_path / "data.txt", tmp_path / "template.vm"
    records.write_bytes(b"1,Ann\n2,Bob\n")
    template.write_text('{"id": "$column1", "name": "$column2"}')
    command = (host, records, "--import", "Technician", "--csv-without-header", "--wait")
    run = client(*command, "--template", template, "--merge", "--notify", "ann@example.com")
    assert run.code == 0, run
    assert jobs.items() == [{"id": "1", "name": "Ann"}, {"id": "2", "name": "Bob"}]
    assert jobs.mails() == ["data.txt: import completed (Technician)"]

    run = client(*command, "--notify", "nobody")
    assert (run.code, "notificationEmail: 'nobody' is not an address" in run.err) == (1, True), run
    without_scope = create_key(world.cloud.db, customer="acme", scopes=["batches"])
    client.environment["WAYBILL_API_KEY"] = without_scope
    run = client(*command)
    assert (run.code, "lacks the scope 'jobs'" in run.err) == (1, True), run


def test_a_job_that_was_canceled_during_the_upload_is_told(
    world: World, host: str, client: Client, records: Path
) -> None:
    jobs = Jobs(world)
    client.environment["WAYBILL_API_KEY"] = jobs.key

    def cancel() -> None:
        for job in world.cloud.db.collection("jobs").stream():
            jobs.post("cancel", data={"jobId": job.id})
        world.drain()

    world.suite.traffic.arm("storage.uploads.chunk", Fault("error", 503), nth=2)
    run = client(host, records, "--import", "Technician", meanwhile=cancel)
    assert run.code == 1, run
    assert re.match(r"Job [0-9a-f-]{36}: Canceled\n  The job was canceled", run.out), run
    assert jobs.items() == []
