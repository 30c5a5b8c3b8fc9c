"""Whoever a batch names, else its customer, is mailed at its end; nobody where it is cancelled."""

import codecs
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests

from infra.local.pubsub import Delivery
from infra.local.traffic import Fault
from shared.accounts.customers import add_customer
from shared.outbox import mails
from tests import kills
from tests.archives import File, zipped
from tests.outside import Outside
from tests.shared.outbox.post import bodies, recipient, tokens
from tests.world import SITE, World, jpeg

NOTIFY = ["zoe@acme.example", "Ann@acme.example", "ann@acme.example"]

GOOD = [File("WO_1/meter.jpg", jpeg("one"))]
BAD = [File("WO_2/roof.jpg", jpeg("roof"))]
EMPTY = File("WO_8/", b"")


def told(world: World) -> list[tuple[str, str]]:
    """Whom a message was sent to, and its subject."""
    return sorted((recipient(each), each["subject"]) for each in world.suite.sendgrid.sent)


def end(world: World, archive: bytes | None, **body: Any) -> str:
    """Make a batch and see it through."""
    id = world.batch(archive, **body)
    world.drain()
    assert not world.failures, world.failures[0]
    return id


@pytest.mark.parametrize(
    ("files", "status", "says"),
    [
        (GOOD, "COMPLETED", "monday.zip: imported (North)"),
        (GOOD + BAD, "COMPLETED_WITH_ERRORS", "monday.zip: imported in part (North)"),
        (BAD, "FAILED", "monday.zip: failed (North)"),
        (None, "FAILED", "monday.zip: failed (North)"),
    ],
)
def test_who_is_named_is_told_how_it_ended(
    world: World, files: list[File] | None, status: str, says: str
) -> None:
    archive = zipped(files) if files is not None else b"no zip"
    id = end(world, archive, filename="monday.zip", notify=NOTIFY)
    assert world.shown(id)["status"] == status
    assert told(world) == [("Ann@acme.example", says), ("zoe@acme.example", says)]
    text, _ = bodies(world.suite.sendgrid.sent[0])
    shown = world.shown(id)
    assert re.search(f"^Work orders imported: +{shown['work_orders_done']}$", text, re.MULTILINE), text
    assert re.search(f"^Errors: +{shown['errors']}$", text, re.MULTILINE), text
    assert re.search("^Customer: +Acme$", text, re.MULTILINE), text
    errors = f"{world.cloud.settings.url}/v0.2/batches/{id}/errors\n"
    assert (errors in text) == bool(shown["errors"])
    assert (shown["error"] is None) or shown["error"]["message"] in text
    assert "more like this" not in text, "each error stands once"
    assert text.count("ARCHIVE_NOT_A_ZIP") == 0, "what happened is said in words, once"


def test_the_first_errors_stand_in_the_mail_and_all_behind_its_link(world: World) -> None:
    unknown = [File(f"WO_{number}/attic.jpg", jpeg(f"attic {number}")) for number in range(5)]
    id = end(world, zipped([*GOOD, *unknown, EMPTY]), filename='mon"day.zip', notify=NOTIFY)
    text, page = bodies(world.suite.sendgrid.sent[0])
    found = world.request("GET", f"/v0.2/batches/{id}/errors?format=csv").body
    assert "5 errors (UNKNOWN_TASK_GROUP)\n" in text, text
    assert "* WO_0 / attic.jpg\n  The image “attic.jpg” belongs to no task group of the site." in text, text
    assert "* and 2 more like this\n  What to do: Name it after a task group" in text, text
    assert text.index("UNKNOWN_TASK_GROUP") < text.index("1 warning (EMPTY_FOLDER)"), "errors come first"
    assert "WO_3 / attic.jpg" not in text + page
    [token] = tokens(world.suite.sendgrid.sent[0])
    answer = world.request("GET", f"/v1/downloads/{token}", headers={"User-Agent": "Mozilla"})
    assert answer.status == 302, answer
    got = requests.get(answer.headers["Location"], timeout=10)
    assert got.content == codecs.BOM_UTF8 + found
    assert 'filename="mon-day-errors.csv"' in got.headers["Content-Disposition"]


def test_where_nothing_is_wrong_or_nobody_is_mailed_no_file_of_errors_is_stored(world: World) -> None:
    end(world, zipped(GOOD), notify=NOTIFY)
    end(world, zipped(GOOD + BAD))
    assert not tokens(world.suite.sendgrid.sent[0])
    staged = world.suite.storage.list(world.cloud.settings.staging_bucket)
    assert not [each for each in staged if "/errors-" in each.name], staged


def test_the_customer_is_told_where_nobody_is_named(world: World) -> None:
    add_customer(world.cloud.db, id="acme", slug="acme", name="Acme", notify=["ops@acme.example"])
    id = end(world, zipped(GOOD))
    assert told(world) == [("ops@acme.example", f"{id}: imported (North)")]
    end(world, zipped(GOOD), notify=["zoe@acme.example"], filename="b.zip")
    assert told(world)[1:] == [("zoe@acme.example", "b.zip: imported (North)")]


def test_nobody_is_told_where_nobody_is_named(world: World) -> None:
    end(world, zipped(GOOD))
    assert not world.suite.traffic.calls("sendgrid.")
    assert not list(world.cloud.db.collection_group("mails").stream())


def test_an_upload_that_never_came_is_told(world: World) -> None:
    id = end(world, None, filename="monday.zip", notify=["zoe@acme.example"])
    world.wait(timedelta(days=7, minutes=1))
    for _ in range(2):
        world.run_due()
        world.wait(timedelta(hours=2))
    assert world.shown(id)["status"] == "EXPIRED"
    assert told(world) == [("zoe@acme.example", "monday.zip: expired (North)")]
    assert "upload_url" not in (world.cloud.db.document(f"batches/{id}").get().to_dict() or {})


def test_who_cancels_knows(world: World) -> None:
    id = end(world, None, notify=["zoe@acme.example"])
    assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204
    world.wait(timedelta(days=8))
    world.run_due()
    assert world.shown(id)["status"] == "CANCELLED"
    assert not told(world)
    assert "upload_url" not in (world.cloud.db.document(f"batches/{id}").get().to_dict() or {})


def test_a_site_that_is_no_more_is_named_by_its_id(world: World) -> None:
    id = world.batch(b"no zip", notify=["zoe@acme.example"])
    world.cloud.db.document(f"sites/{SITE}").delete()
    world.drain()
    assert world.shown(id)["status"] == "FAILED"
    assert [recipient(each) for each in world.suite.sendgrid.sent] == ["zoe@acme.example"]
    assert SITE in bodies(world.suite.sendgrid.sent[0])[0]


def test_whom_it_could_not_be_sent_to_is_shown_at_the_batch_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.suite.sendgrid.bounce("bob@acme.example")
    id = end(world, zipped(GOOD), notify=["bob@acme.example", "zoe@acme.example"])
    [unsent] = world.shown(id)["mails_not_sent"]
    assert (unsent["address"], unsent["status"]) == ("bob@acme.example", "SKIPPED")
    assert unsent["reason"].startswith("An earlier mail to this address came back: ")
    listed = world.request("GET", f"/v0.2/batches?site_id={SITE}").body["batches"]
    assert [each["mails_not_sent"] for each in listed] == [[unsent]]
    assert [address for address, _ in told(world)] == ["zoe@acme.example"]
    [line] = [each for each in caplog.records if each.message == "mail not sent"]
    facts = vars(line)["facts"]
    assert (facts["address"], facts["letter"], facts["reason"]) == (
        "bob@acme.example",
        "batch",
        unsent["reason"],
    )


def test_each_mail_that_is_refused_is_shown_once(world: World) -> None:
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=400), times=10)
    id = end(world, None, notify=NOTIFY)
    world.wait(timedelta(days=7, minutes=1))
    for _ in range(2):
        world.run_due()
        world.wait(timedelta(hours=2))
    shown = world.shown(id)
    assert shown["status"] == "EXPIRED"
    found = sorted((each["address"], each["status"]) for each in shown["mails_not_sent"])
    assert found == [("Ann@acme.example", "REFUSED"), ("zoe@acme.example", "REFUSED")]
    assert all(each["reason"].startswith("SendGrid answered 400") for each in shown["mails_not_sent"])


class Told:
    """A batch of one work order with two addresses, whose last step dies: both are mailed once, or not and
    that is said."""

    def __init__(self, world: World, outside: Outside) -> None:
        self.world = world
        self.outside = outside
        self.id = world.batch(zipped(GOOD + BAD), notify=NOTIFY)

    def push(self, delivery: Delivery) -> bool:
        if delivery.function != "ingest_work_orders":
            return self.world.push(delivery)
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def run(self, push: Any) -> None:
        while self.world.suite.pubsub.deliver_due(push):
            pass

    def settle(self) -> None:
        self.world.wait(timedelta(minutes=20))
        for _ in range(20):
            self.world.tick()
            self.world.drain()
            ended = all(
                each.get("finished") for each in self.world.cloud.db.collection_group("mails").stream()
            )
            if self.world.shown(self.id)["finish_date"] and ended:
                return
            self.world.wait(timedelta(minutes=6))

    def done_once(self) -> None:
        found = [mails.from_snapshot(each) for each in self.world.cloud.db.collection_group("mails").stream()]
        assert sorted((each.address, each.state) for each in found) == [
            ("Ann@acme.example", mails.SENT),
            ("zoe@acme.example", mails.SENT),
        ]
        says = f"{self.id}: imported in part (North)"
        assert told(self.world) == [("Ann@acme.example", says), ("zoe@acme.example", says)]


@pytest.fixture
def make(new_world: Callable[[], World], outside: Outside) -> Callable[[], Told]:
    return lambda: Told(new_world(), outside)


def test_the_last_calls_end_the_batch_and_tell(make: Callable[[], Told]) -> None:
    calls = [call.name for call in kills.undisturbed(make()).calls]
    methods = [call.partition(" ")[0] for call in calls]
    assert methods[-14:] == [
        "RunQuery",
        "POST",  # the file of its errors
        "BatchGetDocuments",  # the piece and the batch
        "BatchGetDocuments",
        "BatchGetDocuments",
        "RunAggregationQuery",  # the mails of a day
        "BatchGetDocuments",  # and those that were sent again
        "RunQuery",
        "Commit",
        "RunQuery",  # which of the customer's mails are ready, and how many are in line
        "RunAggregationQuery",
        "RunAggregationQuery",
        "Commit",
        "Publish",
    ]


@pytest.mark.slow
@kills.MODES
def test_killed_or_paused_at_its_end_it_tells_each_once(
    make: Callable[[], Told], mode: kills.Mode[Told]
) -> None:
    last = kills.Mode[Told](f"{mode}, at its end", lambda seen: mode.places(seen)[-12:], mode.strike)
    kills.each(make, last)
