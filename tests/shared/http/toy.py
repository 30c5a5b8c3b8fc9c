"""A surface with a few routes, which needs no services."""

from typing import Annotated, Any, NotRequired
from uuid import UUID

import flask
import orjson
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from shared.errors import Conflict, Forbidden, Retry, TooMany, Unauthenticated
from shared.http.bodies import Moment, OneOf, documented
from shared.http.errors import PROBLEM_DETAILS, ErrorForm
from shared.http.idempotency import Repeatable
from shared.http.routes import PUBLIC, Body, Media, Route, Routes, Surface
from tests.world import environ

MAX_BYTES = 100


class NewBoat(BaseModel):
    """What a boat is made of."""

    model_config = ConfigDict(extra="forbid")

    name: str
    length: float = 1.0


class Colours(BaseModel):
    """Which boats are listed."""

    colour: Annotated[str, OneOf(("red", "green"))] | None = Field(default=None, description="Their colour.")


@documented
class Boat(TypedDict):
    """A boat."""

    id: str
    """Its id."""
    name: str
    """Its name."""
    built: NotRequired[Moment]
    """When it was built."""


def who(request: flask.Request, scope: str) -> str:
    key = request.headers.get("Authorization")
    if key is None:
        raise Unauthenticated("there is no key")
    if key != scope:
        raise Forbidden(f"the key lacks the scope {scope}")
    return f"{key} at {(request.view_args or {}).get('harbour')}"


class Yard:
    """The handlers; `calls` has what each was given."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.answer: Any = {"id": "1", "name": "Anna"}
        self.error: Exception | None = None

    def build(self, *given: Any, **named: Any) -> Any:
        self.calls.append((given, named))
        if self.error is not None:
            raise self.error
        return self.answer


def surface(**changes: Any) -> Surface:
    fields: dict[str, Any] = {
        "prefix": "/toy",
        "title": "Toy",
        "version": "7",
        "description": "Boats.",
        "who": who,
        "keys": {"key": {"type": "apiKey", "in": "header", "name": "Authorization"}},
        "challenge": 'Toy realm="toy"',
        "errors": PROBLEM_DETAILS,
        "bases": ("", "/harbours/<harbour>"),
    }
    return Surface(**{**fields, **changes})


def toy(yard: Yard, errors: ErrorForm = PROBLEM_DETAILS) -> Routes:
    def create_boat(caller: str, body: NewBoat, once: Repeatable) -> Any:
        return yard.build(caller, body=body, once=once)

    def list_boats(caller: str, query: Colours) -> Any:
        return yard.build(caller, query=query)

    def get_boat(caller: str, boat: UUID) -> Any:
        return yard.build(caller, boat=boat)

    def change_boat(caller: str, boat: UUID, body: dict[str, Any]) -> Any:
        return yard.build(caller, boat=boat, body=body)

    def sink_boat(caller: str, boat: UUID) -> Any:
        return yard.build(caller, boat=boat)

    def get_flag(request: flask.Request, flag: str) -> Any:
        return yard.build(request, flag=flag)

    boat = "/toy/boats/<uuid:boat>"
    return Routes(
        surface(errors=errors),
        [
            Route(
                method="POST",
                path="/toy/boats",
                handler=create_boat,
                summary="Build a boat",
                scope="boats",
                body=Body(NewBoat, MAX_BYTES),
                repeatable=True,
                answer=Boat,
                status=201,
            ),
            Route(
                method="GET",
                path="/toy/boats",
                handler=list_boats,
                summary="List boats",
                scope="boats",
                query=Colours,
                answer=list[Boat],
            ),
            Route(
                method="GET", path=boat, handler=get_boat, summary="Show a boat", scope="boats", answer=Boat
            ),
            Route(
                method="PATCH",
                path=boat,
                handler=change_boat,
                summary="Change a boat",
                scope="boats",
                body=Body(NewBoat, given="merge_patch"),
                answer=Boat,
            ),
            Route(
                method="DELETE",
                path=boat,
                handler=sink_boat,
                summary="Sink a boat",
                scope="boats",
                answer=None,
                status=204,
                refusals=(409,),
            ),
            Route(
                method="GET",
                path="/toy/flags/<string(length=2):flag>",
                handler=get_flag,
                summary="Show a flag",
                scope=PUBLIC,
                answer=Media(("image/png", "image/svg+xml"), "The flag."),
                answers={302: None},
            ),
        ],
    )


def call(
    routes: Routes, method: str, path: str, body: Any = None, *, key: str | None = "boats", **headers: str
) -> flask.Response:
    sent = {**headers, **({"Authorization": key} if key is not None else {})}
    data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
    made = environ(path, method=method, data=data, headers=list(sent.items()))
    return routes.answer(flask.Request(made))


BOAT = "/toy/boats/3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b"

FAILURES = {
    409: Conflict("the boat is at sea"),
    429: TooMany("there are too many boats", 1.2),
    503: Retry("the slip is taken"),
    500: RuntimeError("secret inside"),
}
