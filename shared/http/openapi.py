"""The OpenAPI 3.1 document of a surface, made of its routes. https://spec.openapis.org/oas/v3.1.1"""

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from shared.http import matching
from shared.http.forms import MULTIPART, URLENCODED
from shared.http.idempotency import HEADER, MAX_KEY
from shared.http.routes import PARAMETER, PUBLIC, Body, Media, Route, Surface, is_strict, template

_REFERENCE = "#/components/schemas/"

_LENGTH = re.compile(r"string\((?:length=([0-9]+)|minlength=([0-9]+),maxlength=([0-9]+))\)")


class Untitled(GenerateJsonSchema):
    """Without a title for each field: it would only say the field's name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


def document(surface: Surface, routes: Sequence[Route]) -> dict[str, Any]:
    """The document as a JSON value."""
    schemas = _Schemas(surface, routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(surface, route, schemas)
        paths.setdefault(template(route.path), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": surface.title,
            "description": surface.description,
            "version": surface.version,
        },
        "servers": [_server(base) for base in surface.bases],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": surface.keys},
    }


class _Schemas:
    """The schemas of all models, each once, so that two of one name are told apart."""

    def __init__(self, surface: Surface, routes: Sequence[Route]) -> None:
        answers = [surface.errors.model]
        for route in routes:
            answers += [each for each in (route.answer, *route.answers.values()) if _is_json(each)]
        bodies = [route.body.model for route in routes if route.body is not None]
        wanted: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = [
            *((each, "serialization", TypeAdapter(each)) for each in answers),
            *((each, "validation", TypeAdapter(each)) for each in bodies),
        ]
        self._found, rest = TypeAdapter.json_schemas(
            wanted, ref_template=f"{_REFERENCE}{{model}}", schema_generator=Untitled
        )
        self.components: dict[str, Any] = rest.get("$defs", {})

    def answer(self, model: Any) -> dict[str, Any]:
        """The schema of an answer."""
        return self._found[(model, "serialization")]

    def body(self, body: Body) -> dict[str, Any]:
        """The schema of a body."""
        schema = self._found[(body.model, "validation")]
        return self._patch(schema) if body.given == "merge_patch" else schema

    def _patch(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema of a merge patch: no field is required, null is allowed, and of an object within some
        fields are enough. https://www.rfc-editor.org/rfc/rfc7396"""
        whole = self.components[schema["$ref"].removeprefix(_REFERENCE)]
        fields = {name: self._patched(field) for name, field in whole["properties"].items()}
        description = "A JSON merge patch (RFC 7396): null puts a field back to its default."
        return {"type": "object", "description": description, "properties": fields}

    def _patched(self, field: dict[str, Any]) -> dict[str, Any]:
        options = field.get("anyOf", [field])
        if any("$ref" in option or option.get("type") == "object" for option in options):
            description = "Merged into what there is: null removes a field, and what is not named stays."
            return {"type": ["object", "null"], "additionalProperties": True, "description": description}
        plain = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
        if "anyOf" not in field:
            return {"anyOf": [plain, {"type": "null"}]}
        return {**plain, "anyOf": options if {"type": "null"} in options else [*options, {"type": "null"}]}


def _operation(surface: Surface, route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__.strip("_"),
        "summary": route.summary,
        "parameters": list(_parameters(surface, route)),
        "responses": {str(status): answer for status, answer in sorted(_responses(surface, route, schemas))},
        "security": [] if route.scope == PUBLIC else [{name: [route.scope]} for name in surface.keys],
    }
    if route.body is not None:
        schema = schemas.body(route.body)
        operation["requestBody"] = {"content": {each: {"schema": schema} for each in _types(route.body)}}
    return operation


def _types(body: Body) -> tuple[str, ...]:
    """The content types that a body may have."""
    if not body.form:
        return ("application/json",)
    return (MULTIPART,) if body.given == "parts" else (URLENCODED, MULTIPART)


def _parameters(surface: Surface, route: Route) -> Iterator[dict[str, Any]]:
    for converter, name in PARAMETER.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": _path_schema(converter)}
    for model in (route.query, surface.query if route.scope != PUBLIC else None):
        if model is not None:
            yield from _query(model)
    if route.repeatable:
        yield {
            "name": HEADER,
            "in": "header",
            "description": "A request that is sent again with the same key is done once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        }
    if route.conditional:
        yield {
            "name": matching.HEADER,
            "in": "header",
            "description": "The `ETag` of the version that is to be changed: 412 where it is another by now.",
            "schema": {"type": "string"},
        }


def _path_schema(converter: str) -> dict[str, Any]:
    if converter == "uuid":
        return {"type": "string", "format": "uuid"}
    if length := _LENGTH.fullmatch(converter):
        least, most = length[1] or length[2], length[1] or length[3]
        return {"type": "string", "minLength": int(least), "maxLength": int(most)}
    return {"type": "string"}


def _query(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    schema = model.model_json_schema(schema_generator=Untitled)
    for name, field in schema["properties"].items():
        described = {"description": field.pop("description")} if "description" in field else {}
        yield {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            **described,
            "schema": _given(field),
        }


def _given(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter where it is given: it is left out, and never null."""
    options = [each for each in field.get("anyOf", ()) if each != {"type": "null"}]
    if field.get("default", ...) is None and len(options) == 1:
        return dict(options[0])
    return field


def _responses(surface: Surface, route: Route, schemas: _Schemas) -> Iterator[tuple[int, dict[str, Any]]]:
    answers = {route.status: route.answer, **route.answers}
    headers = {name: _header(description) for name, description in route.headers.items()}
    for status, answer in answers.items():
        described = _answer(status, answer, schemas)
        yield status, {**described, "headers": headers} if status == route.status and headers else described
    error = {"schema": schemas.answer(surface.errors.model)}
    for status in _refusals(surface, route) - answers.keys():
        content = {surface.errors.content_type: error}
        yield status, {"description": HTTPStatus(status).phrase, "content": content}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string"}}


def _answer(status: int, answer: Any, schemas: _Schemas) -> dict[str, Any]:
    if answer is None:
        return {"description": HTTPStatus(status).phrase}
    if isinstance(answer, Media):
        return {"description": answer.description, "content": {each: {} for each in answer.types}}
    schema = schemas.answer(answer)
    return {
        "description": HTTPStatus(status).phrase,
        "content": {"application/json": {"schema": schema}},
    }


def _refusals(surface: Surface, route: Route) -> set[int]:
    """The statuses of a route's errors, as far as its declaration shows, and those that it names."""
    refusals = {500, 503, *route.refusals}
    if route.scope != PUBLIC:
        refusals |= {401, 403, 429, *surface.refusals}
    if route.body is not None or route.query is not None or route.repeatable or is_strict(surface, route):
        refusals.add(400)
    if route.body is not None or route.repeatable:
        refusals.add(408)
    if route.body is not None and route.body.form:
        refusals.add(413)
    if PARAMETER.search(route.path):
        refusals.add(404)
    if route.repeatable:
        refusals.add(409)
    if route.conditional:
        refusals.add(412)
    return refusals


def _is_json(answer: Any) -> bool:
    return answer is not None and not isinstance(answer, Media)


def _server(base: str) -> dict[str, Any]:
    names = [name for _, name in PARAMETER.findall(base)]
    if not names:
        return {"url": base or "/"}
    variables = {name: {"default": name, "description": f"The id of a {name}."} for name in names}
    return {"url": template(base), "variables": variables}
