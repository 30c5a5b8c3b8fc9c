"""`GET /v1/downloads/<token>`: where a mail's link leads, for how long, and for whom."""

import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests

from infra.local.traffic import Fault
from shared.errors import Conflict, NotFound
from shared.gcp import signing
from shared.gcp.objects import Stored
from shared.outbox import api, links, mails, service
from tests.shared.outbox.post import RUN, Post, post, tokens
from tests.world import Answer, World

BROWSER = {"User-Agent": "Mozilla/5.0"}

ABOUT = (
    ("Export", "Nightly"),
    ("Customer", "Acme"),
    ("Site", "North"),
    ("Period", "21 November 2026, 00:00 to 22 November 2026, 00:00, Europe/Paris time"),
)
"""What each page says of the link's files."""


def stage(world: World, id: str, content: bytes = b'{"id": 1}\n', *, name: str = "") -> Stored:
    """A file of the run as its delivery leaves it."""
    bucket = world.cloud.settings.staging_bucket
    stored = world.cloud.objects.create(bucket, f"acme/{RUN}/{id}.jsonl", content, "application/x-ndjson")
    world.cloud.db.document(f"{RUN}/files/{id}").set(
        {
            "name": name or f"data/{id}.jsonl",
            "rows": content.count(b"\n"),
            "bytes": len(content),
            "staged": vars(stored),
        }
    )
    return stored


class Inbox:
    """The inbox of the recipient of one mail."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mail: Post = post(world)
        world.drain()
        assert not world.failures
        [self.token] = tokens(world.suite.sendgrid.sent[0])
        self.id = self.token.partition("_")[0]

    def click(
        self, method: str = "GET", token: str | None = None, *, query: str = "", agent: str = "Mozilla/5.0"
    ) -> Answer:
        path = f"/v1/downloads/{token or self.token}{query}"
        answer = self.world.request(method, path, headers={"User-Agent": agent})
        for name, value in api.HEADERS.items():
            assert answer.headers[name] == value
        return answer

    def link(self) -> links.Link:
        return links.of(self.world.cloud, [self.id])[self.id]


@pytest.fixture
def inbox(world: World) -> Inbox:
    stage(world, "all")
    return Inbox(world)


def page(answer: Answer, status: int) -> str:
    """What a page says."""
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8"), answer
    text = answer.body.decode()
    assert "http" not in re.sub("<meta[^>]*>", "", text), "a page leads nowhere else"
    title = re.search("<h1>(.*)</h1>", text)
    assert title is not None
    rest = text.partition("</h1>")[2].replace("<wbr>", "")
    return f"{title[1]}: {' '.join(re.sub('<[^>]*>', ' ', rest).split())}"


@pytest.mark.parametrize(
    "after", [timedelta(seconds=1), timedelta(days=6, hours=23), timedelta(days=7, seconds=-2)]
)
def test_within_seven_days_a_click_leads_to_the_file(inbox: Inbox, after: timedelta) -> None:
    inbox.world.wait(after)
    answer = inbox.click()
    assert (answer.status, answer.body) == (302, b"")
    got = requests.get(answer.headers["Location"], timeout=10)
    assert (got.status_code, got.content) == (200, b'{"id": 1}\n')
    assert 'filename="all.jsonl"' in got.headers["Content-Disposition"]
    [read] = inbox.world.suite.traffic.calls("storage.signed_urls")
    assert read.principal == inbox.world.acme.account, "as the customer's own account"
    link = inbox.link()
    assert (link.downloads, [(click.agent, click.file) for click in link.clicks]) == (
        1,
        [("Mozilla/5.0", "all")],
    )
    assert abs(link.clicks[0].at - inbox.world.suite.clock.now()) < timedelta(seconds=1)


@pytest.mark.parametrize("after", [timedelta(days=7, seconds=1), timedelta(days=8), timedelta(days=400)])
def test_after_seven_days_it_says_that_it_has_expired(inbox: Inbox, after: timedelta) -> None:
    inbox.world.wait(after)
    said = page(inbox.click(), 410)
    assert said.startswith("This link has expired: It was good for seven days.")
    assert "send it again" in said
    assert "The link worked until 29 November 2026, 10:17, Europe/Paris time" in said
    for name, value in ABOUT:
        assert f"{name} {value} " in said, said
    assert inbox.link().downloads == 0


def test_the_url_that_a_click_leads_to_is_signed_for_a_quarter_of_an_hour(inbox: Inbox) -> None:
    first, second = inbox.click().headers["Location"], inbox.click().headers["Location"]
    assert "X-Goog-Expires=900" in first
    assert re.search("generation=[0-9]+", first)
    assert len(inbox.world.suite.traffic.calls("iamcredentials.signBlob")) == 2, "afresh at each click"
    assert requests.get(second, timeout=10).status_code == 200


def test_a_link_that_was_withdrawn_says_so(inbox: Inbox) -> None:
    mail = inbox.mail.one()
    shown = service.revoke(inbox.world.cloud, RUN, mail.id)
    assert [link.revoked for link in shown.links] == [True]
    said = page(inbox.click(), 410)
    assert said.startswith("This link was withdrawn")
    assert "send it again" in said
    service.resend(inbox.world.cloud, RUN, mail.id)
    inbox.world.drain()
    [new] = tokens(inbox.world.suite.sendgrid.sent[1])
    assert inbox.click(token=new).status == 302
    assert inbox.click().status == 410, "the old one stays withdrawn"


def test_the_newest_link_of_a_mail_is_withdrawn_though_the_first_is_gone(inbox: Inbox) -> None:
    """Firestore removes a link's document three months after it expired."""
    mail = inbox.mail.one()
    inbox.world.cloud.db.document(links.path(inbox.id)).delete()
    service.resend(inbox.world.cloud, RUN, mail.id)
    inbox.world.drain()
    [new] = tokens(inbox.world.suite.sendgrid.sent[1])
    assert inbox.click(token=new).status == 302
    assert [link.revoked for link in service.revoke(inbox.world.cloud, RUN, mail.id).links] == [True]
    assert inbox.click(token=new).status == 410


GUESSES: dict[str, Callable[[str], str]] = {
    "a wrong secret": lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
    "a wrong id": lambda token: "0" * 32 + token[32:],
    "its id alone": lambda token: token[:32],
    "its id with nothing": lambda token: token[:33],
    "a longer secret": lambda token: token + "A",
    "another case": lambda token: token.swapcase(),
    "something else": lambda token: "hello",
    "the kept hash": lambda token: token[:33] + "0" * 64,
}


@pytest.mark.parametrize("guess", GUESSES)
def test_a_guess_finds_nothing_and_leaves_no_trace(inbox: Inbox, guess: str) -> None:
    said = page(inbox.click(token=GUESSES[guess](inbox.token)), 404)
    assert said.startswith("No such link: See that it is whole")
    assert inbox.link().clicks == ()


def test_a_guess_with_a_line_break_is_answered_by_the_server_and_leaves_no_trace(inbox: Inbox) -> None:
    # functions-framework passes no path on that holds one.
    answer = inbox.world.request("GET", f"/v1/downloads/{inbox.token}%0A", headers={"User-Agent": "Mozilla"})
    assert answer.status == 404
    assert inbox.link().clicks == ()


def test_what_an_expired_link_was_is_told_only_to_who_has_it(inbox: Inbox) -> None:
    inbox.world.wait(timedelta(days=8))
    assert inbox.click(token=GUESSES["a wrong secret"](inbox.token)).status == 404


def test_a_scanner_that_follows_it_takes_nothing(inbox: Inbox) -> None:
    for _ in range(5):
        head = inbox.click("HEAD", agent="Scanner/1.0")
        assert (head.status, head.body) == (200, b"")
        assert "Location" not in head.headers
    assert inbox.link().clicks == (), "HEAD is not written down"
    assert not inbox.world.suite.traffic.calls("iamcredentials.signBlob"), (
        "and gets nothing to read the file by"
    )
    for number in range(60):
        assert inbox.click(agent=f"Scanner/{number} " + "x" * 500).status == 302
    link = inbox.link()
    assert (link.downloads, len(link.clicks)) == (60, links.MAX_CLICKS)
    assert [click.agent.split()[0] for click in link.clicks] == [f"Scanner/{n}" for n in range(10, 60)]
    assert all(len(click.agent) == links.MAX_AGENT for click in link.clicks)
    inbox.world.wait(timedelta(days=6))
    assert inbox.click().status == 302


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_but_reading_is_answered(inbox: Inbox, method: str) -> None:
    answer = inbox.world.request(method, f"/v1/downloads/{inbox.token}", headers=BROWSER)
    assert answer.status == 405
    assert inbox.link().clicks == ()


def test_several_files_are_listed_and_each_can_be_had(world: World) -> None:
    stage(world, "b-0002", b"1\n2\n", name='data/b<b>"2".jsonl')
    stage(world, "a-0001", b"1\n" * 1_000, name="data/a.jsonl")
    inbox = Inbox(world)
    listing = inbox.click()
    assert listing.status == 200
    said = page(listing, 200)
    assert said.startswith("Your files are ready: Export Nightly")
    assert "Files 2 The link works until 29 November 2026, 10:17, Europe/Paris time" in said
    for name, value in ABOUT:
        assert f"{name} {value} " in said, said
    text = listing.body.decode()
    assert '<a href="?file=a-0001">data/<wbr>a.<wbr>jsonl</a>' in text
    assert "data/a.jsonl 1,000 2.0 kB" in said
    assert "data/<wbr>b&lt;b&gt;&#34;2&#34;.<wbr>jsonl" in text
    assert text.index("a-0001") < text.index("b-0002")
    for query, content in (("?file=a-0001", b"1\n" * 1_000), ("/?file=b-0002", b"1\n2\n")):
        answer = inbox.click(query=query)
        assert answer.status == 302
        assert requests.get(answer.headers["Location"], timeout=10).content == content
    for query in ("", "?file=a-0001"):
        head = inbox.click("HEAD", query=query)
        assert (head.status, "Location" in head.headers) == (200, False)
    assert inbox.click("HEAD", query="?file=c-0003").status == 404
    assert [click.file for click in inbox.link().clicks] == [None, "a-0001", "b-0002"]
    assert inbox.link().downloads == 2


@pytest.mark.parametrize("file", ["c-0003", "", ".", "..", "a%2Fb", "__x__", "x" * 2_000, "%F0%9F%98%80"])
def test_a_file_that_is_not_of_the_link(inbox: Inbox, file: str) -> None:
    said = page(inbox.click(query=f"?file={file}"), 404)
    assert said.startswith("No such file")
    assert inbox.link().downloads == 0


def test_a_page_names_no_more_than_it_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_FILES_LISTED", 3)
    for number in range(5):
        stage(world, f"all-{number:04}")
    said = page(Inbox(world).click(), 200)
    assert said.startswith("Your files are ready: There are 5 files. The first 3 are listed.")
    assert said.count(".jsonl") == 3


def test_a_file_that_staging_no_longer_keeps_is_said_to_be_gone(inbox: Inbox) -> None:
    storage = inbox.world.suite.storage
    bucket = inbox.world.cloud.settings.staging_bucket
    storage.put(bucket, f"acme/{RUN}/all.jsonl", b"another generation")
    said = page(inbox.click(), 404)
    assert said.startswith("No such file: This file is not there, or not any more.")
    inbox.world.cloud.db.document(f"{RUN}/files/all").delete()
    assert page(inbox.click(), 404) == said
    assert (inbox.link().downloads, len(inbox.link().clicks)) == (0, 2)


def test_what_is_busy_is_a_page_too(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "SIGN_SECONDS", 0.05)
    inbox.world.suite.traffic.arm("iamcredentials.signBlob", Fault("error", 503), times=100_000)
    assert page(inbox.click(), 503) == "Not possible now: Try again in a minute. Waybill"
    assert inbox.link().downloads == 0


def test_the_token_is_in_no_log_and_no_answer(
    inbox: Inbox, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [inbox.click(), inbox.click("HEAD")]
    inbox.world.suite.identity.forbid_impersonation(inbox.world.account, inbox.world.acme.account)
    failed = inbox.world.request("GET", f"/v1/downloads/{inbox.token}", headers=BROWSER)
    said = page(failed, 500)
    assert said == "Something failed on our side: Try again in a few minutes. Waybill"
    inbox.world.suite.identity.allow_impersonation(inbox.world.account, inbox.world.acme.account)
    service.revoke(inbox.world.cloud, RUN, inbox.mail.one().id)
    answers += [inbox.click(), failed]
    secret = inbox.token.partition("_")[2]
    signature = answers[0].headers["Location"].rpartition("=")[2]
    logged = caplog.text + "".join(capsys.readouterr())
    assert "a request failed" in logged
    assert inbox.id in logged
    assert secret not in logged
    assert signature not in logged
    assert not [each for each in answers if secret in str(each.body) + str(each.headers)]


def test_the_mails_of_a_run_are_shown_with_their_links(inbox: Inbox) -> None:
    world = inbox.world
    world.suite.sendgrid.bounce("bob@acme.example")
    post(world, ["bob@acme.example"])
    world.drain()
    inbox.click()
    shown = service.shown(world.cloud, list(service.newest(world.cloud, RUN).stream()))
    told = {each.mail.address: (each.mail.state, [link.downloads for link in each.links]) for each in shown}
    assert told == {"ann@acme.example": (mails.SENT, [1]), "bob@acme.example": (mails.SKIPPED, [])}


@pytest.mark.parametrize("use", [service.revoke, service.resend])
@pytest.mark.parametrize("id", ["0" * 32, "..", "x/y/z", "", "__x__"])
def test_a_mail_that_is_none_of_the_owners(inbox: Inbox, use: Any, id: str) -> None:
    with pytest.raises(NotFound):
        use(inbox.world.cloud, RUN, id)


def test_a_mail_that_was_sent_without_a_link_has_none_to_withdraw(world: World) -> None:
    mail = post(world, linked=False)
    world.drain()
    assert not tokens(world.suite.sendgrid.sent[0])
    with pytest.raises(Conflict, match="no link"):
        service.revoke(world.cloud, RUN, mail.one().id)


def test_another_customers_link_is_not_withdrawn(inbox: Inbox) -> None:
    for customer, id in (("globex", inbox.id), ("acme", "0" * 32)):
        with pytest.raises(NotFound):
            links.revoke(inbox.world.cloud, customer, id, RUN)
    assert inbox.click().status == 302
