"""Look into a bucket of the running suite and fetch what is in it: `make ls`, `make get`. Anyone's call."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import google_crc32c
import requests

SECONDS = 60
"""How long the server may be silent."""

_BLOCK = 1 << 20


class Refused(Exception):
    """What went wrong, in a sentence."""


@dataclass(frozen=True)
class Place:
    """A bucket, and how the names begin that are meant."""

    bucket: str
    prefix: str


@dataclass(frozen=True)
class Listed:
    """An object of a list: `size` in bytes, `crc32c` in base64, `updated` as RFC 3339."""

    name: str
    size: int
    crc32c: str
    updated: str


def place(said: str) -> Place:
    """`gs://bucket/prefix`, or without `gs://`; Refused for what names no bucket."""
    bucket, _, prefix = said.removeprefix("gs://").partition("/")
    if not bucket or "://" in said.removeprefix("gs://"):
        raise Refused(f"{said!r} names no bucket: say gs://bucket or gs://bucket/prefix")
    return Place(bucket, prefix)


def listed(server: str, where: Place) -> Iterator[Listed]:
    """What is in a place, in the order of names; Refused where the server does not say."""
    token = ""
    while True:
        query = {"prefix": where.prefix, "pageToken": token}
        answer = _ask(f"{server}/storage/v1/b/{quote(where.bucket, safe='')}/o", where, query)
        page = answer.json()
        for each in page.get("items", []):
            yield Listed(each["name"], int(each["size"]), each.get("crc32c", ""), each.get("updated", ""))
        token = page.get("nextPageToken", "")
        if not token:
            return


def fetch(server: str, where: Place, found: Listed, folder: Path) -> Path | None:
    """Write an object below `folder`, under its name, in place of what is there; returns the file.

    None for a name that ends in a slash: some tools make such objects to have an empty folder. Refused for a
    name that leads out of the folder or through a file, and where the content has another checksum.
    """
    if found.name.endswith("/"):
        return None
    parts = PurePosixPath(found.name).parts
    if found.name.startswith("/") or ".." in parts or "\0" in found.name or "//" in found.name:
        raise Refused(f"{shown(found.name)} is no name for a file: it is left where it is")
    file = folder.joinpath(*parts)
    part = file.with_name(f".{file.name[:100]}.part")
    url = f"{server}/download/storage/v1/b/{quote(where.bucket, safe='')}/o/{quote(found.name, safe='')}"
    checksum = google_crc32c.Checksum()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _ask(url, where, {"alt": "media"}, stream=True) as answer, part.open("wb") as written:
            for block in answer.iter_content(_BLOCK):
                written.write(block)
                checksum.update(block)
        if found.crc32c and base64.b64encode(checksum.digest()).decode() != found.crc32c:
            raise Refused(f"{shown(found.name)} did not come whole, or was changed meanwhile: fetch it again")
        part.replace(file)
    except OSError as error:
        raise Refused(f"{shown(found.name)} cannot be written to {file}: {error.strerror}") from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    return file


def shown(name: str) -> str:
    """A name as a terminal may show it."""
    return name if name.isprintable() else repr(name)


def _ask(url: str, where: Place, query: dict[str, str], *, stream: bool = False) -> requests.Response:
    try:
        # As anybody: no proxy, and no login of the machine's.
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, params=query, timeout=SECONDS, stream=stream)
    except requests.RequestException as error:
        raise Refused(f"Storage cannot be reached: {type(error).__name__}") from error
    if answer.status_code in (401, 403):
        raise Refused(f"gs://{where.bucket} is not open to everyone, as customers' buckets are here")
    if answer.status_code == 404:
        raise Refused(f"there is no bucket {where.bucket}, or the object is gone")
    if answer.status_code != 200:
        raise Refused(f"Storage answered {answer.status_code}: {answer.text[:200]}")
    return answer
