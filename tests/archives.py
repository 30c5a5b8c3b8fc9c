"""Zip archives made byte by byte, in which every field can lie; and what ours reads of them."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.batches import archive, folders
from shared.batches.archive import UNNAMED, Limits, Names
from shared.batches.problems import BadFile

STORED, DEFLATED = 0, 8
UTF8 = 1 << 11
DESCRIPTOR = 1 << 3
ENCRYPTED = 1
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF

LOCAL = "<4s5H3I2H"
LOCAL_FIELDS = [
    "signature",
    "needed",
    "flags",
    "method",
    "time",
    "date",
    "crc",
    "packed",
    "size",
    "names",
    "extras",
]
RECORD = "<4s6H3I5H2I"
RECORD_FIELDS = [
    "signature",
    "made",
    "needed",
    "flags",
    "method",
    "time",
    "date",
    "crc",
    "packed",
    "size",
    "names",
    "extras",
    "comments",
    "disk",
    "internal",
    "attributes",
    "offset",
]
END = "<4s4H2IH"
END_FIELDS = ["signature", "disk", "first_disk", "here", "files", "length", "start", "comments"]
END64 = "<4sQ2H2I4Q"
END64_FIELDS = [
    "signature",
    "record",
    "made",
    "needed",
    "disk",
    "first_disk",
    "here",
    "files",
    "length",
    "start",
]
LOCATOR = "<4sIQI"
LOCATOR_FIELDS = ["signature", "disk", "end64", "disks"]

Lies = Mapping[str, int | bytes]

GENEROUS = Limits(files=100_000, unpacked_bytes=1 << 30)


@dataclass(frozen=True)
class File:
    """One file and what the archive says of it. A name as bytes is written without saying that it is UTF-8.

    packed  its bytes as they stand, where they are not what `content` packs to
    local_name  its name in its own header, where it is another
    local   fields of its own header that are not so
    listed  fields of the directory that are not so
    """

    name: str | bytes
    content: bytes = b""
    method: int = DEFLATED
    flags: int = 0
    mode: int = 0o100644
    descriptor: bool = False
    zip64: bool = False
    packed: bytes | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    comment: bytes = b""
    local_name: bytes | None = None
    local: Lies = field(default_factory=dict)
    listed: Lies = field(default_factory=dict)


@dataclass(frozen=True)
class Tail:
    """How an archive ends. `gap` stands between the last file and the directory; the others are lies."""

    comment: bytes = b""
    zip64: bool = False
    gap: bytes = b""
    end: Lies = field(default_factory=dict)
    end64: Lies = field(default_factory=dict)
    end64_more: bytes = b""
    locator: Lies = field(default_factory=dict)


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def extra_field(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def unicode_path(name: bytes, path: str, crc: int | None = None) -> bytes:
    """Info-ZIP's field 0x7075."""
    checked = zlib.crc32(name) if crc is None else crc
    return extra_field(0x7075, struct.pack("<BI", 1, checked) + path.encode())


def zipped(files: Sequence[File], tail: Tail = Tail()) -> bytes:
    """The archive of those files, in their order."""
    out = bytearray()
    records = bytearray()
    for file in files:
        records += _put(out, file)
    out += tail.gap
    start = len(out)
    out += records
    counted = {"here": len(files), "files": len(files), "length": len(records), "start": start}
    if tail.zip64:
        end64 = len(out)
        said = {"made": 45, "needed": 45, "disk": 0, "first_disk": 0, **counted}
        said["record"] = struct.calcsize(END64) - 12 + len(tail.end64_more)
        out += _packed(END64, END64_FIELDS, b"PK\x06\x06", said, tail.end64) + tail.end64_more
        said = {"disk": 0, "end64": end64, "disks": 1}
        out += _packed(LOCATOR, LOCATOR_FIELDS, b"PK\x06\x07", said, tail.locator)
        counted = {"here": FULL16, "files": FULL16, "length": FULL32, "start": FULL32}
    else:
        counted |= {"here": len(files) & FULL16, "files": len(files) & FULL16}  # as careless writers do
    said = {"disk": 0, "first_disk": 0, **counted, "comments": len(tail.comment)}
    out += _packed(END, END_FIELDS, b"PK\x05\x06", said, tail.end) + tail.comment
    return bytes(out)


def _packed(form: str, fields: Sequence[str], signature: bytes, said: Lies, lies: Lies) -> bytes:
    assert set(lies) <= set(fields), f"no such field: {set(lies) - set(fields)}"
    values = {"signature": signature, **said, **lies}
    return struct.pack(form, *(values[name] for name in fields))


def _put(out: bytearray, file: File) -> bytes:
    """Append the file, and return its record in the directory."""
    name = file.name.encode() if isinstance(file.name, str) else file.name
    flags = file.flags | (0 if isinstance(file.name, bytes) or file.name.isascii() else UTF8)
    flags |= DESCRIPTOR if file.descriptor else 0
    packed = file.packed
    if packed is None:
        packed = deflated(file.content) if file.method == DEFLATED else file.content
    crc = zlib.crc32(file.content)
    sizes = {"crc": crc, "packed": len(packed), "size": len(file.content)}
    head = {"needed": 20, "flags": flags, "method": file.method, "time": 0, "date": 33, "names": len(name)}
    offset = len(out)
    hidden = {"crc": 0, "packed": 0, "size": 0} if file.descriptor else {}
    local = {**head, **sizes, **hidden, "extras": len(file.local_extra)}
    out += _packed(LOCAL, LOCAL_FIELDS, b"PK\x03\x04", local, file.local)
    out += (name if file.local_name is None else file.local_name) + file.local_extra + packed
    if file.descriptor:
        out += struct.pack("<4s3I", b"PK\x07\x08", crc, len(packed), len(file.content))
    extra, place = file.extra, {**sizes, "offset": offset}
    if file.zip64:
        extra = extra_field(1, struct.pack("<3Q", len(file.content), len(packed), offset)) + extra
        place |= {"packed": FULL32, "size": FULL32, "offset": FULL32}
    record = {
        **head,
        **place,
        "made": 3 << 8 | 20,
        "extras": len(extra),
        "comments": len(file.comment),
        "disk": 0,
        "internal": 0,
        "attributes": file.mode << 16,
    }
    return _packed(RECORD, RECORD_FIELDS, b"PK\x01\x02", record, file.listed) + name + extra + file.comment


@dataclass(frozen=True)
class StoredPhoto:
    """What ours made of an archive.

    files     the content of each file that was taken in, by work order and file
    problems  (work order, file, code) of everything else, in order of appearance
    """

    files: dict[tuple[str, str], bytes]
    problems: list[tuple[str, str, str]]


def taken(content: bytes, limits: Limits = GENEROUS, names: Names = UNNAMED) -> StoredPhoto:
    """Read a whole archive as the functions do; BadArchive where it is refused."""

    def read(start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(content), f"{start} to {end} of {len(content)}: no range of the object"
        return content[start:end]

    plan = folders.plan(archive.directory(read, len(content), limits, names), names.code_page)
    found = StoredPhoto({}, [(each.work_order, each.file, each.code) for each in plan.problems])
    for folder in plan.folders:
        for name, entries in folders.read(folder.lines):
            for entry in entries:
                try:
                    if entry.problem:
                        raise BadFile(entry.problem)
                    file = archive.unpack(entry, read(*archive.region(entry)))
                    assert (len(file), zlib.crc32(file)) == (entry.size, entry.crc32), entry
                    assert found.files.setdefault((name, entry.file), file) is file, entry
                except BadFile as bad:
                    found.problems.append((name, entry.file, bad.code))
    return found
