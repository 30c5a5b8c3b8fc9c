"""What a customer may mail to people who may not know it: how many, how many new ones, with which words."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import datetime, timedelta
from threading import Barrier, get_ident
from typing import Any

import pytest

from shared.accounts.customers import Customer, get_customer
from shared.errors import TooMany
from shared.exports import mailing
from shared.outbox import letters, outside
from shared.outbox.letters import Export
from tests.shared.outbox.post import FACTS, bodies, post, recipient
from tests.subjects.by_email import ANN, BOB, asked, by_email, listed, only, sent_to, work
from tests.subjects.small_job import Jobs
from tests.subjects.small_run import MORNING
from tests.world import SITE, Answer, World

SECONDS_LEFT = (14 * 60 + 43) * 60
"""Until midnight, of the moment at which every test begins."""


def set_limits(world: World, **values: Any) -> Customer:
    world.cloud.db.document("customers/acme").update(values)
    return get_customer(world.cloud.db, "acme")


def export(world: World, *emails: str, notify: tuple[str, ...] = ()) -> Answer:
    body: dict[str, Any] = {"name": "Nightly", "site_ids": [SITE], "interval": "daily", "notify": notify}
    body |= {"connector_type": "email", "connector_config": {"emails": list(emails)}}
    return world.request("POST", "/v1/exports", body)


# New addresses


def test_only_so_many_new_addresses_are_named_a_day_and_known_ones_always(world: World) -> None:
    set_limits(world, new_addresses_a_day=2)
    refused = export(world, "a@x.example", "b@x.example", notify=("c@y.example",))
    assert (refused.status, refused.headers["Retry-After"]) == (429, str(SECONDS_LEFT)), refused
    assert refused.body["detail"].startswith("the limit new_addresses_a_day is 2 addresses"), refused
    assert "0 are in use, and this needs 3: name fewer, or wait until midnight UTC" in refused.body["detail"]
    assert export(world, "a@x.example", notify=("c@y.example",)).status == 201
    assert export(world, "A@X.example", "C@y.example").status == 201
    assert export(world, "a@x.example", "d@x.example").status == 429
    world.wait(timedelta(days=1))
    assert export(world, "a@x.example", "d@x.example").status == 201


def a_batch(world: World, address: str) -> int:
    return world.request("POST", f"/v0.2/batches?site_id={SITE}", {"notify": [address]}).status


def a_job(world: World, address: str) -> int:
    form = {"jobName": "j", "itemType": "Technician", "contentType": "application/json", "filters": "0"}
    return Jobs(world).send("/ls/api/batch/export", data={**form, "notificationEmail": address}).status


def an_edit(world: World, address: str) -> int:
    made = world.export(name=address)
    return world.request("PATCH", f"/v1/exports/{made}", {"notify": [address]}).status


@pytest.mark.parametrize("door", [a_batch, a_job, an_edit])
def test_every_door_that_takes_addresses_holds_them_against_the_limit(
    world: World, door: Callable[[World, str], int]
) -> None:
    set_limits(world, new_addresses_a_day=1, notify=["ops@acme.example"])
    assert door(world, "a@x.example") in (200, 201)
    assert door(world, "b@x.example") == 429
    assert door(world, "a@x.example") in (200, 201)
    assert door(world, "anybody@ACME.example") in (200, 201), "of the customer's own domain"


def test_what_an_export_named_before_is_not_new(world: World) -> None:
    made = by_email(world, ANN, BOB)
    for each in world.cloud.db.collection("customers/acme/addresses").stream():
        each.reference.delete()  # as for an export of the time before addresses were noted
    set_limits(world, new_addresses_a_day=0)
    path = f"/v1/exports/{made}"
    assert world.request("PATCH", path, {"name": "Other"}).status == 200
    assert world.request("PATCH", path, {"connector_config": {"emails": [ANN]}}).status == 200
    assert world.request("PATCH", path, {"connector_config": {"emails": ["z@x.example"]}}).status == 429


def test_requests_that_overlap_name_no_more_than_the_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, together = set_limits(world, new_addresses_a_day=2), 4
    read, all_have_read = outside.named_on, Barrier(together)
    met: set[int] = set()

    def named_on(found: Any, now: datetime) -> int:
        if get_ident() not in met:  # what is tried again meets nobody
            met.add(get_ident())
            all_have_read.wait(timeout=60)
        return read(found, now)

    monkeypatch.setattr(outside, "named_on", named_on)

    def name(number: int) -> bool:
        try:
            outside.name(world.cloud, customer, [f"{number}@x.example"])
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(together) as pool:
        named = list(pool.map(name, range(together)))
    assert (sum(named), len(met)) == (2, together), named


# Their words


def test_a_name_to_an_address_outside_is_short_and_no_text_has_a_web_address(world: World) -> None:
    facts = Export(**{**FACTS, "export_name": f"Win at HTTPS://evil.example/x or www.e.example {'!' * 99}"})
    said = letters.for_outside(facts, 60)
    assert isinstance(said, Export)
    assert (said.export_name[:16], len(said.export_name)) == ("Win at … or … !!", 60)
    assert replace(said, export_name="") == replace(facts, export_name="")
    of_run = {each.name: FACTS[each.name] for each in fields(letters.Failed) if each.name in FACTS}
    sentences = {"error": "The file www.evil.example/a.jpg is bad.", "next_action": "Look at gs://acme-bi."}
    cut = letters.for_outside(letters.Failed(**of_run, **sentences), 60)
    assert isinstance(cut, letters.Failed)
    assert (cut.error, cut.next_action) == ("The file … is bad.", "Look at gs://acme-bi.")


@pytest.mark.parametrize("own", [True, False], ids=["an own address", "an address outside"])
def test_the_mail_itself_has_the_text_for_its_address(world: World, own: bool) -> None:
    set_limits(world, mail_text=10, notify=["ops@acme.example"] if own else [])
    world.cloud.db.document(post(world).one().path).update({"facts.export_name": "Nightly https://x.example"})
    world.drain()
    [sent] = world.suite.sendgrid.sent
    assert recipient(sent) == "ann@acme.example"
    for body in (sent["subject"], *bodies(sent)):
        assert ("https://x.example" in body) is own, body


# How many


@pytest.mark.slow
def test_a_run_whose_mails_are_too_many_for_the_day_waits_and_says_so(world: World) -> None:
    set_limits(world, mails_a_day=3)
    work(world)
    made = by_email(world, ANN, BOB, start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    assert sent_to(world) == [ANN, BOB]
    body = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T10:00:00Z"}
    answer = world.request("POST", f"/v1/exports/{made}:backfill", body)
    assert answer.status == 201, answer
    world.drain()
    path = f"/v1/exports/{made}/runs/{answer.body['run_id']}"
    waits = world.request("GET", path).body
    assert waits["status"] == "DELIVERING"
    assert waits["waits_for"].startswith("the limit mails_a_day is 3 mails made within 24 hours, and 2")
    assert sent_to(world) == [ANN, BOB]
    set_limits(world, mails_a_day=4)
    world.wait(timedelta(minutes=20))
    world.tick()
    world.drain()
    assert world.request("GET", path).body["status"] == "COMPLETED"
    assert len(sent_to(world)) == 4


def test_a_run_whose_mails_are_too_many_is_sent_when_those_of_the_day_before_no_longer_count(
    world: World,
) -> None:
    set_limits(world, mails_a_day=3)
    work(world)
    made = by_email(world, ANN, BOB, start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    asked(world, "POST", f"/v1/exports/{made}:pause")
    body = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T10:00:00Z"}
    run = asked(world, "POST", f"/v1/exports/{made}:backfill", 201, body=body)["run_id"]
    world.drain()
    path = f"/v1/exports/{made}/runs/{run}"
    for _ in range(23):
        world.wait(timedelta(hours=1))
        world.tick()
        world.drain()
        assert asked(world, "GET", path)["status"] == "DELIVERING"
    world.wait(timedelta(hours=2))
    world.tick()
    world.drain()
    assert asked(world, "GET", path)["status"] == "COMPLETED"
    assert sent_to(world) == [ANN, ANN, BOB, BOB]


def test_a_run_whose_mails_find_no_room_fails_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "WAITS_FOR_ROOM", timedelta(minutes=30))
    set_limits(world, mails_a_day=3)
    work(world)
    made = by_email(world, ANN, BOB, start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    body = {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T10:00:00Z"}
    run = asked(world, "POST", f"/v1/exports/{made}:backfill", 201, body=body)["run_id"]
    world.drain()
    world.wait(timedelta(hours=1))
    world.tick()
    world.drain()
    event = asked(world, "GET", f"/v1/exports/{made}/runs/{run}")
    assert (event["status"], "the limit mails_a_day is 3" in event["error"]) == ("FAILED", True), event


def test_a_run_with_more_recipients_than_a_days_mails_fails_and_says_what_to_do(world: World) -> None:
    set_limits(world, mails_a_day=1)
    work(world)
    made = by_email(world, ANN, BOB)
    world.run_due(MORNING)
    event = only(world, made)
    assert (event["status"], sent_to(world)) == ("FAILED", [])
    assert "2 recipients, and the limit mails_a_day is 1" in event["error"], event
    assert "Name fewer recipients" in event["next_action"]


def test_a_mail_that_is_sent_again_counts_once_more(world: World) -> None:
    work(world)
    made = by_email(world, ANN)
    world.run_due(MORNING)
    set_limits(world, mails_a_day=2)
    path = f"/v1/exports/{made}/runs/{only(world, made)['run_id']}/mails/{listed(world, made)[ANN]['id']}"
    asked(world, "POST", f"{path}:resend")
    world.drain()
    refused = asked(world, "POST", f"{path}:resend", 429)["detail"]
    assert refused.startswith("the limit mails_a_day is 2 mails made within 24 hours, and 2 are in use")
    world.drain()
    assert sent_to(world) == [ANN, ANN]
    world.wait(timedelta(days=1))
    asked(world, "POST", f"{path}:resend")
    world.drain()
    assert sent_to(world) == [ANN, ANN, ANN]


def test_a_job_whose_mail_is_one_too_many_says_that_it_was_not_sent(world: World) -> None:
    set_limits(world, mails_a_day=0)
    jobs = Jobs(world)
    shown = jobs.exported(notificationEmail=ANN)
    assert shown["notificationError"].startswith(f"{ANN} was not mailed. The limit mails_a_day is 0"), shown
    assert sent_to(world) == []


def test_a_batch_whose_mails_are_too_many_says_so(world: World) -> None:
    set_limits(world, mails_a_day=0)
    shown = world.import_archive(b"no zip", notify=[ANN])
    assert shown["status"] == "FAILED"
    [unsent] = shown["mails_not_sent"]
    assert (unsent["address"], "The limit mails_a_day is 0" in unsent["reason"]) == (ANN, True)
    assert sent_to(world) == []
