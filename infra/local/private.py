"""Files and folders that only their owner may read, whatever the umask and whatever was there before."""

import os
from pathlib import Path

FILE_MODE = 0o600
"""Of a file that holds a secret."""

FOLDER_MODE = 0o700
"""Of a folder whose files hold secrets."""


def write(file: Path, content: str | bytes) -> None:
    """Write a file whole: it has its old content, or its new one. The new one can be read by nobody else at
    any time."""
    new = file.with_name(file.name + ".new")
    # One that a killed process left behind keeps the mode and the readers that it has.
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(handle, "wb") as out:
        os.fchmod(handle, FILE_MODE)
        out.write(content.encode() if isinstance(content, str) else content)
    new.replace(file)


def read(file: Path) -> str | None:
    """A file's content, once nobody else can read it any more; None where there is none."""
    if not file.exists():
        return None
    file.chmod(FILE_MODE)
    return file.read_text()


def folder(path: Path) -> Path:
    """Make a folder with those above it, or close the one that is there to others; returns it."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path.chmod(FOLDER_MODE)
    return path
