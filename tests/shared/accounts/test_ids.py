"""What customers, sites and slugs may be called is checked where they are made; what is stored goes on."""

import argparse

import pytest

from infra.commands import add_customer as command
from shared import ids
from shared.accounts.customers import account_of, add_customer, add_site, get_customer, get_site
from shared.errors import Invalid
from shared.gcp.clients import impersonate
from tests.world import World

WRONG_IDS = (
    "",
    "acme\n",
    "ac\nme",
    "acme\r",
    "ac#me",
    "ac?me",
    "ac/me",
    "..",
    "__acme__",
    "ac me",
    "acme\0",
    "ac\x7fme",
    "acme\u2028",
    "ac\N{CYRILLIC SMALL LETTER IE}me",
    "\N{FULLWIDTH DIGIT ONE}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "-acme",
    "a" * 129,
)

NO_DOCUMENT = ("", "ac/me", "..", "__acme__", "acme\0")
"""Those that Firestore itself refuses."""


@pytest.mark.parametrize("id", WRONG_IDS)
def test_a_new_customer_or_site_is_not_called_so(world: World, id: str) -> None:
    before = len(list(world.cloud.db.collection("customers").stream()))
    if id not in NO_DOCUMENT:
        with pytest.raises(Invalid, match="id: must be 1 to 128 ASCII letters, digits"):
            add_customer(world.cloud.db, id=id, slug="new", name="New")
        with pytest.raises(Invalid, match="id: must be 1 to 128 ASCII letters, digits"):
            add_site(world.cloud.db, id=id, customer="acme", name="New")
    assert not ids.NAMED.fullmatch(id)
    assert len(list(world.cloud.db.collection("customers").stream())) == before


@pytest.mark.parametrize("id", ["", "ac/me", "..", "__acme__"])
def test_a_command_takes_no_id_that_names_no_document(id: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.arguments(parser)
    with pytest.raises(argparse.ArgumentError, match="cannot be an id"):
        parser.parse_args([id, "--slug", "new", "--name", "New"])


@pytest.mark.parametrize(
    "slug", ["", "a\n", "acme\n", "-a", "a-", "A", "a_b", "a#", "a?", "é", "\u0430", "1234567890"]
)
def test_no_account_has_such_a_slug(slug: str) -> None:
    with pytest.raises(Invalid, match="slug: must be 1 to 9 small letters, digits and inner hyphens"):
        account_of(slug, "a-project")


@pytest.mark.parametrize("project", ["a-project\n", "a/project", "a?b", "a#b", ""])
def test_no_account_is_of_such_a_project(project: str) -> None:
    with pytest.raises(Invalid, match="project: cannot be a part of an account's email"):
        account_of("acme", project)


@pytest.mark.parametrize("end", ["\n", "?", "#", "/x", ""])
def test_nobody_is_impersonated_whose_email_would_change_the_url(world: World, end: str) -> None:
    account = f"{world.acme.account}{end}"
    own = world.cloud.objects.credentials
    if end:
        with pytest.raises(ValueError, match="is no account's email"):
            impersonate(own, account, world.cloud.settings)
    else:
        assert impersonate(own, account, world.cloud.settings) is not own


def test_what_was_stored_before_there_was_a_rule_is_read_and_changed(world: World) -> None:
    db = world.cloud.db
    fields = {"slug": "old", "name": "Old", "account": account_of("old", db.project), "notify": []}
    db.document("customers/old customer").set(fields)
    assert get_customer(db, "old customer").name == "Old"
    assert add_customer(db, id="old customer", slug="old", name="New").name == "New"
    db.document("sites/old.site").set({"customer": "old customer", "name": "Old"})
    assert add_site(db, id="old.site", customer="old customer", name="New").name == "New"
    assert db.document("sites/old.site").get().get("name") == "New"
    with pytest.raises(Exception, match="no site"):
        get_site(db, "old?site", "old customer")
