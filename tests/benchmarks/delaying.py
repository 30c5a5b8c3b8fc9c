"""A slow network: what goes to a server through it arrives a fixed time later, and answers come at once.

It runs in a process of its own, so that its CPU is nobody's. It knows nothing of what goes through it, so it
serves HTTP and gRPC alike: each request is delayed once, however many are under way.
"""

import asyncio
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from infra.local.processes import REPOSITORY
from shared.gcp.clients import Cloud, connect

DELAY = 0.030
"""Seconds added to each request: about what Google Cloud takes to answer a small call, beyond loopback."""


EMULATORS = ("STORAGE_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST")


@contextmanager
def delayed(host: str, port: int, seconds: float = DELAY) -> Iterator[str]:
    """Where the server at `host` and `port` answers later, as `host:port`."""
    command = [sys.executable, "-m", "tests.benchmarks.delaying", host, str(port), str(seconds)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def delayed_cloud() -> Iterator[Cloud]:
    """Clients of the services that this process's environment names, which answer later."""
    with ExitStack() as stack:
        later = {}
        for name in EMULATORS:
            scheme, _, address = os.environ[name].rpartition("://")
            host, _, port = address.partition(":")
            there = stack.enter_context(delayed(host, int(port)))
            later[name] = f"{scheme}://{there}" if scheme else there
        stack.enter_context(patch.dict(os.environ, later))
        cloud = connect()
        stack.callback(cloud.close)
        yield cloud


class _End(asyncio.Protocol):
    """One end of a connection: what comes in here goes out of `other`, so many seconds later."""

    transport: asyncio.Transport

    def __init__(self, seconds: float, other: "_End | None" = None) -> None:
        self._seconds = seconds
        self._held: deque[bytes] = deque()
        self.other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        if self._seconds:
            self._held.append(data)
            asyncio.get_running_loop().call_later(self._seconds, self._pass_on)
        else:
            self.other.transport.write(data)

    def _pass_on(self) -> None:
        assert self.other is not None
        self.other.transport.write(self._held.popleft())

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self._seconds, self.other.transport.close)


class _Near(_End):
    """The client's end, which makes the other one."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        super().__init__(seconds)
        self._server = host, port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        _, other = await asyncio.get_running_loop().create_connection(lambda: _End(0, self), *self._server)
        self.other = other
        self.transport.resume_reading()


async def _serve(host: str, port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Near(host, port, seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
