"""json.gz, json-array.gz, csv.gz: another format, compressed.

Every prefix, separator, piece and suffix is a gzip member of its own. Members one after the other are a gzip
file, of all that is in them: so pieces that are compressed can be joined without another look at them.
https://www.rfc-editor.org/rfc/rfc1952#section-2.2
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.formats.base import Column, Format, Records, Style

_GZIP = 16 + zlib.MAX_WBITS
# Has zlib write a gzip member. Its header has no time in it, so the same content gives the same bytes.
# https://docs.python.org/3/library/zlib.html#zlib.compressobj

MAX_PENDING_BYTES = 64 * 1024
"""How many bytes may still come of what zlib has taken in. It writes a block when it has 16,383 symbols, of
which the largest is 31 bits in the code that it falls back to (a match: 8 bits and 5 for the length, 5 and 13
for the distance): 63,485 bytes. Then there are up to 262 bytes of input that it has not looked at, and a
block's and the member's end: the rest covers them. https://www.rfc-editor.org/rfc/rfc1951#section-3.2.6"""

_MEMBER_BYTES = 64
_GROWTH = 2048
# A member is never larger than its content by more than a header, a trailer, and 5 bytes in each block that
# does not compress. https://www.zlib.net/zlib_tech.html ("Maximum Expansion Factor")


@dataclass(frozen=True)
class Gzipped:
    """A format whose pieces can be joined, compressed; see `base.Format`."""

    inner: Format
    content_type: str = "application/gzip"
    joinable: bool = True

    @property
    def name(self) -> str:
        """As `csv.gz`."""
        return f"{self.inner.name}.gz"

    @property
    def description(self) -> str:
        """The inner format's, and that it is compressed."""
        return f"{self.inner.description.removesuffix('.')}, compressed with gzip."

    @property
    def extension(self) -> str:
        """As `jsonl.gz`."""
        return f"{self.inner.extension}.gz"

    @property
    def max_rows(self) -> int | None:
        """The inner format's."""
        return self.inner.max_rows

    @property
    def has_date_format(self) -> bool:
        """The inner format's."""
        return self.inner.has_date_format

    @property
    def has_bom(self) -> bool:
        """The inner format's."""
        return self.inner.has_bom

    def prefix(self, columns: Sequence[Column], style: Style) -> bytes:
        """The inner format's, as a member; empty where that is."""
        return _member(self.inner.prefix(columns, style))

    @property
    def separator(self) -> bytes:
        """The inner format's, as a member; empty where that is."""
        return _member(self.inner.separator)

    @property
    def suffix(self) -> bytes:
        """The inner format's, as a member; empty where that is."""
        return _member(self.inner.suffix)

    def records(self, columns: Sequence[Column], style: Style, put: Callable[[bytes], None]) -> "_Member":
        """Begin a piece, which is one member."""
        return _Member(lambda into: self.inner.records(columns, style, into), put)


class _Member:
    def __init__(
        self, begin: Callable[[Callable[[bytes], None]], Records], put: Callable[[bytes], None]
    ) -> None:
        self._inner = begin(self._compress)
        self._put = put
        self._zlib = zlib.compressobj(wbits=_GZIP)
        self._taken = 0
        self._given = 0
        self._closed = False

    @property
    def size(self) -> int:
        """What came out and what zlib may hold, or what all of it would be uncompressed: both are true."""
        if self._closed or not self._taken:
            return self._given
        return min(self._given + MAX_PENDING_BYTES, self._taken + self._taken // _GROWTH + _MEMBER_BYTES)

    def size_with(self, lines: bytes) -> int:
        more = self._inner.size_with(lines) - self._inner.size
        return self.size + more + more // _GROWTH + _MEMBER_BYTES

    def write(self, lines: bytes) -> None:
        self._inner.write(lines)

    def close(self) -> None:
        self._inner.close()
        if self._taken:
            self._give(self._zlib.flush())
        self._closed = True

    def _compress(self, content: bytes) -> None:
        self._taken += len(content)
        self._give(self._zlib.compress(content))

    def _give(self, content: bytes) -> None:
        if content:
            self._put(content)
            self._given += len(content)


def _member(content: bytes) -> bytes:
    if not content:
        return b""
    member = zlib.compressobj(wbits=_GZIP)
    return member.compress(content) + member.flush()
