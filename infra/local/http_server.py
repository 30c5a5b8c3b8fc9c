"""An aiohttp application on 127.0.0.1, served from a thread of its own."""

import asyncio
import threading

from aiohttp import web


class HttpServer:
    """Serves one application until stopped. Handlers run on the server's one event loop."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)

    def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; port 0 takes a free one. Returns the port; a taken one raises OSError."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(port), self._loop).result()

    def stop(self) -> None:
        """End every connection and give the port back."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self, port: int) -> int:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, shutdown_timeout=1)
        await site.start()
        return int(self._runner.addresses[0][1])
