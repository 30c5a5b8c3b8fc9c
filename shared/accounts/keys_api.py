"""`/v1/keys`: a customer lists, makes and revokes its own keys, with a key that has the scope `keys`."""

from typing import Annotated

from google.cloud import firestore
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from shared import ids, logs
from shared.accounts import keys
from shared.accounts.callers import Call
from shared.accounts.customers import get_customer, sites_of
from shared.accounts.keys import MAX_NAME, SCOPES, Key
from shared.accounts.limits import API_KEYS
from shared.errors import Conflict, Forbidden, Invalid, NotFound
from shared.gcp.unreadable import readable
from shared.http.bodies import Moment, OneOf, documented
from shared.http.idempotency import HEADER, Repeatable
from shared.http.paging import Page, page
from shared.http.routes import Body, Route
from shared.moments import milliseconds

SCOPE = keys.KEYS
"""The scope that these routes need."""

ID_DIGITS = 16
"""How many hex digits a key's id has. It is no secret, and a key is create-only: who finds another request
with the same id is refused."""


def _once(scopes: list[str]) -> list[str]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("names a scope twice: name each once")
    return scopes


class NewKey(BaseModel):
    """What a new key is good for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: Annotated[list[Annotated[str, OneOf(SCOPES)]], AfterValidator(_once)] = Field(
        min_length=1,
        max_length=len(SCOPES),
        description="What the key is good for. Only scopes that the calling key has itself.",
    )
    site: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="The site that its calls are about by themselves."
    )
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = (
        Field(default=None, description="What you call it, such as where it is used.")
    )


@documented
class ListedKey(TypedDict):
    """A key, without its secret."""

    id: str
    """Its id: the middle of `wb_<id>_<secret>`."""
    name: str | None
    """What it is called, if anything."""
    scopes: list[str]
    """What it is good for."""
    site: str | None
    """The site that its calls are about by themselves, if there is one."""
    created: Moment
    """When it was made."""
    revoked: bool
    """Whether it is revoked, and opens nothing any more."""
    last_used: Moment | None
    """When it was used last: it may also have been used within the hour after that. Null where it was not."""


@documented
class MadeKey(ListedKey):
    """A key that was just made."""

    key: str
    """The whole key with its secret, which is shown this once. To sign requests with it: the access key is
    its id, the secret key is what follows that."""


@documented
class KeyList(TypedDict):
    """A page of keys, the newest first."""

    keys: list[ListedKey]
    """The keys, revoked ones, too."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


def _list_keys(call: Call, query: Page) -> KeyList:
    db, customer = call.cloud.db, call.caller.customer
    newest = keys.all_of(db, customer).order_by("created", direction=firestore.Query.DESCENDING)
    found, token = page(query, newest, db.collection("api_keys"), customer)
    shown = readable(db, found, keys.from_snapshot)
    return {"keys": [_listed(each) for each in shown], "next_page_token": token}


def _make_key(call: Call, body: NewKey, once: Repeatable) -> MadeKey:
    db, caller = call.cloud.db, call.caller
    id = once.id(call.cloud, f"{caller.customer} keys", ID_DIGITS)
    if once.key:
        made = db.document(f"api_keys/{id}").get()
        if made.exists:
            raise _made_before(keys.from_snapshot(made), call, once)
    lacking = [scope for scope in body.scopes if scope not in caller.scopes]
    if lacking:
        raise Forbidden(
            f"the key {caller.key} lacks the scope {lacking[0]!r}, and can give only scopes that it has: "
            "leave it out, or use a key that has it"
        )
    if body.site is not None and not sites_of(db, [body.site], caller.customer):
        raise Invalid.field("site", f"there is no site {body.site} of yours")
    API_KEYS.check(get_customer(db, caller.customer).limit(API_KEYS), keys.good_keys(db, caller.customer))
    try:
        key = keys.create_key(
            db,
            customer=caller.customer,
            scopes=body.scopes,
            site=body.site,
            settings=call.cloud.settings,
            id=id,
            name=body.name,
            asked=once.asked,
        )
    except Conflict:  # one of the same Idempotency-Key was quicker
        raise _made_before(keys.get_key(db, id), call, once) from None
    logs.info("key made", key=id, customer=caller.customer, by=caller.key, scopes=",".join(body.scopes))
    return {**_listed(keys.get_key(db, id)), "key": key}


def _get_key(call: Call, key: str) -> ListedKey:
    return _listed(_own(call, key))


def _revoke_key(call: Call, key: str) -> ListedKey:
    db, caller = call.cloud.db, call.caller
    _own(call, key)
    keys.revoke_key(db, key)
    logs.info("key revoked", key=key, customer=caller.customer, by=caller.key)
    return _listed(keys.get_key(db, key))


def _own(call: Call, id: str) -> Key:
    """The key of that id of the caller's customer; NotFound where it has none."""
    found = keys.get_key(call.cloud.db, id) if ids.KEY.fullmatch(id) else None
    if found is None or found.customer != call.caller.customer:
        raise NotFound(f"there is no key {id}")
    return found


def _made_before(made: Key, call: Call, once: Repeatable) -> Conflict:
    """What is said of a key that the same request made before: its secret is nowhere any more. Raises
    Conflict where another request made it."""
    if made.customer != call.caller.customer:
        raise Conflict(f"the {HEADER} cannot be used for this request: take a new one")
    once.must_be(made.asked, made.id)
    return Conflict(
        f"this request has made the key {made.id} already, and its secret is shown once: if you do not have "
        f"it, revoke that key, and make one with a new {HEADER}",
        made.id,
    )


def _listed(key: Key) -> ListedKey:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "site": key.site,
        "created": milliseconds(key.created),
        "revoked": key.revoked,
        "last_used": milliseconds(key.used) if key.used else None,
    }


_KEY = f"/v1/keys/<string(length={ID_DIGITS}):key>"

ROUTES = [
    Route(
        method="GET",
        path="/v1/keys",
        handler=_list_keys,
        summary="List the customer's keys, the newest first",
        scope=SCOPE,
        query=Page,
        answer=KeyList,
    ),
    Route(
        method="POST",
        path="/v1/keys",
        handler=_make_key,
        summary="Make a key, which is shown this once",
        scope=SCOPE,
        body=Body(NewKey),
        repeatable=True,
        answer=MadeKey,
        status=201,
    ),
    Route(
        method="GET",
        path=_KEY,
        handler=_get_key,
        summary="Show a key, without its secret",
        scope=SCOPE,
        answer=ListedKey,
    ),
    Route(
        method="POST",
        path=f"{_KEY}:revoke",
        handler=_revoke_key,
        summary="Let a key open nothing from now on",
        scope=SCOPE,
        answer=ListedKey,
    ),
]
"""To be answered by the function that serves `/v1`."""
