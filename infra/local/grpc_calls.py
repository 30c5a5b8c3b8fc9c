"""What the suite's gRPC services share, but for Firestore's, whose calls stream: calls that are refused, and
faults on demand."""

from collections.abc import Callable
from typing import Any

import grpc

from infra.local.clock import wait
from infra.local.permissions import CALLS
from infra.local.traffic import Traffic

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CODES_OF_HTTP = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Refused(Exception):
    """A call is answered with this code; the text is what production says."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid(message: str) -> Refused:
    """The request is wrong."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)


def unary(
    traffic: Traffic,
    kind: str,
    resource: Callable[[Any], str],
    request_type: Any,
    answer: Callable[[Any], Any],
) -> "grpc.RpcMethodHandler[Any, Any]":
    """The handler of a call: it is written down as of that kind and resource, made to suffer the fault that
    was asked for, and answered. `request_type` is protobuf's own class."""

    def call(request: Any, context: grpc.ServicerContext) -> Any:
        fault = traffic.enter(kind, resource(request))
        for permission in CALLS.get(kind, ()):
            traffic.need(permission, resource(request).rpartition("/")[2], "")
        if fault is not None and fault.action == "error":
            context.abort(_code(fault.status), "fault on demand")
        if fault is not None and fault.action == "reset_before":
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        try:
            answered = answer(request)
        except Refused as refused:
            context.abort(refused.code, str(refused))
        if fault is not None and fault.action == "delay":
            wait(fault.seconds)
        elif fault is not None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return answered

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_type.FromString,
        response_serializer=lambda message: bytes(message.SerializeToString()),
    )


def _code(status: int) -> grpc.StatusCode:
    """A gRPC code from its number, or from the HTTP status that Google maps it to.

    https://cloud.google.com/apis/design/errors#handling_errors
    """
    return _CODES.get(status) or _CODES_OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)
