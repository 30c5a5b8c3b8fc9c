"""The connection test: whether an export can land where its config says, and if not, who must do what.

Nothing is written: an upload is begun and cancelled, which leaves nothing in the bucket.
"""

import contextlib
from collections.abc import Iterator

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from shared.delivery.base import Step, Steps
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.delivery.cloud_storage.uri import BucketUri
from shared.errors import GiveUp, Retry
from shared.gcp.clients import Cloud

CREATE = "storage.objects.create"

PERMISSIONS = (CREATE, "storage.objects.get", "storage.objects.list", "storage.buckets.get")
"""What a customer grants Waybill on the bucket. https://cloud.google.com/storage/docs/access-control/iam-json"""

STEPS = ("uri", "account", "bucket", *PERMISSIONS, "probe")
"""The steps' names, in order."""


def run(cloud: Cloud, account: str, uri: str) -> list[Step]:
    """Test whether the customer's `account` can deliver to `uri`, a `storage_uri`: a Step for each of STEPS.

    uri      can be read
    account  Waybill gets a token for it, a new one: it is not disabled, deleted or closed to us
    bucket   exists and lets the account reach it
    storage.…  each of PERMISSIONS, as the bucket tells
    probe    an upload can be begun where manifests go

    Retry where a call failed in passing, which says nothing about the connection.
    """
    try:
        place = BucketUri.parse(uri)
    except ValueError as wrong:
        return _stopped(Steps(), f"storage_uri: {wrong}.")
    try:
        bucket = CustomerBucket.of(cloud, account, place.bucket)
    except GiveUp as refused:
        return _stopped(Steps(), _sentences(refused))
    objects = bucket.objects
    steps = Steps()
    steps.append(Step("uri", "passed", f"{uri} names the bucket {place.bucket}."))
    try:
        with _told(bucket):
            # The token at hand may have been made before the account was closed to us, and stays good.
            objects.token(refused=objects.credentials.token or "")
        steps.append(Step("account", "passed", f"Waybill can act as {account}."))
        with _told(bucket):
            held = objects.held(place.bucket, PERMISSIONS)
        steps.append(Step("bucket", "passed", f"The bucket {place.bucket} exists."))
    except GiveUp as refused:
        return _stopped(steps, _sentences(refused))
    folder = f"{place.prefix}_manifests/"
    try:
        with _told(bucket):
            objects.probe(place.bucket, f"{folder}.waybill-probe-{cloud.new_id()}")
        probe = Step("probe", "passed", f"An upload to gs://{place.bucket}/{folder} was begun and cancelled.")
    except GiveUp as refused:
        probe = Step("probe", "failed", _sentences(refused))
    begun = probe.verdict == "passed"
    steps.extend(_permission(bucket, each, each in held, begun) for each in PERMISSIONS)
    steps.append(probe)
    return steps


def _permission(bucket: CustomerBucket, permission: str, held: bool, begun: bool) -> Step:
    """The step of one permission: `held` as the bucket tells, `begun` whether the probe could be."""
    if held:
        has = f"The account {bucket.account} has the permission {permission} on the bucket {bucket.bucket}."
        return Step(permission, "passed", has)
    if permission == CREATE and begun:
        return Step(
            permission,
            "warning",
            f"The bucket {bucket.bucket} reports that {bucket.account} does not have the permission "
            f"{permission}, but an upload could be begun. The permission is probably granted with a "
            "condition, or on a folder only. If that covers the export's storage_uri, there is nothing to "
            "do.",
        )
    return Step(permission, "failed", _sentences(bucket.refusal(permission)))


def _stopped(steps: Steps, sentence: str) -> list[Step]:
    """These steps have passed, the next one failed with this sentence, and the others are not tried."""
    failed, *rest = STEPS[len(steps) :]
    skipped = [Step(name, "skipped", f"Skipped, since the step {failed} failed.") for name in rest]
    steps.extend([Step(failed, "failed", sentence), *skipped])
    return steps


def _sentences(refused: GiveUp) -> str:
    return f"{refused} {refused.next_action}"


@contextlib.contextmanager
def _told(bucket: CustomerBucket) -> Iterator[None]:
    """Raise every refusal as GiveUp with its sentences, and all that is passing as Retry."""
    try:
        with bucket.explained():
            yield
    except (Retry, GoogleAPIError, GoogleAuthError) as error:
        # Without the error itself: its text may be long, and is not written for the customer.
        raise Retry(
            f"The connection to the bucket {bucket.bucket} could not be tested, because Google Cloud is "
            "failing at the moment"
        ) from error
