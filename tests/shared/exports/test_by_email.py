"""Runs that go by email: who is mailed, once; what its link opens; what is said where it went wrong."""

import csv
import email
import email.policy
import io
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.pubsub import Delivery
from infra.local.traffic import Fault
from shared.accounts.customers import add_customer
from shared.delivery.email.config import MAX_RECIPIENTS
from shared.exports import delivering
from shared.exports import export as exports
from shared.exports.mailing import STAGE
from tests.shared.outbox.post import bodies, recipient, tell, tokens
from tests.subjects.by_email import (
    ANN,
    BOB,
    CYD,
    DAN,
    EVE,
    asked,
    by_email,
    by_status,
    clicked,
    downloaded,
    listed,
    only,
    sent_to,
    staged,
    token_of,
    work,
)
from tests.world import BUCKET, SITE, THEIR_SITE, World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
OPS, BOSS = "ops@acme.example", "boss@acme.example"
MAIL = "sendgrid.mail.send"


def mail_path(world: World, export: str, address: str) -> str:
    run = only(world, export)["run_id"]
    return f"/v1/exports/{export}/runs/{run}/mails/{listed(world, export)[address]['id']}"


def let_pass(world: World, every: timedelta, times: int) -> None:
    """Let time go by with its redeliveries and ticks."""
    for _ in range(times):
        world.wait(every)
        world.tick()
        world.drain()


# --- what is sent


def test_each_recipient_gets_a_mail_whose_link_opens_the_one_file_of_all_sites(world: World) -> None:
    made = work(world)
    export = by_email(world)
    world.run_due(MORNING)
    event = only(world, export)
    assert (event["status"], event["rows"], event["file_count"], event["images"]) == ("COMPLETED", 3, 1, 0)
    assert event["operations"] == ["EMAIL"]
    assert event["recipients"] == [{"address": ANN, "name": ""}, {"address": BOB, "name": ""}]
    assert (event["mails_sent"], event["mails_not_sent"], event["sftpDetailsKey"]) == (2, [], None)
    assert world.landed() == {}, "nothing goes to a bucket"
    assert sent_to(world) == [ANN, BOB]
    ((_, content),) = staged(world, export).items()
    assert event["bytes"] == len(content)
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert sorted(row["id"] for row in rows) == made
    both = {address: token_of(world, address) for address in (ANN, BOB)}
    assert both[ANN] != both[BOB]
    for address in (ANN, BOB):
        assert downloaded(world, both[address]) == content
    for address, mail in listed(world, export).items():
        assert (mail["status"], mail["reason"]) == ("SENT", None)
        (link,) = mail["links"]
        assert (link["revoked"], link["downloads"], len(link["clicks"])) == (False, 1, 1)
        assert link["clicks"][0] | {"at": ""} == {"at": "", "agent": "Mozilla/5.0", "file": "all"}
        assert both[address].startswith(link["id"])
        assert both[address].partition("_")[2] not in json.dumps(mail), "the token is the mail's alone"
    letters = [each.read_bytes() for each in sorted(world.suite.outbox.glob("*.eml"))]
    parsed = [email.message_from_bytes(each, policy=email.policy.default) for each in letters]
    assert sorted(each["To"] for each in parsed) == [ANN, BOB]
    assert all("Nightly" in each["Subject"] for each in parsed)


def test_of_several_files_the_link_opens_a_page_that_leads_to_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "1")
    for number in range(3):
        world.work_order(f"WO_{number}", photographs=0)
        world.wait(timedelta(minutes=10))
    export = by_email(world, ANN, file_format="parquet", start="2026-11-22T09:00:00Z")
    world.run_due(MORNING)
    files = staged(world, export)
    assert len(files) == 3
    assert only(world, export)["file_count"] == 3
    page = clicked(world, token_of(world, ANN))
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r'href="(\?file=[^"]+)"', page.body.decode())
    assert [downloaded(world, token_of(world, ANN), each) for each in named] == [
        files[id] for id in sorted(files)
    ]
    (link,) = listed(world, export)[ANN]["links"]
    assert (link["downloads"], [each["file"] for each in link["clicks"]]) == (3, [None, *sorted(files)])


def test_an_empty_window_is_mailed_to_nobody(world: World) -> None:
    export = by_email(world)
    world.run_due(MORNING)
    event = only(world, export)
    assert (event["status"], event["file_count"], event["mails_sent"]) == ("COMPLETED", 0, 0)
    assert (sent_to(world), listed(world, export)) == ([], {})


def test_an_address_that_comes_twice_is_mailed_once(world: World) -> None:
    work(world)
    export = by_email(world, ANN, BOB, ANN.upper(), ANN)
    world.run_due(MORNING)
    assert sent_to(world) == [ANN, BOB]
    assert [each["address"] for each in only(world, export)["recipients"]] == [ANN, BOB]


def crowd(count: int) -> list[str]:
    return [f"reader-{number:04}@acme.example" for number in range(count)]


def mailed(world: World, count: int) -> int:
    """Mail a run to that many; returns how many calls all services got for it."""
    addresses = crowd(count)
    export = by_email(world, *addresses, interval="once")
    before = len(world.suite.sendgrid.sent)
    world.suite.traffic.forget()
    world.run_due()
    calls = Counter(call.kind for call in world.suite.traffic.calls())
    assert calls[MAIL] == count
    messages = world.suite.sendgrid.sent[before:]
    assert sorted(recipient(each) for each in messages) == addresses
    for each in messages:
        others = set(re.findall(r"reader-\d{4}@acme\.example", json.dumps(each))) - {recipient(each)}
        assert not others, f"{recipient(each)} sees {others}"
    assert len({token for each in messages for token in tokens(each)}) == count, "a link each"
    event = only(world, export)
    assert (event["status"], event["mails_sent"]) == ("COMPLETED", count)
    return sum(calls.values())


def test_the_last_of_its_mails_alone_wakes_a_run(world: World) -> None:
    work(world)
    world.wait(timedelta(minutes=2))
    pushed = []
    for count in (2, 12):
        mailed(world, count)
        pushes = Counter(call.resource for call in world.suite.traffic.calls("pubsub.push"))
        assert pushes.pop("send_mail") == count
        pushed.append(pushes)
    assert pushed[0] == pushed[1]


CALLS_A_RECIPIENT = 25
"""How many calls all services get at most for a mail to one recipient."""


@pytest.mark.slow
def test_what_a_run_costs_grows_with_its_recipients_and_not_with_their_square(world: World) -> None:
    work(world)
    world.wait(timedelta(minutes=2))
    ten, twenty, forty = (mailed(world, count) for count in (10, 20, 40))
    assert forty - twenty == pytest.approx(2 * (twenty - ten), rel=0.05), (ten, twenty, forty)
    assert (twenty - ten) / 10 <= CALLS_A_RECIPIENT


@pytest.mark.slow
def test_a_thousand_recipients_get_a_message_each_and_see_nobody_else(world: World) -> None:
    work(world)
    world.wait(timedelta(minutes=2))
    most = CALLS_A_RECIPIENT + 1  # what the run itself asks for is less than a call for each
    assert mailed(world, MAX_RECIPIENTS) <= MAX_RECIPIENTS * most


# --- not sent, or nobody knows


def test_who_is_not_mailed_is_said_and_the_others_are(world: World) -> None:
    work(world)
    export = by_email(world, ANN, BOB, CYD, DAN, EVE)
    world.suite.sendgrid.bounce(BOB)
    world.suite.sendgrid.unsubscribe(CYD)
    world.suite.traffic.arm(MAIL, Fault("error", status=400), resource=DAN)
    world.suite.traffic.arm(MAIL, Fault("reset_after"), resource=EVE)
    world.run_due(MORNING)
    event = only(world, export)
    assert (event["status"], event["mails_sent"]) == ("COMPLETED", 1)
    expected = {BOB: "SKIPPED", CYD: "SKIPPED", DAN: "REFUSED", EVE: "UNKNOWN"}
    assert by_status(event) == expected
    assert {address: mail["status"] for address, mail in listed(world, export).items()} == {
        ANN: "SENT",
        **expected,
    }
    told = {each["address"]: each["reason"] for each in event["mails_not_sent"]}
    assert "came back: 550 5.1.1" in told[BOB]
    assert "unsubscribed" in told[CYD]
    assert "400" in told[DAN]
    assert "may have been sent" in told[EVE]
    assert all(mail["next_action"] for address, mail in listed(world, export).items() if address != ANN)
    assert sent_to(world) == [ANN, EVE]


@pytest.mark.parametrize(
    ("notify", "told"),
    [([OPS], [OPS]), ([], [BOSS]), ([BOB, OPS], [OPS]), ([BOB], [BOSS])],
    ids=["the export's", "the customer's", "one is refused itself", "all are refused themselves"],
)
def test_who_was_not_mailed_is_reported_to_whoever_owns_the_export(
    world: World, notify: list[str], told: list[str]
) -> None:
    add_customer(world.cloud.db, id="acme", slug="acme", name="Acme", notify=[BOSS])
    work(world)
    export = by_email(world, ANN, BOB, DAN, notify=notify)
    world.suite.sendgrid.bounce(BOB)
    world.suite.traffic.arm(MAIL, Fault("error", status=400), resource=DAN)
    world.run_due(MORNING)
    assert only(world, export)["status"] == "COMPLETED"
    assert sent_to(world) == sorted([ANN, *told])
    [report] = [each for each in world.suite.sendgrid.sent if recipient(each) == told[0]]
    assert "some recipients were not mailed" in report["subject"]
    said = report["content"][0]["value"]
    assert f"* {BOB}\n  An earlier mail to this address came back" in said
    assert f"* {DAN}\n  SendGrid answered 400" in said
    assert "Correct the addresses in the export's emails." in said


def test_where_all_were_mailed_nobody_is_told_of_it(world: World) -> None:
    add_customer(world.cloud.db, id="acme", slug="acme", name="Acme", notify=[BOSS])
    work(world)
    by_email(world, ANN, BOB)
    world.run_due(MORNING)
    assert sent_to(world) == [ANN, BOB]


def test_of_which_nobody_knows_is_sent_again_by_a_persons_word_alone(world: World) -> None:
    work(world)
    export = by_email(world)
    world.suite.traffic.arm(MAIL, Fault("reset_after"), resource=BOB)
    world.run_due(MORNING)
    before = only(world, export)
    assert by_status(before) == {BOB: "UNKNOWN"}
    mail = listed(world, export)[BOB]
    document = f"exports/{export}/runs/{before['run_id']}/mails/{mail['id']}"
    tell(world, document, document)
    let_pass(world, timedelta(minutes=40), 4)
    run = f"/v1/exports/{export}/runs/{before['run_id']}"
    assert asked(world, "POST", f"{run}:retry", 409)["title"] == "Not possible now"
    let_pass(world, timedelta(minutes=40), 2)
    assert sent_to(world) == [ANN, BOB]
    assert listed(world, export)[BOB] == mail
    answer = asked(world, "POST", f"{run}/mails/{mail['id']}:resend")
    assert (answer["status"], answer["id"]) == ("WAITING", mail["id"])
    assert asked(world, "POST", f"{run}/mails/{mail['id']}:resend", 409)["detail"]
    world.drain()
    assert sent_to(world) == [ANN, BOB, BOB]
    after = listed(world, export)[BOB]
    assert (after["status"], after["reason"], len(after["links"])) == ("SENT", None, 2)
    old, new = token_of(world, BOB, 0), token_of(world, BOB, 1)
    ((_, content),) = staged(world, export).items()
    assert [downloaded(world, token) for token in (old, new)] == [content, content]
    assert only(world, export) == before, "what the run came to stays as it was"


def test_a_retry_mails_those_that_were_refused_and_not_those_of_which_nobody_knows(world: World) -> None:
    work(world)
    export = by_email(world, ANN, BOB, CYD)
    world.suite.traffic.arm(MAIL, Fault("reset_after"), resource=BOB)
    world.suite.traffic.arm(MAIL, Fault("error", status=400), resource=CYD)
    world.tick(MORNING)

    def unfinished(delivery: Delivery) -> bool:
        woken = json.loads(delivery.data or b"{}").get("piece") == STAGE and world.suite.sendgrid.sent
        return bool(woken) or world.push(delivery)

    while world.suite.pubsub.deliver_due(unfinished):
        pass
    run = only(world, export)["run_id"]
    assert only(world, export)["status"] == "DELIVERING"
    failed = {"state": "FAILED", "open": False, "audit": None}  # as the sweep fails a run that does not end
    world.cloud.db.document(f"exports/{export}/runs/{run}").update(failed)
    world.wait(timedelta(minutes=1))
    asked(world, "POST", f"/v1/exports/{export}/runs/{run}:retry")
    world.settle(sweeps=True)
    event = only(world, export)
    assert (event["status"], event["mails_sent"], by_status(event)) == ("COMPLETED", 2, {BOB: "UNKNOWN"})
    assert sent_to(world) == [ANN, BOB, CYD]


@pytest.mark.parametrize("fault", ["refused", "the key", "suppressed"])
def test_where_nobody_could_be_mailed_the_run_fails_and_a_retry_mails_them(world: World, fault: str) -> None:
    work(world)
    export = by_email(world)
    for address in (ANN, BOB):
        if fault == "suppressed":
            world.suite.sendgrid.bounce(address)
        else:
            status = 400 if fault == "refused" else 401
            world.suite.traffic.arm(MAIL, Fault("error", status=status), resource=address, times=100)
    world.run_due(MORNING)
    event = only(world, export)
    assert event["status"] == "FAILED"
    assert event["error"].startswith("None of 2 mails was sent. To ")
    assert {"refused": "400", "the key": "Waybill's key", "suppressed": "550 5.1.1"}[fault] in event["error"]
    assert event["next_action"].endswith("Then retry the run.")
    assert sent_to(world) == []
    let_pass(world, timedelta(minutes=20), 3)
    content = staged(world, export)
    world.suite.traffic.disarm()
    for address in (ANN, BOB):
        world.suite.sendgrid.forgive(address)
    assert sent_to(world) == []
    asked(world, "POST", f"/v1/exports/{export}/runs/{event['run_id']}:retry")
    world.settle(sweeps=True)
    event = only(world, export)
    assert (event["status"], event["mails_sent"], event["error"]) == ("COMPLETED", 2, None)
    assert sent_to(world) == [ANN, BOB]
    assert staged(world, export) == content
    assert downloaded(world, token_of(world, ANN)) == content["all"]


@pytest.mark.slow
def test_a_run_waits_out_that_sendgrid_takes_nothing_and_keeps_nobody_waiting(world: World) -> None:
    work(world)
    export = by_email(world)
    bucket = {"storage_uri": f"gs://{BUCKET}/waybill", "export_images": False}
    other = world.export(
        name="the customer's other one", interval="hourly", connector_config=bucket, start="2026-11-23T02:00Z"
    )
    world.suite.traffic.arm(MAIL, Fault("error", status=429), times=100_000)
    world.tick(MORNING)
    world.drain()
    let_pass(world, timedelta(minutes=11), 20)
    assert only(world, export)["status"] == "DELIVERING", only(world, export)
    assert {event["status"] for event in world.audit(other)} == {"COMPLETED"}
    assert {mail["status"] for mail in listed(world, export).values()} == {"WAITING"}
    assert len(world.suite.pubsub.outstanding()) <= 2, "a message a mail, however often it is looked for"
    world.suite.traffic.disarm()
    world.settle(sweeps=True)
    event = only(world, export)
    assert (event["status"], event["mails_sent"], sent_to(world)) == ("COMPLETED", 2, [ANN, BOB])


def test_a_mail_that_sendgrid_does_not_take_within_a_day_is_refused_and_so_ends_its_run(world: World) -> None:
    work(world)
    export = by_email(world, end="2026-11-23T00:00:00Z")
    world.suite.traffic.arm(MAIL, Fault("error", status=429), times=100_000)
    world.tick(MORNING)
    world.drain()
    let_pass(world, timedelta(hours=1, minutes=50), 12)
    assert only(world, export)["status"] == "DELIVERING"
    let_pass(world, timedelta(hours=1, minutes=50), 3)
    event = only(world, export)
    assert (event["status"], sent_to(world)) == ("FAILED", [])
    assert "could not be sent within a day" in event["error"]
    assert "429" in event["error"]


def test_a_run_that_cannot_even_make_its_mails_is_failed_by_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(world)
    export = by_email(world, end="2026-11-23T00:00:00Z")

    def broken(*_: object) -> None:
        raise RuntimeError("ours to fix")

    monkeypatch.setattr(delivering._Joined, "file", broken)
    world.tick(MORNING)
    world.drain()
    let_pass(world, timedelta(minutes=20), 15)
    event = only(world, export)
    assert event["status"] == "FAILED", event
    assert "was begun 10 times and never ended" in event["error"]


# --- what is told of failures


def refused(world: World) -> None:
    world.suite.storage.revoke(BUCKET, world.acme.account, "storage.objects.create")


def told(world: World) -> list[tuple[str, str]]:
    """Each message that was sent: to whom, and its subject."""
    return sorted((recipient(each), each["subject"]) for each in world.suite.sendgrid.sent)


def test_a_failure_is_mailed_once_a_run_however_often_it_fails(world: World) -> None:
    work(world)
    export = world.export(notify=[OPS, BOSS])
    refused(world)
    world.run_due(MORNING)
    event = only(world, export)
    assert event["status"] == "FAILED"
    assert [address for address, _ in told(world)] == [BOSS, OPS]
    text, html = bodies(world.suite.sendgrid.sent[0])
    for part in ("storage.objects.create", event["next_action"], event["run_id"]):
        assert part in text
    assert "storage.objects.create" in html
    assert "/v1/downloads/" not in text + html
    for _ in range(2):
        asked(world, "POST", f"/v1/exports/{export}/runs/{event['run_id']}:retry")
        world.settle(sweeps=True)
    assert only(world, export)["status"] == "FAILED"
    assert len(told(world)) == 2
    assert set(listed(world, export, "failed")) == {OPS, BOSS}
    world.run_due(MORNING + timedelta(days=1))
    assert [event["status"] for event in world.audit(export)] == ["FAILED"] * 2
    assert len(told(world)) == 4, "the next window's failure is another one"


@pytest.mark.parametrize("named", ["export", "customer", "nobody"])
def test_failures_are_told_to_the_exports_addresses_else_to_the_customers_else_to_nobody(
    world: World, named: str
) -> None:
    work(world)
    if named != "nobody":
        world.cloud.db.document("customers/acme").update({"notify": [BOSS]})
    export = world.export(notify=[OPS] if named == "export" else [])
    refused(world)
    world.run_due(MORNING)
    assert only(world, export)["status"] == "FAILED"
    expected = {"export": [OPS], "customer": [BOSS], "nobody": []}
    assert [address for address, _ in told(world)] == expected[named]


def test_each_suspension_is_mailed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_DUE_TIMES", 2)
    work(world)
    export = world.export(notify=[OPS], name="To the bucket")
    refused(world)
    for day in range(2):
        world.run_due(MORNING + timedelta(days=day))
    assert asked(world, "GET", f"/v1/exports/{export}")["state"] == "SUSPENDED"
    subjects = [subject for _, subject in told(world)]
    assert len(subjects) == 3, "of each window that failed, and of the suspension"
    assert sum("suspended" in subject for subject in subjects) == 1, subjects
    assert all("To the bucket" in subject for subject in subjects)
    world.run_due(MORNING + timedelta(days=2))
    assert len(told(world)) == 3
    asked(world, "POST", f"/v1/exports/{export}:resume")
    world.settle(sweeps=True)
    world.run_due(MORNING + timedelta(days=3, minutes=1))
    assert asked(world, "GET", f"/v1/exports/{export}")["state"] == "SUSPENDED"
    assert sum("suspended" in subject for _, subject in told(world)) == 2, told(world)


# --- what names can do


HOSTILE = (
    'Ni<b>ght</b>ly "quoted" & <script>alert(1)</script> \u202egnp.exe\u2028Bcc: eve@evil.example\x85\u2066'
)


def test_an_exports_name_does_no_harm_in_a_mail(world: World) -> None:
    work(world)
    mailed_export = by_email(world, ANN, name=HOSTILE)
    failing = world.export(name=HOSTILE, notify=[OPS])
    refused(world)
    world.run_due(MORNING)
    assert only(world, mailed_export)["status"] == "COMPLETED"
    assert only(world, failing)["status"] == "FAILED"
    assert sent_to(world) == [ANN, OPS]
    for sent in world.suite.sendgrid.sent:
        text, html = bodies(sent)
        for part in (sent["subject"], text, html):
            assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\x85\r]", part), part
        assert "\n" not in sent["subject"]
        assert "<b>" not in html
        assert "<script" not in html
        assert "&lt;script&gt;" in html
    for file in world.suite.outbox.glob("*.eml"):
        parsed = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        assert parsed["Bcc"] is None
        assert parsed["To"] in (ANN, OPS)


@pytest.mark.parametrize("name", ["Nightly\r\nBcc: eve@evil.example", "Night\nly", "Night\x00ly"])
def test_a_name_of_several_lines_is_refused(world: World, name: str) -> None:
    body = {
        "name": name,
        "site_ids": [SITE],
        "interval": "daily",
        "connector_type": "email",
        "connector_config": {"emails": [ANN]},
    }
    assert "name" in asked(world, "POST", "/v1/exports", 400, body=body)["detail"]


# --- links


@pytest.mark.parametrize(
    ("after", "status"),
    [(timedelta(seconds=1), 302), (timedelta(days=6, hours=23), 302), (timedelta(days=8), 410)],
    ids=str,
)
def test_a_link_opens_for_seven_days(world: World, after: timedelta, status: int) -> None:
    work(world)
    by_email(world, ANN)
    world.run_due(MORNING)
    world.wait(after)
    assert clicked(world, token_of(world, ANN)).status == status


def test_a_link_that_was_withdrawn_opens_nothing_and_the_others_do(world: World) -> None:
    work(world)
    export = by_email(world)
    world.run_due(MORNING)
    revoked = asked(world, "POST", f"{mail_path(world, export, ANN)}:revoke")
    assert [link["revoked"] for link in revoked["links"]] == [True]
    assert clicked(world, token_of(world, ANN)).status == 410
    assert clicked(world, token_of(world, BOB)).status == 302


def test_what_is_anothers_can_neither_be_seen_nor_withdrawn_nor_sent_again(world: World) -> None:
    work(world)
    export = by_email(world, ANN)
    world.run_due(MORNING)
    path = mail_path(world, export, ANN)
    their_key = world.stranger()
    their_export = asked(
        world,
        "POST",
        "/v1/exports",
        201,
        key=their_key,
        body={
            "name": "Theirs",
            "site_ids": [THEIR_SITE],
            "interval": "daily",
            "connector_type": "email",
            "connector_config": {"emails": ["stranger@their.example"]},
        },
    )["id"]
    run = only(world, export)["run_id"]
    for owner in (f"/v1/exports/{export}/runs/{run}", f"/v1/exports/{their_export}/runs/{run}"):
        mail = path.rpartition("/")[2]
        assert world.request("GET", f"{owner}/mails", key=their_key).status == 404
        for word in ("revoke", "resend"):
            assert world.request("POST", f"{owner}/mails/{mail}:{word}", key=their_key).status == 404
    world.drain()
    assert sent_to(world) == [ANN]
    assert clicked(world, token_of(world, ANN)).status == 302


def test_what_was_sent_opens_until_the_export_is_deleted(world: World) -> None:
    work(world)
    export = by_email(world, ANN)
    world.run_due(MORNING)
    assert downloaded(world, token_of(world, ANN)) == staged(world, export)["all"]
    assert world.request("DELETE", f"/v1/exports/{export}").status == 204
    assert clicked(world, token_of(world, ANN)).status == 410


def test_no_token_and_no_key_of_sendgrids_is_ever_logged(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    work(world)
    export = by_email(world)
    world.suite.traffic.arm(MAIL, Fault("error", status=503), times=2)
    world.tick(MORNING)
    world.settle(sweeps=True)
    downloaded(world, token_of(world, ANN))
    asked(world, "POST", f"{mail_path(world, export, ANN)}:revoke")
    logged = capsys.readouterr().out
    assert '"mail sent"' in logged
    secrets = [token_of(world, address).partition("_")[2] for address in (ANN, BOB)]
    for secret in (*secrets, world.cloud.settings.sendgrid_key, "X-Goog-Signature", "Bearer"):
        assert secret not in logged
