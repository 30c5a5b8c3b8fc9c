"""Who is calling `/v0.2`, and which of their sites the call is about."""

import re

import flask

from shared.accounts.callers import who
from shared.accounts.customers import Site, get_site
from shared.accounts.keys import Caller
from shared.errors import Invalid
from shared.gcp.clients import Cloud

SCOPE = "batches"

_SITE_HOST = re.compile(r"api\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.", re.IGNORECASE)


def who_and_where(request: flask.Request, site: str | None) -> tuple[Cloud, Caller, Site]:
    """The caller and the site: that of the host `api.<site>.…`, or of the path (`site`), or of `?site_id=`,
    or the key's own, in this order.

    NotFound where it is no site of theirs, Invalid where none is named.
    """
    cloud, caller = who(request, SCOPE)
    host = _SITE_HOST.match(request.host)
    named = (host[1].lower() if host else None) or site or request.args.get("site_id") or caller.site
    if not named:
        raise Invalid.field(
            "site_id",
            "is needed: the key has no site of its own; name one with ?site_id= or /sites/<site>/v0.2",
        )
    return cloud, caller, get_site(cloud.db, named, caller.customer)
