"""Cloud Storage over HTTP: requests in, answers and faults out."""

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

from aiohttp import web

from infra.local.clock import machine_time
from infra.local.identity import Identity, InvalidToken, respond
from infra.local.storage import batch, signed
from infra.local.storage.api import JsonApi, json_body
from infra.local.storage.cors import Rule
from infra.local.storage.errors import (
    StorageError,
    denied,
    injected,
    invalid,
    invalid_credentials,
    unimplemented,
)
from infra.local.storage.requests import (
    CONDITIONS,
    Answer,
    Operation,
    Query,
    check_headers,
    failure,
    split_target,
)
from infra.local.storage.resources import Wanted, declaring, wanted
from infra.local.storage.store import Store, Upload
from infra.local.storage.uploads import Superseded, Uploads, content_range
from infra.local.traffic import Fault, Traffic

_JSON_API = "/storage/v1/"
_DOWNLOAD = "/download/storage/v1/"
_UPLOAD = "/upload/storage/v1/"
_RESUMABLE = "/resumable/upload/storage/v1/"
"""Where gcloud begins a resumable upload: `resumablePath` of the API's discovery document."""
_BUCKET = r"/{bucket:[a-z0-9][a-z0-9._-]{2,}}"
_OBJECT = _BUCKET + r"/{rest:[\s\S]*}"
"""An object as the XML API names it; no other path of the suite begins like a bucket's name."""
_INSERT = CONDITIONS | {"name", "upload_id", "contentEncoding"}
_PART_HEADERS = {"content-type", "content-transfer-encoding", "content-length", "content-id", "mime-version"}
_PLAIN = {"7bit", "8bit", "binary"}
"""Encodings of a part that are none. https://www.rfc-editor.org/rfc/rfc2045#section-6.2"""


class _Reset(Exception):
    """A call in a batch is to break the connection."""


class Server:
    """Answers the requests. Its handlers run on one event loop; what they call does not wait for anything."""

    def __init__(self, store: Store, traffic: Traffic, identity: Identity) -> None:
        self._store = store
        self._traffic = traffic
        self._identity = identity
        self._api = JsonApi(store, traffic)
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
            web.route("*", _UPLOAD + anything, partial(self._upload, _UPLOAD)),
            web.route("*", _RESUMABLE + anything, partial(self._upload, _RESUMABLE)),
            web.route("*", "/batch/storage/v1", self._batch),
            web.route("*", "/batch/storage/v1/", self._batch),
            web.route("*", _OBJECT, self._signed_url),
            web.route("*", _BUCKET, self._signed_url),
        ]

    async def _call(self, prefix: str, request: web.Request) -> web.StreamResponse:
        try:
            operation = self._api.operation(
                request.method,
                request.raw_path,
                prefix,
                await _body(request),
                _headers(request),
                _root(request),
            )
        except StorageError as error:
            return await _send(request, failure(error), torn=False)
        return await self._carry_out(request, operation)

    async def _signed_url(self, request: web.Request) -> web.StreamResponse:
        came = signed.Request(request.method, request.raw_path, _headers(request))
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

    async def _upload(self, prefix: str, request: web.Request) -> web.StreamResponse:
        try:
            segments, query = split_target(request.raw_path, prefix)
            asked = Query(query, known=_INSERT)
            starts = asked.text("uploadType") == "resumable" and not asked.text("upload_id")
            known = ["x-goog-hash", *(["x-upload-content-length"] if starts else [])]
            # Whoever uploads may send metadata. Nothing that is built here reads any.
            known += [name for name in _headers(request) if name.startswith("x-goog-meta-")]
            check_headers(_headers(request), *known)
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
            _set_encoding(sent, asked)
            sent = declaring(sent, request.headers.get("X-Goog-Hash"))
            operation = self._api.insert(
                bucket, asked.text("name") or sent.name or "", asked, sent, content, _root(request)
            )
        except StorageError as error:
            return await _send(request, failure(error), torn=False)
        return await self._carry_out(request, operation)

    async def _start(self, request: web.Request, bucket: str, asked: Query) -> web.StreamResponse:
        said = wanted(json_body(await _body(request)), bucket=bucket)
        sent = declaring(said, request.headers.get("X-Goog-Hash"))
        metadata = sent.metadata
        kind = request.headers.get("X-Upload-Content-Type")
        if kind:
            metadata.setdefault("contentType", kind)
        length = request.headers.get("X-Upload-Content-Length")
        if length is not None and not length.isdecimal():
            raise invalid("Invalid X-Upload-Content-Length.")
        _set_encoding(sent, asked)
        name = asked.text("name") or sent.name or ""

        def run(principal: str) -> Answer:
            return self._uploads.start(
                principal,
                bucket,
                Wanted(name, metadata, sent.crc32c, sent.md5),
                asked.conditions(),
                None if length is None else int(length),
                request.headers.get("Origin"),
                _root(request),
            )

        return await self._carry_out(request, Operation("storage.uploads.start", f"{bucket}/{name}", run))

    async def _session(self, request: web.Request, upload_id: str) -> web.StreamResponse:
        """A request to a session's URL, which is secret and proof enough of who sends it."""
        upload = self._uploads.find(upload_id)
        rule = self._rule(upload)
        if request.method == "OPTIONS":
            method = request.headers.get("Access-Control-Request-Method", "")
            return web.Response(headers=rule.before(self._store.origin(upload_id), method) if rule else {})
        pages = rule.answering(self._store.origin(upload_id), request.method) if rule else {}
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
                        return self._uploads.status(upload, asked, hashes, _root(request))

                else:
                    kind = "storage.uploads.chunk"
                    content = _content(request)
                    # The range is of the bytes as they are kept, the length of those on their way.
                    length = None if "Content-Encoding" in request.headers else request.content_length

                    async def act() -> Answer:
                        return await self._uploads.chunk(
                            upload, asked, length, hashes, content, _root(request)
                        )

            case method:
                raise unimplemented(f"{method} on an upload session")
        fault = self._traffic.enter(kind, f"{upload.bucket}/{upload.name}", upload.principal)

        async def answered() -> Answer:
            try:
                return _to_pages(await act(), pages)
            except StorageError as error:
                return _to_pages(failure(error), pages)

        def fails(fault: Fault) -> Answer:
            return _to_pages(_injected(fault), pages)

        try:
            return await respond(request, fault, answered, partial(_send, request), fails)
        except Superseded:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)

    def _rule(self, upload: Upload) -> Rule | None:
        """What pages of other sites may do with the bucket of an upload."""
        kept = self._store.cors(upload.bucket)
        return Rule.of(kept) if kept is not None else None

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        outer = request.headers.get("Authorization")
        try:
            if request.method != "POST":
                raise unimplemented(f"{request.method} on a batch")
            check_headers(_headers(request))
            calls = batch.read(await _body(request), request.headers.get("Content-Type", ""))
        except StorageError as error:
            return await _send(request, failure(error), torn=False)
        fault = self._traffic.enter("storage.batch", "", self._principal(outer)[0])

        async def act() -> Answer:
            return batch.write(self._carry_out_all(calls, outer, _root(request)))

        try:
            return await respond(request, fault, act, partial(_send, request), _injected)
        except _Reset:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)

    def _carry_out_all(
        self, calls: list[batch.Part], outer: str | None, root: str
    ) -> list[tuple[batch.Part, Answer]]:
        """Each call by itself: one that fails changes nothing for the others. Written to disk at once."""
        answers = []
        reset = False
        with self._store.transaction():
            for part in calls:
                principal, refusal = self._principal(part.headers.get("authorization", outer))
                try:
                    operation = self._inner(part, root)
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

    def _inner(self, part: batch.Part, root: str) -> Operation:
        if not part.target.startswith(_JSON_API):
            raise invalid("Batch requests hold calls of the JSON API, and neither uploads nor downloads.")
        operation = self._api.operation(part.method, part.target, _JSON_API, part.body, part.headers, root)
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


def _to_pages(answer: Answer, headers: dict[str, str]) -> Answer:
    """An answer with the headers by which a browser lets a page of another site have it."""
    return replace(answer, headers={**answer.headers, **headers})


def _run(operation: Operation, principal: str, refusal: StorageError | None) -> Answer:
    try:
        if refusal is not None:
            raise refusal
        return operation.run(principal)
    except StorageError as error:
        return failure(error, plain=operation.plain)


def _injected(fault: Fault) -> Answer:
    return failure(injected(fault))


def _root(request: web.Request) -> str:
    """Where the server was reached."""
    return f"{request.scheme}://{request.host}"


def _headers(request: web.Request) -> dict[str, str]:
    """Its headers, their names in lower case."""
    return {name.lower(): value for name, value in request.headers.items()}


async def _body(request: web.Request) -> bytes:
    """The whole body, whatever limit the application sets on bodies."""
    if not request.body_exists:
        return b""
    return b"".join([piece async for piece in _content(request)])


def _content(request: web.Request) -> AsyncIterator[bytes]:
    """A body as it comes, its Content-Encoding taken off as production does; 501 for one that is not built.

    https://cloud.google.com/storage/docs/transcoding#gzip-transport-encoding
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return request.content.iter_any()
    if encoding != "gzip":
        raise unimplemented(f"Content-Encoding: {encoding}")
    return _unzipped(request.content.iter_any())


async def _unzipped(content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """400 for what is no whole gzip file."""
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        async for piece in content:
            while piece:
                yield unzip.decompress(piece)
                piece = unzip.unused_data
                if piece:  # gzip files may stand one after the other
                    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    except zlib.error:
        raise invalid("The body is not in the encoding that its Content-Encoding names.") from None
    if not unzip.eof:
        raise invalid("The body breaks off before its gzip file ends.")


def _set_encoding(sent: Wanted, asked: Query) -> None:
    """Where a query says how the content is encoded, it goes before the resource.

    https://cloud.google.com/storage/docs/json_api/v1/objects/insert
    """
    if asked.text("contentEncoding"):
        sent.metadata["contentEncoding"] = asked.text("contentEncoding")


def _multipart(body: bytes, content_type: str, bucket: str) -> tuple[Wanted, bytes]:
    """An Object resource and a content: https://cloud.google.com/storage/docs/uploading-objects#uploading-an-object."""
    resource, content = batch.two_parts(body, batch.boundary_of(content_type, "multipart/related"))
    head, json = batch.headers_and_body(resource)
    said, content = batch.headers_and_body(content)
    for name, value in (*head.items(), *said.items()):
        if name not in _PART_HEADERS or (name == "content-transfer-encoding" and value.lower() not in _PLAIN):
            raise unimplemented(f"{name}: {value} in a part of an upload")
    if head.get("content-type", "application/json").partition(";")[0].strip().lower() != "application/json":
        raise invalid("The first part of a multipart upload must be the object resource, in JSON.")
    sent = wanted(json_body(json), bucket=bucket)
    if said.get("content-type"):
        sent.metadata.setdefault("contentType", said["content-type"])
    return sent, content


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
