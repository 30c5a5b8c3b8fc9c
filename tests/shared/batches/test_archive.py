"""Good archives are read to the byte; whatever else is in one costs a named problem, and nothing more."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.batches import archive
from shared.batches.archive import (
    BLOCK,
    UNNAMED,
    Entry,
    Limits,
    Names,
    decode,
    decode_one,
    encode,
    region,
    unpack,
)
from shared.batches.problems import BadArchive, BadFile
from tests.archives import (
    ENCRYPTED,
    FULL16,
    FULL32,
    GENEROUS,
    STORED,
    UTF8,
    File,
    Tail,
    deflated,
    extra_field,
    taken,
    unicode_path,
    zipped,
)

PHOTO = b"\xff\xd8 a photograph \xff\xd9" * 40
GOOD = [File("good/a.jpg", PHOTO), File("good/metadata.json", b"{}", STORED)]
GOOD_FILES = {("good", "a.jpg"): PHOTO, ("good", "metadata.json"): b"{}"}


def entries(content: bytes, limits: Limits = GENEROUS, names: Names = UNNAMED) -> list[Entry]:
    lines = archive.directory(lambda start, end: content[start:end], len(content), limits, names)
    return [decode_one(line) for line in lines]


class Unseekable(io.RawIOBase):
    """What makes zipfile write data descriptors."""

    def __init__(self) -> None:
        self.written = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        return self.written.write(content)  # type: ignore[arg-type]


# Good archives.


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_zipfile_writes_is_read(method: int, zip64: bool, streamed: bool) -> None:
    files = {("wo 1", "a.jpg"): PHOTO, ("wo é", "b-1.png"): PHOTO * 2, ("wo 1", "metadata.json"): b"{}"}
    out = Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        made.comment = b"from the field"
        for (folder, name), content in files.items():
            with made.open(zipfile.ZipInfo(f"{folder}/{name}"), "w", force_zip64=zip64) as file:
                file.write(content)
    content = out.written.getvalue() if isinstance(out, Unseekable) else out.getvalue()
    assert taken(content).files == files
    assert taken(content).problems == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(zipped(GOOD), id="plain"),
        pytest.param(zipped(GOOD, Tail(zip64=True)), id="zip64 end record"),
        pytest.param(zipped([*GOOD, File("good/", mode=0o40755)]), id="a folder's entry"),
        pytest.param(
            zipped([File(f.name, f.content, zip64=True) for f in GOOD], Tail(zip64=True)),
            id="zip64 throughout",
        ),
        pytest.param(zipped([File(f.name, f.content, descriptor=True) for f in GOOD]), id="descriptors"),
        pytest.param(zipped(GOOD, Tail(comment=b"x" * 0xFFFF)), id="the longest comment"),
        pytest.param(
            zipped(GOOD, Tail(comment=b"PK\x05\x06" + b"\0" * 30)),
            id="a comment that looks like an end record",
        ),
        pytest.param(zipped([File(f.name, f.content, comment=b"hello") for f in GOOD]), id="comments"),
        pytest.param(
            zipped([File(f.name, f.content, extra=b"UT\x05\0\x03abcd", local_extra=b"x" * 99) for f in GOOD]),
            id="extra fields",
        ),
        pytest.param(
            zipped([File(f.name, f.content, extra=b"\x01\0\xff\xff") for f in GOOD]),
            id="an extra field too long",
        ),
        pytest.param(zipped(GOOD, Tail(gap=b"padding")), id="a gap before the directory"),
        pytest.param(
            zipped([File(f.name, f.content, zip64=True, extra=extra_field(1, b"?" * 24)) for f in GOOD]),
            id="the zip64 field twice",
        ),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end64_more=b"vendor's")), id="more in the zip64 end record"
        ),
    ],
)
def test_good_archives_of_every_form(content: bytes) -> None:
    assert taken(content).files == GOOD_FILES
    assert taken(content).problems == []


@pytest.mark.parametrize("tail", [Tail(), Tail(zip64=True)], ids=["plain", "zip64"])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_the_end_of_an_archive_is_read_once(tail: Tail, large: bool) -> None:
    """Each read is a call that a batch waits for."""
    first = File("wo/a.jpg", b"x" * (2 * BLOCK if large else 1), STORED)
    content = zipped([first, *(File(f"wo/{n}.jpg", b"%d" % n, STORED) for n in range(1000))], tail)
    reads: list[tuple[int, int]] = []

    def read(start: int, end: int) -> bytes:
        reads.append((start, end))
        return content[start:end]

    assert len(list(archive.directory(read, len(content), GENEROUS))) == 1001
    assert reads == ([(len(content) - BLOCK, len(content)), (0, 4)] if large else [(0, len(content))])


@pytest.mark.slow
def test_seventy_thousand_files() -> None:
    files = [File(f"wo-{n // 7}/{n % 7}.jpg", b"%d" % n, STORED) for n in range(70_000)]
    reads: list[tuple[int, int]] = []
    content = zipped(files, Tail(zip64=True))

    def read(start: int, end: int) -> bytes:
        reads.append((start, end))
        return content[start:end]

    found = [decode_one(line) for line in archive.directory(read, len(content), GENEROUS)]
    assert [(e.path, e.size, e.problem) for e in found] == [(f.name, len(f.content), "") for f in files]
    last = found[-1]
    assert unpack(last, content[slice(*region(last))]) == b"69999"
    assert max(end - start for start, end in reads) == BLOCK, "the directory is read in blocks"


@pytest.mark.slow
def test_exactly_as_many_files_as_the_old_field_can_say() -> None:
    assert len(entries(zipped([File(f"a/{n}", method=STORED) for n in range(FULL16)]))) == FULL16


DECOMPOSED, COMPOSED = "e\u0301t\u00e9", "\u00e9t\u00e9"


@pytest.mark.parametrize(
    ("file", "path"),
    [
        (File("wo/été.jpg"), "wo/été.jpg"),
        (File("wo/été.jpg".encode()), "wo/été.jpg"),
        (File(f"wo/{DECOMPOSED}.jpg"), f"wo/{COMPOSED}.jpg"),
        (File(f"wo/{DECOMPOSED}.jpg".encode()), f"wo/{COMPOSED}.jpg"),
        (File("現場/写真-1.jpg"), "現場/写真-1.jpg"),
        (File(b"wo/?.jpg", extra=unicode_path(b"wo/?.jpg", "wo/ж.jpg")), "wo/ж.jpg"),
        (File(b"wo/?.jpg", extra=unicode_path(b"wo/?.jpg", "wo/ж.jpg", crc=7)), "wo/?.jpg"),
        (File("wo/é.jpg", extra=unicode_path("wo/é.jpg".encode(), "wo/ж.jpg")), "wo/é.jpg"),
    ],
    ids=[
        "said to be UTF-8",
        "UTF-8, not said",
        "macOS, said",
        "macOS, not said",
        "another script",
        "Info-ZIP's field",
        "Info-ZIP's field of another name",
        "Info-ZIP's field beside UTF-8",
    ],
)
def test_names(file: File, path: str) -> None:
    content = zipped([file])
    [entry] = entries(content)
    assert (entry.path, entry.problem) == (path, "")
    assert unpack(entry, content[slice(*region(entry))]) == b""
    assert decode_one(encode(entry)) == entry


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(File(b"wo/\xff\xfe.jpg", flags=UTF8), id="not UTF-8"),
        pytest.param(File(b"wo/\xed\xa0\x80.jpg", flags=UTF8), id="a surrogate"),
        pytest.param(File(b"wo/\xc0\xae.jpg", flags=UTF8), id="a dot in two bytes"),
        pytest.param(File(b"wo/a.jpg", extra=unicode_path(b"wo/a.jpg", "")), id="an empty unicode path"),
        pytest.param(File(""), id="empty"),
        pytest.param(File("wo/" + "x" * 2_000 + ".jpg"), id="too long"),
        pytest.param(
            File(b"x" * 2_000, extra=unicode_path(b"x" * 2_000, "wo/a.jpg")), id="too long, another short"
        ),
        pytest.param(File(b"x", extra=unicode_path(b"x", "wo/" + "x" * 2_000)), id="short, another too long"),
    ],
)
def test_names_that_cannot_be_read(file: File) -> None:
    found = taken(zipped([*GOOD, file]))
    [(work_order, _, code)] = found.problems
    folder = "wo" if file.name[:3] in ("wo/", b"wo/") else ""
    assert (work_order, code) == (folder, "UNREADABLE_NAME"), "a work order lacks it that it may belong to"
    assert found.files == GOOD_FILES


# Code pages.

REPAIR = "REPARACIÓN 17"
CHANCE = "闸 7/1.jpg".encode("gbk")  # a floodgate; these bytes are UTF-8, too, of an Armenian letter


@pytest.mark.parametrize(
    ("name", "code_page"),
    [
        (REPAIR, "cp850"),
        (REPAIR, "cp1252"),
        ("Œuvre", "cp1252"),
        ("заявка 7", "cp866"),
        ("заявка 7", "cp1251"),
        ("表示 ソ", "cp932"),
        ("工单", "gbk"),
        ("工單", "cp950"),
        ("작업", "cp949"),
        ("İş", "cp857"),
        ("łódź", "cp852"),
        ("été", "cp437"),
    ],
)
def test_a_name_that_is_not_utf8_is_read_only_where_its_code_page_is_named(name: str, code_page: str) -> None:
    content = zipped([*GOOD, File(f"{name}/1.jpg".encode(code_page), PHOTO)])
    for certain in (False, True):
        found = taken(content, names=Names(code_page, certain=certain))
        assert found.files == {**GOOD_FILES, (name, "1.jpg"): PHOTO}
        assert found.problems == []
    refused = taken(content)
    assert refused.files == GOOD_FILES, "no other work order is made of it"
    assert [code for _, _, code in refused.problems] == ["UNKNOWN_CODE_PAGE"]


def test_backslashes_in_half_a_letter_separate_nothing() -> None:
    """In Shift JIS, the second byte of 表 and ソ is a backslash."""
    files = [File("表\\ソ-1.jpg".encode("cp932"), PHOTO), File("構造/表.jpg".encode("cp932"), PHOTO)]
    found = taken(zipped(files), names=Names("cp932"))
    assert (found.problems, set(found.files)) == ([], {("表", "ソ-1.jpg"), ("構造", "表.jpg")})
    assert {code for _, _, code in taken(zipped(files)).problems} == {"UNKNOWN_CODE_PAGE"}


def test_a_code_page_that_has_no_such_letter_reads_nothing() -> None:
    content = zipped([*GOOD, File(b"wo \x81/1.jpg", PHOTO)])
    found = taken(content, names=Names("cp1252"))
    assert (found.files, found.problems) == (GOOD_FILES, [("wo \\x81", "", "UNKNOWN_CODE_PAGE")])


def test_names_that_are_utf8_need_no_code_page_unless_it_is_certain() -> None:
    content = zipped([File("été/1.jpg".encode(), PHOTO), File("Ж/1.jpg", PHOTO)])
    for names in (Names(), Names("cp850")):
        assert set(taken(content, names=names).files) == {("été", "1.jpg"), ("Ж", "1.jpg")}
    [first, _] = entries(content, names=Names("cp1252", certain=True))
    assert first.path == "Ã©tÃ©/1.jpg"


def test_names_that_are_utf8_by_chance_are_as_the_others_of_the_archive() -> None:
    assert CHANCE.decode() == "\u0562 7/1.jpg"
    content = zipped([File(CHANCE, PHOTO), File("工单/1.jpg".encode("gbk"), PHOTO), File("Ж/1.jpg", PHOTO)])
    found = taken(content)
    assert set(found.files) == {("Ж", "1.jpg")}
    assert [code for _, _, code in found.problems] == ["UNKNOWN_CODE_PAGE"] * 2
    for names in (Names("gbk"), Names("gbk", certain=True)):
        assert set(taken(content, names=names).files) == {
            ("闸 7", "1.jpg"),
            ("工单", "1.jpg"),
            ("Ж", "1.jpg"),
        }
    alone = zipped([File(CHANCE, PHOTO)])
    assert set(taken(alone, names=Names("gbk", certain=True)).files) == {("闸 7", "1.jpg")}


# Archives that are refused.

CUT = zipped(GOOD)


def with_end(form: str, at: int, value: int, content: bytes = CUT) -> bytes:
    """The archive with one field of its end record overwritten."""
    changed = bytearray(content)
    struct.pack_into(form, changed, len(content) - 22 + at, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "ARCHIVE_EMPTY", id="no bytes"),
        pytest.param(zipped([]), "ARCHIVE_EMPTY", id="no files"),
        pytest.param(zipped([], Tail(zip64=True)), "ARCHIVE_EMPTY", id="no files, zip64"),
        pytest.param(zipped([File("__MACOSX/wo/._a.jpg", b"x")]), "ARCHIVE_EMPTY", id="only junk"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + PHOTO, "ARCHIVE_NOT_A_ZIP", id="an image"),
        pytest.param(b"Rar!\x1a\x07\x01\0" + PHOTO, "ARCHIVE_NOT_A_ZIP", id="a rar"),
        pytest.param(b"{}", "ARCHIVE_NOT_A_ZIP", id="two bytes"),
        pytest.param(CUT[:2], "ARCHIVE_TRUNCATED", id="the first two bytes"),
        pytest.param(CUT[:-1], "ARCHIVE_DAMAGED", id="one byte short"),
        pytest.param(CUT[:-30], "ARCHIVE_TRUNCATED", id="without its end"),
        pytest.param(CUT[: len(CUT) // 2], "ARCHIVE_TRUNCATED", id="its first half"),
        pytest.param(CUT[:40] + CUT[60:], "ARCHIVE_TRUNCATED", id="a chunk lost"),
        pytest.param(CUT + b"\0", "ARCHIVE_DAMAGED", id="a byte more"),
        pytest.param(b"#!/bin/sh\n" + CUT, "ARCHIVE_DAMAGED", id="something before"),
        pytest.param(CUT + CUT, "ARCHIVE_DAMAGED", id="two archives"),
        pytest.param(b"#!/b" + CUT[4:], "ARCHIVE_DAMAGED", id="something instead of the beginning"),
        pytest.param(with_end("<H", 4, 1), "ARCHIVE_SPLIT", id="the second disk"),
        pytest.param(with_end("<H", 6, 1), "ARCHIVE_SPLIT", id="a directory on another disk"),
        pytest.param(b"PK\x07\x08" + CUT[:-50], "ARCHIVE_SPLIT", id="the first of several parts"),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, locator={"disks": 2})), "ARCHIVE_SPLIT", id="two disks, zip64"
        ),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end64={"disk": 1})), "ARCHIVE_SPLIT", id="the second disk, zip64"
        ),
        pytest.param(
            zipped([*GOOD, File("a/b", listed={"disk": 3})]), "ARCHIVE_SPLIT", id="a file elsewhere"
        ),
        pytest.param(with_end("<H", 8, 1), "ARCHIVE_DAMAGED", id="two counts"),
        pytest.param(zipped(GOOD, Tail(end={"here": 1, "files": 1})), "ARCHIVE_DAMAGED", id="counts too few"),
        pytest.param(
            zipped(GOOD, Tail(end={"here": 3, "files": 3})), "ARCHIVE_DAMAGED", id="counts too many"
        ),
        pytest.param(zipped(GOOD, Tail(end={"here": 0, "files": 0})), "ARCHIVE_DAMAGED", id="counts none"),
        pytest.param(zipped(GOOD, Tail(end={"length": 5})), "ARCHIVE_DAMAGED", id="a shorter directory"),
        pytest.param(zipped(GOOD, Tail(end={"start": 0})), "ARCHIVE_DAMAGED", id="a directory elsewhere"),
        pytest.param(zipped(GOOD, Tail(end={"start": 1 << 30})), "ARCHIVE_TRUNCATED", id="beyond the end"),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end={"files": 1})), "ARCHIVE_DAMAGED", id="zip64 says two"
        ),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end64={"start": 1 << 60})), "ARCHIVE_TRUNCATED", id="zip64 beyond"
        ),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end64={"here": 1 << 60, "files": 1 << 60})),
            "ARCHIVE_TOO_MANY_FILES",
            id="zip64 counts beyond all",
        ),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end64={"signature": b"nope"})),
            "ARCHIVE_DAMAGED",
            id="no zip64 record",
        ),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, locator={"end64": 1 << 60})),
            "ARCHIVE_TRUNCATED",
            id="locator beyond",
        ),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end64={"record": 9})), "ARCHIVE_DAMAGED", id="zip64 length"
        ),
        pytest.param(
            zipped([File("a/b", listed={"signature": b"PK\3\4"})]), "ARCHIVE_DAMAGED", id="no record in it"
        ),
        pytest.param(
            zipped([*GOOD, File("a/b", listed={"names": 999})]), "ARCHIVE_DAMAGED", id="a name beyond the end"
        ),
        pytest.param(
            zipped([File("a/b", listed={"signature": b"PK\x06\x08"})]),
            "ARCHIVE_ENCRYPTED",
            id="encryption's head",
        ),
        pytest.param(zipped([File("a/b", flags=1 << 13)]), "ARCHIVE_ENCRYPTED", id="masked"),
        pytest.param(
            zipped(GOOD, Tail(zip64=True, end64={"needed": 62}, end64_more=b"\0" * 24)),
            "ARCHIVE_ENCRYPTED",
            id="version 6.2",
        ),
    ],
)
def test_archives_that_are_refused(content: bytes, code: str) -> None:
    with pytest.raises(BadArchive) as error:
        taken(content)
    assert error.value.code == code, str(error.value)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(files=1, unpacked_bytes=1 << 30), "ARCHIVE_TOO_MANY_FILES"),
        (Limits(files=2, unpacked_bytes=len(PHOTO) + 1), "ARCHIVE_TOO_LARGE"),
        (Limits(files=2, unpacked_bytes=1 << 30, directory_bytes=100), "ARCHIVE_TOO_MANY_FILES"),
    ],
)
def test_limits(limits: Limits, code: str) -> None:
    with pytest.raises(BadArchive) as error:
        taken(zipped(GOOD), limits)
    assert error.value.code == code
    assert taken(zipped(GOOD), Limits(2, len(PHOTO) + 2)).files == GOOD_FILES


def test_a_bomb_of_many_small_files_is_refused_before_any_is_read() -> None:
    bomb = [File(f"wo/{n}.jpg", b"\0" * (1 << 20)) for n in range(5)]
    with pytest.raises(BadArchive) as error:
        taken(zipped(bomb), Limits(files=5, unpacked_bytes=(5 << 20) - 1))
    assert error.value.code == "ARCHIVE_TOO_LARGE"


def test_what_a_bad_file_says_of_its_size_refuses_no_archive() -> None:
    liar = File("wo/a.jpg", b"x", listed={"size": FULL32 - 1})
    assert taken(zipped([*GOOD, liar])).problems == [("wo", "a.jpg", "TOO_COMPRESSED")]


def test_bytes_that_do_not_come_are_missed() -> None:
    with pytest.raises(BadArchive) as error:
        list(archive.directory(lambda start, end: CUT[start : end - 1], len(CUT), GENEROUS))
    assert error.value.code == "ARCHIVE_TRUNCATED"


def test_archives_too_large_for_the_program_that_made_them_say_so() -> None:
    """A Mac's "Compress" leaves the upper half of offsets and counts away."""
    gap = 1 << 32
    middle = CUT.index(b"PK\x01\x02")

    def read(start: int, end: int) -> bytes:
        """The archive with 4 GiB of nothing before its directory."""
        return bytes(
            CUT[at] if at < middle else 0 if at < middle + gap else CUT[at - gap] for at in range(start, end)
        )

    with pytest.raises(BadArchive, match="4 GB") as error:
        archive.directory(read, len(CUT) + gap, GENEROUS)
    assert error.value.code == "ARCHIVE_DAMAGED"
    with pytest.raises(BadArchive, match="65,535 files") as error:
        entries(zipped([File(f"a/{n}", method=STORED) for n in range(FULL16 + 3)]))
    assert error.value.code == "ARCHIVE_DAMAGED"


# Files that are refused.

ZEROS = b"\0" * (2 << 20)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        pytest.param(File("wo/a.jpg", b"../b", STORED, mode=0o120777), "SYMLINK", id="a link"),
        pytest.param(File("wo/a.jpg", PHOTO, flags=ENCRYPTED), "ENCRYPTED", id="encrypted"),
        pytest.param(File("wo/a.jpg", PHOTO, flags=1 << 6), "ENCRYPTED", id="strongly encrypted"),
        pytest.param(
            File("wo/a.jpg", PHOTO, local={"flags": ENCRYPTED}), "ENCRYPTED", id="secretly encrypted"
        ),
        pytest.param(File("wo/a.jpg", PHOTO, method=14), "UNKNOWN_COMPRESSION", id="LZMA"),
        pytest.param(File("wo/a.jpg", PHOTO, flags=1 << 5), "UNKNOWN_COMPRESSION", id="a patch"),
        pytest.param(File("wo/a.jpg", ZEROS), "TOO_COMPRESSED", id="a bomb"),
        pytest.param(File("wo/a.jpg", PHOTO, listed={"size": 3}), "SIZE_DIFFERS", id="longer than said"),
        pytest.param(File("wo/a.jpg", PHOTO, listed={"size": 9999}), "SIZE_DIFFERS", id="shorter than said"),
        pytest.param(
            File("wo/a.jpg", packed=deflated(ZEROS), content=b"x" * 5000),
            "SIZE_DIFFERS",
            id="a bomb that lies",
        ),
        pytest.param(
            File("wo/a.jpg", PHOTO, STORED, listed={"size": 3}), "SIZE_DIFFERS", id="stored, of two sizes"
        ),
        pytest.param(
            File("wo/a.jpg", b"x", packed=b"y" * 5000), "SIZE_DIFFERS", id="packed to far more than it is"
        ),
        pytest.param(File("wo/a.jpg", PHOTO, listed={"crc": 1}), "CHECKSUM_DIFFERS", id="a checksum"),
        pytest.param(File("wo/a.jpg", PHOTO, STORED, listed={"crc": 1}), "CHECKSUM_DIFFERS", id="stored"),
        pytest.param(File("wo/a.jpg", PHOTO, packed=deflated(PHOTO)[:-3]), "DAMAGED", id="breaks off"),
        pytest.param(
            File("wo/a.jpg", PHOTO, packed=deflated(PHOTO) + b"!"), "DAMAGED", id="something behind"
        ),
        pytest.param(File("wo/a.jpg", PHOTO, packed=b"\xff" * 50), "DAMAGED", id="no deflate"),
        pytest.param(File("wo/a.jpg", PHOTO, packed=b""), "DAMAGED", id="no bytes"),
        pytest.param(File("wo/a.jpg", PHOTO, local={"signature": b"nope"}), "DAMAGED", id="no header"),
        pytest.param(File("wo/a.jpg", PHOTO, local={"method": STORED}), "DAMAGED", id="two methods"),
        pytest.param(File("wo/a.jpg", PHOTO, local={"names": 7}), "DAMAGED", id="names of two lengths"),
        pytest.param(File("wo/a.jpg", PHOTO, local_name=b"wo/b.jpg"), "DAMAGED", id="two names"),
        pytest.param(File("wo/a.jpg", PHOTO, local={"extras": 999}), "OVERLAPPING", id="begins in the next"),
        pytest.param(File("wo/a.jpg", PHOTO, listed={"packed": 9999}), "SIZE_DIFFERS", id="reaches beyond"),
        pytest.param(File("wo/a.jpg", PHOTO, listed={"offset": 1 << 30}), "OVERLAPPING", id="lies beyond"),
        pytest.param(
            File("wo/a.jpg", PHOTO, extra=extra_field(1, b"1234"), listed={"size": FULL32}),
            "DAMAGED",
            id="half a zip64 field",
        ),
    ],
)
def test_a_bad_file_costs_itself(file: File, code: str) -> None:
    found = taken(zipped([GOOD[0], file, File("wo/b.jpg", b"fine"), GOOD[1]]))
    assert found.problems == [("wo", "a.jpg", code)]
    assert found.files == {**GOOD_FILES, ("wo", "b.jpg"): b"fine"}


def test_both_of_two_overlapping_files_are_named_and_no_third() -> None:
    files = [
        File("wo/a.jpg", PHOTO * 9, STORED),
        File("wo/b.jpg", PHOTO, STORED, listed={"offset": 100}),
        File("wo/c.jpg", PHOTO, STORED, listed={"offset": 1000}),
        File("wo/d.jpg", PHOTO, STORED),
    ]
    found = taken(zipped([*files, *GOOD]))
    assert found.problems == [("wo", name, "OVERLAPPING") for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert found.files == {**GOOD_FILES, ("wo", "d.jpg"): PHOTO}


def test_a_bomb_whose_files_are_all_one() -> None:
    files = [File("wo/0.jpg", PHOTO)] + [
        File(f"wo/{n}.jpg", PHOTO, listed={"offset": 0}) for n in range(1, 50)
    ]
    assert {code for _, _, code in taken(zipped(files)).problems} == {"OVERLAPPING"}
    assert len(taken(zipped(files)).problems) == 50


def test_unpacking_stops_at_the_size_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[int] = []

    class Inflater:
        def __init__(self, *arguments: int) -> None:
            self._real = real(*arguments)

        def decompress(self, content: bytes, longest: int) -> bytes:
            most.append(longest)
            return self._real.decompress(content, longest)

    real: Callable[..., zlib._Decompress] = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Inflater)
    bomb = File("wo/a.jpg", packed=deflated(ZEROS), content=b"x" * 5000)
    assert taken(zipped([bomb])).problems == [("wo", "a.jpg", "SIZE_DIFFERS")]
    assert most == [5001]


def test_a_region_that_came_short_is_no_file() -> None:
    for entry in entries(CUT):
        start, end = region(entry)
        for less in (end - start - 1, 40, 10, 0):
            with pytest.raises(BadFile) as error:
                unpack(entry, CUT[start : start + less])
            assert error.value.code == "DAMAGED", (entry.path, less)


# Lines and regions.


def test_lines_are_ordered_by_place_and_know_their_limits() -> None:
    content = zipped(list(reversed(GOOD)), Tail(gap=b"gap"))
    first, second = entries(content)
    assert (first.path, first.offset, first.limit) == ("good/metadata.json", 0, second.offset)
    assert second.limit == content.index(b"PK\x01\x02")
    assert region(second) == (second.offset, second.limit)


def test_a_region_is_no_longer_than_a_file_can_be() -> None:
    entry = Entry("a/b", b"a/b", 1000, 1 << 40, 500, 500, 0, STORED)
    assert region(entry) == (1000, 1000 + 30 + 3 + 0xFFFF + 500)
    assert region(entry._replace(limit=7)) == (1000, 1000)


@settings(deadline=None)
@given(
    st.builds(
        Entry,
        path=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
        name=st.binary(max_size=40),
        offset=st.integers(0, 2**64 - 1),
        limit=st.integers(0, 2**64 - 1),
        packed=st.integers(0, 2**64 - 1),
        size=st.integers(0, 2**64 - 1),
        crc32=st.integers(0, FULL32),
        method=st.integers(0, FULL16),
        problem=st.sampled_from(["", "DAMAGED", "TOO_COMPRESSED"]),
        wrapped=st.booleans(),
    )
)
def test_a_line_holds_its_entry(entry: Entry) -> None:
    assert list(decode(encode(entry) * 2)) == [entry, entry]
    for broken in (encode(entry)[:-1], encode(entry) + b"x"):
        with pytest.raises(ValueError, match="no whole line"):
            list(decode(broken))


# Anything at all.

SAMPLES = [
    zipped(GOOD),
    zipped([File(f.name, f.content, zip64=True, descriptor=True) for f in GOOD], Tail(zip64=True)),
    zipped(
        [File(b"w/\x82.jpg", PHOTO, extra=unicode_path(b"w/\x82.jpg", "w/é.jpg")), *GOOD], Tail(b"comment")
    ),
]

edits = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SAMPLES), edits, st.integers(0, 1 << 16), st.binary(max_size=4), st.integers(0, 40))
def test_a_mutated_archive_never_surprises(
    content: bytes, changes: list[tuple[int, int]], at: int, put_in: bytes, taken_out: int
) -> None:
    """`taken` holds what comes out against size and checksum; a surprise would be another exception."""
    mutated = bytearray(content)
    for place, value in changes:
        mutated[-1 - place % len(mutated)] = value  # the ends and the directory are most of it
    at %= len(mutated) + 1
    mutated[at : at + taken_out] = put_in
    try:
        found = taken(bytes(mutated))
    except BadArchive:
        return
    assert found.files or found.problems


def test_every_byte_of_an_archive_matters_or_does_not() -> None:
    """Each byte flipped, one at a time: no surprise, and what is taken in is what was put in."""
    content = SAMPLES[1]
    for place in range(len(content)):
        mutated = bytearray(content)
        mutated[place] ^= 0xFF
        try:
            found = taken(bytes(mutated))
        except BadArchive:
            continue
        assert set(found.files.values()) <= set(GOOD_FILES.values()), place


def test_bad_file_says_its_code() -> None:
    assert str(BadFile("DAMAGED", "It breaks off.")) == "DAMAGED: It breaks off."


def test_the_builder_says_the_truth_unless_told_otherwise() -> None:
    """zipfile, which has no part in what is tested, reads what the tests are made of."""
    for content in SAMPLES[:2]:
        with zipfile.ZipFile(io.BytesIO(content)) as read:
            assert read.testzip() is None
            assert {tuple(name.split("/")): read.read(name) for name in read.namelist()} == GOOD_FILES
