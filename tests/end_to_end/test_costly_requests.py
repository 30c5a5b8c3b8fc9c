"""Requests of one customer that are to cost out of proportion, against functions in processes of their own:
what they take of memory and time is measured, and what a neighbour's request waits."""

import base64
import io
import itertools
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import orjson
import pytest
import requests
from PIL import Image

from infra.bundle import Bundle
from infra.estimate.prices import mebibytes
from infra.local.demo_customer import CUSTOMER
from shared.accounts.customers import add_site
from shared.accounts.keys import create_key
from shared.analysis import decoding
from shared.analysis.sent import REQUEST_BYTES
from shared.clock import elapsed_since, stopwatch
from shared.workorders import store
from shared.workorders.envelope import RECORD_BYTES
from shared.workorders.record import encode
from tests.subjects.processes import Running, running_suite
from tests.world import jpeg

pytestmark = pytest.mark.slow

NAMES = UUID("2f6f0f0e-0f6e-4a33-9a7e-6c2f8b1d5a77")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_suite(tmp_path_factory.mktemp("costly") / "suite", {}) as running:
        yield running


class Customer:
    """A site with a key of its own, and calls of the function `batches` in its name."""

    def __init__(self, running: Running, name: str) -> None:
        self.running, self.cloud = running, running.cloud
        self.site = add_site(
            self.cloud.db,
            id=str(uuid5(NAMES, name)),
            customer=CUSTOMER,
            name=name,
            task_groups=("meter",),
            required=("meter",),
        )
        self.key = create_key(self.cloud.db, customer=CUSTOMER, scopes=["batches"], site=self.site.id)

    def ask(self, method: str, path: str, body: Any) -> requests.Response:
        return requests.request(
            method,
            f"{self.running.suite.url}/v0.2/work-orders{path}",
            data=body if isinstance(body, bytes) else orjson.dumps(body),
            headers={"Authorization": f"Token {self.key}", "Content-Type": "application/json"},
            timeout=120,
        )

    def work_order(self, name: str = "WO_1") -> str:
        """Make one; its path."""
        answer = self.ask("POST", "", {"name": name})
        assert answer.status_code == 201, answer.text
        return f"/{answer.json()['id']}"

    def analyze(self, path: str, *photographs: bytes) -> requests.Response:
        values = [f"data:image/jpg;base64,{base64.b64encode(each).decode()}" for each in photographs]
        inputs = [{"name": "meter", "data": {"type": "image", "value": value}} for value in values]
        return self.ask("POST", f"{path}/analyze", {"inputs": inputs})


@pytest.fixture
def customer(running: Running, request: pytest.FixtureRequest) -> Customer:
    return Customer(running, request.node.name)


class Used(NamedTuple):
    """What the processes of a function have used: MiB at most at a time, added up, and seconds of CPU."""

    mib: float
    seconds: float


def used(running: Running, function: str = "batches", *, decoders: bool = True) -> Used:
    """What the function's process and all of its children, by now, have used; or without its decoders."""
    pid = running.suite.processes.pid(function)
    assert pid is not None
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        stat = _read(folder / "stat").rpartition(")")[2].split()
        if stat:
            parents.setdefault(int(stat[1]), []).append(int(folder.name))
    family, waiting = [], [pid]
    while waiting:
        family.append(waiting.pop())
        waiting += parents.get(family[-1], [])
    memory = ticks = 0
    for each in family:
        if not decoders and "\0-I\0-S\0" in _read(Path(f"/proc/{each}/cmdline")):
            continue
        peak = re.search(r"VmHWM:\s+([0-9]+) kB", _read(Path(f"/proc/{each}/status")))
        memory += int(peak[1]) if peak else 0
        stat = _read(Path(f"/proc/{each}/stat")).rpartition(")")[2].split()
        ticks += sum(map(int, stat[11:15])) if stat else 0  # of its own, and of its children that ended
    return Used(memory / 1024, ticks / os.sysconf("SC_CLK_TCK"))


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it ended meanwhile


EVIL = {
    "lists": b"[],",
    "objects": b"{},",
    "names": b'{"":1},',
    "numbers": b"1,",
    "deep": b"[",
}


@pytest.mark.parametrize("name", EVIL)
def test_a_body_of_31_mib_of_brackets_takes_little_more_than_its_own_bytes(
    customer: Customer, running: Running, name: str
) -> None:
    path = customer.work_order()
    before = used(running)
    body = b'{"inputs":[' + EVIL[name] * (31 * MIB // len(EVIL[name])) + b"{}]}"
    answer = customer.ask("POST", f"{path}/analyze", body)
    after = used(running)
    assert answer.status_code == 400, answer.text
    assert "has more than" in answer.json()["detail"]
    assert len(answer.content) < 1_000
    assert after.mib - before.mib < 150
    assert after.seconds - before.seconds < 5


def test_a_body_of_a_mib_of_wrong_fields_is_answered_in_twenty(customer: Customer, running: Running) -> None:
    path = customer.work_order()
    before = used(running)
    body = b'{"name":"WO_2",' + b",".join(b'"%x":1' % number for number in range(100_000)) + b"}"
    answers = [customer.ask("POST", "", body), customer.ask("PATCH", path, body)]
    after = used(running)
    for answer in answers:
        assert (answer.status_code, len(answer.json()["errors"])) == (400, 20)
        assert answer.json()["more_errors"] > 99_000
        assert len(answer.content) < 20_000
    assert after.mib - before.mib < 250
    assert after.seconds - before.seconds < 20


def test_merges_make_no_record_of_more_than_five_mib(customer: Customer, running: Running) -> None:
    path = customer.work_order()
    before = used(running)
    statuses = []
    for n in range(8):
        patch = {"metadata": {f"n{n}": "x" * (MIB - 100)}}
        statuses.append(customer.ask("PATCH", path, patch).status_code)
    assert statuses == [200] * 4 + [400] * 4
    text = [{"name": "meter", "data": {"type": "text", "value": f"{n}"}} for n in range(5)]
    more = customer.ask("POST", f"{path}/analyze", {"inputs": text, "metadata": {"a": "x" * 250_000}})
    assert more.status_code == 400, more.text
    assert "may have 5,242,880" in more.json()["detail"]
    held = store.look(running.cloud, customer.site, path[1:])
    assert 4 * (MIB - 100) < len(encode(held.stored.work_order)) <= RECORD_BYTES
    after = used(running)
    assert after.mib - before.mib < 150
    assert after.seconds - before.seconds < 10


def test_the_largest_requests_at_once_fit_into_the_memory_of_an_instance(tmp_path: Path) -> None:
    function = Bundle.load().functions["batches"]
    noise = io.BytesIO()
    Image.frombytes("L", (2_500, 2_500), os.urandom(2_500**2)).save(noise, "JPEG", quality=90)
    photograph = noise.getvalue()
    photographs = REQUEST_BYTES // (len(photograph) * 4 // 3 + MIB // 100)
    assert photographs * len(photograph) > 20 * MIB
    with running_suite(tmp_path / "suite", {}) as running:
        customer = Customer(running, "large")
        paths = [customer.work_order(f"WO_{n}") for n in range(function.concurrency)]
        with ThreadPoolExecutor(function.concurrency) as pool:
            answers = list(pool.map(lambda path: customer.analyze(path, *[photograph] * photographs), paths))
        assert [answer.status_code for answer in answers] == [200] * function.concurrency
        own = used(running, decoders=False).mib
    assert own + decoding.DECODERS * decoding.MEMORY / MIB < mebibytes(function)


def scanned(side: int, more: int) -> bytes:
    """A progressive JPEG with so many scans more: its shortest one, which says nothing of a grey picture."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (127, 127, 127)).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    starts = [found.start() for found in re.finditer(b"\xff[\xc4\xda\xd9]", whole)][1:]
    pieces = [whole[start:end] for start, end in itertools.pairwise(starts)]
    at = max(n for n, each in enumerate(pieces) if each[1] == 0xDA and len(each) < 40)
    return whole[: starts[at]] + pieces[at] * more + whole[starts[at] :]


def test_a_photograph_of_a_thousand_scans_keeps_no_neighbour_waiting(running: Running) -> None:
    attacker, neighbour = Customer(running, "attacker"), Customer(running, "neighbour")
    evil = scanned(9_000, 980)  # about 25 seconds, where nothing stops it
    assert len(evil) < 600_000
    path = attacker.work_order()
    theirs = [neighbour.work_order(f"WO_{n}") for n in range(5)]
    assert neighbour.analyze(theirs[0], jpeg("warm")).json()["analysis"] == "DONE"
    before = used(running)
    begun = threading.Event()

    def attack() -> requests.Response:
        begun.set()
        return attacker.analyze(path, evil)

    with ThreadPoolExecutor(1) as pool:
        attacked = pool.submit(attack)
        begun.wait()
        start = stopwatch()
        shown = [neighbour.analyze(each, jpeg(each)).json()["analysis"] for each in theirs[1:]]
        waited = elapsed_since(start)
        attack_was_on = not attacked.done()
        answer = attacked.result().json()
    after = used(running)
    assert shown == ["DONE"] * 4
    assert attack_was_on or waited < decoding.CPU_SECONDS
    [one] = answer["work_items"][0]["input"]
    assert [each["code"] for each in one["data_conformity"]] == ["TAKES_TOO_LONG"]
    assert after.seconds - before.seconds < decoding.CPU_SECONDS + 5
    assert after.mib - before.mib < decoding.MEMORY / MIB + 100
