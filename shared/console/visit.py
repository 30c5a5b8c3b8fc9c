"""A visit: one request of a browser, and what a page needs to answer it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from secrets import token_hex
from typing import Any

import flask

from shared.accounts.keys import Caller
from shared.console import rendering, sessions
from shared.console.api import Api, curl
from shared.console.forms import Form
from shared.console.sessions import Session
from shared.gcp.clients import Cloud

SAID = "waybill_said"
"""The cookie that carries to the next page what has just been done."""

SENTENCES: dict[str, str] = {"signed-out": "You have signed out."}
"""What can have been done, by the name that the cookie has. Modules of pages add theirs with `sentences`."""

_OURS = re.compile(r"/console(?:[/?][\x21-\x5b\x5d-\x7e]*)?")
"""A path of the console, to which a person can be led."""


def sentences(**said: str) -> None:
    """Declare what `Visit.redirect` can say."""
    SENTENCES.update({name.replace("_", "-"): sentence for name, sentence in said.items()})


def ours(path: str) -> str:
    """The path, where it is one of the console's, and else its beginning: nobody is led to another site."""
    return path if _OURS.fullmatch(path) and "//" not in path else sessions.PATH


@dataclass
class Visit:
    """One request of a browser.

    session  None on pages for those who are not signed in
    visitor  what binds their forms to their browser
    form     what was sent; empty where nothing was
    connect  what scripts of the page may call besides us: the addresses of servers
    """

    cloud: Cloud
    request: flask.Request
    request_id: str
    session: Session | None
    visitor: str
    form: Form = field(default_factory=Form)
    connect: tuple[str, ...] = ()

    @property
    def caller(self) -> Caller:
        """Whoever is signed in."""
        if self.session is None:
            raise RuntimeError("this page is for those who are signed in")
        return self.session.caller

    @property
    def api(self) -> Api:
        """The API as they call it."""
        return Api(self.cloud, self.caller, self.request_id)

    @property
    def query(self) -> dict[str, str]:
        """The query parameters."""
        return self.request.args.to_dict()

    @cached_property
    def csrf(self) -> str:
        """What a form of this page must carry: made once for all of its forms."""
        return sessions.csrf(self.cloud.settings, self.session or self.visitor)

    def curl(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        file: str | None = None,
    ) -> str:
        """A call of the API as a command for a shell."""
        return curl(self.cloud.settings.url, method, path, body, query, form, file)

    def page(self, template: str, *, status: int = 200, **values: Any) -> flask.Response:
        """A page. Templates know `visit`, and a fresh `once` for each form that they have."""
        text = rendering.render(template, {"visit": self, "said": self._said(), **values})
        response = flask.Response(text, status, content_type="text/html; charset=utf-8")
        if SAID in self.request.cookies:
            sessions.set_cookie(self.cloud.settings, response, SAID, "")
        return response

    def stream(self, template: str, **values: Any) -> flask.Response:
        """A page that is sent while it is made: what it waits for shows as soon as it is there. It can say no
        more in its status that something failed."""
        made = rendering.pieces(template, {"visit": self, "said": None, **values})
        return flask.Response(made, content_type="text/html; charset=utf-8")

    def redirect(self, path: str, said: str | None = None) -> flask.Response:
        """Lead to another page of the console, which says what was done, as declared in `sentences`."""
        response = flask.Response(status=303, headers={"Location": path})
        if said is not None:
            if said not in SENTENCES:
                raise ValueError(f"nothing is declared as {said!r}: see shared/console/visit.py")
            sessions.set_cookie(self.cloud.settings, response, SAID, said)
        return response

    def once(self) -> str:
        """A fresh value for the hidden field of a form."""
        return token_hex(16)

    def url(self, **changes: Any) -> str:
        """This page with other query parameters; those that are None are left out."""
        return rendering.with_query(self.request.path, {**self.query, **changes})

    def here(self) -> str:
        """This page, with its query."""
        query = self.request.query_string.decode("latin-1")
        return self.request.path + (f"?{query}" if query else "")

    def _said(self) -> str | None:
        return SENTENCES.get(self.request.cookies.get(SAID, ""))
