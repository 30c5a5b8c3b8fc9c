"""Who is calling an HTTP function."""

import flask

from shared.accounts.keys import Caller, authenticate
from shared.gcp.clients import Cloud, connect


def who(request: flask.Request, scope: str) -> tuple[Cloud, Caller]:
    """The caller by the key that the request carries, and the clients to serve them with.

    Unauthenticated without a good key, Forbidden where it lacks the scope.
    """
    cloud = connect()
    headers = request.headers
    caller = authenticate(cloud.db, headers.get("Authorization", ""), headers.get("X-Auth-Token", ""))
    caller.needs(scope)
    return cloud, caller
