"""A browser without scripts, for tests of the console: it keeps cookies, follows links and sends forms."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from werkzeug.http import parse_cookie
from werkzeug.wrappers import Response

from tests.world import World, environ, framework

HOST = "http://localhost"
"""Where tests reach the console."""


@dataclass
class Form:
    """A form of a page: where it is sent, how, and the values of its fields."""

    action: str
    method: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


@dataclass
class Seen:
    """A page as it came."""

    status: int
    headers: dict[str, str]
    html: str
    path: str

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        reader = _Reader()
        reader.feed(self.html)
        return " ".join("".join(reader.text).split())

    @property
    def forms(self) -> list[Form]:
        """Its forms."""
        reader = _Reader()
        reader.feed(self.html)
        return reader.forms

    @property
    def links(self) -> dict[str, str]:
        """Its links by their text."""
        reader = _Reader()
        reader.feed(self.html)
        return {" ".join(text.split()): to for text, to in reader.links}

    def form(self, part: str) -> Form:
        """The one form whose address or button has this in it."""
        found = [each for each in self.forms if part in each.action or part in each.buttons]
        assert len(found) == 1, f"{len(found)} forms with {part!r} in {[each.action for each in self.forms]}"
        return found[0]


class Browser:
    """A browser at the console, without scripts. `follows`: whether it goes where it is led."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookies: dict[str, str] = {}

    def sign_in(self, key: str | None = None) -> Seen:
        """Sign in with a key, by default the world's."""
        page = self.get("/console/sign-in")
        return self.send(page.form("/console/sign-in"), key=key or self.world.key)

    def get(self, path: str, *, follows: bool = True, headers: dict[str, str] | None = None) -> Seen:
        """Open an address."""
        return self._go("GET", path, None, follows, headers or {})

    def send(
        self, form: Form, *, follows: bool = True, headers: dict[str, str] | None = None, **changes: Any
    ) -> Seen:
        """Send a form with these fields changed; a value can be a list, and None leaves a field out. Names
        are as in the page; `__` stands for a point."""
        fields: dict[str, Any] = dict(form.fields)
        for name, value in changes.items():
            name = name.replace("__", ".")
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value if isinstance(value, list) else [value]
        body = urlencode([(name, each) for name, values in fields.items() for each in values])
        if form.method == "get":
            return self.get(f"{form.action}?{body}", follows=follows, headers=headers)
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": HOST, **(headers or {})}
        return self._go("POST", form.action, body.encode(), follows, sent)

    def _go(self, method: str, path: str, data: bytes | None, follows: bool, headers: dict[str, str]) -> Seen:
        for _ in range(5):
            given = [("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))]
            sent = environ(path, method=method, headers=[*given, *headers.items()], data=data)
            response = Response.from_app(framework("console"), sent)
            self._keep(response)
            location = response.headers.get("Location")
            if not (follows and location and response.status_code in (302, 303)):
                break
            assert location.startswith("/console"), location
            method, path, data, headers = "GET", location, None, {}
        html = response.get_data().decode("utf-8", "replace")
        return Seen(response.status_code, dict(response.headers), html, path)

    def _keep(self, response: Response) -> None:
        for set_cookie in response.headers.getlist("Set-Cookie"):
            first, _, rest = set_cookie.partition(";")
            for name, value in parse_cookie(first).items():
                if re.search(r"max-age=0\b", rest.lower()):
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = value


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self._link: list[str] | None = None
        self._href = ""
        self._area: str | None = None
        self._select: str | None = None
        self._button = False
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        form = self.forms[-1] if self.forms else None
        if tag in ("style", "script", "title"):
            self._hidden += 1
        elif tag == "form":
            self.forms.append(Form(has.get("action", ""), has.get("method", "get").lower()))
        elif tag == "a":
            self._link, self._href = [], has.get("href", "")
        elif tag == "button":
            self._button = True
        elif form is not None and tag == "input" and has.get("name"):
            ticked = has.get("type") not in ("checkbox", "radio") or "checked" in has
            if ticked and "disabled" not in has:
                form.fields.setdefault(has["name"], []).append(has.get("value", "on"))
        elif form is not None and tag == "textarea":
            self._area = has["name"]
            form.fields[self._area] = [""]
        elif form is not None and tag == "select":
            self._select = has["name"]
        elif form is not None and tag == "option" and self._select:  # noqa: SIM102
            if "selected" in has or self._select not in form.fields:
                form.fields[self._select] = [has.get("value", "")]
        if tag in ("p", "li", "td", "th", "div", "dt", "dd", "h1", "h2", "h3", "tr", "br", "option"):
            self.text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "title"):
            self._hidden -= 1
        elif tag == "a" and self._link is not None:
            self.links.append(("".join(self._link), self._href))
            self._link = None
        elif tag == "button":
            self._button = False
        elif tag == "textarea":
            self._area = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._area is not None:
            values = self.forms[-1].fields[self._area]
            values[0] += data[1:] if not values[0] and data.startswith("\n") else data
        self.text.append(data)
        if self._link is not None:
            self._link.append(data)
        if self._button and self.forms:
            self.forms[-1].buttons.append(data.strip())
