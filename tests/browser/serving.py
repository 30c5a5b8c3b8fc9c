"""The suite with its functions in processes of their own, on what seed.py makes, in a process of its own.

    python -m tests.browser.serving seed STATE
    python -m tests.browser.serving serve STATE

`seed` makes the state. `serve` prints a line of JSON when it answers: `url`, `control`, `outbox` and what
was seeded; it ends when its standard input does. A process of its own keeps the environment and the threads
of the test's process as they are, in which Playwright has an event loop.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

from google.auth.compute_engine import _metadata

from infra.local.clock import SuiteClock, machine_time
from infra.local.project import account_email
from infra.local.suite import Suite
from shared.gcp import clients
from tests.browser.seed import seed

ACCOUNT = "waybill-tests"

SEEDED_BEFORE = timedelta(days=4)
"""How long before now the customer's first data came."""


SEEDED = "seeded.json"
"""The file of the state that says what was seeded."""


def make(state: Path) -> None:
    """Seed, and write down what is there."""
    began = (machine_time() - SEEDED_BEFORE).replace(hour=9, minute=17)
    with Suite(state=state, clock=SuiteClock(frozen_at=began), run_functions=False) as suite:
        (state / SEEDED).write_text(json.dumps(_seeded(suite)))


def serve(state: Path) -> None:
    """Serve until standard input ends."""
    seeded = json.loads((state / SEEDED).read_text())
    with Suite(state=state) as suite:
        where = {"url": suite.url, "control": suite.control_url, "outbox": str(suite.outbox)}
        print(json.dumps({**where, **seeded}), flush=True)
        sys.stdin.read()


def _seeded(suite: Suite) -> dict[str, str]:
    account = account_email(ACCOUNT, suite.project)
    suite.identity.create_account(account)
    for bucket in ("uploads", "staging", "images", "records", "datasets"):
        suite.storage.grant(f"{suite.project}-{bucket}", account, "roles/storage.objectUser")
    os.environ.update(suite.env(ACCOUNT))
    _metadata._GCE_METADATA_HOST = os.environ["GCE_METADATA_HOST"]
    cloud = clients.connect()
    try:
        return seed(suite, cloud, account, machine_time())
    finally:
        cloud.close()
        clients.forget()


if __name__ == "__main__":
    {"seed": make, "serve": serve}[sys.argv[1]](Path(sys.argv[2]))
