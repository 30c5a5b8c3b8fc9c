"""Who may do what: permissions per account on buckets and managed folders, and how a refusal reads."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, PreconditionFailed, Unauthorized
from google.cloud import storage

from tests.infra.local.storage.suite import BUCKET, CUSTOMER, OTHER, OWNER, START, Suite, error

Act = Callable[[storage.Client], Any]

CREATE, DELETE, GET, LIST = (f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list"))
BUCKETS_GET = "storage.buckets.get"


def _compose(client: storage.Client, name: str) -> None:
    bucket = client.bucket(BUCKET)
    bucket.blob(name).compose([bucket.blob("source")])


def _rewrite(client: storage.Client, name: str) -> None:
    client.bucket(BUCKET).blob(name).rewrite(client.bucket(BUCKET).blob("source"))


CALLS: dict[str, tuple[Act, list[str]]] = {
    "get": (lambda c: c.bucket(BUCKET).blob("source").reload(), [GET]),
    "media": (lambda c: c.bucket(BUCKET).blob("source").download_as_bytes(), [GET]),
    "list": (lambda c: list(c.list_blobs(BUCKET)), [LIST]),
    "insert": (lambda c: c.bucket(BUCKET).blob("new").upload_from_string(b"x"), [CREATE]),
    "insert over": (lambda c: c.bucket(BUCKET).blob("old").upload_from_string(b"x"), [CREATE, DELETE]),
    "session": (lambda c: c.bucket(BUCKET).blob("new").create_resumable_upload_session(), [CREATE]),
    "session over": (
        lambda c: c.bucket(BUCKET).blob("old").create_resumable_upload_session(),
        [CREATE, DELETE],
    ),
    "compose": (lambda c: _compose(c, "new"), [CREATE, GET]),
    "compose over": (lambda c: _compose(c, "old"), [CREATE, GET, DELETE]),
    "rewrite": (lambda c: _rewrite(c, "new"), [CREATE, GET]),
    "rewrite over": (lambda c: _rewrite(c, "old"), [CREATE, GET, DELETE]),
    "delete": (lambda c: c.bucket(BUCKET).blob("old").delete(), [DELETE]),
    "bucket": (lambda c: c.bucket(BUCKET).reload(), [BUCKETS_GET]),
}


@pytest.fixture
def other(suite: Suite) -> storage.Client:
    suite.storage.put(BUCKET, "source", b"source")
    suite.storage.put(BUCKET, "old", b"old")
    return suite.client(OTHER)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_needs_its_permissions_and_no_other(suite: Suite, other: storage.Client, call: str) -> None:
    act, needed = CALLS[call]
    suite.storage.grant(BUCKET, OTHER, *needed)
    act(other)


@pytest.mark.parametrize(
    ("call", "missing"), [(call, permission) for call, (_, needed) in CALLS.items() for permission in needed]
)
def test_a_call_without_one_of_them_is_refused_and_names_it(
    suite: Suite, other: storage.Client, call: str, missing: str
) -> None:
    act, _ = CALLS[call]
    held = {CREATE, DELETE, GET, LIST, BUCKETS_GET} - {missing}
    suite.storage.grant(BUCKET, OTHER, *held)
    before = suite.storage.list(BUCKET)
    kind = "bucket" if missing in (LIST, BUCKETS_GET) else "object"
    message = (
        f"{OTHER} does not have {missing} access to the Google Cloud Storage {kind}. "
        f"Permission '{missing}' denied on resource (or it may not exist)."
    )
    with pytest.raises(Forbidden, match=re.escape(message)):
        act(other)
    assert suite.storage.list(BUCKET) == before


@pytest.mark.parametrize("call", CALLS)
def test_an_anonymous_caller_is_told_to_log_in(suite: Suite, other: storage.Client, call: str) -> None:
    act, needed = CALLS[call]
    # Where a call needs several, which one is named first is nobody's business.
    named = "|".join(map(re.escape, needed))
    with pytest.raises(Unauthorized, match=f"Anonymous caller does not have ({named}) access"):
        act(suite.anonymous())


@pytest.mark.parametrize("call", CALLS)
def test_a_token_that_does_not_hold_is_refused_first(suite: Suite, other: storage.Client, call: str) -> None:
    expired = suite.identity.mint(OWNER, lifetime_seconds=0)
    for token in (expired, "nonsense"):
        with pytest.raises(Unauthorized, match="Invalid Credentials"):
            CALLS[call][0](suite.client(token=token))
    suite.storage.delete_bucket(BUCKET)
    with pytest.raises(Unauthorized):
        CALLS[call][0](suite.client(token=expired))


def test_the_reasons_in_the_bodies(suite: Suite, http: requests.Session) -> None:
    url = f"{suite.url}/storage/v1/b/{BUCKET}/o/x"
    anonymous = error(suite.session(None).get(url))
    assert (anonymous["code"], anonymous["reason"]) == (401, "required")
    assert anonymous["errors"][0]["location"] == "Authorization"
    wrong = error(requests.get(url, headers={"Authorization": "Bearer x"}, timeout=5))
    assert (wrong["code"], wrong["reason"]) == (401, "authError")
    refused = error(suite.session(OTHER).get(url))
    assert (refused["code"], refused["reason"]) == (403, "forbidden")
    assert error(http.get(url))["reason"] == "notFound"
    # Contents are refused in plain text.
    media = suite.session(OTHER).get(url + "?alt=media")
    assert media.text.startswith(f"{OTHER} does not have storage.objects.get access")


def test_a_disabled_account_has_no_access(suite: Suite) -> None:
    client = suite.client(OWNER)
    suite.identity.disable_account(OWNER)
    try:
        with pytest.raises(Unauthorized):
            list(client.list_blobs(BUCKET))
    finally:
        suite.identity.disable_account(OWNER, False)
    list(client.list_blobs(BUCKET))


# What a customer grants


def test_create_alone_never_overwrites(suite: Suite, other: storage.Client) -> None:
    suite.storage.grant(BUCKET, OTHER, CREATE)
    blob = other.bucket(BUCKET).blob("old")
    with pytest.raises(PreconditionFailed):
        blob.upload_from_string(b"x", if_generation_match=0)
    with pytest.raises(Forbidden, match=DELETE):
        blob.upload_from_string(b"x", if_generation_match=suite.storage.list(BUCKET, "old")[0].generation)
    assert suite.storage.read(BUCKET, "old") == b"old"


def test_a_rewrite_is_one_accounts_on_both_sides(suite: Suite, other: storage.Client) -> None:
    source, target = other.bucket(BUCKET).blob("source"), other.bucket(CUSTOMER).blob("copy")
    with pytest.raises(Forbidden, match=GET):
        target.rewrite(source)
    suite.storage.grant(BUCKET, OTHER, GET)
    with pytest.raises(Forbidden, match=CREATE):
        target.rewrite(source)
    suite.storage.grant(CUSTOMER, OTHER, CREATE)
    target.rewrite(source)
    assert suite.storage.read(CUSTOMER, "copy") == b"source"


@pytest.mark.parametrize(
    "act",
    [
        lambda c: c.bucket(BUCKET).blob("missing").reload(),
        lambda c: c.bucket(BUCKET).blob("missing").download_as_bytes(),
        lambda c: c.bucket(BUCKET).blob("missing").delete(),
        lambda c: c.bucket(BUCKET).blob("new").rewrite(c.bucket(BUCKET).blob("missing")),
        lambda c: c.bucket(BUCKET).blob("new").compose([c.bucket(BUCKET).blob("missing")]),
    ],
)
def test_only_who_may_list_learns_that_an_object_is_missing(
    suite: Suite, other: storage.Client, act: Act
) -> None:
    suite.storage.grant(BUCKET, OTHER, GET, CREATE, DELETE)
    with pytest.raises(Forbidden, match=LIST):
        act(other)
    suite.storage.grant(BUCKET, OTHER, LIST)
    with pytest.raises(NotFound, match=f"No such object: {BUCKET}/missing"):
        act(other)


def test_revoking(suite: Suite, other: storage.Client) -> None:
    suite.storage.grant(BUCKET, OTHER, "roles/storage.objectViewer", CREATE)
    suite.storage.grant(BUCKET, OTHER, "roles/storage.objectViewer", folder="f/")
    suite.storage.revoke(BUCKET, OTHER, GET)
    list(other.list_blobs(BUCKET))
    with pytest.raises(Forbidden):
        other.bucket(BUCKET).blob("source").reload()
    suite.storage.put(BUCKET, "f/x", b"")
    with pytest.raises(Forbidden):
        other.bucket(BUCKET).blob("f/x").reload()
    suite.storage.revoke(BUCKET, OTHER)
    with pytest.raises(Forbidden):
        list(other.list_blobs(BUCKET))
    assert other.bucket(BUCKET).test_iam_permissions([CREATE]) == []


def test_a_bucket_made_anew_has_nobodys_grants(suite: Suite, client: storage.Client) -> None:
    suite.storage.put(BUCKET, "x", b"")
    suite.storage.delete_bucket(BUCKET)
    suite.storage.create_bucket(BUCKET)
    assert suite.storage.list(BUCKET) == []
    with pytest.raises(Forbidden):
        list(client.list_blobs(BUCKET))


# Managed folders


@pytest.fixture
def folder(suite: Suite) -> storage.Client:
    for name in ("acme/a", "acme/b/c", "acme", "acmeat/a", "zebra/a"):
        suite.storage.put(BUCKET, name, b"x")
    suite.storage.grant(BUCKET, OTHER, "roles/storage.objectUser", folder="acme/")
    return suite.client(OTHER)


@pytest.mark.parametrize(
    ("name", "goes"),
    [("acme/a", True), ("acme/b/c", True), ("acme", False), ("acmeat/a", False), ("zebra/a", False)],
)
def test_a_folders_grant_holds_under_it_only(
    suite: Suite, folder: storage.Client, name: str, goes: bool
) -> None:
    bucket = folder.bucket(BUCKET)
    acts: list[Callable[[], Any]] = [
        bucket.blob(name).reload,
        bucket.blob(name).download_as_bytes,
        lambda: bucket.blob(name).upload_from_string(b"y"),
        lambda: bucket.blob("acme/copy").rewrite(bucket.blob(name)),
        lambda: bucket.blob("acme/joined").compose([bucket.blob(name)]),
        bucket.blob(name).delete,
    ]
    for act in acts:
        if goes:
            act()
        else:
            with pytest.raises(Forbidden):
                act()


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("acme/", ["acme/a", "acme/b/c"]),
        ("acme/b", ["acme/b/c"]),
        ("acme", None),
        ("acm", None),
        ("", None),
        ("zebra/", None),
    ],
)
def test_a_list_within_a_folder(folder: storage.Client, prefix: str, names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(Forbidden, match=LIST):
            list(folder.list_blobs(BUCKET, prefix=prefix))
    else:
        assert [blob.name for blob in folder.list_blobs(BUCKET, prefix=prefix)] == names


def test_a_missing_object_in_a_folder_is_told(folder: storage.Client) -> None:
    with pytest.raises(NotFound):
        folder.bucket(BUCKET).blob("acme/missing").reload()


@pytest.mark.parametrize(
    ("roles", "folder"),
    [
        (["roles/storage.unheardOf"], ""),
        (["storage.objects.read"], ""),
        (["roles/storage.objectViewer"], "acme"),
        (["roles/storage.admin"], "acme/"),
        (["roles/storage.legacyBucketReader"], "acme/"),
        (["storage.buckets.get"], "acme/"),
    ],
)
def test_what_cannot_be_granted(suite: Suite, roles: list[str], folder: str) -> None:
    with pytest.raises(ValueError, match=r"storage|slash"):
        suite.storage.grant(BUCKET, OTHER, *roles, folder=folder)


# Asking


def test_test_permissions_needs_none_and_tells_those_held(suite: Suite, other: storage.Client) -> None:
    asked = [CREATE, LIST, GET, BUCKETS_GET]
    bucket = other.bucket(BUCKET)
    assert bucket.test_iam_permissions(asked) == []
    suite.storage.grant(BUCKET, OTHER, LIST, CREATE)
    suite.storage.grant(BUCKET, OTHER, GET, folder="acme/")
    assert bucket.test_iam_permissions(asked) == [CREATE, LIST]
    answer = suite.session(None).get(
        f"{suite.url}/storage/v1/b/{BUCKET}/iam/testPermissions", params={"permissions": asked}
    )
    assert answer.json() == {"kind": "storage#testIamPermissionsResponse"}
    with pytest.raises(BadRequest):
        bucket.test_iam_permissions(["storage.objects.read"])


def test_a_bucket_tells_of_itself(client: storage.Client) -> None:
    bucket = client.get_bucket(BUCKET)
    assert (bucket.name, bucket.location, bucket.storage_class) == (BUCKET, "EU", "STANDARD")
    assert bucket.iam_configuration.uniform_bucket_level_access_enabled
    assert bucket.time_created >= START


def test_calls_are_written_down_with_their_caller(suite: Suite, other: storage.Client) -> None:
    suite.storage.grant(BUCKET, OTHER, "roles/storage.admin")
    suite.traffic.forget()
    for act, _ in CALLS.values():
        act(other)
    other.bucket(BUCKET).test_iam_permissions([GET])
    journal = [(call.kind.removeprefix("storage."), call.resource) for call in suite.traffic.calls()]
    assert journal == [
        ("objects.get", f"{BUCKET}/source"),
        ("objects.get_media", f"{BUCKET}/source"),
        ("objects.list", f"{BUCKET}/"),
        ("objects.insert", f"{BUCKET}/new"),
        ("objects.insert", f"{BUCKET}/old"),
        ("uploads.start", f"{BUCKET}/new"),
        ("uploads.start", f"{BUCKET}/old"),
        ("objects.compose", f"{BUCKET}/new"),
        ("objects.compose", f"{BUCKET}/old"),
        ("objects.rewrite", f"{BUCKET}/source -> {BUCKET}/new"),
        ("objects.rewrite", f"{BUCKET}/source -> {BUCKET}/old"),
        ("objects.delete", f"{BUCKET}/old"),
        ("buckets.get", BUCKET),
        ("buckets.testIamPermissions", BUCKET),
    ]
    assert {call.principal for call in suite.traffic.calls()} == {OTHER}
