"""An aiohttp application on 127.0.0.1, served from a thread of its own."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

QUIET_TURNS = 5
"""Turns of the event loop without a request, after which none is on its way: a turn accepts what connects,
the next reads what came."""

IDLE_SECONDS = 10.0
"""How long `wait_idle` waits at most."""


class HttpServer:
    """Serves one application until stopped. Handlers run on the server's one event loop."""

    def __init__(self, app: web.Application) -> None:
        self._running = 0
        app.middlewares.append(self._count)
        self._loop = asyncio.new_event_loop()
        # A body stays as it was sent, and fits its Content-Length. Whoever reads it decodes it.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, auto_decompress=False)
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)

    def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; port 0 takes a free one. Returns the port; a taken one raises OSError."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(port), self._loop).result()

    def wait_idle(self) -> None:
        """Come back when every request that was sent has been answered or given up; TimeoutError if one goes
        on for IDLE_SECONDS."""
        idle = asyncio.wait_for(self._idle(), IDLE_SECONDS)
        asyncio.run_coroutine_threadsafe(idle, self._loop).result()

    def stop(self) -> None:
        """End every connection and give the port back."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @web.middleware
    async def _count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._running += 1
        try:
            return await handler(request)
        finally:
            self._running -= 1

    async def _idle(self) -> None:
        quiet = 0
        while quiet < QUIET_TURNS:
            await asyncio.sleep(0.001 if self._running else 0)
            quiet = 0 if self._running else quiet + 1

    async def _listen(self, port: int) -> int:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, shutdown_timeout=1)
        await site.start()
        return int(self._runner.addresses[0][1])
