"""What every `python -m` of ours does around its command, with nothing that is not Python's own."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

CUT_OFF = 128 + 13
"""The exit status of a command whose reader went away, as a shell tells it of SIGPIPE."""

INTERRUPTED = 128 + 2
"""That of a command which Ctrl-C ended."""


@contextmanager
def packages() -> Iterator[None]:
    """Exits with a sentence where an import within lacks a package, as outside the virtual environment."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in ("infra", "shared", "functions", "tests"):
            raise
        sys.exit(
            f"This Python ({sys.executable}) lacks the package {missing.name}, which Waybill needs. Use that "
            "of the virtual environment, .venv/bin/python, which every target of the Makefile makes."
        )


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its status; no trace where its reader went away or Ctrl-C ended it."""
    status: int | str | None
    try:
        try:
            with packages():
                status = main()
        except SystemExit as ended:  # argparse's, after its help
            status = ended.code
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try to write what is left once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = CUT_OFF
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)
