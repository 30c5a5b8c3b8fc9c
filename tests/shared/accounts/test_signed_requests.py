"""Signed requests: what is accepted, and the reason for which anything else is refused.

That the vendor's own client is accepted: tests/functions/test_datasets_clients.py.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.accounts import signing
from shared.accounts.signing import MAX_SKEW, Claim, SentRequest, claim_of
from shared.errors import Unauthenticated

SECRET = "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"
DATE = datetime(2019, 11, 15, 3, 36, 55, tzinfo=UTC)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

EXAMPLE = SentRequest(
    method="GET",
    path="/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs",
    query=b"limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
    headers={
        "content-type": "application/json",
        "host": "service.region.example.com",
        "x-sdk-date": "20191115T033655Z",
    },
    body=b"",
)
"""The example of the vendor's guide.
https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm-003.html"""

AUTHORIZATION = (
    "SDK-HMAC-SHA256 Access=QTWAOYTTINDUT2QVKYUC, SignedHeaders=content-type;host;x-sdk-date, "
    "Signature=7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe"
)


def verify(request: SentRequest, authorization: str = AUTHORIZATION, secret: str = SECRET) -> None:
    claim = claim_of(authorization)
    assert claim is not None
    signing.verify(claim, request, secret)


def signed(request: SentRequest, canonical: str) -> str:
    """The header for a request whose canonical request is written out: all but the headers, with `|` for a
    new line."""
    names = sorted(request.headers)
    method_path_query, payload = canonical.rsplit("||", 1)
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    text = "\n".join([*method_path_query.split("|"), headers, ";".join(names), payload])
    hashed = hashlib.sha256(text.encode("latin-1")).hexdigest()
    to_sign = f"SDK-HMAC-SHA256\n{request.headers['x-sdk-date']}\n{hashed}"
    signature = hmac.new(SECRET.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"SDK-HMAC-SHA256 Access=k, SignedHeaders={';'.join(names)}, Signature={signature}"


def test_the_example_of_the_vendors_guide_is_accepted() -> None:
    verify(EXAMPLE)
    assert claim_of(AUTHORIZATION) == Claim(
        "QTWAOYTTINDUT2QVKYUC",
        ("content-type", "host", "x-sdk-date"),
        "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
    )


# --- what is changed on the way


def header(**changes: str) -> Callable[[SentRequest], SentRequest]:
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return lambda request: replace(request, headers={**request.headers, **changed})


CHANGES: dict[str, Callable[[SentRequest], SentRequest]] = {
    "method": lambda request: replace(request, method="DELETE"),
    "path": lambda request: replace(request, path=request.path + "2"),
    "doubled slash": lambda request: replace(request, path=request.path.replace("/vpcs", "//vpcs")),
    "case of the path": lambda request: replace(request, path=request.path.upper()),
    "query": lambda request: replace(request, query=request.query.replace(b"limit=2", b"limit=3")),
    "query added": lambda request: replace(request, query=request.query + b"&offset=1"),
    "query doubled": lambda request: replace(request, query=request.query + b"&limit=2"),
    "query left out": lambda request: replace(request, query=b""),
    "header": header(content_type="application/xml"),
    "inner spaces of a header": header(content_type="application / json"),
    "header sent twice": header(content_type="application/json,application/json"),
    "host": header(host="proxy.example.com"),
    "port": header(host="service.region.example.com:443"),
    "date": header(x_sdk_date="20191115T033656Z"),
    "body": lambda request: replace(request, body=b"{}"),
    "body said to be unsigned": lambda request: replace(
        header(x_sdk_content_sha256="UNSIGNED-PAYLOAD")(request), body=b"{}"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_changed_is_refused(change: Callable[[SentRequest], SentRequest]) -> None:
    with pytest.raises(Unauthenticated, match="the signature is not that of the request as it arrived"):
        verify(change(EXAMPLE))


def test_a_refusal_says_what_was_computed_and_no_secret() -> None:
    canonical = (
        "GET\n/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs/\n"
        "limit=2&marker=13551d6b-755d-4757-b956-536f674975c0\ncontent-type:application/json\n"
        f"host:proxy.example.com\nx-sdk-date:20191115T033655Z\n\ncontent-type;host;x-sdk-date\n{EMPTY}"
    )
    with pytest.raises(Unauthenticated) as refused:
        verify(header(host="proxy.example.com")(EXAMPLE))
    assert str(refused.value) == (
        "the signature is not that of the request as it arrived. It was computed for "
        "GET /v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs/, the Host proxy.example.com, the signed headers "
        "content-type;host;x-sdk-date, and a canonical request whose SHA-256 is "
        f"{hashlib.sha256(canonical.encode()).hexdigest()}. Check the secret key, and whether "
        "a proxy changes the Host or another part of the request"
    )
    with pytest.raises(Unauthenticated, match="b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9b"):
        verify(EXAMPLE, secret="other")


def test_of_several_texts_a_refusal_has_the_hash_of_the_sorted_one() -> None:
    request = replace(EXAMPLE, path="/", query=b"a=2&a=10", headers={**EXAMPLE.headers, "host": "h"})
    canonical = (
        "GET\n/\na=10&a=2\ncontent-type:application/json\nhost:h\nx-sdk-date:20191115T033655Z\n\n"
        f"content-type;host;x-sdk-date\n{EMPTY}"
    )
    with pytest.raises(Unauthenticated, match=hashlib.sha256(canonical.encode()).hexdigest()):
        verify(request)


def test_another_secret_is_refused() -> None:
    for secret in ("", SECRET[:-1], SECRET + "x"):
        with pytest.raises(Unauthenticated, match="Check the secret key"):
            verify(EXAMPLE, secret=secret)


def test_what_is_not_signed_may_change() -> None:
    verify(header(via="1.1 google", x_forwarded_for="203.0.113.7")(EXAMPLE))


@pytest.mark.parametrize("name", ["content-type", "host", "x-sdk-date"])
def test_a_signed_header_that_did_not_arrive_is_named(name: str) -> None:
    headers = {each: value for each, value in EXAMPLE.headers.items() if each != name}
    with pytest.raises(Unauthenticated, match=f"^the header {name} is signed, and the request arrived with"):
        verify(replace(EXAMPLE, headers=headers))


# --- how a request is written down to be signed

WRITTEN: dict[str, tuple[str, str, bytes, Mapping[str, str], bytes, str]] = {
    "nothing": ("GET", "/", b"", {}, b"", f"GET|/|||{EMPTY}"),
    "small letters": ("get", "/x/", b"", {}, b"", f"GET|/x/|||{EMPTY}"),
    "unicode in the path": ("GET", "/é/~a-b_c.d", b"", {}, b"", f"GET|/%C3%A9/~a-b_c.d/|||{EMPTY}"),
    "reserved in the path": ("GET", "/a b:c@d+e%", b"", {}, b"", f"GET|/a%20b%3Ac%40d%2Be%25/|||{EMPTY}"),
    "double slashes": ("GET", "//a//", b"", {}, b"", f"GET|//a//|||{EMPTY}"),
    "sorted query": ("GET", "/", b"b=2&a=1&B=3", {}, b"", f"GET|/|B=3&a=1&b=2||{EMPTY}"),
    "sorted before it is encoded": ("GET", "/", b"%5B=1&Z=2", {}, b"", f"GET|/|Z=2&%5B=1||{EMPTY}"),
    "doubled name": ("GET", "/", b"a=2&a=10&a=1", {}, b"", f"GET|/|a=1&a=10&a=2||{EMPTY}"),
    "doubled name as sent": ("GET", "/", b"b=0&a=2&a=10", {}, b"", f"GET|/|a=2&a=10&b=0||{EMPTY}"),
    "empty value": ("GET", "/", b"a=&b", {}, b"", f"GET|/|a=&b=||{EMPTY}"),
    "stray separators": ("GET", "/", b"&a=1&&", {}, b"", f"GET|/|a=1||{EMPTY}"),
    "equals in a value": ("GET", "/", b"a=b=c", {}, b"", f"GET|/|a=b%3Dc||{EMPTY}"),
    "plus for a space": ("GET", "/", b"a=b+c%20d%2Be", {}, b"", f"GET|/|a=b%20c%20d%2Be||{EMPTY}"),
    "unicode in the query": ("GET", "/", b"n=%c3%a9~", {}, b"", f"GET|/|n=%C3%A9~||{EMPTY}"),
    "not encoded in the query": ("GET", "/", "n=é".encode(), {}, b"", f"GET|/|n=%C3%A9||{EMPTY}"),
    "no unicode in the query": ("GET", "/", b"n=%ff", {}, b"", f"GET|/|n=%FF||{EMPTY}"),
    "spaces in a header": ("GET", "/", b"", {"x-a": " a  b\t"}, b"", f"GET|/|||{EMPTY}"),
    "empty header": ("GET", "/", b"", {"x-a": ""}, b"", f"GET|/|||{EMPTY}"),
    "unicode in a header": ("GET", "/", b"", {"x-a": "Ã©"}, b"", f"GET|/|||{EMPTY}"),
    "body": (
        "POST",
        "/",
        b"",
        {},
        b"abc",
        "POST|/|||ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    "hash of the body in a header": (
        "POST",
        "/",
        b"",
        {"x-sdk-content-sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        b"abc",
        "POST|/|||ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    "unsigned body": (
        "POST",
        "/",
        b"",
        {"x-sdk-content-sha256": "UNSIGNED-PAYLOAD"},
        b"abc",
        "POST|/|||UNSIGNED-PAYLOAD",
    ),
    "unsigned empty body": (
        "GET",
        "/",
        b"",
        {"x-sdk-content-sha256": "UNSIGNED-PAYLOAD"},
        b"",
        "GET|/|||UNSIGNED-PAYLOAD",
    ),
    "unsigned empty body by its hash": (
        "GET",
        "/",
        b"",
        {"x-sdk-content-sha256": "UNSIGNED-PAYLOAD"},
        b"",
        f"GET|/|||{EMPTY}",
    ),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_a_request_is_written_down_so(
    written: tuple[str, str, bytes, Mapping[str, str], bytes, str],
) -> None:
    method, path, query, headers, body, canonical = written
    fixed = {"host": "h:8080", "x-sdk-date": "20191115T033655Z"}
    request = SentRequest(method, path, query, {**fixed, **headers}, body)
    verify(request, signed(request, canonical))


@pytest.mark.parametrize(
    "canonical",
    [
        f"GET|/a|||{EMPTY}",
        f"GET|/a/|b=2&a=1||{EMPTY}",
        "GET|/a/|a=1&b=2||UNSIGNED-PAYLOAD",
        f"GET|/a/|a=1||{EMPTY}",
    ],
)
def test_what_is_written_down_otherwise_is_refused(canonical: str) -> None:
    headers = {"host": "h", "x-sdk-date": "20191115T033655Z"}
    request = SentRequest("GET", "/a", b"b=2&a=1", headers, b"")
    with pytest.raises(Unauthenticated):
        verify(request, signed(request, canonical))


def test_an_unsigned_body_cannot_be_put_in_the_place_of_a_signed_one() -> None:
    headers = {"host": "h", "x-sdk-date": "20191115T033655Z", "x-sdk-content-sha256": "UNSIGNED-PAYLOAD"}
    request = SentRequest("POST", "/", b"", headers, b"abc")
    with pytest.raises(Unauthenticated):
        verify(request, signed(request, f"POST|/|||{hashlib.sha256(b'abc').hexdigest()}"))


# --- the header


@pytest.mark.parametrize(
    "authorization", ["", "Token wb_1_2", "Bearer x", "Basic eDp5", "SDK", "Signature keyId=1"]
)
def test_what_is_no_signature_is_none(authorization: str) -> None:
    assert claim_of(authorization) is None


@pytest.mark.parametrize(
    "algorithm",
    ["SDK-HMAC-SM3", "V11-HMAC-SHA256", "SDK-ECDSA-P256-SHA256", "SDK-SM2-SM3", "SDK-HMAC-SHA512"],
)
def test_other_algorithms_are_refused_by_name(algorithm: str) -> None:
    with pytest.raises(Unauthenticated, match=f"^signatures with {algorithm} are not supported: sign with S"):
        claim_of(f"{algorithm} Access=k, SignedHeaders=host;x-sdk-date, Signature={'0' * 64}")
    with pytest.raises(Unauthenticated, match=algorithm):
        claim_of(algorithm)


HEADERS = "host;x-sdk-date"


@pytest.mark.parametrize(
    "parts",
    [
        "",
        f"Access=k, SignedHeaders={HEADERS}",
        f"Access=, SignedHeaders={HEADERS}, Signature={'0' * 64}",
        f"Access=k, SignedHeaders=, Signature={'0' * 64}",
        f"Access=k, SignedHeaders=Host;X-Sdk-Date, Signature={'0' * 64}",
        f"Access=k, SignedHeaders={HEADERS};x_y, Signature={'0' * 64}",
        f"Access=k, SignedHeaders={HEADERS}, Signature={'0' * 63}",
        f"Access=k, SignedHeaders={HEADERS}, Signature={'0' * 65}",
        f"Access=k, SignedHeaders={HEADERS}, Signature={'0' * 63}é",
        f"Access=k, SignedHeaders={HEADERS}, Signature={'0' * 64}, More=1",
    ],
)
def test_a_header_that_cannot_be_read_is_told_how_it_should_be(parts: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^the header Authorization cannot be read"):
        claim_of(f"SDK-HMAC-SHA256 {parts}")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("x-sdk-date", "^the header host must be signed"),
        ("host", "^the header x-sdk-date must be signed"),
        ("host;host;x-sdk-date", "names a header twice"),
    ],
)
def test_what_must_be_signed_is(names: str, says: str) -> None:
    with pytest.raises(Unauthenticated, match=says):
        claim_of(f"SDK-HMAC-SHA256 Access=k, SignedHeaders={names}, Signature={'0' * 64}")


# --- the date


@pytest.mark.parametrize("late", [-MAX_SKEW, timedelta(0), MAX_SKEW])
def test_a_date_within_the_skew_is_accepted(late: timedelta) -> None:
    signing.check_date(EXAMPLE.headers, DATE + late)


@pytest.mark.parametrize(
    ("late", "here"),
    [
        (MAX_SKEW + timedelta(seconds=1), "20191115T035156Z"),
        (-MAX_SKEW - timedelta(seconds=1), "20191115T032154Z"),
    ],
)
def test_another_date_is_refused_with_both_times(late: timedelta, here: str) -> None:
    says = f"^the request is dated 20191115T033655Z, and it is {here} here: .* within 15 minutes"
    with pytest.raises(Unauthenticated, match=says):
        signing.check_date(EXAMPLE.headers, DATE + late)


@pytest.mark.parametrize(
    "said",
    ["", "20191115", "20191115T033655", "20191315T033655Z", "2019-11-15T03:36:55Z", "20191115T033655Z,2"],
)
def test_a_date_that_cannot_be_read_is_refused(said: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^the header X-Sdk-Date must be"):
        signing.check_date({"x-sdk-date": said}, DATE)
    with pytest.raises(Unauthenticated, match=r"got ''$"):
        signing.check_date({}, DATE)
