"""Which errors are an outage of Google Cloud: they pass without anybody's doing, and are no fault of ours."""

import requests
from google.api_core.exceptions import (
    Aborted,
    GoogleAPICallError,
    InvalidArgument,
    RetryError,
    ServerError,
    TooManyRequests,
)
from google.auth.exceptions import TransportError

_OUTAGES = (
    Aborted,
    RetryError,
    ServerError,
    TooManyRequests,
    TransportError,
    requests.ConnectionError,
    requests.Timeout,
)
"""https://cloud.google.com/apis/design/errors#error_retries"""


def expired(error: BaseException) -> bool:
    """Whether a transaction of Firestore's had gone on for too long, 270 s in all or 60 without a call.

    It is answered INVALID_ARGUMENT, and only the sentence says so:
    https://github.com/googleapis/nodejs-firestore/pull/1347
    """
    return isinstance(error, InvalidArgument) and "transaction has expired" in str(error.message)


def outage(error: BaseException) -> str | None:
    """What does not work now, in a sentence without any address; None where the error is no outage."""
    if expired(error):
        return "a transaction took too long"
    if not isinstance(error, _OUTAGES):
        return None
    last = error.cause if isinstance(error, RetryError) else error
    code = f" {int(last.code)}" if isinstance(last, GoogleAPICallError) and last.code else ""
    return f"Google Cloud does not answer as it should ({type(last).__name__}{code})"
