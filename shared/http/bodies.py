"""The models of what is sent and answered. Reading what was sent into its model names each wrong field."""

import codecs
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

import flask
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    with_config,
)
from pydantic_core import CoreSchema, core_schema

from shared import exact, moments
from shared.addresses import checked
from shared.cutting import cut, shown
from shared.errors import PROBLEMS_SHOWN, FieldProblem, Invalid, TooLarge
from shared.http import forms

BODY_BYTES = 1024 * 1024
"""The largest JSON body that is accepted, unless a route says otherwise; Cloud Run accepts 32 MB.
https://cloud.google.com/run/quotas#request_limits"""

_READ = "waybill.body"
# Where a request's environment has its body, once it was read.

BODY_DEPTH = 2 * exact.MAX_DEPTH
"""How many lists and objects of a body may stand inside each other: a field can be as deep as a file."""

Model = TypeVar("Model", bound=BaseModel)

documented = with_config(ConfigDict(use_attribute_docstrings=True))
"""Decorates a TypedDict: the text below each of its fields is the field's description."""

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A moment in UTC, as `2024-07-10T13:31:02.651Z`. https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""

LocalMoment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A moment on the clock of a time zone, with its offset from UTC, as `2024-07-10T15:31:00+02:00`."""


Address = Annotated[str, AfterValidator(checked)]
"""An address that can be mailed."""


_PLUS_LOST = re.compile(r".*:[0-9]{2}(\.[0-9]+)? [0-9]{2}:?[0-9]{2}")
# A + in a URL's query is read as a space. https://url.spec.whatwg.org/#concept-urlencoded-parser


def _moment(value: str) -> datetime:
    needs_offset = "must have an offset, as in 2026-11-23T00:00:00Z; the + of +02:00 is %2B in a URL"
    if _PLUS_LOST.fullmatch(value):
        raise ValueError(needs_offset)
    named = moments.read(value)
    if named.tzinfo is None:
        raise ValueError(needs_offset)
    return named.astimezone(UTC)


SentMoment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A moment with an offset, as in RFC 3339, among query parameters."""


@dataclass(frozen=True)
class OneOf:
    """In `Annotated`: a text must be one of these."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names)}

    def _check(self, value: str) -> str:
        if value not in self.names:
            *some, last = self.names
            raise ValueError(f"must be {', '.join(some)} or {last}; got {shown(value)}")
        return value


def content(request: flask.Request, max_bytes: int = BODY_BYTES) -> bytes:
    """The request's body, of at most `max_bytes`; Invalid where it is larger. It can be asked for again."""
    body: bytes | None = request.environ.get(_READ)
    try:
        if body is None:
            body = request.environ[_READ] = forms.whole(request, max_bytes)
        elif len(body) > max_bytes:
            raise TooLarge("it was read with another limit")
    except TooLarge as error:
        raise Invalid.field("body", f"is larger than {max_bytes} bytes") from error
    return body


def json_object(request: flask.Request, max_bytes: int = BODY_BYTES) -> dict[str, Any]:
    """The request's body, a JSON object of at most `max_bytes`. An empty body is an empty object. Invalid
    where it is something else."""
    body = content(request, max_bytes)
    if not body.removeprefix(codecs.BOM_UTF8).strip():
        return {}
    return exact_object(body)


def exact_object(content: bytes) -> dict[str, Any]:
    """The JSON object that a content is, exactly as it was sent. Invalid where it is something else, naming
    the field that an object has twice, whose number would have to be rounded to be kept, or whose text holds
    NUL."""
    try:
        value = exact.parse(content, BODY_DEPTH)
    except exact.NotExact as wrong:
        raise Invalid.field(wrong.path or "body", wrong.message) from None
    if not isinstance(value, dict):
        raise Invalid.field("body", "must be a JSON object")
    return value


def read(model: type[Model], sent: dict[str, Any]) -> Model:
    """What was sent, as the model; Invalid naming the fields that are wrong."""
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = [_problem(dict(each), model, sent) for each in found[:PROBLEMS_SHOWN]]
        # Without its cause: that holds a line for each of them.
        raise Invalid(problems, len(found) - len(problems)) from None


def no_such(what: str, name: str, names: Collection[str]) -> str:
    """The sentence about a name that is none of these: it has the nearest one, if one is near."""
    near = get_close_matches(cut(name).lower(), names, n=1)
    return f"there is no such {what}: did you mean `{near[0]}`?" if near else f"there is no such {what}"


def _problem(error: dict[str, Any], model: type[BaseModel], sent: dict[str, Any]) -> FieldProblem:
    field = ""
    for step in error["loc"]:
        name = cut(str(step))
        field += f"[{step}]" if isinstance(step, int) else f".{name}" if field else name
    if error["type"] == "extra_forbidden":
        *place, name = error["loc"]
        return FieldProblem(field, no_such("field", str(name), _names(model, place, sent)))
    if error["type"] == "missing":
        return FieldProblem(field, "is needed")
    if error["type"] == "value_error":
        return FieldProblem(field, str(error["ctx"]["error"]))
    message = error["msg"][0].lower() + error["msg"][1:]
    return FieldProblem(field, message)


def _names(model: type[BaseModel], place: Sequence[str | int], sent: Any) -> Collection[str]:
    """The names that the object may have which stands at a place of what was sent. Where several forms of it
    are admissible, they are those of the form that has most of what was sent."""
    schema = model.model_json_schema()
    forms = _forms(schema, schema)
    for step in place:
        inner = [
            each.get("items") if isinstance(step, int) else each.get("properties", {}).get(step)
            for each in forms
        ]
        forms = [form for each in inner if each is not None for form in _forms(each, schema)]
        try:
            sent = sent[step]
        except (IndexError, KeyError, TypeError):
            sent = {}
    having = [each["properties"].keys() for each in forms if "properties" in each]
    return max(having, key=lambda names: len(names & set(sent)), default=())


def _forms(schema: dict[str, Any], whole: dict[str, Any]) -> list[dict[str, Any]]:
    """What a JSON schema admits, each form by itself."""
    if "$ref" in schema:
        return _forms(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    return [form for each in schema.get("anyOf", ()) for form in _forms(each, whole)] or [schema]
