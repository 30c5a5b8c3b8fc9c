"""The customers' client, against the suite's own upload sessions, and against a server that misbehaves.

Waiting costs no time: the client's `sleep` delivers what is due in the suite instead. Every run is held
against printing the key or an upload URL.
"""

import ast
import io
import json
import os
import random
import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from werkzeug.serving import make_server

from infra.local.traffic import Fault
from shared.accounts.keys import create_key, revoke_key
from shared.batches.client import upload
from tests.archives import File, zipped
from tests.http_server import Quiet, serving
from tests.world import SITE, THEIR_SITE, World, framework, jpeg

pytestmark = pytest.mark.cuts

QUANTUM = 262_144
CHUNK, STATUS = "storage.uploads.chunk", "storage.uploads.status"
KEYS: set[str] = set()
"""Every key that a client was given."""

BATCH = "0b0b0b0b-1111-4222-8333-944455566677"


# A run of the client.


@dataclass
class Run:
    """One run of the client, and what it left behind."""

    code: int
    out: str
    err: str
    slept: list[float]

    def __post_init__(self) -> None:
        for secret in (*KEYS, "upload_id", "secret-session"):
            assert secret not in self.out + self.err, f"a secret was printed: {self}"


class Client:
    """Runs the client as `python3 upload.py …` does, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], key: str = "wb_the_key") -> None:
        self._capsys = capsys
        self.environment = {"WAYBILL_API_KEY": key}
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, *arguments: object, meanwhile: Callable[[], object] | None = None) -> Run:
        """`meanwhile` is what happens while the client waits."""
        KEYS.update(key.strip() for key in self.environment.values() if key.strip())
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            assert len(slept) < 200, self._capsys.readouterr()
            (meanwhile or self.meanwhile)()

        try:
            code = upload.main(
                [str(each) for each in arguments],
                environment=self.environment,
                sleep=sleep,
                stopwatch=lambda: sum(slept),
            )
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = self._capsys.readouterr()
        # The function runs in this process, too; its log is not the client's.
        lines = [line for line in out.splitlines(keepends=True) if not line.startswith('{"severity"')]
        return Run(code, "".join(lines), err, slept)


@pytest.fixture
def host(world: World) -> Iterator[str]:
    """The function `batches` at an address."""

    def answer(environ: Any, start: Any) -> Any:
        return framework("batches")(environ, start)

    with serving(make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)) as url:
        yield url


@pytest.fixture
def client(world: World, capsys: pytest.CaptureFixture[str], small_chunks: None) -> Client:
    key = create_key(world.cloud.db, customer="acme", scopes=["batches"], site=SITE)
    client = Client(capsys, key)
    client.meanwhile = world.drain
    return client


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "CHUNK_MOST", 2 * QUANTUM)


def large(count: int) -> bytes:
    """An archive of about 600,000 bytes a work order."""
    more = random.Random(1)
    return zipped(
        [File(f"WO_{n}/meter.jpg", jpeg(f"{n}") + more.randbytes(600_000), method=0) for n in range(count)]
    )


CONTENT = large(3)
"""An archive of four chunks."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "archive.zip"
    file.write_bytes(CONTENT)
    return file


def state_of(archive: Path) -> Path:
    return archive.with_name("archive.zip.waybill-upload")


def uploads(world: World) -> dict[str, bytes]:
    """What is in the uploads bucket, by batch."""
    storage, bucket = world.suite.storage, world.cloud.settings.uploads_bucket
    return {
        each.name.split("/")[1][: -len(".zip")]: storage.read(bucket, each.name)
        for each in storage.list(bucket)
    }


def batches(world: World) -> dict[str, str]:
    """The statuses of all batches."""
    return {each.id: each.get("state") for each in world.cloud.db.collection("batches").stream()}


def chunks(world: World) -> int:
    """How many chunks of archives came."""
    return len(world.suite.traffic.calls(CHUNK, "-uploads/"))


# Against real sessions.


def test_an_archive_goes_up_in_chunks(world: World, client: Client, host: str, archive: Path) -> None:
    run = client(host, archive)
    (batch,) = batches(world)
    assert run.code == 0, run
    assert uploads(world) == {batch: CONTENT}
    assert chunks(world) == 4
    assert run.out == f"Uploaded {archive} as batch {batch}.\n"
    assert f"Batch {batch}" in run.err
    assert "archive.zip" in run.err
    assert "100 %" in run.err
    assert [each.name for each in archive.parent.glob("archive*")] == ["archive.zip"]
    shown = world.shown(batch)
    assert (shown["filename"], shown["site_id"]) == ("archive.zip", SITE)


@pytest.mark.parametrize(
    ("fault", "nth", "times"),
    [
        (Fault("error", 503), 1, 1),
        (Fault("error", 500), 2, 3),
        (Fault("error", 429), 4, 1),
        (Fault("reset_before"), 1, 1),
        (Fault("reset_before"), 4, 2),
        (Fault("reset_after"), 2, 1),
        (Fault("reset_after"), 4, 1),  # all is there, and the client does not know
        (Fault("truncate"), 4, 1),
    ],
)
def test_an_upload_goes_on_after_a_chunk_fails(
    world: World, client: Client, host: str, archive: Path, fault: Fault, nth: int, times: int
) -> None:
    world.suite.traffic.arm(CHUNK, fault, nth=nth, times=times)
    run = client(host, archive)
    assert run.code == 0, run
    assert list(uploads(world).values()) == [CONTENT]
    assert len(batches(world)) == 1
    assert 1 <= len(run.slept) <= times
    assert run.err.count("Trying again in") == len(run.slept)


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    world: World, client: Client, host: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "TIMEOUT", (5.0, 0.2))
    world.suite.traffic.arm(CHUNK, Fault("delay", seconds=0.5), nth=2)
    run = client(host, archive)
    assert run.code == 0, run
    assert "no sign of life" in run.err
    assert list(uploads(world).values()) == [CONTENT]


def test_where_it_stands_is_asked_until_it_is_answered(
    world: World, client: Client, host: str, archive: Path
) -> None:
    world.suite.traffic.arm(STATUS, Fault("error", 502), times=4)
    run = client(host, archive)
    assert (run.code, list(uploads(world).values())) == (0, [CONTENT]), run
    assert [round(each, 9) <= most for each, most in zip(run.slept, (1, 2, 4, 8), strict=True)] == [True] * 4
    assert [each >= most / 2 for each, most in zip(run.slept, (1, 2, 4, 8), strict=True)] == [True] * 4


def test_a_server_that_stays_away_ends_it_and_the_next_run_goes_on(
    world: World, client: Client, host: str, archive: Path
) -> None:
    world.suite.traffic.arm(CHUNK, Fault("error", 503), nth=3, times=1_000)
    run = client(host, archive)
    assert run.code == 1, run
    assert f"{upload.TRIES_MOST}th time in a row" in run.err
    assert len(run.slept) == upload.TRIES_MOST - 1
    assert 200 < sum(run.slept) < 600, run.slept
    assert state_of(archive).stat().st_mode & 0o777 == 0o600
    world.suite.traffic.disarm()
    world.suite.traffic.forget()

    run = client(host, archive)
    (batch,) = batches(world)
    assert (run.code, uploads(world)) == (0, {batch: CONTENT}), run
    assert chunks(world) == 2, "the first two chunks were sent again"
    assert "Going on with the upload" in run.err
    assert not state_of(archive).exists()


def interrupted(world: World, client: Client, *arguments: object) -> str:
    """Stop a run with Ctrl-C after the second chunk; returns the batch."""
    before = set(batches(world))
    world.suite.traffic.arm(CHUNK, Fault("error", 503), nth=3)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    run = client(*arguments, meanwhile=ctrl_c)
    assert run.code == 130, run
    assert "run the same command again" in run.err
    world.suite.traffic.disarm()
    world.suite.traffic.forget()
    new = set(batches(world)) - before
    return new.pop() if new else ""


def test_ctrl_c_leaves_all_that_is_needed_to_go_on(
    world: World, client: Client, host: str, archive: Path
) -> None:
    batch = interrupted(world, client, host, archive)
    state = state_of(archive)
    assert state.stat().st_mode & 0o777 == 0o600
    assert json.loads(state.read_text())["batch"] == batch
    assert sorted(each.name for each in archive.parent.glob("archive*")) == [archive.name, state.name]
    run = client(f"{host}/v0.2/", archive)
    assert (run.code, uploads(world)) == (0, {batch: CONTENT}), run
    assert chunks(world) == 2


OTHER = bytes([CONTENT[0]]) + b"\xff" + CONTENT[2:]


@pytest.mark.parametrize("change", ["content", "date", "longer", "site", "host", "state damaged"])
def test_what_is_not_the_same_upload_begins_anew(
    world: World, client: Client, host: str, archive: Path, change: str
) -> None:
    old = interrupted(world, client, host, archive)
    date = archive.stat().st_mtime_ns
    more: list[str] = []
    if change == "content":
        archive.write_bytes(OTHER)
        os.utime(archive, ns=(date, date))
    elif change == "date":
        os.utime(archive, ns=(date, date + 1_000))
    elif change == "longer":
        archive.write_bytes(CONTENT + b"more")
        os.utime(archive, ns=(date, date))
    elif change == "site":
        more = ["--site", SITE]
    elif change == "host":
        host = host.replace("127.0.0.1", "localhost")
    else:
        state_of(archive).write_text('{"batch": "')
    run = client(host, archive, *more)
    assert run.code == 0, run
    ((batch, content),) = uploads(world).items()
    assert batch != old
    assert content == archive.read_bytes()


def test_an_expired_session_begins_anew_with_a_new_batch(
    world: World, client: Client, host: str, archive: Path
) -> None:
    old = interrupted(world, client, host, archive)
    world.wait(timedelta(days=7, minutes=1))
    run = client(host, archive)
    assert run.code == 0, run
    ((batch, content),) = uploads(world).items()
    assert batch != old
    assert content == CONTENT
    assert "beginning anew" in run.err


def test_a_batch_cancelled_before_a_restart_is_replaced(
    world: World, client: Client, host: str, archive: Path
) -> None:
    old = interrupted(world, client, host, archive)
    assert world.request("DELETE", f"/v0.2/batches/{old}").status == 204
    run = client(host, archive)
    assert run.code == 0, run
    assert old not in uploads(world)
    assert list(uploads(world).values()) == [CONTENT]


def test_a_batch_cancelled_while_it_is_uploaded_stays_so(
    world: World, client: Client, host: str, archive: Path
) -> None:
    def cancel() -> None:
        (batch,) = batches(world)
        assert world.request("DELETE", f"/v0.2/batches/{batch}").status == 204

    world.suite.traffic.arm(CHUNK, Fault("error", 503), nth=2)
    run = client(host, archive, meanwhile=cancel)
    assert run.code == 1, run
    assert "was cancelled" in run.err
    assert list(batches(world).values()) == ["CANCELLED"]
    assert not state_of(archive).exists()


def test_an_archive_that_is_there_already_is_not_sent_again(
    world: World, client: Client, host: str, archive: Path
) -> None:
    """All was sent and the client died before it knew; the session is long gone when it starts again."""
    batch = interrupted(world, client, host, archive)
    World.upload(json.loads(state_of(archive).read_text())["url"], CONTENT)
    world.drain()
    world.wait(timedelta(days=8))
    run = client(host, archive, "--wait")
    assert list(batches(world)) == [batch], run
    assert "there already" in run.err
    assert run.code == 0, run
    assert chunks(world) == 1


def test_a_batch_made_by_hand_takes_the_archive(
    world: World, client: Client, host: str, archive: Path
) -> None:
    batch = world.batch()
    assert interrupted(world, client, host, archive, "--batch", batch) == ""
    run = client(host, archive, "--batch", batch, "--wait")
    assert run.code == 0, run
    assert uploads(world) == {batch: CONTENT}
    assert chunks(world) == 2

    run = client(host, archive, "--batch", batch)
    assert run.code == 1, run
    assert "takes no archive: it is COMPLETED" in run.err
    run = client(host, archive, "--batch", BATCH)
    assert run.code == 1, run
    assert f"no batch {BATCH}" in run.err


def test_an_upload_url_is_enough(world: World, client: Client, host: str, archive: Path) -> None:
    answer = world.request("POST", f"/v0.2/batches?site_id={SITE}")
    url, batch = answer.body["upload_url"], answer.body["batch_id"]
    client.environment.clear()
    interrupted(world, client, host, archive, "--url", url)
    run = client(host, archive, "--url", url)
    assert (run.code, run.out) == (0, f"Uploaded {archive}.\n")
    assert uploads(world) == {batch: CONTENT}
    assert chunks(world) == 2


def test_half_of_one_archive_and_half_of_another_are_not_put_together(
    world: World, client: Client, host: str, archive: Path
) -> None:
    batch = world.batch()
    interrupted(world, client, host, archive, "--batch", batch)
    archive.write_bytes(OTHER)
    run = client(host, archive, "--batch", batch)
    assert run.code == 1, run
    assert "is not as it was" in run.err
    assert uploads(world) == {}


# What comes of it.


def make(archive: Path, *files: File) -> None:
    archive.write_bytes(zipped(list(files)))


GOOD = (File("WO_1/meter.jpg", jpeg("1")), File("WO_2/meter.jpg", jpeg("2")))
BAD = tuple(File(f"WO_{n}/meter.jpg", b"no picture") for n in range(100, 125))


def test_waiting_until_all_is_in(world: World, client: Client, host: str, archive: Path) -> None:
    make(archive, *GOOD)
    size = sum(len(each.content) for each in GOOD) / 1000
    run = client(host, archive, "--wait")
    (batch,) = batches(world)
    assert run.code == 0, run
    assert run.out.splitlines() == [
        f"Batch {batch}: COMPLETED",
        f"  2 of 2 work orders taken in, with 2 photographs ({size:.1f} kB)",
    ]
    assert sorted(world.imported()) == ["WO_1", "WO_2"]
    assert not state_of(archive).exists()


def test_many_warnings_of_a_code_hide_no_other(
    world: World, client: Client, host: str, archive: Path
) -> None:
    small, dark = io.BytesIO(), io.BytesIO()
    Image.effect_noise((64, 64), 90).save(small, "PNG")
    Image.effect_noise((700, 700), 3).point(lambda value: value // 16).save(dark, "PNG")
    several = [File(f"WO_{number}/meter.png", small.getvalue()) for number in range(30)]
    make(archive, *several, File("WO_X/meter.png", dark.getvalue()))
    run = client(host, archive, "--wait")
    assert run.code == 0, run
    lines = run.out.splitlines()
    assert len([line for line in lines if "LOW_RESOLUTION: The" in line]) == 3, lines
    assert any("WO_X/meter.png: TOO_DARK" in line for line in lines), lines
    assert lines[-1].startswith("  In all: 30 LOW_RESOLUTION, "), lines
    assert "TOO_DARK" in lines[-1], lines


def test_waiting_with_some_work_orders_that_are_wrong(
    world: World, client: Client, host: str, archive: Path
) -> None:
    make(archive, *GOOD, *BAD, File("__rubbish.txt", b"x"))
    saved = {form: archive.with_name(f"errors.{form}") for form in ("csv", "jsonl")}
    run = client(host, archive, "--wait")
    assert run.code == 3, run
    lines = run.out.splitlines()
    assert lines[1].startswith("  2 of 27 work orders taken in, with 2 photographs"), lines
    assert lines[2] == "  26 errors, 0 warnings:"
    assert len([line for line in lines if "NOT_AN_IMAGE:" in line]) == 19
    assert lines[4].startswith("  WO_100/meter.jpg: NOT_AN_IMAGE: The file “meter.jpg” is called an image"), (
        lines
    )
    assert lines[-2] == "  and 6 more; --errors FILE saves all of them"
    assert lines[-1].startswith("  In all: 25 NOT_AN_IMAGE, 1 "), lines
    assert sorted(world.imported()) == ["WO_1", "WO_2"]

    for form, file in saved.items():
        run = client(host, archive, "--wait", "--errors", file)
        assert run.code == 3, run
        assert run.out.splitlines()[-3:] == ["  and 6 more", lines[-1], f"The errors are in {file}."]
        assert len(file.read_text().splitlines()) == 26 + (form == "csv")
    assert json.loads(saved["jsonl"].read_text().splitlines()[1])["work_order"] == "WO_100"
    assert saved["csv"].read_text().startswith("work_order,file,code,level,message")


def test_waiting_for_a_batch_that_fails(world: World, client: Client, host: str, archive: Path) -> None:
    archive.write_bytes(b"not a zip at all")
    run = client(host, archive, "--wait")
    (batch,) = batches(world)
    assert run.code == 1, run
    assert "does not look like a whole zip" in run.err
    assert run.out.splitlines()[:2] == [
        f"Batch {batch}: FAILED",
        "  The upload is not a zip archive. Send a zip file; rar, 7z and tar files are not supported.",
    ]
    assert not state_of(archive).exists()


def test_waiting_goes_on_after_ctrl_c(world: World, client: Client, host: str, archive: Path) -> None:
    make(archive, *GOOD)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    run = client(host, archive, "--wait", meanwhile=ctrl_c)
    assert run.code == 130, run
    run = client(host, archive, "--wait")
    assert run.code == 0, run
    assert list(batches(world).values()) == ["COMPLETED"]


def test_who_is_to_be_told_is_passed_on(world: World, client: Client, host: str, archive: Path) -> None:
    run = client(host, archive, "--notify", "ann@example.com", "bob@example.com", "--code-page", "850")
    assert run.code == 0, run
    (snapshot,) = world.cloud.db.collection("batches").stream()
    assert snapshot.get("code_page") == "cp850"
    assert snapshot.get("notify") == ["ann@example.com", "bob@example.com"]
    assert snapshot.get("declared") == len(CONTENT)


# What is refused.


def test_what_the_server_refuses_is_said_with_what_to_do(
    world: World, client: Client, host: str, archive: Path
) -> None:
    good = client.environment["WAYBILL_API_KEY"]
    without_scope = create_key(world.cloud.db, customer="acme", scopes=["exports"], site=SITE)
    revoked = create_key(world.cloud.db, customer="acme", scopes=["batches"], site=SITE)
    revoke_key(world.cloud.db, revoked.split("_")[1])
    for key, arguments, words in (
        (revoked, [], r"the key is not valid.*Check the key in WAYBILL_API_KEY"),
        ("nonsense", [], r"Check the key in WAYBILL_API_KEY"),
        (without_scope, [], r"lacks the scope 'batches'"),
        (good, ["--site", THEIR_SITE], rf"there is no site {THEIR_SITE}.*Check --site"),
        (world.key, [], r"site_id: is needed.*--site ID"),
        (good, ["--notify", "nobody"], r"notify"),
    ):
        client.environment["WAYBILL_API_KEY"] = key
        run = client(host, archive, *arguments)
        assert run.code == 1, (words, run)
        assert re.search(words, run.err), (words, run)
        assert "Traceback" not in run.err
    assert batches(world) == {}


def test_a_wrong_command_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, empty = tmp_path / "archive.zip", tmp_path / "empty.zip"
    archive.write_bytes(CONTENT)
    empty.touch()
    host = "127.0.0.1:9"  # nothing listens there, and waiting would be seen
    for key, arguments, words in (
        ("", [host, archive], "There is no key. Set it first: export WAYBILL_API_KEY"),
        ("wb_„key“", [host, archive], "WAYBILL_API_KEY is no key"),
        ("wb_the_key", [host, tmp_path / "none.zip"], "There is no file"),
        ("wb_the_key", [host, tmp_path], "is a folder. Make a zip archive"),
        ("wb_the_key", [host, empty], "is empty"),
        ("wb_the_key", ["ftp://somewhere", archive], "must be an address"),
        ("wb_the_key", ["https://user:secret@somewhere", archive], "must be an address"),
        ("wb_the_key", [host, archive, "--batch", "1", "--url", "https://x"], "not allowed with"),
        ("wb_the_key", [host, archive, "--url", "https://x", "--wait"], "--wait needs the batch"),
        ("wb_the_key", [host, archive, "--url", "x"], "--url must be"),
        ("wb_the_key", [host, archive, "--errors", "e.csv"], "--errors needs --wait"),
        (
            "wb_the_key",
            [host, archive, "--wait", "--errors", tmp_path / "no" / "e.csv"],
            "there is no folder",
        ),
        ("wb_the_key", [host, archive, "--batch", "1", "--notify", "a@b.c"], "--notify is for a new batch"),
        (
            "wb_the_key",
            [host, archive, "--batch", "1", "--code-page", "850"],
            "--code-page is for a new batch",
        ),
        ("wb_the_key", [host], "required: archive"),
    ):
        client = Client(capsys, key)
        run = client(*arguments)
        assert (run.code, run.slept) == (2, []), (words, run)
        assert words in run.err, (words, run)


def test_the_key_of_the_old_script_is_read_too(
    world: World, client: Client, host: str, archive: Path
) -> None:
    client.environment = {"CUSTOMER_API_KEY": client.environment["WAYBILL_API_KEY"], "WAYBILL_API_KEY": " "}
    assert client(host, archive).code == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("waybill.example.com", "https://waybill.example.com"),
        ("https://waybill.example.com/", "https://waybill.example.com"),
        ("https://waybill.example.com/v0.2", "https://waybill.example.com"),
        ("https://waybill.example.com/v0.2/", "https://waybill.example.com"),
        ("waybill.example.com:8443/v0.2", "https://waybill.example.com:8443"),
        ("https://waybill.example.com/sites/a/v0.2", "https://waybill.example.com/sites/a"),
        ("http://waybill.example.com", "http://waybill.example.com"),
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080/v0.2/", "http://127.0.0.1:8080"),
        ("https://localhost", "https://localhost"),
        ("localhost.example.com", "https://localhost.example.com"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert upload.host_address(text) == address


# Against a server that misbehaves.


@dataclass
class Stub:
    """Answers as Waybill and Cloud Storage do, but for what `next` says of each PUT of bytes to come.

    A status is answered and nothing kept; ("answer", status, headers, body) is another server's answer, and
    nothing is kept either; ("keep", n) keeps n bytes of the chunk; ("back to", n) forgets all
    but n; ("meanwhile", f) does something else first; None goes well.
    """

    next: list[Any] = field(default_factory=list)
    kept: bytearray = field(default_factory=bytearray)
    sent: list[tuple[int, int]] = field(default_factory=list)
    asked: int = 0
    total: int = 0
    retry_after: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=lambda: {"status": "WAITING_FOR_UPLOAD"})
    refuses: tuple[int, dict[str, str], bytes] | None = None
    session: int = 0
    forgetful: bool = False
    url: str = ""
    upload_url: str = ""
    body: bytes = b""
    page: bytes = b""

    def put(
        self, content_range: str, read: Callable[[int], bytes], length: int
    ) -> tuple[int, dict[str, str]]:
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", content_range)
        assert found, content_range
        self.total = int(found[3])
        if found[1] is None:
            assert length == 0
            self.asked += 1
            if self.session:
                return self.session, {}
            return self.standing()
        start, end = int(found[1]), int(found[2]) + 1
        assert length == end - start
        assert length % QUANTUM == 0 or end == self.total
        self.sent.append((start, end))
        what = self.next.pop(0) if self.next else None
        keep, content = length, bytearray()
        while length:
            block = read(min(length, 1 << 16))
            length -= len(block)
            content += b"" if self.forgetful else block
        if what and not isinstance(what, int) and what[0] == "answer":
            self.body = what[3]
            return what[1], what[2]
        if isinstance(what, int):
            return what, {"Retry-After": self.retry_after} if self.retry_after else {}
        if what and what[0] == "meanwhile":
            what[1]()
        if what and what[0] == "keep":
            keep = what[1]
        assert start <= len(self.kept) or self.forgetful, "a hole"
        if self.forgetful:
            self.body = json.dumps({"size": str(self.total)}).encode()
            return (200, {}) if end == self.total else (308, {"Range": f"bytes=0-{end - 1}"})
        self.kept[start:] = content[:keep]
        if what and what[0] == "back to":
            del self.kept[what[1] :]
        return self.standing()

    def standing(self) -> tuple[int, dict[str, str]]:
        if len(self.kept) == self.total:
            self.body = json.dumps({"kind": "storage#object", "size": str(self.total)}).encode()
            return 200, {}
        return 308, {"Range": f"bytes=0-{len(self.kept) - 1}"} if self.kept else {}


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()

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
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if stub.refuses:
                return self.answer(*stub.refuses)
            stub.made.append(body)
            stub.kept.clear()
            made = {"batch_id": BATCH, "upload_url": stub.upload_url or f"{stub.url}/secret-session"}
            return self.answer(201, {}, json.dumps(made).encode())

        def do_GET(self) -> None:
            if "/errors" in self.path and stub.page:
                page, stub.page = stub.page, b""
                return self.answer(200, {"Content-Type": "text/html"}, page)
            if "/errors" in self.path:
                return self.answer(200, {"Content-Type": "application/x-ndjson"}, b"{}\n")
            return self.answer(200, {}, json.dumps({**stub.shown, "batch_id": BATCH}).encode())

        def do_PUT(self) -> None:
            assert "Authorization" not in self.headers
            length = int(self.headers["Content-Length"])
            stub.body = b""
            status, headers = stub.put(self.headers["Content-Range"], self.rfile.read, length)
            self.answer(status, headers, stub.body)

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as stub.url:
        yield stub


@pytest.fixture
def stubbed(stub: Stub, capsys: pytest.CaptureFixture[str], small_chunks: None) -> Client:
    return Client(capsys)


@pytest.mark.parametrize(
    ("happens", "sent"),
    [
        # In quanta: what was sent, chunk by chunk. All goes well: two at a time.
        ([], [(0, 2), (2, 4), (4, 6), (6, 7)]),
        ([("keep", QUANTUM)], [(0, 2), (1, 2), (2, 4), (4, 6), (6, 7)]),
        ([None, ("keep", QUANTUM)], [(0, 2), (2, 4), (3, 4), (4, 6), (6, 7)]),
        ([("keep", 0)], [(0, 2), (0, 1), (1, 3), (3, 5), (5, 7)]),
        ([None, None, ("back to", QUANTUM)], [(0, 2), (2, 4), (4, 6), (1, 2), (2, 4), (4, 6), (6, 7)]),
        ([None, None, ("back to", 0)], [(0, 2), (2, 4), (4, 6), (0, 1), (1, 3), (3, 5), (5, 7)]),
        ([None, 503, 503], [(0, 2), (2, 4), (2, 3), (2, 3), (3, 5), (5, 7)]),
    ],
)
def test_it_goes_by_what_the_server_has(
    stub: Stub, stubbed: Client, archive: Path, happens: list[Any], sent: list[tuple[int, int]]
) -> None:
    stub.next = happens
    run = stubbed(stub.url, archive)
    assert run.code == 0, run
    assert bytes(stub.kept) == CONTENT
    ends = [(start * QUANTUM, min(end * QUANTUM, len(CONTENT))) for start, end in sent]
    assert stub.sent == ends
    assert stub.made == [{"filename": "archive.zip", "size": len(CONTENT)}]


SIGN_IN = b"<html><title>Sign in to Airport WiFi</title></html>"
HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((200, HTML, SIGN_IN), id="a sign-in page"),
        pytest.param((200, {}, b""), id="nothing"),
        pytest.param((200, {}, b"[]"), id="other JSON"),
        pytest.param((200, {}, b'{"status": "ok"}'), id="another object"),
        pytest.param((200, {}, json.dumps({"size": None}).encode()), id="no size"),
        pytest.param((201, HTML, SIGN_IN), id="another status"),
        pytest.param((302, {"Location": "https://wifi.example/sign-in"}, b""), id="a redirect"),
        pytest.param((307, {"Location": "https://wifi.example/sign-in"}, b""), id="a temporary redirect"),
        pytest.param((308, {"Location": "https://wifi.example/sign-in"}, b""), id="a permanent redirect"),
    ],
)
@pytest.mark.parametrize("chunk", [0, 1, 3], ids=["the first", "one in the middle", "the last"])
def test_what_another_server_answers_to_a_chunk_is_not_the_end(
    stub: Stub, stubbed: Client, archive: Path, answer: tuple[int, dict[str, str], bytes], chunk: int
) -> None:
    stub.next = [None] * chunk + [("answer", *answer)]
    run = stubbed(stub.url, archive)
    assert (run.code, len(run.slept)) == (0, 1), run
    assert bytes(stub.kept) == CONTENT
    assert stub.asked == 2, "at first, and again after what was not the server's answer"
    assert "Does your network want you to sign in" in run.err


def test_a_chunk_in_the_middle_is_not_the_end_whatever_the_answer_says(
    stub: Stub, stubbed: Client, archive: Path
) -> None:
    stub.next = [None, ("answer", 200, {}, json.dumps({"size": len(CONTENT)}).encode())]
    run = stubbed(stub.url, archive)
    assert (run.code, bytes(stub.kept)) == (0, CONTENT), run


def test_a_sign_in_page_that_stays_ends_it_and_the_next_run_goes_on(
    stub: Stub, stubbed: Client, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = stub.standing

    def page() -> tuple[int, dict[str, str]]:
        stub.body = SIGN_IN
        return 200, HTML

    stub.next = [None, ("meanwhile", lambda: monkeypatch.setattr(stub, "standing", page))]
    run = stubbed(stub.url, archive)
    assert (run.code, len(run.slept), run.out) == (1, upload.TRIES_MOST - 1, ""), run
    assert "Run the same command again" in run.err
    monkeypatch.setattr(stub, "standing", standing)
    run = stubbed(stub.url, archive)
    assert (run.code, bytes(stub.kept)) == (0, CONTENT), run


def test_another_file_at_the_upload_url_is_not_this_one(stub: Stub, stubbed: Client, archive: Path) -> None:
    stub.next = [None, None, None, ("answer", 200, {}, b'{"size": "17"}')]
    run = stubbed(stub.url, archive)
    assert (run.code, run.out) == (1, ""), run
    assert f"another file there: of 17 bytes, not {len(CONTENT)}" in run.err


def test_a_sign_in_page_is_no_list_of_errors(stub: Stub, stubbed: Client, archive: Path) -> None:
    stub.shown = {"status": "COMPLETED_WITH_ERRORS", "errors": 1}
    for options in ([], ["--errors", archive.with_name("errors.csv")]):
        stub.page = SIGN_IN
        run = stubbed(stub.url, archive, "--wait", *options)
        assert run.code == 3, run
        assert "Sign in to" not in run.out
        assert "Does your network want you to sign in" in run.err
    assert archive.with_name("errors.csv").read_bytes() == b"{}\n"


def test_a_server_says_how_long_to_wait(stub: Stub, stubbed: Client, archive: Path) -> None:
    stub.next, stub.retry_after = [429, 503], "30"
    run = stubbed(stub.url, archive)
    assert (run.code, run.slept) == (0, [30.0, 30.0]), run
    stub.next, stub.retry_after = [429], "86400"
    assert stubbed(stub.url, archive).slept == [upload.WAIT_MOST]


def test_a_server_that_keeps_nothing_ends_it(stub: Stub, stubbed: Client, archive: Path) -> None:
    stub.next = [("keep", 0)] * 1_000
    run = stubbed(stub.url, archive)
    assert (run.code, len(run.slept)) == (1, upload.TRIES_MOST - 1), run
    assert "kept nothing of what was sent" in run.err


def test_failures_count_only_in_a_row(stub: Stub, stubbed: Client, archive: Path) -> None:
    stub.next = [*([503] * 10), ("keep", QUANTUM), *([503] * 10), ("keep", QUANTUM), *([503] * 10)]
    run = stubbed(stub.url, archive)
    assert (run.code, len(run.slept)) == (0, 30), run
    assert max(run.slept) <= upload.WAIT_MOST


def test_an_upload_url_that_never_works_ends_it(stub: Stub, stubbed: Client, archive: Path) -> None:
    stub.session = 410
    run = stubbed(stub.url, archive)
    assert run.code == 1, run
    assert len(stub.made) == upload.BATCHES_MOST
    assert "Try again later" in run.err
    assert not state_of(archive).exists()


def test_a_refusal_that_stays_is_told(stub: Stub, stubbed: Client, archive: Path) -> None:
    stub.next = [403]
    run = stubbed(stub.url, archive)
    assert (run.code, run.slept) == (1, []), run
    assert "refused the upload with 403" in run.err


def test_an_archive_that_changes_while_it_is_uploaded_ends_it(
    stub: Stub, stubbed: Client, archive: Path
) -> None:
    stub.next = [None, ("meanwhile", lambda: archive.write_bytes(OTHER))]
    run = stubbed(stub.url, archive)
    assert run.code == 1, run
    assert "was changed while it was being uploaded" in run.err
    assert len(stub.sent) == 2
    run = stubbed(stub.url, archive)
    assert (run.code, bytes(stub.kept)) == (0, OTHER), run


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ((302, {"Location": "https://waybill.example.com/x"}, b""), "points to waybill.example.com"),
        ((404, {}, b"<html>nothing"), "Is this the address of Waybill?"),
        ((200, {}, b"<html>welcome"), "does not answer as Waybill does"),
        ((200, {}, b"{}"), "does not answer as Waybill does"),
        ((400, {}, b'{"detail": "size: is more than\\u001b[2J 5 bytes"}'), "size: is more than?[2J 5 bytes"),
        ((401, {}, b"[]"), "Check the key"),
    ],
)
def test_a_host_that_is_not_waybill(
    stub: Stub, stubbed: Client, archive: Path, refuses: tuple[int, dict[str, str], bytes], words: str
) -> None:
    stub.refuses = refuses
    run = stubbed(stub.url, archive)
    assert (run.code, run.slept) == (1, []), run
    assert words in run.err
    assert stub.sent == []


def test_nobody_answers(stubbed: Client, archive: Path) -> None:
    run = stubbed("127.0.0.1:9", archive)
    assert run.code == 1, run
    assert "127.0.0.1 cannot be reached" in run.err
    assert len(run.slept) == upload.TRIES_MOST - 1


def test_storage_cannot_be_reached(stub: Stub, stubbed: Client, archive: Path) -> None:
    """What `requests` says then has the whole URL in it; `Run` looks for that."""
    stub.upload_url = "http://127.0.0.1:9/secret-session"
    run = stubbed(stub.url, archive)
    assert run.code == 1, run
    assert "127.0.0.1 cannot be reached" in run.err


def test_a_folder_that_takes_no_file_costs_only_the_memory(
    stub: Stub, stubbed: Client, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    run = stubbed(stub.url, archive)
    assert (run.code, bytes(stub.kept)) == (0, CONTENT), run
    assert "nothing can be written beside the archive" in run.err


@pytest.mark.parametrize(
    ("status", "code"),
    [("COMPLETED", 0), ("COMPLETED_WITH_ERRORS", 3), ("FAILED", 1), ("CANCELLED", 1), ("EXPIRED", 1)],
)
def test_exit_codes(stub: Stub, stubbed: Client, archive: Path, status: str, code: int) -> None:
    stages = iter(["WAITING_FOR_UPLOAD", "UPLOADED", "SOMETHING_NEW", "PROCESSING", status])

    def goes_on() -> None:
        stub.shown["status"] = next(stages)

    run = stubbed(stub.url, archive, "--wait", meanwhile=goes_on)
    assert run.code == code, run
    assert run.out.startswith(f"Batch {BATCH}: {status}\n")
    assert run.slept == [1.0, 1.5, 2.25, 3.375, 5.0625]


def test_memory_stays_small(
    stub: Stub, stubbed: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    large = tmp_path / "large.zip"
    with large.open("wb") as file:
        file.truncate(40 * 1024 * 1024)
    stub.forgetful = True
    tracemalloc.start()
    try:
        run = stubbed(stub.url, large)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert run.code == 0, run
    assert len(stub.sent) == 5
    assert peak < 2 * 1024 * 1024, f"{peak} bytes"


# What a person sees.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    at, terminal = [0.0], Terminal()
    screen = upload.Screen(io.StringIO(), terminal, lambda: at[0])
    bar = upload.Bar(screen, "archive.zip", 1_000_000_000, lambda: at[0])
    for sent in range(0, 1_000_000_001, 50_000_000):
        bar(sent)
        at[0] += 5
    screen.say("done\x1b[2J")
    lines = terminal.getvalue().split("\r")
    assert lines[5] == "archive.zip [##...........]  20 %  200.0 MB of 1.0 GB  10.0 MB/s  80 s left"
    assert max(len(line.rstrip("\n")) for line in lines) < 80, lines
    assert lines[-1] == "done?[2J\n"
    assert lines[-2] == " " * len(lines[-3].rstrip()), "what was drawn is not wiped out"
    assert terminal.getvalue().count("\n") == 1
    bar(100_000_000)  # the server has less than was sent
    at[0] += 1
    bar(110_000_000)
    assert terminal.getvalue().endswith(" 11 %  110.0 MB of 1.0 GB  10.0 MB/s  89 s left")


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    at, out = [0.0], io.StringIO()
    screen = upload.Screen(io.StringIO(), out, lambda: at[0])
    bar = upload.Bar(screen, "a-very-long-name-of-an-archive-of-work-orders.zip", 1000, lambda: at[0])
    for sent in range(0, 1000, 10):
        bar(sent)
        at[0] += 1
    bar(1000, now=True)
    lines = out.getvalue().splitlines()
    assert [line.split("]")[1].split("%")[0].strip() for line in lines] == ["0", "30", "60", "90", "100"], (
        lines
    )
    assert lines[0].startswith("a-very-long-name-of-an-arch... ["), lines
    assert "\r" not in out.getvalue()


# That a customer can run it.


def test_it_is_one_file_for_python_3_9_and_requests() -> None:
    source = Path(upload.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"requests"}
    assert "from __future__ import annotations\n" in source


def test_waybill_hands_it_out(world: World) -> None:
    answer = world.request("GET", "/v0.2/batches/upload.py")
    assert (answer.status, answer.body) == (200, Path(upload.__file__).read_bytes())


# The other client there is.


def test_the_command_line_client_works_unchanged(world: World) -> None:
    """It asks first, sends 2,621,440 bytes at a time, and needs 308 and then 200."""
    content = large(10)
    made = world.request("POST", f"/v0.2/batches?site_id={SITE}", b"")
    url, total, at, statuses = made.body["upload_url"], len(content), 0, []
    asked = requests.put(
        url, headers={"Content-Length": "0", "Content-Range": f"bytes */{total}"}, timeout=30
    )
    assert (asked.status_code, asked.headers.get("Range")) == (308, None)
    while at < total:
        chunk = content[at : at + 2_621_440]
        headers = {"Content-Range": f"bytes {at}-{at + len(chunk) - 1}/{total}"}
        answer = requests.put(url, data=chunk, headers=headers, timeout=30)
        assert "Location" not in answer.headers
        statuses.append(answer.status_code)
        if answer.status_code == 308:
            assert answer.headers["Range"] == f"bytes=0-{at + len(chunk) - 1}"
        at += len(chunk)
    assert statuses == [308, 308, 200]
    world.drain()
    assert not world.failures, world.failures
    assert world.shown(made.body["batch_id"])["status"] == "COMPLETED"
    assert uploads(world) == {made.body["batch_id"]: content}
