"""Forms as the bodies of requests: `application/x-www-form-urlencoded` and `multipart/form-data`.

`fields` reads a form without files whole. `parts` gives one part after the other while the body arrives: a
file is a stream of blocks, and no file is kept in memory or on disk.

Multipart: https://www.rfc-editor.org/rfc/rfc7578 and https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1.
It is parsed here because Werkzeug's decoder (3.1.9) adds a CR to a file's bytes where a block of the body
ends one character after a boundary.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, NoReturn
from urllib.parse import parse_qsl

import flask
from pydantic import WithJsonSchema
from werkzeug.http import parse_options_header

from shared.cutting import shown
from shared.errors import Invalid, TooLarge
from shared.http.sent import sent

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

REQUEST_BYTES = 32 * 1024 * 1024
"""The largest body of a request that Cloud Run accepts. https://cloud.google.com/run/quotas#request_limits"""

FORM_BYTES = 1024 * 1024
"""The largest form that is read whole, and the largest field of one that is read as text."""

MAX_PARTS = 100
"""How many parts a form may have."""

MAX_HEADER_BYTES = 16 * 1024
"""How long the header of one part may be: the name of a file can be a whole path."""

MAX_BOUNDARY = 70
"""How many characters a boundary may have. https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1"""

MAX_PADDING = 256
"""How many spaces may follow a boundary."""

FileBytes = Annotated[bytes, WithJsonSchema({"contentMediaType": "application/octet-stream"})]
"""In the model of a form that is given as `parts`: a file.
https://spec.openapis.org/oas/v3.1.1#considerations-for-file-uploads"""

_FOLDED = re.compile(r"\r\n[ \t]+")

_AS_THEY_ARE = ("", "7bit", "8bit", "binary")
"""The transfer encodings that change no byte. https://www.rfc-editor.org/rfc/rfc2045#section-6.2"""


@dataclass(frozen=True)
class Part:
    """A field or a file of a form.

    name          the field's name
    filename      as it was sent, which may be a path or empty; None where the part is no file
    content_type  the media type that the part says it has, in small letters; `text/plain` where it says none
    blocks        its bytes, while they arrive. They are gone when the next part is asked for
    """

    name: str
    filename: str | None
    content_type: str
    blocks: Iterator[bytes]

    def text(self, max_bytes: int = FORM_BYTES) -> str:
        """All of it as text. Invalid, naming the field, where it is longer, not UTF-8, or holds NUL."""
        whole = bytearray()
        for block in self.blocks:
            whole += block
            if len(whole) > max_bytes:
                raise Invalid.field(self.name, f"is larger than {max_bytes} bytes")
        if b"\0" in whole:  # as of JSON: see `shared.exact.parse`
            raise Invalid.field(self.name, "holds a NUL character: remove it")
        try:
            return whole.decode()
        except UnicodeDecodeError as error:
            raise Invalid.field(self.name, f"is not UTF-8 at byte {error.start}") from error


def fields(request: flask.Request, max_bytes: int = FORM_BYTES) -> dict[str, str]:
    """The fields of a form by their names. Files are text, too. No body, or an empty one, is an empty form.

    Invalid where the body is no form, or a field comes twice; TooLarge where it is larger than `max_bytes`;
    TooSlow where it does not arrive.
    """
    found: dict[str, str] = {}
    for part in parts(request, max_bytes):
        if part.name in found:
            raise Invalid.field(part.name, "is in the form twice: send it once")
        found[part.name] = part.text(max_bytes)
    return found


def parts(request: flask.Request, max_bytes: int = REQUEST_BYTES) -> Iterator[Part]:
    """The parts of a form in the order in which they were sent, while they arrive. The fields of an
    urlencoded form, which can be FORM_BYTES large, are its parts. No body, or an empty one, has no parts.

    While parts and blocks are asked for: Invalid where the body is no form, is broken or ends too early;
    TooLarge where it is larger than `max_bytes`, by its declared length before any of it is read; TooSlow
    where it does not arrive.
    """
    is_multipart = request.mimetype == MULTIPART
    read = _reader(request, max_bytes if is_multipart else min(max_bytes, FORM_BYTES))
    first = read()
    if not first:
        return
    if is_multipart:
        boundary = request.mimetype_params.get("boundary", "")
        if not (0 < len(boundary) <= MAX_BOUNDARY and boundary.isascii()):
            _broken(f"has no boundary of 1 to {MAX_BOUNDARY} characters in its Content-Type")
        yield from _multipart(_Delimited(read, first, boundary.encode()))
    elif request.mimetype == URLENCODED:
        yield from _urlencoded(first + b"".join(iter(read, b"")))
    else:
        sent = f"got {shown(request.mimetype)}" if request.mimetype else "its Content-Type is missing"
        _broken(f"must be a form, {URLENCODED} or {MULTIPART}: {sent}")


def whole(request: flask.Request, max_bytes: int) -> bytes:
    """A body as it is; TooLarge where it is larger than `max_bytes`, and else as `Sent.read` raises."""
    return b"".join(iter(_reader(request, max_bytes), b""))


def _reader(request: flask.Request, max_bytes: int) -> Callable[[], bytes]:
    """What reads the next block of a body; an empty one is its end."""
    body = sent(request)
    seen = 0

    def read() -> bytes:
        nonlocal seen
        if (body.length or 0) > max_bytes:
            raise TooLarge(f"the request's body is larger than {max_bytes} bytes")
        block = body.read()
        seen += len(block)
        if seen > max_bytes:
            raise TooLarge(f"the request's body is larger than {max_bytes} bytes")
        return block

    return read


def _urlencoded(body: bytes) -> Iterator[Part]:
    try:
        text = body.decode()
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARTS)
    except UnicodeDecodeError as error:
        raise Invalid.field("body", "is not UTF-8") from error
    except ValueError:  # before any of them takes memory
        _broken(f"has more than {MAX_PARTS} fields")
    for name, value in pairs:
        yield Part(name, None, "text/plain", iter([value.encode()]))


def _multipart(body: "_Delimited") -> Iterator[Part]:
    body.skip()
    count = 0
    while body.has_another():
        count += 1
        if count > MAX_PARTS:
            _broken(f"has more than {MAX_PARTS} parts")
        yield _part(count, body.header(), body.blocks())
        body.skip()
    body.drop_rest()


def _part(number: int, header: str, blocks: Iterator[bytes]) -> Part:
    said = {}
    for line in _FOLDED.sub(" ", header).split("\r\n"):
        name, _, value = line.partition(":")
        said[name.strip().lower()] = value.strip()
    disposition, named = parse_options_header(said.get("content-disposition"))
    if disposition.lower() != "form-data" or not named.get("name"):
        _broken(f"has a part, the {number}., whose Content-Disposition is not form-data with a name")
    encoding = said.get("content-transfer-encoding", "").lower()
    if encoding not in _AS_THEY_ARE:
        raise Invalid.field(named["name"], f"is encoded as {encoding}: send its bytes as they are")
    content_type = said.get("content-type", "").partition(";")[0].strip().lower()
    return Part(named["name"], named.get("filename"), content_type or "text/plain", blocks)


class _Delimited:
    """A multipart body while it is read: what stands between its boundaries. At most a block, a header and a
    boundary of it are in memory."""

    def __init__(self, read: Callable[[], bytes], first: bytes, boundary: bytes) -> None:
        self._read = read
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n" + first)  # the first boundary may have no line before it
        self._inside = True

    def blocks(self) -> Iterator[bytes]:
        """What comes before the next boundary, without that boundary."""
        may_be_of_it = len(self._delimiter) - 1
        while (at := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > may_be_of_it:
                yield self._taken(len(self._buffer) - may_be_of_it)
            self._more()
        block = self._taken(at)
        del self._buffer[: len(self._delimiter)]
        self._inside = False
        if block:
            yield block

    def skip(self) -> None:
        """Drop what is left before the next boundary."""
        if self._inside:
            for _ in self.blocks():
                pass

    def has_another(self) -> bool:
        """Whether a part follows the boundary that was read last."""
        while len(self._buffer) < 2:
            self._more()
        if self._buffer.startswith(b"--"):
            return False
        if self._before(b"\r\n", MAX_PADDING).strip(b" \t"):
            _broken("has a boundary with something behind it")
        return True

    def drop_rest(self) -> None:
        """Drop what follows the last boundary; it counts for how large the body is."""
        while self._read():
            pass

    def header(self) -> str:
        """The header of the part that follows."""
        header = self._before(b"\r\n\r\n", MAX_HEADER_BYTES)
        del self._buffer[:4]
        self._inside = True
        return header.decode(errors="replace")

    def _before(self, end: bytes, max_bytes: int) -> bytes:
        while (at := self._buffer.find(end, 0, max_bytes + len(end))) < 0:
            if len(self._buffer) >= max_bytes + len(end):
                _broken(f"has a part with a header of more than {MAX_HEADER_BYTES} bytes")
            self._more()
        return self._taken(at)

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _more(self) -> None:
        block = self._read()
        if not block:
            _broken("ends before its last boundary: send it again")
        self._buffer += block


def _broken(why: str) -> NoReturn:
    raise Invalid.field("body", why)
