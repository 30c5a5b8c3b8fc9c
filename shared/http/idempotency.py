"""`Idempotency-Key`: a POST that is sent again with the same key does once what it asks.

What it makes is named after the key instead of at random, and made create-only: so the second finds what the
first made, whichever of the two was quicker, and nothing has to be kept beside it.
"""

import hashlib
from dataclasses import dataclass

import flask

from shared.errors import Conflict, Invalid
from shared.gcp.clients import Cloud
from shared.http.bodies import BODY_BYTES, content
from shared.http.paths import single_slashes

MAX_KEY = 255
"""How many characters a key may have."""

HEADER = "Idempotency-Key"

SCRYPT: dict[str, int] = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
"""How a request's hash is made: slowly (tens of ms, 16 MiB), since it is kept, and the request may hold a
password.
https://www.rfc-editor.org/rfc/rfc7914#section-2"""


@dataclass(frozen=True)
class Repeatable:
    """A request that may be sent again: its key, None where it has none, and a hash of what it asks."""

    key: str | None
    asked: str

    def id(self, cloud: Cloud, scope: str, digits: int) -> str:
        """The id, in hex digits, of what the request makes in a scope; a fresh one where it has no key."""
        if self.key is None:
            return cloud.new_id()[:digits]
        return hashlib.sha256(f"{scope}\n{self.key}".encode()).hexdigest()[:digits]

    def must_be(self, asked: str, made: str) -> None:
        """Conflict where what was made under this key, whose id is `made`, was asked for by another
        request."""
        if asked != self.asked:
            raise Conflict(
                f"the {HEADER} was used for another request, which made {made}: take a new one", made
            )


FRESH = Repeatable(None, "")
"""What a request says that has no key: it makes something new."""


def repeatable(request: flask.Request, max_bytes: int | None = BODY_BYTES) -> Repeatable:
    """What a request says of itself; of one whose body is not to be read, None bytes, without that. Invalid
    where its key is empty, too long or no plain text, or where its body is larger than `max_bytes`."""
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise Invalid.field(HEADER, f"must be 1 to {MAX_KEY} printable characters")
    body = b"" if key is None or max_bytes is None else content(request, max_bytes)
    return repeating(key, request.path, body)


def repeating(key: str | None, path: str, body: bytes) -> Repeatable:
    """The request with this key, None for none, that asks this of this path."""
    if key is None:
        return FRESH
    asked = f"{single_slashes(path).rstrip('/')}\n".encode() + body
    return Repeatable(key, hashlib.scrypt(asked, salt=key.encode(), **SCRYPT).hex())
