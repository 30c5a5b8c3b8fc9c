"""Signing in to the console with a key or by a link in a mail, and out.

A link opens a page with a button, and only the button uses it up: programs that look through mails open
links.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import flask

from shared import logs
from shared.accounts import by_mail, strangers
from shared.accounts.by_mail import Taken
from shared.accounts.keys import Caller, identify
from shared.console import links, sessions
from shared.console.forms import Form
from shared.console.page import Page
from shared.console.rendering import with_query
from shared.console.visit import Visit, ours, sentences
from shared.errors import Invalid, TooMany, Unauthenticated
from shared.http.origin import address_of

SIGN_IN = f"{sessions.PATH}/sign-in"

sentences(
    link_asked="If this address may sign in, a link to do so is on its way there. It works once, for 15 "
    "minutes. If nothing comes, sign in with a key, or ask whoever gave you access."
)

SENT = "sent"
"""The field that says that a form came when its session had ended, and is sent on after signing in."""

KEPT = "kept:"
"""What the names of its fields begin with meanwhile. It can have none, as that of a button alone."""


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
    kept = None
    if form.has(SENT):
        kept = {name[len(KEPT) :]: values for name, values in form.fields.items() if name.startswith(KEPT)}
    try:
        if not key:
            raise Unauthenticated("Enter a key: it begins with wb_.")
        caller = strangers.check(visit.request, "key", key, lambda: identify(visit.cloud.db, key)[0])
    except (Unauthenticated, TooMany) as refused:
        return _page(visit, goes_on, kept=kept, problems={"key": str(refused)}, status=refused.status)
    cookie = _begin(visit, caller)
    if kept is not None:
        visit.session = sessions.named(cookie, caller)
        answer = visit.page("signing_in/go_on.html", path=goes_on, kept=kept)
    else:
        answer = visit.redirect(goes_on)
    sessions.set_cookie(visit.cloud.settings, answer, sessions.COOKIE, cookie)
    return answer


def _ask_for_link(visit: Visit) -> flask.Response:
    address = visit.form.text("address")
    try:
        links.ask(visit.cloud, address, address_of(visit.request))
    except (Invalid, TooMany) as refused:
        problem = refused.problems[0].message if isinstance(refused, Invalid) else str(refused)
        problems = {"address": problem if address else "Enter the address that your link goes to."}
        return _page(visit, sessions.PATH, problems=problems, address=address, status=refused.status)
    return visit.redirect(SIGN_IN, said="link-asked")


def _show_link(visit: Visit, token: str) -> flask.Response:
    return visit.page("signing_in/by_mail.html", token=token, problem=None)


def _take_link(visit: Visit, token: str) -> flask.Response:
    try:
        taken = strangers.check(
            visit.request, "link to the console", token, lambda: by_mail.take(visit.cloud, token)
        )
    except (Unauthenticated, TooMany) as refused:
        return visit.page("signing_in/by_mail.html", token=None, problem=str(refused), status=refused.status)
    cookie = _begin(visit, taken.caller, taken)
    answer = visit.redirect(sessions.PATH)
    sessions.set_cookie(visit.cloud.settings, answer, sessions.COOKIE, cookie)
    return answer


def _begin(visit: Visit, caller: Caller, taken: Taken | None = None) -> str:
    """Begin a session in the place of any other, and return the value of its cookie."""
    if visit.session is not None:
        sessions.end(visit.cloud, visit.session)
    logs.info("signed in to the console", customer=caller.customer, key=caller.key, by_mail=taken is not None)
    return sessions.begin(visit.cloud, caller, taken)


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
    problems: Mapping[str, str] | None = None,
    address: str = "",
    status: int = 200,
) -> flask.Response:
    return visit.page(
        "signing_in/sign_in.html",
        goes_on=goes_on,
        kept=kept,
        problems=problems or {},
        address=address,
        status=status,
    )


PAGES = [
    Page("GET", "/sign-in", _show, public=True),
    Page("POST", "/sign-in", _sign_in, public=True),
    Page("POST", "/by-mail", _ask_for_link, public=True),
    Page("GET", "/by-mail/<token>", _show_link, public=True),
    Page("POST", "/by-mail/<token>", _take_link, public=True),
    Page("POST", "/sign-out", _sign_out, public=True),
]
