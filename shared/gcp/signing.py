"""URLs by which anyone may read one object for a while, signed by IAM in the name of our own account, or of a
customer's.

A function has no private key: Google keeps it, and signs when asked. A signed URL is a secret: never log it.
https://cloud.google.com/storage/docs/access-control/signed-urls
"""

import base64
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import requests
from google.api_core.exceptions import BadGateway, GatewayTimeout, RetryError, from_http_response
from google.api_core.retry import Retry as Again
from google.api_core.retry import if_transient_error
from google.auth.credentials import AnonymousCredentials, Credentials, Signing
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request

from shared.errors import Retry
from shared.gcp.clients import Cloud

if TYPE_CHECKING:
    from google.cloud import storage

URL_SECONDS = 7 * 24 * 3600
"""The longest life of a URL. One signed by IAM may end after 12 hours, when Google changes the key.
https://cloud.google.com/storage/docs/access-control/signed-urls#expiration"""

SIGN_SECONDS = 15
"""How long it may take to get a signature, tries and all."""

_T = TypeVar("_T")


def signed_url(
    cloud: Cloud,
    bucket: str,
    name: str,
    *,
    seconds: int,
    generation: int | None = None,
    file_name: str | None = None,
    account: str | None = None,
) -> str:
    """A URL by which anyone may GET the object for `seconds`, from 1 to URL_SECONDS, by the machine's clock.

    generation  exactly this one; without it, what stands there when the URL is used
    file_name   has browsers save the content under this name
    account     in whose name it is signed, by its email; our own without it

    Our account needs iam.serviceAccounts.signBlob on that account now, and that account storage.objects.get
    when the URL is used. ValueError where `seconds` is out of range, Retry where Google does not answer or
    says to come again, GoogleAPICallError or GoogleAuthError where it refuses.
    """
    if not 0 < seconds <= URL_SECONDS:
        raise ValueError(f"a signed URL lives 1 to {URL_SECONDS} seconds, not {seconds}")
    blob = _client(cloud.settings.project).bucket(bucket).blob(name)
    url: str = blob.generate_signed_url(
        version="v4",
        credentials=_Signer(cloud.objects.credentials, cloud.settings.iam_credentials_url, account),
        api_access_endpoint=cloud.settings.storage_url,
        expiration=seconds,
        generation=generation,
        response_disposition=None if file_name is None else disposition(file_name),
    )
    return url


def disposition(file_name: str) -> str:
    """The Content-Disposition by which a browser saves a file under this name, whatever the name holds.

    https://www.rfc-editor.org/rfc/rfc6266#appendix-D
    """
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"


class _Signer(Signing):
    """Signs as an account, by default that of these credentials, by asking IAM with them.

    https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob
    """

    def __init__(self, credentials: Credentials, iam_url: str, account: str | None) -> None:
        self._credentials: Any = credentials
        self._iam_url = iam_url
        self._account = account

    @property
    def signer_email(self) -> str:
        """The account's email; our own the metadata server tells beside the token."""
        if self._account is not None:
            return self._account
        if not self._credentials.valid:
            _insist(lambda: self._credentials.refresh(Request()))
        email: str = self._credentials.service_account_email
        return email

    @property
    def signer(self) -> "_Signer":
        """Itself."""
        return self

    def sign_bytes(self, message: bytes) -> bytes:
        """The account's signature of `message`."""
        url = f"{self._iam_url}/v1/projects/-/serviceAccounts/{self.signer_email}:signBlob"
        payload = {"payload": base64.b64encode(message).decode()}

        def ask() -> bytes:
            answer = _session(self._credentials).post(url, json=payload, timeout=SIGN_SECONDS)
            if answer.status_code != requests.codes.ok:
                raise from_http_response(answer)
            return base64.b64decode(answer.json()["signedBlob"])

        return _insist(ask)


def _insist(call: Callable[[], _T]) -> _T:
    """Try again what fails in passing; Retry where it goes on failing."""
    try:
        return Again(predicate=_passing, initial=0.2, maximum=2, timeout=SIGN_SECONDS)(call)()
    except RetryError as error:
        raise Retry("IAM signs nothing now; the next attempt asks again") from error


def _passing(error: BaseException) -> bool:
    if isinstance(error, GoogleAuthError) and error.retryable:
        return True
    kinds = (BadGateway, GatewayTimeout, requests.Timeout)
    return isinstance(error, kinds) or (isinstance(error, Exception) and if_transient_error(error))


@functools.lru_cache(maxsize=8)
def _client(project: str) -> "storage.Client":
    from google.cloud import storage  # with the first URL that is signed

    # It is never called over the network: it knows how a URL is written.
    return storage.Client(project=project, credentials=AnonymousCredentials())


@functools.lru_cache(maxsize=8)
def _session(credentials: Credentials) -> AuthorizedSession:
    # Kept, so that the next signature needs no new connection.
    return AuthorizedSession(credentials)
