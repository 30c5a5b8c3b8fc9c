"""Structured logs: one JSON object a line, with the keys that Cloud Logging knows and the ids bound here.

Never logged: keys, secrets, tokens, signed URLs, upload URLs.
https://cloud.google.com/logging/docs/structured-logging
"""

import contextlib
import contextvars
import json
import logging
import sys
import traceback
from collections.abc import Iterator

_bound: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("log_ids", default={})  # noqa: B039
_log = logging.getLogger("waybill")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {"severity": record.levelname, "message": record.getMessage()}
        entry.update(_bound.get())
        entry.update(getattr(record, "facts", {}))
        if record.exc_info and record.exc_info[0]:
            entry["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, default=str)


class _StandardOutput(logging.Handler):
    """Writes to standard output as it is now, whoever has put another in its place since."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(self.format(record) + "\n")
        sys.stdout.flush()


def configure() -> None:
    """Send our log to standard output as JSON lines. Doing it twice is doing it once."""
    if not _log.handlers:
        handler = _StandardOutput()
        handler.setFormatter(_JsonLines())
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)


@contextlib.contextmanager
def bound(**ids: str | None) -> Iterator[None]:
    """Put these ids (`run`, `export`, `batch`, `customer`) on every line logged inside."""
    token = _bound.set({**_bound.get(), **{k: v for k, v in ids.items() if v is not None}})
    try:
        yield
    finally:
        _bound.reset(token)


def info(message: str, **facts: object) -> None:
    """Say what happened, in a sentence, with its facts."""
    _log.info(message, extra={"facts": facts})


def warning(message: str, **facts: object) -> None:
    """Say what went wrong and was dealt with."""
    _log.warning(message, extra={"facts": facts})


def error(message: str, *, exception: BaseException | None = None, **facts: object) -> None:
    """Say what went wrong and needs a person, or another delivery."""
    _log.error(message, extra={"facts": facts}, exc_info=exception)
