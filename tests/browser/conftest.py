"""A console that is served, and browsers to look at it with.

The console runs once in each of pytest's processes, in a process of its own (serving.py).
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser import chromium
from tests.browser.console import PATIENCE_MS, Console, Opens, Visitor, served, sign_in


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The console, with what seed.py makes."""
    chromium.program()
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with served(tmp_path_factory.mktemp("console"), shared) as console:
        yield console


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


@pytest.fixture
def visitor(browser: Browser, console: Console, signed_in: Any) -> Iterator[Visitor]:
    """Opens pages; in the end, none may have left the host or have had an error in its console."""
    visitor = Visitor(browser, console, signed_in)
    yield visitor
    faults = [fault for watch in visitor.watches for fault in watch.faults()]
    for context in visitor.contexts:
        context.close()
    assert faults == []


@pytest.fixture
def open_page(visitor: Visitor) -> Opens:
    """Opens a page of the console, named by its path."""
    return visitor.open
