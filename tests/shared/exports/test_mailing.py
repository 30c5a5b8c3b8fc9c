"""What comes of a run whose mails have an outcome, and which of them are opened again."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from infra.local.traffic import Fault
from shared.exports import delivering, mailing
from shared.work import attempts
from tests.conftest import START
from tests.world import World

MORNING = START.replace(day=23, hour=2, minute=0)
WHOM = ("ada@acme.example", "bob@acme.example")


def by_email(world: World) -> str:
    world.work_order("WO_1")
    return world.export(connector_type="email", connector_config={"emails": list(WHOM)})


def test_a_run_of_whose_mails_nobody_knows_has_completed_and_says_so(world: World) -> None:
    export = by_email(world)
    world.suite.traffic.arm("sendgrid.mail.send", Fault("reset_after"), times=2)
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["status"], event["mails_sent"]) == ("COMPLETED", 0), event
    assert [each["status"] for each in event["mails_not_sent"]] == ["UNKNOWN", "UNKNOWN"]


def test_a_delivery_that_takes_long_shows_that_its_run_is_alive(world: World, monkeypatch: Any) -> None:
    export = by_email(world)
    shown: list[Any] = []
    pace = delivering._Pace
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.0)

    def watched(self: Any) -> None:
        document = world.cloud.db.document(self._attempt.piece.work)
        before = document.get().update_time
        world.wait(timedelta(seconds=50))
        pace.__call__(self)
        shown.append(document.get().update_time > before)

    monkeypatch.setattr(delivering, "_Pace", type("Watched", (pace,), {"__call__": watched}))
    world.run_due(MORNING)
    assert world.audit(export)[0]["status"] == "COMPLETED"
    assert shown == [True]


def test_a_mail_of_a_run_that_failed_is_sent_again_by_the_runs_retry_alone(world: World) -> None:
    export = by_email(world)
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=400), times=2)
    world.run_due(MORNING)
    path = f"/v1/exports/{export}/runs/{world.audit(export)[0]['run_id']}"
    mail = world.request("GET", f"{path}/mails").body["mails"][0]
    refused = world.request("POST", f"{path}/mails/{mail['id']}:resend")
    assert (refused.status, "retry it" in refused.body["detail"]) == (409, True), refused
    world.wait(timedelta(minutes=1))
    assert world.request("POST", f"{path}:retry").status == 200
    world.drain()
    (event,) = world.audit(export)
    assert (event["status"], event["mails_sent"]) == ("COMPLETED", 2), event
    assert len(world.suite.sendgrid.sent) == 2


def test_why_a_mail_is_not_sent_is_found_among_however_many_that_nobody_tried(world: World) -> None:
    """The others are still in line."""
    run: Any = SimpleNamespace(path="exports/e/runs/r", label="0123456789")
    theirs = {"letter": mailing.DELIVERY_LETTER, "occurrence": run.label, "open": True}
    for number in range(25):
        untried = {"since": None, "waits_for": None}
        world.cloud.db.document(f"{run.path}/mails/{number:02}").set(theirs | untried)
    assert mailing._waits_for(world.cloud, run) is None
    tried = {"since": START, "waits_for": "SendGrid answered 503"}
    world.cloud.db.document(f"{run.path}/mails/99").set(theirs | tried)
    assert mailing._waits_for(world.cloud, run) == "SendGrid answered 503"
