"""Objects in Cloud Storage, as one principal: created once and never overwritten. What
shared/removals.py removes is removed as an account that does nothing else.

Every write says `ifGenerationMatch=0`. After a lost answer its retry meets its own work and is answered 412
(or 403 naming storage.objects.delete, where the principal may not overwrite): what stands there is read and
compared, the same is success, different is a `DifferentObject`.
https://cloud.google.com/storage/docs/request-preconditions
"""

import base64
import contextlib
import functools
import itertools
import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google.auth.transport.requests
import google_crc32c
import requests
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    from_http_response,
)
from google.auth.credentials import Credentials

from shared.errors import Retry

if TYPE_CHECKING:
    # Storage's client is loaded with the first call: a request that touches no object starts without it.
    from google.cloud import storage

CHUNK_BYTES = 8 * 1024 * 1024
"""What a streamed upload holds in memory. Chunks are multiples of 256 KiB.
https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload"""

NAMES = "items(name),nextPageToken"
"""Which fields a list of names asks for."""

BLOCK_BYTES = 256 * 1024
"""How much is gathered before it goes into a stream."""

WHOLE_BYTES = 1024 * 1024
"""Up to how many bytes, and a piece more, content that comes in pieces is sent by one call. A stream takes
three."""

MAX_COMPOSE = 32
"""How many objects one compose joins. https://cloud.google.com/storage/docs/composite-objects"""

PROBE_SECONDS = 8.0
"""How long a call of a connection test is tried; its last attempt may take as long again."""

CANCEL_SECONDS = 20.0
"""How long a cancellation may take: like a connection test, somebody waits for it, in an HTTP function that
has 60 seconds for all."""


@dataclass(frozen=True)
class Stored:
    """An object as it stands: `size` in bytes, `crc32c` in base64 as Storage writes it."""

    bucket: str
    name: str
    generation: int
    size: int
    crc32c: str

    def same_content(self, size: int, crc32c: str) -> bool:
        """Whether it holds what is meant, by size and checksum."""
        return self.size == size and self.crc32c == crc32c


PASSING = {401, 408, 409, 410, 429, *range(500, 600)} - {501}
"""Answers that pass: a token that has died, an upload session that has, what others do at the same time, and
errors of Storage's own. https://cloud.google.com/storage/docs/retry-strategy"""

_TOO_MUCH = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"}
"""Reasons of a 403 that pass. https://cloud.google.com/storage/docs/json_api/v1/status-codes#403-forbidden"""

_CONDITION = re.compile("pre-?condition", re.I)
"""How Storage says that a generation did not match; policies are answered 412, too, and name themselves."""


@dataclass(frozen=True)
class Refusal:
    """How Storage refused a call: its status, its own sentence, and its word for programs; `rewriting` where
    the call was to read in one bucket and to write in another."""

    status: int
    message: str
    reason: str = ""
    rewriting: bool = False

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"

    @classmethod
    def of(cls, error: GoogleAPICallError) -> "Refusal":
        """The refusal that Google's client raised; without the request, whose names customers choose."""
        # A slash in an object's name would not stand in a URL as one.
        rewriting = "/rewriteTo/" in asked_url(error)
        try:
            return cls.parse(int(error.code or 0), error.response.json(), rewriting)
        except (AttributeError, ValueError):
            return cls(int(error.code or 0), str(error).partition(": ")[2], rewriting=rewriting)

    @classmethod
    def parse(cls, status: int, body: object, rewriting: bool = False) -> "Refusal":
        """The refusal in an answer's body, parsed from JSON."""
        error = body.get("error", {}) if isinstance(body, dict) else {}
        if not isinstance(error, dict):
            return cls(status, str(error), rewriting=rewriting)
        told = error.get("errors") or [{}]
        reason = str(told[0].get("reason", "")) if isinstance(told[0], dict) else ""
        return cls(status, str(error.get("message", "")), reason, rewriting)

    @property
    def passing(self) -> bool:
        """Whether the same call may be taken later."""
        too_much = self.status == 403 and self.reason in _TOO_MUCH
        return self.status in PASSING or too_much

    @property
    def too_often(self) -> bool:
        """Whether Storage asks to be called less often, as a bucket does that many writes come to at once.
        https://cloud.google.com/storage/docs/request-rate"""
        return self.status in (429, 503) or (self.status == 403 and self.reason in _TOO_MUCH)

    @property
    def no_bucket(self) -> bool:
        """Whether there is no such bucket."""
        return self.status == 404 and "bucket does not exist" in self.message

    @property
    def unmet(self) -> bool:
        """Whether a condition on a generation did not hold."""
        return self.status == 412 and bool(_CONDITION.search(self.message) or not self.message)

    @property
    def of_source(self) -> bool:
        """Whether it is about what a rewrite reads: gone, another generation, or not to be read."""
        unreadable = self.status == 403 and "storage.objects.get" in self.message
        return self.rewriting and (self.status == 404 or self.unmet or unreadable)


def asked_url(error: GoogleAPICallError) -> str:
    """The URL of the call to Storage that failed; empty where the error is of another service."""
    return str(getattr(error.response, "url", "") or "")


class DifferentObject(Exception):
    """Something else stands where we were to write; it was left as it is."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        super().__init__(f"another object is already at gs://{stored.bucket}/{stored.name}")


class Objects:
    """Cloud Storage as one principal. Errors of Google's client pass through unless said otherwise."""

    def __init__(self, connect: "Callable[[], storage.Client]", credentials: Credentials) -> None:
        self._connect = connect
        self.credentials = credentials

    @functools.cached_property
    def _client(self) -> "storage.Client":
        return self._connect()

    def stat(self, bucket: str, name: str) -> Stored | None:
        """What stands there now, or None."""
        blob = self._client.bucket(bucket).blob(name)
        try:
            blob.reload()
        except NotFound as missing:
            if "bucket does not exist" in str(missing):
                raise
            return None
        return _stored(blob)

    def names(self, bucket: str, prefix: str, most: int) -> list[str]:
        """The names of the first objects there that begin with a prefix, in order, at most so many.
        https://cloud.google.com/storage/docs/json_api/v1/objects/list"""
        found = self._client.list_blobs(bucket, prefix=prefix, max_results=most, fields=NAMES)
        return [blob.name for blob in found]

    def read(self, stored: Stored, start: int = 0, end: int | None = None) -> bytes:
        """The bytes [start, end) of exactly this generation, `start` being before its end."""
        blob = self._client.bucket(stored.bucket).blob(stored.name, generation=stored.generation)
        content: bytes = blob.download_as_bytes(
            start=start, end=None if end is None else end - 1, checksum=None
        )
        return content

    def blocks(self, stored: Stored, block: int) -> Iterator[bytes]:
        """All of exactly this generation, in blocks of that many bytes."""
        for start in range(0, stored.size, block):
            yield self.read(stored, start, min(start + block, stored.size))

    def read_whole(self, bucket: str, name: str) -> bytes:
        """All of the object that stands there now; NotFound where there is none."""
        content: bytes = self._client.bucket(bucket).blob(name).download_as_bytes()
        return content

    def create(self, bucket: str, name: str, content: bytes, content_type: str) -> Stored:
        """Put `content` there unless it is there already; DifferentObject where something else is."""
        blob = self._client.bucket(bucket).blob(name)

        def write() -> Stored:
            blob.upload_from_string(content, content_type=content_type, if_generation_match=0)
            return _stored(blob)

        return self._create_once(bucket, name, len(content), crc32c_of(content), write)

    def create_stream(self, bucket: str, name: str, pieces: Iterable[bytes], content_type: str) -> Stored:
        """As `create`, of content that comes in pieces. Only what has no more than WHOLE_BYTES and a piece is
        in memory as a whole."""
        blocks = gathered(pieces, WHOLE_BYTES)
        first, second = next(blocks, b""), next(blocks, None)
        if second is None:
            return self.create(bucket, name, first, content_type)
        writer = self.writer(bucket, name, content_type)
        try:
            for block in itertools.chain((first, second), blocks):
                writer.write(block)
        except BaseException:
            writer.abandon()
            raise
        return self._create_once(bucket, name, writer.size, writer.crc32c, writer.close)

    def remove(self, bucket: str, name: str, generation: int) -> None:
        """Remove exactly this generation; nothing where it is gone, or another stands there."""
        with contextlib.suppress(NotFound, PreconditionFailed):
            self._client.bucket(bucket).blob(name).delete(if_generation_match=generation)

    def writer(self, bucket: str, name: str, content_type: str) -> "Writer":
        """A new object, written as a stream and invisible until it is closed."""
        return Writer(self._client.bucket(bucket).blob(name), content_type)

    def start_upload(
        self, bucket: str, name: str, content_type: str, size: int | None, origin: str | None = None
    ) -> str:
        """A URL by which one new object can be uploaded without an identity, for a week: a secret in itself.

        With a size, in bytes, exactly that many are taken. A page can use it only where `origin` is the
        page's: the one that begins a session is answered by, and the bucket must let it.
        https://cloud.google.com/storage/docs/resumable-uploads#session-uris
        https://cloud.google.com/storage/docs/cross-origin
        """
        url: str = (
            self._client.bucket(bucket)
            .blob(name)
            .create_resumable_upload_session(
                content_type=content_type, size=size, origin=origin, if_generation_match=0
            )
        )
        return url

    def cancel_upload(self, url: str) -> None:
        """Let such a URL take nothing more; one that is at its end already stays as it is. Retry where that
        did not work.
        https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload"""
        try:
            answer = self._client._http.request(
                "DELETE", url, headers={"Content-Length": "0"}, timeout=CANCEL_SECONDS
            )
        except requests.RequestException as error:
            # Without the error itself: its text may hold the URL, and ends in a log.
            raise Retry(f"an upload could not be cancelled: {type(error).__name__}") from None
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Retry(f"an upload could not be cancelled: Storage answered {answer.status_code}")

    def held(self, bucket: str, permissions: Collection[str]) -> frozenset[str]:
        """Which of these permissions this principal holds on the bucket as a whole; needs none itself.

        Grants on folders, and those with conditions, may be reported wrongly. NotFound where there is no
        bucket.
        https://cloud.google.com/storage/docs/json_api/v1/buckets/testIamPermissions
        """
        return frozenset(
            self._client.bucket(bucket).test_iam_permissions(
                list(permissions), timeout=PROBE_SECONDS, retry=_probing()
            )
        )

    def probe(self, bucket: str, name: str) -> None:
        """Begin an upload of a new object and cancel it: that needs what creating one needs, and leaves
        nothing. Retry where it was not cancelled; it then ends by itself in a week.
        https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload"""
        url: str = (
            self._client.bucket(bucket)
            .blob(name)
            .create_resumable_upload_session(
                if_generation_match=0,
                timeout=PROBE_SECONDS,
                retry=_probing(),
            )
        )
        self.cancel_upload(url)

    def token(self, refused: str = "") -> str:
        """A token of this principal that is good now, and another one than `refused`."""
        if not self.credentials.valid or self.credentials.token == refused:
            self.credentials.refresh(google.auth.transport.requests.Request())
        return str(self.credentials.token)

    def compose(self, bucket: str, name: str, sources: list[Stored], content_type: str) -> Stored:
        """Join at most 32 objects of one bucket, exactly these generations, in this order."""
        of = self._client.bucket(bucket)
        blob = of.blob(name)
        size = sum(s.size for s in sources)
        try:
            blob.content_type = content_type
            blob.compose(
                [of.blob(s.name, generation=s.generation) for s in sources],
                if_generation_match=0,
                if_source_generation_match=[s.generation for s in sources],
            )
            return _stored(blob)
        except PreconditionFailed:
            stored = self.stat(bucket, name)
            # Names in staging are ours alone and hold the run: what stands there came from these sources.
            if stored is None or stored.size != size:
                raise
            return stored

    def join(
        self, bucket: str, name: Callable[[str], str], sources: Sequence[Stored], content_type: str
    ) -> Stored:
        """Join one or more objects of one bucket, exactly these generations, in this order: 32 at a time,
        then those, until one is left. A single one stays as it is. `name` names each object that is made,
        given its numbers, such as `0-1`."""
        level, joined = 0, list(sources)
        while len(joined) > 1:
            groups = [joined[i : i + MAX_COMPOSE] for i in range(0, len(joined), MAX_COMPOSE)]
            joined = [
                self.compose(bucket, name(f"{level}-{number}"), group, content_type)
                for number, group in enumerate(groups)
            ]
            level += 1
        return joined[0]

    def copy(self, source: Stored, bucket: str, name: str) -> Stored:
        """Rewrite exactly this generation to a new name, wherever that is, as this principal."""
        to = self._client.bucket(bucket)
        blob = to.blob(name)
        from_ = self._client.bucket(source.bucket).blob(source.name)

        def write() -> Stored:
            token = None
            while True:
                token, _, _ = blob.rewrite(
                    from_,
                    token=token,
                    if_generation_match=0,
                    if_source_generation_match=source.generation,
                )
                if token is None:
                    return _stored(blob)

        return self._create_once(bucket, name, source.size, source.crc32c, write)

    def _create_once(
        self, bucket: str, name: str, size: int, crc32c: str, write: Callable[[], Stored]
    ) -> Stored:
        try:
            return write()
        except (PreconditionFailed, Forbidden) as refused:
            if isinstance(refused, Forbidden) and "storage.objects.delete" not in str(refused):
                raise
            stored = self.stat(bucket, name)
            if stored is None:
                raise
            if not stored.same_content(size, crc32c):
                raise DifferentObject(stored) from refused
            return stored


class Writer:
    """A stream into one new object; counts and sums what goes through, and holds the answer against it."""

    def __init__(self, blob: "storage.Blob", content_type: str) -> None:
        from shared.gcp.stream import Stream

        self._blob = blob
        # Any: its types know nothing of its methods.
        self._stream: Any = Stream(blob, CHUNK_BYTES, content_type)
        self._sum = google_crc32c.Checksum()
        self.size = 0

    def write(self, content: bytes) -> None:
        """Add bytes; sends whenever a chunk is full."""
        with _as_api_errors():
            self._stream.write(content)
        self._sum.update(content)
        self.size += len(content)

    @property
    def crc32c(self) -> str:
        """The checksum of what was written so far, as Storage writes it."""
        return base64.b64encode(self._sum.digest()).decode()

    def close(self) -> Stored:
        """Make the object visible. OSError where Storage holds other bytes than were written."""
        with _as_api_errors():
            self._stream.close()
        self._blob.reload()
        stored = _stored(self._blob)
        if not stored.same_content(self.size, self.crc32c):
            raise OSError(f"gs://{stored.bucket}/{stored.name} does not hold what was written to it")
        return stored

    def abandon(self) -> None:
        """Leave no object; after `close` it does nothing."""
        if not self._stream.closed:
            self._stream.terminate()


class LazyWriter:
    """A new object that comes to be with its first byte, written as a stream. What is written is gathered
    into blocks of BLOCK_BYTES. Use it as a context manager: an error leaves no object."""

    def __init__(self, objects: Objects, bucket: str, name: str, content_type: str) -> None:
        self._open = functools.partial(objects.writer, bucket, name, content_type)
        self._writer: Writer | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, content: bytes) -> None:
        """Add bytes."""
        self._held.append(content)
        self._held_bytes += len(content)
        if self._held_bytes >= BLOCK_BYTES:
            self._flush()

    def close(self) -> Stored | None:
        """Make the object visible; None where nothing was written."""
        self._flush()
        return self._writer.close() if self._writer else None

    def _flush(self) -> None:
        if not self._held_bytes:
            return
        if self._writer is None:
            self._writer = self._open()
        self._writer.write(b"".join(self._held))
        self._held, self._held_bytes = [], 0

    def __enter__(self) -> "LazyWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and self._writer is not None:
            self._writer.abandon()


def gathered(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The same bytes in blocks, each of which ends with the piece by which it has `most` bytes."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= most:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


@contextlib.contextmanager
def _as_api_errors() -> Iterator[None]:
    # Streams raise errors of their own for an answer that every other call raises as Google's API errors.
    from google.cloud.storage.exceptions import InvalidResponse

    try:
        yield
    except InvalidResponse as refused:
        raise from_http_response(refused.response) from refused


def crc32c_of(content: bytes) -> str:
    """The checksum as Storage writes it: big-endian, base64.
    https://cloud.google.com/storage/docs/json_api/v1/objects#resource"""
    return base64.b64encode(struct.pack(">I", google_crc32c.value(content))).decode()


def _probing() -> Any:
    """Storage's own retrying, for as long as a call of a connection test may take."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(PROBE_SECONDS)


def _stored(blob: "storage.Blob") -> Stored:
    return Stored(blob.bucket.name, blob.name, int(blob.generation), int(blob.size), blob.crc32c)
