"""The connection test: each refusal at its step, in a sentence to act on, and nothing left behind."""

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

import pytest

from infra.local.traffic import Fault
from shared.accounts.customers import add_site
from shared.accounts.keys import create_key
from shared.delivery.base import Step, passed
from shared.delivery.cloud_storage import connection_test
from shared.delivery.cloud_storage.connection_test import PERMISSIONS, STEPS
from shared.errors import Retry
from shared.gcp import objects
from tests.world import BUCKET, BUNDLE, THEIR_SITE, World

URI = f"gs://{BUCKET}/waybill"
PROBE_ID = "0123456789abcdef0123456789abcdef"
PROBE = f"{BUCKET}/waybill/_manifests/.waybill-probe-{PROBE_ID}"
CREATE, GET, LIST, BUCKETS_GET = PERMISSIONS


def steps(world: World, uri: str = URI, account: str = "") -> list[Step]:
    cloud = replace(world.cloud, new_id=lambda: PROBE_ID)
    return connection_test.run(cloud, account or world.acme.account, uri)


def verdicts(found: list[Step]) -> str:
    """The verdicts' initials, in order: `p` passed, `f` failed, `s` skipped, `w` warning."""
    assert tuple(step.name for step in found) == STEPS
    return "".join(step.verdict[0] for step in found)


def sentence(found: list[Step], name: str) -> str:
    return next(step.sentence for step in found if step.name == name)


def bucket_calls(world: World) -> list[tuple[str, str, str]]:
    return [
        (call.kind, call.resource, call.principal)
        for call in world.suite.traffic.calls("storage", resource=BUCKET)
    ]


def granted(world: World, permission: str) -> str:
    return f"The account {world.acme.account} has the permission {permission} on the bucket {BUCKET}."


def missing(world: World, permission: str) -> str:
    return (
        f"The account {world.acme.account} does not have the permission {permission} on the bucket {BUCKET}. "
        f"Grant {permission} on gs://{BUCKET} to {world.acme.account}, then retry the run."
    )


def gone(world: World) -> str:
    return (
        f"The bucket {BUCKET} does not exist. Create gs://{BUCKET}, grant {world.acme.account} its "
        "permissions there, and retry the run. Or change the export's storage_uri, and retry what "
        "failed with :retry-failed."
    )


def closed(account: str) -> str:
    return (
        f"Waybill cannot act as the account {account}: it is disabled or deleted, or Waybill lost the "
        f"permission to use it. Ask Waybill's operators to enable {account}, then retry the run."
    )


def kept_out(world: World, status: int) -> str:
    said = HTTPStatus(status).phrase
    return (
        f"The bucket {BUCKET} refuses the account {world.acme.account}, and names no missing permission. "
        f'Cloud Storage says: "{said}" (status {status}). Change the settings of gs://{BUCKET} that refuse '
        "it, then retry the run. Or change the export's storage_uri, and retry what failed with "
        ":retry-failed."
    )


def test_the_permissions_are_those_that_customers_are_asked_for() -> None:
    assert sorted(PERMISSIONS) == sorted(BUNDLE.customer_grant)


# --- all is well


def test_where_all_is_well_each_step_passes_and_says_so(world: World) -> None:
    found = steps(world)
    assert [(step.name, step.sentence) for step in found] == [
        ("uri", f"{URI} names the bucket {BUCKET}."),
        ("account", f"Waybill can act as {world.acme.account}."),
        ("bucket", f"The bucket {BUCKET} exists."),
        *((permission, granted(world, permission)) for permission in PERMISSIONS),
        ("probe", f"An upload to gs://{BUCKET}/waybill/_manifests/ was begun and cancelled."),
    ]
    assert {step.verdict for step in found} == {"passed"}
    assert passed(found)


def test_nothing_is_left_behind_and_nothing_else_is_asked_of_the_bucket(world: World) -> None:
    steps(world)
    account = world.acme.account
    assert bucket_calls(world) == [
        ("storage.buckets.testIamPermissions", BUCKET, account),
        ("storage.uploads.start", PROBE, account),
        ("storage.uploads.cancel", PROBE, account),
    ]
    assert world.landed() == {}


def test_without_a_prefix_the_probe_goes_to_the_bucket_itself(world: World) -> None:
    assert verdicts(steps(world, f"gs://{BUCKET}")) == "pppppppp"
    ((_, started, _),) = [call for call in bucket_calls(world) if call[0] == "storage.uploads.start"]
    assert started == f"{BUCKET}/_manifests/.waybill-probe-{PROBE_ID}"


def test_what_stands_in_the_bucket_stays(world: World) -> None:
    world.suite.storage.put(BUCKET, "waybill/_manifests/theirs.json", b"theirs")
    assert passed(steps(world))
    assert world.landed() == {"waybill/_manifests/theirs.json": b"theirs"}


# --- each refusal


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (
            "s3://acme-bi",
            "storage_uri: must begin with gs://, such as gs://my-bucket/waybill; got 's3://acme-bi'.",
        ),
        (
            "gs://",
            "storage_uri: must name a bucket after gs://, such as gs://my-bucket/waybill.",
        ),
    ],
)
def test_a_uri_that_is_none_ends_the_test_before_any_call(world: World, uri: str, says: str) -> None:
    world.suite.traffic.forget()
    found = steps(world, uri)
    assert verdicts(found) == "fsssssss"
    assert sentence(found, "uri") == says
    assert sentence(found, "probe") == "Skipped, since the step uri failed."
    assert not passed(found)
    assert world.suite.traffic.calls() == []


def disabled(world: World) -> str:
    world.suite.identity.disable_account(world.acme.account)
    return world.acme.account


def forbidden(world: World) -> str:
    world.suite.identity.forbid_impersonation(world.account, world.acme.account)
    return world.acme.account


def deleted(world: World) -> str:
    return f"customer-nobody-data-export@{world.suite.project}.iam.gserviceaccount.com"


@pytest.mark.parametrize("used", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("close", [disabled, forbidden, deleted])
def test_an_account_that_is_closed_is_told_even_where_its_last_token_is_still_good(
    world: World, close: Callable[[World], str], used: bool
) -> None:
    if used:
        assert passed(steps(world))
    account = close(world)
    world.suite.traffic.forget()
    found = steps(world, account=account)
    assert verdicts(found) == "pfssssss"
    assert sentence(found, "account") == closed(account)
    assert sentence(found, "bucket") == "Skipped, since the step account failed."
    assert not passed(found)
    assert bucket_calls(world) == []


def test_a_bucket_that_is_gone_is_told(world: World) -> None:
    world.suite.storage.delete_bucket(BUCKET)
    found = steps(world)
    assert verdicts(found) == "ppfsssss"
    assert sentence(found, "bucket") == gone(world)
    assert sentence(found, CREATE) == "Skipped, since the step bucket failed."
    assert not passed(found)


@pytest.mark.parametrize(
    ("permission", "expected"),
    [(CREATE, "pppfpppf"), (GET, "ppppfppp"), (LIST, "pppppfpp"), (BUCKETS_GET, "ppppppfp")],
)
def test_a_permission_that_is_missing_fails_at_its_step(world: World, permission: str, expected: str) -> None:
    world.suite.storage.revoke(BUCKET, world.acme.account, permission)
    found = steps(world)
    assert verdicts(found) == expected
    assert sentence(found, permission) == missing(world, permission)
    assert not passed(found)
    assert world.landed() == {}


def test_where_nothing_is_granted_each_permission_is_named(world: World) -> None:
    world.suite.storage.revoke(BUCKET, world.acme.account)
    found = steps(world)
    assert verdicts(found) == "pppfffff"
    for permission in PERMISSIONS:
        assert sentence(found, permission) == missing(world, permission)
    assert sentence(found, "probe") == missing(world, CREATE)


def test_a_grant_that_the_bucket_does_not_tell_of_is_a_warning(world: World) -> None:
    account = world.acme.account
    world.suite.storage.revoke(BUCKET, account, CREATE)
    world.suite.storage.grant(BUCKET, account, CREATE, folder="waybill/")
    found = steps(world)
    assert verdicts(found) == "pppwpppp"
    assert sentence(found, CREATE) == (
        f"The bucket {BUCKET} reports that {account} does not have the permission {CREATE}, but an upload "
        "could be begun. The permission is probably granted with a condition, or on a folder only. If that "
        "covers the export's storage_uri, there is nothing to do."
    )
    assert passed(found)


@pytest.mark.parametrize("status", [400, 403, 404, 412])
def test_a_probe_that_is_refused_decides_whatever_the_bucket_tells(world: World, status: int) -> None:
    world.suite.traffic.arm("storage.uploads.start", Fault("error", status=status))
    found = steps(world)
    assert verdicts(found) == "pppppppf"
    assert sentence(found, "probe") == kept_out(world, status)
    assert not passed(found)


def test_a_bucket_that_a_policy_closes_is_told(world: World) -> None:
    world.suite.traffic.arm("storage.buckets.testIamPermissions", Fault("error", status=403))
    found = steps(world)
    assert verdicts(found) == "ppfsssss"
    assert sentence(found, "bucket") == kept_out(world, 403)


def test_a_bucket_that_goes_during_the_test_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = objects.Objects.probe

    def late(self: objects.Objects, bucket: str, name: str) -> None:
        world.suite.storage.delete_bucket(BUCKET)
        probe(self, bucket, name)

    monkeypatch.setattr(objects.Objects, "probe", late)
    found = steps(world)
    assert verdicts(found) == "pppppppf"
    assert sentence(found, "probe") == gone(world)


# --- what is passing

TOKEN, TELL, BEGIN, CANCEL = (
    "iamcredentials.generateAccessToken",
    "storage.buckets.testIamPermissions",
    "storage.uploads.start",
    "storage.uploads.cancel",
)
UNTESTED = (
    f"The connection to the bucket {BUCKET} could not be tested, because Google Cloud is failing at the "
    "moment"
)
TROUBLE = [
    Fault("error", status=429),
    Fault("error", status=503),
    Fault("reset_before"),
    Fault("reset_after"),
]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *((kind, fault) for kind in (TOKEN, TELL, BEGIN, CANCEL) for fault in TROUBLE),
        (TOKEN, Fault("truncate")),
        (TELL, Fault("truncate")),
        (TELL, Fault("error", status=401)),
        (TELL, Fault("delay", seconds=0.2)),
        (BEGIN, Fault("delay", seconds=0.2)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.action}-{value.status}",
)
def test_trouble_that_stays_is_no_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, fault: Fault
) -> None:
    monkeypatch.setattr(objects, "PROBE_SECONDS", 0.1)
    world.suite.traffic.arm(kind, fault, times=1_000_000)
    with pytest.raises(Retry) as told:
        steps(world)
    assert str(told.value) == UNTESTED
    assert world.landed() == {}


@pytest.mark.parametrize("kind", [TELL, BEGIN])
def test_trouble_that_passes_is_waited_out(world: World, kind: str) -> None:
    world.suite.traffic.arm(kind, Fault("error", status=503))
    assert verdicts(steps(world)) == "pppppppp"


# --- over HTTP


def test_over_http_the_stored_account_and_config_are_tested(world: World) -> None:
    export = world.export()
    answer = world.request("POST", f"/v1/exports/{export}:test")
    assert answer.status == 200, answer
    assert answer.body["passed"] is True
    assert [list(step) for step in answer.body["steps"]] == [["name", "verdict", "sentence"]] * len(STEPS)
    assert [step["name"] for step in answer.body["steps"]] == list(STEPS)

    world.suite.storage.revoke(BUCKET, world.acme.account, GET)
    answer = world.request("POST", f"/v1/exports/{export}:test")
    assert (answer.status, answer.body["passed"]) == (200, False)
    assert {"name": GET, "verdict": "failed", "sentence": missing(world, GET)} in answer.body["steps"]


def test_anothers_export_is_not_tested(world: World) -> None:
    export = world.export()
    world.onboard("globex", "globex")
    add_site(world.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs")
    theirs = create_key(world.cloud.db, customer="globex", scopes=["exports"])
    answer = world.request("POST", f"/v1/exports/{export}:test", key=theirs)
    assert (answer.status, answer.body["detail"]) == (404, f"there is no export {export}")
    assert bucket_calls(world) == []


def test_over_http_passing_trouble_is_503_and_says_to_try_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = world.export()
    monkeypatch.setattr(objects, "PROBE_SECONDS", 0.1)
    world.suite.traffic.arm("storage.uploads.start", Fault("error", status=503), times=1_000_000)
    answer = world.request("POST", f"/v1/exports/{export}:test")
    assert answer.status == 503, answer
    assert answer.body["detail"] == f"{UNTESTED}: try again"
