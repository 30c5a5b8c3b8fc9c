"""The API called in this process, as the console calls it: what a request meets is met here, too."""

import pytest
from werkzeug.exceptions import NotFound as NoSuchRoute

from shared.accounts.keys import Caller, get_key
from shared.errors import Conflict, Forbidden, Invalid, NotFound
from shared.exports.api import ROUTES
from shared.http.routes import Asked
from tests.world import BUCKET, SITE, World

CONFIG = {
    "name": "Nightly",
    "site_ids": [SITE],
    "interval": "daily",
    "connector_type": "cloud_storage",
    "connector_config": {"storage_uri": f"gs://{BUCKET}/waybill", "export_images": True},
}


def caller(world: World, *scopes: str) -> Caller:
    return Caller(world.acme.id, world.key.split("_")[1], frozenset(scopes))


def perform(world: World, asked: Asked, *scopes: str) -> object:
    return ROUTES.perform(world.cloud, caller(world, *(scopes or ("exports",))), asked, "0" * 32)


def test_it_answers_what_the_api_answers(world: World) -> None:
    export = world.export()
    path = f"/v1/exports/{export}"
    assert perform(world, Asked("GET", path)) == world.request("GET", path).body


def test_it_needs_the_scope_of_the_route(world: World) -> None:
    with pytest.raises(Forbidden, match="lacks the scope 'exports'"):
        perform(world, Asked("GET", "/v1/exports"), "batches")


def test_it_reaches_nothing_of_another_customer(world: World) -> None:
    world.onboard("globex", "globex")
    export = world.export()
    other = Caller("globex", "0" * 16, frozenset(["exports"]))
    with pytest.raises(NotFound, match=f"there is no export {export}"):
        ROUTES.perform(world.cloud, other, Asked("GET", f"/v1/exports/{export}"), "0" * 32)


def test_it_refuses_query_parameters_that_there_are_not(world: World) -> None:
    with pytest.raises(Invalid, match="colour"):
        perform(world, Asked("GET", "/v1/exports", {"colour": "red"}))


def test_a_route_that_there_is_not_is_not_found(world: World) -> None:
    with pytest.raises(NoSuchRoute):
        perform(world, Asked("GET", "/v1/boats"))


def test_a_public_route_is_not_performed(world: World) -> None:
    with pytest.raises(ValueError, match="not known"):
        perform(world, Asked("GET", "/v1/openapi.json"))


def test_what_is_asked_twice_with_one_key_is_done_once(world: World) -> None:
    first = perform(world, Asked("POST", "/v1/exports", body=CONFIG, once="a1"))
    assert perform(world, Asked("POST", "/v1/exports", body=CONFIG, once="a1")) == first
    with pytest.raises(Conflict, match="used for another request"):
        perform(world, Asked("POST", "/v1/exports", body={**CONFIG, "name": "Other"}, once="a1"))


def test_what_it_changes_is_in_the_audit_trail(world: World) -> None:
    export = world.export()
    perform(world, Asked("POST", f"/v1/exports/{export}:pause"))
    entries = world.request("GET", f"/v1/audit?thing=exports/{export}").body["entries"]
    key = get_key(world.cloud.db, world.key.split("_")[1])
    assert (key.id, "POST /v1/exports/{export}:pause", "0" * 32) in [
        (each["key"], each["action"], each["request_id"]) for each in entries
    ]
