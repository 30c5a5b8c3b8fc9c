"""Customers' clients as they are run, against the suite with its functions in processes of their own: ours,
stopped by signals in the middle of an upload, and a customer's own script unchanged.

What clients send: docs/contracts/uploads.md."""

import fcntl
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from infra.local.demo_customer import CUSTOMER
from infra.local.traffic import Fault
from shared.accounts.customers import add_site
from shared.accounts.keys import create_key
from shared.batches.client import upload
from shared.gcp.documents import fields_of
from tests.archives import File, zipped
from tests.subjects.processes import Running, running_suite, until
from tests.world import jpeg

pytestmark = pytest.mark.slow

WORK_ORDERS = 200
CHUNK = "storage.uploads.chunk"
ARCHIVES = "-uploads/"
"""What tells the calls of customers' uploads from those of our own."""

HELD = Fault("delay", seconds=10)
"""Much longer than it takes to see the call and to send a signal."""

CUSTOMERS_SCRIPT = Path(__file__).parents[1] / "shared" / "batches" / "client" / "customers_upload.py.txt"
NAMES = UUID("5a1c62f0-7d4e-4a8e-9a37-2f0c6f1f9b11")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One suite for all tests; each has a site and a key of its own."""
    settings = {"WAYBILL_SLICE_FILES": "60"}  # several slices, side by side
    with running_suite(tmp_path_factory.mktemp("uploading") / "suite", settings) as running:
        yield running


class Customer:
    """A site with a key of its own, and what is in it."""

    def __init__(self, running: Running, name: str, folder: Path) -> None:
        self.running = running
        self.folder = folder
        self.site = str(uuid5(NAMES, name))
        db = running.cloud.db
        add_site(db, id=self.site, customer=CUSTOMER, name=name, task_groups=("meter",), required=("meter",))
        key = create_key(db, customer=CUSTOMER, scopes=["batches"], site=self.site)
        self.environment = {**os.environ, "WAYBILL_API_KEY": key, "CUSTOMER_API_KEY": key, "COLUMNS": "100"}
        running.suite.traffic.forget()

    def archive(self, *files: File) -> Path:
        file = self.folder / "archive.zip"
        file.write_bytes(zipped(list(files)))
        return file

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        """Our client, as a customer runs it."""
        return subprocess.Popen(
            [sys.executable, upload.__file__, self.running.suite.url, *(str(each) for each in arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: object) -> tuple[int, str]:
        process = self.start(*arguments)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def run_customers_script(self, archive: Path) -> str:
        script = self.folder / "upload.py"
        script.write_text(CUSTOMERS_SCRIPT.read_text())
        command = [sys.executable, str(script), self.running.suite.url, str(archive)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def batches(self) -> dict[str, str]:
        """The states of the site's batches."""
        found = self.running.cloud.db.collection("batches").stream()
        shown = [(each.id, fields_of(each)) for each in found]
        return {id: fields["state"] for id, fields in shown if fields["site_id"] == self.site}

    def work_orders(self) -> set[str]:
        found = (fields_of(each) for each in self.running.cloud.db.collection("work_orders").stream())
        return {fields["name"] for fields in found if fields["site_id"] == self.site}

    def photographs(self) -> "Counter[bytes]":
        storage, bucket = self.running.suite.storage, self.running.cloud.settings.images_bucket
        return Counter(
            storage.read(bucket, each.name) for each in storage.list(bucket, f"{CUSTOMER}/{self.site}/")
        )

    def chunks(self) -> int:
        return len(self.running.suite.traffic.calls(CHUNK, ARCHIVES))


@pytest.fixture
def customer(running: Running, request: pytest.FixtureRequest, tmp_path: Path) -> Customer:
    return Customer(running, request.node.name, tmp_path)


def work_orders(count: int, size: int) -> list[File]:
    """Work orders of one photograph of so many bytes each, which no compression makes smaller."""
    rest = random.Random(count)
    return [
        File(f"WO_{n:03}/meter-0.jpg", jpeg(f"WO_{n}") + rest.randbytes(size), method=0) for n in range(count)
    ]


def taken_in_once(customer: Customer, files: list[File]) -> None:
    assert customer.work_orders() == {str(file.name).split("/")[0] for file in files}
    assert customer.photographs() == Counter(file.content for file in files)


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)],
)
def test_an_upload_that_is_stopped_goes_on_where_it_was(
    customer: Customer, sent: signal.Signals, code: int
) -> None:
    files = work_orders(WORK_ORDERS, 100_000)
    archive = customer.archive(*files)
    assert 2 * upload.CHUNK_MOST < archive.stat().st_size < 3 * upload.CHUNK_MOST
    traffic = customer.running.suite.traffic
    traffic.arm(CHUNK, HELD, nth=2, resource=ARCHIVES)
    process = customer.start(archive, "--wait")
    until(lambda: customer.chunks() == 2, "the first chunk is there, and the second is on its way")
    process.send_signal(sent)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code, out
    traffic.disarm()
    assert list(customer.batches().values()) == ["WAITING_FOR_UPLOAD"]
    state = archive.with_name("archive.zip.waybill-upload")
    assert state.stat().st_mode & 0o777 == 0o600

    code, out = customer.run(archive, "--wait")
    assert code == 0, out
    assert "Going on with the upload that was begun before." in out
    # Three alone, and three again, would be five; how much of the second was there depends on the moment.
    assert customer.chunks() <= 4, "what was there already was sent again"
    assert list(customer.batches().values()) == ["COMPLETED"]
    assert f"{WORK_ORDERS} of {WORK_ORDERS} work orders taken in, with {WORK_ORDERS} photographs" in out
    taken_in_once(customer, files)
    assert not state.exists()


def test_what_is_wrong_is_shown_and_the_rest_is_in(customer: Customer) -> None:
    good = work_orders(20, 0)
    bad = [
        File("WO_900/meter-0.jpg", b"no picture"),
        File("WO_901/door-0.jpg", jpeg("door")),
        File("WO_902/metadata.json", b"[]"),
    ]
    saved = customer.folder / "errors.csv"
    code, out = customer.run(customer.archive(*good, *bad), "--wait", "--errors", saved)
    assert code == 3, out
    assert "20 of 23 work orders taken in" in out
    for line in ("WO_900/meter-0.jpg: NOT_AN_IMAGE:", "WO_901/door-0.jpg: UNKNOWN_TASK_GROUP:", "WO_902/"):
        assert line in out, out
    assert len(saved.read_text().splitlines()) >= 4
    taken_in_once(customer, good)


def test_what_a_person_sees(customer: Customer) -> None:
    archive = customer.archive(*work_orders(100, 200_000))
    # Slow enough to be looked at while it is at it.
    slow = Fault("delay", seconds=0.7)
    customer.running.suite.traffic.arm("storage.objects.get_media", slow, times=1_000, resource=ARCHIVES)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    command = [sys.executable, upload.__file__, customer.running.suite.url, str(archive), "--wait"]
    process = subprocess.Popen(command, env=customer.environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen = b""
    with suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(ours, 4096):
            screen += piece
    os.close(ours)
    customer.running.suite.traffic.disarm()
    assert process.wait(timeout=30) == 0, screen
    text = screen.decode()
    drawn = [each for each in re.split(r"\r+\n?|\n", text) if each.strip()]
    assert any(re.match(r"archive\.zip \[#+\.*\] +\d+ %  .* of 20\.\d MB", each) for each in drawn), drawn
    assert any(each.startswith("Taking in: ") for each in drawn), drawn
    assert max(len(each) for each in drawn) < 100, drawn
    stays = [line.split("\r")[-1].strip() for line in text.replace("\r\n", "\n").split("\n")]
    (batch,) = customer.batches()
    assert stays[0] == f"Batch {batch}", stays
    assert re.fullmatch(r"archive\.zip \[#+\] 100 %  20\.\d MB of 20\.\d MB  .*/s", stays[1]), stays
    assert stays[-3] == f"Batch {batch}: COMPLETED", stays
    assert stays[-2].startswith("100 of 100 work orders taken in"), stays
    print(text)


def test_a_customers_own_script_works_unchanged(customer: Customer) -> None:
    files = work_orders(30, 100_000)
    archive = customer.archive(*files)
    out = customer.run_customers_script(archive)
    statuses = [int(each) for each in re.findall(r"response: <Response \[(\d+)\]>", out)]
    count = -(-archive.stat().st_size // 524_288)
    assert statuses == [308] * (count - 1) + [200], out
    until(lambda: list(customer.batches().values()) == ["COMPLETED"], "the batch is taken in")
    taken_in_once(customer, files)


def test_a_customers_own_script_loses_a_chunk_and_nothing_wrong_is_taken_in(customer: Customer) -> None:
    """It carries on; its upload can never become whole."""
    archive = customer.archive(*work_orders(30, 100_000))
    customer.running.suite.traffic.arm(CHUNK, Fault("reset_before"), nth=2, resource=ARCHIVES)
    out = customer.run_customers_script(archive)
    assert "[200]" not in out, out
    assert list(customer.batches().values()) == ["WAITING_FOR_UPLOAD"]
    assert customer.work_orders() == set()
    # Sent again it is another batch, and whole.
    statuses: Any = re.findall(r"<Response \[(\d+)\]>", customer.run_customers_script(archive))
    assert statuses[-1] == "200", statuses
    until(
        lambda: sorted(customer.batches().values()) == ["COMPLETED", "WAITING_FOR_UPLOAD"], "the second is in"
    )
    assert len(customer.work_orders()) == 30
