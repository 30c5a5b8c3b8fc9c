"""A console that is served, and browsers to look at it with.

The console runs once in each of pytest's processes, in a process of its own (serving.py).
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page

from infra.local.processes import REPOSITORY
from tests.browser import chromium
from tests.browser.looking import HEIGHTS, WIDE, Watch

PATIENCE_MS = 20_000
"""How long a page may take: its function may have to be started first."""


@dataclass(frozen=True)
class Console:
    """The console as it is served.

    ids  what the customer has, by the names of seed.py; also its keys
    """

    url: str
    control: str
    outbox: Path
    ids: dict[str, str]

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "key") -> Any:
        """Call the API as another client of the customer does."""
        headers = {"Authorization": f"Token {self.ids[key]}"}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=60)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The console on a copy of what is seeded, once for all of pytest's processes."""
    chromium.program()
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    seeded = shared / "console-seeded"
    with (shared / "console-seeded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not seeded.exists():
            _run("seed", shared / "console-seeding")
            (shared / "console-seeding").rename(seeded)
    state = tmp_path_factory.mktemp("console") / "state"
    shutil.copytree(seeded, state)
    command = [sys.executable, "-m", "tests.browser.serving", "serve", str(state)]
    with (
        (state.parent / "serving.log").open("w") as log,
        subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (state.parent / "serving.log").read_text()[-4000:]
        told = json.loads(line)
        yield Console(told.pop("url"), told.pop("control"), Path(told.pop("outbox")), told)
        process.stdin.close()


def _run(command: str, state: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.browser.serving", command, str(state)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.started() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(console: Console, browser: Browser) -> Any:
    """The cookies of somebody who signed in with the customer's key."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{console.url}/console/sign-in")
    sign_in(page, console.ids["key"])
    state = context.storage_state()
    context.close()
    return state


def sign_in(page: Page, key: str) -> None:
    """Fill the form of the page for signing in, and send it."""
    page.get_by_label("key").fill(key)
    page.get_by_role("button", name="Sign in").first.click()


class Visitor:
    """Opens pages of the console, each in a browser's window of its own."""

    def __init__(self, browser: Browser, console: Console, signed_in: Any) -> None:
        self._browser = browser
        self._signed_in = signed_in
        self.console = console
        self.watches: list[Watch] = []
        self.contexts: list[BrowserContext] = []

    def window(
        self, *, width: int = WIDE, scripts: bool = True, signed_in: bool = True, dark: bool = False
    ) -> Page:
        """An empty window; with `signed_in` its requests are the customer's."""
        context = self._browser.new_context(
            viewport={"width": width, "height": HEIGHTS[width]},
            java_script_enabled=scripts,
            storage_state=self._signed_in if signed_in else None,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="Europe/Paris",
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE_MS)
        self.contexts.append(context)
        self.watches.append(Watch(context, self.console.url, [f"{self.console.control}/upload/"]))
        return context.new_page()

    def open(self, path: str, **how: Any) -> Page:
        """A window with a page in it, named by its path and query."""
        page = self.window(**how)
        page.goto(self.console.url + path)
        return page


@pytest.fixture
def visitor(browser: Browser, console: Console, signed_in: Any) -> Iterator[Visitor]:
    """Opens pages; in the end, none may have left the host or have had an error in its console."""
    visitor = Visitor(browser, console, signed_in)
    yield visitor
    faults = [fault for watch in visitor.watches for fault in watch.faults()]
    for context in visitor.contexts:
        context.close()
    assert faults == []


Opens = Callable[..., Page]


@pytest.fixture
def open_page(visitor: Visitor) -> Opens:
    """Opens a page of the console, named by its path."""
    return visitor.open
