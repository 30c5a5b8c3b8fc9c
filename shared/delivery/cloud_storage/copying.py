"""Copying many images from our bucket into the customer's: batched rewrites, several batches in flight.

One request carries up to a hundred rewrites (https://cloud.google.com/storage/docs/batch); the outer answer
is 200 even where parts of it failed, and Google's Python client cannot put a rewrite into a batch. Batches
begin small, grow while answers come quickly and no part fails, and shrink down to one call where parts do, or
where a batch does as a whole. Only the parts that failed are sent again.

An image that is already there is answered 412; its size and checksum are then compared.

A batch that fails as a whole says nothing of its parts. Where Storage refuses batches for good, or keeps
failing them, each rewrite is sent by itself, and its own answer counts.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from shared import logs
from shared.clock import elapsed_since, stopwatch
from shared.delivery.base import Copy, CopyResult
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.errors import Retry
from shared.gcp.many import BACKOFF_SECONDS, CALL_ATTEMPTS, MAX_BACKOFF, RETRIED, SAID_LONGEST
from shared.gcp.objects import Refusal

BATCH_FIRST = 20
MAX_BATCH = 100
"""How many calls the first batch carries, and how many one may carry at all.
https://cloud.google.com/storage/docs/batch#overview"""

BATCH_BYTES = 512 * 1024 * 1024
"""How many bytes the rewrites of one batch may move, so that it ends in time where bytes are really moved."""

IN_FLIGHT = 6
"""How many batches are under way at once."""

QUICK_SECONDS = 2.0
"""A batch answered within this, no part of which failed, lets the next be larger by half."""

BATCH_SECONDS = 60.0
"""A batch that takes longer is given up, and its calls go into smaller ones."""

MAX_FAILED_BATCHES = 2 * IN_FLIGHT
"""After so many failed batches in a row each call is sent by itself."""

SINGLE_CALLS = 5
"""How many calls are sent at once in place of one batch."""

IDLE_SECONDS = 120.0
"""How long it is tried while no image gets on; then the cause is said, and another attempt tries it later."""

_BOUNDARY = "waybill-batch"
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]+")
"""What is the same quoted."""

_DONE = re.compile(rb'"done":\s*true\b')
"""What the answer to a rewrite holds that has ended. A quote within a string is escaped in JSON, so this
stands nowhere else."""

_COPIED: dict[str, Any] = {"done": True}
"""All that is wanted of such an answer."""

_PART = f"--{_BOUNDARY}\r\nContent-Type: application/http\r\n"
_NO_BODY = "\r\n\r\n"
_EMPTY_BODY = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}\r\n"


@dataclass(slots=True)
class _Task:
    copy: Copy
    check: bool = False  # look at what is there, instead of copying
    token: str = ""
    attempts: int = 0
    got_on: float = 0.0  # when some image had last got on, as this call failed last


def copy_images(
    bucket: CustomerBucket,
    copies: Iterable[Copy],
    *,
    source_bucket: str,
    storage_url: str,
    max_batch: int = MAX_BATCH,
    on_progress: Callable[[CopyResult], None] = lambda _: None,
    generations: bool = False,
    origin: CustomerBucket | None = None,
) -> CopyResult:
    """Copy images into the customer's bucket as the customer's account. An image that is there already stays.
    A batch carries at most `max_batch` calls, and never more than MAX_BATCH.
    `on_progress` is called after each batch, and may raise to stop. `generations` has the result hold those.
    `origin` is the source bucket where that is the customer's, too.

    CustomerMustAct where the bucket refuses or is gone; Retry where a call failed CALL_ATTEMPTS times, or no
    image got on for IDLE_SECONDS.
    """
    with bucket.explained():
        copying = _Copying(
            bucket, copies, source_bucket, storage_url, max_batch, on_progress, generations, origin
        )
        return asyncio.run(copying.run())


class _Copying:
    def __init__(
        self,
        bucket: CustomerBucket,
        copies: Iterable[Copy],
        source_bucket: str,
        storage_url: str,
        max_batch: int,
        on_progress: Callable[[CopyResult], None],
        generations: bool,
        origin: CustomerBucket | None,
    ) -> None:
        self._bucket = bucket
        self._origin = origin
        self._generations = generations
        self._on_progress = on_progress
        self._refused_token = ""
        self._url = storage_url
        self._source = f"/storage/v1/b/{quote(source_bucket, safe='')}/o/"
        self._there = f"/b/{quote(bucket.bucket, safe='')}/o/"
        self._fields = f"&fields=done,rewriteToken{',resource(generation)' * generations}"
        self._copies = iter(copies)
        self._first: deque[_Task] = deque()
        self._last: deque[_Task] = deque()
        self._max_size = max(1, min(max_batch, MAX_BATCH))
        self._size = min(BATCH_FIRST, self._max_size)
        self._delay = 0.0
        self._failed_batches = 0
        self._singly = False
        self._got_on = stopwatch()
        self.result = CopyResult()

    async def run(self) -> CopyResult:
        timeout = aiohttp.ClientTimeout(total=BATCH_SECONDS)
        cookies = aiohttp.DummyCookieJar()  # nobody sets one, and looking for it takes CPU at each batch
        async with aiohttp.ClientSession(self._url, timeout=timeout, cookie_jar=cookies) as session:
            workers = [asyncio.create_task(self._work(session)) for _ in range(IN_FLIGHT)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
        return self.result

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while batch := self._take():
            if self._delay:
                await asyncio.sleep(self._delay)
            begun = stopwatch()
            try:
                answers = await (self._send_singly if self._singly else self._send)(session, batch)
            except (aiohttp.ClientError, TimeoutError, _Unanswered) as error:
                self._first.extendleft(reversed(batch))
                self._on_progress(self.result)
                self._batch_failed(error)
                continue
            quick = elapsed_since(begun) < QUICK_SECONDS
            self._failed_batches = 0
            self._on_progress(self.result)
            failing = False
            for task, (status, body) in zip(batch, answers, strict=True):
                failing |= self._settle(task, status, body)
            if failing:
                self._slower()
            else:
                self._faster(quick)

    def _take(self) -> list[_Task]:
        """The calls of the next batch; none where nothing is left."""
        batch: list[_Task] = []
        moved = 0
        size = min(self._size, SINGLE_CALLS) if self._singly else self._size
        while len(batch) < size and moved < BATCH_BYTES and (task := self._next()):
            batch.append(task)
            moved += task.copy.size
        return batch

    def _next(self) -> _Task | None:
        """The next call: first those of batches that failed, last those that failed or go on by themselves.
        So a call that fails is tried again late, and of what is new no more is in memory than is sent."""
        if self._first:
            return self._first.popleft()
        if copy := next(self._copies, None):
            return _Task(copy)
        return self._last.popleft() if self._last else None

    def _faster(self, quick: bool) -> None:
        self._delay = 0.0
        if quick:
            self._size = min(self._max_size, self._size * 3 // 2 + 1)

    def _slower(self) -> None:
        self._size = max(1, self._size // 2)
        self._delay = min(MAX_BACKOFF, self._delay * 2 or BACKOFF_SECONDS)

    def _batch_failed(self, error: Exception) -> None:
        """Slow down, or send each call by itself: none of a batch's calls failed that way."""
        self._slower()
        self._failed_batches += 1
        final = isinstance(error, _Refused)
        if not self._singly and (final or self._failed_batches >= MAX_FAILED_BATCHES):
            logs.warning("images are copied without batches", reason=str(error) or type(error).__name__)
            self._singly = True
            self._delay = 0.0
        self._need_progress(error)

    def _need_progress(self, why: object) -> None:
        if elapsed_since(self._got_on) >= IDLE_SECONDS:
            said = str(why) or type(why).__name__
            raise Retry(f"no image was copied for {IDLE_SECONDS:g} seconds: {said}")

    def _again(self, task: _Task, refused: Refusal) -> None:
        """Try a call again later. A bucket that is called too often refuses some calls and takes others: as
        long as images get on, that is no reason to end."""
        others_got_on, task.got_on = task.got_on != self._got_on, self._got_on
        if not (refused.too_often and others_got_on):
            task.attempts += 1
        if task.attempts >= CALL_ATTEMPTS:
            raise Retry(f"{task.copy.name}: {refused}")
        self._last.append(task)
        self._need_progress(refused)

    def _settle(self, task: _Task, status: int, body: dict[str, Any]) -> bool:
        """Take one answer; True where the call failed in passing."""
        if status == 200 and not task.check:
            self._got_on = stopwatch()
            if not body["done"]:
                task.token = body["rewriteToken"]
                self._last.append(task)
                return False
            self.result.copied += 1
            if self._generations:
                self._note(task, body["resource"])
            return False
        if status == 401:  # the token has died before its time: the next batch takes a new one
            self._refused_token = str(self._bucket.objects.credentials.token)
        refused = Refusal.parse(status, body, rewriting=not task.check)
        if status in RETRIED or (status != 200 and refused.passing):
            self._again(task, refused)
            return True
        self._got_on = stopwatch()
        if task.check:
            self._settle_check(task, refused, body)
        elif refused.unmet or (status == 403 and "storage.objects.delete" in refused.message):
            task.check = True
            self._last.append(task)
        else:
            self._settle_refusal(task, refused)
        return False

    def _settle_check(self, task: _Task, refused: Refusal, body: dict[str, Any]) -> None:
        if refused.status == 200:
            if int(body["size"]) == task.copy.size and body["crc32c"] == task.copy.crc32c:
                self.result.present += 1
                self._note(task, body)
            else:
                self.result.conflicts.append(task.copy)
        elif (refused.status == 404 and not refused.no_bucket) or (
            # An account that may not list is told so of what is not there.
            refused.status == 403 and "storage.objects.list" in refused.message
        ):
            # 412 and yet nothing there: it was the source's generation that did not match.
            self.result.missing.append(task.copy)
        else:
            self._settle_refusal(task, refused)

    def _note(self, task: _Task, there: dict[str, Any]) -> None:
        if self._generations:
            self.result.generations[task.copy.name] = int(there["generation"])

    def _settle_refusal(self, task: _Task, refused: Refusal) -> None:
        if self._origin is not None and (refused.no_bucket or refused.of_source):
            self._look_at_origin(self._origin, task, refused)
        if refused.status == 404 and not refused.no_bucket:
            self.result.missing.append(task.copy)
        else:
            raise self._bucket.explain(refused) or Retry(f"{task.copy.name}: {refused}")

    def _look_at_origin(self, origin: CustomerBucket, task: _Task, refused: Refusal) -> None:
        """Raise what the customer must do about the bucket that the images are in."""
        with origin.explained():
            origin.objects.stat(origin.bucket, task.copy.source_name)
        if refused.status == 403:
            raise origin.refusal("storage.objects.get")

    async def _send(
        self, session: aiohttp.ClientSession, batch: Sequence[_Task]
    ) -> list[tuple[int, dict[str, Any]]]:
        parts = []
        for number, task in enumerate(batch):
            method, target = self._request(task)
            rest = _NO_BODY if method == "GET" else _EMPTY_BODY
            parts.append(f"{_PART}Content-ID: <{number}>\r\n\r\n{method} {target} HTTP/1.1\r\n{rest}")
        headers = {
            "Authorization": f"Bearer {self._bucket.objects.token(self._refused_token)}",
            "Content-Type": f"multipart/mixed; boundary={_BOUNDARY}",
        }
        body = "".join(parts) + f"--{_BOUNDARY}--\r\n"
        async with session.post("/batch/storage/v1", data=body.encode(), headers=headers) as answer:
            content = await answer.read()
            if answer.status == 401:
                self._refused_token = str(self._bucket.objects.credentials.token)
            if answer.status != 200:
                final = answer.status not in RETRIED
                raise (_Refused if final else _Unanswered)(f"the batch was answered {answer.status}")
            return _parse(answer.headers.get("Content-Type", ""), content, len(batch), self._generations)

    async def _send_singly(
        self, session: aiohttp.ClientSession, batch: Sequence[_Task]
    ) -> list[tuple[int, dict[str, Any]]]:
        return await asyncio.gather(*(self._send_one(session, task) for task in batch))

    async def _send_one(self, session: aiohttp.ClientSession, task: _Task) -> tuple[int, dict[str, Any]]:
        """As a part of a batch would be answered; a call without an answer failed in passing."""
        method, target = self._request(task)
        token = self._bucket.objects.token(self._refused_token)
        headers = {"Authorization": f"Bearer {token}"}
        url = URL(target, encoded=True)
        try:
            async with session.request(
                method, url, json=None if method == "GET" else {}, headers=headers
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return 500, {"error": {"message": str(error) or type(error).__name__}}
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            said = content[:SAID_LONGEST].decode(errors="replace")
            return (500 if answer.status == 200 else answer.status), {"error": {"message": said}}
        return answer.status, body

    def _request(self, task: _Task) -> tuple[str, str]:
        """The method of a call, and its path with its query."""
        name = _segment(task.copy.name)
        if task.check:
            fields = f"size,crc32c{',generation' * self._generations}"
            return "GET", f"/storage/v1{self._there}{name}?fields={fields}"
        token = f"&rewriteToken={quote(task.token, safe='')}" if task.token else ""
        return "POST", (
            f"{self._source}{_segment(task.copy.source_name)}/rewriteTo{self._there}{name}"
            f"?ifGenerationMatch=0&ifSourceGenerationMatch={task.copy.generation}{token}{self._fields}"
        )


def _segment(name: str) -> str:
    """An object's name as a segment of a path. Nearly all names are plain: to see that is quicker than to
    quote them."""
    return (name if _PLAIN.fullmatch(name) else quote(name, safe="/")).replace("/", "%2F")


class _Unanswered(Exception):
    """The batch as a whole failed, or its answer cannot be read."""


class _Refused(_Unanswered):
    """The batch as a whole was refused for good."""


def _parse(
    content_type: str, content: bytes, count: int, resources: bool
) -> list[tuple[int, dict[str, Any]]]:
    """The inner statuses and bodies of a batch's answer, in the order of its calls. Without `resources` those
    that are copied are not told of: a server may send them all the same."""
    answers: list[tuple[int, dict[str, Any]] | None] = [None] * count
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    try:
        for part in content.split(b"--" + boundary)[1:-1]:
            outer, head, body = part.split(b"\r\n\r\n", 2)
            number = int(outer.partition(b"<response-")[2].partition(b">")[0])
            status = int(head[9:12])
            if status == 200 and not resources and _DONE.search(body):
                answers[number] = status, _COPIED
            else:
                answers[number] = status, orjson.loads(body) if body.strip() else {}
    except (ValueError, IndexError) as error:
        raise _Unanswered(f"the batch's answer cannot be read: {error}") from error
    whole = [answer for answer in answers if answer is not None]
    if len(whole) < count:
        raise _Unanswered(f"the batch's answer holds {len(whole)} of {count} parts")
    return whole
