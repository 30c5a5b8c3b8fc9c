"""Cloud Storage's errors: status, reason and the JSON body that clients parse.

https://cloud.google.com/storage/docs/json_api/v1/status-codes
"""

from http import HTTPStatus
from typing import Any

import orjson

from infra.local.traffic import Fault

_REASONS = {
    400: "invalid",
    401: "required",
    403: "forbidden",
    404: "notFound",
    408: "uploadBrokenConnection",
    410: "gone",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    499: "clientClosedRequest",
    500: "internalError",
    501: "notImplemented",
    502: "badGateway",
    503: "backendError",
    504: "gatewayTimeout",
}

_LOCATIONS = {401: ("header", "Authorization"), 412: ("header", "If-Match"), 416: ("header", "Range")}


class StorageError(Exception):
    """A call that is answered with an error.

    `status` is the HTTP status, `message` Google's sentence, `reason` the word in the body that programs
    look at; `plain` where production answers the bare message as text instead of JSON.
    """

    def __init__(self, status: int, message: str, *, reason: str = "", plain: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason or _REASONS.get(status, "backendError")
        self.plain = plain

    def body(self) -> bytes:
        """The body of the answer, UTF-8."""
        if self.plain:
            return self.message.encode()
        entry: dict[str, Any] = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.status in _LOCATIONS:
            entry["locationType"], entry["location"] = _LOCATIONS[self.status]
        return orjson.dumps({"error": {"code": self.status, "message": self.message, "errors": [entry]}})


def injected(fault: Fault) -> StorageError:
    """The error that a test asked for."""
    messages = {
        429: "The rate of change requests to the object exceeds the rate limit. Please reduce the rate.",
        500: "We encountered an internal error. Please try again.",
        503: "We encountered an internal error. Please try again.",
    }
    message = fault.message or messages.get(fault.status) or phrase(fault.status)
    return StorageError(fault.status, message, reason=fault.reason)


def phrase(status: int) -> str:
    """What stands behind the status in an answer's first line."""
    if status == 308:
        return "Resume Incomplete"
    if status == 499:
        return "Client Closed Request"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def invalid(message: str) -> StorageError:
    """400: the request itself is wrong."""
    return StorageError(400, message)


def unimplemented(what: str) -> StorageError:
    """501: Google has this, the suite has not."""
    return StorageError(501, f"Not implemented here: {what}.")


def no_bucket() -> StorageError:
    """404 for a bucket that does not exist."""
    return StorageError(404, "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> StorageError:
    """404 for an object that does not exist."""
    return StorageError(404, f"No such object: {bucket}/{name}")


def condition_not_met() -> StorageError:
    """412: a precondition does not hold."""
    return StorageError(412, "At least one of the pre-conditions you specified did not hold.")


def denied(principal: str, permission: str) -> StorageError:
    """403 for an account that lacks a permission; 401 where the caller is anonymous.

    https://cloud.google.com/storage/docs/troubleshooting#access-permission
    """
    kind = "bucket" if permission in ("storage.objects.list", "storage.buckets.get") else "object"
    return StorageError(
        403 if principal else 401,
        f"{principal or 'Anonymous caller'} does not have {permission} access to the Google Cloud Storage "
        f"{kind}. Permission '{permission}' denied on resource (or it may not exist).",
    )


def invalid_credentials() -> StorageError:
    """401 for a token that does not hold."""
    return StorageError(401, "Invalid Credentials", reason="authError")
