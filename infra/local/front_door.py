"""One door for all HTTP functions: the longest path prefix of bundle.yaml decides who answers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from infra.bundle import Bundle, Function
from infra.local.processes import FunctionProcesses, Instance, StartFailed

REQUEST_BYTES = 32 * 1024 * 1024
"""The most a request's body may hold. https://cloud.google.com/run/quotas#request_limits"""

_CHUNK = 64 * 1024

_ADDRESS = "127.0.0.1"

# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
_OF_THE_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}

_PROCESSES = web.AppKey("processes", FunctionProcesses)
_BUNDLE = web.AppKey("bundle", Bundle)
_SESSION = web.AppKey("session", aiohttp.ClientSession)
_STARTS = web.AppKey("starts", ThreadPoolExecutor)


class _TooLarge(Exception):
    pass


def front_door(bundle: Bundle, processes: FunctionProcesses) -> web.Application:
    """The application that passes each request on to its function, and its answer back, as they stream."""
    app = web.Application(client_max_size=0)
    app[_BUNDLE] = bundle
    app[_PROCESSES] = processes
    app.cleanup_ctx.append(_clients)
    app.router.add_route("*", "/{path:.*}", _pass_on)
    return app


async def _clients(app: web.Application) -> AsyncIterator[None]:
    functions = app[_BUNDLE].functions.values()
    waiting = sum(function.concurrency for function in functions if function.paths)
    with ThreadPoolExecutor(max(1, waiting), thread_name_prefix="front-door") as app[_STARTS]:
        # Bodies and cookies are the function's and the caller's affair.
        session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        async with session as app[_SESSION]:
            yield


async def _pass_on(request: web.Request) -> web.StreamResponse:
    # The path as it was sent: `%2F` is no slash, and nothing is made shorter.
    function = request.app[_BUNDLE].serving(request.raw_path.partition("?")[0])
    if function is None:
        return _answer(404, f"no function serves {request.path}")
    if (request.content_length or 0) > REQUEST_BYTES:
        return _answer(413, f"a request's body holds at most {REQUEST_BYTES} bytes")
    try:
        instance = await _acquire(request.app, function)
    except StartFailed as error:
        return _answer(502, str(error))
    try:
        return await _relay(request, function, instance)
    finally:
        request.app[_PROCESSES].release(instance)


async def _acquire(app: web.Application, function: Function) -> Instance:
    """An instance of the function; starting one takes a second, so it is done in a thread."""
    processes = app[_PROCESSES]
    starting = asyncio.get_running_loop().run_in_executor(app[_STARTS], processes.acquire, function.name)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Whoever asked has gone; what is being started must still be given back.
        starting.add_done_callback(partial(_give_back, processes))
        raise


def _give_back(processes: FunctionProcesses, starting: "asyncio.Future[Instance]") -> None:
    if not starting.cancelled() and starting.exception() is None:
        processes.release(starting.result())


async def _relay(request: web.Request, function: Function, instance: Instance) -> web.StreamResponse:
    response: web.StreamResponse | None = None
    try:
        async with asyncio.timeout(function.timeout):
            async with request.app[_SESSION].request(
                request.method,
                URL(f"http://127.0.0.1:{instance.port}{request.raw_path}", encoded=True),
                headers=_request_headers(request),
                data=_body(request) if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                response.headers.extend(_of_the_message(answer.headers))
                await response.prepare(request)
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    await response.write(chunk)
                await response.write_eof()
                return response
    except TimeoutError:
        told = _answer(504, f"{function.name} did not answer within its {function.timeout} seconds")
    except aiohttp.ClientError as error:
        if isinstance(error.__cause__, _TooLarge):
            told = _answer(413, f"a request's body holds at most {REQUEST_BYTES} bytes")
        else:
            told = _answer(502, f"{function.name} cannot be reached: {type(error).__name__}")
    if response is not None and response.prepared:
        # The answer has begun: all that is left to say is that it broke off.
        if request.transport is not None:
            request.transport.abort()
        return response
    return told


def _request_headers(request: web.Request) -> CIMultiDict[str]:
    headers = _of_the_message(request.headers)
    # As the load balancer does: behind what was sent, the client's address and its own.
    # https://cloud.google.com/load-balancing/docs/https#x-forwarded-for_header
    before = request.headers.get("X-Forwarded-For")
    added = f"{request.remote},{_ADDRESS}"
    headers["X-Forwarded-For"] = f"{before},{added}" if before else added
    headers.setdefault("X-Forwarded-Proto", "http")
    headers.setdefault("X-Forwarded-Host", request.host)
    return headers


def _of_the_message(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Headers without those that are only about one connection."""
    hop = _OF_THE_HOP | {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    return CIMultiDict([(name, value) for name, value in headers.items() if name.lower() not in hop])


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    seen = 0
    async for chunk in request.content.iter_chunked(_CHUNK):
        seen += len(chunk)
        if seen > REQUEST_BYTES:
            raise _TooLarge
        yield chunk


def _answer(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": message}}, status=status)
