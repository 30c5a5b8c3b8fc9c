"""How errors look. Each surface has one form for all of its errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired

from typing_extensions import TypedDict

from shared.errors import FieldProblem
from shared.http.bodies import documented


@dataclass(frozen=True)
class Failure:
    """An error, before it has a form.

    status      the HTTP status
    title       what kind of error it is, the same each time
    detail      what happened and what to do, in a sentence
    request_id  finds the request in the log
    problems    the fields that are wrong, where the input is: the first of them
    code        the error's code, where it is not the one that the status has
    existing_id the id of what has a name, a path or a key already, where that is why
    more        how many fields are wrong besides those of `problems`
    """

    status: int
    title: str
    detail: str
    request_id: str
    problems: Sequence[FieldProblem] = ()
    code: str | None = None
    existing_id: str | None = None
    more: int = 0


@dataclass(frozen=True)
class ErrorForm:
    """How a surface says that something went wrong: the content type of an error's body, its model, and what
    makes it."""

    content_type: str
    model: Any
    render: Callable[[Failure], Any]


@documented
class FieldError(TypedDict):
    """What is wrong with one field."""

    field: str
    """The field's path, such as `connector_config.storage_uri`."""
    message: str
    """What is wrong with it."""


@documented
class Problem(TypedDict):
    """Problem details, https://www.rfc-editor.org/rfc/rfc9457."""

    type: str
    """Always `about:blank`: the status says what type of problem it is."""
    title: str
    """What kind of problem it is, the same each time."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened, and what to do."""
    request_id: str
    """Finds the request in Waybill's log: quote it when you ask for help."""
    errors: NotRequired[list[FieldError]]
    """The fields that are wrong, where the input is: the first 20 of them."""
    more_errors: NotRequired[int]
    """How many fields are wrong besides these."""
    existing_id: NotRequired[str]
    """The id of what is there already, where that is why."""


@documented
class Detail(TypedDict):
    """An error."""

    detail: str
    """What happened, and what to do."""
    request_id: str
    """Finds the request in Waybill's log: quote it when you ask for help."""
    errors: NotRequired[list[FieldError]]
    """The fields that are wrong, where the input is: the first 20 of them."""
    more_errors: NotRequired[int]
    """How many fields are wrong besides these."""
    existing_id: NotRequired[str]
    """The id of what is there already, where that is why."""


@documented
class OAuthError(TypedDict):
    """An error of OAuth, https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""

    error: str
    """The error's code, such as `invalid_grant`."""
    error_description: str
    """What happened, and what to do, in ASCII without quotation marks."""
    request_id: str
    """Finds the request in Waybill's log: quote it when you ask for help."""


@documented
class CodedError(TypedDict):
    """An error."""

    error_code: str
    """The error's code, such as `ModelArts.4352`."""
    error_msg: str
    """What happened, and what to do."""
    message: str
    """The same."""
    request_id: str
    """Finds the request in Waybill's log: quote it when you ask for help."""
    existing_id: NotRequired[str]
    """The id of what is there already, where that is why."""


@documented
class IdentityFault(TypedDict):
    """What went wrong."""

    code: int
    """The HTTP status."""
    title: str
    """What kind of error it is, the same each time."""
    message: str
    """What happened, and what to do."""
    request_id: str
    """Finds the request in Waybill's log: quote it when you ask for help."""


@documented
class IdentityError(TypedDict):
    """An error as OpenStack's Identity API has it, https://docs.openstack.org/api-ref/identity/v3/."""

    error: IdentityFault
    """What went wrong."""


PARAMETER_ERROR = "ModelArts.0104"
"""The code of a request that is wrong in itself.
https://support.huaweicloud.com/intl/en-us/api-modelarts/modelarts_03_0095.html"""

GATEWAY_CODES = {
    401: "APIGW.0301",
    403: "APIGW.0302",
    404: "APIGW.0101",
    405: "APIGW.0101",
    413: "APIGW.0201",
    429: "APIGW.0308",
    500: "APIGW.0601",
    503: "APIGW.0601",
}
"""The code of an error by its status, where the error has none of its own; of any other status it is
PARAMETER_ERROR. They are those of the gateway that the originals of these paths stand behind.
https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-errorcode.html"""

OAUTH_CODES = {
    401: "invalid_token",
    403: "insufficient_scope",
    404: "not_found",
    429: "temporarily_unavailable",
    500: "server_error",
    503: "temporarily_unavailable",
}
"""The code of an error by its status; of any other status it is `invalid_request`. `not_found` is ours.
https://www.rfc-editor.org/rfc/rfc6750#section-3.1 https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1"""


def _problem(failure: Failure) -> Problem:
    problem: Problem = {
        "type": "about:blank",
        "title": failure.title,
        "status": failure.status,
        "detail": failure.detail,
        "request_id": failure.request_id,
    }
    if failure.problems:
        problem["errors"] = _fields(failure)
    if failure.more:
        problem["more_errors"] = failure.more
    if failure.existing_id is not None:
        problem["existing_id"] = failure.existing_id
    return problem


def _detail(failure: Failure) -> Detail:
    detail: Detail = {"detail": failure.detail, "request_id": failure.request_id}
    if failure.problems:
        detail["errors"] = _fields(failure)
    if failure.more:
        detail["more_errors"] = failure.more
    if failure.existing_id is not None:
        detail["existing_id"] = failure.existing_id
    return detail


def _oauth(failure: Failure) -> OAuthError:
    return {
        "error": failure.code or OAUTH_CODES.get(failure.status, "invalid_request"),
        "error_description": "".join(map(_descriptive, failure.detail)),
        "request_id": failure.request_id,
    }


def _coded(failure: Failure) -> CodedError:
    error: CodedError = {
        "error_code": failure.code or GATEWAY_CODES.get(failure.status, PARAMETER_ERROR),
        "error_msg": failure.detail,
        "message": failure.detail,
        "request_id": failure.request_id,
    }
    if failure.existing_id is not None:
        error["existing_id"] = failure.existing_id
    return error


def _identity(failure: Failure) -> IdentityError:
    return {
        "error": {
            "code": failure.status,
            "title": failure.title,
            "message": failure.detail,
            "request_id": failure.request_id,
        }
    }


def _descriptive(character: str) -> str:
    """The character, or another in its place where a description must not have it."""
    if character in '"\\':
        return "'"
    return character if " " <= character <= "~" else "?"


def _fields(failure: Failure) -> list[FieldError]:
    return [{"field": each.field, "message": each.message} for each in failure.problems]


PROBLEM_DETAILS = ErrorForm("application/problem+json", Problem, _problem)
"""Problem details, https://www.rfc-editor.org/rfc/rfc9457."""

DETAIL = ErrorForm("application/json", Detail, _detail)
"""A JSON object with `detail`."""

OAUTH = ErrorForm("application/json", OAuthError, _oauth)
"""A JSON object with `error` and `error_description`, https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""

CODED = ErrorForm("application/json", CodedError, _coded)
"""A JSON object with `error_code` and `error_msg`."""

IDENTITY = ErrorForm("application/json", IdentityError, _identity)
"""OpenStack's: a JSON object with `error`, https://docs.openstack.org/api-ref/identity/v3/."""
