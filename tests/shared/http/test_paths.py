"""Requests are matched by rules of which no URL is built."""

import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from shared.http.paths import paths

RULES = paths(
    [
        ("GET", "/v1/exports", "list"),
        ("GET", "/v1/exports/<uuid:export>", "show"),
        ("POST", "/v1/exports/<uuid:export>:run", "run"),
        ("GET", "/v1/files/<path:name>", "file"),
    ]
).bind("")
ID = "0a7510ba-efe4-4d3e-bf74-1f5c6c52c40d"


@pytest.mark.parametrize(
    ("method", "path", "name", "values"),
    [
        ("GET", "/v1/exports", "list", []),
        ("GET", "/v1/exports/", "list", []),
        ("GET", f"/v1/exports/{ID}", "show", [ID]),
        ("POST", f"/v1/exports/{ID}:run", "run", [ID]),
        ("GET", "/v1/files/a/b%20c", "file", ["a/b%20c"]),
    ],
)
def test_matched(method: str, path: str, name: str, values: list[str]) -> None:
    found, given = RULES.match(path, method=method)
    assert (found, [str(value) for value in given.values()]) == (name, values)


def test_not_matched() -> None:
    with pytest.raises(NotFound):
        RULES.match("/v1/exports/one", method="GET")
    with pytest.raises(MethodNotAllowed):
        RULES.match("/v1/exports", method="PUT")


def test_no_url_is_built() -> None:
    with pytest.raises(NotImplementedError, match="write the path"):
        RULES.build("list")
