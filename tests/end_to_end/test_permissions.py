"""What each function was seen to need is what its account is granted: nothing lacks, and nothing is over.

The world goes through every kind of work, to its ends and with messages that are lost. Each function is given
the secrets of infra/bundle.yaml and no others. The grants are those of that file, with the roles that
infra/terraform gives for them.
"""

import base64
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from infra.bundle import Bundle
from infra.local.permissions import DATABASE, PROJECT, ROLES
from infra.local.pubsub import Delivery
from shared import removals
from shared.accounts.customers import add_site
from shared.accounts.keys import SCOPES, create_key
from shared.gcp import clients, objects
from shared.workorders.removed import GRACE, IMAGES_KEPT
from shared.workorders.store import work_order_id
from tests.archives import File, zipped
from tests.console import Browser
from tests.seen import CUSTOMER, ITSELF, Needed, Seen
from tests.sftp_server import SftpServer, sftp
from tests.shared.analysis.analysers import Analyser, Reply, analysing, right
from tests.shared.outbox.post import tokens
from tests.subjects.by_email import ANN, by_email, clicked
from tests.subjects.by_sftp import by_sftp, loopback_allowed
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.terraform import resources
from tests.world import BUCKET, BUNDLE, SITE, Answer, World, jpeg

__all__ = ["loopback_allowed", "sftp"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Grant:
    """A role of an account on something."""

    role: str
    on: str
    gives: frozenset[str]


def role_of(resource: str) -> str:
    """The role that Terraform gives with a resource."""
    role: str = resources()[resource]["role"]
    assert role in ROLES, f"{role} is not in the table of roles: add what it permits"
    return role


def grants(bundle: Bundle, function: str) -> Iterator[Grant]:
    """What Terraform grants the account of a function."""
    declared = bundle.functions[function]
    account = bundle.accounts[declared.account]

    def given(resource: str, on: str) -> Grant:
        role = role_of(resource)
        return Grant(role, on, ROLES[role])

    if account.firestore:
        yield given("google_project_iam_member.firestore", DATABASE)
    for topic in account.publishes:
        yield given("google_pubsub_topic_iam_member.publishes", topic)
    for secret in declared.secrets:
        yield given("google_secret_manager_secret_iam_member.own", secret)
    for bucket, roles in account.storage.items():
        for role in roles:
            yield Grant(role, bucket, frozenset(bundle.roles.get(role, ROLES.get(role, ()))))
    if account.impersonates:
        yield given("google_service_account_iam_member.impersonates", CUSTOMER)
    if account.signs:
        yield given("google_service_account_iam_member.signs", ITSELF)
    if not declared.paths:
        yield given("google_cloud_run_v2_service_iam_member.invoker", function)
    if declared.bucket is not None:
        yield given("google_project_iam_member.receives", PROJECT)


def too_little(granted: list[Grant], needed: set[Needed]) -> list[Needed]:
    """What is needed and not granted."""
    held = {(permission, grant.on) for grant in granted for permission in grant.gives}
    return sorted(each for each in needed if not each[2] and each[:2] not in held)


def too_much(granted: list[Grant], needed: set[Needed]) -> list[tuple[str, str]]:
    """The grants of which nothing is needed, or for which a smaller role of the table would do."""
    found = []
    for grant in granted:
        used = {permission for permission, on, who in needed if on == grant.on and not who} & grant.gives
        others = {p for other in granted if other is not grant and other.on == grant.on for p in other.gives}
        smaller = [name for name, gives in ROLES.items() if gives < grant.gives and used <= gives]
        if not used - others:
            found.append((grant.role, grant.on))
        elif smaller and grant.role.startswith("roles/"):
            found.append((f"{smaller[0]} in the place of {grant.role}", grant.on))
    return found


Push = Callable[[Delivery], bool]

LARGE = random.Random(1).randbytes(1_200_000).hex()
"""A text that makes a record too large for a document, also once it is compressed."""

MANY = 8
"""More pieces than are published at once, so that whoever begins or ends one publishes others."""

SOURCES = ("work-orders-timeline", "work-orders-states", "inputs")
"""One for each function that exports."""

PEOPLE = [f"{number}@acme.example" for number in range(MANY)]


def losing(world: World) -> Push:
    """A push that loses the first message to each function: the sweep finds what it was about."""
    lost = {"tick", "ingest_batch"}

    def push(delivery: Delivery) -> bool:
        if delivery.function in lost:
            return world.push(delivery)
        lost.add(delivery.function)
        return True

    return push


def settle(world: World, push: Push) -> None:
    """Let time go by, with ticks, until nothing is left."""
    for minutes in (1, 16, 61, 61):
        world.wait(timedelta(minutes=minutes))
        world.tick()
        while world.suite.pubsub.deliver_due(push):
            pass


def got(answer: Answer) -> Any:
    assert answer.status in (200, 201, 202, 204), answer
    return answer.body


def all_ways(world: World, sftp: SftpServer, server: Analyser) -> None:
    """Every kind of work, to its ends; the first message to each function is lost."""
    add_site(
        world.cloud.db,
        id=SITE,
        customer="acme",
        name="North",
        task_groups=("meter", "door"),
        required=("meter",),
        analysis_url=server.url,
    )
    push = losing(world)
    batches(world, push)
    work_orders(world, push, server)
    for way in (exports, runs_one_after_another, copies_that_fail, jobs, datasets):
        way(world, push)
    for_people(world, sftp, push)


def batches(world: World, push: Push) -> None:
    """Archives that are imported, in part and not at all, with mails; one that is cancelled, one that never
    comes, and one whose event is lost."""
    good = [File("WO_0/meter-1.jpg", jpeg("one")), File("WO_1/meter.jpg", jpeg("two"))]
    big = [
        File("WO_2/metadata.json", json.dumps({"text": LARGE}).encode()),
        File("WO_2/meter.jpg", jpeg("big")),
    ]
    unknown = File("WO_3/roof.jpg", jpeg("roof"))
    many = [File(f"WO_4{number}/meter.jpg", jpeg(f"many {number}")) for number in range(MANY)]
    for archive in (zipped([*good, unknown]), b"no zip", zipped([*good, *big]), zipped(many)):
        world.batch(archive, filename="monday.zip", notify=[ANN])
        settle(world, push)
    got(world.request("DELETE", f"/v0.2/batches/{world.batch(notify=[ANN])}"))
    world.batch(notify=[ANN])
    lost = world.batch(zipped([*good, *big]), notify=[ANN])
    while world.suite.pubsub.deliver_due(lambda each: each.function == "ingest_batch" or push(each)):
        pass
    world.wait(timedelta(days=8))
    settle(world, push)
    got(world.request("GET", f"/v0.2/batches/{lost}/errors"))


def work_orders(world: World, push: Push, server: Analyser) -> None:
    """Work orders one by one. What the analyser answers at once is there at once; else its function asks."""
    name = f"SINGLE-{world.suite.clock.now():%d%H%M}"
    id = got(world.request("POST", f"/v0.2/work-orders?site_id={SITE}", {"name": name}))["id"]
    path, site = f"/v0.2/work-orders/{id}", f"?site_id={SITE}"

    image = f"data:image/jpeg;base64,{base64.b64encode(jpeg(name)).decode()}"
    server.answers = lambda _: Reply(503)
    inputs = [{"name": "meter", "data": {"type": "image", "value": image}}]
    got(world.request("POST", f"{path}/analyze{site}", {"inputs": inputs}))
    # Whoever changes what waits for its analysis says so to its function.
    got(world.request("PATCH", f"{path}{site}", {"metadata": {"seen": True}}))
    server.answers = lambda _: Reply(400)
    settle(world, push)
    server.answers, asked = right, len(server.asked)
    # Its photograph was looked at before, so that however slow this machine is there is time to ask at once.
    got(world.request("POST", f"{path}/analyze{site}", {"inputs": []}))
    assert len(server.asked) == asked + 1, "the analyser is not asked at once"
    large = f"/v0.2/work-orders/{work_order_id(SITE, 'WO_2')}{site}"
    got(world.request("PATCH", large, {"metadata": {"seen": True}}))
    got(world.request("GET", large))
    got(world.request("GET", f"/v0.2/work-orders{site}"))
    settle(world, push)


def exports(world: World, push: Push) -> None:
    """Runs of each function to a bucket: delivered, refused, cancelled, by hand, retried; a test."""
    for source in ("work-orders-timeline", "work-orders-states", "inputs", "deletions"):
        id = world.export(
            export_type=source,
            interval="hourly",
            notify=[ANN],
            connector_config={
                "storage_uri": f"gs://{BUCKET}/{source}/{world.suite.clock.now():%d%H%M}",
                "export_images": source.startswith("work"),
            },
        )
        path = f"/v1/exports/{id}"
        got(world.request("POST", f"{path}:test"))
        world.work_order(f"{source}-1", metadata={"text": LARGE}, photographs=MANY)
        settle(world, push)
        world.work_order(f"{source}-2")
        account = world.acme.account
        world.suite.storage.revoke(BUCKET, account, "storage.objects.create")
        settle(world, push)
        world.request("POST", f"{path}:test")
        world.suite.storage.grant(BUCKET, account, *BUNDLE.customer_grant)
        for run in world.audit(id):
            world.request("POST", f"{path}/runs/{run['run_id']}:cancel")
            world.request("POST", f"{path}/runs/{run['run_id']}:retry")
        world.request("POST", f"{path}:retry-failed")
        settle(world, push)
        world.request("POST", f"{path}:pause")
        world.request("POST", f"{path}:resume")
        world.request("POST", f"{path}:run")
        settle(world, push)
        got(world.request("DELETE", path))


def past_hour(world: World) -> dict[str, str]:
    """A window to be exported by hand."""
    now = world.suite.clock.now()
    return {"start": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}", "end": f"{now:%Y-%m-%dT%H:%M}"}


def to_bucket(world: World, source: str) -> str:
    """An export with images, whose folder nothing else writes to."""
    place = {"storage_uri": f"gs://{BUCKET}/by-hand/{source}", "export_images": True}
    return world.export(export_type=source, notify=[ANN], connector_config=place)


def deliver(world: World, push: Push) -> None:
    while world.suite.pubsub.deliver_due(push):
        pass


def runs_one_after_another(world: World, push: Push) -> None:
    """A customer has one run at once: whoever ends one begins the next, of each function after each."""
    ids = [to_bucket(world, source) for source in SOURCES]
    for following in product(ids, ids):
        for id in following:
            got(world.request("POST", f"/v1/exports/{id}:backfill", past_hour(world)))
        deliver(world, push)
    for id in ids:
        got(world.request("DELETE", f"/v1/exports/{id}"))


def copies_that_fail(world: World, push: Push) -> None:
    """Runs that fail while they copy: another one begins there; they are retried, each by itself and all of
    an export, and go on with what is to be copied."""
    bucket, account = world.suite.storage, world.acme.account

    def refused(delivery: Delivery) -> bool:
        if delivery.function != "copy_images":
            return push(delivery)
        bucket.revoke(BUCKET, account, "storage.objects.create")
        done = push(delivery)
        bucket.grant(BUCKET, account, *BUNDLE.customer_grant)
        return done

    for source in SOURCES:
        copied, next = to_bucket(world, SOURCES[0]), to_bucket(world, source)
        for retried in ("run", "all"):
            world.work_order(f"COPIED {source} {retried}", photographs=MANY)
            world.wait(timedelta(minutes=3))
            run = got(world.request("POST", f"/v1/exports/{copied}:backfill", past_hour(world)))["run_id"]
            got(world.request("POST", f"/v1/exports/{next}:backfill", past_hour(world)))
            deliver(world, refused)
            assert "FAILED" in [each["status"] for each in world.audit(copied)], "no copy failed"
            one = f"/v1/exports/{copied}/runs/{run}:retry"
            got(world.request("POST", one if retried == "run" else f"/v1/exports/{copied}:retry-failed"))
            settle(world, push)
        for id in (copied, next):
            got(world.request("DELETE", f"/v1/exports/{id}"))


def for_people(world: World, sftp: SftpServer, push: Push) -> None:
    """Exports by mail, with clicks on links, and to an SFTP server."""
    mailed = by_email(world, ANN, *PEOPLE, export_type="work-orders-states", interval="hourly")
    others = [
        by_email(world, ANN, export_type=source, interval="hourly", name=source)
        for source in SOURCES
        if source != "work-orders-states"
    ]
    mine = by_sftp(world, sftp, interval="hourly")
    states = by_sftp(
        world, sftp, {"path": "/s"}, interval="hourly", export_type="work-orders-states", name="S"
    )
    inputs = by_sftp(world, sftp, {"path": "/i"}, interval="hourly", export_type="inputs", name="I")
    for id in (mine, mailed):
        got(world.request("POST", f"/v1/exports/{id}:test"))
    world.work_order("FOR PEOPLE")
    settle(world, push)
    links = [link for mail in world.suite.sendgrid.sent for link in tokens(mail)]
    assert 302 in [clicked(world, link).status for link in links[-3:]]
    run = world.audit(mailed)[-1]["run_id"]
    for mail in got(world.request("GET", f"/v1/exports/{mailed}/runs/{run}/mails"))["mails"]:
        world.request("POST", f"/v1/exports/{mailed}/runs/{run}/mails/{mail['id']}:resend")
    settle(world, push)
    for id in (mailed, mine, states, inputs, *others):
        got(world.request("DELETE", f"/v1/exports/{id}"))


def jobs(world: World, push: Push) -> None:
    """Imports and exports of records, with mails: from a request, from an upload, cancelled, and one whose
    file never comes."""
    made = Jobs(world)
    token = {"grant_type": "password", "username": "bob", "password": made.key}
    got(made.send("/ls/api/oauth2/token", data=token))
    fields = {"itemType": "Technician", "contentType": "text/plain", "notificationEmail": ANN}
    large = json.dumps([{"id": "large", "text": LARGE}]).encode()
    lines = b"id,name\n1,Ada\n2\n3,Eve\n"
    ids = [
        made.begin_import(lines, notificationEmail=ANN),
        made.begin_import(large, contentType="application/json", notificationEmail=ANN),
    ]
    for size in (len(lines), 10):
        upload = made.send("/ls/api/batch/upload-url", data={"size": str(size)}).body
        if size == len(lines):
            world.upload(upload["uploadUrl"], lines)
        ids.append(made.post("import", data={**fields, "uploadId": upload["uploadId"]})["jobId"])
    settle(world, push)
    ids.append(made.post("export", data={**fields, "filters": "0"})["jobId"])
    settle(world, push)
    sql = made.send("/ls/api/batch/export", data={**fields, "sql": "SELECT * FROM Technician"})
    ids.append(sql.body.get("jobId", ids[0]))
    cancelled = made.begin_import(lines)
    made.post("cancel", data={"jobId": cancelled})
    world.wait(timedelta(days=8))
    settle(world, push)
    for id in ids:
        made.status(id)


def datasets(world: World, push: Push) -> None:
    """Versions and their exports, by signed requests too; a refused one, a cancelled one, a comparison."""
    made = Datasets(world)
    stamp = f"{world.suite.clock.now():%d%H%M}"
    made.work_order(f"D-{stamp}", [{"results": {"state": {"value": "good"}}}])
    created = got(made.send("POST", "", {"dataset_name": f"M{stamp}", "dataset_type": 0, "site_ids": [SITE]}))
    id = created["dataset_id"]
    settle(world, push)
    made.work_order(f"E-{stamp}", [{"results": {"state": {"value": "bad"}}}])
    tasks = [made.begin(id, f"gs://{BUCKET}/sets/{stamp}/")]
    settle(world, push)
    tasks.append(made.begin(id, f"gs://{BUCKET}/more/{stamp}/"))
    made.send("DELETE", f"/{id}/export-tasks/{tasks[-1]}")
    settle(world, push)
    versions = got(made.send("GET", f"/{id}/versions"))["versions"]
    for more in ("", "/samples"):
        first, second = versions[-1]["version_id"], versions[0]["version_id"]
        made.send("GET", f"/{id}/versions/{first}/diff/{second}{more}")
    key = create_key(
        world.cloud.db, customer="acme", scopes=["datasets", "signing"], settings=clients.connect().settings
    )
    user = {"name": "acme", "domain": {"name": "acme"}, "password": key}
    identity = {"methods": ["password"], "password": {"user": user}}
    world.request("POST", "/v3/auth/tokens", {"auth": {"identity": identity}}, headers={"X-None": "1"})
    signed = (
        f"SDK-HMAC-SHA256 Access={key.split('_')[1]}, SignedHeaders=host;x-sdk-date, Signature={'0' * 64}"
    )
    world.request(
        "GET", "/v2/acme/datasets", headers={"Authorization": signed, "X-Sdk-Date": "20261122T091700Z"}
    )


def console(world: World) -> None:
    """Pages that need what no API does: a session, photographs, and keys that sign."""
    everything = create_key(
        world.cloud.db, customer="acme", scopes=[*SCOPES], settings=clients.connect().settings
    )
    browser = Browser(world)
    assert browser.sign_in(everything).status == 200
    assert browser.get("/console").status == 200
    made = browser.send(browser.get("/console/keys/new").form("/console/keys/new"), scopes=["signing"])
    assert "The key was made" in made.text, made.text
    shown = browser.get(f"/console/work-orders/{work_order_id(SITE, 'WO_0')}?site_id={SITE}")
    photograph = re.search(r"/console/photographs/[^\"?]+", shown.html)
    assert photograph, shown.text
    assert browser.get(photograph[0]).status == 200
    assert browser.get(f"{photograph[0]}?width=320").status == 200


def deletions(world: World, push: Push) -> None:
    """The images of a deleted work order go, in more than one attempt, and archives that were imported."""
    for each in world.cloud.db.collection("work_orders").stream():
        if not each.get("deleted") and each.get("site_id") == SITE:
            got(world.request("DELETE", f"/v0.2/work-orders/{each.id}?site_id={SITE}"))
    world.wait(IMAGES_KEPT + GRACE)
    settle(world, push)


def test_each_account_is_granted_what_its_function_needs(
    world: World, sftp: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.suite.identity.allow_impersonation(world.account, world.account)
    for variable in ("WAYBILL_SLICE_IMAGES", "WAYBILL_SLICE_FILES"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(objects, "WHOLE_BYTES", 1)  # what is large is sent as a stream, and looked at
    seen = Seen(world, monkeypatch)
    with analysing(right) as server:
        all_ways(world, sftp, server)
        keeper = create_key(
            world.cloud.db, customer="acme", scopes=[*SCOPES], settings=clients.connect().settings
        )
        got(world.request("POST", "/v1/keys", {"scopes": ["signing"]}, key=keeper))
        with seen.by("console"):
            console(world)
        # An attempt that has no time for more than one image leaves the others to the next.
        monkeypatch.setattr(removals, "SAVED_EVERY", 1)
        monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
        deletions(world, losing(world))
    assert not world.failures, "\n".join(world.failures)
    lacking, over = {}, set()
    for function in BUNDLE.functions:
        granted, needed = [*grants(BUNDLE, function)], seen.needed[function]
        if found := too_little(granted, needed):
            lacking[function] = found
        over |= {(function, *each) for each in too_much(granted, needed)}
    as_customer = {each[:2] for needed in seen.needed.values() for each in needed if each[2] == CUSTOMER}
    assert (lacking, over) == ({}, set()), "granted too little, granted too much"
    theirs = {permission for permission, bucket in as_customer if bucket == "their bucket"}
    assert theirs <= set(BUNDLE.customer_grant), "a customer would have to grant more"


def test_a_grant_that_lacks_and_one_that_is_over_are_told() -> None:
    granted = [*grants(BUNDLE, "remove_objects")]
    needed = {(permission, grant.on, "") for grant in granted for permission in grant.gives}
    assert (too_little(granted, needed), too_much(granted, needed)) == ([], [])
    for without in granted:
        left = [grant for grant in granted if grant is not without]
        assert {on for _, on, _ in too_little(left, needed)} == {without.on}
        unused = {each for each in needed if each[1] != without.on or each[0] not in without.gives}
        assert too_much(granted, unused) == [(without.role, without.on)]
    reads = {("datastore.entities.get", DATABASE, "")}
    assert ("roles/datastore.viewer in the place of roles/datastore.user", DATABASE) in too_much(
        granted, reads
    )
