"""Chromium on this machine: where it is, and how it is started."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

REQUIRED = "WAYBILL_BROWSER"
"""The variable that .ci/run sets to `required`: then a machine without Chromium fails these tests."""


def program() -> str:
    """Where Chromium is. Without one the test is skipped, and pytest's last lines say so; where REQUIRED asks
    for one it fails."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        told = "Chromium is not installed: `apt-get install chromium` installs it"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(told)
        pytest.skip(f"{told}; nothing was seen in a browser")
    return found


def flags() -> list[str]:
    """What Chromium is started with: root has no sandbox; and what is shown is our own."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


@contextmanager
def started() -> Iterator[Browser]:
    """Chromium, driven by Playwright, until the block ends.

    Until then an event loop runs in this thread, so that nothing may call `asyncio.run` in it.
    """
    where = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where, args=flags())
        try:
            yield browser
        finally:
            browser.close()
