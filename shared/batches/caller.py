"""Who is calling `/v0.2`, and which of their sites the call is about."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flask
from pydantic import BaseModel, Field

from shared import ids
from shared.accounts import callers
from shared.accounts.customers import Site, get_site
from shared.accounts.keys import Caller
from shared.errors import Invalid, NotFound
from shared.gcp.clients import Cloud
from shared.http.errors import DETAIL
from shared.http.routes import Surface

SCOPE = "batches"

_SITE_HOST = re.compile(r"api\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.", re.IGNORECASE)


class WhichSite(BaseModel):
    """The site that a call is about."""

    site_id: str | None = Field(
        default=None,
        description="The id of the site that the call is about; the key's own site unless it is given.",
    )


@dataclass(frozen=True)
class SiteCall(callers.Call):
    """A request of a known caller; `named` is the site that it names, None where it names none."""

    named: str | None

    def site(self) -> Site:
        """The site that the request names, or the key's own.

        NotFound where it is no site of the caller's, Invalid where none is named.
        """
        named = self.named or self.caller.site
        if not named:
            raise Invalid.field(
                "site_id",
                "is needed: the key has no site of its own; name one with ?site_id= or /sites/<site>/v0.2",
            )
        return get_site(self.cloud.db, named, self.caller.customer)


def who(request: flask.Request, scope: str) -> SiteCall:
    """The caller by the key that the request carries, and the site that the request names: that of the host
    `api.<site>.…`, or of the path, or of `?site_id=`, in this order.

    Unauthenticated without a good key, Forbidden where it lacks the scope, NotFound where what the request
    names cannot be a site's id.
    """
    call = callers.who(request, scope)
    host = _SITE_HOST.match(request.host)
    in_path = (request.view_args or {}).get("site")
    named = (host[1].lower() if host else None) or in_path or request.args.get("site_id") or None
    return _about(call.cloud, call.caller, named)


def known(cloud: Cloud, caller: Caller, named: Mapping[str, Any]) -> SiteCall:
    """A request of a caller who is known already, and the site that it names by `site_id`; NotFound as of
    `who`."""
    return _about(cloud, caller, named.get("site_id") or None)


def _about(cloud: Cloud, caller: Caller, named: str | None) -> SiteCall:
    if named is not None and not ids.NAMED.fullmatch(named):
        raise NotFound(f"there is no site {named[:128]} of yours")
    return SiteCall(cloud, caller, named)


SURFACE = Surface(
    prefix="/v0.2",
    title="Waybill: batches and work orders",
    version="0.2",
    description=(
        "Uploads of work orders in batches, and single work orders. A call is about one site: that of the "
        "host `api.<site>.…`, of the path `/sites/<site>/v0.2/…`, of `?site_id=`, or the key's own, in this "
        "order."
    ),
    who=who,
    known=known,
    keys=callers.KEYS,
    challenge=callers.CHALLENGE,
    errors=DETAIL,
    bases=("", "/sites/<site>"),
    query=WhichSite,
    refusals=(400, 404),
)
