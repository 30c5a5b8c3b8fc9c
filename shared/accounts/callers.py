"""Who is calling an HTTP function."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import flask

from shared.accounts import signing, strangers, tokens
from shared.accounts.keys import Caller, identify, note_use, presented, signing_secret
from shared.accounts.limits import REQUESTS_KEPT
from shared.accounts.tokens import TokenCaller
from shared.clock import unix_seconds
from shared.gcp.clients import Cloud, connect
from shared.http.bodies import content
from shared.http.sent import of_the_unknown

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

    def requests_a_second(self) -> int:
        """How many requests its customer may send."""
        return REQUESTS_KEPT.value(self.cloud.db, self.caller.customer)


def who(request: flask.Request, scope: str) -> Call:
    """The caller by the key that the request carries.

    Unauthenticated without a good key, Forbidden where it lacks the scope, TooMany where too many wrong ones
    came from its address.
    """
    cloud = connect()
    carried = presented(request.headers.get("Authorization", ""), request.headers.get("X-Auth-Token", ""))
    caller = strangers.check(request, "key", carried, lambda: identify(cloud.db, carried)[0])
    caller.needs(scope)
    return Call(cloud, caller)


def known(cloud: Cloud, caller: Caller, _: Mapping[str, Any]) -> Call:
    """A request of a caller who is known already."""
    return Call(cloud, caller)


def by_token(cloud: Cloud, request: flask.Request) -> TokenCaller:
    """The caller by the access token or the key that the request carries.

    Unauthenticated without a good one, TooMany where too many wrong ones came from its address.
    """
    sent = request.headers.get("Authorization", ""), request.headers.get("X-Auth-Token", "")
    return strangers.check(
        request, "key or token", presented(*sent), lambda: tokens.authenticate(cloud, *sent)
    )


def any_way(cloud: Cloud, request: flask.Request) -> Caller:
    """The caller by the key, the access token or the signature that the request carries.

    Unauthenticated without a good one. Of a signed request, whose body is signed, too: Invalid where it is
    too large, TooSlow where it does not arrive, Retry where too many are under way.
    """
    authorization = request.headers.get("Authorization", "")
    claim = signing.claim_of(authorization)
    if claim is None:
        return by_token(cloud, request)
    return strangers.check(
        request, "signature", claim.access_key, lambda: _by_signature(cloud, request, claim), secret=False
    )


def _by_signature(cloud: Cloud, request: flask.Request, claim: signing.Claim) -> Caller:
    caller, secret, key = signing_secret(cloud, claim.access_key)
    headers = {name.lower(): value for name, value in request.headers.items()}
    signing.check_date(headers, datetime.fromtimestamp(unix_seconds(), UTC))
    with of_the_unknown(request):
        body = content(request)
    sent = signing.SentRequest(
        method=request.method,
        path=_path(request),
        query=request.query_string,
        headers=headers,
        body=body,
    )
    signing.verify(claim, sent, secret)
    note_use(cloud.db, key)
    return caller


def _path(request: flask.Request) -> str:
    """The path as it was sent and signed; `request.path` has one slash at its beginning for any number."""
    sent: str = request.environ.get("PATH_INFO") or "/"
    return sent.encode("latin-1").decode(errors="replace")
