"""Strangers without a key, at the real servers of the suite: what they cost, and that others go on.

Each HTTP function is attacked at its own port, as Cloud Run passes requests on, and through the front door.
The figures are printed (`pytest -s`).
"""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.bundle import Bundle
from infra.local.demo_customer import CUSTOMER
from shared.accounts.keys import create_key, identify
from shared.accounts.strangers import WRONG
from shared.clock import elapsed_since, stopwatch
from shared.console import sessions
from shared.http.sent import BLOCK_SECONDS, DROPPED_BLOCK_SECONDS
from tests.memory import peak
from tests.subjects.processes import Running, running_suite

pytestmark = pytest.mark.slow

BUNDLE = Bundle.load()

MORE_MIB = 48
"""How much memory a process may take more for all that strangers send: a block of each of its requests, the
server's own buffers, and what Python keeps."""

ANSWER_SECONDS = BLOCK_SECONDS
"""Within how long a customer is answered while strangers attack. Alone it takes milliseconds; here are two
processors for everything."""

BODY = b"x" * (32 * 1024 * 1024)

DOORS = {
    "exports": ("/v1/exports", "Token", "exports"),
    "batches": ("/v0.2/task-groups", "Token", "batches"),
    "jobs": ("/ls/api/oauth2/validate", "Bearer", "jobs"),
    "datasets": ("/v2/{customer}/datasets", "Bearer", "datasets"),
    "downloads": (f"/v1/downloads/{'0' * 32}_{'x' * 43}", "Token", "exports"),
    "console": ("/console", None, "exports"),
}
"""A path of each HTTP function that a customer asks, how its key is sent, and the key's scope. Whoever
asks the console is signed in, and sends a cookie."""

BODIES = {
    "exports": "/v1/exports",
    "batches": "/v0.2/work-orders",
    "jobs": "/ls/api/batch/import",
    "datasets": "/v2/{customer}/datasets",
    "downloads": f"/v1/downloads/{'0' * 32}_{'x' * 43}",
    "console": "/console/sign-in",
}
"""A path of each that takes a body; downloads take none."""

ANSWERS = (200, 400, 404, 429)
"""How a customer is answered: by downloads that there is no such link, or that wrong ones came too often."""

UNFINISHED = {"downloads": {b"405"}, "console": {b"408", b"503"}}
"""How strangers are answered whose bodies do not arrive, where not with 401. The console reads what
whoever is not signed in sends, of a few at once; the others are told to come again."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_suite(tmp_path_factory.mktemp("strangers"), {}) as running:
        yield running


@pytest.fixture(scope="module")
def key(running: Running) -> str:
    return create_key(running.cloud.db, customer=CUSTOMER, scopes=[scope for _, _, scope in DOORS.values()])


class Victim:
    """An HTTP function of the suite, its process, and a customer who asks it."""

    def __init__(self, running: Running, name: str, key: str) -> None:
        path, kind, _ = DOORS[name]
        self.name, self.url = name, running.suite.url
        self.path = path.format(customer=CUSTOMER)
        self.body_path = BODIES[name].format(customer=CUSTOMER)
        if kind is None:
            session = sessions.begin(running.cloud, identify(running.cloud.db, key)[0])
            self.headers = {"Cookie": f"{sessions.COOKIE}={session}"}
        else:
            self.headers = {"Authorization": f"{kind} {key}"}
        processes = running.suite.processes
        assert processes is not None
        with processes.use(name) as instance:
            self.port, self.pid = instance.port, instance.pid

    def asks(self, port: int | None = None) -> tuple[int, float]:
        """The status that the customer is answered, and the seconds it took."""
        url = f"http://127.0.0.1:{port}" if port else self.url
        began = stopwatch()
        answer = requests.get(url + self.path, headers=self.headers, timeout=60, allow_redirects=False)
        return answer.status_code, elapsed_since(began)


@pytest.fixture(params=list(DOORS))
def victim(request: pytest.FixtureRequest, running: Running, key: str) -> Victim:
    victim = Victim(running, request.param, key)
    assert victim.asks()[0] in ANSWERS, "it answers before the attack"
    return victim


def open_body(port: int, path: str, length: int, host: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection((host, port), timeout=60)
    kind = "Content-Type: application/x-www-form-urlencoded\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {length}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def test_every_http_function_is_attacked_here() -> None:
    assert set(DOORS) == set(BODIES) == {each.name for each in BUNDLE.functions.values() if each.paths}


def test_sixteen_sockets_of_one_byte_do_not_stop_a_function(victim: Victim) -> None:
    with ExitStack() as opened:
        began = stopwatch()
        waiting = [
            opened.enter_context(open_body(victim.port, victim.body_path, 1_000_000)) for _ in range(16)
        ]
        for each in waiting:
            each.sendall(b"{")
        status, seconds = victim.asks(victim.port)
        answers = [each.recv(100).split()[1] for each in waiting]
        told = elapsed_since(began)
    print(f"{victim.name}: a customer was answered in {seconds:.2f} s, the strangers in {told:.2f} s")
    assert status in ANSWERS
    assert set(answers) == UNFINISHED.get(victim.name, {b"401"})
    assert seconds < ANSWER_SECONDS
    assert told < ANSWER_SECONDS + DROPPED_BLOCK_SECONDS


@pytest.mark.parametrize("through", ["its own port", "the front door"])
def test_sixteen_bodies_of_32_mib_without_a_key_take_no_memory(victim: Victim, through: str) -> None:
    before = peak(victim.pid)
    port = victim.port if through == "its own port" else int(victim.url.rpartition(":")[2])

    def send(_: int) -> None:
        with open_body(port, victim.body_path, len(BODY)) as connection, suppress(OSError):
            connection.settimeout(20)
            connection.sendall(BODY)  # it is closed before all is sent, or all is dropped
            connection.recv(100)

    with ThreadPoolExecutor(16) as pool:
        sending = [pool.submit(send, number) for number in range(16)]
        status, seconds = victim.asks(victim.port)
        for each in sending:
            each.result()
    after = peak(victim.pid)
    print(
        f"{victim.name} through {through}: {before:.0f} MiB before, {after:.0f} MiB at most, {seconds:.2f} s"
    )
    assert status in ANSWERS
    assert seconds < ANSWER_SECONDS
    assert after - before < MORE_MIB


def test_wrong_keys_are_slowed_and_the_right_one_passes(running: Running, key: str) -> None:
    victim = Victim(running, "exports", key)
    assert victim.asks()[0] == 200, "it is known from now on"
    before = len(running.suite.traffic.calls("firestore."))
    statuses: list[int] = []
    began = stopwatch()
    for number in range(200):
        wrong = {"Authorization": f"Token wb_{number:016x}_{'x' * 43}"}
        statuses.append(requests.get(victim.url + victim.path, headers=wrong, timeout=60).status_code)
    looked_up = statuses.count(401)
    most = WRONG.burst + WRONG.per_second * elapsed_since(began) + 1
    print(f"of 200 wrong keys {looked_up} were looked up")
    assert set(statuses) == {401, 429}
    assert looked_up <= most
    assert len(running.suite.traffic.calls("firestore.")) - before <= 2 * most
    assert victim.asks()[0] == 200, "the customer behind the same address goes on"


def test_wrong_links_are_slowed(running: Running, key: str) -> None:
    url = Victim(running, "downloads", key).url
    began = stopwatch()
    links = [f"{url}/v1/downloads/{number:032x}_{'x' * 43}" for number in range(100)]
    answers = [requests.get(link, timeout=60) for link in links]
    looked_up = sum(each.status_code == 404 for each in answers)
    assert looked_up <= WRONG.burst + WRONG.per_second * elapsed_since(began) + 1
    slowed = [each for each in answers if each.status_code == 429]
    assert len(slowed) == len(answers) - looked_up > 0
    assert all(each.headers["Retry-After"].isdigit() for each in slowed)


@pytest.mark.parametrize("name", ["downloads", "exports"])
def test_no_secret_of_a_stranger_is_in_any_log(running: Running, key: str, name: str) -> None:
    victim = Victim(running, name, key)
    token = f"{'0' * 32}_{'s3cret-' * 6}x"
    broken = b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"
    for method in (b"GET", b"POST", b"HEAD"):
        with socket.create_connection(("127.0.0.1", victim.port), timeout=60) as connection:
            path = f"/v1/downloads/{token}".encode()
            connection.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\n%s" % (method, path, broken))
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100).startswith(b"HTTP/1.1 ")
    logs = {each.name: each.read_text() for each in logs_of(running)}
    assert logs, "there are logs"
    assert not [name for name, text in logs.items() if "s3cret-" in text]
    lines = [json.loads(line) for line in logs[f"{name}.log"].splitlines() if line.startswith("{")]
    refused: list[Any] = [line for line in lines if "was refused" in line["message"]]
    assert refused
    assert {line["address"] for line in refused} <= {"127.0.0.1"}


def logs_of(running: Running) -> list[Path]:
    return sorted((running.suite.state / "logs").glob("*.log"))
