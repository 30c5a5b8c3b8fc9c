"""Checks what an HTTP function answers against its OpenAPI document."""

import functools
from collections.abc import Mapping
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from shared.http.routes import Route, Routes, template


class ContractBroken(AssertionError):
    """An answer is not what the document says."""


def check(
    routes: Routes, method: str, path: str, status: int, headers: Mapping[str, str], content: bytes
) -> None:
    """ContractBroken where the document of these routes does not have this answer: its status, its content
    type, each field of its body and no other."""
    said = f"{method} {path} answered {status}"
    # HEAD is GET without its body. https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    route = routes.find("GET" if method == "HEAD" else method, path)
    declared = _unrouted(routes) if route is None else _operation(routes, route)["responses"]
    response = declared.get(str(status))
    if response is None:
        raise ContractBroken(f"{said}; {route or 'an unknown route'} declares {sorted(declared)}")
    missing = response.get("headers", {}).keys() - headers.keys()
    if missing:
        raise ContractBroken(f"{said} without {sorted(missing)}")
    forms = response.get("content", {})
    kind = headers.get("Content-Type", "").partition(";")[0]
    if not content and (not forms or method == "HEAD"):
        return
    if kind not in forms:
        raise ContractBroken(f"{said} with {kind!r}; {route} declares {sorted(forms)}")
    if "schema" in forms[kind]:
        if not content:
            raise ContractBroken(f"{said} without content")
        validator = _validator(routes, orjson.dumps(forms[kind]["schema"]))
        for wrong in validator.iter_errors(orjson.loads(content)):
            raise ContractBroken(f"{said}: {wrong.json_path}: {wrong.message}")
    if status == 401 and "WWW-Authenticate" not in headers:
        raise ContractBroken(f"{said} without WWW-Authenticate")
    if status == 405 and "Allow" not in headers:
        raise ContractBroken(f"{said} without Allow")


def forget(routes: Routes) -> None:
    """Have the document made anew, for a test that changes what it is made of."""
    vars(routes).pop("document", None)
    _validator.cache_clear()


def _operation(routes: Routes, route: Route) -> dict[str, Any]:
    found: dict[str, Any] = routes.document["paths"][template(route.path)][route.method.lower()]
    return found


def _unrouted(routes: Routes) -> dict[str, Any]:
    """What is answered where there is no route; no document describes it."""
    form = routes.surface.errors
    error = {"$ref": f"#/components/schemas/{form.model.__name__}"}
    return {status: {"content": {form.content_type: {"schema": error}}} for status in ("404", "405")}


@functools.cache
def _validator(routes: Routes, schema: bytes) -> Draft202012Validator:
    components = {name: closed(each) for name, each in routes.document["components"]["schemas"].items()}
    whole = {**closed(orjson.loads(schema)), "components": {"schemas": components}}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


def closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name. The document leaves that room, so that fields
    can be added later; a test that sees such a field has found one that is not declared."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(each) for name, each in schema.items()}
    return made if "properties" not in made else {"additionalProperties": False, **made}
