"""Sessions: who signed in to the console with a key, or by mail as a key, and until when.

A session is a document, `console_sessions/<id>`, and a cookie that names it. The cookie is signed, so that
one that was made up costs no read. It holds no key: what a session may do is read from its key each time, so
that it dies with its key, and one that began by mail with its address, too. Signing out removes the document,
and with it every copy of the cookie.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_urlsafe

import flask

from shared.accounts import by_mail, secrets
from shared.accounts.by_mail import Taken
from shared.accounts.keys import Caller, caller_of, note_use
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, moment_in, read_time, read_together, server_time
from shared.settings import Settings
from shared.work.lifetimes import REMOVE_AFTER

COLLECTION = "console_sessions"

LIFE = timedelta(hours=12)
"""How long a session lasts: a working day."""

COOKIE = "waybill_session"
"""The cookie that names a session."""

VISITOR = "waybill_visitor"
"""The cookie of a browser that is not signed in: binds the sign-in form to it."""

PATH = "/console"
"""Where cookies are sent."""

PURPOSE = b"waybill: console"
"""Bound into the derived key, so that nothing else that is made of the same version is that key."""

_COOKIE = re.compile(r"(([0-9a-f]{32})\.([0-9a-f]{16})\.([0-9]{1,9}))\.([0-9a-f]{64})")
_VISITOR = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Session:
    """Who is signed in."""

    id: str
    caller: Caller


def begin(cloud: Cloud, caller: Caller, taken: Taken | None = None) -> str:
    """Make a session that acts as this key, and return the value of its cookie. `taken` says by which link it
    begins, where it does by mail."""
    id, now = cloud.new_id(), server_time(cloud.db)
    cloud.db.document(f"{COLLECTION}/{id}").create(
        {
            "customer": caller.customer,
            "key": caller.key,
            "address": taken.address if taken else None,
            "grant": taken.grant if taken else None,
            "created": now,
            "expires": now + LIFE,
            REMOVE_AFTER: now + LIFE,
        }
    )
    version = cloud.settings.console_keys.newest()
    signed = f"{id}.{caller.key}.{version}"
    return f"{signed}.{_mac(cloud.settings, version, f'session {signed}')}"


def named(cookie: str, caller: Caller) -> Session:
    """The session of this caller that a cookie names which `begin` made."""
    return Session(cookie.partition(".")[0], caller)


def find(cloud: Cloud, request: flask.Request) -> Session | None:
    """The session that a request's cookie names. None where it names none, where the cookie is none of ours,
    where the session has ended or expired, where its key is revoked, or the address is withdrawn that it was
    mailed to."""
    cookie = _COOKIE.fullmatch(request.cookies.get(COOKIE, ""))
    if cookie is None:
        return None
    signed, id, key, version, mac = cookie.groups()
    if int(version) not in cloud.settings.console_keys.versions:
        return None
    if not hmac.compare_digest(mac, _mac(cloud.settings, int(version), f"session {signed}")):
        return None
    documents = [cloud.db.document(f"{COLLECTION}/{id}"), cloud.db.document(f"api_keys/{key}")]
    session, held_key = read_together(cloud.db, documents)
    caller = caller_of(held_key)
    if caller is None or not session.exists:
        return None
    fields = fields_of(session)
    if fields["key"] != key or read_time(session) >= moment_in(fields, "expires"):
        return None
    by = fields.get("address")
    if by is not None and not by_mail.holds(cloud.db.document(by).get(), fields["grant"]):
        return None
    note_use(cloud.db, held_key)
    return Session(id, caller)


def end(cloud: Cloud, session: Session) -> None:
    """End a session: its cookie is worth nothing from now on."""
    cloud.db.document(f"{COLLECTION}/{session.id}").delete()


def new_visitor() -> str:
    """A fresh value of the cookie of a browser that is not signed in."""
    return token_urlsafe(32)


def visitor_of(request: flask.Request) -> str | None:
    """The value of that cookie; None where there is none that can be ours."""
    value = request.cookies.get(VISITOR, "")
    return value if _VISITOR.fullmatch(value) else None


def csrf(settings: Settings, of: Session | str) -> str:
    """What a form must carry that this session, or this visitor, was shown."""
    newest = settings.console_keys.newest()
    return f"{newest}.{_mac(settings, newest, _form_of(of))}"


def csrf_is_right(settings: Settings, of: Session | str, carried: str) -> bool:
    """Whether a form carries what this session, or this visitor, was shown."""
    version, _, mac = carried.partition(".")
    if not version.isdecimal() or int(version) not in settings.console_keys.versions or not mac.isascii():
        return False
    return hmac.compare_digest(mac, _mac(settings, int(version), _form_of(of)))


def set_cookie(settings: Settings, response: flask.Response, name: str, value: str) -> None:
    """Have a browser keep a cookie, for our pages alone, out of reach of scripts and of other sites' forms;
    an empty value removes it. https://www.rfc-editor.org/rfc/rfc6265#section-4.1.2"""
    response.set_cookie(
        name,
        value,
        max_age=int(LIFE.total_seconds()) if value else 0,
        path=PATH,
        httponly=True,
        samesite="Lax",  # a link in a mail leads to a page as whoever is signed in
        secure=settings.url.startswith("https://"),
    )


def _form_of(of: Session | str) -> str:
    return f"form of session {of.id}" if isinstance(of, Session) else f"form of visitor {of}"


def _mac(settings: Settings, version: int, text: str) -> str:
    key = secrets.derived(settings.console_keys.versions[version], PURPOSE)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
