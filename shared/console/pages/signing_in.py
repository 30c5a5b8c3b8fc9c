"""Signing in to the console with a key, and out."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import flask

from shared import logs
from shared.accounts import strangers
from shared.accounts.keys import identify
from shared.console import sessions
from shared.console.forms import Form
from shared.console.page import Page
from shared.console.rendering import with_query
from shared.console.visit import Visit, ours
from shared.errors import TooMany, Unauthenticated

SIGN_IN = f"{sessions.PATH}/sign-in"

KEPT = "kept:"
"""What the names of fields begin with that were sent when a session had ended, and are sent on after signing
in."""


def needed(visit: Visit, sent: Form | None) -> flask.Response:
    """Have somebody sign in who is not, and then go on where they were; what a form sent is kept."""
    if visit.request.method != "POST":
        return visit.redirect(with_query(SIGN_IN, {"next": visit.here()}))
    if sent is not None and visit.request.headers.get("Origin"):
        return _page(visit, visit.request.path, kept=sent.fields, status=401)
    back = urlsplit(visit.request.headers.get("Referer", ""))
    return visit.redirect(with_query(SIGN_IN, {"next": ours(back.path)}))


def _show(visit: Visit) -> flask.Response:
    goes_on = ours(visit.query.get("next", ""))
    return visit.redirect(goes_on) if visit.session else _page(visit, goes_on)


def _sign_in(visit: Visit) -> flask.Response:
    form, key = visit.form, visit.form.text("key")
    goes_on = ours(form.text("next"))
    kept = {name[len(KEPT) :]: values for name, values in form.fields.items() if name.startswith(KEPT)}
    try:
        if not key:
            raise Unauthenticated("Enter a key: it begins with wb_.")
        caller = strangers.check(visit.request, "key", key, lambda: identify(visit.cloud.db, key)[0])
    except (Unauthenticated, TooMany) as refused:
        return _page(visit, goes_on, kept=kept, problem=str(refused), status=refused.status)
    if visit.session is not None:
        sessions.end(visit.cloud, visit.session)
    cookie = sessions.begin(visit.cloud, caller)
    logs.info("signed in to the console", customer=caller.customer, key=caller.key)
    if kept:
        visit.session = sessions.named(cookie, caller)
        answer = visit.page("signing_in/go_on.html", path=goes_on, kept=kept)
    else:
        answer = visit.redirect(goes_on)
    sessions.set_cookie(visit.cloud.settings, answer, sessions.COOKIE, cookie)
    return answer


def _sign_out(visit: Visit) -> flask.Response:
    if visit.session is not None:
        sessions.end(visit.cloud, visit.session)
    answer = visit.redirect(SIGN_IN, said="signed-out")
    sessions.set_cookie(visit.cloud.settings, answer, sessions.COOKIE, "")
    return answer


def _page(
    visit: Visit,
    goes_on: str,
    *,
    kept: Mapping[str, Sequence[str]] | None = None,
    problem: str | None = None,
    status: int = 200,
) -> flask.Response:
    return visit.page(
        "signing_in/sign_in.html", goes_on=goes_on, kept=kept or {}, problem=problem, status=status
    )


PAGES = [
    Page("GET", "/sign-in", _show, public=True),
    Page("POST", "/sign-in", _sign_in, public=True),
    Page("POST", "/sign-out", _sign_out, public=True),
]
