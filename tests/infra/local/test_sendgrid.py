"""SendGrid on the laptop, asked by SendGrid's own client: what it takes, refuses and leaves behind."""

import email
import http.client
import json
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import python_http_client.exceptions as refusals
import requests
from aiohttp import web
from sendgrid.helpers.mail.mail import Mail
from sendgrid.sendgrid import SendGridAPIClient

from infra.local import secrets
from infra.local.clock import SuiteClock
from infra.local.http_server import HttpServer
from infra.local.sendgrid import SendGridService
from infra.local.sendgrid.service import MAIL_BYTES
from infra.local.suite import Suite
from infra.local.traffic import Action, Fault, Traffic

START = datetime(2026, 11, 23, 2, tzinfo=UTC)
KEY = "SG.an-id.a-secret"

# SendGrid's library has no types.
CLIENT: Any = SendGridAPIClient
MAIL: Any = Mail


class Served:
    """The service alone, behind a server of its own."""

    def __init__(self, state: Path, key: str = KEY) -> None:
        self.traffic = Traffic()
        self.outbox = state / "outbox"
        self.service = SendGridService(
            clock=SuiteClock(frozen_at=START),
            traffic=self.traffic,
            key=key,
            outbox=self.outbox,
            file=state / "suppressions.json",
        )
        app = web.Application(client_max_size=0)
        app.add_routes(self.service.routes())
        self._server = HttpServer(app)
        self.url = f"http://127.0.0.1:{self._server.start()}/sendgrid"
        self.client = CLIENT(KEY, host=self.url)

    def send(self, request: Any) -> Any:
        return self.client.send(request)

    def refused(self, request: Any) -> tuple[int, list[dict[str, Any]]]:
        """The status and the errors with which a request is refused."""
        with pytest.raises(refusals.HTTPError) as refused:
            self.send(request)
        return refused.value.status_code, refused.value.to_dict["errors"]

    def letters(self) -> list[EmailMessage]:
        """What is in the outbox, as a mail program reads it."""
        return [
            email.message_from_bytes(file.read_bytes(), _class=EmailMessage, policy=default)
            for file in sorted(self.outbox.glob("*.eml"))
        ]

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.stop()


def mail(**changes: Any) -> dict[str, Any]:
    """A request that is accepted, but for the changes; None takes a field away."""
    request = {
        "from": {"email": "waybill@waybill.example", "name": "Waybill"},
        "personalizations": [{"to": [{"email": "ann@acme.example", "name": "Ann"}]}],
        "subject": "Your export",
        "content": [{"type": "text/plain", "value": "Hello"}, {"type": "text/html", "value": "<p>Hello</p>"}],
    }
    return {key: value for key, value in {**request, **changes}.items() if value is not None}


def to(*addresses: str) -> dict[str, Any]:
    return {"to": [{"email": address} for address in addresses]}


# What is accepted


def test_a_mail_ends_in_the_outbox_as_it_would_be_read(served: Served) -> None:
    asked = MAIL(
        from_email=("waybill@waybill.example", "Waybill"),
        to_emails=[("zoe@acme.example", "Zoë, of Acme")],
        subject="Ihr Export: 300 Aufträge ✓",
        plain_text_content="Grüße\nhttps://waybill.example/v1/downloads/abc",
        html_content="<p>Grüße</p>",
    )
    answer = served.send(asked)
    message_id = answer.headers["X-Message-Id"]
    assert (answer.status_code, answer.body, len(message_id)) == (202, b"", 22)
    names = sorted(file.name for file in served.outbox.iterdir())
    [stem] = {name.rpartition(".")[0] for name in names}
    assert names == [f"{stem}.eml", f"{stem}.json"]
    assert stem.startswith("20261123T020000.")
    assert stem.endswith(f"Z_{message_id}")
    assert json.loads((served.outbox / names[1]).read_bytes()) == asked.get()
    assert served.service.sent == [asked.get()]
    [letter] = served.letters()
    assert letter["From"] == "Waybill <waybill@waybill.example>"
    assert [(each.display_name, each.addr_spec) for each in letter["To"].addresses] == [
        ("Zoë, of Acme", "zoe@acme.example")
    ]
    assert letter["Subject"] == "Ihr Export: 300 Aufträge ✓"
    assert letter["Date"].datetime.replace(microsecond=0) == START
    assert letter.get_content_type() == "multipart/alternative"
    parts = [(part.get_content_type(), part.get_content().splitlines()) for part in letter.iter_parts()]
    assert parts == [
        ("text/plain", ["Grüße", "https://waybill.example/v1/downloads/abc"]),
        ("text/html", ["<p>Grüße</p>"]),
    ]
    assert (served.outbox / names[0]).stat().st_mode & 0o777 == 0o600, "a mail holds a link that is secret"


def test_a_personalization_is_a_message_of_its_own(served: Served) -> None:
    several = [
        {**to("ann@acme.example"), "subject": "For Ann", "headers": {"X-Order": "1"}},
        {
            **to("bob@acme.example"),
            "cc": [{"email": "cy@acme.example"}],
            "bcc": [{"email": "dee@acme.example"}],
        },
    ]
    served.send(mail(personalizations=several, headers={"x-order": "0", "List-Id": "<waybill>"}))
    ann, bob = served.letters()
    assert (ann["To"], ann["Subject"], ann["X-Order"]) == ("ann@acme.example", "For Ann", "1")
    assert (bob["To"], bob["Cc"], bob["Subject"], bob["X-Order"]) == (
        "bob@acme.example",
        "cy@acme.example",
        "Your export",
        "0",
    )
    assert [letter["List-Id"] for letter in (ann, bob)] == ["<waybill>"] * 2
    assert "bob@" not in str(ann)
    assert "dee@" not in str(bob), "nobody sees who is in bcc"
    assert len(served.service.sent) == 1


def test_what_was_sent_is_in_order_and_survives_a_restart(served: Served, tmp_path: Path) -> None:
    for number in range(3):
        served.send(mail(subject=f"No. {number}"))
    again = Served(tmp_path)
    again.stop()
    assert [each["subject"] for each in again.service.sent] == ["No. 0", "No. 1", "No. 2"]


@pytest.mark.parametrize(
    "accepted",
    [
        mail(content=[{"type": "text/html", "value": "<p>Hello</p>"}]),
        mail(subject=None, personalizations=[{**to("ann@acme.example"), "subject": "Hers"}]),
        mail(personalizations=[to("ann@acme.example"), to("ann@acme.example")]),
        mail(personalizations=[to(*(f"p{number}@acme.example" for number in range(1000)))]),
        mail(reply_to={"email": "help@waybill.example"}, custom_args={"mail": "1"}),
        mail(tracking_settings={"click_tracking": {"enable": False}}),
        # No end of a line in a mail, whatever Python makes of them.
        mail(subject="a\u2028b\x0bc", headers={"X-A": "a\u0085b"}),
        mail(content=[{"type": "text/plain", "value": "x" * 5000 + "\r\n.\r\nFrom me\n"}]),
    ],
    ids=lambda request: next(iter(request)) if isinstance(request, str) else None,
)
def test_accepts(served: Served, accepted: dict[str, Any]) -> None:
    assert served.send(accepted).status_code == 202
    assert len(served.letters()) == len(accepted["personalizations"])


# What is refused


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"from": None}, "from"),
        ({"from": {"name": "Waybill"}}, "from.email"),
        ({"from": {"email": "waybill"}}, "from.email"),
        ({"from": {"email": "grüße@waybill.example"}}, "from.email"),
        ({"from": {"email": "a@b.example", "name": "A\r\nBcc: x@y.example"}}, "from.name"),
        ({"reply_to": {"email": "help"}}, "reply_to.email"),
        ({"personalizations": None}, "personalizations"),
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [to("a@b.example"), to("a b@c.example")]}, "personalizations.1.to.0.email"),
        ({"personalizations": [to("a@b.example\nBcc: x@y.example")]}, "personalizations.0.to.0.email"),
        (
            {"personalizations": [{"to": [{"email": "a@b.example", "name": "A\nB"}]}]},
            "personalizations.0.to.0.name",
        ),
        ({"personalizations": [to("a@b.example", "A@b.example")]}, "personalizations.0"),
        (
            {"personalizations": [{**to("a@b.example"), "bcc": [{"email": "a@b.example"}]}]},
            "personalizations.0",
        ),
        (
            {"personalizations": [to(*(f"p{n}@a.example" for n in range(1001)))]},
            "personalizations",
        ),
        (
            {"personalizations": [to(*(f"p{m}.{n}@a.example" for n in range(501))) for m in range(2)]},
            "personalizations",
        ),
        ({"subject": None}, "subject"),
        ({"subject": ""}, "subject"),
        ({"subject": "Hello\nBcc: x@y.example"}, "subject"),
        ({"subject": "Hello\rthere"}, "subject"),
        (
            {"personalizations": [{**to("a@b.example"), "subject": "a\r\nb"}]},
            "personalizations.0.subject",
        ),
        ({"content": None}, "content"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        ({"content": [{"value": "Hello"}]}, "content.0.type"),
        ({"content": [{"type": "text/plain; charset=utf-8", "value": "Hello"}]}, "content.0.type"),
        (
            {"content": [{"type": "text/html", "value": "a"}, {"type": "text/plain", "value": "a"}]},
            "content",
        ),
        ({"headers": {"X-A": "1\r\nBcc: x@y.example"}}, "headers.X-A"),
        ({"headers": {"X-A": 1}}, "headers.X-A"),
        ({"headers": {"X-A\n": "1"}}, "headers"),
        ({"headers": {"Bcc": "x@y.example"}}, "headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        (
            {"personalizations": [{**to("a@b.example"), "headers": {"X-A": "1\n2"}}]},
            "personalizations.0.headers.X-A",
        ),
        ({"custom_args": {"mail": 1}}, "custom_args"),
        ({"custom_args": {"mail": "x" * 10_000}}, "custom_args"),
    ],
)
def test_refuses_what_is_wrong_and_names_its_field(
    served: Served, changes: dict[str, Any], field: str
) -> None:
    status, errors = served.refused(mail(**changes))
    assert status == 400
    assert field in [each["field"] for each in errors], errors
    assert all(each["message"] and each["help"].startswith("https://") for each in errors)
    assert list(served.outbox.iterdir()) == []


def test_tells_everything_that_is_wrong_at_once(served: Served) -> None:
    _, errors = served.refused({"from": {"email": "me"}, "content": []})
    assert [each["field"] for each in errors] == ["from.email", "personalizations", "subject", "content"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff{}", b'{"subject": "\\ud800"}', b"[" * 100_000]
)
def test_refuses_what_is_no_json_object(served: Served, body: bytes) -> None:
    answer = requests.post(
        f"{served.url}/v3/mail/send",
        data=body,
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        timeout=10,
    )
    assert (answer.status_code, answer.json()) == (
        400,
        {"errors": [{"message": "Bad Request", "field": None, "help": None}]},
    )


def test_refuses_another_content_type(served: Served) -> None:
    answer = requests.post(
        f"{served.url}/v3/mail/send", data=b"{}", headers={"Authorization": f"Bearer {KEY}"}, timeout=10
    )
    assert answer.status_code == 415


@pytest.mark.parametrize("authorization", [None, "", KEY, "Bearer", "Bearer ", f"Bearer {KEY}x", "Bearer é"])
def test_refuses_whoever_does_not_know_the_key(served: Served, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    for method, path in (
        ("POST", "mail/send"),
        ("GET", "suppression/bounces/ann@acme.example"),
        ("GET", "asm/suppressions/global/ann@acme.example"),
    ):
        answer = requests.request(method, f"{served.url}/v3/{path}", json=mail(), headers=headers, timeout=10)
        assert (answer.status_code, answer.json()) == (
            401,
            {
                "errors": [
                    {
                        "message": "The provided authorization grant is invalid, expired, or revoked",
                        "field": None,
                        "help": None,
                    }
                ]
            },
        )
    assert list(served.outbox.iterdir()) == []


def test_nobody_may_call_where_there_is_no_key(tmp_path: Path) -> None:
    served = Served(tmp_path, key="")
    served.client = CLIENT("x", host=served.url)
    served.client.client.request_headers["Authorization"] = "Bearer "
    assert served.refused(mail())[0] == 401
    served.stop()


@pytest.mark.slow
def test_takes_thirty_megabytes_and_no_more(served: Served) -> None:
    def of(size: int) -> dict[str, Any]:
        request = mail(content=[{"type": "text/plain", "value": ""}])
        request["content"][0]["value"] = "x" * (size - len(json.dumps(request)))
        return request

    status, errors = served.refused(of(MAIL_BYTES + 1))
    assert (status, errors[0]["field"]) == (413, None)
    assert list(served.outbox.iterdir()) == []
    served.service._outbox._write = lambda name, content: None  # type: ignore[method-assign]
    assert served.send(of(MAIL_BYTES)).status_code == 202


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"template_id": "d-1"}, "template_id"),
        ({"attachments": []}, "attachments"),
        ({"personalizations": [{**to("a@b.example"), "send_at": 1}]}, "personalizations.0.send_at"),
        ({"content": [{"type": "text/calendar", "value": "x"}]}, "content of type text/calendar"),
    ],
)
def test_a_field_that_is_not_built_is_told(served: Served, changes: dict[str, Any], named: str) -> None:
    status, [error] = served.refused(mail(**changes))
    assert status == 501
    assert error["message"].startswith(f"{named}: unimplemented")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v3/templates"),
        ("DELETE", "/v3/suppression/bounces/a@b.example"),
        ("GET", "/v3/mail/send"),
        ("HEAD", "/v3/suppression/bounces/a@b.example"),
        ("GET", "/"),
    ],
)
def test_anything_else_is_unimplemented(served: Served, method: str, path: str) -> None:
    answer = requests.request(method, f"{served.url}{path}", timeout=10)
    assert answer.status_code == 501
    if method != "HEAD":
        assert answer.json()["errors"][0]["message"].startswith(f"{method} /sendgrid{path}: unimplemented")


# Suppressed addresses


def bounces(served: Served, address: str) -> Any:
    return json.loads(served.client.client.suppression.bounces._(address).get().body)


def unsubscribes(served: Served, address: str) -> Any:
    return json.loads(served.client.client.asm.suppressions._("global")._(address).get().body)


def test_the_lists_tell_who_is_on_them_and_forgive(served: Served, tmp_path: Path) -> None:
    for address in ("ann@acme.example", "bob+x@acme.example"):
        assert (bounces(served, address), unsubscribes(served, address)) == ([], {})
    served.service.bounce("Ann@acme.example")
    served.service.unsubscribe("bob+x@acme.example")
    [entry] = bounces(served, "ann@Acme.example")
    assert (entry["email"], entry["created"], entry["status"]) == (
        "ann@acme.example",
        int(START.timestamp()),
        "5.1.1",
    )
    assert entry["reason"].startswith("550")
    assert unsubscribes(served, "bob%2Bx@acme.example") == {"recipient_email": "bob+x@acme.example"}
    assert unsubscribes(served, "ann@acme.example") == {}
    again = Served(tmp_path)
    assert bounces(again, "ann@acme.example") == [entry], "the lists survive a restart"
    again.service.forgive("ANN@acme.example")
    assert bounces(again, "ann@acme.example") == []
    again.stop()
    with pytest.raises(KeyError):
        served.service.suppress("ann@acme.example", "blocks")


def test_mail_to_a_suppressed_address_is_accepted_and_dropped(served: Served) -> None:
    served.service.bounce("ann@acme.example")
    people = [to("Ann@acme.example"), to("bob@acme.example"), to("ann@acme.example", "cy@acme.example")]
    assert served.send(mail(personalizations=people)).status_code == 202
    assert [letter["To"] for letter in served.letters()] == [
        "bob@acme.example",
        "ann@acme.example, cy@acme.example",
    ]
    assert len(served.service.sent) == 1


# Faults on demand


@pytest.mark.parametrize("status", [400, 401, 413, 429, 500, 503])
def test_an_error_on_demand_has_no_effect(served: Served, status: int) -> None:
    served.traffic.arm("sendgrid.mail.send", Fault("error", status=status))
    with pytest.raises(refusals.HTTPError) as refused:
        served.send(mail())
    assert refused.value.status_code == status
    assert set(refused.value.to_dict["errors"][0]) == {"message", "field", "help"}
    limits = [refused.value.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")]
    expected = ["600", "0", str(int(START.timestamp()) + 60)] if status == 429 else [None] * 3
    assert limits == expected
    assert list(served.outbox.iterdir()) == []
    assert served.send(mail()).status_code == 202


@pytest.mark.parametrize(("action", "accepted"), [("reset_before", 0), ("reset_after", 1)])
def test_a_connection_that_breaks(served: Served, action: Action, accepted: int) -> None:
    served.traffic.arm("sendgrid.mail.send", Fault(action), resource="bob@")
    served.send(mail())
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, ConnectionError)):
        served.send(mail(personalizations=[to("bob@acme.example")]))
    assert len(served.service.sent) == 1 + accepted


def test_a_mail_that_is_delayed_took_effect_before_its_answer(served: Served) -> None:
    served.traffic.arm("sendgrid.mail.send", Fault("delay", seconds=5))
    with pytest.raises(TimeoutError):
        served.client.client.mail.send.post(request_body=mail(), timeout=0.2)
    assert len(served.service.sent) == 1


@pytest.mark.parametrize(
    ("kind", "ask"), [("sendgrid.bounces.get", bounces), ("sendgrid.unsubscribes.get", unsubscribes)]
)
def test_faults_of_the_lists(served: Served, kind: str, ask: Any) -> None:
    served.traffic.arm(kind, Fault("error", status=429))
    with pytest.raises(refusals.TooManyRequestsError):
        ask(served, "ann@acme.example")
    served.traffic.arm(kind, Fault("truncate"))
    with pytest.raises(http.client.IncompleteRead):
        ask(served, "ann@acme.example")
    assert [call.resource for call in served.traffic.calls(kind)] == ["ann@acme.example"] * 2


# In the suite


def test_the_suite_has_it_with_the_key_of_its_secrets(tmp_path: Path) -> None:
    with Suite(state=tmp_path, clock=SuiteClock(frozen_at=START), run_functions=False) as suite:
        env = suite.env()
        assert env["WAYBILL_SENDGRID_URL"] == f"{suite.control_url}/sendgrid"
        client = CLIENT(env["WAYBILL_SENDGRID_KEY"], host=env["WAYBILL_SENDGRID_URL"])
        client.send(mail(**{"from": {"email": env["WAYBILL_MAIL_FROM"]}}))
        assert [each["subject"] for each in suite.sendgrid.sent] == ["Your export"]
        assert suite.outbox == tmp_path / "outbox"
        assert len(list(suite.outbox.glob("*.eml"))) == 1
        for method, on_it in (("PUT", True), ("DELETE", False)):
            answer = requests.request(
                method,
                f"{suite.control_url}/_suite/suppressions",
                json={"address": "ann@acme.example", "list": "unsubscribes"},
                timeout=10,
            )
            assert (answer.status_code, answer.json()) == (200, {})
            told = client.client.asm.suppressions._("global")._("ann@acme.example").get()
            assert bool(json.loads(told.body)) == on_it


def test_a_key_looks_as_sendgrids_own(tmp_path: Path) -> None:
    values = secrets.kept(tmp_path / "secrets.json", ["WAYBILL_SENDGRID_KEY", "OTHER_KEYS"])
    first, middle, last = values["WAYBILL_SENDGRID_KEY"].split(".")
    assert (first, len(middle), len(last)) == ("SG", 22, 43)
    assert values["OTHER_KEYS"].startswith("1:")
