"""One mail to one recipient, whatever SendGrid answers, and whoever sends it at the same time."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import firestore

from infra.local.project import topic_path
from infra.local.traffic import Fault
from shared.errors import Conflict, NotFound
from shared.gcp.unreadable import listed as unreadable_documents
from shared.outbox import links, mails, sendgrid, sending
from shared.outbox.sendgrid import LOST, UNREACHED, SendGridAnswer
from shared.work import engine, stages
from shared.work.pieces import LEASE
from tests.shared.outbox.post import FACTS, RUN, bodies, post, recipient, tell, tokens
from tests.world import World

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SEND, BOUNCES, UNSUBSCRIBES = "sendgrid.mail.send", "sendgrid.bounces.get", "sendgrid.unsubscribes.get"


def calls(world: World, kind: str = "sendgrid.") -> int:
    return len(world.suite.traffic.calls(kind))


def link_ids(world: World) -> set[str]:
    return {each.id for each in world.cloud.db.collection("downloads").stream()}


def test_a_recipient_gets_one_message_with_one_link(world: World) -> None:
    mail = post(world)
    world.drain()
    [sent] = world.suite.sendgrid.sent
    assert recipient(sent) == "ann@acme.example"
    assert sent["from"] == {"email": "waybill@waybill.example", "name": "Waybill"}
    assert "Nightly" in sent["subject"]
    assert sent["tracking_settings"] == {
        "click_tracking": {"enable": False, "enable_text": False},
        "open_tracking": {"enable": False},
        "ganalytics": {"enable": False},
    }
    [token] = tokens(sent)
    text, html = bodies(sent)
    assert all(f"{world.cloud.settings.url}/v1/downloads/{token}" in body for body in (text, html))
    found = mail.one()
    assert (found.state, found.reason, found.links) == (mails.SENT, None, (token.partition("_")[0],))
    assert re.fullmatch("[0-9a-f]{22}", found.message_id or ""), found
    link = links.of(world.cloud, found.links)[found.links[0]]
    assert (link.customer, link.recipient, link.mail) == ("acme", "ann@acme.example", found.path)
    assert abs(link.expires - link.created - timedelta(days=7)) < timedelta(seconds=1)


def test_the_token_is_in_the_mail_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    post(world)
    world.drain()
    [token] = tokens(world.suite.sendgrid.sent[0])
    id, _, secret = token.partition("_")
    kept = [each.to_dict() for each in world.cloud.db.collection("downloads").stream()]
    kept += [each.to_dict() for each in world.cloud.db.collection_group("mails").stream()]
    kept += [each.to_dict() for each in world.cloud.db.collection_group("pieces").stream()]
    assert len(kept) == 4, "a link, a mail and its two pieces"
    assert id in str(kept)
    for where in (str(kept), caplog.text):
        assert secret not in where
        assert world.cloud.settings.sendgrid_key not in where


def test_nobody_sees_anothers_address_and_one_that_comes_twice_is_one(world: World) -> None:
    addresses = ["ann@acme.example", "Bob@acme.example", "ANN@acme.example", "bob@ACME.example"]
    mail = post(world, addresses)
    assert len(mail.paths) == 2
    again = mails.documents(RUN, "export", "0123456789", addresses[::-1], FACTS, customer="acme", at=NOON)
    assert {path.partition("/pieces/")[0] for path in again} == set(mail.paths), "it is the same mail"
    world.drain()
    assert sorted(mail.sent_to()) == ["Bob@acme.example", "ann@acme.example"]
    for sent in world.suite.sendgrid.sent:
        other = "bob" if recipient(sent).startswith("ann") else "ann"
        assert f"{other}@" not in str(sent).lower()
    a, b = (tokens(each) for each in world.suite.sendgrid.sent)
    assert not a & b, "each has a link of its own"


@pytest.mark.slow
def test_many_mails_of_one_customer_keep_anothers_waiting_for_a_few(world: World) -> None:
    world.onboard("globex", "globex")
    theirs = "exports/99999999-2222-4333-8444-555555555555/runs/0123456789"
    many = post(world, [f"person{number}@acme.example" for number in range(30)])
    post(world, ["ann@globex.example"], customer="globex", run=theirs)
    world.drain()
    in_order = many.sent_to()
    assert in_order.index("ann@globex.example") <= stages.MAX_IN_LINE
    assert len(in_order) == 31


def test_mails_that_are_to_be_tried_again_take_turns_too(world: World) -> None:
    """They are all due at once when SendGrid is back: another's new mail does not stand behind them."""
    world.onboard("globex", "globex")
    theirs = "exports/99999999-2222-4333-8444-555555555555/runs/0123456789"
    world.suite.traffic.arm(BOUNCES, Fault("error", 503), times=1_000)
    many = post(world, [f"person{number}@acme.example" for number in range(12)])
    world.drain()
    world.suite.traffic.disarm()
    world.wait(timedelta(minutes=5))
    world.sweep()
    post(world, ["ann@globex.example"], customer="globex", run=theirs)
    assert len(world.waiting()) == stages.MAX_IN_LINE + 1
    world.drain()
    in_order = many.sent_to()
    assert in_order.index("ann@globex.example") <= stages.MAX_IN_LINE
    assert len(in_order) == 13


def test_mails_that_were_swept_while_they_were_tried_leave_the_line_when_they_fail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their attempts showed no life for a while, as in an outage, and are not over."""
    topic, real = topic_path(mails.FUNCTION, world.suite.project), sendgrid.suppression
    slow: list[str] = []

    def suppression(account: sendgrid.Account, address: str) -> SendGridAnswer | str | None:
        if len(slow) == stages.REFILL:
            return real(account, address)
        slow.append(address)
        if len(slow) < stages.REFILL:
            delivery = world.suite.pubsub.take([topic])
            assert delivery is not None
            world.suite.pubsub.hand_over(delivery, world.push)
        else:
            world.wait(LEASE + timedelta(minutes=1))
            world.sweep()
        return SendGridAnswer(503, "busy")

    monkeypatch.setattr(sendgrid, "suppression", suppression)
    mail = post(world, [f"person{number}@acme.example" for number in range(stages.REFILL)])
    mail.settle()
    assert sorted(mail.sent_to()) == sorted(slow)


def test_mails_that_cannot_be_read_keep_no_others_of_their_customer_waiting(world: World) -> None:
    unreadable = post(world, [f"person{number}@acme.example" for number in range(stages.MAX_IN_LINE)])
    for path in unreadable.paths:
        world.cloud.db.document(path).update({"created": firestore.DELETE_FIELD})
    world.drain()
    mail = post(world)
    world.drain()
    assert mail.one().state == mails.SENT
    met = {each.path for each in unreadable_documents(world.cloud.db)}
    assert met == set(unreadable.paths)


def test_twenty_recipients_cost_a_few_calls_each(world: World) -> None:
    addresses = [f"person{number}@acme.example" for number in range(20)]
    mail = post(world, addresses)
    world.suite.traffic.forget()
    world.drain()
    assert sorted(mail.sent_to()) == sorted(addresses)
    assert calls(world) == 3 * 20
    assert calls(world, "firestore.") <= 21 * 20  # three of them ask who comes next


@pytest.mark.parametrize(
    ("fault", "state", "sent", "says", "links_kept"),
    [
        (Fault("error", 400), mails.REFUSED, 0, "400: Bad Request", 0),
        (Fault("error", 401), mails.REFUSED, 0, "key for SendGrid is not accepted", 0),
        (Fault("error", 403), mails.REFUSED, 0, "key for SendGrid is not accepted", 0),
        (Fault("error", 413), mails.REFUSED, 0, "413", 0),
        (Fault("error", 429), mails.SENT, 1, None, 1),
        (Fault("error", 503), mails.SENT, 1, None, 1),
        (Fault("error", 500), mails.UNKNOWN, 0, "500: Internal Server Error: it may have been sent", 1),
        (Fault("error", 502), mails.UNKNOWN, 0, "502", 1),
        (Fault("error", 504), mails.UNKNOWN, 0, "504", 1),
        (Fault("error", 302), mails.UNKNOWN, 0, "302", 1),
        (Fault("reset_before"), mails.UNKNOWN, 0, "answer was lost", 1),
        (Fault("reset_after"), mails.UNKNOWN, 1, "answer was lost", 1),
        (Fault("delay", seconds=1.5), mails.UNKNOWN, 1, "answer was lost (TimeoutError)", 1),
    ],
    ids=lambda value: f"{value.action}-{value.status}" if isinstance(value, Fault) else None,
)
def test_what_sendgrid_answers_to_a_message_decides(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    state: str,
    sent: int,
    says: str | None,
    links_kept: int,
) -> None:
    if fault.action == "delay":
        monkeypatch.setattr(sendgrid, "CALL_SECONDS", 0.3)
    world.suite.traffic.arm(SEND, fault)
    waits = f"{RUN}/mails/{'0' * 32}"
    mail = post(world, then={"function": "send_mail", "message": {"work": waits, "piece": "mails"}})
    mail.settle()
    found = mail.one()
    assert (found.state, len(mail.sent_to())) == (state, sent), found
    assert (says or "") in (found.reason or ""), found.reason
    assert bool(found.next_action) == (state != mails.SENT)
    assert len(link_ids(world)) == len(found.links) == links_kept
    assert world.suite.traffic.calls("firestore.BatchGetDocuments", waits), "what waits is told"


@pytest.mark.parametrize("kind", [BOUNCES, UNSUBSCRIBES])
@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (Fault("error", 400), mails.REFUSED),
        (Fault("error", 401), mails.REFUSED),
        *((Fault("error", status), mails.SENT) for status in (429, 500, 502, 503, 504)),
        *((Fault(action), mails.SENT) for action in ("reset_before", "reset_after", "truncate")),
    ],
    ids=lambda value: f"{value.action}-{value.status}" if isinstance(value, Fault) else None,
)
def test_a_question_about_the_address_is_asked_again(
    world: World, kind: str, fault: Fault, state: str
) -> None:
    world.suite.traffic.arm(kind, fault)
    mail = post(world)
    mail.settle()
    assert (mail.one().state, len(mail.sent_to())) == (state, int(state == mails.SENT)), mail.one()


def test_who_is_suppressed_is_skipped_and_said(world: World) -> None:
    world.suite.sendgrid.bounce("ann@acme.example")
    world.suite.sendgrid.unsubscribe("bob@acme.example")
    mail = post(world, ["Ann@acme.example", "bob@acme.example", "cid@acme.example"])
    world.drain()
    assert mail.sent_to() == ["cid@acme.example"]
    said = {each.address: (each.state, each.reason) for each in mail.all()}
    bounced = "An earlier mail to this address came back: 550 5.1.1 The mailbox does not exist"
    assert said == {
        "Ann@acme.example": (mails.SKIPPED, bounced),
        "bob@acme.example": (mails.SKIPPED, "This address has unsubscribed from all mail."),
        "cid@acme.example": (mails.SENT, None),
    }
    assert len(link_ids(world)) == 1
    world.suite.sendgrid.forgive("ann@acme.example")
    mails.again(world.cloud, next(each.path for each in mail.all() if each.address.startswith("Ann")))
    world.drain()
    assert mail.sent_to() == ["cid@acme.example", "Ann@acme.example"]


def test_after_a_call_too_many_sendgrid_is_left_alone_until_it_says(world: World) -> None:
    world.suite.traffic.arm(SEND, Fault("error", 429))
    first, second = post(world), post(world, ["bob@acme.example"], published=False)
    world.drain()
    assert (first.one().state, first.one().links, link_ids(world)) == (mails.WAITING, (), set())
    assert "429" in (first.one().reason or "")
    called = calls(world)
    tell(world, *second.paths)
    for _ in range(5):
        world.wait(timedelta(seconds=11))
        world.sweep()
        world.drain()
    assert calls(world) == called, "neither this mail nor another before the minute is over"
    for _ in range(8):
        world.wait(timedelta(minutes=2))
        world.sweep()
        world.drain()
    assert sorted(first.sent_to()) == ["ann@acme.example", "bob@acme.example"]


def test_a_call_too_many_of_one_customer_is_nobody_elses_pause(world: World) -> None:
    world.suite.traffic.arm(SEND, Fault("error", 429))
    first = post(world)
    world.drain()
    assert first.one().state == mails.WAITING
    world.onboard("globex", "globex")
    theirs = "exports/99999999-2222-4333-8444-555555555555/runs/0123456789"
    other = post(world, ["ann@globex.example"], customer="globex", run=theirs)
    world.drain()
    assert (other.one().state, other.sent_to()) == (mails.SENT, ["ann@globex.example"])


@pytest.mark.slow
def test_where_sendgrid_takes_nothing_from_anyone_each_customer_asks_a_few_times_a_pause(
    world: World,
) -> None:
    world.suite.traffic.arm(BOUNCES, Fault("error", 429), times=1_000)
    customers = ("acme", "globex", "initech")
    for customer in customers[1:]:
        world.onboard(customer, customer)
    for number, customer in enumerate(customers):
        run = f"exports/{number}1111111-2222-4333-8444-555555555555/runs/0123456789"
        post(world, [f"{each}@{customer}.example" for each in range(20)], customer=customer, run=run)
    world.drain()
    assert calls(world) == len(customers)
    for minute in range(1, 6):
        world.wait(timedelta(minutes=1))
        world.sweep()
        world.drain()
        assert calls(world) <= len(customers) * (1 + minute)


def test_a_mail_that_sendgrid_never_takes_is_refused_after_a_day(world: World) -> None:
    world.suite.traffic.arm(SEND, Fault("error", 429), times=100_000)
    mail = post(world)
    for _ in range(26):
        world.wait(timedelta(hours=1))
        world.tick()
        world.drain()
    found = mail.one()
    assert (found.state, mail.sent_to()) == (mails.REFUSED, [])
    assert (found.reason or "").startswith("It could not be sent within a day. SendGrid answered 429"), found
    assert found.finished is not None
    assert timedelta(days=1) <= found.finished - found.created < timedelta(days=1, hours=2)


@pytest.mark.parametrize("refused_before", [False, True])
def test_a_mail_is_tried_however_long_nobody_came_to_send_it(world: World, refused_before: bool) -> None:
    mail = post(world)
    if refused_before:
        world.suite.traffic.arm(SEND, Fault("error", 429))
        world.drain()
    world.wait(timedelta(days=3))
    mail.settle()
    found = mail.one()
    assert (found.state, found.reason) == (mails.SENT, None)


def test_what_could_not_be_reached_was_not_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [SendGridAnswer(UNREACHED, "ConnectionRefusedError")]
    really = sendgrid.send
    monkeypatch.setattr(sendgrid, "send", lambda *args: answers.pop() if answers else really(*args))
    mail = post(world)
    world.drain()
    found = mail.one()
    assert (found.state, found.links, found.reason) == (
        mails.WAITING,
        (),
        "SendGrid could not be reached (ConnectionRefusedError)",
    )
    mail.settle()
    assert (mail.one().state, len(mail.sent_to())) == (mails.SENT, 1)


@pytest.mark.parametrize("lacking", ["WAYBILL_SENDGRID_KEY", "WAYBILL_MAIL_FROM", "WAYBILL_URL"])
def test_without_its_settings_a_mail_is_refused_and_can_be_sent_later(
    world: World, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    with monkeypatch.context() as without:
        without.delenv(lacking)
        mail = post(world)
        world.drain()
    found = mail.one()
    assert (found.state, found.reason) == (mails.REFUSED, "Waybill is not set up to send mail.")
    assert "operators" in (found.next_action or "")
    mails.again(world.cloud, found.path)
    world.drain()
    assert mail.one().state == mails.SENT


def test_again_needs_a_persons_word_and_brings_a_new_link(world: World) -> None:
    mail = post(world)
    with pytest.raises(Conflict, match="WAITING"):
        mails.again(world.cloud, mail.paths[0])
    world.drain()
    tell(world, *mail.paths)
    world.drain()
    assert len(mail.sent_to()) == 1, "its message alone sends no mail again"
    old = mail.one()
    world.wait(timedelta(days=8))
    assert mails.again(world.cloud, old.path).state == mails.WAITING
    with pytest.raises(Conflict):
        mails.again(world.cloud, old.path)
    mail.settle()
    new = mail.one()
    assert (new.state, len(mail.sent_to()), new.links[:1]) == (mails.SENT, 2, old.links)
    assert len(new.links) == 2
    known = links.of(world.cloud, new.links)
    later = known[new.links[1]].expires - known[new.links[0]].expires
    assert abs(later - timedelta(days=8)) < timedelta(seconds=1)
    with pytest.raises(NotFound):
        mails.again(world.cloud, f"{RUN}/mails/{'0' * 32}")


def test_of_two_attempts_at_once_one_sends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reads the mail before the first writes its intent down, and goes on after it."""
    mail = post(world)
    really, others = sendgrid.suppression, [1]

    def meanwhile(*args: Any) -> Any:
        if others:
            others.pop()
            tell(world, *mail.paths)
            assert world.step()
        return really(*args)

    monkeypatch.setattr(sendgrid, "suppression", meanwhile)
    assert world.step()
    assert not world.failures
    mail.settle()
    assert (mail.one().state, len(mail.sent_to()), len(link_ids(world))) == (mails.SENT, 1, 1)


def test_while_one_is_sending_another_leaves_it_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = post(world)
    really, states = sendgrid.send, []

    def meanwhile(*args: Any) -> Any:
        tell(world, *mail.paths)
        world.wait(timedelta(minutes=2))
        assert world.step()
        states.append(mail.one().state)
        return really(*args)

    monkeypatch.setattr(sendgrid, "send", meanwhile)
    assert world.step()
    assert states == [mails.SENDING]
    mail.settle()
    assert (mail.one().state, len(mail.sent_to())) == (mails.SENT, 1)


def sent_late(
    world: World, monkeypatch: pytest.MonkeyPatch, mail: Any, meanwhile: Callable[[], Any]
) -> list[str]:
    """Send a mail by an attempt that takes longer than its lease; returns its state just before the call."""
    really, states = sendgrid.send, []

    def late(*args: Any) -> Any:
        meanwhile()
        world.wait(timedelta(minutes=4))
        world.sweep()
        world.drain()
        states.append(mail.one().state)
        return really(*args)

    monkeypatch.setattr(sendgrid, "send", late)
    assert world.step()
    return states


def test_who_was_given_up_and_comes_late_tells_what_came_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = post(world)
    states = sent_late(world, monkeypatch, mail, lambda: tell(world, *mail.paths))
    assert states == [mails.UNKNOWN]
    assert (mail.one().state, len(mail.sent_to())) == (mails.SENT, 1)


def test_a_mail_that_may_have_been_sent_is_unknown_however_often_attempts_died(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = post(world)
    piece = world.cloud.db.document(f"{mail.paths[0]}/pieces/send")
    states = sent_late(world, monkeypatch, mail, lambda: piece.update({"attempts": engine.MAX_ATTEMPTS}))
    assert states == [mails.UNKNOWN]


def test_a_commit_whose_answer_was_lost_is_known_for_our_own(world: World) -> None:
    mail = post(world)
    world.suite.traffic.arm("firestore.Commit", Fault("reset_after"), resource="downloads/")
    assert world.step()
    assert not world.failures
    assert (mail.one().state, len(mail.sent_to()), len(link_ids(world))) == (mails.SENT, 1, 1)


def test_a_mail_that_nobody_told_of_is_found(world: World) -> None:
    mail = post(world, published=False)
    world.tick()
    world.drain()
    assert not mail.sent_to(), "it is not silent yet"
    world.wait(timedelta(minutes=16))
    world.tick()
    world.drain()
    assert (mail.one().state, len(mail.sent_to())) == (mails.SENT, 1)
    world.wait(timedelta(minutes=16))
    world.tick()
    world.drain()
    assert len(mail.sent_to()) == 1


def test_a_message_of_a_mail_that_is_no_more_is_done(world: World) -> None:
    tell(world, f"{RUN}/mails/{'0' * 32}")
    world.drain()
    assert not world.failures
    assert not world.suite.pubsub.outstanding()


@pytest.mark.parametrize(
    ("kind", "facts"),
    [("exports", {}), ("export", {"export_name": "x"}), ("failed", {"colour": "red"})],
)
def test_facts_that_are_not_of_the_kind_are_not_taken_since_once(kind: str, facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="letter"):
        mails.documents(RUN, kind, "x", ["a@b.c"], facts, customer="acme", at=NOON)


@pytest.mark.parametrize("status", [200, 202, 302, 500, 502, 504, LOST, UNREACHED, 429, 503])
def test_no_answer_to_a_question_says_that_a_mail_was_sent(status: int) -> None:
    assert sending.judge_asking(SendGridAnswer(status), NOON).state == mails.WAITING


def test_a_verdict_is_bounded_in_words_and_in_waiting() -> None:
    now = NOON
    for status in (202, 400, 401, 413, 429, 500, 503, 302, 200, LOST, UNREACHED):
        verdict = sending.judge(SendGridAnswer(status, "x" * 300), now)
        assert len(verdict.reason or "") < 400
    for reset, wait in ((None, 60), (0, 0), (int(now.timestamp()) + 30, 30), (10**12 - 1, 600)):
        until = sending.judge(SendGridAnswer(429, reset=reset), now).until
        assert until is not None
        assert (until - now).total_seconds() == wait, reset
