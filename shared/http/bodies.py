"""Reading what was sent into a model, and saying of each wrong field what is wrong with it."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from shared.errors import FieldProblem, Invalid

_ADDRESS = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\"]{1,190}")

Model = TypeVar("Model", bound=BaseModel)


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is not an address")
    return value


Address = Annotated[str, AfterValidator(_address)]
"""An address for mail."""


def read(model: type[Model], body: dict[str, Any]) -> Model:
    """The body as the model; Invalid naming each field that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise Invalid([_problem(dict(each)) for each in error.errors(include_url=False)]) from error


def _problem(error: dict[str, Any]) -> FieldProblem:
    field = ""
    for step in error["loc"]:
        field += f"[{step}]" if isinstance(step, int) else f".{step}" if field else str(step)
    if error["type"] == "extra_forbidden":
        return FieldProblem(field, "there is no such field")
    if error["type"] == "missing":
        return FieldProblem(field, "is needed")
    if error["type"] == "value_error":
        return FieldProblem(field, str(error["ctx"]["error"]))
    message = error["msg"][0].lower() + error["msg"][1:]
    return FieldProblem(field, message)
