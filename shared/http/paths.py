"""Paths of requests: which rule one means, also where the endpoint that a client has ended in a slash."""

import re
from collections.abc import Callable, Iterable
from typing import NoReturn

from werkzeug.routing import Map, Rule

_SLASHES = re.compile("/{2,}")


def single_slashes(path: str) -> str:
    """The path with one slash for each run of them: `//v0.2/batches` is what a client asks for that puts
    `/v0.2/batches` behind an endpoint `https://waybill.example/`."""
    return _SLASHES.sub("/", path)


class _Rule(Rule):
    """A rule that requests are matched by. No URL is built of it: compiling what would build them takes a
    millisecond a rule, at each cold start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., NoReturn]:
        return _no_url


def _no_url(*_: object) -> NoReturn:
    raise NotImplementedError("no URLs are built of these rules: write the path")


def paths(rules: Iterable[tuple[str, str, str]]) -> Map:
    """What finds the rule of a request, of rules that are each a method, a path and a name. Nothing is ever
    redirected."""
    return Map(
        [_Rule(path, methods=[method], endpoint=name) for method, path, name in rules],
        strict_slashes=False,
        merge_slashes=False,
        redirect_defaults=False,
    )
