"""Which addresses can be mailed, and which are one mailbox; at every door."""

from typing import Any

import pytest

from infra.__main__ import main
from shared.accounts.customers import add_customer, get_customer
from shared.addresses import checked, once
from shared.errors import Invalid
from shared.settings import Settings
from tests.subjects.small_job import Jobs
from tests.world import SITE, World

WRONG = [
    "me@x",
    "mailto:a@b.c",
    "a..b@c.de",
    "\u200bann@acme.example",
    "müller@acme.example",
    "ann",
    "ann@",
    "@acme.example",
    "ann@acme..example",
    "ann@-acme.example",
    "ann@ac_me.example",
    "ann.@acme.example",
    ".ann@acme.example",
    "ann@acme.example.",
    "ann@10.0.0.1",
    "ann@[10.0.0.1]",
    "ann@localhost",
    "ann@printer.local",
    '"ann b"@acme.example',
    "Ann <ann@acme.example>",
    "ann@acme.example,bob@acme.example",
    "ann@acme.example\r\nBcc: eve@evil.example",
    " ann@acme.example",
    "ann@acme.example\u00a0",
    "ann@ac\u00adme.example",
    "ａnn@acme.example",
    f"{'x' * 65}@acme.example",
    f"ann@{'x' * 64}.example",
    f"ann@{'x.' * 130}example",
]
RIGHT = {
    "ann@acme.example": "ann@acme.example",
    "Ann.O'Neil+x@ACME.example": "Ann.O'Neil+x@ACME.example",
    "ann@bücher.example": "ann@xn--bcher-kva.example",
    "ann@xn--bcher-kva.example": "ann@xn--bcher-kva.example",
    f"{'x' * 64}@acme.example": f"{'x' * 64}@acme.example",
}

wrong = pytest.mark.parametrize("address", WRONG)


@wrong
def test_what_can_never_be_mailed_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address that can be mailed: .+\.") as refused:
        checked(address)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("address", RIGHT)
def test_what_can_be_mailed_is_kept(address: str) -> None:
    assert checked(address) == RIGHT[address]


def test_an_address_that_comes_twice_is_kept_once_and_two_letters_are_two() -> None:
    given = ["Zoe@acme.example", "ann@acme.example", "zoe@ACME.example", "strasse@x.de", "straße@x.de"]
    assert once(given) == ("Zoe@acme.example", "ann@acme.example", "strasse@x.de", "straße@x.de")


# --- the doors


@wrong
def test_no_export_is_made_or_changed_with_it(world: World, address: str) -> None:
    by_mail = {"connector_type": "email", "connector_config": {"emails": ["a@b.de", address]}}
    body: dict[str, Any] = {"name": "x", "site_ids": [SITE], "interval": "daily", **by_mail}
    named(world.request("POST", "/v1/exports", body), "connector_config.emails[1]")
    export = world.export(connector_type="email", connector_config={"emails": ["a@b.de"]})
    path = f"/v1/exports/{export}"
    named(
        world.request("PATCH", path, {"connector_config": by_mail["connector_config"]}),
        "connector_config.emails[1]",
    )
    named(world.request("PATCH", path, {"notify": [address]}), "notify[0]")


@wrong
def test_no_batch_reports_to_it(world: World, address: str) -> None:
    body = {"site_id": SITE, "notify": [address]}
    named(world.request("POST", "/v0.2/batches", body), "notify[0]")


@wrong
def test_no_customer_has_it(world: World, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Invalid) as refused:
        add_customer(world.cloud.db, id="acme", slug="acme", name="Acme", notify=["a@b.de", address])
    assert [each.field for each in refused.value.problems] == ["notify[1]"]
    command = ["add-customer", "acme", "--slug", "acme", "--name", "Acme", "--notify", "a@b.de", address]
    assert main(command) == 1
    assert "is not an address that can be mailed" in capsys.readouterr().err
    assert get_customer(world.cloud.db, "acme").notify == ()


@wrong
def test_no_mail_comes_from_it(address: str) -> None:
    if address == address.strip():
        with pytest.raises(ValueError, match=r"WAYBILL_MAIL_FROM: .* is not an address that can be mailed"):
            Settings.from_env(
                {
                    "GOOGLE_CLOUD_PROJECT": "p",
                    "WAYBILL_MAIL_FROM": address,
                    "WAYBILL_SENDGRID_KEY": "SG.a.b",
                }
            )


def named(answer: Any, field: str) -> None:
    assert answer.status in (400, 422), answer
    told = [each for each in answer.body["errors"] if each["field"] == field]
    assert told, answer.body
    assert "is not an address that can be mailed" in told[0]["message"]


@wrong
def test_no_job_reports_to_it(world: World, address: str) -> None:
    data = {"jobName": "x", "itemType": "T", "contentType": "text/plain", "filters": "0"}
    shown = Jobs(world).post("export", data={**data, "notificationEmail": address})
    if address.strip() in RIGHT:  # a form's field is read without spaces around it
        assert shown["status"] == "Accepted", shown
    else:
        assert shown["status"] == "Rejected", shown
        assert "notificationEmail: " in shown["reason"], shown
