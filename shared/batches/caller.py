"""Who is calling `/v0.2`, and which of their sites the call is about."""

import re

import flask

from shared.accounts.callers import who
from shared.accounts.customers import Site, get_site
from shared.accounts.keys import Caller
from shared.errors import Invalid, NotFound
from shared.gcp.clients import Cloud

SCOPE = "batches"

_SITE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")
# What can be a site's id. Anything else would be a path in Firestore, or a name that it keeps to itself.

_SITE_HOST = re.compile(r"api\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.", re.IGNORECASE)


def named_site(request: flask.Request, site: str | None) -> str | None:
    """The site that the request names: that of the host `api.<site>.…`, or of the path (`site`), or of
    `?site_id=`, in this order; None where it names none. NotFound where that cannot be a site's id."""
    host = _SITE_HOST.match(request.host)
    named = (host[1].lower() if host else None) or site or request.args.get("site_id") or None
    if named is not None and not _SITE_ID.fullmatch(named):
        raise NotFound(f"there is no site {named[:128]} of yours")
    return named


def who_and_where(request: flask.Request, site: str | None) -> tuple[Cloud, Caller, Site]:
    """The caller and the site: the one that the request names, or the key's own.

    NotFound where it is no site of theirs, Invalid where none is named.
    """
    cloud, caller = who(request, SCOPE)
    named = named_site(request, site) or caller.site
    if not named:
        raise Invalid.field(
            "site_id",
            "is needed: the key has no site of its own; name one with ?site_id= or /sites/<site>/v0.2",
        )
    return cloud, caller, get_site(cloud.db, named, caller.customer)
