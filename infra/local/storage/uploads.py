"""Resumable uploads: sessions, the chunks sent to them, and where they stand.

https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

import hashlib
import re
import secrets
from collections.abc import AsyncIterable
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from io import FileIO
from typing import Any
from urllib.parse import quote

import google_crc32c
import orjson

from infra.local.storage.api import JsonApi
from infra.local.storage.errors import StorageError, invalid
from infra.local.storage.requests import JSON, Answer
from infra.local.storage.resources import Conditions, Wanted, check_hashes, object_resource, said_hashes
from infra.local.storage.store import SESSION_LIFE, Store, Upload

QUANTUM = 256 * 1024
"""A chunk has at least so many bytes, the last one excepted; what of one is beyond a multiple is not kept."""

SAVED_EVERY = 8 * 1024 * 1024
"""Bytes after which a long chunk's progress is saved, for the case of a kill."""

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)$")


class Superseded(Exception):
    """Another request to the same session came while this one was sending; the newer one goes on."""


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A Content-Range header. `start` is None for a request that sends no bytes; `end` is inclusive.

    Without a header the whole content comes in one request, and its length tells the rest.
    """

    start: int | None
    end: int | None
    total: int | None
    whole: bool = False


def content_range(header: str | None) -> ContentRange:
    """Read the header; 400 where it makes no sense."""
    if header is None:
        return ContentRange(0, None, None, whole=True)
    found = _RANGE.match(header.strip())
    if found is None:
        raise invalid(f"Failed to parse Content-Range header: {header}")
    first, last, total = found.groups()
    length = None if total == "*" else int(total)
    if first is None:
        return ContentRange(None, None, length)
    start, end = int(first), int(last)
    if end < start or (length is not None and end >= length):
        raise invalid(f"Failed to parse Content-Range header: {header}")
    return ContentRange(start, end, length)


@dataclass(slots=True)
class _Live:
    """A session in memory. `turn` counts the requests that sent bytes: only the latest may go on writing."""

    upload: Upload
    md5: Any = None
    turn: int = 0
    conditions: Conditions = field(default_factory=Conditions)


class Uploads:
    """Carries out the calls of resumable uploads. All of it runs on the server's one event loop."""

    def __init__(self, store: Store, api: JsonApi) -> None:
        self._store = store
        self._api = api
        self._live: dict[str, _Live] = {}

    def reset(self) -> None:
        """Forget the sessions in memory."""
        self._live.clear()

    def start(
        self,
        principal: str,
        bucket: str,
        sent: Wanted,
        conditions: Conditions,
        declared: int | None,
        origin: str | None,
        root: str,
    ) -> Answer:
        """Open a session for `sent.name` and answer with its URL under `root`.

        `declared` is x-upload-content-length, `origin` that of the page which will upload. The session's
        checks are made now and once more at its end.
        """
        name = sent.name or ""
        self._api.may_write(principal, bucket, name, conditions)
        upload = Upload(
            id=secrets.token_urlsafe(48),
            bucket=bucket,
            name=name,
            principal=principal,
            conditions=orjson.dumps(asdict(conditions)),
            metadata=orjson.dumps(sent.metadata),
            hashes=orjson.dumps({"crc32c": sent.crc32c, "md5": sent.md5}),
            declared=declared,
            file=self._store.new_file(),
            persisted=0,
            crc32c=0,
            created=self._store.now(),
            cancelled=False,
            answer=None,
        )
        self._store.put_upload(upload)
        if origin is not None:
            self._store.set_origin(upload.id, origin)
        self._live[upload.id] = _Live(upload, hashlib.md5(usedforsecurity=False), 0, conditions)
        url = (
            f"{root}/upload/storage/v1/b/{quote(bucket, safe='')}/o?uploadType=resumable"
            f"&name={quote(name, safe='')}&upload_id={upload.id}"
        )
        return Answer(200, headers={"Location": url, "X-GUploader-UploadID": upload.id})

    def find(self, upload_id: str) -> Upload:
        """A session, whether or not it can still be used; 404 for one that never was."""
        live = self._live.get(upload_id)
        if live is None:
            kept = self._store.upload(upload_id)
            if kept is None:
                raise _no_session()
            live = self._live[upload_id] = _Live(kept, None, 0, Conditions(**orjson.loads(kept.conditions)))
        return live.upload

    def cancel(self, upload: Upload) -> Answer:
        """Give a session up. 499, and any later request 404; one already at its end stays as it is."""
        self._still_there(upload)
        if upload.answer is None:
            upload.cancelled = True
            self._live[upload.id].turn += 1
            self._store.put_upload(upload)
            self._store.file(upload.file).unlink(missing_ok=True)
            del self._live[upload.id]
        return Answer(499)

    def status(self, upload: Upload, asked: ContentRange, hashes: str | None, root: str) -> Answer:
        """Tell how many bytes are kept; end the session if the total given is exactly that many."""
        self._still_there(upload)
        if upload.answer is None and asked.total is not None:
            self._check_total(upload, asked.total)
            if asked.total == upload.persisted:
                return self._finish(upload, hashes, root)
        return _standing(upload)

    async def chunk(
        self,
        upload: Upload,
        asked: ContentRange,
        length: int | None,
        hashes: str | None,
        content: AsyncIterable[bytes],
        root: str,
    ) -> Answer:
        """Take bytes in. What is kept already is skipped; what breaks off is kept in multiples of 256 KiB.

        A chunk that begins after what is kept is answered 503 in plain text, as production does:
        https://github.com/googleapis/java-storage, ITJsonResumableSessionPutTaskTest, scenario 5.
        """
        self._still_there(upload)
        if upload.answer is not None:
            return _standing(upload)
        start, total = asked.start or 0, asked.total
        if asked.whole:
            total = length
        elif asked.end is not None and length not in (None, asked.end - start + 1):
            raise invalid("The length of the content differs from the Content-Range header.")
        if total is not None:
            self._check_total(upload, total)
        elif asked.end is not None and upload.declared is not None and asked.end >= upload.declared:
            self._check_total(upload, asked.end + 1)
        if start > upload.persisted:
            raise StorageError(
                503,
                "Invalid request.  According to the Content-Range header, the upload offset is "
                f"{start} byte(s), which exceeds already uploaded size of {upload.persisted} byte(s).",
                plain=True,
            )
        live = self._live[upload.id]
        live.turn += 1
        last = asked.whole or (total is not None and asked.end == total - 1)
        if asked.end is not None and not last and asked.end - start + 1 < QUANTUM:
            raise self._refuse_for_good(upload, asked.end - start + 1)
        expected = None if asked.end is None else asked.end - start + 1
        received = await self._take_in(live, start, content, expected if last else 0)
        if asked.whole:
            total = start + received
            self._check_total(upload, total)
        if last and upload.persisted == total:
            return self._finish(upload, hashes, root)
        return _standing(upload)

    def _still_there(self, upload: Upload) -> None:
        """404 for a session given up, 400 for one that a chunk has ended, 410 for one older than a week."""
        if upload.cancelled and upload.answer is not None:
            raise StorageError(400, upload.answer.decode(), plain=True)
        if upload.cancelled:
            raise _no_session()
        if self._store.now() - upload.created >= SESSION_LIFE // timedelta(microseconds=1):
            raise StorageError(410, "The upload session has expired.")

    def _refuse_for_good(self, upload: Upload, received: int) -> StorageError:
        """End a session with what was wrong with its chunk, as each later request to it is told, too.

        https://github.com/googleapis/google-resumable-media-python, tests/system/requests/test_upload.py,
        test_resumable_upload_bad_chunk_size
        """
        why = (
            "Invalid request.  The number of bytes uploaded is required to be equal or greater than "
            f"{QUANTUM}, except for the final request (it's recommended to be the exact multiple of "
            f"{QUANTUM}).  The received request contained {received} bytes, which does not meet this "
            "requirement."
        )
        upload.cancelled, upload.answer = True, why.encode()
        self._store.put_upload(upload)
        self._store.file(upload.file).unlink(missing_ok=True)
        return StorageError(400, why, plain=True)

    async def _take_in(self, live: _Live, start: int, content: AsyncIterable[bytes], last: int | None) -> int:
        """Append a request's bytes to the session's file. Returns how many the request had.

        `last` is how many bytes make it the last chunk, None for any number: then all of them are kept.
        """
        upload, turn = live.upload, live.turn
        received, saved_at = 0, upload.persisted
        skip = upload.persisted - start
        pending = bytearray()
        with self._open(upload) as file:
            try:
                async for piece in content:
                    if live.turn != turn:
                        raise Superseded
                    received += len(piece)
                    fresh = piece[skip:] if skip else piece
                    skip -= len(piece) - len(fresh)
                    pending += fresh
                    if len(pending) >= QUANTUM:
                        cut = len(pending) - len(pending) % QUANTUM
                        _append(live, file, bytes(pending[:cut]))
                        del pending[:cut]
                    if upload.persisted - saved_at >= SAVED_EVERY:
                        self._store.put_upload(upload)
                        saved_at = upload.persisted
                if live.turn != turn:
                    raise Superseded
                if last in (None, received):
                    _append(live, file, bytes(pending))
            finally:
                if live.turn == turn:
                    self._store.put_upload(upload)
        return received

    def _open(self, upload: Upload) -> FileIO:
        """The session's file at the end of what is kept; what a killed process wrote beyond it is cut off."""
        path = self._store.file(upload.file)
        path.touch()
        file = path.open("r+b", buffering=0)
        file.truncate(upload.persisted)
        file.seek(upload.persisted)
        return file

    def _check_total(self, upload: Upload, total: int) -> None:
        """A length declared when the session was made is the final one, or the upload fails."""
        if upload.declared is not None and total != upload.declared:
            raise invalid(
                f"Invalid request. The size of the content, {total} byte(s), differs from the "
                f"{upload.declared} byte(s) declared in X-Upload-Content-Length."
            )

    def _finish(self, upload: Upload, hashes: str | None, root: str) -> Answer:
        live = self._live[upload.id]
        if live.md5 is None:
            live.md5 = hashlib.md5(usedforsecurity=False)
            for block in self._store.read([(upload.file, 0, upload.persisted)], 0, upload.persisted):
                live.md5.update(block)
        md5 = live.md5.digest()
        # What was declared at the start and what comes with the last bytes must both be so.
        check_hashes(upload.crc32c, md5, orjson.loads(upload.hashes))
        check_hashes(upload.crc32c, md5, said_hashes(hashes))
        with self._store.transaction():
            self._api.may_replace(upload.principal, upload.bucket, upload.name, live.conditions)
            stored = self._api.store_object(
                upload.bucket,
                upload.name,
                orjson.loads(upload.metadata),
                [(upload.file, 0, upload.persisted)] if upload.persisted else [],
                size=upload.persisted,
                crc=upload.crc32c,
                md5=md5,
                root=root,
            )
            answer = orjson.dumps(object_resource(stored, root))
            self._store.put_upload(replace(upload, answer=answer))
        upload.answer = answer
        live.turn += 1
        del self._live[upload.id]
        return _standing(upload)


def _no_session() -> StorageError:
    return StorageError(404, "The upload session does not exist or was cancelled.")


def _append(live: _Live, file: FileIO, content: bytes) -> None:
    file.write(content)
    live.upload.persisted += len(content)
    live.upload.crc32c = google_crc32c.extend(live.upload.crc32c, content)
    if live.md5 is not None:
        live.md5.update(content)


def _standing(upload: Upload) -> Answer:
    """200 with the object once it is final, until then 308 with what is kept, if anything is."""
    if upload.answer is not None:
        return Answer(200, upload.answer, JSON, {"X-GUploader-UploadID": upload.id})
    headers = {"X-GUploader-UploadID": upload.id}
    if upload.persisted:
        headers["Range"] = f"bytes=0-{upload.persisted - 1}"
    return Answer(308, b"", "text/plain; charset=utf-8", headers)
