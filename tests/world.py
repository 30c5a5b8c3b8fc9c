"""A small world for tests: the suite's services, one customer with two sites and a bucket, and the functions
in this process.

Messages are delivered when a test says so, the clock stands until a test moves it, and nothing waits.
"""

import functools
import importlib
import io
import itertools
import json
import random
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import functions_framework
import orjson
import requests
from cloudevents.http import from_http
from PIL import Image as Picture
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response

from infra.bundle import Bundle
from infra.local.firestore.service import FirestoreService
from infra.local.processes import REPOSITORY
from infra.local.project import make_customer_account, topic_path
from infra.local.pubsub import Delivery, Outstanding, cloud_event_request
from infra.local.suite import Suite
from shared.accounts import keys, networks, strangers
from shared.accounts.customers import Customer, Site, add_customer, add_site
from shared.accounts.keys import create_key, identify
from shared.accounts.limits import REQUESTS_KEPT
from shared.console import links
from shared.exports import runs
from shared.gcp import clients
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.http import sent
from shared.http.routes import REQUESTS, Routes, serving
from shared.work.pieces import OPEN, QUEUED, READY
from shared.work.sweep import sweep
from shared.workorders import envelope, removed, store
from shared.workorders.record import DataConformity, JobConformity, WorkOrder
from shared.workorders.store import Photograph
from tests import contract, delivered

BUNDLE = Bundle.load()

SITE = "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b"
OTHER_SITE = "7c6b5a49-1111-4222-8333-944455566677"
THEIR_SITE = "aaaaaaaa-1111-4222-8333-944455566677"
BUCKET = "acme-bi"


def handler(function: str) -> Callable[[Any], Any]:
    """A function's handler, as functions-framework would load it."""
    made: Callable[[Any], Any] = getattr(importlib.import_module(f"functions.{function}.main"), function)
    return made


def environ(path: str, **more: Any) -> dict[str, Any]:
    """The environment of a request, with its path as it is sent: a builder takes what follows two slashes for
    a host, as `urlsplit` does."""
    made = EnvironBuilder(path=f"/{path.lstrip('/')}", **more).get_environ()
    more_slashes = len(path) - len(path.lstrip("/")) - 1
    made["PATH_INFO"] = "/" * more_slashes + made["PATH_INFO"]
    return made


@functools.cache
def framework(function: str) -> Any:
    """An HTTP function as functions-framework serves it."""
    return functions_framework.create_app(function, str(REPOSITORY / "functions" / function / "main.py"))


def forget() -> None:
    """Have this process know nothing, as an instance that just started."""
    clients.forget()
    REQUESTS.clear()
    REQUESTS_KEPT.clear()
    strangers.forget()
    keys.forget()
    links.forget()
    sent.forget()


class World:
    def __init__(self, suite: Suite, cloud: Cloud, account: str) -> None:
        self.suite = suite
        self.account = account
        self.cloud = cloud
        self.failures: list[str] = []
        suite.storage.create_bucket(BUCKET)
        self.acme = self.onboard("acme", "acme")
        self.site = add_site(
            cloud.db,
            id=SITE,
            customer="acme",
            name="North",
            task_groups=("meter", "door"),
            required=("meter",),
        )
        self.other_site = add_site(
            cloud.db, id=OTHER_SITE, customer="acme", name="South", task_groups=("meter",)
        )
        self.grant(BUCKET, self.acme)
        self.key = create_key(cloud.db, customer="acme", scopes=["exports", "batches"])
        identify(cloud.db, self.key)  # its use is noted, and no request of a test needs a commit for that

    @property
    def can_go_back(self) -> bool:
        """Whether its services are ours: Google's emulators keep no state to go back to."""
        return isinstance(self.suite.firestore, FirestoreService)

    def kept(self) -> Callable[[], None]:
        """What takes the services back to now, as often as it is called; this process then knows nothing."""
        restore = self.suite.kept()

        def back() -> None:
            self.cloud.close()
            forget()
            restore()
            self.cloud = clients.connect()
            # Who uses it first asks for the universe, and meanwhile holds a lock: an attempt that is paused
            # there would stop those that go on, which in a test are of the same process.
            assert self.cloud.objects.credentials.universe_domain
            self.failures.clear()

        return back

    def onboard(self, id: str, slug: str) -> Customer:
        customer = add_customer(self.cloud.db, id=id, slug=slug, name=id.title())
        assert make_customer_account(self.suite, id, slug) == customer.account
        self.suite.identity.allow_impersonation(self.account, customer.account)
        return customer

    def allow_loopback(self) -> None:
        """Have the first customer's private networks be this machine, as an operator sets them."""
        networks.change(self.cloud.db, "acme", add=(networks.parse("127.0.0.0/8"),))

    def stranger(self) -> str:
        """Onboard another customer with a site of their own, and return their key."""
        self.onboard("globex", "globex")
        add_site(self.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs", task_groups=("meter",))
        return create_key(self.cloud.db, customer="globex", scopes=["exports"], site=THEIR_SITE)

    def grant(self, bucket: str, customer: Customer) -> None:
        """What a customer grants us: the four permissions and nothing else."""
        self.suite.storage.grant(bucket, customer.account, *BUNDLE.customer_grant)

    # --- time and messages

    def move_to(self, at: datetime) -> None:
        self.suite.clock.set(at)

    def wait(self, by: timedelta) -> None:
        self.suite.clock.advance(by)

    def tick(self, at: datetime | None = None) -> None:
        self.suite.tick(at)

    def drain(self) -> int:
        """Deliver what is due until nothing is; what fails stays for a later time. Returns how many."""
        delivered = 0
        while count := self.suite.pubsub.deliver_due(self.push):
            delivered += count
            assert delivered < 10_000, "messages go round in circles"
        return delivered

    def step(self) -> bool:
        """Deliver the first message that is due; False where there is none."""
        topics = [topic_path(function, self.suite.project) for function in BUNDLE.functions]
        delivery = self.suite.pubsub.take(topics)
        if delivery is not None:
            self.suite.pubsub.hand_over(delivery, self.push)
        return delivery is not None

    def push(self, delivery: Delivery) -> bool:
        headers, body = cloud_event_request(delivery)
        try:
            handler(delivery.function)(from_http(headers, body))
        except ServiceUnavailable:
            return False  # passing, and said so
        except Exception:
            self.failures.append(traceback.format_exc())
            return False
        return True

    def settle(self, *, sweeps: bool = False) -> None:
        """Let time go by, with redeliveries and the sweep of pieces, until nothing is outstanding; `sweeps`:
        with ticks, too."""
        for _ in range(60):
            if sweeps:
                self.tick()
            self.sweep()
            self.drain()
            open_pieces = self.open_pieces()
            if not (self.waiting() or open_pieces or (sweeps and self.slots())):
                return
            self.wait(timedelta(minutes=6))
        left = self.waiting(), open_pieces, self.slots()
        raise AssertionError(f"still outstanding: {left}")

    def settle_until(self, ended: Callable[[], bool], seen: Callable[[], object]) -> None:
        """Let time go by, with redeliveries and ticks, until something has ended and nothing is open. A plan
        that never counted is closed after a day. `seen` is what a failure says of it."""
        self.wait(timedelta(minutes=70))
        for minutes in (*[6] * 50, *[360] * 6):
            self.tick()
            self.drain()
            if ended() and not self.waiting() and not self.open_pieces():
                return
            self.wait(timedelta(minutes=minutes))
        raise AssertionError(f"{seen()}, {self.waiting()}, {self.open_pieces()}")

    def waiting(self) -> list[Outstanding]:
        """The messages that are still to be delivered; not those that an attempt is paused at."""
        return [each for each in self.suite.pubsub.outstanding() if each.due is not None]

    def sweep(self) -> None:
        """The engine's sweep alone: no window begins."""
        sweep(self.cloud, self.suite.clock.now())

    def open_pieces(self) -> list[str]:
        """The paths of the pieces that are still to be done: of open works, and of plans that count; not of
        removals, which are due days later."""
        found = self.cloud.db.collection_group("pieces").stream()
        left = [
            each
            for each in found
            if each.get("status") in (OPEN, QUEUED, READY)
            and not each.reference.path.startswith(f"{removed.COLLECTION}/")
        ]
        works = {each.reference.parent.parent.path: each.reference.parent.parent for each in left}
        plans = {path: self.plans(work) for path, work in works.items()}
        return [
            each.reference.path
            for each in left
            if each.get("plan") in plans[each.reference.parent.parent.path]
        ]

    @staticmethod
    def plans(work: Any) -> set[str]:
        """The plans of a work that count, none where it has ended. What belongs to none is closed in time."""
        fields = fields_of(work.get())
        return {fields["plan"], *fields["plans"].values()} if fields["open"] else set()

    def run_due(self, at: datetime | None = None) -> None:
        """A tick, and all that comes of it; nothing may fail."""
        self.tick(at)
        self.drain()
        assert not self.failures, "\n".join(self.failures)

    # --- the HTTP functions

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        base_url: str | None = None,
    ) -> "Answer":
        """Call the function that serves the path, by default with the customer's key; bytes are sent as they
        are. What it answers must be in its OpenAPI document."""
        headers = headers or {"Authorization": f"Token {key or self.key}"}
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        sent = environ(path, method=method, headers=list(headers.items()), data=data, base_url=base_url)
        function = BUNDLE.serving(path.partition("?")[0])
        name = function.name if function else "exports"
        response = Response.from_app(framework(name), sent)
        content = response.get_data()
        path = path.partition("?")[0]
        several = importlib.import_module(f"functions.{name}.main").ROUTES
        routes = several if isinstance(several, Routes) else serving(several, path)
        contract.check(routes, method, path, response.status_code, dict(response.headers), content)
        as_json = "json" in (response.content_type or "") and "ndjson" not in response.content_type
        body = orjson.loads(content) if content and as_json else content
        return Answer(response.status_code, body, dict(response.headers))

    def export(self, **changes: Any) -> str:
        """Make an export of the first site, daily with its images, and return its id."""
        body: dict[str, Any] = {
            "name": "Nightly",
            "site_ids": [SITE],
            "interval": "daily",
            "connector_type": "cloud_storage",
            "connector_config": {"storage_uri": f"gs://{BUCKET}/waybill", "export_images": True},
        }
        answer = self.request("POST", "/v1/exports", body | changes)
        assert answer.status == 201, answer
        id: str = answer.body["id"]
        return id

    def audit(self, export: str) -> list[dict[str, Any]]:
        """The export's runs, newest first."""
        answer = self.request("GET", f"/v1/exports/{export}/runs")
        assert answer.status == 200, answer
        events: list[dict[str, Any]] = answer.body["runs"]
        for event in events:
            waits = ("waits_for", "waits_since")
            row = {name: value for name, value in event.items() if name not in waits}
            delivered.check("export-runs.v1.json", row)
        return events

    def slots(self) -> list[str]:
        """The runs that hold a slot, or wait for one."""
        found = self.cloud.db.collection_group("runs").stream()
        return [run.id for run in found if fields_of(run)["state"] not in runs.ENDED]

    # --- batches

    def batch(self, archive: bytes | None = None, **body: Any) -> str:
        """Make a batch of the first site, upload the archive if there is one, and return its id."""
        answer = self.request("POST", f"/v0.2/batches?site_id={SITE}", body)
        assert answer.status == 201, answer
        if archive is not None:
            self.upload(answer.body["upload_url"], archive)
        id: str = answer.body["batch_id"]
        return id

    @staticmethod
    def upload(url: str, archive: bytes) -> None:
        """Upload all of it at once, as no client does."""
        answer = requests.put(url, data=archive, timeout=60)
        assert answer.status_code == 200, answer.text

    def import_archive(self, archive: bytes, **body: Any) -> dict[str, Any]:
        """Upload an archive and see it through; returns the batch as its customer sees it."""
        id = self.batch(archive, **body)
        self.drain()
        assert not self.failures, "\n".join(self.failures)
        return self.shown(id)

    def shown(self, batch: str) -> dict[str, Any]:
        """The batch as its customer sees it."""
        answer = self.request("GET", f"/v0.2/batches/{batch}")
        assert answer.status == 200, answer
        shown: dict[str, Any] = answer.body
        return shown

    def errors(self, batch: str) -> list[dict[str, str]]:
        """The batch's errors file."""
        answer = self.request("GET", f"/v0.2/batches/{batch}/errors")
        assert answer.status == 200, answer
        lines = [orjson.loads(line) for line in answer.body.splitlines()]
        for line in lines:
            delivered.check("batch-errors-file.v1.json", line)
        return lines

    def imported(self) -> dict[str, dict[str, Any]]:
        """The records of the first site's work orders, by their names."""
        found = self.cloud.db.collection("work_orders").stream()

        def read(name: str) -> bytes:
            return self.suite.storage.read(f"{self.suite.project}-records", name)

        return {
            each.get("name"): orjson.loads(envelope.unpack(each.get("encoding"), each.get("record"), read))
            for each in found
            if not each.get("deleted") and each.get("site_id") == SITE
        }

    # --- work orders

    def work_order(
        self, name: str, *, site: Site | None = None, photographs: int = 2, **more: Any
    ) -> WorkOrder:
        site = site or self.site
        return store.create(
            self.cloud,
            site,
            name,
            metadata=more.pop("metadata", {"technician": "Zoë"}),
            photographs=more.pop("photos", None)
            or [self.photograph(f"{name}-{n}") for n in range(photographs)],
        )

    @staticmethod
    def photograph(name: str, *, group: str = "meter", content: bytes | None = None) -> Photograph:
        return Photograph(
            task_group=group,
            file_name=f"{group}-{name}.jpg",
            content=content if content is not None else jpeg(name),
            metadata={"latitude": 48.85},
            data_conformity=(DataConformity("blur", "BLURRED", "warning"),),
            job_conformity=(JobConformity("reading", 1234, None, None, None, True),),
        )

    # --- what landed

    def landed(self, bucket: str = BUCKET) -> dict[str, bytes]:
        storage = self.suite.storage
        return {each.name: storage.read(bucket, each.name) for each in storage.list(bucket)}

    def data_files(self) -> dict[str, bytes]:
        return {name: content for name, content in self.landed().items() if "/dt=" in name}

    def images(self) -> dict[str, bytes]:
        return {name: content for name, content in self.landed().items() if "/images/" in name}

    def manifests(self) -> list[dict[str, Any]]:
        """The manifests in the bucket, in the order of their windows."""
        found = {name: content for name, content in self.landed().items() if "/_manifests/" in f"/{name}"}
        manifests = [json.loads(found[name]) for name in sorted(found)]
        for manifest in manifests:
            delivered.check("manifest.v1.json", manifest)
        return manifests

    def records(self) -> list[dict[str, Any]]:
        """Every record of every data file, in the order of the files' names."""
        files = self.data_files()
        lines = itertools.chain.from_iterable(files[name].splitlines() for name in sorted(files))
        return [orjson.loads(line) for line in lines]


class Answer:
    """What a function answered."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    def __repr__(self) -> str:
        return f"<{self.status} {self.body}>"


def jpeg(text: str) -> bytes:
    """A small file that is a good photograph, in which no check finds anything; another for each text."""
    said = text.encode()
    return b"\xff\xd8\xff\xfe" + (len(said) + 2).to_bytes(2) + said + _blocks()[2:]


@functools.cache
def _blocks() -> bytes:
    """Sharp blocks of medium brightness, no two rows alike: a photograph is hardly packed any further."""
    shades = random.Random(1).choices(b"\x5a\xa6", k=80 * 80)
    picture = Picture.frombytes("L", (80, 80), bytes(shades)).resize((640, 640), Picture.Resampling.NEAREST)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=5, optimize=True)
    return out.getvalue()
