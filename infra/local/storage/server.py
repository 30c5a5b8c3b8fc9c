"""Cloud Storage over HTTP: requests in, answers and faults out."""

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from infra.local.clock import machine_time
from infra.local.identity import Identity, InvalidToken, respond
from infra.local.storage import batch, signed
from infra.local.storage.api import JsonApi, json_body
from infra.local.storage.errors import (
    StorageError,
    denied,
    injected,
    invalid,
    invalid_credentials,
    unimplemented,
)
from infra.local.storage.requests import CONDITIONS, Answer, Operation, Query, failure, split_target
from infra.local.storage.resources import Wanted, wanted
from infra.local.storage.store import Store
from infra.local.storage.uploads import Superseded, Uploads, content_range
from infra.local.traffic import Fault, Traffic

_JSON_API = "/storage/v1/"
_DOWNLOAD = "/download/storage/v1/"
_UPLOAD = "/upload/storage/v1/"
_OBJECT = r"/{bucket:[a-z0-9][a-z0-9._-]{2,}}/{rest:[\s\S]+}"
"""An object as the XML API names it; no other path of the suite begins like a bucket's name."""
_INSERT = CONDITIONS | {"name", "upload_id", "contentEncoding"}


class _Reset(Exception):
    """A call in a batch is to break the connection."""


class Server:
    """Answers the requests. Its handlers run on one event loop; what they call does not wait for anything."""

    def __init__(self, store: Store, traffic: Traffic, identity: Identity) -> None:
        self._store = store
        self._traffic = traffic
        self._identity = identity
        self._api = JsonApi(store)
        self._uploads = Uploads(store, self._api)

    def reset(self) -> None:
        """Forget the upload sessions in memory."""
        self._uploads.reset()

    def routes(self) -> list[web.RouteDef]:
        """The paths of the JSON API. The rest of each path is taken apart here, undecoded."""
        anything = r"{rest:[\s\S]*}"
        return [
            web.route("*", _JSON_API + anything, partial(self._call, _JSON_API)),
            web.route("*", _DOWNLOAD + anything, partial(self._call, _DOWNLOAD)),
            web.route("*", _UPLOAD + anything, self._upload),
            web.route("*", "/batch/storage/v1", self._batch),
            web.route("*", "/batch/storage/v1/", self._batch),
            web.get(_OBJECT, self._signed_url, allow_head=True),
        ]

    async def _call(self, prefix: str, request: web.Request) -> web.StreamResponse:
        try:
            operation = self._api.operation(
                request.method,
                request.raw_path,
                prefix,
                await _body(request),
                request.headers.get("Range", ""),
            )
        except StorageError as error:
            return await _send(request, failure(error), torn=False)
        return await self._carry_out(request, operation)

    async def _signed_url(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        came = signed.Request(request.method, request.raw_path, headers)
        try:
            principal, operation = signed.operation(
                self._api, self._identity.has_signed, came, machine_time()
            )
        except StorageError as error:
            return await _send(request, signed.failure(error), torn=False)
        fault = self._traffic.enter(operation.kind, operation.resource, principal)

        async def act() -> Answer:
            try:
                if not self._identity.is_active(principal):
                    raise denied(principal, "storage.objects.get")
                return operation.run(principal)
            except StorageError as error:
                return signed.failure(error)

        def fails(fault: Fault) -> Answer:
            return signed.failure(injected(fault))

        return await respond(request, fault, act, partial(_send, request), fails)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        try:
            segments, query = split_target(request.raw_path, _UPLOAD)
            asked = Query(query, known=_INSERT)
            if asked.text("upload_id"):
                return await self._session(request, asked.text("upload_id"))
            match request.method, segments, asked.text("uploadType"):
                case "POST", ["b", bucket, "o"], "resumable":
                    return await self._start(request, bucket, asked)
                case "POST", ["b", bucket, "o"], "media":
                    content = await _body(request)
                    kind = request.headers.get("Content-Type", "")
                    sent = Wanted(asked.text("name"), {"contentType": kind} if kind else {})
                case "POST", ["b", bucket, "o"], "multipart":
                    sent, content = _multipart(
                        await _body(request), request.headers.get("Content-Type", ""), bucket
                    )
                case method, _, kind:
                    raise unimplemented(f"{method} upload of type {kind!r}")
            operation = self._api.insert(bucket, asked.text("name") or sent.name or "", asked, sent, content)
        except StorageError as error:
            return await _send(request, failure(error), torn=False)
        return await self._carry_out(request, operation)

    async def _start(self, request: web.Request, bucket: str, asked: Query) -> web.StreamResponse:
        sent = wanted(json_body(await _body(request)), bucket=bucket)
        metadata = sent.metadata
        kind = request.headers.get("X-Upload-Content-Type")
        if kind:
            metadata.setdefault("contentType", kind)
        length = request.headers.get("X-Upload-Content-Length")
        if length is not None and not length.isdecimal():
            raise invalid("Invalid X-Upload-Content-Length.")
        name = asked.text("name") or sent.name or ""

        def run(principal: str) -> Answer:
            return self._uploads.start(
                principal,
                bucket,
                Wanted(name, metadata, sent.crc32c, sent.md5),
                asked.conditions(),
                None if length is None else int(length),
                f"{request.scheme}://{request.host}",
            )

        return await self._carry_out(request, Operation("storage.uploads.start", f"{bucket}/{name}", run))

    async def _session(self, request: web.Request, upload_id: str) -> web.StreamResponse:
        """A request to a session's URL, which is secret and proof enough of who sends it."""
        upload = self._uploads.find(upload_id)
        hashes = request.headers.get("X-Goog-Hash")
        act: Callable[[], Awaitable[Answer]]
        match request.method:
            case "DELETE":
                kind = "storage.uploads.cancel"

                async def act() -> Answer:
                    return self._uploads.cancel(upload)

            case "PUT" | "POST":
                asked = content_range(request.headers.get("Content-Range"))
                if asked.start is None:
                    ends = asked.total == upload.persisted and upload.answer is None
                    kind = "storage.uploads.chunk" if ends else "storage.uploads.status"

                    async def act() -> Answer:
                        await _body(request)
                        return self._uploads.status(upload, asked, hashes)

                else:
                    kind = "storage.uploads.chunk"

                    async def act() -> Answer:
                        return await self._uploads.chunk(
                            upload, asked, request.content_length, hashes, request.content.iter_any()
                        )

            case method:
                raise unimplemented(f"{method} on an upload session")
        fault = self._traffic.enter(kind, f"{upload.bucket}/{upload.name}", upload.principal)

        async def answered() -> Answer:
            try:
                return await act()
            except StorageError as error:
                return failure(error)

        try:
            return await respond(request, fault, answered, partial(_send, request), _injected)
        except Superseded:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        outer = request.headers.get("Authorization")
        try:
            if request.method != "POST":
                raise unimplemented(f"{request.method} on a batch")
            calls = batch.read(await _body(request), request.headers.get("Content-Type", ""))
        except StorageError as error:
            return await _send(request, failure(error), torn=False)
        fault = self._traffic.enter("storage.batch", "", self._principal(outer)[0])

        async def act() -> Answer:
            return batch.write(self._carry_out_all(calls, outer))

        try:
            return await respond(request, fault, act, partial(_send, request), _injected)
        except _Reset:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)

    def _carry_out_all(self, calls: list[batch.Part], outer: str | None) -> list[tuple[batch.Part, Answer]]:
        """Each call by itself: one that fails changes nothing for the others. Written to disk at once."""
        answers = []
        reset = False
        with self._store.transaction():
            for part in calls:
                principal, refusal = self._principal(part.headers.get("authorization", outer))
                try:
                    operation = self._inner(part)
                except StorageError as error:
                    answers.append((part, failure(error)))
                    continue
                fault = self._traffic.enter(operation.kind, operation.resource, principal)
                action = fault.action if fault else ""
                if fault is not None and action == "error":
                    answers.append((part, failure(injected(fault))))
                    continue
                if action != "reset_before":
                    answers.append((part, _run(operation, principal, refusal)))
                reset = action.startswith("reset") or action == "truncate"
                if reset:
                    break
        if reset:
            raise _Reset
        return answers

    def _inner(self, part: batch.Part) -> Operation:
        if not part.target.startswith(_JSON_API):
            raise invalid("Batch requests hold calls of the JSON API, and neither uploads nor downloads.")
        operation = self._api.operation(part.method, part.target, _JSON_API, part.body, "")
        if operation.kind == "storage.objects.get_media":
            raise invalid("Batch requests hold calls of the JSON API, and neither uploads nor downloads.")
        return operation

    async def _carry_out(self, request: web.Request, operation: Operation) -> web.StreamResponse:
        principal, refusal = self._principal(request.headers.get("Authorization"))
        fault = self._traffic.enter(operation.kind, operation.resource, principal)
        if fault is None:
            return await _send(request, _run(operation, principal, refusal), torn=False)

        async def act() -> Answer:
            return _run(operation, principal, refusal)

        return await respond(request, fault, act, partial(_send, request), _injected)

    def _principal(self, authorization: str | None) -> tuple[str, StorageError | None]:
        try:
            return self._identity.principal(authorization), None
        except InvalidToken:
            return "", invalid_credentials()


def _run(operation: Operation, principal: str, refusal: StorageError | None) -> Answer:
    try:
        if refusal is not None:
            raise refusal
        return operation.run(principal)
    except StorageError as error:
        return failure(error, plain=operation.plain)


def _injected(fault: Fault) -> Answer:
    return failure(injected(fault))


async def _body(request: web.Request) -> bytes:
    """The whole body, whatever limit the application sets on bodies."""
    if not request.body_exists:
        return b""
    return await request.content.read()


def _multipart(body: bytes, content_type: str, bucket: str) -> tuple[Wanted, bytes]:
    """An Object resource and a content: https://cloud.google.com/storage/docs/uploading-objects#uploading-an-object."""
    boundary = b"--" + batch.boundary_of(content_type, "multipart/related")
    start = body.find(boundary)
    middle = body.find(b"\n" + boundary, start + 1)
    end = body.rfind(b"\n" + boundary + b"--")
    if start < 0 or not start < middle < end:
        raise invalid("Malformed multipart body.")
    resource = _after_line(body, start, middle)
    content = _after_line(body, middle + 1, end)
    _, json = batch.head_and_body(resource)
    head_end = content.find(b"\r\n\r\n")
    head = batch.headers_of(content[:head_end].decode("utf-8", "replace").splitlines())
    if head_end < 0:
        raise invalid("Malformed multipart body.")
    sent = wanted(json_body(json), bucket=bucket)
    if head.get("content-type"):
        sent.metadata.setdefault("contentType", head["content-type"])
    return sent, content[head_end + 4 :]


def _after_line(body: bytes, start: int, end: int) -> bytes:
    """What lies between the end of the line at `start` and the line break before `end`."""
    first = body.index(b"\n", start) + 1
    return body[first : end - 1 if body[end - 1 : end] == b"\r" else end]


async def _send(request: web.Request, answer: Answer, torn: bool) -> web.StreamResponse:
    if answer.media is None and not torn:
        return web.Response(
            status=answer.status,
            reason=answer.reason,
            headers={"Content-Type": answer.content_type, **answer.headers},
            body=answer.body,
        )
    length = answer.length if answer.media is not None else len(answer.body)
    response = web.StreamResponse(
        status=answer.status,
        reason=answer.reason,
        headers={"Content-Type": answer.content_type, **answer.headers},
    )
    response.content_length = length
    await response.prepare(request)
    if request.method == "HEAD":
        # What is written all the same would be taken for the next answer on the connection.
        return response
    left = length // 2 if torn else length
    for block in answer.media if answer.media is not None else [answer.body]:
        await response.write(block[:left])
        left -= min(left, len(block))
        if not left:
            break
    if torn and request.transport is not None:
        request.transport.close()
    return response
