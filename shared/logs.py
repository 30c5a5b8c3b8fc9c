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

_IDS = "waybill_ids"
"""The attribute of an exception that holds the ids that were bound where it was raised."""

_NAMES = {
    "exports": "export",
    "runs": "run",
    "batches": "batch",
    "jobs": "job",
    "dataset_tasks": "task",
    "analyses": "site",
}
"""What the ids in a collection are called in the log."""


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
    """Put these ids (`run`, `export`, `batch`, `customer`) on every line logged inside; None takes one off.

    An exception that leaves the block keeps them, so that who logs it outside can say what it is about.
    """
    inside = {name: id for name, id in {**_bound.get(), **ids}.items() if id is not None}
    token = _bound.set(inside)
    try:
        yield
    except Exception as error:
        if not hasattr(error, _IDS):
            setattr(error, _IDS, inside)
        raise
    finally:
        _bound.reset(token)


def ids_of(path: str) -> dict[str, str]:
    """The ids that the path of a document names, as `{"export": "e", "run": "r"}` of `exports/e/runs/r`."""
    parts = path.split("/")
    return {_NAMES[name]: id for name, id in zip(parts[::2], parts[1::2], strict=False) if name in _NAMES}


def raised_with(error: BaseException) -> dict[str, str]:
    """The ids that were bound where an exception was raised."""
    ids: dict[str, str] = getattr(error, _IDS, {})
    return ids


def info(message: str, **facts: object) -> None:
    """Say what happened, in a sentence, with its facts."""
    _log.info(message, extra={"facts": facts})


def warning(message: str, *, about: BaseException | None = None, **facts: object) -> None:
    """Say what went wrong and was dealt with. The ids bound where `about` was raised are on the line."""
    _log.warning(message, extra={"facts": {**(raised_with(about) if about else {}), **facts}})


def error(
    message: str,
    *,
    exception: BaseException | None = None,
    about: BaseException | None = None,
    **facts: object,
) -> None:
    """Say what went wrong and needs a person, or another delivery. The ids bound where `exception` or `about`
    was raised are on the line; of `exception` the trace, too."""
    raised = about or exception
    ids = raised_with(raised) if raised else {}
    _log.error(message, extra={"facts": {**ids, **facts}}, exc_info=exception)
