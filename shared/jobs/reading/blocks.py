"""The text of an object in UTF-8, block by block, whatever its encoding."""

from shared.jobs.reading.base import BLOCK_BYTES, Encoding, Read

_CONTINUATION = bytes(range(0x80, 0xC0))
_FOUR_BYTES = bytes(range(0xF0, 0xF8))
_NOT_FOUR_BYTES = bytes(set(range(256)) - set(_FOUR_BYTES))

_HALF = b"\xff"
# Stands for the last byte of a file in UTF-16 that has an odd number of them. UTF-8 has no such byte.


class Blocks:
    """Reads on from an offset. What is not UTF-16 becomes bytes that are not UTF-8."""

    def __init__(self, read: Read, size: int, encoding: Encoding, offset: int) -> None:
        self._read = read
        self._size = size
        self.encoding = encoding
        self._offset = offset
        self._kept = b""

    @property
    def ended(self) -> bool:
        """Nothing is left to read."""
        return self._offset >= self._size

    def next(self) -> bytes:
        """The next block. It is empty only at the end."""
        end = min(self._size, self._offset + BLOCK_BYTES)
        content = self._read(self._offset, end)
        if len(content) != end - self._offset:
            raise EOFError(f"{len(content)} bytes came of {end - self._offset} at {self._offset}")
        self._offset = end
        return content if self.encoding == "utf-8" else self._transcoded(content)

    def _transcoded(self, content: bytes) -> bytes:
        content = self._kept + content
        whole = len(content) // 2 * 2
        little = self.encoding == "utf-16-le"
        if whole and not self.ended and content[whole - 1 if little else whole - 2] & 0xFC == 0xD8:
            whole -= 2  # the first half of a character
        self._kept = content[whole:]
        text = content[:whole].decode(self.encoding, "surrogatepass").encode("utf-8", "surrogatepass")
        return text + _HALF if self.ended and self._kept else text

    def width(self, text: bytes) -> int:
        """How many bytes of the object this text takes."""
        if self.encoding == "utf-8":
            return len(text)
        characters = len(text.translate(None, _CONTINUATION))
        size = 2 * (characters + len(text.translate(None, _NOT_FOUR_BYTES)))
        return size - text.endswith(_HALF)


def lines_in(text: bytes) -> int:
    """How many line ends there are: LF, CRLF or CR."""
    lines = text.count(b"\n")
    if b"\r" in text:
        lines += text.count(b"\r") - text.count(b"\r\n")
    return lines
