"""Accounts and tokens, through google.auth as the functions use it."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import google.auth
import pytest
import requests
from aiohttp import web
from google.auth import exceptions, impersonated_credentials
from google.auth.compute_engine import _metadata
from google.auth.compute_engine import credentials as compute
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials

from infra.local.clock import machine_time
from infra.local.http_server import HttpServer
from infra.local.identity import LIFETIME_SECONDS, UNIVERSE, Identity, InvalidToken
from infra.local.traffic import Fault, Traffic

FUNCTION = "waybill-exporter@waybill-test.iam.gserviceaccount.com"
CUSTOMER = "customer-acme-data-export@waybill-test.iam.gserviceaccount.com"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


class World:
    """An identity service with two accounts behind a server."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.identity = Identity(traffic=self.traffic, file=None)
        for email in (FUNCTION, CUSTOMER):
            self.identity.create_account(email)
        app = web.Application()
        app.add_routes(self.identity.routes())
        self.server = HttpServer(app)
        self.host = f"127.0.0.1:{self.server.start()}"
        self.url = f"http://{self.host}"

    def impersonated(self, source: Any, target: str = CUSTOMER, **more: Any) -> Any:
        return impersonated_credentials.Credentials(
            source,
            target,
            SCOPES,
            iam_endpoint_override=f"{self.url}/v1/projects/-/serviceAccounts/{target}:generateAccessToken",
            **more,
        )

    def token(self, email: str = FUNCTION) -> Any:
        return Credentials(token=self.identity.mint(email))

    def generate(
        self, authorization: str | None, target: str = CUSTOMER, body: Any = None
    ) -> requests.Response:
        return requests.post(
            f"{self.url}/v1/projects/-/serviceAccounts/{target}:generateAccessToken",
            json={"scope": SCOPES, "lifetime": "600s"} if body is None else body,
            headers={} if authorization is None else {"Authorization": authorization},
            timeout=5,
        )


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.server.stop()


@pytest.fixture
def on_gce(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The environment of a function's process; google.auth reads part of it when it is imported."""
    host = f"{world.host}/as/{FUNCTION}"
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_IP", host)
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
    return host


# Tokens


def test_a_token_tells_whose_it_is(world: World) -> None:
    token = world.identity.mint(FUNCTION)
    assert world.identity.principal(f"Bearer {token}") == FUNCTION
    assert world.identity.principal(f"bearer {world.identity.mint(CUSTOMER)}") == CUSTOMER
    assert world.identity.principal(None) == ""
    assert token != world.identity.mint(FUNCTION)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer owner",
        "Basic {token}",
        "Bearer {token}0",
        "Bearer x{token}",
        "{token}",
    ],
)
def test_what_is_no_token(world: World, header: str) -> None:
    token = world.identity.mint(FUNCTION)
    with pytest.raises(InvalidToken):
        world.identity.principal(header.format(token=token))


def test_a_forged_token(world: World) -> None:
    start, _, signature = world.identity.mint(FUNCTION).rpartition(".")
    claims = world.identity.mint(CUSTOMER).split(".")[2]
    with pytest.raises(InvalidToken):
        world.identity.principal(f"Bearer {start.rpartition('.')[0]}.{claims}.{signature}")
    stranger = Identity(traffic=Traffic(), file=None)
    stranger.create_account(FUNCTION)
    with pytest.raises(InvalidToken):
        world.identity.principal(f"Bearer {stranger.mint(FUNCTION)}")


def test_an_expired_token(world: World) -> None:
    with pytest.raises(InvalidToken):
        world.identity.principal(f"Bearer {world.identity.mint(FUNCTION, lifetime_seconds=0)}")
    assert world.identity.principal(f"Bearer {world.identity.mint(FUNCTION, lifetime_seconds=60)}")


def test_a_disabled_accounts_token(world: World) -> None:
    header = f"Bearer {world.identity.mint(FUNCTION)}"
    assert world.identity.principal(header) == FUNCTION
    world.identity.disable_account(FUNCTION)
    world.identity.create_account(FUNCTION)
    with pytest.raises(InvalidToken):
        world.identity.principal(header)
    world.identity.disable_account(FUNCTION, False)
    assert world.identity.principal(header) == FUNCTION


def test_unknown_accounts(world: World) -> None:
    for act in (world.identity.mint, world.identity.disable_account):
        with pytest.raises(ValueError, match="no account"):
            act("nobody@waybill-test.iam.gserviceaccount.com")


def test_accounts_grants_and_tokens_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "state" / "identity.json"
    first = Identity(traffic=Traffic(), file=file)
    for email in (FUNCTION, CUSTOMER):
        first.create_account(email)
    first.allow_impersonation(FUNCTION, CUSTOMER)
    first.disable_account(CUSTOMER)
    header = f"Bearer {first.mint(FUNCTION)}"
    assert file.stat().st_mode & 0o077 == 0

    second = Identity(traffic=Traffic(), file=file)
    assert second.principal(header) == FUNCTION
    with pytest.raises(InvalidToken):
        second.principal(f"Bearer {second.mint(CUSTOMER)}")
    second.disable_account(CUSTOMER, False)
    assert json.loads(second._impersonate(FUNCTION, CUSTOMER, b'{"scope": ["s"]}').text or "")["accessToken"]


# The metadata server


@pytest.mark.usefixtures("on_gce")
def test_default_credentials_of_a_function(world: World) -> None:
    credentials, project = google.auth.default(scopes=SCOPES)
    assert isinstance(credentials, compute.Credentials)
    assert project == "waybill-test"
    credentials.refresh(Request())
    assert credentials.service_account_email == FUNCTION
    # In Google's own universe google-auth would ask a Google host beside each token.
    assert credentials.universe_domain == UNIVERSE != "googleapis.com"
    assert not credentials._is_regional_access_boundary_lookup_required()
    assert world.identity.principal(f"Bearer {credentials.token}") == FUNCTION
    assert credentials.expiry is not None
    left = credentials.expiry - machine_time().replace(tzinfo=None)
    assert timedelta(seconds=LIFETIME_SECONDS - 60) < left <= timedelta(seconds=LIFETIME_SECONDS)
    assert [(c.kind, c.principal) for c in world.traffic.calls()] == [("metadata.token", FUNCTION)]


def test_each_process_has_an_account_of_its_own(world: World) -> None:
    for email in (FUNCTION, CUSTOMER):
        url = f"{world.url}/as/{email}/computeMetadata/v1/instance/service-accounts/default"
        google_only = {"Metadata-Flavor": "Google"}
        assert requests.get(f"{url}/email", headers=google_only, timeout=5).text == email
        token = requests.get(f"{url}/token", headers=google_only, timeout=5).json()
        assert token["token_type"] == "Bearer"
        assert world.identity.principal(f"Bearer {token['access_token']}") == email


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("", 200, None),
        ("computeMetadata/v1/project/project-id", 200, "waybill-test"),
        ("computeMetadata/v1/universe/universe-domain", 200, UNIVERSE),
        (f"computeMetadata/v1/instance/service-accounts/{FUNCTION}/email", 200, FUNCTION),
        ("computeMetadata/v1/instance/service-accounts/default/aliases", 200, "default\n"),
        ("computeMetadata/v1/instance/service-accounts/default/identity?audience=x", 501, None),
        (f"computeMetadata/v1/instance/service-accounts/{CUSTOMER}/email", 404, None),
        ("computeMetadata/v1/instance/zone", 404, None),
    ],
)
def test_what_the_metadata_server_tells(world: World, path: str, status: int, text: str | None) -> None:
    answer = requests.get(
        f"{world.url}/as/{FUNCTION}/{path}", headers={"Metadata-Flavor": "Google"}, timeout=5
    )
    assert answer.status_code == status
    assert answer.headers["Metadata-Flavor"] == "Google"
    if text is not None:
        assert answer.text == text


def test_whom_the_metadata_server_refuses(world: World) -> None:
    url = f"{world.url}/as/{FUNCTION}/computeMetadata/v1/instance/service-accounts/default/token"
    assert requests.get(url, timeout=5).status_code == 403
    asked = {"Metadata-Flavor": "Google"}
    assert requests.get(url.replace("exporter", "nobody"), headers=asked, timeout=5).status_code == 404
    world.identity.disable_account(FUNCTION)
    assert requests.get(url, headers=asked, timeout=5).status_code == 403


# Signing


def sign(world: World, email: str = FUNCTION, body: Any = None, caller: str | None = "") -> requests.Response:
    if caller == "":
        caller = f"Bearer {world.identity.mint(FUNCTION)}"
    return requests.post(
        f"{world.url}/v1/projects/-/serviceAccounts/{email}:signBlob",
        json={"payload": base64.b64encode(b"to sign").decode()} if body is None else body,
        headers={} if caller is None else {"Authorization": caller},
        timeout=5,
    )


def test_an_account_signs_as_itself_and_as_another_where_it_may(world: World) -> None:
    keys = set()
    for target in (FUNCTION, CUSTOMER):
        refused = sign(world, target).json()["error"]
        assert (refused["code"], refused["status"]) == (403, "PERMISSION_DENIED")
        assert refused["details"][0]["metadata"]["permission"] == "iam.serviceAccounts.signBlob"
        world.identity.allow_impersonation(FUNCTION, target)
        answer = sign(world, target)
        assert answer.status_code == 200
        signature = base64.b64decode(answer.json()["signedBlob"])
        keys.add(answer.json()["keyId"])
        for email in (FUNCTION, CUSTOMER):
            assert world.identity.has_signed(email, b"to sign", signature) == (email == target)
        assert not world.identity.has_signed(target, b"to sign ", signature)
        assert sign(world, target).json() == answer.json()
    assert len(keys) == 2, "each has a key of its own"
    kinds = [(c.kind, c.resource, c.principal) for c in world.traffic.calls("iamcredentials.signBlob")]
    assert kinds == [
        ("iamcredentials.signBlob", target, FUNCTION) for target in [FUNCTION] * 3 + [CUSTOMER] * 3
    ]


@pytest.mark.parametrize(
    ("caller", "target", "body", "status", "name"),
    [
        (None, FUNCTION, None, 401, "UNAUTHENTICATED"),
        ("Bearer x", FUNCTION, None, 401, "UNAUTHENTICATED"),
        ("", "nobody@waybill-test.iam.gserviceaccount.com", None, 404, "NOT_FOUND"),
        ("", FUNCTION, {}, 400, "INVALID_ARGUMENT"),
        ("", FUNCTION, {"payload": "no base64!"}, 400, "INVALID_ARGUMENT"),
        ("", FUNCTION, {"payload": 7}, 400, "INVALID_ARGUMENT"),
        ("", FUNCTION, [], 400, "INVALID_ARGUMENT"),
        ("", FUNCTION, {"payload": "eA==", "delegates": ["x"]}, 501, "UNIMPLEMENTED"),
    ],
)
def test_what_is_not_signed(
    world: World, caller: str | None, target: str, body: Any, status: int, name: str
) -> None:
    world.identity.allow_impersonation(FUNCTION, FUNCTION)
    answer = sign(world, target, body, caller)
    assert (answer.status_code, answer.json()["error"]["status"]) == (status, name)


def test_a_disabled_account_signs_nothing(world: World) -> None:
    world.identity.allow_impersonation(FUNCTION, CUSTOMER)
    world.identity.disable_account(CUSTOMER)
    assert sign(world, CUSTOMER).json()["error"]["status"] == "FAILED_PRECONDITION"
    world.identity.disable_account(FUNCTION)
    world.identity.disable_account(CUSTOMER, False)
    assert not world.identity.is_active(FUNCTION)
    assert world.identity.is_active(CUSTOMER)
    assert not world.identity.is_active("nobody")


# Impersonation


@pytest.mark.usefixtures("on_gce")
def test_a_function_acts_as_a_customers_account(world: World) -> None:
    world.identity.allow_impersonation(FUNCTION, CUSTOMER)
    source, _ = google.auth.default(scopes=SCOPES)
    credentials = world.impersonated(source, lifetime=600)
    credentials.refresh(Request())
    assert world.identity.principal(f"Bearer {credentials.token}") == CUSTOMER
    left = credentials.expiry - machine_time().replace(tzinfo=None)
    assert timedelta(seconds=540) < left <= timedelta(seconds=600)
    kinds = [(c.kind, c.resource, c.principal) for c in world.traffic.calls()]
    assert kinds == [
        ("metadata.token", FUNCTION, FUNCTION),
        ("iamcredentials.generateAccessToken", CUSTOMER, FUNCTION),
    ]


def test_without_the_role_it_is_refused_and_told_the_permission(world: World) -> None:
    credentials = world.impersonated(world.token())
    with pytest.raises(exceptions.RefreshError, match=r"iam\.serviceAccounts\.getAccessToken") as caught:
        credentials.refresh(Request())
    error = json.loads(caught.value.args[1])["error"]
    assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
    assert error["details"][0]["metadata"]["permission"] == "iam.serviceAccounts.getAccessToken"
    world.identity.allow_impersonation(FUNCTION, CUSTOMER)
    credentials.refresh(Request())
    world.identity.forbid_impersonation(FUNCTION, CUSTOMER)
    with pytest.raises(exceptions.RefreshError):
        credentials.refresh(Request())
    # One way only, and not for oneself.
    world.identity.allow_impersonation(FUNCTION, CUSTOMER)
    for source, target in ((CUSTOMER, FUNCTION), (CUSTOMER, CUSTOMER)):
        with pytest.raises(exceptions.RefreshError):
            world.impersonated(world.token(source), target).refresh(Request())


@pytest.mark.parametrize(
    ("authorization", "target", "body", "status", "name"),
    [
        (None, CUSTOMER, None, 401, "UNAUTHENTICATED"),
        ("Bearer x", CUSTOMER, None, 401, "UNAUTHENTICATED"),
        ("good", "nobody@waybill-test.iam.gserviceaccount.com", None, 404, "NOT_FOUND"),
        ("good", CUSTOMER, {"scope": []}, 400, "INVALID_ARGUMENT"),
        ("good", CUSTOMER, {"scope": SCOPES, "lifetime": "3601s"}, 400, "INVALID_ARGUMENT"),
        ("good", CUSTOMER, {"scope": SCOPES, "lifetime": "0s"}, 400, "INVALID_ARGUMENT"),
        ("good", CUSTOMER, {"scope": SCOPES, "lifetime": "soon"}, 400, "INVALID_ARGUMENT"),
        ("good", CUSTOMER, {"scope": SCOPES, "delegates": ["x"]}, 501, "UNIMPLEMENTED"),
        ("good", CUSTOMER, [], 400, "INVALID_ARGUMENT"),
        ("good", CUSTOMER, {"scope": SCOPES}, 200, None),
    ],
)
def test_the_iam_credentials_apis_answers(
    world: World, authorization: str | None, target: str, body: Any, status: int, name: str | None
) -> None:
    world.identity.allow_impersonation(FUNCTION, CUSTOMER)
    if authorization == "good":
        authorization = f"Bearer {world.identity.mint(FUNCTION)}"
    answer = world.generate(authorization, target, body)
    assert answer.status_code == status
    if name is not None:
        error = answer.json()["error"]
        assert (error["code"], error["status"]) == (status, name)


def test_disabled_accounts_and_impersonation(world: World) -> None:
    world.identity.allow_impersonation(FUNCTION, CUSTOMER)
    caller = f"Bearer {world.identity.mint(FUNCTION)}"
    made = world.generate(caller).json()["accessToken"]
    world.identity.disable_account(CUSTOMER)
    assert world.generate(caller).json()["error"]["status"] == "FAILED_PRECONDITION"
    with pytest.raises(InvalidToken):
        world.identity.principal(f"Bearer {made}")
    world.identity.disable_account(CUSTOMER, False)
    world.identity.disable_account(FUNCTION)
    assert world.generate(caller).status_code == 401


@pytest.mark.parametrize("action", ["error", "reset_before", "reset_after", "truncate"])
def test_faults(world: World, action: Any) -> None:
    world.identity.allow_impersonation(FUNCTION, CUSTOMER)
    caller = f"Bearer {world.identity.mint(FUNCTION)}"
    url = f"{world.url}/as/{FUNCTION}/computeMetadata/v1/instance/service-accounts/default/token"
    calls: list[tuple[str, Any]] = [
        ("metadata.token", lambda: requests.get(url, headers={"Metadata-Flavor": "Google"}, timeout=5)),
        ("iamcredentials.generateAccessToken", lambda: world.generate(caller)),
        ("iamcredentials.signBlob", lambda: sign(world, CUSTOMER)),
    ]
    for kind, call in calls:
        world.traffic.arm(kind, Fault(action))
        if action == "error":
            assert call().status_code == 503
        else:
            with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
                call()
        assert call().status_code == 200
