"""`If-Match`: an edit changes the version that its caller has seen, or nothing. An edit that is sent again is
done once."""

from typing import Any

import pytest

from shared.accounts.keys import identify
from shared.errors import Outdated
from shared.exports.api import ROUTES
from shared.http.routes import Asked
from tests.world import Answer, World


def edit(world: World, export: str, sent: dict[str, Any], **headers: str) -> Answer:
    """Headers are named with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    whole = {"Authorization": f"Token {world.key}", **named}
    return world.request("PATCH", f"/v1/exports/{export}", sent, headers=whole)


def test_an_export_carries_the_version_of_its_config_as_its_etag(world: World) -> None:
    export = world.export()
    assert world.request("GET", f"/v1/exports/{export}").headers["ETag"] == '"1"'
    assert edit(world, export, {"name": "New"}).headers["ETag"] == '"2"'
    assert edit(world, export, {"name": "New"}).headers["ETag"] == '"2"'


@pytest.mark.parametrize("sent", ['"1"', '"7", "1"', "*"])
def test_an_edit_of_the_version_that_was_seen_is_done(world: World, sent: str) -> None:
    export = world.export()
    answer = edit(world, export, {"name": "New"}, If_Match=sent)
    assert (answer.status, answer.body["version"], answer.body["name"]) == (200, 2, "New")


@pytest.mark.parametrize("sent", ['"1"', 'W/"2"', '""', "", "one"])
def test_an_edit_of_another_version_changes_nothing_and_says_so(world: World, sent: str) -> None:
    export = world.export()
    assert edit(world, export, {"at": "04:00"}).status == 200
    answer = edit(world, export, {"name": "New"}, If_Match=sent)
    assert (answer.status, answer.body["title"]) == (412, "Changed meanwhile")
    assert "is at version 2 now" in answer.body["detail"]
    shown = world.request("GET", f"/v1/exports/{export}").body
    assert (shown["version"], shown["name"], shown["at"]) == (2, "Nightly", "04:00")


def test_an_edit_meets_another_that_came_between_its_check_and_its_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.exports import service

    export, checked = world.export(), service._check_place

    def between(*given: Any) -> None:
        checked(*given)
        monkeypatch.setattr(service, "_check_place", checked)
        assert edit(world, export, {"at": "04:00"}).status == 200

    monkeypatch.setattr(service, "_check_place", between)
    assert edit(world, export, {"name": "New"}, If_Match='"1"').status == 412
    assert world.request("GET", f"/v1/exports/{export}").body["name"] == "Nightly"


def test_an_edit_that_is_sent_again_with_its_key_is_done_once(world: World) -> None:
    export = world.export()
    sent = {"If_Match": '"1"', "Idempotency_Key": "save"}
    first, second = (edit(world, export, {"name": "New"}, **sent) for _ in range(2))
    assert (first.status, second.status, second.body["version"]) == (200, 200, 2)
    other = edit(world, export, {"name": "Newer"}, **sent)
    assert (other.status, other.body["existing_id"]) == (409, export)
    assert edit(world, export, {"name": "Newer"}, Idempotency_Key="again").body["version"] == 3
    assert len(world.request("GET", f"/v1/exports/{export}/history").body["history"]) == 3


def test_a_caller_in_this_process_names_the_version_too(world: World) -> None:
    export, caller = world.export(), identify(world.cloud.db, world.key)[0]

    def ask(version: str) -> Any:
        asked = Asked("PATCH", f"/v1/exports/{export}", body={"name": "New"}, if_match=version)
        return ROUTES.perform(world.cloud, caller, asked, "0" * 32)

    with pytest.raises(Outdated, match="is at version 1 now"):
        ask('"2"')
    assert ask('"1"')["version"] == 2
