"""A zip archive read by ranges, trusting nothing in it.

Two halves, and nothing here keeps state between them:

    directory(read, size, limits)   every file that the archive lists, as lines, in the order of its bytes
    unpack(entry, bytes)            one file's content, checked against what the directory says of it

The directory is what counts; what a file's own header says otherwise is a problem of that file. The form is
that of APPNOTE.TXT 6.3.10, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT; sections are named
below. `zipfile` is not used: it wants a file to seek in, holds the whole directory in memory as objects, and
believes what it reads.

An entry on its way is a line: bytes that begin with the entry's place in the archive, so that sorting lines
sorts by place, a million take little memory, and a slice of a plan is a range of bytes.
"""

import struct
import unicodedata
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from shared.batches import code_pages
from shared.batches.problems import MAX_NAME_SHOWN, BadArchive, BadFile

Read = Callable[[int, int], bytes]
"""The archive's bytes from a start to an end, as `bytes[start:end]`."""

STORED = 0
"""Not compressed (4.4.5)."""

DEFLATED = 8
"""Compressed as RFC 1951 says (4.4.5)."""

BLOCK = 1 << 20
"""How many bytes of the directory are read at a time; and of the archive's end at first, where the whole
directory is unless there are about 10,000 files."""

MAX_RATIO = 200
"""How many times its packed size a file may have unpacked. Deflate reaches 1,032 at best; photographs stay
below 2, and JSON below 50."""

RATIO_FREE = 1 << 20
"""Bytes up to which a file may be as compressed as it likes: a small one harms nobody."""

NAME_LONGEST = 1024
"""The most bytes of a name, and characters of a path: a slice of a plan is held in memory, and Cloud Storage
allows an object's name no more. https://cloud.google.com/storage/docs/objects#naming"""

HERE = "./"
"""The path of an entry for the archive's own folder, which says nothing."""

_END = struct.Struct("<4s4H2IH")
_END_SIGNATURE = b"PK\x05\x06"
# The end of central directory record (4.3.16): disk, disk of the directory, files here, files, size, offset,
# length of the comment.

_COMMENT_LONGEST = 0xFFFF

_LOCATOR = struct.Struct("<4sIQI")
_LOCATOR_SIGNATURE = b"PK\x06\x07"
# Where the zip64 end record is (4.3.15): disk, offset, number of disks.

_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_SIGNATURE = b"PK\x06\x06"
# The zip64 end record (4.3.14): its size without the first 12 bytes, made by, needed, disk, disk of the
# directory, files here, files, size, offset.

_ENCRYPTED_DIRECTORY_VERSION = 62
# Version 6.2 is needed to read an encrypted directory (4.4.3.2), and only then has the zip64 end record more
# fields.

_RECORD = struct.Struct("<4s4xHH4x3I4H2x2I")
_RECORD_SIGNATURE = b"PK\x01\x02"
# A file in the directory (4.3.12): flags, method, crc-32, packed size, size, lengths of name, extra field and
# comment, disk, external attributes, offset.

_RECORD_LONGEST = _RECORD.size + 3 * 0xFFFF

_LOCAL = struct.Struct("<4s2xHH16xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
# The header before a file's bytes (4.3.7): flags, method, lengths of name and extra field.

_SPLIT_SIGNATURES = (b"PK\x07\x08", b"PK00")
# How the first part of a split archive begins (8.5.4, 8.5.5).

_EXTRA_DATA_SIGNATURE = b"PK\x06\x08"
# What stands before an encrypted directory (4.3.11).

_FLAG_ENCRYPTED = 1
_FLAG_PATCH = 1 << 5
_FLAG_STRONG = 1 << 6
_FLAG_UTF8 = 1 << 11
_FLAG_MASKED = 1 << 13
# General purpose bits (4.4.4); 13 says that the directory is encrypted.

_EXTRA_ZIP64 = 0x0001
_EXTRA_UNICODE_PATH = 0x7075
# Extra fields: 4.5.3 and 4.6.9.

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
# What a field holds whose value is in the zip64 record or extra field (4.4.1.4).

_WITHOUT_ZIP64 = (
    "It was made by a program that cannot make archives this large, such as “Compress” on a Mac: "
    "split the work orders over several archives, of less than 4 GB and 65,535 files each."
)
# Such programs write what is left of a number in the old field, and no zip64 record.
# https://github.com/thejoshwolfe/yauzl/issues/69

_TYPE_MASK, _TYPE_SYMLINK = 0o170000, 0o120000
# The type of a file in its Unix mode, which is the upper half of the external attributes.

_PACKED_SPARE = 1024
# What packing may add to a file beside an eighth of it; deflate's worst common case is far below.

_LINE = struct.Struct(">4QIH?BHI")
# offset, limit, packed size, size, crc-32, method, wrapped, lengths of problem, name and path.


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: how many files and folders, how many bytes unpacked, how long a list of them.

    Memory follows `directory_bytes` and `files`: about 100 bytes a file and its name.
    """

    files: int
    unpacked_bytes: int
    directory_bytes: int = 256 << 20


@dataclass(frozen=True)
class Names:
    """How to read names of which the archive says nothing: UTF-8, and where any of them is not, all of them
    in `code_page`; where it is `certain`, all of them in any case."""

    code_page: str = ""
    certain: bool = False


UNNAMED = Names()
"""No code page is named."""


class Entry(NamedTuple):
    """A file of the archive as the directory has it. A tuple, since there are a million of them.

    path     its whole name as `_normal` writes it; a folder's ends in a slash. It has a backslash only where
             its bytes cannot be read, and then shows them as `\\x82`
    name     the name's bytes as they stand in the archive
    offset   where its header begins
    limit    where its bytes must have ended: the next file's offset, or the directory's
    packed   how many bytes it has in the archive, without header
    size     how many it has unpacked
    crc32    of what is unpacked
    method   STORED or DEFLATED; any other has a problem
    problem  a code, or empty; an entry with a problem is not to be unpacked
    wrapped  whether the first folder of its path wraps everything and is looked through
    """

    path: str
    name: bytes
    offset: int
    limit: int
    packed: int
    size: int
    crc32: int
    method: int
    problem: str = ""
    wrapped: bool = False

    @property
    def work_order(self) -> str:
        """The folder that it lies in, which is its work order's name."""
        return self.path.split("/", 2)[self.wrapped]

    @property
    def file(self) -> str:
        """Its path inside the work order's folder."""
        return self.path.split("/", 1 + self.wrapped)[-1]


def encode(entry: Entry) -> bytes:
    """The entry's line."""
    path = b"" if _guessed(entry.name) == entry.path else entry.path.encode()
    problem = entry.problem.encode()
    head = _LINE.pack(
        entry.offset,
        entry.limit,
        entry.packed,
        entry.size,
        entry.crc32,
        entry.method,
        entry.wrapped,
        len(problem),
        len(entry.name),
        len(path),
    )
    return b"".join((head, problem, entry.name, path))


def decode(lines: bytes) -> Iterator[Entry]:
    """The entries of some whole lines; ValueError where they are not."""
    at = 0
    while at < len(lines):
        entry, at = _decode(lines, at)
        yield entry


def decode_one(line: bytes) -> Entry:
    """The entry of one line."""
    return _decode(line, 0)[0]


def _decode(lines: bytes, at: int) -> tuple[Entry, int]:
    try:
        head = _LINE.unpack_from(lines, at)
    except struct.error as broken:
        raise ValueError(f"no whole line at byte {at} of {len(lines)}") from broken
    offset, limit, packed, size, crc32, method, wrapped, problems, names, paths = head
    name_at = at + _LINE.size + problems
    path_at = name_at + names
    end = path_at + paths
    if end > len(lines):
        raise ValueError(f"no whole line at byte {at} of {len(lines)}")
    name = lines[name_at:path_at]
    problem = lines[at + _LINE.size : name_at].decode() if problems else ""
    path = lines[path_at:end].decode() if paths else _guessed(name)
    return Entry(path, name, offset, limit, packed, size, crc32, method, problem, wrapped), end


# The directory.


class _Directory(NamedTuple):
    start: int
    end: int
    files: int


def directory(read: Read, size: int, limits: Limits, names: Names = UNNAMED) -> Iterator[bytes]:
    """The line of every file and folder of an archive of `size` bytes, in the order of their offsets.

    BadArchive is raised before the first line, or never: where the archive is not a zip, incomplete or
    damaged, split, encrypted, or beyond the limits. What is wrong with one file alone is its `problem`.
    """
    if size == 0:
        raise BadArchive("ARCHIVE_EMPTY")
    read = _end_read(read, size)
    found = _find_directory(read, size)
    if found.files == 0:
        raise BadArchive("ARCHIVE_EMPTY")
    if found.files > limits.files:
        raise BadArchive("ARCHIVE_TOO_MANY_FILES", f"It lists {found.files:,}; {limits.files:,} are allowed.")
    if found.end - found.start > limits.directory_bytes:
        raise BadArchive("ARCHIVE_TOO_MANY_FILES", "The list of their names is too long.")
    lines: list[bytes] = []
    unpacked = 0
    utf8, all_utf8 = array("I"), True
    for entry, said in _listed(read, found, names):
        if len(lines) == limits.files:
            raise BadArchive("ARCHIVE_TOO_MANY_FILES", f"It lists more than the {limits.files:,} allowed.")
        if not said and _is_utf8(entry.name):
            utf8.append(len(lines))
        elif not said:
            all_utf8 = False
        lines.append(encode(entry))
        if not entry.problem:
            unpacked += entry.size
    for at in () if all_utf8 else utf8:
        # By chance: one program writes all names alike. Two letters of Chinese can be UTF-8 of two others.
        entry = decode_one(lines[at])
        lines[at] = encode(entry._replace(path=_in_code_page(entry.name, names.code_page)))
    if len(lines) != found.files:
        rest = (len(lines) - found.files) % (_FULL16 + 1) == 0
        counts = f"It claims to hold {found.files:,} files, but lists {len(lines):,}."
        raise _damaged(_WITHOUT_ZIP64 if rest else counts)
    if unpacked > limits.unpacked_bytes:
        raise BadArchive(
            "ARCHIVE_TOO_LARGE", f"They have {unpacked:,} bytes; {limits.unpacked_bytes:,} are allowed."
        )
    return _limited(lines, found.start)


def _damaged(detail: str) -> BadArchive:
    return BadArchive("ARCHIVE_DAMAGED", detail)


def _truncated(detail: str) -> BadArchive:
    return BadArchive("ARCHIVE_TRUNCATED", detail)


def _read(read: Read, start: int, end: int) -> bytes:
    """Those bytes, all of them."""
    found = read(start, end)
    if len(found) != end - start:
        raise _truncated(f"Of the bytes {start:,} to {end:,} only {len(found):,} are there.")
    return found


def _end_read(read: Read, size: int) -> Read:
    """As `read`, but that the last BLOCK bytes of the archive are read now, and kept."""
    start = max(0, size - BLOCK)
    end = _read(read, start, size)

    def kept(begin: int, stop: int) -> bytes:
        return end[begin - start : stop - start] if begin >= start else read(begin, stop)

    return kept


def _find_directory(read: Read, size: int) -> _Directory:
    """Where the directory is, by the records at the archive's end, once they agree with each other."""
    head = _read(read, 0, min(4, size))
    tail_start = max(0, size - _END.size - _COMMENT_LONGEST - _LOCATOR.size)
    tail = _read(read, tail_start, size)
    at = _find_end(tail)
    if at is None:
        if head in _SPLIT_SIGNATURES:
            raise BadArchive("ARCHIVE_SPLIT")
        if not head or not _LOCAL_SIGNATURE.startswith(head):
            raise BadArchive("ARCHIVE_NOT_A_ZIP")
        if tail.rfind(_END_SIGNATURE) >= 0:
            raise _damaged("Its last record does not end where the archive ends.")
        raise _truncated("Its last record is missing.")
    _, disk, first_disk, here, files, length, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    locator_at = at - _LOCATOR.size
    if locator_at >= 0 and tail.startswith(_LOCATOR_SIGNATURE, locator_at):
        zip64 = _zip64_directory(read, tail, locator_at, tail_start + locator_at)
        if (
            files not in (_FULL16, zip64.directory.files)
            or length not in (_FULL32, zip64.directory.end - zip64.directory.start)
            or start not in (_FULL32, zip64.directory.start)
        ):
            raise _damaged("Its last two records contradict each other.")
        found, end = zip64
    elif disk or first_disk:
        raise BadArchive("ARCHIVE_SPLIT")
    elif here != files:
        raise _damaged("Its last record contradicts itself.")
    else:
        found = _Directory(start, start + length, files)
    if found.end > end:
        raise _truncated(f"{found.end - end:,} bytes are missing before its list of files.")
    if found.end < end:
        more = end - found.end
        whole = more % (_FULL32 + 1) == 0
        raise _damaged(_WITHOUT_ZIP64 if whole else f"It holds {more:,} bytes that belong to no file.")
    if found.files == 0 and found.end > found.start:
        raise _damaged("It claims to hold no files, but lists some.")
    if found.files and head != _LOCAL_SIGNATURE:
        raise _damaged("There are other bytes before its first file.")
    return found


def _find_end(tail: bytes) -> int | None:
    """The last end record whose comment ends where the archive does."""
    at = tail.rfind(_END_SIGNATURE)
    while at >= 0:
        if at + _END.size <= len(tail):
            comment = _END.unpack_from(tail, at)[-1]
            if at + _END.size + comment == len(tail):
                return at
        at = tail.rfind(_END_SIGNATURE, 0, at + len(_END_SIGNATURE) - 1)
    return None


class _Zip64(NamedTuple):
    directory: _Directory
    at: int


def _zip64_directory(read: Read, tail: bytes, at: int, position: int) -> _Zip64:
    """What the zip64 end record says, and where it stands: right before its locator at `position`."""
    _, disk, offset, disks = _LOCATOR.unpack_from(tail, at)
    if disk or disks > 1:
        raise BadArchive("ARCHIVE_SPLIT")
    if offset + _END64.size > position:
        raise _truncated("Its last records point beyond its end.")
    record = _END64.unpack(_read(read, offset, offset + _END64.size))
    signature, length, _, needed, disk, first_disk, here, files, directory_length, start = record
    if signature != _END64_SIGNATURE or offset + 12 + length != position:
        raise _damaged("Its last records do not follow each other.")
    if needed & 0xFF >= _ENCRYPTED_DIRECTORY_VERSION and length > _END64.size - 12:
        raise BadArchive("ARCHIVE_ENCRYPTED")
    if disk or first_disk:
        raise BadArchive("ARCHIVE_SPLIT")
    if here != files:
        raise _damaged("Its last records contradict each other.")
    return _Zip64(_Directory(start, start + directory_length, files), offset)


def _listed(read: Read, found: _Directory, names: Names) -> Iterator[tuple[Entry, bool]]:
    """The entries of the directory in its own order, limits not yet known, each with whether it is certain
    how its name reads."""
    buffer, at, position = b"", 0, found.start
    while True:
        if len(buffer) - at < _RECORD_LONGEST and position < found.end:
            stop = min(position + BLOCK, found.end)
            buffer, at, position = buffer[at:] + _read(read, position, stop), 0, stop
        if at == len(buffer):
            return
        if len(buffer) - at < _RECORD.size:
            raise _damaged("Its list of files breaks off.")
        (
            signature,
            flags,
            method,
            crc32,
            packed,
            size,
            name_length,
            extras,
            comments,
            disk,
            attributes,
            offset,
        ) = _RECORD.unpack_from(buffer, at)
        if signature != _RECORD_SIGNATURE:
            if signature == _EXTRA_DATA_SIGNATURE:
                raise BadArchive("ARCHIVE_ENCRYPTED")
            raise _damaged("Its list of files holds bytes that describe no file.")
        if flags & _FLAG_MASKED:
            raise BadArchive("ARCHIVE_ENCRYPTED")
        name_at = at + _RECORD.size
        extra_at = name_at + name_length
        at = extra_at + extras + comments
        if at > len(buffer):
            raise _damaged("Its list of files breaks off.")
        name = buffer[name_at:extra_at]
        extra = _extra_fields(buffer[extra_at : extra_at + extras]) if extras else {}
        problem = ""
        if _FULL32 in (packed, size, offset) or disk == _FULL16:
            try:
                size, packed, offset, disk = _zip64_values(extra, size, packed, offset, disk)
            except struct.error:
                problem = "DAMAGED"
        if disk:
            raise BadArchive("ARCHIVE_SPLIT")
        path, said = _path(name, flags, extra, names)
        if path is None:
            path = _shown(name[:MAX_NAME_SHOWN], "utf-8")
            problem = "UNREADABLE_NAME"
        problem = problem or _problem(flags, method, packed, size, attributes)
        yield Entry(path, name, offset, 0, packed, size, crc32, method, problem), said


def _extra_fields(extra: bytes) -> dict[int, bytes]:
    """The first field of each kind (4.5.1); what does not fit is left out, as every reader does."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if at + length <= len(extra):
            fields.setdefault(kind, extra[at : at + length])
        at += length
    return fields


def _zip64_values(
    extra: dict[int, bytes], size: int, packed: int, offset: int, disk: int
) -> tuple[int, int, int, int]:
    """The four values; those that are full stand in the zip64 field, in this order, and no others do.

    Without such a field they are what they are. struct.error where the field is too short.
    """
    field = extra.get(_EXTRA_ZIP64)
    if field is None:
        return size, packed, offset, disk
    at = 0
    values = [size, packed, offset]
    for place, value in enumerate(values):
        if value == _FULL32:
            (values[place],) = struct.unpack_from("<Q", field, at)
            at += 8
    if disk == _FULL16:
        (disk,) = struct.unpack_from("<I", field, at)
    return values[0], values[1], values[2], disk


def _path(name: bytes, flags: int, extra: dict[int, bytes], names: Names) -> tuple[str | None, bool]:
    """A name as text, None where it is said to be UTF-8 and is not, or is empty or too long; and whether the
    archive or `names` says for certain how it reads."""
    said = name if flags & _FLAG_UTF8 or name.isascii() else None
    field = extra.get(_EXTRA_UNICODE_PATH)
    if not flags & _FLAG_UTF8 and field and field[:5] == b"\x01" + struct.pack("<I", zlib.crc32(name)):
        said = field[5:]
    if said is not None:
        try:
            path = _normal(said.decode())
        except UnicodeDecodeError:
            return None, True
    elif names.certain or not _is_utf8(name):
        path = _in_code_page(name, names.code_page)
    else:
        path = _guessed(name)
    fits = len(name) <= NAME_LONGEST and 0 < len(path) <= NAME_LONGEST
    return path if fits else None, said is not None or names.certain


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _guessed(name: bytes) -> str:
    """A name of which nothing is said, as UTF-8, which macOS writes and does not say. Appendix D says code
    page 437, but Windows writes that of its language."""
    return _normal(name.decode()) if _is_utf8(name) else _shown(name, "ascii")


def _in_code_page(name: bytes, code_page: str) -> str:
    """A name in that code page; its bytes shown where there is none, or it has no such bytes."""
    try:
        return _normal(name.decode(code_page)) if code_page else _shown(name, "ascii")
    except UnicodeDecodeError:
        return _shown(name, "ascii")


def _shown(name: bytes, encoding: str) -> str:
    """A name that cannot be read, with those of its bytes that cannot."""
    # Info-ZIP's rule. Beside slashes, a backslash can be half of a letter.
    separated = name if b"/" in name else name.replace(b"\\", b"/")
    return _steps(separated.decode(encoding, "backslashreplace"))


def readings(entry: Entry) -> dict[str, str]:
    """How the path of an entry would read in each of some frequent code pages, where it can be read so."""
    found = {}
    for page in code_pages.LIKELY:
        path = _in_code_page(entry.name, page)
        if "\\" not in path:
            found[page] = path
    return found


def _normal(text: str) -> str:
    """One form for what is the same: macOS takes letters and their accents apart, Windows' older programs
    write backslashes for slashes, and `tar` begins each name with `./`.

    Steps that lead nowhere are left out, as every unzip does; `./` stands for the archive's own folder.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return _steps(text.replace("\\", "/") if "\\" in text else text)


def _steps(text: str) -> str:
    """A path without the steps that lead nowhere."""
    if not ("//" in text or "/." in text or text.startswith(".")):
        return text
    root = "/" if text.startswith("/") else ""
    steps = text.split("/")
    slash = "/" if steps[-1] in ("", ".") else ""
    steps = [step for step in steps if step not in ("", ".")]
    return f"{root}{'/'.join(steps)}{slash}" if root or steps else HERE


def _problem(flags: int, method: int, packed: int, size: int, attributes: int) -> str:
    """What is wrong with a file, by the directory alone."""
    if flags & (_FLAG_ENCRYPTED | _FLAG_STRONG):
        return "ENCRYPTED"
    if (attributes >> 16) & _TYPE_MASK == _TYPE_SYMLINK:
        return "SYMLINK"
    if method not in (STORED, DEFLATED) or flags & _FLAG_PATCH:
        return "UNKNOWN_COMPRESSION"
    if packed != size if method == STORED else packed > size + size // 8 + _PACKED_SPARE:
        return "SIZE_DIFFERS"
    if size > RATIO_FREE and size > packed * MAX_RATIO:
        return "TOO_COMPRESSED"
    return ""


def _limited(lines: list[bytes], directory_start: int) -> Iterator[bytes]:
    """The lines by offset, each with its limit; those that share bytes with another are OVERLAPPING.

    The list is emptied on the way, so that whoever collects the lines does not double them.
    """
    lines.sort(reverse=True)
    furthest = 0
    while lines:
        line = lines.pop()
        offset, _, packed, _, _, _, _, problems, names, _ = _LINE.unpack_from(line)
        limit = directory_start
        if lines:
            limit = min(limit, int.from_bytes(lines[-1][:8], "big"))
        end = offset + _LOCAL.size + names + packed
        if end > limit or offset < furthest:
            entry = decode_one(line)
            yield encode(entry._replace(limit=limit, problem=entry.problem or "OVERLAPPING"))
        else:
            yield b"".join((line[:8], limit.to_bytes(8, "big"), line[16:]))
        if not problems:  # else it is not read, and where it says that it ends costs nobody else
            furthest = max(furthest, end)


# One file.


def region(entry: Entry) -> tuple[int, int]:
    """From where to where the archive is to be read to unpack the entry."""
    longest = entry.offset + _LOCAL.size + len(entry.name) + 0xFFFF + entry.packed
    return entry.offset, max(entry.offset, min(longest, entry.limit))


def unpack(entry: Entry, content: bytes | memoryview) -> bytes:
    """The file's content, given the bytes of its region.

    BadFile where they are not what the directory says; nothing is returned whose size and checksum are not.
    """
    view = memoryview(content)
    if len(view) < _LOCAL.size:
        raise BadFile("DAMAGED", "It breaks off.")
    signature, flags, method, names, extras = _LOCAL.unpack_from(view)
    start = _LOCAL.size + names + extras
    end = start + entry.packed
    if signature != _LOCAL_SIGNATURE:
        raise BadFile("DAMAGED", "It does not begin at the place that the archive gives for it.")
    if flags & (_FLAG_ENCRYPTED | _FLAG_STRONG):
        raise BadFile("ENCRYPTED")
    if method != entry.method or view[_LOCAL.size : _LOCAL.size + names] != entry.name:
        raise BadFile("DAMAGED", "The archive's list of files contradicts the file's own header.")
    if entry.offset + end > entry.limit:
        raise BadFile("OVERLAPPING")
    if end > len(view):
        raise BadFile("DAMAGED", "It breaks off.")
    packed = view[start:end]
    data: bytes | memoryview = packed if entry.method == STORED else _inflate(packed, entry.size)
    if len(data) != entry.size:
        raise BadFile("SIZE_DIFFERS", f"It has {len(data):,} bytes, and should have {entry.size:,}.")
    if zlib.crc32(data) != entry.crc32:
        raise BadFile("CHECKSUM_DIFFERS")
    return bytes(data)


def _inflate(packed: memoryview, size: int) -> bytes:
    """Deflated bytes unpacked, of which there should be `size`, and never more than one beyond that."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, size + 1)
    except zlib.error as broken:
        raise BadFile("DAMAGED", "Its compressed bytes cannot be read.") from broken
    if len(data) > size:
        raise BadFile("SIZE_DIFFERS", f"It should have {size:,} bytes, and has more.")
    if not inflater.eof:
        raise BadFile("DAMAGED", "Its compressed bytes break off.")
    if inflater.unused_data:
        raise BadFile("DAMAGED", "There are other bytes behind its compressed bytes.")
    return data
