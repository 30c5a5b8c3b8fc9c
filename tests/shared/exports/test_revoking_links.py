"""Links of an export, or of a recipient, that is gone are gone; and all of them when somebody says so."""

from datetime import UTC, datetime, timedelta

import pytest

from infra.local.traffic import Fault
from shared.gcp.documents import fields_of
from shared.outbox import withdrawing
from tests.subjects.by_email import ANN, BOB, CYD, by_email, by_status, clicked, only, sent_to, token_of, work
from tests.world import World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)


@pytest.fixture
def mailed(world: World) -> str:
    """An export whose links were mailed to Ann and Bob."""
    work(world)
    export = by_email(world)
    world.run_due(MORNING)
    assert [opens(world, each) for each in (ANN, BOB)] == [302, 302]
    return export


def opens(world: World, address: str, number: int = -1) -> int:
    return clicked(world, token_of(world, address, number)).status


def revoke(world: World, export: str, **body: str) -> int:
    return world.request("POST", f"/v1/exports/{export}:revoke-links", body).status


def to(world: World, export: str, *addresses: str) -> None:
    """Mail the export to these from now on."""
    answer = world.request(
        "PATCH", f"/v1/exports/{export}", {"connector_config": {"emails": list(addresses)}}
    )
    assert answer.status == 200, answer


def next_day(world: World, days: int = 1) -> None:
    world.work_order(f"NEXT_{days}", photographs=0)
    world.run_due(MORNING + timedelta(days=days))


def revoked(world: World, export: str) -> dict[str, bool]:
    """What the customer is shown of each mail's link, of the oldest run."""
    run = world.audit(export)[-1]["run_id"]
    listed = world.request("GET", f"/v1/exports/{export}/runs/{run}/mails").body["mails"]
    return {each["address"]: link["revoked"] for each in listed for link in each["links"]}


def test_all_links_of_an_export_are_withdrawn_and_its_next_ones_work(world: World, mailed: str) -> None:
    assert revoke(world, mailed) == 200
    assert [opens(world, each) for each in (ANN, BOB)] == [410, 410]
    assert revoked(world, mailed) == {ANN: True, BOB: True}
    next_day(world)
    assert [opens(world, each) for each in (ANN, BOB)] == [302, 302]
    assert [opens(world, each, 0) for each in (ANN, BOB)] == [410, 410]


def test_the_links_of_one_recipient_are_withdrawn_and_no_others(world: World, mailed: str) -> None:
    assert revoke(world, mailed, recipient=ANN.upper()) == 200
    assert [opens(world, each) for each in (ANN, BOB)] == [410, 302]
    assert revoked(world, mailed) == {ANN: True, BOB: False}
    next_day(world)
    assert [opens(world, each) for each in (ANN, BOB)] == [302, 302]
    assert [opens(world, each, 0) for each in (ANN, BOB)] == [410, 302]


def test_the_links_of_a_deleted_export_are_gone(world: World, mailed: str) -> None:
    assert world.request("DELETE", f"/v1/exports/{mailed}").status == 204
    assert [opens(world, each) for each in (ANN, BOB)] == [410, 410]
    assert revoked(world, mailed) == {ANN: True, BOB: True}
    assert revoke(world, mailed) == 200, "to ask for what is so already does no harm"


@pytest.mark.slow
def test_the_links_of_a_recipient_who_is_removed_are_gone_and_stay_so(world: World, mailed: str) -> None:
    to(world, mailed, BOB, CYD)
    assert [opens(world, each) for each in (ANN, BOB)] == [410, 302]
    next_day(world)
    assert [opens(world, each) for each in (BOB, CYD)] == [302, 302]
    to(world, mailed, ANN, BOB)
    assert [opens(world, each) for each in (ANN, BOB, CYD)] == [410, 302, 410]
    next_day(world, 2)
    assert opens(world, ANN) == 302
    assert opens(world, BOB, 0) == 302
    assert opens(world, ANN, 0) == 410


@pytest.mark.parametrize("how", ["revoked", "removed and named again"])
def test_a_later_change_of_recipients_gives_no_link_back(world: World, mailed: str, how: str) -> None:
    if how == "revoked":
        assert revoke(world, mailed, recipient=ANN) == 200
    else:
        to(world, mailed, BOB)
        to(world, mailed, ANN, BOB)
    assert [opens(world, each) for each in (ANN, BOB)] == [410, 302]
    to(world, mailed, ANN, BOB, CYD)
    assert [opens(world, each) for each in (ANN, BOB)] == [410, 302]


def test_an_export_that_is_mailed_no_more_has_no_links(world: World, mailed: str) -> None:
    place = {"connector_type": "cloud_storage", "connector_config": {"storage_uri": "gs://acme-bi/x"}}
    assert world.request("PATCH", f"/v1/exports/{mailed}", place).status == 200
    assert [opens(world, each) for each in (ANN, BOB)] == [410, 410]


def test_an_edit_of_something_else_leaves_the_links(world: World, mailed: str) -> None:
    assert world.request("PATCH", f"/v1/exports/{mailed}", {"name": "Weekly"}).status == 200
    to(world, mailed, BOB.upper(), ANN)
    assert [opens(world, each) for each in (ANN, BOB)] == [302, 302]
    assert withdrawing.FIELD not in fields_of(world.cloud.db.document(f"exports/{mailed}").get())


@pytest.mark.parametrize("also_revoked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_mail_to_a_recipient_who_was_removed_is_not_sent(world: World, also_revoked: bool) -> None:
    work(world)
    export = by_email(world)
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=503), times=2)
    world.run_due(MORNING)
    assert sent_to(world) == []
    to(world, export, BOB)
    if also_revoked:
        assert revoke(world, export, recipient=ANN) == 200
    world.settle(sweeps=True)
    assert by_status(only(world, export)) == {ANN: "SKIPPED"}
    assert [each for each in sent_to(world) if each == ANN] == []
    assert opens(world, BOB) == 302


def test_another_customers_export_has_no_links_to_withdraw(world: World, mailed: str) -> None:
    stranger = world.stranger()
    answer = world.request("POST", f"/v1/exports/{mailed}:revoke-links", {}, key=stranger)
    assert answer.status == 404
    assert opens(world, ANN) == 302


@pytest.mark.parametrize("recipient", ["", "nobody", "a b@acme.example"])
def test_what_is_no_address_is_refused(world: World, mailed: str, recipient: str) -> None:
    assert revoke(world, mailed, recipient=recipient) == 400


def test_one_write_withdraws_however_many_links(world: World, mailed: str) -> None:
    before = {each.id: each.update_time for each in world.cloud.db.collection("downloads").stream()}
    assert revoke(world, mailed) == 200
    after = {each.id: each.update_time for each in world.cloud.db.collection("downloads").stream()}
    assert after == before


def test_what_is_kept_of_recipients_grows_with_them_and_not_with_edits(world: World) -> None:
    export = by_email(world, ANN)
    for number in range(5):
        to(world, export, *(f"r{number}-{each}@acme.example" for each in range(3)))
    fields = fields_of(world.cloud.db.document(f"exports/{export}").get())
    assert len(fields[withdrawing.FIELD]["recipients"]) == 3
