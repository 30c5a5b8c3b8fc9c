"""One customer does what others must not wait for, in the whole suite with a process for each function: what
another asks for meanwhile is done in its turn, not behind all of it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from operator import methodcaller
from typing import Any
from uuid import UUID, uuid5

import pytest
import requests

from infra.local.clock import machine_time
from infra.local.demo_customer import CUSTOMER
from infra.local.project import make_customer_account, make_customer_bucket
from shared.accounts.customers import add_customer, add_site
from shared.accounts.keys import SCOPES, create_key
from shared.batches.batch import ENDED
from shared.batches.steps import KIND as BATCHES
from shared.gcp.documents import count, fields_of
from shared.work import control
from shared.work.pieces import in_commits
from tests.archives import File, zipped
from tests.subjects.processes import Running, running_suite, until
from tests.world import jpeg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = UUID("7b1d0c55-08e4-4d3a-9f3e-0c6a4cf3a9d1")

OTHER = "other"

WORK_ORDERS = 12_000
"""How many work orders the archive of the one customer has: it has about 1 MiB."""

EXPORTS = 1_500
"""How many exports of every minute the one customer has."""

MINUTE = timedelta(minutes=1)

PATIENCE = timedelta(minutes=8)


class Other:
    """Another customer, with a site, a bucket and a key."""

    def __init__(self, running: Running) -> None:
        self.running = running
        db = running.cloud.db
        customer = add_customer(db, id=OTHER, slug=OTHER, name="Other")
        account = make_customer_account(running.suite, OTHER, customer.slug)
        make_customer_bucket(running.suite, "other-bi", account, open_to_all=True)
        self.site = site_of(running, OTHER)
        self.key = create_key(
            db, customer=OTHER, scopes=SCOPES, site=self.site, settings=running.cloud.settings
        )

    def as_caller(self) -> Running:
        return Running(self.running.suite, self.running.cloud, self.key)


def site_of(running: Running, customer: str) -> str:
    return add_site(
        running.cloud.db,
        id=str(uuid5(NAMES, customer)),
        customer=customer,
        name="Turns",
        task_groups=("meter",),
    ).id


def send(caller: Running, site: str, archive: bytes) -> str:
    """Make a batch and upload the archive; returns the batch's id."""
    made = caller.ask("POST", f"/v0.2/batches?site_id={site}")
    answer = requests.put(made["upload_url"], data=archive, timeout=60)
    assert answer.status_code == 200, answer.text
    id: str = made["batch_id"]
    return id


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_suite(tmp_path_factory.mktemp("turns") / "suite", {}) as running:
        yield running


@pytest.fixture(scope="module")
def other(running: Running) -> Other:
    return Other(running)


def test_two_photographs_do_not_wait_for_12000_work_orders(running: Running, other: Other) -> None:
    site = site_of(running, CUSTOMER)
    archive = zipped([File(f"{number:05}/metadata.json", b"{}") for number in range(WORK_ORDERS)])
    theirs = other.as_caller()
    warm = send(theirs, other.site, zipped([File("WO_0/meter.jpg", jpeg("warm"))]))
    until(lambda: shown(theirs, warm)["status"] in ENDED, "the functions have started", PATIENCE)

    large = send(running, site, archive)
    until(lambda: shown(running, large)["work_orders_total"], "the archive is planned", PATIENCE)
    began, before = machine_time(), shown(running, large)["work_orders_done"]
    two = [File(f"WO_1/meter-{place}.jpg", jpeg(f"two-{place}")) for place in range(2)]
    small = send(theirs, other.site, zipped(two))
    until(lambda: shown(theirs, small)["status"] in ENDED, "the two photographs are in", PATIENCE)
    took, during = machine_time() - began, shown(running, large)["work_orders_done"] - before
    print(f"{len(archive):,} bytes; {took} for two photographs, beside {during:,} work orders")
    assert shown(theirs, small)["images"] == 2
    # Behind five slices in line, and those that are begun while its own three stages are.
    assert during <= WORK_ORDERS / 4
    control.cancel(running.cloud, BATCHES, running.cloud.db.document(f"batches/{large}"))


def shown(caller: Running, batch: str) -> dict[str, Any]:
    answer: dict[str, Any] = caller.ask("GET", f"/v0.2/batches/{batch}")
    return answer


def test_an_export_is_begun_in_its_minute_beside_1500_of_another(running: Running, other: Other) -> None:
    mine = make_export(running, site_of(running, CUSTOMER), "gs://demo-telecom-bi/turns")
    theirs = make_export(other.as_caller(), other.site, "gs://other-bi/turns")
    db = running.cloud.db
    template = fields_of(db.document(f"exports/{mine}").get())
    in_commits(
        db,
        (
            methodcaller("set", db.document(f"exports/{uuid5(NAMES, str(number))}"), template)
            for number in range(EXPORTS)
        ),
    )
    seconds, beside = [], []
    for _ in range(4):
        before = begun_of_all(running)
        due = running.now() + MINUTE
        running.suite.tick(due)
        began = machine_time()
        until(partial(is_begun, running, theirs, due), "the other's window is begun", PATIENCE)
        seconds.append((machine_time() - began).total_seconds())
        beside.append(begun_of_all(running) - before)
    print(f"seconds until it was begun: {seconds}, beside so many windows: {beside}")
    assert max(seconds) < MINUTE.total_seconds()
    assert max(beside) < EXPORTS / 4
    assert sum(beside) > 4, "others began, too"


def is_begun(running: Running, export: str, due: datetime) -> bool:
    """Whether the windows of an export that were due then are begun."""
    fields = fields_of(running.cloud.db.document(f"exports/{export}").get())
    return bool(fields["next_due"] > due)


def begun_of_all(running: Running) -> int:
    """How many windows of all exports are begun."""
    return count(running.cloud.db.collection_group("runs"))


def make_export(caller: Running, site: str, uri: str) -> str:
    body = {
        "name": "Every minute",
        "site_ids": [site],
        "interval": "every 1 minutes",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": uri},
    }
    id: str = caller.ask("POST", "/v1/exports", body)["id"]
    return id
