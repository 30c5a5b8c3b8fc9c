"""Access tokens over HTTP: what clients of `/ls/api` send, byte by byte, and what they are answered."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import requests

from shared.accounts.keys import create_key, revoke_key
from tests.world import Answer, World

TOKEN = "/ls/api/oauth2/token"
VALIDATE = "/ls/api/oauth2/validate"
INFO = "/ls/api/oauth2/tokenInfo"

SCOPE = "community=plant deviceId=Bob's phone hardwareName=x y"


@pytest.fixture
def key(world: World) -> str:
    return create_key(world.cloud.db, customer="acme", scopes=["jobs"])


def grant(key: str, **changes: str | None) -> dict[str, str]:
    """The form that asks for a token; a field that is None is left out."""
    whole: dict[str, str | None] = {
        "grant_type": "password",
        "username": "bob@acme.com",
        "password": key,
        "scope": SCOPE,
        "client_id": "app",
        "client_secret": "hush",
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def send(world: World, method: str, path: str, **given: Any) -> Answer:
    """Send what the requests library makes of this."""
    prepared = requests.Request(method, f"http://localhost{path}", **given).prepare()
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    assert body is None or isinstance(body, bytes)
    return world.request(method, path, body, headers=dict(prepared.headers))


def post(world: World, path: str, content_type: str, body: bytes) -> Answer:
    return world.request("POST", path, body, headers={"Content-Type": content_type})


def token_of(world: World, key: str) -> str:
    answer = send(world, "POST", TOKEN, data=grant(key))
    assert answer.status == 200, answer
    token: str = answer.body["access_token"]
    return token


def bearer(token: str) -> Mapping[str, str]:
    return {"Authorization": "Bearer " + token}


# --- getting a token


def curl_multipart(key: str) -> bytes:
    return (
        b"".join(
            b"--------------------------d74496d66958873e\r\n"
            b'Content-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value.encode())
            for name, value in grant(key).items()
        )
        + b"--------------------------d74496d66958873e--\r\n"
    )


def forms(key: str) -> dict[str, tuple[str, bytes]]:
    """The same request by several clients: content type and body."""
    return {
        "requests": (
            "application/x-www-form-urlencoded",
            b"grant_type=password&username=bob%40acme.com&password="
            + key.encode()
            + b"&scope=community%3Dplant"
            b"+deviceId%3DBob%27s+phone+hardwareName%3Dx+y&client_id=app&client_secret=hush",
        ),
        "curl --data-urlencode": (
            "application/x-www-form-urlencoded",
            b"scope=community%3Dplant%20deviceId%3DBob%27s%20phone%20hardwareName%3Dx%20y&grant_type=password"
            b"&password=" + key.encode() + b"&username=bob@acme.com",
        ),
        "curl -F": (
            "multipart/form-data; boundary=------------------------d74496d66958873e",
            curl_multipart(key),
        ),
        "a browser": (
            "multipart/form-data; boundary=----geckoformboundary1d2f",
            curl_multipart(key).replace(
                b"--------------------------d74496d66958873e", b"------geckoformboundary1d2f"
            ),
        ),
    }


@pytest.mark.parametrize("client", ["requests", "curl --data-urlencode", "curl -F", "a browser"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_clients_form_gets_a_token(world: World, key: str, client: str, slash: str) -> None:
    answer = post(world, TOKEN + slash, *forms(key)[client])
    assert answer.status == 200, answer
    assert sorted(answer.body) == ["access_token", "expires_in", "token_type"]
    assert (answer.body["token_type"], answer.body["expires_in"]) == ("Bearer", 3600)
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    token = answer.body["access_token"]
    info = send(world, "POST", INFO, headers=bearer(token), data={})
    assert info.body == {
        "userId": "bob@acme.com",
        "authenticatedUserId": "bob@acme.com",
        "community": "plant",
    }


def test_the_form_of_requests_is_what_the_library_sends(key: str) -> None:
    prepared = requests.Request("POST", "http://x/", data=grant(key)).prepare()
    content_type, body = forms(key)["requests"]
    assert (prepared.headers["Content-Type"], prepared.body) == (content_type, body.decode())


@pytest.mark.parametrize("as_files", [False, True], ids=["urlencoded", "multipart"])
@pytest.mark.parametrize(
    "left_out", [("client_id",), ("client_secret",), ("client_id", "client_secret"), ("scope",)]
)
def test_what_may_be_absent_is(world: World, key: str, left_out: tuple[str, ...], as_files: bool) -> None:
    form = grant(key, **dict.fromkeys(left_out))
    files = {name: (None, value) for name, value in form.items()}
    answer = send(world, "POST", TOKEN, **({"files": files} if as_files else {"data": form}))
    assert answer.status == 200, answer
    info = send(world, "POST", INFO, headers=bearer(answer.body["access_token"]))
    assert info.body["community"] == ("acme" if "scope" in left_out else "plant")


REFUSED: dict[str, tuple[dict[str, str | None], str, str]] = {
    "wrong password": ({"password": "hunter2"}, "invalid_grant", "password: the key is not valid"),
    "no password": ({"password": None}, "invalid_request", "password: is needed"),
    "empty password": ({"password": ""}, "invalid_request", "password: is needed"),
    "no username": ({"username": None}, "invalid_request", "username: is needed"),
    "long username": ({"username": "x" * 129}, "invalid_request", "username: a name must be"),
    "no grant": ({"grant_type": None}, "invalid_request", "grant_type: is needed"),
    "other grant": (
        {"grant_type": "client_credentials", "username": None, "password": None},
        "unsupported_grant_type",
        "the grant client_credentials is not supported: send grant_type=password",
    ),
    "odd grant": ({"grant_type": 'a"\\\né'}, "unsupported_grant_type", "the grant a''?? is not"),
}


@pytest.mark.parametrize(("changes", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_in_oauths_form(
    world: World, key: str, changes: dict[str, str | None], error: str, says: str
) -> None:
    answer = send(world, "POST", TOKEN, data=grant(key, **changes))
    assert (answer.status, answer.body["error"]) == (400, error)
    assert answer.body["error_description"][: len(says)] == says
    assert sorted(answer.body) == ["error", "error_description", "request_id"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_key_without_the_scope_or_a_revoked_one_gets_no_token(world: World, key: str) -> None:
    answer = send(world, "POST", TOKEN, data=grant(world.key))
    assert (answer.status, answer.body["error"]) == (400, "invalid_grant")
    assert "lacks the scope 'jobs'" in answer.body["error_description"]
    revoke_key(world.cloud.db, key.split("_")[1])
    answer = send(world, "POST", TOKEN, data=grant(key))
    assert (answer.status, answer.body["error"]) == (400, "invalid_grant")
    assert key not in str(answer.body)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n", 400),
        ("application/x-www-form-urlencoded", b"scope=" + b"x" * 1024 * 1024, 413),
        ("application/x-www-form-urlencoded", b"", 400),
    ],
)
def test_what_is_no_form_is_told_in_oauths_form(
    world: World, content_type: str, body: bytes, status: int
) -> None:
    answer = post(world, TOKEN, content_type, body)
    assert (answer.status, answer.body["error"]) == (status, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", TOKEN, 405), ("POST", "/ls/api/oauth2/x", 404), ("GET", "/ls", 404)],
)
def test_what_there_is_not_is_told_in_oauths_form(world: World, method: str, path: str, status: int) -> None:
    answer = world.request(method, path)
    assert (answer.status, answer.body["error"]) == (
        status,
        {404: "not_found", 405: "invalid_request"}[status],
    )


# --- using one


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_good_token_or_key_is_valid(world: World, key: str, slash: str) -> None:
    for carried in (token_of(world, key), key):
        answer = send(world, "GET", VALIDATE + slash, headers=bearer(carried))
        assert (answer.status, answer.body) == (200, {"valid": True})


@pytest.mark.parametrize(
    "given", [{}, {"data": {}}, {"data": {"a": "b"}}, {"files": {"a": (None, "b")}}], ids=str
)
def test_whose_a_token_is_needs_no_body(world: World, key: str, given: dict[str, Any]) -> None:
    answer = send(world, "POST", INFO, headers=bearer(token_of(world, key)), **given)
    assert (answer.status, answer.body["userId"]) == (200, "bob@acme.com")


def test_whose_a_key_is(world: World, key: str) -> None:
    answer = send(world, "POST", INFO, headers=bearer(key))
    assert (answer.body["userId"], answer.body["community"]) == (key.split("_")[1], "acme")


@pytest.mark.parametrize(("method", "path"), [("GET", VALIDATE), ("POST", INFO)])
def test_without_a_good_token_nothing_is_said(world: World, key: str, method: str, path: str) -> None:
    token = token_of(world, key)
    good = send(world, method, path, headers=bearer(token))
    assert good.status == 200
    nothing = {"Authorization": ""}
    for headers in (nothing, bearer(token[:-1]), bearer(f"{token}x"), bearer("x"), {"Authorization": token}):
        answer = send(world, method, path, headers=headers)
        assert (answer.status, answer.body["error"]) == (401, "invalid_token")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="waybill"'


def test_a_token_ends_after_an_hour(world: World, key: str) -> None:
    token = token_of(world, key)
    world.wait(timedelta(minutes=59))
    assert send(world, "GET", VALIDATE, headers=bearer(token)).status == 200
    world.wait(timedelta(minutes=1))
    assert send(world, "GET", VALIDATE, headers=bearer(token)).status == 401


def test_a_revoked_key_ends_its_tokens_at_once(world: World, key: str) -> None:
    token = token_of(world, key)
    revoke_key(world.cloud.db, key.split("_")[1])
    assert send(world, "GET", VALIDATE, headers=bearer(token)).status == 401


def test_a_key_without_the_scope_is_told_so(world: World) -> None:
    answer = send(world, "GET", VALIDATE, headers=bearer(world.key))
    assert (answer.status, answer.body["error"]) == (403, "insufficient_scope")


def test_a_token_opens_no_other_surface(world: World, key: str) -> None:
    assert send(world, "GET", "/v1/exports", headers=bearer(token_of(world, key))).status == 401
