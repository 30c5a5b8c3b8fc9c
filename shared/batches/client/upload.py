#!/usr/bin/env python3
"""Uploads an archive of work orders, or a file of records, to Waybill, and waits for its end if asked.

    export WAYBILL_API_KEY=...
    python3 upload.py https://HOST archive.zip --wait
    python3 upload.py https://HOST technicians.csv --import Technician --wait

It needs Python 3.9 or newer and the package `requests` (`pip install requests`), and nothing else of Waybill.

1. A batch is made for an archive, and a job for a file of records. The answer has the URL that the file is
   uploaded to, which is a secret in itself.
2. The file is sent there chunk by chunk. After whatever goes wrong the server is asked how much it has,
   and the upload goes on from there:
   https://cloud.google.com/storage/docs/performing-resumable-uploads
3. With --wait, the batch or job is looked at until it has ended. Then its errors are shown, or its rejected
   records saved.

Until it is done, a small file beside the uploaded one (`archive.zip.waybill-upload`, readable only by you)
remembers the batch or job. So the same command, run again after whatever stopped it, goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import zipfile
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO, TypeVar
from urllib.parse import urljoin, urlsplit

try:
    import requests
except ImportError:
    sys.exit("upload.py needs the Python package requests. Install it: python3 -m pip install requests")

T = TypeVar("T")

CHUNK_MOST = 8 * 1024 * 1024
"""How many bytes are sent at once when all goes well."""

CHUNK_LEAST = 262_144
"""How many at worst. Every chunk but the last must be a multiple of this.
https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload"""

BLOCK = 64 * 1024
"""How many bytes of the file are in memory at once."""

TIMEOUT = (15.0, 90.0)
"""Seconds to wait for a connection, and then for each sign of life."""

TRIES_MOST = 15
"""How often in a row something may fail before we give up: about nine minutes of waiting."""

WAIT_MOST = 60.0
"""The longest wait between two tries, in seconds; the first is one second, each next twice the one before."""

POLL_FIRST, POLL_MOST = 1.0, 10.0
"""How many seconds pass between two looks at a batch or job, at first and at last."""

BATCHES_MOST = 4
"""How many batches or jobs one run makes at most, where upload URLs stop working again and again."""

ERRORS_SHOWN = 20
"""How many errors and warnings of a batch the terminal shows."""

WARNINGS_SHOWN = 3
"""How many warnings of each code are among them."""

ERRORS_READ = 10_000
"""How many lines of the errors file are read to find those that are shown."""

SAMPLE = 64 * 1024
"""How many bytes at either end of an archive tell it from another of the same size and date."""

FILENAME_LONGEST = 255
"""The longest file name that a batch takes."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses after which trying again may help."""

GONE = (404, 410, 412, 499)
"""HTTP statuses of an upload URL that takes nothing more: it expired, was cancelled, or has its archive."""

KEY_VARIABLES = ("WAYBILL_API_KEY", "CUSTOMER_API_KEY")
"""The environment variables that may hold the key; the first that is set counts."""

OK, FAILED, USAGE, WITH_ERRORS, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes."""

OUTCOMES = {
    "COMPLETED": OK,
    "COMPLETED_WITH_ERRORS": WITH_ERRORS,
    "FAILED": FAILED,
    "CANCELLED": FAILED,
    "EXPIRED": FAILED,
}
"""The statuses in which a batch has ended, and the exit code of each."""

STAGES = {"WAITING_FOR_UPLOAD": "Handing the archive over", "UPLOADED": "Reading the archive's list of files"}
"""What happens in the statuses in which there is nothing to count yet."""

NEVER_UPLOADED = ("WAITING_FOR_UPLOAD", "CANCELLED", "EXPIRED")
"""The statuses of a batch that may not have its archive; it has it in every other."""

JOB_OUTCOMES = {"Completed": OK, "Rejected": FAILED, "Failed": FAILED, "Canceled": FAILED}
"""The statuses in which a job has ended, and the exit code of each where no record was rejected."""

JOB_STAGES = {
    "Initialized": "Waiting for the import to start",
    "Accepted": "Waiting for the import to start",
    "Canceling": "The job is being canceled",
}
"""What happens in the statuses of a job in which its counts say nothing."""

JOB_NEVER_UPLOADED = ("Initialized", "Accepted", "Canceling", "Rejected", "Failed", "Canceled")
"""The statuses of a job that may not have its file; it has it in every other."""

JOB_GOING_WELL = ("Initialized", "Accepted", "Processing", "Completed")
"""The statuses of a job that has not failed and is not being canceled."""

SAVED_RECORDS = ("rejected", "unprocessed")
"""The records of a job that are downloaded when it has ended, as its status names them."""

CSV, JSON = "text/plain", "application/json"
"""The content types of a file of records."""

CONTENT_TYPES = {".csv": CSV, ".tsv": CSV, ".txt": CSV, ".json": JSON, ".jsonl": JSON, ".ndjson": JSON}
"""The content type of a file of records, by the ending of its name."""

HELP_AT_END = """\
environment:
  WAYBILL_API_KEY   your key, as in wb_...; CUSTOMER_API_KEY is read where it is not set

exit codes:
  0    everything is imported (without --wait: the file is uploaded)
  1    the batch or job failed, was rejected or cancelled, or expired; or the file could not be uploaded
  2    the command is not right; nothing was sent
  3    some work orders, files or records could not be imported; the others are imported
  130  stopped with Ctrl-C

After a break of any kind run the same command again: it goes on where it was, for seven days.
"""


class Stop(Exception):
    """Ends the program. The text says what happened and what to do; `code` is the exit code."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


class Passing(Exception):
    """Something that may well work the next time. `after` is how many seconds the server asks to wait."""

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after


class SessionGone(Exception):
    """The upload URL takes nothing more."""


# What the user sees.


class Screen:
    """Standard error tells what happens, on a terminal in one line that is drawn anew; standard output what
    came of it."""

    LINE_EVERY = 30.0
    DRAW_EVERY = 0.1

    def __init__(self, out: TextIO, progress: TextIO, stopwatch: Callable[[], float]) -> None:
        self._out = out
        self._progress = progress
        self._stopwatch = stopwatch
        self._live = progress.isatty()
        self._drawn = ""
        self._drawn_at: float | None = None

    @property
    def columns(self) -> int:
        """How many characters a line may have."""
        return shutil.get_terminal_size().columns - 1 if self._live else 110

    def tell(self, text: str) -> None:
        """A line of the outcome."""
        self._clear()
        self._out.write(printable(text) + "\n")
        self._out.flush()

    def say(self, text: str) -> None:
        """A line about what happens."""
        self._clear()
        self._progress.write(printable(text) + "\n")
        self._progress.flush()

    def show(self, text: Callable[[], str], *, now: bool = False) -> None:
        """How far it is: drawn over the last on a terminal, elsewhere a line of its own once in a while."""
        at = self._stopwatch()
        pause = self.DRAW_EVERY if self._live else self.LINE_EVERY
        if not now and self._drawn_at is not None and at - self._drawn_at < pause:
            return
        self._drawn_at = at
        line = printable(text())[: self.columns]
        if self._live:
            self._progress.write("\r" + line.ljust(len(self._drawn)))
            self._drawn = line
        elif line != self._drawn:
            self._progress.write(line + "\n")
            self._drawn = line
        self._progress.flush()

    def keep(self) -> None:
        """Leave what was drawn last standing."""
        if self._live and self._drawn:
            self._progress.write("\n")
        self._drawn, self._drawn_at = "", None

    def _clear(self) -> None:
        if self._live and self._drawn:
            self._progress.write("\r" + " " * len(self._drawn) + "\r")
            self._progress.flush()
            self._drawn = ""


class Bar:
    """The progress of an upload of `total` bytes; call it with how many are sent."""

    RATE_OVER = 20.0
    """The rate is that of the last so many seconds."""

    WORDS_LONGEST = 55
    """How much room in a line is kept for what is not name or bar, so that the bar does not jump."""

    def __init__(self, screen: Screen, name: str, total: int, stopwatch: Callable[[], float]) -> None:
        self._screen = screen
        self._name = name if len(name) <= 30 else name[:27] + "..."
        self._total = total
        self._stopwatch = stopwatch
        self._past: deque[tuple[float, int]] = deque()

    def __call__(self, sent: int, *, now: bool = False) -> None:
        """Show that so many bytes are sent."""
        at = self._stopwatch()
        if self._past and sent < self._past[-1][1]:
            self._past.clear()  # the server has less than was sent: that is no rate
        if not self._past or at - self._past[-1][0] >= 0.5:
            self._past.append((at, sent))
        while len(self._past) > 1 and at - self._past[0][0] > self.RATE_OVER:
            self._past.popleft()
        began, before = self._past[0]
        rate = (sent - before) / (at - began) if at > began else 0.0
        self._screen.show(lambda: self._line(sent, rate), now=now)

    def _line(self, sent: int, rate: float) -> str:
        percent = 100 * sent // self._total
        words = f"{percent:3d} %  {size(sent)} of {size(self._total)}"
        if rate > 0:
            words += f"  {size(rate)}/s"
            if sent < self._total:
                words += f"  {duration((self._total - sent) / rate)} left"
        room = min(30, self._screen.columns - len(self._name) - self.WORDS_LONGEST)
        if room < 5:
            return f"{self._name} {words}"
        full = room * sent // self._total
        return f"{self._name} [{'#' * full}{'.' * (room - full)}] {words}"


def size(count: float) -> str:
    """A number of bytes, as people write it: `12.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """A number of seconds, as people write it: `4 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def printable(text: str) -> str:
    """The text without what could move a terminal's cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)


# The file, and what is remembered of its upload.


@dataclass(frozen=True)
class LocalFile:
    """The file to upload as it was at the beginning. `noun` is what the user calls it, and `sample` a hash of
    its first and last bytes."""

    noun: str
    path: Path
    size: int
    mtime_ns: int
    sample: str

    @classmethod
    def look_at(cls, noun: str, path: Path, in_place_of_folder: str) -> LocalFile:
        """The file at that path; Stop where there is none, it is empty, or it is a folder."""
        if path.is_dir():
            raise Stop(f"{path} is a folder. {in_place_of_folder}", USAGE)
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                sample = hashlib.sha256(file.read(SAMPLE))
                file.seek(max(0, found.st_size - SAMPLE))
                sample.update(file.read(SAMPLE))
        except FileNotFoundError:
            raise Stop(f"There is no file {path}. Check the path.", USAGE) from None
        except OSError as error:
            raise Stop(f"{path} cannot be read: {error.strerror}.", USAGE) from None
        if not found.st_size:
            raise Stop(f"{path} is empty. Make the {noun} again.", USAGE)
        return cls(noun, path, found.st_size, found.st_mtime_ns, sample.hexdigest())

    def check_unchanged(self) -> None:
        """Stop where the file is not as it was: half of one and half of another is none."""
        try:
            now = self.path.stat()
        except OSError:
            now = None
        if now is None or (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise Stop(
                f"{self.path} was changed while it was being uploaded. "
                "Run the same command again once nothing changes it any more: it begins anew."
            )


class Piece:
    """A part of the file as `requests` sends it: read block by block; `sent` is told how far it is."""

    def __init__(self, noun: str, file: IO[bytes], start: int, end: int, sent: Callable[[int], None]) -> None:
        self._noun = noun
        self._file = file
        self._start = start
        self._end = end
        self._sent = sent

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        at = self._start
        while at < self._end:
            try:
                self._file.seek(at)
                block = self._file.read(min(BLOCK, self._end - at))
            except OSError as error:
                # Said here, because `requests` would take it for a broken line.
                raise Stop(f"The {self._noun} cannot be read: {error.strerror}.") from None
            if not block:
                raise Stop(f"The {self._noun} became shorter while it was being uploaded. Upload it again.")
            yield block
            at += len(block)
            self._sent(at)


@dataclass(frozen=True)
class Begun:
    """An upload that was begun: the id of what it is for (empty where only its URL is known), and its URL."""

    id: str
    url: str


class Memory:
    """The small file beside the uploaded one that remembers an upload until it is done.

    `kind` is what the upload is for, and `place` all else that must be the same for it to go on.
    """

    def __init__(self, uploaded: LocalFile, kind: str, place: Mapping[str, Any]) -> None:
        self.file = uploaded.path.with_name(uploaded.path.name + ".waybill-upload")
        self._kind = kind
        self._place = place
        self._uploaded = {
            "size": uploaded.size,
            "mtime_ns": uploaded.mtime_ns,
            "sample": uploaded.sample,
        }

    def recall(self) -> Begun | None:
        """What was begun of just this file at just this place."""
        kept = self._read()
        same = kept and all(
            kept.get(name) == value for name, value in {**self._place, **self._uploaded}.items()
        )
        return Begun(kept[self._kind], kept["url"]) if kept and same else None

    def holds_another(self, begun: Begun) -> bool:
        """Whether that upload was begun with a file that is not this one."""
        kept = self._read()
        if not kept or kept["url"] != begun.url:
            return False
        return any(kept.get(name) != value for name, value in self._uploaded.items())

    def keep(self, begun: Begun) -> None:
        """Remember an upload; OSError where the folder takes no file."""
        # Made readable by its owner alone, and then renamed, so that it is never half written.
        descriptor, name = tempfile.mkstemp(prefix=self.file.name, dir=self.file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({self._kind: begun.id, "url": begun.url, **self._place, **self._uploaded}, file)
            Path(name).replace(self.file)
        except BaseException:
            Path(name).unlink()
            raise

    def forget(self) -> None:
        """Remove the file, if there is one."""
        self.file.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            return kept if isinstance(kept["url"], str) and isinstance(kept[self._kind], str) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


# The line to the server.


class Line:
    """Sends requests, and tries again what may work the next time."""

    def __init__(self, screen: Screen, sleep: Callable[[float], None]) -> None:
        self._screen = screen
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "waybill-upload/1"

    def send(
        self, method: str, url: str, authorization: str = "", *, redirects: bool = False, **more: Any
    ) -> requests.Response:
        """One request; Passing where it should be tried again. Redirects are followed only if so asked."""

        # A callable, because else `requests` would put what a .netrc says in place of the key.
        def authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
            if authorization:
                request.headers["Authorization"] = authorization
            return request

        with understood(url):
            answer = self._session.request(
                method, url, auth=authorise, allow_redirects=redirects, timeout=TIMEOUT, **more
            )
        if answer.status_code in PASSING:
            after = answer.headers.get("Retry-After", "")
            raise Passing(
                f"{name_of(url)} answered {answer.status_code}.", float(after) if after.isdecimal() else 0.0
            )
        return answer

    def patience(self) -> Patience:
        """A fresh count of failures in a row."""
        return Patience(self._screen, self._sleep)

    def until_it_works(self, attempt: Callable[[], T]) -> T:
        """What the attempt returns, once it raises no Passing any more; Stop after too many."""
        patience = self.patience()
        while True:
            try:
                return attempt()
            except Passing as why:
                patience.wait(why)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)


class Patience:
    """Counts failures in a row, and waits longer after each."""

    def __init__(self, screen: Screen, sleep: Callable[[float], None]) -> None:
        self._screen = screen
        self._sleep = sleep
        self._failures = 0

    def wait(self, why: Passing) -> None:
        """Say what failed and wait, or Stop where it was once too often."""
        self._failures += 1
        if self._failures >= TRIES_MOST:
            raise Stop(
                f"{why} That was the {TRIES_MOST}th time in a row. "
                "Run the same command again when the line is better: it goes on where it was."
            )
        wanted = min(WAIT_MOST, 2.0 ** (self._failures - 1))
        # Not all clients of a server that was down come back at the same moment.
        seconds = max(wanted * random.uniform(0.5, 1.0), min(why.after, WAIT_MOST))
        self._screen.say(f"{why} Trying again in {max(1, round(seconds))} s.")
        self._sleep(seconds)

    def reset(self) -> None:
        """It got on."""
        self._failures = 0


@contextmanager
def understood(url: str) -> Iterator[None]:
    """What goes wrong on the line, as Passing or Stop. Never with the URL: one for uploads is a secret."""
    host = name_of(url)
    try:
        yield
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Stop(
                f"The certificate of {host} cannot be verified. Check the address; behind a proxy of your "
                "company, set REQUESTS_CA_BUNDLE to its certificates."
            ) from None
        raise Passing(f"The secure connection to {host} broke.") from None
    except requests.exceptions.ProxyError:
        raise Passing(f"The proxy on the way to {host} does not let us through.") from None
    except requests.exceptions.ConnectTimeout:
        raise Passing(f"{host} cannot be reached: no answer in {TIMEOUT[0]:.0f} s.") from None
    except requests.exceptions.Timeout:
        raise Passing(f"{host} gave no sign of life in {TIMEOUT[1]:.0f} s.") from None
    except requests.exceptions.ConnectionError as error:
        if "NameResolutionError" in repr(error) or "getaddrinfo" in repr(error):
            raise Passing(f"The name {host} cannot be found. Is it spelled right, is there a line?") from None
        if "NewConnectionError" in repr(error):
            raise Passing(f"{host} cannot be reached.") from None
        raise Passing(f"The line to {host} dropped.") from None
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        raise Passing(f"The answer of {host} broke off.") from None
    except requests.exceptions.RequestException as error:
        raise Stop(f"{host} cannot be asked: {type(error).__name__}. Check the address.") from None


def name_of(url: str) -> str:
    """The host of a URL, and nothing else of it."""
    return urlsplit(url).hostname or "the server"


# Waybill's own calls.


class Waybill:
    """The calls of `/v0.2` that an upload needs."""

    def __init__(self, line: Line, host: str, key: str) -> None:
        self._line = line
        self._batches = f"{host}/v0.2/batches"
        self._authorization = f"Token {key}"

    def create(self, site: str, body: Mapping[str, Any]) -> Begun:
        """Make a batch."""
        answer = self._ask("POST", self._batches, json=body, params={"site_id": site} if site else {})
        if answer.status_code // 100 != 2:
            raise refused(answer, "The batch could not be made")
        made = said(answer, "batch_id", "upload_url")
        return Begun(str(made["batch_id"]), str(made["upload_url"]))

    def batch(self, id: str) -> dict[str, Any] | None:
        """The batch as it is, or None where there is none of that id."""
        answer = self._ask("GET", f"{self._batches}/{id}")
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise refused(answer, f"The batch {id} could not be looked at")
        return said(answer, "status")

    def errors(self, id: str, form: str, read: Callable[[requests.Response], None]) -> None:
        """Have the batch's errors read, as `jsonl` or `csv`; from the beginning again where that breaks."""
        url = f"{self._batches}/{id}/errors"

        def attempt() -> None:
            with (
                self._line.send(
                    "GET", url, self._authorization, params={"format": form}, stream=True
                ) as answer,
                understood(url),
            ):
                if answer.status_code != 200:
                    raise refused(answer, f"The errors of the batch {id} could not be read")
                if _is_page(answer):
                    raise _intercepted(answer)
                read(answer)

        self._line.until_it_works(attempt)

    def _ask(self, method: str, url: str, **more: Any) -> requests.Response:
        return self._line.until_it_works(lambda: self._line.send(method, url, self._authorization, **more))


class Jobs:
    """The calls of `/ls/api` that an import needs. Its numbers may be strings."""

    def __init__(self, line: Line, host: str, key: str) -> None:
        self._line = line
        self._batch = f"{host}/ls/api/batch"
        self._authorization = f"Bearer {key}"

    def create(self, form: Mapping[str, str], template: bytes | None, size: int) -> Begun:
        """Make an upload URL, and the job that imports what is uploaded there; Stop where it is rejected.

        The import has no key that makes it safe to repeat. So after an answer that was lost, both are made
        again: the job of before gets no file, and imports nothing.
        """

        def attempt() -> Begun:
            answer = self._post("upload-url", data={"size": size})
            upload = accepted(answer, "The upload could not be begun", "uploadId", "uploadUrl")
            answer = self._post(
                "import",
                data={**form, "uploadId": upload["uploadId"]},
                files=None if template is None else {"template": ("template", template, "text/plain")},
            )
            job = accepted(answer, "The job could not be made", "jobId", "status")
            return Begun(str(job["jobId"]), str(upload["uploadUrl"]))

        return self._line.until_it_works(attempt)

    def status(self, id: str) -> dict[str, Any] | None:
        """The job as it is, or None where there is none of that id."""
        answer = self._line.until_it_works(lambda: self._post("status", data={"jobId": id}))
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise refused(answer, f"The job {id} could not be looked at", "the address")
        return said(answer, "status")

    def cancel(self, id: str) -> None:
        """Cancel the job; where that is refused, it has ended."""
        self._line.until_it_works(lambda: self._post("cancel", data={"jobId": id}))

    def _post(self, call: str, **more: Any) -> requests.Response:
        return self._line.send("POST", f"{self._batch}/{call}", self._authorization, **more)


def accepted(answer: requests.Response, what: str, *names: str) -> dict[str, Any]:
    """What a call for a job answered; Stop where it is refused, or rejected with a reason."""
    if answer.status_code != 200:
        raise refused(answer, what, "the address")
    body = said(answer)
    if body.get("status") == "Rejected":
        raise Stop(f"{what}: {body.get('reason') or 'it was rejected'}")
    return said(answer, *names)


def said(answer: requests.Response, *names: str) -> dict[str, Any]:
    """The JSON object that was answered; Stop where it lacks one of these, as what is not Waybill's does."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not set(names) <= set(body):
        raise Stop(f"{name_of(str(answer.url))} does not answer as Waybill does. Check the address.")
    return body


def refused(answer: requests.Response, what: str, if_missing: str = "--site and the address") -> Stop:
    """What a refusal means, in the server's own words, and what to do; `if_missing` is what to check then."""
    try:
        body = answer.json()
        detail = str(body["detail"] if "detail" in body else body["error_description"])
    except (ValueError, KeyError, TypeError):
        detail = ""
    text = f"{what}: {detail or f'{name_of(str(answer.url))} answered {answer.status_code}'}"
    hints = {
        401: f"Check the key in {' or '.join(KEY_VARIABLES)}.",
        403: "Use a key that may do this, or ask whoever gave you this one.",
        404: f"Check {if_missing}." if detail else "Is this the address of Waybill?",
    }
    hint = hints.get(answer.status_code, "")
    if answer.status_code == 400 and "site_id" in detail:
        hint = "Here, that is --site ID."
    if answer.status_code // 100 == 3:
        hint = f"It points to {name_of(answer.headers.get('Location', ''))}: use the address as it is there."
    return Stop(f"{text.rstrip('.')}. {hint}".rstrip())


# Uploading.


def send_file(line: Line, url: str, local: LocalFile, bar: Bar) -> None:
    """Send the file, from wherever the server has it; SessionGone where the URL takes nothing more."""
    patience = line.patience()
    chunk = CHUNK_MOST
    furthest = -1
    kept: int | None = None  # how many bytes the server has; None: ask it
    with local.path.open("rb") as file:
        while kept != local.size:
            local.check_unchanged()
            try:
                if kept is None:
                    kept = _put(line, url, local.size, "*", b"")
                else:
                    end = min(kept + chunk, local.size)
                    piece = Piece(local.noun, file, kept, end, bar)
                    now = _put(line, url, local.size, f"{kept}-{end - 1}", piece)
                    if now <= kept:
                        raise Passing(f"{name_of(url)} kept nothing of what was sent.")
                    chunk = min(chunk * 2, CHUNK_MOST) if now == end else _smaller(chunk)
                    kept = now
                if kept > furthest:
                    furthest = kept
                    patience.reset()
                bar(kept)
            except Passing as why:
                kept = None
                chunk = _smaller(chunk)
                patience.wait(why)
    bar(local.size, now=True)


def _put(line: Line, url: str, total: int, sent: str, content: bytes | Piece) -> int:
    """Send the bytes `sent` of `total`, or `*` to send none; returns how many the server has then.

    It has all only where it says so as Cloud Storage does, with the object and its size. A proxy, or a
    network that wants you to sign in, answers 200 or a redirect in its place.
    """
    headers = {"Content-Range": f"bytes {sent}/{total}", "Content-Type": "application/octet-stream"}
    answer = line.send("PUT", url, data=content, headers=headers)
    if answer.status_code in (200, 201):
        stored = _stored_size(answer)
        if stored not in (None, total):
            raise Stop(f"{name_of(url)} has another file there: of {stored} bytes, not {total}.")
        if stored is None or not (sent == "*" or sent.endswith(f"-{total - 1}")):
            raise _intercepted(answer)
        return total
    if answer.status_code // 100 == 3 and "Location" in answer.headers:
        raise _intercepted(answer)
    if answer.status_code in GONE:
        raise SessionGone
    if answer.status_code != 308:
        raise Stop(
            f"{name_of(url)} refused the upload with {answer.status_code}{_reason(answer)}. "
            "Run the same command again; if it stays, tell us."
        )
    told = answer.headers.get("Range")
    found = re.fullmatch(r"bytes=0-(\d+)", (told or "").strip())
    has = int(found[1]) + 1 if found else 0
    if has >= total or (told and not found):
        raise Passing(f"{name_of(url)} has {told} of {total} bytes, it says, and is not done.")
    return has


def _stored_size(answer: requests.Response) -> int | None:
    """The size of the object that Cloud Storage has made, or None where the answer does not have one."""
    try:
        return int(answer.json()["size"])
    except (ValueError, KeyError, TypeError):
        return None


def _is_page(answer: requests.Response) -> bool:
    """Whether a page came in place of a file."""
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")


def _intercepted(answer: requests.Response) -> Passing:
    """What to say of an answer that is not the server's own."""
    return Passing(
        f"What answered {answer.status_code} in place of {name_of(str(answer.url))} is another server. "
        "Does your network want you to sign in, or go through a proxy?"
    )


def _smaller(chunk: int) -> int:
    return max(CHUNK_LEAST, chunk // 2 // CHUNK_LEAST * CHUNK_LEAST)


def _reason(answer: requests.Response) -> str:
    """Cloud Storage's own words, in so far as they hold no part of the upload URL."""
    try:
        words = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    return "" if "upload_id" in words or "://" in words else f": {words.rstrip('.')}"


# The whole of it.


@dataclass(frozen=True)
class WantedBatch:
    """What the command line asks for, without --import."""

    host: str
    archive: Path
    site: str
    wait: bool
    notify: Sequence[str]
    batch: str
    url: str
    errors: Path | None
    code_page: str


@dataclass(frozen=True)
class WantedImport:
    """What the command line asks for, with --import. `form` is the job's, as the server takes it."""

    host: str
    file: Path
    wait: bool
    form: Mapping[str, str]
    template: bytes | None


class Upload(ABC):
    """An upload of a file, and what comes of it: `run` does it all and returns the exit code."""

    noun: str
    """What the file is uploaded for, as the user calls it."""

    never_uploaded: tuple[str, ...]
    """The statuses of it in which it may not have its file; it has it in every other."""

    outcomes: Mapping[str, int]
    """The statuses in which it has ended, and the exit code of each."""

    def __init__(
        self, screen: Screen, line: Line, bar: Callable[[LocalFile], Bar], file: LocalFile, memory: Memory
    ) -> None:
        self._screen = screen
        self._line = line
        self._bar = bar
        self._file = file
        self._memory = memory

    @abstractmethod
    def begun_before(self) -> Begun | None:
        """The upload to go on with, where there is one."""

    @abstractmethod
    def make(self) -> Begun:
        """Begin a new upload."""

    @abstractmethod
    def look(self, id: str) -> dict[str, Any] | None:
        """What it is for, as it is now, or None where there is none of that id."""

    @abstractmethod
    def give_up(self, begun: Begun, shown: Mapping[str, Any] | None, *, made_now: bool) -> None:
        """Leave an upload whose URL takes nothing more; Stop where no new one shall be begun for it."""

    @abstractmethod
    def has_failed(self, id: str) -> bool:
        """Whether it has ended without success, though its file was uploaded."""

    @abstractmethod
    def progress(self, shown: Mapping[str, Any]) -> str:
        """How far it is, in a line."""

    @abstractmethod
    def tell(self, id: str, shown: Mapping[str, Any]) -> int:
        """Tell what came of it, now that it has ended, and return the exit code."""

    def run(self, *, wait: bool) -> int:
        """Upload the file and, if asked, wait; returns the exit code. Stop where it cannot be done."""
        id = self._upload()
        if not wait and not self.has_failed(id):
            self._memory.forget()
            self._screen.tell(f"Uploaded {self._file.path}" + (f" as {self.noun} {id}." if id else "."))
            return OK
        code = self._wait(id)
        self._memory.forget()
        return code

    def _upload(self) -> str:
        """Get the file there, beginning anew where an upload URL stopped working; returns what it is for."""
        begun = self.begun_before()
        for _ in range(BATCHES_MOST):
            made_now = begun is None
            begun = begun or self.make()
            self._remember(begun)
            try:
                send_file(self._line, begun.url, self._file, self._bar(self._file))
                self._screen.keep()
                return begun.id
            except SessionGone:
                shown = self.look(begun.id) if begun.id else None
            if shown and shown["status"] not in self.never_uploaded:
                self._screen.say(f"The {self._file.noun} is there already.")
                return begun.id
            self._memory.forget()
            self.give_up(begun, shown, made_now=made_now)
            self._screen.say(
                f"The upload that was begun can no longer go on: beginning anew, with a new {self.noun}."
            )
            begun = None
        raise Stop(
            f"{BATCHES_MOST} upload URLs in a row took nothing. Try again later; if it stays, tell us."
        )

    def _remember(self, begun: Begun) -> None:
        try:
            self._memory.keep(begun)
        except OSError as error:
            self._screen.say(
                f"Note: nothing can be written beside the {self._file.noun} ({error.strerror}). "
                "If this is interrupted, the upload begins anew."
            )

    def _wait(self, id: str) -> int:
        """Look at it until it has ended, tell what came of it, and return the exit code."""
        self._screen.say(
            f"The {self._file.noun} is uploaded. Waiting for what comes of it; Ctrl-C stops only the waiting."
        )
        pause = POLL_FIRST
        while True:
            shown = self.look(id)
            if shown is None:
                raise Stop(f"There is no {self.noun} {id} that your key can see. Was the key changed?")
            if shown["status"] in self.outcomes:
                return self.tell(id, shown)
            self._screen.show(partial(self.progress, shown))
            self._line.sleep(pause)
            pause = min(pause * 1.5, POLL_MOST)


class BatchUpload(Upload):
    """An upload of an archive for a batch."""

    noun = "batch"
    never_uploaded = NEVER_UPLOADED
    outcomes = OUTCOMES

    def __init__(
        self, wanted: WantedBatch, key: str, screen: Screen, line: Line, bar: Callable[[LocalFile], Bar]
    ) -> None:
        archive = LocalFile.look_at("archive", wanted.archive, "Make a zip archive of it, and upload that.")
        place = {"host": wanted.host, "site": wanted.site, "code_page": wanted.code_page}
        memory = Memory(archive, "batch", place)
        super().__init__(screen, line, bar, archive, memory)
        self._wanted = wanted
        self._waybill = Waybill(line, wanted.host, key)

    def run(self, *, wait: bool) -> int:
        """Upload the archive and, if asked, wait; returns the exit code. Stop where it cannot be done."""
        if not zipfile.is_zipfile(self._file.path):
            self._screen.say(f"Note: {self._file.path} does not look like a whole zip archive.")
        return super().run(wait=wait)

    def begun_before(self) -> Begun | None:
        """The upload to go on with, where there is one."""
        wanted, kept = self._wanted, self._memory.recall()
        # One that was begun with --url has no batch to wait for, so only --url goes on with it.
        asked_for = wanted.batch in ("", kept.id) and wanted.url in ("", kept.url) if kept else False
        if kept and asked_for and (kept.id or wanted.url):
            self._screen.say("Going on with the upload that was begun before.")
            return kept
        if not wanted.batch and not wanted.url:
            return None
        given = Begun("", wanted.url) if wanted.url else self._of_batch(wanted.batch)
        if self._memory.holds_another(given):
            raise Stop(
                f"{self._file.path} is not as it was when its upload to this batch was begun. "
                "Make a new batch for it: leave out --batch and --url."
            )
        return given

    def make(self) -> Begun:
        """Make a batch."""
        body: dict[str, Any] = {
            "filename": self._file.path.name[-FILENAME_LONGEST:],
            "size": self._file.size,
        }
        if self._wanted.notify:
            body["notify"] = list(self._wanted.notify)
        if self._wanted.code_page:
            body["code_page"] = self._wanted.code_page
        begun = self._waybill.create(self._wanted.site, body)
        self._screen.say(f"Batch {begun.id}")
        return begun

    def look(self, id: str) -> dict[str, Any] | None:
        """The batch as it is, or None where there is none of that id."""
        return self._waybill.batch(id)

    def give_up(self, begun: Begun, shown: Mapping[str, Any] | None, *, made_now: bool) -> None:
        """Stop where the user chose the upload, or cancelled its batch during this run."""
        if self._wanted.batch or self._wanted.url:
            raise Stop(
                "The upload URL takes nothing more: it expired after seven days, was cancelled, or has "
                "its archive. Leave out --batch and --url to upload the archive as a new batch."
            )
        if made_now and shown and shown["status"] == "CANCELLED":
            raise Stop(f"The batch {begun.id} was cancelled. Nothing of it was taken in.")

    def has_failed(self, id: str) -> bool:
        """Never: an upload URL takes nothing more once its batch has failed."""
        return False

    def progress(self, shown: Mapping[str, Any]) -> str:
        """How far the batch is, in a line."""
        return counts(shown)

    def tell(self, id: str, shown: Mapping[str, Any]) -> int:
        """Tell what came of the batch, with its errors, and return the exit code."""
        for text in summary(id, shown):
            self._screen.tell(text)
        listed = number(shown, "errors") + number(shown, "warnings")
        if listed:
            for text in self._first_errors(id, listed, shown.get("codes")):
                self._screen.tell(text)
        if self._wanted.errors is not None:
            self._save_errors(id, self._wanted.errors)
            self._screen.tell(f"The errors are in {self._wanted.errors}.")
        return self.outcomes[shown["status"]]

    def _of_batch(self, id: str) -> Begun:
        shown = self._waybill.batch(id)
        if shown is None:
            raise Stop(f"There is no batch {id} that your key can see. Check --batch and the address.")
        if not shown.get("upload_url"):
            raise Stop(
                f"The batch {id} takes no archive: it is {shown['status']}. Leave out --batch for a new one."
            )
        return Begun(id, str(shown["upload_url"]))

    def _first_errors(self, batch: str, listed: int, codes: object) -> list[str]:
        found: list[str] = []

        def read(answer: requests.Response) -> None:
            found.clear()
            warned: Counter[str] = Counter()
            for line in itertools.islice(filter(bytes.strip, answer.iter_lines()), ERRORS_READ):
                code = warning_of(line)
                warned[code] += 1
                if not code or warned[code] <= WARNINGS_SHOWN:
                    found.append(error_line(line))
                if len(found) == ERRORS_SHOWN:
                    return

        self._waybill.errors(batch, "jsonl", read)
        if listed > len(found) and self._wanted.errors is None:
            found.append(f"and {listed - len(found)} more; --errors FILE saves all of them")
        elif listed > len(found):
            found.append(f"and {listed - len(found)} more")
        if listed > ERRORS_SHOWN and isinstance(codes, dict):
            most_first = sorted(codes, key=lambda code: (-number(codes, code), code))
            found.append(f"In all: {', '.join(f'{number(codes, code):,} {code}' for code in most_first)}")
        return [f"  {each}" for each in found]

    def _save_errors(self, batch: str, file: Path) -> None:
        def read(answer: requests.Response) -> None:
            with file.open("wb") as out:
                for block in answer.iter_content(BLOCK):
                    out.write(block)

        try:
            self._waybill.errors(batch, "csv" if file.suffix.lower() == ".csv" else "jsonl", read)
        except OSError as error:
            raise Stop(f"The errors cannot be written to {file}: {error.strerror}.") from None


class ImportUpload(Upload):
    """An upload of a file of records for a job that imports them.

    The job is made before anything is uploaded, and the upload starts only when the job is remembered. So
    every file that arrives has one job, which the next run knows, whatever stopped this one.
    """

    noun = "job"
    never_uploaded = JOB_NEVER_UPLOADED
    outcomes = JOB_OUTCOMES

    def __init__(
        self, wanted: WantedImport, key: str, screen: Screen, line: Line, bar: Callable[[LocalFile], Bar]
    ) -> None:
        records = LocalFile.look_at("file", wanted.file, "Give the file of records.")
        template = "" if wanted.template is None else hashlib.sha256(wanted.template).hexdigest()
        place = {"host": wanted.host, "form": dict(wanted.form), "template": template}
        super().__init__(screen, line, bar, records, Memory(records, "job", place))
        self._wanted = wanted
        self._jobs = Jobs(line, wanted.host, key)

    def run(self, *, wait: bool) -> int:
        """Upload the file and, if asked, wait; returns the exit code. Stop where it cannot be done."""
        kept = self._memory.recall()
        shown = self.look(kept.id) if kept else None
        if kept and shown and shown["status"] in self.outcomes:
            self._screen.say("The job that was begun before has ended.")
            code = self.tell(kept.id, shown)
            self._memory.forget()
            return code
        if kept and shown is None:
            self._memory.forget()
        return super().run(wait=wait)

    def begun_before(self) -> Begun | None:
        """The upload to go on with, where there is one."""
        kept = self._memory.recall()
        if kept:
            self._screen.say("Going on with the upload that was begun before.")
        return kept

    def make(self) -> Begun:
        """Make a job."""
        begun = self._jobs.create(self._wanted.form, self._wanted.template, self._file.size)
        self._screen.say(f"Job {begun.id}")
        return begun

    def look(self, id: str) -> dict[str, Any] | None:
        """The job as it is, or None where there is none of that id."""
        return self._jobs.status(id)

    def give_up(self, begun: Begun, shown: Mapping[str, Any] | None, *, made_now: bool) -> None:
        """Cancel the job that waits for the upload; Stop where it has ended, or is being canceled."""
        if shown and (shown["status"] in self.outcomes or shown["status"] == "Canceling"):
            reason = f" {shown['reason']}" if shown.get("reason") else ""
            raise Stop(f"The job {begun.id} ended before its file was uploaded: {shown['status']}.{reason}")
        if shown:
            self._jobs.cancel(begun.id)

    def has_failed(self, id: str) -> bool:
        """Whether the job was canceled, or failed: its upload URL takes the file even so."""
        shown = self.look(id)
        return shown is not None and shown["status"] not in JOB_GOING_WELL

    def progress(self, shown: Mapping[str, Any]) -> str:
        """How far the job is, in a line."""
        status = str(shown["status"])
        return f"Importing: {records_of(shown)}" if status == "Processing" else JOB_STAGES.get(status, status)

    def tell(self, id: str, shown: Mapping[str, Any]) -> int:
        """Tell what came of the job, save the records that it gives back, and return the exit code."""
        self._screen.tell(f"Job {id}: {shown['status']}")
        if shown.get("reason"):
            self._screen.tell(f"  {shown['reason']}")
        for name in SAVED_RECORDS:
            if shown.get(name):
                file = self._save(name, str(shown[name]))
                self._screen.tell(f"The {name} records are in {file}.")
        code = self.outcomes[shown["status"]]
        some_rejected = number(shown, "recordsRejected") or shown.get("rejected")
        return WITH_ERRORS if code == OK and some_rejected else code

    def _save(self, name: str, link: str) -> Path:
        """Download records of the job beside its file; returns where they are."""
        # The link is a secret in itself: it gets no key, and is not shown.
        url = urljoin(f"{self._wanted.host}/", link)
        file = free_name(self._file.path, name)
        part = file.with_name(f"{file.name}.part")

        def attempt() -> None:
            with self._line.send("GET", url, redirects=True, stream=True) as answer, understood(url):
                if answer.status_code != 200:
                    raise Stop(
                        f"The {name} records could not be downloaded: "
                        f"{name_of(url)} answered {answer.status_code}. Run the same command again to try it "
                        f"again, or remove {self._memory.file} first to import the whole file again."
                    )
                if _is_page(answer):
                    raise _intercepted(answer)
                with part.open("wb") as out:
                    for block in answer.iter_content(BLOCK):
                        out.write(block)

        try:
            self._line.until_it_works(attempt)
            part.replace(file)
        except OSError as error:
            raise Stop(f"The {name} records cannot be written to {file}: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
        return file


def free_name(file: Path, name: str) -> Path:
    """`technicians.rejected.csv` beside `technicians.csv`, or `technicians.rejected-2.csv` where that one is
    there: the user may have fixed records in it."""
    for count in itertools.count(1):
        found = file.with_name(f"{file.stem}.{name}{'' if count == 1 else f'-{count}'}{file.suffix}")
        if not found.exists():
            break
    return found


def records_of(shown: Mapping[str, Any]) -> str:
    """The counts of a job, in a line."""
    processed, rejected = number(shown, "recordsProcessed"), number(shown, "recordsRejected")
    return f"{many(processed, 'record')} processed, {rejected:,} rejected"


def number(shown: Mapping[str, Any], name: str) -> int:
    """A count of a batch or job; 0 where it is not known yet."""
    value = shown.get(name)
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) else 0


def counts(shown: Mapping[str, Any]) -> str:
    """How far a batch is, in a line."""
    status = str(shown["status"])
    if status != "PROCESSING":
        return STAGES.get(status, status)
    done, failed = number(shown, "work_orders_done"), number(shown, "work_orders_failed")
    text = f"Taking in: {done + failed} of {many(number(shown, 'work_orders_total'), 'work order')}"
    return f"{text}, {failed} not taken in, {many(number(shown, 'images'), 'photograph')}"


def summary(batch: str, shown: Mapping[str, Any]) -> Iterator[str]:
    """What came of a batch, in lines."""
    yield f"Batch {batch}: {shown['status']}"
    if isinstance(shown.get("error"), dict):
        yield f"  {shown['error'].get('message')}"
    total = number(shown, "work_orders_total")
    if total:
        images = f"{many(number(shown, 'images'), 'photograph')} ({size(number(shown, 'bytes'))})"
        yield f"  {number(shown, 'work_orders_done')} of {many(total, 'work order')} taken in, with {images}"
    errors, warnings = number(shown, "errors"), number(shown, "warnings")
    if errors or warnings:
        yield f"  {many(errors, 'error')}, {many(warnings, 'warning')}:"


def many(count: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def warning_of(line: bytes) -> str:
    """The code of a warning of the errors file; empty where the line is none."""
    try:
        found = json.loads(line)
        return str(found["code"]) if found["level"] == "warning" else ""
    except (ValueError, KeyError, TypeError):
        return ""


def error_line(line: bytes) -> str:
    """An error of the errors file, for a person."""
    try:
        error = json.loads(line)
        where = "/".join(part for part in (error["work_order"], error["file"]) if part)
        level = "" if error["level"] == "error" else f"{error['level']}: "
        return f"{level}{where or 'the archive'}: {error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return line.decode("utf-8", "replace")


# The command line.


def host_address(text: str) -> str:
    """The address of Waybill without `/v0.2`; https unless it says otherwise or is this machine."""
    if "://" not in text:
        here = urlsplit(f"//{text}").hostname in ("localhost", "127.0.0.1", "::1")
        text = f"{'http' if here else 'https'}://{text}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise argparse.ArgumentTypeError("must be an address like https://waybill.example.com")
    path = parts.path.rstrip("/")
    path = path[: -len("/v0.2")] if path.endswith("/v0.2") else path
    return f"{parts.scheme}://{parts.netloc}{path}"


def parsed(arguments: Sequence[str] | None) -> WantedBatch | WantedImport:
    """The command line; SystemExit with 2 where it is not right."""
    parser = argparse.ArgumentParser(
        prog="upload.py",
        description="Uploads an archive of work orders, or with --import a file of records, to Waybill and, "
        "if asked, waits for what comes of it.",
        epilog=HELP_AT_END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "host", type=host_address, help="the address of Waybill, as https://waybill.example.com"
    )
    parser.add_argument(
        "archive",
        type=Path,
        help="the zip archive, one folder a work order; with --import, the file of records",
    )
    parser.add_argument("--site", default="", metavar="ID", help="the site; needed where the key has none")
    parser.add_argument("--wait", action="store_true", help="wait until all is imported, and show the errors")
    parser.add_argument(
        "--notify",
        action="extend",
        nargs="+",
        default=[],
        metavar="ADDRESS",
        help="whom to mail at the end; with --import, one address",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--batch", default="", metavar="ID", help="upload to this batch, made before")
    which.add_argument("--url", default="", help="upload to this upload URL; no key is needed")
    parser.add_argument(
        "--errors",
        type=Path,
        metavar="FILE",
        help="with --wait: save all errors, as CSV or JSON Lines (.csv, .jsonl)",
    )
    parser.add_argument(
        "--code-page",
        default="",
        metavar="PAGE",
        help="the code page of the names in the archive, where they are not in UTF-8, as cp850",
    )
    # No name here begins as one above does: else its abbreviation, `--n` say, were no longer clear.
    records = parser.add_argument_group(
        "a file of records",
        "With --wait, the rejected records are saved beside the file: technicians.rejected.csv.",
    )
    records.add_argument(
        "--import", dest="item_type", metavar="TYPE", help="import the file's records as items of this type"
    )
    records.add_argument(
        "--content-type",
        choices=(CSV, JSON),
        help="text/plain for CSV, application/json for JSON or JSON Lines; by default, by the file's ending",
    )
    records.add_argument(
        "--csv-without-header", action="store_true", help="the first line of the CSV file is a record"
    )
    records.add_argument(
        "--merge", action="store_true", help="merge each record into the item that is there, not replace it"
    )
    records.add_argument(
        "--template",
        type=Path,
        metavar="FILE",
        help="the Velocity template that makes an item of each CSV row",
    )
    records.add_argument("--job-name", metavar="NAME", help="the name of the job; by default, the file's")
    found = parser.parse_args(arguments)
    return batch_wanted(parser, found) if found.item_type is None else import_wanted(parser, found)


def batch_wanted(parser: argparse.ArgumentParser, found: argparse.Namespace) -> WantedBatch:
    """What is asked for without --import; SystemExit with 2 where it is not right."""
    if found.wait and found.url:
        parser.error("--wait needs the batch: give --batch ID in place of --url")
    if found.errors and not found.wait:
        parser.error("--errors needs --wait")
    if found.errors and not found.errors.parent.is_dir():
        parser.error(f"--errors: there is no folder {found.errors.parent}")
    if found.notify and (found.batch or found.url):
        parser.error("--notify is for a new batch: leave out --batch and --url")
    if found.code_page and (found.batch or found.url):
        parser.error("--code-page is for a new batch: leave out --batch and --url")
    if found.url and not found.url.startswith(("https://", "http://")):
        parser.error("--url must be the upload URL as it was given to you, from https:// on")
    for name in ("content_type", "csv_without_header", "merge", "template", "job_name"):
        if getattr(found, name):
            parser.error(f"--{name.replace('_', '-')} needs --import")
    names = [each.name for each in fields(WantedBatch)]
    return WantedBatch(**{name: getattr(found, name) for name in names})


def import_wanted(parser: argparse.ArgumentParser, found: argparse.Namespace) -> WantedImport:
    """What is asked for with --import; SystemExit with 2 where it is not right."""
    for name in ("site", "batch", "url", "errors", "code_page"):
        if getattr(found, name):
            parser.error(f"--{name.replace('_', '-')} is for batches: leave it out, or --import")
    if len(found.notify) > 1:
        parser.error("--notify takes one address with --import")
    content_type = found.content_type or CONTENT_TYPES.get(found.archive.suffix.lower())
    if content_type is None:
        parser.error(
            f"the ending of {found.archive.name} does not tell what it holds: give --content-type {CSV} for "
            f"CSV, or {JSON}"
        )
    if content_type == JSON and found.csv_without_header:
        parser.error(f"--csv-without-header is for CSV: the content type is {JSON}")
    form = {
        "jobName": found.job_name or found.archive.name,
        "itemType": found.item_type,
        "contentType": content_type,
    }
    if found.merge:
        form["merge"] = "true"
    if found.csv_without_header:
        form["headerRow"] = "false"
    if found.notify:
        form["notificationEmail"] = found.notify[0]
    template = None
    if found.template:
        try:
            template = found.template.read_bytes()
        except OSError as error:
            parser.error(f"--template: {found.template} cannot be read: {error.strerror}")
    return WantedImport(found.host, found.archive, found.wait, form, template)


def key_in(environment: Mapping[str, str]) -> str:
    """The key; Stop where there is none."""
    for name in KEY_VARIABLES:
        key = environment.get(name, "").strip()
        if key:
            if not key.isascii() or not key.isprintable():
                raise Stop(f"{name} is no key: a key has plain letters, digits, - and _ alone.", USAGE)
            return key
    raise Stop(f"There is no key. Set it first: export {KEY_VARIABLES[0]}=wb_...", USAGE)


def main(
    arguments: Sequence[str] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    sleep: Callable[[float], None] = time.sleep,
    stopwatch: Callable[[], float] = time.monotonic,
) -> int:
    """Do what the command line says and return the exit code; `sleep` and `stopwatch` count in seconds."""
    wanted = parsed(arguments)
    screen = Screen(sys.stdout, sys.stderr, stopwatch)
    try:

        def bar(file: LocalFile) -> Bar:
            return Bar(screen, file.path.name, file.size, stopwatch)

        line = Line(screen, sleep)
        if isinstance(wanted, WantedImport):
            importing = ImportUpload(wanted, key_in(environment), screen, line, bar)
            return importing.run(wait=wanted.wait)
        key = "" if wanted.url else key_in(environment)
        return BatchUpload(wanted, key, screen, line, bar).run(wait=wanted.wait)
    except Stop as stop:
        screen.keep()
        screen.say(f"upload.py: {stop}")
        return stop.code
    except KeyboardInterrupt:
        screen.keep()
        screen.say("Stopped. Nothing is lost: run the same command again, and it goes on where it was.")
        return INTERRUPTED


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that this terminal cannot show is no reason to die
    sys.exit(main())
