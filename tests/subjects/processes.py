"""The suite with its functions in processes of their own, for tests that kill them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from google.auth.compute_engine import _metadata

from infra.local import demo_customer
from infra.local.clock import machine_time, wait
from infra.local.demo_customer import PLATFORM
from infra.local.suite import Suite
from infra.local.traffic import Fault
from shared.gcp import clients
from shared.gcp.clients import Cloud

HELD = Fault("delay", seconds=20)
"""Much longer than it takes to see the call and to kill."""


REFUSED = Fault("error", status=503)
"""Holds where a delay would let the call take effect first: it is tried again and again."""


BROKEN_OFF = ("RemoteDisconnected", "ConnectionResetError")
"""How the delivery to a process ends that was killed while it was at it."""


PATIENCE = timedelta(seconds=60)


MINUTES_AT_ONCE = timedelta(minutes=4)
"""By how much the clock is moved each time: more than a lease."""


MAX_MOVES = 15
"""An hour: the sweep looks after 15 minutes of silence, and every backoff is at most 10."""


NAMES = UUID("0d9c2f4e-6a51-4b0b-9a53-6d1f7f2c3a10")


TIMELINE = "export_work_orders_timeline"


class Running:
    """The suite, its functions in processes of their own, and the demo's customer."""

    def __init__(self, suite: Suite, cloud: Cloud, key: str) -> None:
        self.suite = suite
        self.cloud = cloud
        self.key = key

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the exports function, as a customer does."""
        headers = {"Authorization": f"Token {self.key}"}
        answer = requests.request(method, self.suite.url + path, json=body, headers=headers, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def now(self) -> datetime:
        return self.suite.clock.now()

    def idle(self) -> bool:
        """Whether nothing is being delivered, or due."""
        now = self.now()
        return all(each.due is not None and each.due > now for each in self.suite.pubsub.outstanding())

    def move(self) -> None:
        """Time goes by, with a tick, and all that comes of it."""
        self.suite.tick(self.now() + MINUTES_AT_ONCE)
        until(self.idle, "what was due has been delivered")


@contextmanager
def running_suite(state: Path, settings: dict[str, str] | None = None) -> Iterator[Running]:
    """A suite with its functions, and the demo's customer; this process is the platform's."""
    with Suite(state=state, settings=settings or {}) as suite, pytest.MonkeyPatch.context() as patch:
        environment = suite.env(PLATFORM)
        for name, value in environment.items():
            patch.setenv(name, value)
        # google-auth reads where the metadata server is once, when it is imported.
        patch.setattr(_metadata, "_GCE_METADATA_HOST", environment["GCE_METADATA_HOST"])
        clients.forget()
        key = demo_customer.ensure(suite)["WAYBILL_API_KEY"]
        cloud = clients.connect()
        yield Running(suite, cloud, key)
        clients.forget()
        cloud.close()


def until(true: Callable[[], object], what: str, within: timedelta = PATIENCE) -> None:
    deadline = machine_time() + within
    while not true():
        assert machine_time() < deadline, f"waited in vain for: {what}"
        wait(0.02)
