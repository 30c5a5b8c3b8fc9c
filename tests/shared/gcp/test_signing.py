"""Signed URLs through IAM's signBlob, against the suite's IAM and Storage."""

import logging

import pytest
import requests
from google.api_core.exceptions import Forbidden

from infra.local.traffic import Fault
from shared.errors import Retry
from shared.gcp import signing
from shared.gcp.signing import URL_SECONDS, disposition, signed_url
from tests.world import World

NAME = "acme/Zoë 1+2%.jpg"


@pytest.fixture
def bucket(world: World) -> str:
    """A bucket with an object, and an account that may sign as itself."""
    bucket = world.cloud.settings.images_bucket
    world.suite.identity.allow_impersonation(world.account, world.account)
    world.suite.storage.put(bucket, NAME, b"photograph", "image/jpeg")
    return bucket


def test_anyone_with_the_url_reads_the_object(world: World, bucket: str) -> None:
    url = signed_url(world.cloud, bucket, NAME, seconds=60)
    assert url.startswith(f"{world.cloud.settings.storage_url}/{bucket}/acme/")
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"photograph")
    assert (answer.headers["Content-Type"], "Content-Disposition" in answer.headers) == ("image/jpeg", False)
    [call] = world.suite.traffic.calls("iamcredentials.")
    assert (call.kind, call.resource, call.principal) == (
        "iamcredentials.signBlob",
        world.account,
        world.account,
    )
    [read] = world.suite.traffic.calls("storage.signed_urls")
    assert (read.resource, read.principal) == (f"{bucket}/{NAME}", world.account)


def test_only_this_generation_under_this_name(world: World, bucket: str) -> None:
    stored = world.cloud.objects.stat(bucket, NAME)
    assert stored is not None
    url = signed_url(
        world.cloud, bucket, NAME, seconds=60, generation=stored.generation, file_name='Zoë "1".zip'
    )
    answer = requests.get(url, timeout=10)
    assert answer.content == b"photograph"
    assert answer.headers["Content-Disposition"] == disposition('Zoë "1".zip')
    world.suite.storage.put(bucket, NAME, b"another")
    assert requests.get(url, timeout=10).status_code == 404


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("errors.csv", "attachment; filename=\"errors.csv\"; filename*=UTF-8''errors.csv"),
        ("Zoë.zip", "attachment; filename=\"Zo_.zip\"; filename*=UTF-8''Zo%C3%AB.zip"),
        ('a"; x="\\', "attachment; filename=\"a_; x=__\"; filename*=UTF-8''a%22%3B%20x%3D%22%5C"),
        (
            "a\r\nSet-Cookie: b",
            "attachment; filename=\"a__Set-Cookie: b\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b",
        ),
    ],
)
def test_a_file_name_cannot_break_the_header(name: str, header: str) -> None:
    assert disposition(name) == header


@pytest.mark.parametrize("seconds", [0, -1, URL_SECONDS + 1])
def test_a_life_out_of_range_is_refused(world: World, bucket: str, seconds: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        signed_url(world.cloud, bucket, NAME, seconds=seconds)
    assert signed_url(world.cloud, bucket, NAME, seconds=URL_SECONDS)


def test_who_may_not_sign_is_told_the_permission(world: World) -> None:
    with pytest.raises(Forbidden, match=r"iam\.serviceAccounts\.signBlob"):
        signed_url(world.cloud, "any", NAME, seconds=60)
    assert len(world.suite.traffic.calls("iamcredentials.signBlob")) == 1, "a refusal is no passing thing"


@pytest.mark.parametrize(
    "fault",
    [Fault("error", status=status) for status in (429, 500, 502, 503, 504)]
    + [Fault("reset_before"), Fault("reset_after"), Fault("truncate")],
    ids=lambda fault: f"{fault.action}-{fault.status}",
)
def test_what_passes_is_tried_again(world: World, bucket: str, fault: Fault) -> None:
    world.suite.traffic.arm("iamcredentials.signBlob", fault, times=2)
    url = signed_url(world.cloud, bucket, NAME, seconds=60)
    assert requests.get(url, timeout=10).content == b"photograph"
    assert len(world.suite.traffic.calls("iamcredentials.signBlob")) == 3


def test_what_goes_on_failing_is_left_to_a_later_attempt(
    world: World, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "SIGN_SECONDS", 0.1)
    world.suite.traffic.arm("iamcredentials.signBlob", Fault("error", status=503), times=100_000)
    with pytest.raises(Retry):
        signed_url(world.cloud, bucket, NAME, seconds=60)


def test_no_signature_is_in_a_log(world: World, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = signed_url(world.cloud, bucket, NAME, seconds=60)
    assert url.rpartition("=")[2] not in caplog.text


def test_a_customers_account_signs_when_asked_with_our_own_token(world: World) -> None:
    bucket, name = world.cloud.settings.staging_bucket, "acme/export/file.csv"
    world.suite.storage.put(bucket, name, b"rows")
    url = signed_url(world.cloud, bucket, name, seconds=60, account=world.acme.account)
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"rows")
    [call] = world.suite.traffic.calls("iamcredentials.")
    assert (call.kind, call.resource, call.principal) == (
        "iamcredentials.signBlob",
        world.acme.account,
        world.account,
    )
    [read] = world.suite.traffic.calls("storage.signed_urls")
    assert read.principal == world.acme.account


def test_what_is_anothers_a_customers_account_cannot_open(world: World) -> None:
    bucket, name = world.cloud.settings.staging_bucket, "globex/export/file.csv"
    world.suite.storage.put(bucket, name, b"rows")
    url = signed_url(world.cloud, bucket, name, seconds=60, account=world.acme.account)
    assert requests.get(url, timeout=10).status_code == 403
