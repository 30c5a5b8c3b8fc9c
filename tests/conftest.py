"""Every test that asks for `world` gets services without any state, at the same moment.

A process starts the services once and resets them for each test. A test that stops or kills services has its
own.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace

import google.auth
import grpc
import pytest
import requests.sessions
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
from google.auth.credentials import Credentials, with_scopes_if_required

from infra.local.clock import SuiteClock
from infra.local.project import account_email
from infra.local.suite import Suite
from shared import logs
from shared.clock import stopwatch
from shared.delivery.cloud_storage import copying
from shared.gcp import clients, many
from tests import in_process
from tests.emulators.suite import with_emulators
from tests.outside import outside
from tests.world import World, forget

__all__ = ["outside"]

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else each server that stops is told on standard error

START = datetime(2026, 11, 22, 9, 17, tzinfo=UTC)
"""When every test begins: a Sunday morning."""

ACCOUNT = "waybill-tests"
"""The account that the functions of this process run as; only real processes have each its own."""


def pytest_configure() -> None:
    """Every test sees what is logged, whichever test ran before it."""
    logs.configure()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="write golden files anew; then read the diff"
    )
    parser.addoption(
        "--screenshots",
        action="store_true",
        help="take a screenshot of each page of the console in each view, not of those with faults alone",
    )
    parser.addoption(
        "--google",
        action="store_true",
        help="use Google's emulators: see tests/emulators",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --google, take the tests that call the services, and those that are not about ours alone."""
    if not config.getoption("--google"):
        return
    left = [
        item
        for item in items
        if "suite" not in getattr(item, "fixturenames", ()) or item.get_closest_marker("ours_only")
    ]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


def pytest_collection_finish() -> None:
    """What is there now stays until the end: the collector need not look at it again and again. How seldom it
    looks is set by `shared`."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Holds a text against the file of that name in `golden/` beside the test."""

    def hold(name: str, text: str) -> None:
        file = request.path.parent / "golden" / name
        if request.config.getoption("--write-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        assert text == file.read_text()

    return hold


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's clients, and our own copying, try again at once instead of after seconds: to them the seconds
    have gone by."""
    slept: list[float] = []
    still = SimpleNamespace(sleep=slept.append, monotonic=lambda: stopwatch() + sum(slept))
    for module in (
        "api_core.retry.retry_base",
        "api_core.retry.retry_unary",
        "api_core.retry.retry_streaming",
        "auth._exponential_backoff",
    ):
        monkeypatch.setattr(f"google.{module}.time", still)
    for ours in (copying, many):
        monkeypatch.setattr(ours, "BACKOFF_SECONDS", 0.001)
        monkeypatch.setattr(ours, "MAX_BACKOFF", 0.002)


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The services that the tests of this process use one after the other."""
    state = tmp_path_factory.mktemp("services")
    if request.config.getoption("--google"):
        with with_emulators(state, START) as services:
            yield services
        return
    with Suite(state=state, clock=SuiteClock(frozen_at=START), run_functions=False) as services:
        yield services


@pytest.fixture
def suite(
    request: pytest.FixtureRequest, services: Suite, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> Iterator[Suite]:
    """The services, without function processes, on a clock that stands, as if just started."""
    services.reset()
    environment = services.env(ACCOUNT)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if request.node.get_closest_marker("wire") is None:
        here = {
            environment["FIRESTORE_EMULATOR_HOST"]: services.firestore.handlers,
            environment["PUBSUB_EMULATOR_HOST"]: services.pubsub.handlers,
        }
        monkeypatch.setattr(grpc, "insecure_channel", in_process.channels(here))
        # As google-auth finds them on Google Cloud, without asking the metadata server whether it is there.
        monkeypatch.setattr(google.auth, "default", _as_on_google_cloud(services.project))
    # Before each call requests looks for a proxy, through all the variables of the environment.
    monkeypatch.setattr(requests.sessions, "get_environ_proxies", lambda *_, **__: {})
    # google-auth reads where the metadata server is once, when it is imported.
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", environment["GCE_METADATA_HOST"])
    yield services
    forget()


def _as_on_google_cloud(project: str) -> Callable[..., tuple[Credentials, str]]:
    def default(scopes: Sequence[str] | None = None) -> tuple[Credentials, str]:
        return with_scopes_if_required(compute_engine.Credentials(), scopes), project

    return default


@pytest.fixture
def new_world(suite: Suite) -> Iterator[Callable[[], World]]:
    """Makes a world in services without any state; the one made before it is gone."""
    made: list[World] = []

    def close() -> None:
        # An open channel to a port that another server gets would still be waiting to try it once more.
        for world in made:
            world.cloud.close()
        made.clear()
        forget()

    def make() -> World:
        if made:
            close()
            suite.reset()
        account = account_email(ACCOUNT, suite.project)
        suite.identity.create_account(account)
        for bucket in ("uploads", "staging", "images", "records", "datasets"):
            suite.storage.grant(f"{suite.project}-{bucket}", account, "roles/storage.objectUser")
        made.append(World(suite, clients.connect(), account))
        return made[0]

    yield make
    close()


@pytest.fixture
def world(new_world: Callable[[], World]) -> World:
    """One customer with two sites, a bucket and a key."""
    return new_world()
