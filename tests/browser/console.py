"""The console as tests in a browser see it: where it is served, and windows to look at it with."""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, BrowserContext, Page

from infra.local.processes import REPOSITORY
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


@contextmanager
def served(folder: Path, shared: Path) -> Iterator[Console]:
    """Serve the console below a folder until the block ends, on a copy of what is seeded. It is seeded in
    `shared` once for all processes that name the same folder."""
    state = folder / "state"
    with (shared / "seeded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "seeded").exists():
            seed(shared / "seeding")
            (shared / "seeding").rename(shared / "seeded")
    shutil.copytree(shared / "seeded", state)
    log = folder / "serving.log"
    with log.open("w") as output, _serving("serve", state, stderr=output) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()[-4000:]
        told = json.loads(line)
        try:
            yield Console(told.pop("url"), told.pop("control"), Path(told.pop("outbox")), told)
        finally:
            process.stdin.close()


def seed(state: Path) -> None:
    """Make the state that is served."""
    with _serving("seed", state, stderr=subprocess.PIPE) as process:
        _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told[-4000:]


def _serving(command: str, state: Path, stderr: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.browser.serving", command, str(state)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


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
        self.watches.append(
            Watch(
                context,
                self.console.url,
                [f"{self.console.control}/upload/", f"{self.console.control}/waybill-local-"],
            )
        )
        return context.new_page()

    def open(self, path: str, **how: Any) -> Page:
        """A window with a page in it, named by its path and query."""
        page = self.window(**how)
        page.goto(self.console.url + path)
        return page


Opens = Callable[..., Page]
"""Opens a page of the console, named by its path."""
