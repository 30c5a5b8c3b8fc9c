"""`/` and `/v3` over HTTP: the login of the cloud's own clients, as OpenStack's Identity API has it.

The password is a key. The answer is an access token, and a catalog that says where `/v2` is.
https://docs.openstack.org/api-ref/identity/v3/
"""

from datetime import datetime, timedelta

import flask
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from shared.accounts import callers, strangers, tokens
from shared.accounts.callers import Call
from shared.accounts.customers import Customer, get_customer
from shared.accounts.tokens import Issued
from shared.cutting import shown
from shared.datasets.caller import CHALLENGE, KEYS, SCOPE
from shared.errors import Invalid, Unauthenticated
from shared.gcp.clients import connect
from shared.http.bodies import Moment, documented
from shared.http.errors import IDENTITY
from shared.http.routes import PUBLIC, Body, Route, Routes, Surface

VERSION = "v3.14"
"""The version of the Identity API that clients are told; what they need is in every v3.
https://docs.openstack.org/api-ref/identity/v3/#what-s-new-in-version-3-14"""

SERVICE = "modelartsv2"
"""The type of service by which clients look `/v2` up in the catalog."""

METHOD = "password"
"""The only way to log in."""

LIFE = timedelta(hours=24)
"""How long a token is good, as at the original."""

TOKEN = "X-Subject-Token"  # the header's name, and no secret # noqa: S105


class User(BaseModel):
    """Who logs in."""

    id: str = Field(default="", description="Any id, where there is no name.")
    name: str = Field(default="", description="Any name.")
    password: str = Field(description="A key of Waybill.")


class Password(BaseModel):
    """What the method `password` is given."""

    user: User = Field(description="Who logs in.")


class Identity(BaseModel):
    """How one logs in."""

    methods: list[str] = Field(description="Always `password`.")
    password: Password | None = Field(default=None, description="What the method is given.")


class NamedProject(BaseModel):
    """A project, by its id or its name."""

    id: str | None = Field(default=None, description="The id of the key's customer.")
    name: str | None = Field(default=None, description="The id or the name of the key's customer.")


class Scope(BaseModel):
    """What a token is for."""

    project: NamedProject | None = Field(default=None, description="A project.")


class Auth(BaseModel):
    """Who logs in, and for what."""

    identity: Identity = Field(description="How one logs in.")
    scope: Scope | str | None = Field(
        default=None, description="What the token is for; always the key's customer."
    )


class TokenRequest(BaseModel):
    """What a token is asked for with."""

    auth: Auth = Field(description="Who logs in, and for what.")


@documented
class Link(TypedDict):
    """A link."""

    rel: str
    """What it is: `self`."""
    href: str
    """Where it leads."""


@documented
class Version(TypedDict):
    """A version of the login."""

    id: str
    """Its id, such as `v3.14`."""
    status: str
    """Always `stable`."""
    links: list[Link]
    """Where it is."""


@documented
class OneVersion(TypedDict):
    """The version that was asked for."""

    version: Version
    """It."""


@documented
class VersionValues(TypedDict):
    """A list of versions."""

    values: list[Version]
    """The versions."""


@documented
class Versions(TypedDict):
    """The versions that there are."""

    versions: VersionValues
    """They."""


@documented
class Named(TypedDict):
    """Something with an id and a name."""

    id: str
    """Its id."""
    name: str
    """Its name."""


@documented
class InDomain(TypedDict):
    """Something of a domain."""

    id: str
    """Its id."""
    name: str
    """Its name."""
    domain: Named
    """Its domain: always the customer."""


@documented
class Endpoint(TypedDict):
    """Where a service is."""

    id: str
    """Its id."""
    interface: str
    """For whom it is: always `public`."""
    region: str
    """Its region; there is one."""
    region_id: str
    """The same."""
    url: str
    """Where it is."""


@documented
class Service(TypedDict):
    """A service."""

    id: str
    """Its id."""
    name: str
    """Its name."""
    type: str
    """Its type."""
    endpoints: list[Endpoint]
    """Where it is."""


@documented
class Token(TypedDict):
    """What a token is."""

    methods: list[str]
    """How one logged in."""
    issued_at: Moment
    """Since when it is good."""
    expires_at: Moment
    """Until when it is good, and no longer than its key."""
    user: InDomain
    """The key: its id, and the name that was given."""
    project: InDomain
    """The key's customer."""
    roles: list[Named]
    """The scopes of the key."""
    catalog: list[Service]
    """What can be called with it."""


@documented
class IssuedToken(TypedDict):
    """What is said of a new token. The token itself is in the header `X-Subject-Token`."""

    token: Token
    """It."""


@documented
class Project(TypedDict):
    """A project."""

    id: str
    """Its id: that of the customer."""
    name: str
    """Its name: that of the customer."""
    domain_id: str
    """The id of its domain: always the same."""
    enabled: bool
    """Whether it can be used: always true."""


@documented
class Projects(TypedDict):
    """The projects that a key reaches."""

    projects: list[Project]
    """The one project."""


def who(request: flask.Request, scope: str) -> Call:
    """The caller by the key, the access token or the signature that the request carries.

    Unauthenticated without a good one, Forbidden where the key lacks the scope, Invalid where a signed
    request has a body that is too large.
    """
    cloud = connect()
    caller = callers.any_way(cloud, request)
    caller.needs(scope)
    return Call(cloud, caller)


def _list_versions(request: flask.Request) -> Versions:
    return {"versions": {"values": [_version(request)]}}


def _show_version(request: flask.Request) -> OneVersion:
    return {"version": _version(request)}


def _version(request: flask.Request) -> Version:
    links: list[Link] = [{"rel": "self", "href": f"{_base(request)}/v3/"}]
    return {"id": VERSION, "status": "stable", "links": links}


def _log_in(request: flask.Request, body: TokenRequest) -> tuple[IssuedToken, dict[str, str]]:
    identity = body.auth.identity
    if identity.password is None:
        raise Invalid.field("auth.identity.password", f"is needed: the only method is {METHOD!r}")
    user = identity.password.user
    cloud = connect()
    name = user.name or user.id
    issued = strangers.check(
        request,
        "key",
        user.password,
        lambda: tokens.issue(cloud, user.password, needs=SCOPE, life=LIFE, username=name),
    )
    customer = get_customer(cloud.db, issued.caller.customer)
    if isinstance(body.auth.scope, Scope) and body.auth.scope.project is not None:
        _must_be(body.auth.scope.project, customer)
    url = f"{_base(request)}/v2/{customer.id}"
    return {"token": _token(issued, name, customer, cloud.settings.region, url)}, {TOKEN: issued.token}


def _must_be(asked: NamedProject, customer: Customer) -> None:
    """Unauthenticated where a project is asked for that is not the customer."""
    by_name = asked.name in (None, customer.id, customer.name)
    if not (asked.id in (None, customer.id) and by_name):
        # The same whether there is such a customer or not.
        other = (asked.id or asked.name or "")[:64]
        raise Unauthenticated(
            f"auth.scope.project: the key does not reach {shown(other)}; the project of its customer has "
            f"the id {customer.id!r} and the name {customer.name!r}"
        )


def _token(issued: Issued, name: str, customer: Customer, region: str, url: str) -> Token:
    domain: Named = {"id": customer.id, "name": customer.name}
    endpoint: Endpoint = {
        "id": SCOPE,
        "interface": "public",
        "region": region,
        "region_id": region,
        "url": url,
    }
    return {
        "methods": [METHOD],
        "issued_at": _moment(issued.issued),
        "expires_at": _moment(issued.expires),
        "user": {"id": issued.caller.key, "name": name, "domain": domain},
        "project": {"id": customer.id, "name": customer.name, "domain": domain},
        "roles": [{"id": scope, "name": scope} for scope in sorted(issued.caller.scopes)],
        "catalog": [{"id": SCOPE, "name": SCOPE, "type": SERVICE, "endpoints": [endpoint]}],
    }


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _list_projects(call: Call) -> Projects:
    customer = get_customer(call.cloud.db, call.caller.customer)
    return {
        "projects": [
            {"id": customer.id, "name": customer.name, "domain_id": customer.id, "enabled": True},
        ]
    }


def _base(request: flask.Request) -> str:
    """Where the caller reached us: the client goes on from there, whatever our own name is."""
    said = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip()
    return f"{said if said in ('http', 'https') else request.scheme}://{request.host}"


SURFACE = Surface(
    prefix="",
    title="Waybill: login for clients of datasets",
    version="3",
    description="OpenStack's Identity API, as far as a login needs it. The password is a key of Waybill.",
    who=who,
    keys=KEYS,
    challenge=CHALLENGE,
    errors=IDENTITY,
    refusals=(400,),
    headers={"Cache-Control": "no-store"},
)

ROUTES = Routes(
    SURFACE,
    [
        Route(
            method="GET",
            path="/",
            handler=_list_versions,
            summary="List the versions of the login",
            scope=PUBLIC,
            answer=Versions,
        ),
        Route(
            method="GET",
            path="/v3",
            handler=_show_version,
            summary="Show the version of the login",
            scope=PUBLIC,
            answer=OneVersion,
        ),
        Route(
            method="POST",
            path="/v3/auth/tokens",
            handler=_log_in,
            summary="Log in with a key",
            scope=PUBLIC,
            body=Body(TokenRequest, max_bytes=tokens.LOGIN_BYTES),
            answer=IssuedToken,
            status=201,
            headers={TOKEN: "The token."},
            refusals=(401, 403, 429),
        ),
        Route(
            method="GET",
            path="/v3/projects",
            handler=_list_projects,
            summary="Show the project of a key",
            scope=SCOPE,
            answer=Projects,
        ),
    ],
)
