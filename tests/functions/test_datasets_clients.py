"""The clients of `/v2` as they are: the vendor's, which signs, and OpenStack's, which logs in. Both call over
HTTP, at an address with a port."""

import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any

import flask
import pytest
import requests
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkcore.signer.algorithm import SigningAlgorithm
from keystoneauth1 import exceptions as openstack
from keystoneauth1.identity import generic, v3
from keystoneauth1.session import Session
from pydantic import BaseModel, Field
from werkzeug.serving import make_server

from infra.local.clock import machine_time
from shared.accounts.callers import Call
from shared.accounts.keys import create_key, revoke_key
from shared.datasets.caller import SCOPE, SURFACE
from shared.datasets.login import ROUTES as LOGIN
from shared.http.bodies import BODY_BYTES
from shared.http.routes import Body, Route, Routes, serving
from tests.http_server import Quiet
from tests.http_server import serving as serving_at
from tests.subjects.dataset_clients import OnItsWay, Vendor, header, password
from tests.world import World

ANYTHING = dict[str, Any]


class Sent(BaseModel):
    text: str = Field(default="")


def _show(call: Call, project_id: str, name: str) -> ANYTHING:
    return {"customer": call.caller.customer, "key": call.caller.key, "name": name}


def _take(call: Call, project_id: str, body: ANYTHING) -> ANYTHING:
    return {"customer": call.caller.customer, "body": body}


THINGS = "/v2/<project_id>/things"

TOY = Routes(
    SURFACE,
    [
        Route(
            method=method,
            path=f"{THINGS}/<path:name>",
            handler=_show,
            summary="Show",
            scope=SCOPE,
            answer=ANYTHING,
        )
        for method in ("GET", "DELETE")
    ]
    + [
        Route(
            method="POST",
            path=THINGS,
            handler=_take,
            summary="Take",
            scope=SCOPE,
            body=Body(Sent, given="object"),
            answer=ANYTHING,
        )
    ],
)


@contextmanager
def served(routes: Callable[[str], Routes]) -> Iterator[str]:
    def answer(environ: Any, start: Any) -> Any:
        request = flask.Request(environ)
        return routes(request.path).answer(request)(environ, start)

    with serving_at(make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)) as url:
        yield url


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """Where the function answers. The suite's clock is not the machine's, by which clients sign."""
    assert abs(world.suite.clock.now() - machine_time()) > timedelta(hours=1)
    with served(lambda path: serving((TOY, LOGIN), path)) as url:
        yield url


@pytest.fixture
def key(world: World) -> str:
    return signing_key(world)


def signing_key(world: World, *scopes: str, customer: str = "acme") -> str:
    return create_key(
        world.cloud.db,
        customer=customer,
        scopes=scopes or ("datasets", "signing"),
        settings=world.cloud.settings,
    )


# --- the vendor's client


Headers = Mapping[str, str]


def show(
    vendor: Vendor,
    name: str = "x",
    *,
    query: Sequence[tuple[str, Any]] = (),
    method: str = "GET",
    headers: Headers | None = None,
) -> Any:
    return vendor.ask(
        method,
        "/v2/{project_id}/things/{name}",
        path_params={"name": name},
        query_params=list(query),
        header_params=dict(headers or {}),
    )


def post(vendor: Vendor, body: Any, headers: Headers | None = None) -> Any:
    return vendor.ask("POST", "/v2/{project_id}/things", header_params=dict(headers or {}), body=body)


def refusal(vendor: Vendor, headers: Headers | None = None) -> ClientRequestException:
    return vendor.refused(
        "GET",
        "/v2/{project_id}/things/x",
        query_params=[("limit", 10)],
        header_params=dict(headers or {}),
    )


@pytest.mark.parametrize("path", ["/v2/acme/datasets", "//v2/acme/datasets", "//v2//acme/datasets"])
def test_a_path_is_signed_as_it_was_sent(world: World, key: str, path: str) -> None:
    # The test's own server would take `//v2` for a host, which functions-framework's does not.
    _, access, secret = key.split("_", 2)
    date = machine_time().strftime("%Y%m%dT%H%M%SZ")
    signed = (
        f"GET\n{path}/\n\nhost:localhost\nx-sdk-date:{date}\n\nhost;x-sdk-date\n{sha256(b'').hexdigest()}"
    )
    text = f"SDK-HMAC-SHA256\n{date}\n{sha256(signed.encode()).hexdigest()}"
    signature = hmac.digest(secret.encode(), text.encode(), "sha256").hex()
    said = f"SDK-HMAC-SHA256 Access={access}, SignedHeaders=host;x-sdk-date, Signature={signature}"
    answer = world.request("GET", path, headers={"Authorization": said, "X-Sdk-Date": date})
    assert (answer.status, answer.body) == (200, {"total_number": 0, "datasets": []}), answer


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "name",
    ["x", "x/", "a b", "é", "名前", "a/b", "a//b", "a%2Fb", "a+b", "~-._", "!$&'()*,;=:@", "100%"],
)
def test_the_vendors_client_is_accepted_whatever_is_in_the_path(
    url: str, key: str, name: str, method: str
) -> None:
    shown = show(Vendor(url, key), name, method=method)
    assert shown == {"customer": "acme", "key": key.split("_")[1], "name": name}


QUERIES: dict[str, list[tuple[str, Any]]] = {
    "none": [],
    "numbers": [("limit", 10), ("offset", 0)],
    "unsorted": [("offset", 0), ("limit", 10), ("Limit", 1)],
    "unicode": [("name", "é 名前"), ("ü", "1")],
    "reserved": [("a", "b c+d&e=f/g?h#i%j~k"), ("b c", "!$'()*,;:@[]")],
    "empty": [("a", ""), ("b", None)],
    "several": [("id", ["b", "a", "b"])],
    "several numbers": [("id", [10, 9, 2])],
    "switch": [("all", True)],
    "sorted otherwise when encoded": [("Z", 1), ("[", 2), ("é", 3), ("~", 4)],
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_the_vendors_client_is_accepted_whatever_is_in_the_query(
    url: str, key: str, query: list[tuple[str, Any]]
) -> None:
    assert show(Vendor(url, key), query=query)["customer"] == "acme"


@pytest.mark.parametrize(
    "body",
    [{"text": "é 名前"}, {}, {"text": "x" * 100_000}, '{"text": "é"}'],
    ids=["unicode", "empty", "large", "text"],
)
def test_the_vendors_client_sends_a_body_and_the_handler_gets_it(url: str, key: str, body: Any) -> None:
    sent = json.loads(body) if isinstance(body, str) else body
    assert post(Vendor(url, key), body) == {"customer": "acme", "body": sent}


def test_the_vendors_client_sends_no_body(url: str, key: str) -> None:
    assert post(Vendor(url, key), None) == {"customer": "acme", "body": {}}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Language": "é  b", "X-Empty": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json;charset=UTF-8"},
        {"x_underscore": "1"},
    ],
    ids=str,
)
def test_the_vendors_client_is_accepted_with_other_headers(
    url: str, key: str, headers: dict[str, str]
) -> None:
    assert show(Vendor(url, key), headers=headers)["customer"] == "acme"
    assert post(Vendor(url, key), '{"text": "é"}', headers=headers)["body"] == {"text": "é"}


def test_a_get_without_a_content_type_is_accepted(url: str, key: str) -> None:
    config = HttpConfig(ignore_content_type_for_get_request=True)
    assert show(Vendor(url, key, config=config))["customer"] == "acme"


def test_with_a_region_the_vendors_client_finds_its_project(url: str, key: str) -> None:
    assert show(Vendor(url, key, project=None, region="eu-de"))["customer"] == "acme"


# --- what is changed on its way


def uri(old: str, new: str) -> OnItsWay:
    def change(request: Any) -> None:
        assert old in request.uri
        request.uri = request.uri.replace(old, new)

    return change


def body(request: Any) -> None:
    request.body = b'{"text": "x"}'


def without(name: str) -> OnItsWay:
    def change(request: Any) -> None:
        del request.header_params[name]

    return change


CHANGED: dict[str, tuple[OnItsWay, str]] = {
    "header": (header("X-Project-Id", "globex"), "the signature is not that of the request as it arrived"),
    "user agent": (header("User-Agent", "curl"), "the signature is not that of the request as it arrived"),
    "path": (uri("/things/x", "/things/y"), "It was computed for GET /v2/acme/things/y/,"),
    "query": (uri("limit=10", "limit=100"), "the signature is not that of the request as it arrived"),
    "body": (body, "the signature is not that of the request as it arrived"),
    "host": (header("Host", "waybill.internal"), "the Host waybill.internal, the signed headers content-ty"),
    "date": (header("X-Sdk-Date", "20191115T033655Z"), "the request is dated 20191115T033655Z, and it is 20"),
    "no project": (without("X-Project-Id"), "the header x-project-id is signed, and the request arrived wi"),
    "no date": (without("X-Sdk-Date"), "the header X-Sdk-Date must be a moment in UTC"),
}


@pytest.mark.parametrize(("change", "says"), CHANGED.values(), ids=CHANGED)
def test_what_is_changed_on_its_way_is_refused_with_the_reason(
    url: str, key: str, change: OnItsWay, says: str
) -> None:
    refused = refusal(Vendor(url, key, change=change))
    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    assert says in refused.error_msg
    assert len(refused.request_id) == 32
    assert key.split("_", 2)[2] not in refused.error_msg


def test_a_request_is_good_for_a_quarter_of_an_hour(world: World, url: str, key: str) -> None:
    def dated(ago: timedelta) -> dict[str, str]:
        return {"X-Sdk-Date": (machine_time() - ago).strftime("%Y%m%dT%H%M%SZ")}

    assert show(Vendor(url, key), headers=dated(timedelta(minutes=14)))["customer"] == "acme"
    sent = dated(timedelta(minutes=15, seconds=5))
    refused = refusal(Vendor(url, key), headers=sent)
    assert f"dated {sent['X-Sdk-Date']}" in refused.error_msg
    assert "Check the clock of the client" in refused.error_msg


# --- who may not sign


def test_another_secret_is_refused(url: str, key: str) -> None:
    other = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert "Check the secret key" in refusal(Vendor(url, other)).error_msg


def test_a_revoked_key_signs_no_more(world: World, url: str, key: str) -> None:
    assert show(Vendor(url, key))["customer"] == "acme"
    revoke_key(world.cloud.db, key.split("_")[1])
    refused = refusal(Vendor(url, key))
    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    assert f"the access key {key.split('_')[1]} is not valid" in refused.error_msg


def test_a_key_signs_only_with_the_scope_for_it(world: World, url: str, key: str) -> None:
    world.cloud.db.document(f"api_keys/{key.split('_')[1]}").update({"scopes": ["datasets"]})
    for each in (key, signing_key(world, "datasets")):
        refused = refusal(Vendor(url, each))
        assert refused.status_code == 401
        assert "has the scope 'signing'" in refused.error_msg


def test_a_key_signs_within_its_other_scopes(world: World, url: str) -> None:
    refused = refusal(Vendor(url, signing_key(world, "signing", "exports")))
    assert (refused.status_code, refused.error_code) == (403, "APIGW.0302")
    assert "lacks the scope 'datasets'" in refused.error_msg


@pytest.mark.parametrize("access", ["0123456789abcdef", "QTWAOYTTINDUT2QVKYUC", "../secrets", "a/b/c"])
def test_an_access_key_that_is_none_is_refused(url: str, key: str, access: str) -> None:
    refused = refusal(Vendor(url, f"wb_{access}_secret"))
    assert refused.status_code == 401
    assert "the access key" in refused.error_msg


@pytest.mark.parametrize("project", ["globex", "nobody", "%", "a/b"])
def test_another_customers_project_is_refused_whether_it_is_there_or_not(
    world: World, url: str, key: str, project: str
) -> None:
    world.stranger()
    refused = refusal(Vendor(url, key, project=project))
    if project == "a/b":
        assert refused.status_code == 404
        return
    assert (refused.status_code, refused.error_code) == (404, "ModelArts.0210")
    assert refused.error_msg == (
        f"project_id: the key {key.split('_')[1]} does not reach {project!r}; the project of its customer is "
        "'acme'"
    )


def test_other_algorithms_of_the_vendor_are_refused_by_name(url: str, key: str) -> None:
    for algorithm, name in (
        (SigningAlgorithm.HMAC_SM3, "SDK-HMAC-SM3"),
        (SigningAlgorithm.ECDSA_P256_SHA256, "SDK-ECDSA-P256-SHA256"),
        (SigningAlgorithm.SM2_SM3, "SDK-SM2-SM3"),
    ):
        refused = refusal(Vendor(url, key, config=HttpConfig(signing_algorithm=algorithm)))
        assert refused.status_code == 401
        assert f"signatures with {name} are not supported" in refused.error_msg
    refused = refusal(Vendor(url, key, region="eu-de", derived=True))
    assert "signatures with V11-HMAC-SHA256 are not supported" in refused.error_msg


def test_a_body_that_is_too_large_is_not_read(url: str, key: str) -> None:
    with pytest.raises(ClientRequestException) as refused:
        post(Vendor(url, key), {"text": "x" * BODY_BYTES})
    assert (refused.value.status_code, refused.value.error_code) == (400, "ModelArts.0104")
    assert refused.value.error_msg == f"body: is larger than {BODY_BYTES} bytes"


# --- keys and tokens, as they are sent


@pytest.mark.parametrize("name", ["X-Auth-Token", "Token", "Bearer"])
def test_the_key_itself_is_accepted(url: str, key: str, name: str) -> None:
    headers = {name: key} if name == "X-Auth-Token" else {"Authorization": f"{name} {key}"}
    answer = requests.get(f"{url}/v2/acme/things/x", headers=headers, timeout=10)
    assert answer.json()["customer"] == "acme"


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "x"}, {"X-Auth-Token": "wbt.1.x.y"}], ids=str)
def test_without_a_key_the_ways_to_send_one_are_told(url: str, headers: dict[str, str]) -> None:
    answer = requests.get(f"{url}/v2/acme/things/x", headers=headers, timeout=10)
    said = answer.json()
    assert answer.status_code == 401
    assert sorted(said) == ["error_code", "error_msg", "message", "request_id"]
    assert said["message"] == said["error_msg"]
    assert "SDK-HMAC-SHA256" in answer.headers["WWW-Authenticate"]


# --- OpenStack's client


SCOPES: dict[str, dict[str, Any]] = {
    "by id": {},
    "by name": {"project_id": None, "project_name": "Acme", "project_domain_name": "any"},
    "by the id as a name": {"project_id": None, "project_name": "acme", "project_domain_id": "any"},
    "unscoped": {"project_id": None, "unscoped": True},
    "not said": {"project_id": None},
    "a user's id": {"username": None, "user_id": "7", "user_domain_name": None},
}


@pytest.mark.parametrize("changes", SCOPES.values(), ids=SCOPES)
def test_openstacks_client_logs_in_and_finds_the_datasets(
    url: str, key: str, changes: dict[str, Any]
) -> None:
    session = Session(auth=password(url, key, **changes))
    assert session.get_endpoint(service_type="modelartsv2", interface="public") == f"{url}/v2/acme"
    shown = session.get("/things/x", endpoint_filter={"service_type": "modelartsv2"}).json()
    assert (shown["customer"], shown["key"]) == ("acme", key.split("_")[1])
    assert (session.get_project_id(), session.get_user_id()) == ("acme", key.split("_")[1])


def test_openstacks_client_finds_the_login_from_the_root(url: str, key: str) -> None:
    for auth_url in (url, f"{url}/", f"{url}/v3", f"{url}/v3/"):
        auth = generic.Password(
            auth_url=auth_url, username="bob", password=key, user_domain_id="any", project_id="acme"
        )
        session = Session(auth=auth)
        shown = session.get("/things/x", endpoint_filter={"service_type": "modelartsv2"})
        assert shown.json()["customer"] == "acme"


def test_a_client_with_a_region_needs_the_one_that_is_set(
    url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(region: str | None) -> str | None:
        session = Session(auth=password(url, key))
        return session.get_endpoint(service_type="modelartsv2", interface="public", region_name=region)

    for named, other in (("RegionOne", "eu-de"), ("eu-de", "RegionOne")):
        monkeypatch.setenv("WAYBILL_REGION", named)
        assert [found(None), found(named)] == [f"{url}/v2/acme"] * 2
        with pytest.raises(openstack.EndpointNotFound, match=f"in {other} region not found"):
            found(other)


def test_the_catalog_leads_to_where_the_caller_came_in(url: str, key: str) -> None:
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "b"}}}}}
    body["auth"]["identity"]["password"]["user"]["password"] = key  # type: ignore[index]
    headers = {"Host": "waybill.example:444", "X-Forwarded-Proto": "https,http"}
    for path in ("/v3/auth/tokens", "/v3/auth/tokens/"):
        answer = requests.post(f"{url}{path}", json=body, headers=headers, timeout=10)
        [service] = answer.json()["token"]["catalog"]
        assert service["endpoints"][0]["url"] == "https://waybill.example:444/v2/acme"
    version = requests.get(f"{url}/v3", headers=headers, timeout=10).json()["version"]
    assert version["links"] == [{"rel": "self", "href": "https://waybill.example:444/v3/"}]


def test_a_token_is_good_for_a_day_and_dies_with_its_key(world: World, url: str, key: str) -> None:
    access = password(url, key).get_access(Session())
    assert access.expires is not None
    assert access.issued is not None
    assert access.expires - access.issued == timedelta(hours=24)

    def status() -> int:
        headers = {"X-Auth-Token": access.auth_token}
        return requests.get(f"{url}/v2/acme/things/x", headers=headers, timeout=10).status_code

    assert status() == 200
    world.wait(timedelta(hours=23, minutes=59))
    assert status() == 200
    world.wait(timedelta(minutes=1))
    assert status() == 401
    access = password(url, key).get_access(Session())
    assert status() == 200
    revoke_key(world.cloud.db, key.split("_")[1])
    assert status() == 401


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "password": ({"password": "hunter2"}, "the key is not valid"),
    "another's project": ({"project_id": "globex"}, "the key does not reach 'globex'; the project of its"),
    "no project": ({"project_id": "nobody"}, "the key does not reach 'nobody'; the project of its"),
    "another's by name": (
        {"project_id": None, "project_name": "Globex", "project_domain_id": "x"},
        "the key does not reach 'Globex'",
    ),
}


@pytest.mark.parametrize(("changes", "says"), REFUSED.values(), ids=REFUSED)
def test_a_login_that_is_refused_says_why(
    world: World, url: str, key: str, changes: dict[str, Any], says: str
) -> None:
    world.stranger()
    with pytest.raises(openstack.Unauthorized) as refused:
        password(url, key, **changes).get_access(Session())
    assert says in str(refused.value)
    assert key not in str(refused.value)


def test_a_key_without_the_scope_does_not_log_in(world: World, url: str) -> None:
    with pytest.raises(openstack.Forbidden, match="lacks the scope 'datasets'"):
        password(url, world.key).get_access(Session())


def test_another_method_does_not_log_in(url: str) -> None:
    with pytest.raises(openstack.BadRequest, match="the only method is 'password'"):
        v3.Token(auth_url=f"{url}/v3", token="x").get_access(Session())  # no secret
