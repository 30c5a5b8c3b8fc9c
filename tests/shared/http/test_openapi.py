"""The OpenAPI documents: valid, whole, and made only when they are asked for."""

import subprocess
import sys
from types import GenericAlias
from typing import Any, get_type_hints

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field

from shared.batches.api import ROUTES as BATCHES
from shared.datasets.api import ROUTES as DATASETS
from shared.datasets.login import ROUTES as LOGIN
from shared.exports import audit
from shared.exports.answers import Export, Run
from shared.exports.api import ROUTES as EXPORTS
from shared.exports.config import ExportConfig
from shared.http.forms import FileBytes
from shared.http.routes import PUBLIC, Body, Media, Route, Routes, template
from shared.jobs.api import ROUTES as JOBS
from tests.shared.http.toy import Yard, call, surface, toy

SURFACES = {"/v1": EXPORTS, "/v0.2": BATCHES, "/ls/api": JOBS, "/v2": DATASETS, "": LOGIN}

EVERY_ROUTE = [
    pytest.param(routes, route, id=str(route)) for routes in SURFACES.values() for route in routes.routes
]


def operation(routes: Routes, route: Route) -> dict[str, Any]:
    found: dict[str, Any] = routes.document["paths"][template(route.path)][route.method.lower()]
    return found


@pytest.fixture
def document() -> dict[str, Any]:
    return toy(Yard()).document


# --- the documents that are served


@pytest.mark.parametrize(("prefix", "routes"), SURFACES.items(), ids=SURFACES)
def test_the_document_is_served_to_anyone_and_is_valid(prefix: str, routes: Routes) -> None:
    answer = call(routes, "GET", f"{prefix}/openapi.json", key=None)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    served = answer.get_json()
    assert served["openapi"] == "3.1.0"
    assert [str(error) for error in OpenAPIV31SpecValidator(served).iter_errors()] == []


def test_a_document_that_is_not_valid_is_found() -> None:
    broken = {**EXPORTS.document, "paths": {"/v1/x": {"get": {"responses": {"200": {}}}}}}
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


@pytest.mark.parametrize("routes", SURFACES.values(), ids=SURFACES)
def test_every_route_is_in_the_document_and_nothing_else(routes: Routes) -> None:
    described = {
        f"{method.upper()} {path}" for path, methods in routes.document["paths"].items() for method in methods
    }
    assert described == {f"{route.method} {template(route.path)}" for route in routes.routes}


@pytest.mark.parametrize(("routes", "route"), EVERY_ROUTE)
def test_who_may_call_is_in_the_document(routes: Routes, route: Route) -> None:
    found = operation(routes, route)
    scopes = [] if route.scope == PUBLIC else [[route.scope]] * len(routes.surface.keys)
    assert [scope for way in found["security"] for scope in way.values()] == scopes
    assert ("401" in found["responses"]) == (route.scope != PUBLIC or 401 in route.refusals)


@pytest.mark.parametrize(("routes", "route"), EVERY_ROUTE)
def test_a_handler_returns_what_its_route_declares(routes: Routes, route: Route) -> None:
    returned = get_type_hints(route.handler)["return"]
    if isinstance(route.answer, Media):
        assert returned.__name__ == "Response"
    elif route.headers:
        assert returned == GenericAlias(tuple, (route.answer, dict[str, str]))
    else:
        assert returned == (type(None) if route.answer is None else route.answer)


def test_nothing_that_makes_the_document_is_loaded_at_start() -> None:
    loaded = (
        "import sys, functions.exports.main, functions.batches.main, functions.jobs.main\n"
        "import functions.datasets.main\n"
        "print('shared.http.openapi' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_an_export_is_answered_with_every_field_of_its_config() -> None:
    assert set(ExportConfig.model_fields) <= set(Export.__annotations__)


def test_a_run_is_answered_with_every_key_of_its_event() -> None:
    assert tuple(Run.__annotations__) == (*audit.KEYS, "waits_for", "waits_since")


# --- what a declaration becomes


def test_a_declaration_becomes_parameters(document: dict[str, Any]) -> None:
    boats, flag = document["paths"]["/toy/boats"], document["paths"]["/toy/flags/{flag}"]
    [colour] = boats["get"]["parameters"]
    assert colour == {
        "name": "colour",
        "in": "query",
        "required": False,
        "description": "Their colour.",
        "schema": {"type": "string", "enum": ["red", "green"]},
    }
    [key] = boats["post"]["parameters"]
    assert (key["name"], key["in"]) == ("Idempotency-Key", "header")
    [name] = flag["get"]["parameters"]
    assert name["schema"] == {"type": "string", "minLength": 2, "maxLength": 2}


def test_a_declaration_becomes_answers(document: dict[str, Any]) -> None:
    boats, boat = document["paths"]["/toy/boats"], document["paths"]["/toy/boats/{boat}"]
    flag = document["paths"]["/toy/flags/{flag}"]
    assert set(boats["post"]["responses"]) == {"201", "400", "401", "403", "408", "409", "429", "500", "503"}
    assert set(boats["get"]["responses"]) == {"200", "400", "401", "403", "429", "500", "503"}
    assert set(boat["delete"]["responses"]) == {"204", "401", "403", "404", "409", "429", "500", "503"}
    assert set(flag["get"]["responses"]) == {"200", "302", "404", "500", "503"}
    assert boats["post"]["responses"]["201"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Boat"}}
    }
    assert set(boats["post"]["responses"]["400"]["content"]) == {"application/problem+json"}
    assert "content" not in boat["delete"]["responses"]["204"]
    assert set(flag["get"]["responses"]["200"]["content"]) == {"image/png", "image/svg+xml"}


def test_a_field_is_described_by_the_text_below_it(document: dict[str, Any]) -> None:
    boat = document["components"]["schemas"]["Boat"]
    assert boat["properties"]["name"] == {"description": "Its name.", "type": "string"}


def test_a_body_becomes_its_model_and_a_merge_patch_needs_nothing(document: dict[str, Any]) -> None:
    def schema(path: str, method: str) -> Any:
        body = document["paths"][path][method]["requestBody"]
        return body["content"]["application/json"]["schema"]

    assert schema("/toy/boats", "post") == {"$ref": "#/components/schemas/NewBoat"}
    patch = schema("/toy/boats/{boat}", "patch")
    assert "required" not in patch
    assert patch["properties"]["name"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_what_a_patch_does_to_what_there_is_is_said() -> None:
    for routes, path, field in (
        (EXPORTS, "/v1/exports/{export}", "connector_config"),
        (BATCHES, "/v0.2/work-orders/{work_order}", "metadata"),
        (BATCHES, "/v0.2/work-orders/{work_order}", "parameters"),
    ):
        body = routes.document["paths"][path]["patch"]["requestBody"]
        schema = body["content"]["application/json"]["schema"]
        if "$ref" in schema:
            schema = routes.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert "RFC 7396" in schema["description"]
        said = schema["properties"][field]["description"]
        assert "Merged into what there is" in said
        assert "null removes" in said


def test_what_may_stand_before_the_prefix_is_a_server(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["/", "/harbours/{harbour}"]


class Cargo(BaseModel):
    """What is loaded."""

    name: str = Field(description="What it is called.")
    photograph: FileBytes = Field(default=b"", description="What it looks like.")


def test_a_form_has_the_content_types_that_it_is_read_from() -> None:
    def load(_: Any) -> None: ...

    def declared(given: Any) -> dict[str, Any]:
        route = Route(
            method="POST",
            path="/toy/cargo",
            handler=load,
            summary="Load",
            scope="boats",
            body=Body(Cargo, form=True, given=given),
            answer=None,
        )
        document = Routes(surface(), [route]).document
        assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
        found: dict[str, Any] = document["paths"]["/toy/cargo"]["post"]
        assert set(found["responses"]) == {"200", "400", "401", "403", "408", "413", "429", "500", "503"}
        assert document["components"]["schemas"]["Cargo"]["properties"]["photograph"] == {
            "contentMediaType": "application/octet-stream",
            "description": "What it looks like.",
            "default": "",
        }
        content: dict[str, Any] = found["requestBody"]["content"]
        return content

    schema = {"schema": {"$ref": "#/components/schemas/Cargo"}}
    assert declared("model") == {"application/x-www-form-urlencoded": schema, "multipart/form-data": schema}
    assert declared("parts") == {"multipart/form-data": schema}
