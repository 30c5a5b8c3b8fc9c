"""Makes the clients of Google Cloud, once for each set of settings, when they are first asked for."""

import functools
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import google.auth
from google.auth import impersonated_credentials
from google.auth.credentials import Credentials

from shared import ids
from shared.gcp.messages import Messages
from shared.gcp.objects import Objects
from shared.gcp.transactions import Client
from shared.settings import Settings

if TYPE_CHECKING:
    from google.cloud import pubsub_v1, storage

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""What our own tokens are good for; IAM decides the rest."""

CUSTOMER_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
"""What a customer's token is good for: Cloud Storage, and there no change of ACLs.
https://cloud.google.com/storage/docs/oauth-scopes"""

TOKEN_SECONDS = 3600
"""How long a customer's token lives; it is fetched anew before it ends."""

CONNECTIONS = 16
"""How many connections to Storage one function keeps open."""


def new_id() -> str:
    """A fresh id of 32 hex digits."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Cloud:
    """What the functions talk to, passed to every use case.

    db        Firestore
    objects   Cloud Storage as the function's own account
    messages  Pub/Sub
    as_customer  Cloud Storage as a customer's account, named by its email
    new_id    a fresh id of 32 hex digits; tests pass their own
    """

    settings: Settings
    db: Client
    objects: Objects
    messages: Messages
    as_customer: Callable[[str], Objects]
    new_id: Callable[[], str] = field(default=new_id)

    def close(self) -> None:
        """Give the connections back."""
        self.db._firestore_api.transport.close()  # its own close() knows only of HTTP
        self.messages.close()


def connect() -> Cloud:
    """The clients for this process's environment. KeyError where a setting is missing."""
    return _connect(Settings.from_env(os.environ))


@functools.lru_cache(maxsize=8)
def _connect(settings: Settings) -> Cloud:
    own, _ = google.auth.default(scopes=[SCOPE])

    @functools.lru_cache(maxsize=256)
    def as_customer(account: str) -> Objects:
        return _objects(settings, impersonate(own, account, settings))

    return Cloud(
        settings=settings,
        db=_firestore(settings),
        objects=_objects(settings, own),
        messages=Messages(_publisher, settings.project),
        as_customer=as_customer,
    )


def forget() -> None:
    """Have `connect` make new clients, for a process that goes on under other settings, as tests do."""
    _connect.cache_clear()


def impersonate(own: Credentials, account: str, settings: Settings) -> Credentials:
    """Credentials of a customer's account, had through IAM by our own. ValueError where that is no
    account's email: it becomes part of a URL.

    https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken
    """
    if not ids.ACCOUNT.fullmatch(account):
        raise ValueError(f"{account!r} is no account's email: see the customer's document")
    return impersonated_credentials.Credentials(
        source_credentials=own,
        target_principal=account,
        target_scopes=[CUSTOMER_SCOPE],
        lifetime=TOKEN_SECONDS,
        iam_endpoint_override=(
            f"{settings.iam_credentials_url}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        ),
    )


def _firestore(settings: Settings) -> Client:
    db = Client(project=settings.project)
    # Whoever reads a stream takes its answers from the channel itself. Else another thread takes each answer
    # and hands it over, which costs a quarter more (tests/benchmarks/records.py). gRPC has an option for it,
    # grpc.experimental.ChannelOptions, but the client makes its channel with options of its own.
    db._firestore_api.transport.grpc_channel._single_threaded_unary_stream = True
    return db


def _publisher() -> "pubsub_v1.PublisherClient":
    from google.cloud import pubsub_v1  # with the first message: most requests publish none

    return pubsub_v1.PublisherClient()


def _objects(settings: Settings, credentials: Credentials) -> Objects:
    return Objects(functools.partial(_storage, settings, credentials), credentials)


def _storage(settings: Settings, credentials: Credentials) -> "storage.Client":
    from google.cloud import storage  # with the first call, likewise

    # Else the client asks for each bucket it meets, to name its location in traces that nobody takes; of a
    # customer's bucket we ask for nothing that a run does not need.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    # With STORAGE_EMULATOR_HOST set the client would go without an identity unless it is given one.
    return storage.Client(
        project=settings.project,
        credentials=credentials,
        client_options={"universe_domain": credentials.universe_domain},
    )
