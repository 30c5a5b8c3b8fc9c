"""The API, called in this process with the key of whoever is signed in: the console can do nothing else.

A page shows what a GET answers, and an action is one call, so that each can be shown as curl.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.accounts.keys import Caller
from shared.console.rendering import with_query
from shared.gcp.clients import Cloud
from shared.http.forms import Part
from shared.http.matching import etag
from shared.http.routes import Asked, Routes

HIDDEN = ("password", "private_key", "passphrase", "secret")
"""Fields whose values are not shown again, wherever they stand in a body."""


@dataclass(frozen=True)
class Api:
    """The API as one key calls it, for one request of a browser.

    All calls raise what the API refuses with: `shared.errors.Refused`, of which Invalid names the fields.
    """

    cloud: Cloud
    caller: Caller
    request_id: str

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """What a GET answers: JSON values, or the response of a download. What is None or empty in the query
        is not sent."""
        sent = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
        return self._perform(Asked("GET", path, sent))

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        once: str | None = None,
        parts: Iterator[Part] | None = None,
        version: int | None = None,
    ) -> Any:
        """What a call that changes something answers; None where its answer has no content.

        `once` has the same call with the same value done once. With a `version` only this one is changed:
        `shared.errors.Outdated` where there is another by now.
        """
        match = None if version is None else etag(version)
        return self._perform(Asked(method, path, dict(query or {}), body, parts, once or None, match))

    def may(self, scope: str) -> bool:
        """Whether the key has a scope."""
        return scope in self.caller.scopes

    def _perform(self, asked: Asked) -> Any:
        return _routes(asked.path).perform(self.cloud, self.caller, asked, self.request_id)


def curl(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    query: Mapping[str, Any] | None = None,
    form: Mapping[str, str] | None = None,
    file: str | None = None,
) -> str:
    """A call as a command for a shell, with the key in the variable WAYBILL_API_KEY. What is secret in the
    body is left out. In place of a body there can be a form: of its fields those are left out that are empty,
    and `file` is the name of the file that it has."""
    address = with_query(f"{url}{path}", query or {})
    verb = "" if method == "GET" else f" -X {method}"
    lines = [f"curl{verb} {shlex.quote(address)}", '-H "Authorization: Bearer $WAYBILL_API_KEY"']
    if body is not None:
        shown = orjson.dumps(_without_secrets(body), option=orjson.OPT_INDENT_2).decode()
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(shown)}"]
    option = "--data-urlencode" if file is None else "--form-string"
    lines += [f"{option} {shlex.quote(f'{name}={value}')}" for name, value in (form or {}).items() if value]
    if file is not None:
        lines.append(f"-F {shlex.quote(f'file=@{file}')}")
    return " \\\n  ".join(lines)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: "…" if name in HIDDEN and each else _without_secrets(each) for name, each in value.items()
        }
    return [_without_secrets(each) for each in value] if isinstance(value, list) else value


def _routes(path: str) -> Routes:
    """The routes of the surface that a path is of. Each is loaded when it is first called: a page of exports
    needs none of what datasets are made with."""
    if path.startswith("/v1/"):
        from shared.exports import api as exports

        return exports.ROUTES
    if path.startswith("/v0.2/"):
        from shared.batches import api as batches

        return batches.ROUTES
    if path.startswith("/ls/api/"):
        from shared.jobs import api as jobs

        return jobs.ROUTES
    from shared.datasets import api as datasets

    return datasets.ROUTES
