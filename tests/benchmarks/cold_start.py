"""A cold start of the function `exports`, from its process's start to the first answer, against an empty
function, and against one that reads a document with Google's client; and what each function imports before it
can answer.

All are started as Cloud Run starts them: by the command `functions-framework` in the folder that was
deployed, which was compiled by Google's build. What differs is said in README.md.
"""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from infra.bundle import Bundle
from infra.local.clock import cpu_seconds_of, wait
from infra.local.processes import REPOSITORY
from infra.package import package
from shared.accounts.customers import add_customer
from shared.accounts.keys import create_key
from shared.clock import elapsed_since, stopwatch
from tests.benchmarks import services
from tests.benchmarks.measure import Figure, Ground, Took, seconds, spread

REPETITIONS, QUICK_REPETITIONS = 7, 1
"""How often either is started."""

IMPORTS, QUICK_IMPORTS = 3, 1
"""How often each function's main.py is imported."""

QUICK_FUNCTIONS = 1
"""How many functions' imports the quick form measures."""

LIMIT = 2.0
"""How many times the empty function's time to its first answer that of `exports` may be."""

FUNCTION, EMPTY, CLIENT = "exports", "hello", "client"
CUSTOMER = "coldstart"

START_SECONDS = 60.0
"""How long a start may take at most."""

POLL_SECONDS = 0.002
"""How often it is asked while it does not listen yet."""

BUILD_TIME = 315_532_801
"""When every file of an image was changed last: 1980-01-01, one second after midnight.
https://github.com/buildpacks/lifecycle/blob/v0.20.0/archive/writer.go"""

TERRAFORM = REPOSITORY / "infra" / "terraform" / "functions.tf"

HELLO = """import flask
import functions_framework


@functions_framework.http
def hello(request: flask.Request) -> str:
    return "hello"
"""

READS_ONE = """import flask
import functions_framework
from google.cloud import firestore


@functions_framework.http
def client(request: flask.Request) -> str:
    return str(firestore.Client().document("things/none").get().exists)
"""
"""The least that a function does which reads a document."""

IMPORT = """
import importlib.util, sys, time
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("main", sys.argv[2])
module = importlib.util.module_from_spec(spec)
cpu, wall = time.process_time(), time.perf_counter()
spec.loader.exec_module(module)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
"""Imports a function's main.py as functions-framework does, and prints what that took."""


def bench(ground: Ground) -> Iterator[Figure]:
    """Start both by turns, and import each function by turns with the empty one."""
    with deployed() as folder:
        yield from _starts(ground, folder)
        yield from _imports(ground, folder)


@contextmanager
def deployed() -> Iterator[Path]:
    """A folder with `exports`, the empty function and the one that reads a document, as they are in an image,
    and main.py of every function under its name in `exports/functions`."""
    with TemporaryDirectory(prefix="waybill-cold-") as made:
        folder = Path(made)
        bundle = Bundle.load()
        package(folder, bundle.model_copy(update={"functions": {FUNCTION: bundle.functions[FUNCTION]}}))
        for name in bundle.functions:
            (folder / FUNCTION / "functions" / name).mkdir(parents=True)
            copyfile(
                REPOSITORY / "functions" / name / "main.py",
                folder / FUNCTION / "functions" / name / "main.py",
            )
        for each, main in ((EMPTY, HELLO), (CLIENT, READS_ONE)):
            (folder / each).mkdir()
            (folder / each / "main.py").write_text(main)
        for each in (FUNCTION, EMPTY, CLIENT):
            build(folder / each)
        yield folder


def build(folder: Path) -> None:
    """Compile a folder as Google's build does, with the variables that we give to builds, and put it into an
    image, which forgets when its files were changed.

    https://github.com/GoogleCloudPlatform/buildpacks/blob/main/cmd/python/functions_framework/lib/lib.go
    """
    subprocess.run(
        [sys.executable, "-m", "compileall", "-f", "-q", "."],
        cwd=folder,
        env={"PATH": os.defpath, **build_variables()},
        check=True,
    )
    for path in folder.rglob("*"):
        os.utime(path, (BUILD_TIME, BUILD_TIME))


def build_variables() -> dict[str, str]:
    """The variables that infra/terraform/functions.tf gives to the build of each function."""
    found = re.search(r"build_config \{(.*?)\n  \}", TERRAFORM.read_text(), re.DOTALL)
    assert found is not None
    given = re.search(r"environment_variables = \{(.*?)\}", found[1], re.DOTALL)
    return dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', given[1])) if given else {}


@dataclass(frozen=True)
class _Started:
    """One start: until the first answer, and the answer."""

    took: Took
    body: bytes


def _starts(ground: Ground, folder: Path) -> Iterator[Figure]:
    add_customer(ground.cloud.db, id=CUSTOMER, slug=CUSTOMER, name="Cold start")
    key = create_key(ground.cloud.db, customer=CUSTOMER, scopes=["exports"])
    environment = ground.served.ask(services.function_environment, FUNCTION)
    took: dict[str, list[Took]] = {FUNCTION: [], EMPTY: [], CLIENT: []}
    uncounted = 0 if ground.quick else 1  # in it the files come into memory
    for repetition in range((QUICK_REPETITIONS if ground.quick else REPETITIONS) + uncounted):
        for name, path, answer in (
            (FUNCTION, "/v1/exports", b'{"exports":[],"next_page_token":null}'),
            (EMPTY, "/", b"hello"),
            (CLIENT, "/", b"False"),
        ):
            start = _start(folder / name, name, path, {"Authorization": f"Token {key}"}, environment)
            if start.body.strip() != answer:
                raise AssertionError(f"{name} answered {start.body!r}")
            if repetition >= uncounted:
                took[name].append(start.took)
    print(f"\ncold start: {len(took[EMPTY])} times by turns; median (least to most)")
    print(f"  {'':50} {'wall s':24}  CPU s")
    for name, times in took.items():
        wall, cpu = (seconds(spread(getattr(each, clock) for each in times)) for clock in ("wall", "cpu"))
        print(f"  {name:50} {wall:24}  {cpu}")
    for other, limit in ((EMPTY, LIMIT), (CLIENT, None)):
        for name, clock in ((f"cold_start_vs_{other}", "wall"), (f"cold_start_cpu_vs_{other}", "cpu")):
            yield _figure(name, took[FUNCTION], took[other], clock, "until the first answer", limit)


def _figure(
    name: str, ours: list[Took], theirs: list[Took], clock: str, unit: str, limit: float | None
) -> Figure:
    pairs = [(getattr(one, clock), getattr(other, clock)) for one, other in zip(ours, theirs, strict=True)]
    one, other = (spread(each).median * 1e3 for each in zip(*pairs, strict=True))
    ratio = spread(one / other for one, other in pairs).median
    return Figure(name, ratio, one, other, f"ms{' of CPU' if clock == 'cpu' else ''} {unit}", limit)


def _start(
    folder: Path, function: str, path: str, headers: Mapping[str, str], environment: Mapping[str, str]
) -> _Started:
    """Start a function as Cloud Run does, ask it until it answers 200, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    variables = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "TRUE",  # as the build sets it
        "PYTHONDONTWRITEBYTECODE": "1",  # what an instance writes is gone when the next one starts
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "FUNCTION_TARGET": function,
        "FUNCTION_SIGNATURE_TYPE": "http",
        "K_SERVICE": function,
        "THREADS": "16",
        **environment,
    }
    command = [sys.executable, str(Path(sys.executable).with_name("functions-framework"))]
    began = stopwatch()
    process = subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while True:
            if process.poll() is not None or elapsed_since(began) > START_SECONDS:
                raise AssertionError(f"{function} does not start")
            with suppress(ConnectionRefusedError):
                status, body = _ask(port, path, headers)
                break
            wait(POLL_SECONDS)
        wall = elapsed_since(began)
        if status != 200:
            raise AssertionError(f"{function} answered {status}: {body!r}")
        cpu = cpu_seconds_of(process.pid) + sum(map(cpu_seconds_of, _children(process.pid)))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return _Started(Took(wall, cpu), body)


def _ask(port: int, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _children(pid: int) -> list[int]:
    """The processes that a process has started; gunicorn's workers are those of its master."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _imports(ground: Ground, folder: Path) -> Iterator[Figure]:
    functions = list(Bundle.load().functions)
    took: dict[str, tuple[list[Took], list[Took]]] = {}
    for name in functions[:QUICK_FUNCTIONS] if ground.quick else functions:
        ours: list[Took] = []
        theirs: list[Took] = []
        for _ in range(QUICK_IMPORTS if ground.quick else IMPORTS):
            ours.append(import_once(folder / FUNCTION, folder / FUNCTION / "functions" / name / "main.py"))
            theirs.append(import_once(folder / EMPTY, folder / EMPTY / "main.py"))
        took[name] = ours, theirs
    print("\nimports of each function's main.py, in a process of its own; median (least to most)")
    print(f"  {'':50} {'CPU s':24}  CPU, × the empty one's")
    for name, (ours, theirs) in took.items():
        ratio = spread(one.cpu / other.cpu for one, other in zip(ours, theirs, strict=True))
        print(f"  {name:50} {seconds(spread(each.cpu for each in ours)):24}  {ratio.median:.2f}")
    for name, (ours, theirs) in took.items():
        yield _figure(f"imports_{name}", ours, theirs, "cpu", "of imports", None)


def import_once(folder: Path, main: Path) -> Took:
    """What importing a main.py takes, with `folder` to import from."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(folder), str(main)],
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, cpu = map(float, done.stdout.split())
    return Took(wall, cpu)
