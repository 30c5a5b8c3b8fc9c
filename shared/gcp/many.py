"""Cloud Storage with many calls in flight: small objects read and created from one event loop.

Google's client spends 1,600 µs of CPU on such a call and waits for each; here it is about 240, and the waits
go side by side (`calls`). What stands at a name already is compared, as in `objects`.
"""

import asyncio
import uuid
from types import TracebackType
from typing import Any
from urllib.parse import quote

import orjson

from shared.errors import Retry
from shared.gcp.calls import Broken, Connections
from shared.gcp.objects import DifferentObject, Objects, Refusal, Stored, crc32c_of

CONNECTIONS = 48
"""How many calls are in flight at once."""

CALL_SECONDS = 120.0
"""How long one call may take."""

CALL_ATTEMPTS = 6
"""How often a call is tried before it is left to the next delivery."""

BACKOFF_SECONDS = 0.2
MAX_BACKOFF = 8.0
"""The wait before a call is tried again, doubled each time, and the longest."""

SAID_LONGEST = 200
"""How much of an answer that is no JSON is kept, in bytes."""

RETRIED = {401, 408, 429, 500, 502, 503, 504}
"""Answers after which a call is tried again; after 401 with another token.
https://cloud.google.com/storage/docs/retry-strategy"""


class NotTaken(Retry):
    """A bucket refused a call. Whoever knows whose bucket it is can explain it; else it is tried again."""

    def __init__(self, bucket: str, name: str, refusal: Refusal) -> None:
        self.bucket = bucket
        self.refusal = refusal
        super().__init__(f"gs://{bucket}/{name} was answered {refusal}")


class Many:
    """Cloud Storage at `url` as one principal. Use it as an asynchronous context manager.

    Retry is raised for what did not work CALL_ATTEMPTS times, and as NotTaken for what was refused.
    """

    def __init__(self, objects: Objects, url: str) -> None:
        self._objects = objects
        self._url = url
        self._refused_token = ""
        # Nobody can know it beforehand: a photograph that held it would break off there.
        self._boundary = uuid.uuid4().hex.encode()

    async def __aenter__(self) -> "Many":
        self._connections = Connections(self._url, CONNECTIONS, CALL_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.close()

    async def read(self, stored: Stored, start: int, end: int) -> bytes:
        """The bytes [start, end) of exactly this generation; LookupError where it is no more."""
        target = f"{self._object(stored.bucket, stored.name)}?alt=media&generation={stored.generation}"
        status, content = await self._call(
            "GET", target, {"Range": f"bytes={start}-{end - 1}"}, None, end - start
        )
        if status == 404 and not _refusal(404, content).no_bucket:
            raise LookupError(f"gs://{stored.bucket}/{stored.name} is no longer there")
        if status != 206 and status != 200:
            raise NotTaken(stored.bucket, stored.name, _refusal(status, content))
        return content

    async def create(self, bucket: str, name: str, content: bytes, content_type: str) -> Stored:
        """Put `content` there unless it is there already; DifferentObject where something else is."""
        crc32c = crc32c_of(content)
        told = orjson.dumps({"name": name, "contentType": content_type, "crc32c": crc32c})
        body = b"".join(
            (
                b"--%b\r\nContent-Type: application/json\r\n\r\n%b\r\n" % (self._boundary, told),
                b"--%b\r\nContent-Type: %b\r\n\r\n" % (self._boundary, content_type.encode()),
                content,
                b"\r\n--%b--\r\n" % self._boundary,
            )
        )
        target = (
            f"/upload/storage/v1/b/{quote(bucket, safe='')}/o"
            "?uploadType=multipart&ifGenerationMatch=0&fields=generation,size,crc32c"
        )
        headers = {"Content-Type": f"multipart/related; boundary={self._boundary.decode()}"}
        status, answer = await self._call("POST", target, headers, body)
        if status != 200 and _is_there(_refusal(status, answer)):
            target = f"{self._object(bucket, name)}?fields=generation,size,crc32c"
            status, answer = await self._call("GET", target, {}, None)
            if status == 404:
                raise Retry(f"gs://{bucket}/{name} was there, and is gone again")
        if status != 200:
            raise NotTaken(bucket, name, _refusal(status, answer))
        fields: dict[str, Any] = orjson.loads(answer)
        stored = Stored(bucket, name, int(fields["generation"]), int(fields["size"]), fields["crc32c"])
        if not stored.same_content(len(content), crc32c):
            raise DifferentObject(stored)
        return stored

    def _object(self, bucket: str, name: str) -> str:
        return f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"

    async def _call(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None, length: int | None = None
    ) -> tuple[int, bytes]:
        """One call until it is answered for good; `length` is how long a content must be."""
        why: object = None
        for attempt in range(CALL_ATTEMPTS):
            if attempt:
                await asyncio.sleep(min(MAX_BACKOFF, BACKOFF_SECONDS * 2 ** (attempt - 1)))
            token = self._objects.token(self._refused_token)
            authorized = {**headers, "Authorization": f"Bearer {token}"}
            try:
                status, content = await self._connections.request(method, target, authorized, body)
            except (Broken, TimeoutError) as error:
                why = str(error) or type(error).__name__
                continue
            if status == 401:
                self._refused_token = token
            if status in RETRIED or (status == 403 and _refusal(403, content).passing):
                why = status
            elif status in (200, 206) and length not in (None, len(content)):
                why = f"{len(content)} bytes of {length}"
            else:
                return status, content
        raise Retry(f"{method} {self._url}{target.partition('?')[0]} did not work: {why}")


def _is_there(refused: Refusal) -> bool:
    """Whether something stands where an object was to be created."""
    return refused.unmet or (refused.status == 403 and "storage.objects.delete" in refused.message)


def _refusal(status: int, answer: bytes) -> Refusal:
    try:
        return Refusal.parse(status, orjson.loads(answer))
    except orjson.JSONDecodeError:
        return Refusal(status, answer[:SAID_LONGEST].decode(errors="replace"))
