"""Who is calling `/v2`, and the surface itself."""

from collections.abc import Mapping
from typing import Any

import flask

from shared.accounts import callers
from shared.accounts.callers import Call
from shared.accounts.keys import Caller
from shared.accounts.signing import ALGORITHM
from shared.cutting import shown
from shared.datasets.errors import NoSuchProject
from shared.gcp.clients import Cloud, connect
from shared.http.errors import CODED
from shared.http.routes import Surface

SCOPE = "datasets"
"""What a key must be good for."""

KEYS = {
    **callers.KEYS,
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": f"`Authorization: {ALGORITHM} Access=…, SignedHeaders=…, Signature=…`",
    },
}
"""The ways to send a key, or to prove to have it. An access token can be sent in the place of a key."""

CHALLENGE = f'{callers.CHALLENGE}, {ALGORITHM} realm="waybill"'
"""What a 401 says of them."""


def who(request: flask.Request, scope: str) -> Call:
    """The caller by the key, the access token or the signature that the request carries.

    Unauthenticated without a good one, Forbidden where the key lacks the scope, NoSuchProject where the
    path's `project_id` is not the id of the caller's customer, Invalid where a signed request has a body that
    is too large.
    """
    cloud = connect()
    caller = callers.any_way(cloud, request)
    caller.needs(scope)
    return known(cloud, caller, request.view_args or {})


def known(cloud: Cloud, caller: Caller, named: Mapping[str, Any]) -> Call:
    """A request of a caller who is known already; NoSuchProject as of `who`."""
    project = named.get("project_id", caller.customer)
    if project != caller.customer:
        # The same whether there is such a customer or not.
        raise NoSuchProject(
            f"project_id: the key {caller.key} does not reach {shown(project)}; the project of its customer "
            f"is {caller.customer!r}"
        )
    return Call(cloud, caller)


SURFACE = Surface(
    prefix="/v2",
    title="Waybill: datasets and their export tasks",
    version="2",
    description=(
        "Datasets of labelled images, and the tasks that export them. `project_id` is the id of the key's "
        "customer. A request carries a key or an access token, or is signed with a key's secret."
    ),
    who=who,
    known=known,
    keys=KEYS,
    challenge=CHALLENGE,
    errors=CODED,
    refusals=(400, 408),
)
