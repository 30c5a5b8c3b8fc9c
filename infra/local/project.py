"""What Terraform makes in the cloud, made on the laptop from the same bundle.yaml."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core.exceptions import AlreadyExists, Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from infra.bundle import Function
from infra.local.pubsub import STORAGE_TOPIC, Subscription
from shared.ids import SLUG
from shared.settings import origin_of

if TYPE_CHECKING:
    from infra.local.suite import Suite

LOCATION = "EU"
"""Where our buckets are."""

PUBLISH_SECONDS = 10
"""How long a Pub/Sub of the user's own may take to take a message."""


def account_email(name: str, project: str) -> str:
    """The email of one of our accounts in a project; what is an email already stays as it is."""
    return name if "@" in name else f"{name}@{project}.iam.gserviceaccount.com"


def topic_path(name: str, project: str) -> str:
    """`projects/…/topics/…`."""
    return f"projects/{project}/topics/{name}"


def trigger_topic(function: Function, project: str) -> str | None:
    """The topic by which a function gets its events; None for one behind HTTP."""
    if function.bucket is not None:
        return topic_path(STORAGE_TOPIC + function.name, project)
    return topic_path(function.topic, project) if function.topic is not None else None


def make_project(suite: "Suite", project: str | None = None) -> str:
    """Make accounts, buckets, topics, subscriptions and grants of a project, by default the suite's own.

    What is there already stays, with its content, and gets the settings of bundle.yaml. Returns the name.
    """
    project = project or suite.project
    with suite.identity.together():
        for account in suite.bundle.accounts.values():
            email = account_email(account.name, project)
            suite.identity.create_account(email)
            if account.signs:
                suite.identity.allow_impersonation(email, email)
    if suite.emulators.storage:
        _make_their_buckets(suite, project)
    else:
        _make_our_buckets(suite, project)
        allow_own_pages(suite, project)
    wanted = [
        _trigger(function, topic, project, suite)
        for function in suite.bundle.functions.values()
        if (topic := trigger_topic(function, project)) is not None
    ]
    # A topic without a subscription loses what is published to it.
    letters = [
        Subscription(f"projects/{project}/subscriptions/{name}", topic_path(name, project), endpoint="")
        for name in suite.bundle.dead_letters
    ]
    if suite.emulators.pubsub:
        _make_their_subscriptions(suite.emulators.pubsub, [*letters, *wanted])
    else:
        for subscription in [*letters, *wanted]:
            suite.pubsub.create_topic(subscription.topic)
            suite.pubsub.subscribe(
                subscription.topic,
                subscription.name,
                endpoint=subscription.endpoint,
                ack_deadline=subscription.ack_deadline,
                attempts=subscription.attempts,
                dead_letter_topic=subscription.dead_letter_topic,
            )
    return project


def make_customer_account(suite: "Suite", customer: str, slug: str, project: str | None = None) -> str:
    """Onboard a customer: make their account, let ours impersonate it, grant it their own folders.

    `customer` is the customer's id, which names the folders; `slug` is at most 9 lower-case letters, digits
    and hyphens. Returns the account's email, to be granted access to the customer's bucket. ValueError for
    a slug that makes no account's name.
    """
    project = project or suite.project
    if not SLUG.fullmatch(slug):
        raise ValueError(f"a customer's slug is 1 to 9 lower-case letters, digits and hyphens: {slug!r}")
    email = account_email(f"customer-{slug}-data-export", project)
    with suite.identity.together():
        suite.identity.create_account(email)
        for account in suite.bundle.accounts.values():
            if account.impersonates:
                suite.identity.allow_impersonation(account_email(account.name, project), email)
    if not suite.emulators.storage:
        for bucket, roles in suite.bundle.customer_folders.items():
            suite.storage.grant(f"{project}-{bucket}", email, *roles, folder=f"{customer}/")
    return email


def make_customer_bucket(
    suite: "Suite", bucket: str, account: str, *, location: str = LOCATION, open_to_all: bool = False
) -> None:
    """Make a customer's bucket and grant an account (an email) what customers grant: `customer_grant`.

    `open_to_all`: everyone may look into it, as the customer's own people do, who have no account of ours.
    """
    if suite.emulators.storage:
        _make_their_bucket(suite, bucket, location)
        return
    suite.storage.create_bucket(bucket, location=location)
    suite.storage.grant(bucket, account, *suite.bundle.customer_grant)
    if open_to_all:
        suite.storage.grant(bucket, "allUsers", "roles/storage.objectViewer", "storage.buckets.get")


def publish_to(host: str, topic: str, data: bytes, attributes: Mapping[str, str] | None = None) -> None:
    """Publish one message to the Pub/Sub emulator at `host`; GoogleAPIError where that does not take it."""
    with grpc.insecure_channel(host) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        message = PubsubMessage(data=data, attributes=attributes or {})
        publisher.publish(topic=topic, messages=[message], retry=None, timeout=PUBLISH_SECONDS)


def _trigger(function: Function, topic: str, project: str, suite: "Suite") -> Subscription:
    """The subscription that Eventarc makes for a function's trigger."""
    return Subscription(
        name=f"projects/{project}/subscriptions/eventarc-{function.name}",
        topic=topic,
        endpoint=suite.push_url(function.name),
        ack_deadline=max(10, function.timeout),
        attempts=function.attempts if function.retry else 1,
        dead_letter_topic=topic_path(function.dead_letter, project) if function.dead_letter else None,
    )


def _make_our_buckets(suite: "Suite", project: str) -> None:
    for bucket in suite.bundle.buckets.values():
        name = f"{project}-{bucket.name}"
        suite.storage.create_bucket(name, location=LOCATION)
        told = [function for function in suite.bundle.functions.values() if function.bucket == bucket.name]
        suite.storage.notify(name, *(topic_path(STORAGE_TOPIC + each.name, project) for each in told))
    for account in suite.bundle.accounts.values():
        for bucket_name, roles in account.storage.items():
            given = [each for role in roles for each in suite.bundle.permissions(role)]
            suite.storage.grant(f"{project}-{bucket_name}", account_email(account.name, project), *given)


def allow_own_pages(suite: "Suite", project: str) -> None:
    """Let pages of Waybill's own site do with our buckets what bundle.yaml lets them."""
    for bucket in suite.bundle.buckets.values():
        if bucket.cors is not None:
            suite.storage.allow_pages(
                f"{project}-{bucket.name}",
                origin_of(suite.own_url),
                methods=bucket.cors.methods,
                headers=bucket.cors.headers,
                seconds=bucket.cors.seconds,
            )


def _make_their_buckets(suite: "Suite", project: str) -> None:
    for bucket in suite.bundle.buckets.values():
        _make_their_bucket(suite, f"{project}-{bucket.name}", LOCATION)


def _make_their_bucket(suite: "Suite", bucket: str, location: str) -> None:
    client = storage.Client(
        project=suite.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": suite.emulators.storage},
    )
    try:
        client.create_bucket(bucket, location=location)
    except Conflict:
        pass
    finally:
        client.close()


def _make_their_subscriptions(host: str, subscriptions: list[Subscription]) -> None:
    with grpc.insecure_channel(host) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for subscription in subscriptions:
            try:
                publisher.create_topic(name=subscription.topic)
            except AlreadyExists:
                continue
        for subscription in subscriptions:
            try:
                subscriber.create_subscription(request=_request(subscription))
            except AlreadyExists:
                continue


def _request(subscription: Subscription) -> dict[str, Any]:
    request: dict[str, Any] = {
        "name": subscription.name,
        "topic": subscription.topic,
        "ack_deadline_seconds": subscription.ack_deadline,
        "push_config": {"push_endpoint": subscription.endpoint},
        "retry_policy": {
            "minimum_backoff": Duration(seconds=int(subscription.min_backoff)),
            "maximum_backoff": Duration(seconds=int(subscription.max_backoff)),
        },
    }
    if subscription.dead_letter_topic:
        request["dead_letter_policy"] = {
            "dead_letter_topic": subscription.dead_letter_topic,
            "max_delivery_attempts": subscription.attempts,
        }
    return request
