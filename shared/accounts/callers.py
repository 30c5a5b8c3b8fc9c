"""Who is calling an HTTP function."""

from dataclasses import dataclass
from typing import Any

import flask

from shared.accounts.keys import Caller, authenticate
from shared.gcp.clients import Cloud, connect

KEYS: dict[str, dict[str, Any]] = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Authorization: Token <key>`",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer <key>`"},
    "auth_token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Auth-Token",
        "description": "`X-Auth-Token: <key>`",
    },
}
"""The ways to send a key, as OpenAPI describes them.
https://spec.openapis.org/oas/v3.1.1#security-scheme-object"""

CHALLENGE = 'Bearer realm="waybill", Token realm="waybill"'
"""What a 401 says of the ways to send a key. https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1"""


@dataclass(frozen=True)
class Call:
    """A request of a known caller: the clients to serve it with, and who is calling."""

    cloud: Cloud
    caller: Caller


def who(request: flask.Request, scope: str) -> Call:
    """The caller by the key that the request carries.

    Unauthenticated without a good key, Forbidden where it lacks the scope.
    """
    cloud = connect()
    headers = request.headers
    caller = authenticate(cloud.db, headers.get("Authorization", ""), headers.get("X-Auth-Token", ""))
    caller.needs(scope)
    return Call(cloud, caller)
