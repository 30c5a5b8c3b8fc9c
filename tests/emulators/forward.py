"""A call handed on to an emulator, in another project for each test."""

from collections.abc import Callable
from typing import Any

import grpc
from grpc import _channel

METADATA = (("authorization", "Bearer owner"),)
"""Whom the emulator of Firestore takes for someone whom its rules allow everything."""

CALL_SECONDS = 60

# The kill harness counts the calls of the code under test, to these servers; and not those from there on.
_unary: Any = _channel._UnaryUnaryMultiCallable.__call__
_stream: Any = _channel._UnaryStreamMultiCallable.__call__


class Emulator:
    """An emulator. What it holds of earlier tests is in other projects; names of the suite's project are
    theirs there. They have the same length, so that they can be put in place in a serialized message."""

    def __init__(self, host: str, project: str) -> None:
        self._channel = grpc.insecure_channel(
            host, [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        )
        self._number = 0
        self._project = project

    def close(self) -> None:
        self._channel.close()

    def forget(self) -> None:
        """Go to a project that has nothing."""
        self._number += 1

    def unary(self, method: str, request: bytes) -> bytes:
        """The answer to a call; grpc.RpcError where it is refused."""
        multicallable: Any = self._channel.unary_unary(method)
        return self._out(_unary(multicallable, self._in(request), timeout=CALL_SECONDS, metadata=METADATA))

    def stream(self, method: str, request: bytes) -> list[bytes]:
        """The answers to a call; grpc.RpcError where it is refused."""
        multicallable: Any = self._channel.unary_stream(method)
        answers = _stream(multicallable, self._in(request), timeout=CALL_SECONDS, metadata=METADATA)
        return [self._out(each) for each in answers]

    def call(self, method: str, request: Any, reply: Callable[[bytes], Any]) -> Any:
        """The parsed answer to a call of a message of protobuf."""
        return reply(self.unary(method, request.SerializeToString()))

    def _in(self, content: bytes) -> bytes:
        return content.replace(*self._names())

    def _out(self, content: bytes) -> bytes:
        inside, outside = self._names()[::-1]
        return content.replace(inside, outside)

    def _names(self) -> tuple[bytes, bytes]:
        """What the project is called by the suite, and by the emulator."""
        number = str(self._number)
        inside = self._project[: -len(number)] + number
        return f"projects/{self._project}/".encode(), f"projects/{inside}/".encode()
