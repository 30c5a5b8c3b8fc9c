"""Firestore and Pub/Sub of the suite, called in this process without a socket.

Requests and answers are serialized as on the wire, and go through the services' own handlers: the journal,
faults and refusals are the same. Two things differ. A stream is made whole when it is asked for. A call is
not broken off at its deadline: it fails with DEADLINE_EXCEEDED after it has ended.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, cast

import grpc

from shared.clock import elapsed_since, stopwatch


class Call(grpc.Call):
    """What is known of a call beside its answer."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "") -> None:
        super().__init__()
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def initial_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> tuple[()]:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False


class Failed(Call, grpc.RpcError):
    """A call that ended with an error."""

    def __str__(self) -> str:
        return f"{self._code.name}: {self._details}"

    def result(self) -> NoReturn:
        """As a call that an interceptor was given."""
        raise self


class Context:
    """What a handler is given beside the request."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise Failed(code, details)


class Details(NamedTuple):
    """What a service is asked for the handler of."""

    method: str
    invocation_metadata: tuple[()] = ()


@dataclass(eq=False)
class Method:
    """One method of a service, as a client calls it. `_method` has the name that gRPC's own have."""

    _method: str
    service: grpc.GenericRpcHandler
    serialize: Callable[[Any], bytes]
    deserialize: Callable[[bytes], Any]

    def handler(self) -> Any:
        found = self.service.service(cast(grpc.HandlerCallDetails, Details(self._method)))
        if found is None:
            raise Failed(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return found

    def request(self, handler: Any, request: Any) -> Any:
        content = self.serialize(request)
        return handler.request_deserializer(content) if handler.request_deserializer else content

    def answer(self, handler: Any, reply: Any) -> Any:
        return self.deserialize(handler.response_serializer(reply) if handler.response_serializer else reply)


class UnaryUnary(Method, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """A method with one answer."""

    def __call__(self, request: Any, timeout: float | None = None, *_: Any, **__: Any) -> Any:
        return self.call(request, timeout)

    def with_call(self, request: Any, timeout: float | None = None, *_: Any, **__: Any) -> Any:
        return self.call(request, timeout), Call()

    def future(self, request: Any, timeout: float | None = None, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(self._method)

    def call(self, request: Any, timeout: float | None) -> Any:
        begun = stopwatch()
        handler = self.handler()
        with faults():
            reply = handler.unary_unary(self.request(handler, request), Context())
        in_time(begun, timeout)
        return self.answer(handler, reply)


class UnaryStream(Method, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """A method with a stream of answers."""

    def __call__(self, request: Any, timeout: float | None = None, *_: Any, **__: Any) -> Any:
        begun = stopwatch()
        handler = self.handler()
        replies: list[Any] = []
        failed: Failed | None = None
        try:
            with faults():
                replies.extend(handler.unary_stream(self.request(handler, request), Context()))
        except Failed as error:
            failed = error
        try:
            in_time(begun, timeout)
        except Failed as late:
            replies, failed = [], late
        return Stream((self.answer(handler, each) for each in replies), failed)


class Stream(Call):
    """The answers of a call, and then its error if it ended with one."""

    def __init__(self, answers: Iterator[Any], failed: Failed | None) -> None:
        super().__init__()
        self._answers = answers
        self._failed = failed

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._answers)
        except StopIteration:
            if self._failed is not None:
                raise self._failed from None
            raise


@dataclass(eq=False)
class Unused:
    """A method with a stream of requests. Google's clients ask for all of them, and nothing of ours calls
    one."""

    method: str

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(self.method)


class Channel(grpc.Channel):
    """Takes the place of a channel to a service."""

    def __init__(self, service: grpc.GenericRpcHandler) -> None:
        self._service = service

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> UnaryUnary:
        return UnaryUnary(method, self._service, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> UnaryStream:
        return UnaryStream(method, self._service, request_serializer, response_deserializer)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return Unused(method)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        return Unused(method)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        raise NotImplementedError

    def unsubscribe(self, callback: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def faults() -> Iterator[None]:
    """What a server answers where its handler fails."""
    try:
        yield
    except Failed:
        raise
    except Exception as fault:
        raise Failed(grpc.StatusCode.UNKNOWN, f"Exception calling application: {fault}") from fault


def in_time(begun: float, timeout: float | None) -> None:
    """DEADLINE_EXCEEDED where a call took longer than its caller waits."""
    if timeout is not None and elapsed_since(begun) > timeout:
        raise Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def channels(services: Mapping[str, grpc.GenericRpcHandler]) -> Callable[..., grpc.Channel]:
    """Takes the place of `grpc.insecure_channel`; `services` by host and port. To others there is a wire."""
    real = grpc.insecure_channel

    def channel(target: str, *more: Any, **named: Any) -> grpc.Channel:
        service = services.get(target)
        return Channel(service) if service is not None else real(target, *more, **named)

    return channel
