"""Who is calling `/ls/api`, and the surface itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flask

from shared.accounts import callers
from shared.accounts.keys import Caller
from shared.accounts.tokens import TokenCaller, by_key
from shared.gcp.clients import Cloud, connect
from shared.http.errors import OAUTH
from shared.http.routes import Surface

SCOPE = "jobs"
"""What a key must be good for."""

TOKEN_PATH = "/ls/api/oauth2/token"  # a path, and no secret # noqa: S105


@dataclass(frozen=True)
class JobsCall(callers.Call):
    """A request of a known caller, which may have a token."""

    caller: TokenCaller


def who(request: flask.Request, scope: str) -> JobsCall:
    """The caller by the access token or the key that the request carries.

    Unauthenticated without a good one, Forbidden where the key lacks the scope.
    """
    cloud = connect()
    caller = callers.by_token(cloud, request)
    caller.needs(scope)
    return JobsCall(cloud, caller)


def known(cloud: Cloud, caller: Caller, _: Mapping[str, Any]) -> JobsCall:
    """A request of a caller who is known already, by a key."""
    return JobsCall(cloud, by_key(caller))


SURFACE = Surface(
    prefix="/ls/api",
    title="Waybill: import and export jobs",
    version="1",
    description=(
        "Jobs that import and export typed records. Each call but that for a token carries "
        "`Authorization: Bearer <access token>`. The key itself can be sent in the place of a token."
    ),
    who=who,
    known=known,
    keys={
        "access_token": {
            "type": "oauth2",
            "flows": {
                "password": {"tokenUrl": TOKEN_PATH, "scopes": {SCOPE: "Import and export records."}},
            },
        },
        **callers.KEYS,
    },
    challenge='Bearer realm="waybill"',
    errors=OAUTH,
    # https://www.rfc-editor.org/rfc/rfc6749#section-5.1
    headers={"Cache-Control": "no-store", "Pragma": "no-cache"},
)
