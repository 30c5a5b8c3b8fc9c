"""`/ls/api/oauth2` over HTTP: access tokens, by the password grant of OAuth 2.

https://www.rfc-editor.org/rfc/rfc6749#section-4.3
"""

from datetime import timedelta
from typing import Any

import flask
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from shared.accounts import strangers, tokens
from shared.errors import Forbidden, Invalid, Refused, Unauthenticated
from shared.gcp.clients import connect
from shared.http.bodies import documented
from shared.http.routes import PUBLIC, Body, Route
from shared.jobs.caller import SCOPE, TOKEN_PATH, JobsCall

GRANT = "password"
"""The only grant there is."""

LIFE = timedelta(hours=1)
"""How long a token is good."""


class TokenRequest(BaseModel):
    """What an access token is asked for with."""

    grant_type: str = Field(description="Always `password`.")
    username: str = Field(description="Any name. It is recorded with what is done with the token.")
    password: str = Field(description="A key of Waybill.")
    scope: str = Field(
        default="",
        description="`community=NAME`, or NAME alone, and anything else that describes the device. Without a "
        "community it is the key's customer.",
    )
    client_id: str | None = Field(default=None, description="Is not looked at.")
    client_secret: str | None = Field(default=None, description="Is not looked at.")


@documented
class Token(TypedDict):
    """An access token."""

    access_token: str
    """The token. It is good for an hour, and no longer than its key."""
    token_type: str
    """Always `Bearer`."""
    expires_in: int
    """For how many seconds it is good."""


@documented
class Validity(TypedDict):
    """What is said of a token that is good."""

    valid: bool
    """Always true: of a token that is not good an error is answered."""


@documented
class TokenInfo(TypedDict):
    """Whose a token is."""

    userId: str
    """The `username` that the token was asked for with."""
    authenticatedUserId: str
    """The same."""
    community: str
    """The community that the token was asked for with."""


class GrantRefused(Refused):
    """The key that was sent as the password is not good, or lacks the scope."""

    code = "invalid_grant"


class GrantUnsupported(Refused):
    """It is none of the grants that there are."""

    code = "unsupported_grant_type"


def _issue_token(request: flask.Request, body: dict[str, Any]) -> Token:
    grant = _needed(body, "grant_type")
    if grant != GRANT:
        raise GrantUnsupported(f"the grant {grant[:64]} is not supported: send grant_type={GRANT}")
    username, key = _needed(body, "username"), _needed(body, "password")
    try:
        community = tokens.community_of(body.get("scope", ""))
        issued = strangers.check(
            request,
            "key",
            key,
            lambda: tokens.issue(
                connect(), key, needs=SCOPE, life=LIFE, username=username, community=community
            ),
        )
    except (Unauthenticated, Forbidden) as error:
        raise GrantRefused(f"password: {error}") from error
    return {
        "access_token": issued.token,
        "token_type": "Bearer",
        "expires_in": int((issued.expires - issued.issued).total_seconds()),
    }


def _needed(body: dict[str, Any], name: str) -> str:
    value: str = body.get(name, "")
    if not value:
        raise Invalid.field(name, "is needed")
    return value


def _validate_token(_: JobsCall) -> Validity:
    return {"valid": True}


def _show_token_info(call: JobsCall) -> TokenInfo:
    user = call.caller.username
    return {"userId": user, "authenticatedUserId": user, "community": call.caller.community}


TOKEN_ROUTES = [
    Route(
        method="POST",
        path=TOKEN_PATH,
        handler=_issue_token,
        summary="Get an access token for a key",
        scope=PUBLIC,
        body=Body(TokenRequest, max_bytes=tokens.LOGIN_BYTES, form=True, given="object"),
        answer=Token,
        refusals=(429,),
    ),
    Route(
        method="GET",
        path="/ls/api/oauth2/validate",
        handler=_validate_token,
        summary="Check whether an access token is good",
        scope=SCOPE,
        answer=Validity,
    ),
    Route(
        method="POST",
        path="/ls/api/oauth2/tokenInfo",
        handler=_show_token_info,
        summary="Show whose an access token is",
        scope=SCOPE,
        answer=TokenInfo,
    ),
]
