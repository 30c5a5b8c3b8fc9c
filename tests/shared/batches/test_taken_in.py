"""Archives as customers send them, good and evil, through the real door: what is in, and what is said of the
rest."""

import io
import json
import re
import struct
import zlib
from dataclasses import dataclass, field

import pytest
from PIL import Image as Picture

from shared.batches.problems import KINDS
from tests.archives import (
    ENCRYPTED,
    STORED,
    UTF8,
    File,
    Tail,
    deflated,
    extra_field,
    unicode_path,
    zipped,
)
from tests.world import SITE, World, jpeg

IMAGES = "waybill-local-images"

Row = tuple[str, str, str]
"""A line of the errors file: work order, file, code."""


@dataclass(frozen=True)
class Case:
    """Files in the middle of an archive, between two good work orders, and what is to come of them.

    rows   what the errors file says of them
    photos the names of further work orders that are to be in, with how many photographs each
    """

    files: list[File]
    rows: list[Row] = field(default_factory=list)
    photos: dict[str, int] = field(default_factory=dict)
    tail: Tail = field(default_factory=Tail)


@dataclass(frozen=True)
class Seen:
    """What came of a case."""

    status: str
    done: int
    failed: int
    errors: int
    warnings: int
    rows: list[Row]
    photos: dict[str, int]
    good: bool


def expected(case: Case) -> Seen:
    levels = [KINDS[code].level for _, _, code in case.rows]
    folders = {name for name, _, code in case.rows if name and code not in NO_WORK_ORDER}
    return Seen(
        status="COMPLETED_WITH_ERRORS" if "error" in levels else "COMPLETED",
        done=2 + len(case.photos),
        failed=len(folders),
        errors=levels.count("error"),
        warnings=levels.count("warning"),
        rows=case.rows,
        photos=case.photos,
        good=True,
    )


NO_WORK_ORDER = ("BAD_WORK_ORDER_NAME", "EMPTY_FOLDER")


def send(world: World, name: str, case: Case) -> Seen:
    """Take the case in, and hold each sentence that is said against the list of codes."""
    before = set(world.taken_in())
    first, last = first_and_last(name)
    archive = zipped([good(first), *case.files, good(last)], case.tail)
    shown = world.take_in(archive)
    rows = world.errors(shown["id"])
    for row in rows:
        hold_sentence(row)
    records = world.taken_in()
    fresh = {
        each: sum(len(item["input"]) for item in records[each]["work_items"])
        for each in set(records) - before
    }
    stored = [photo(world, records, each) for each in (first, last) if fresh.pop(each, 0) == 1]
    return Seen(
        status=shown["status"],
        done=shown["work_orders_done"],
        failed=shown["work_orders_failed"],
        errors=shown["errors"],
        warnings=shown["warnings"],
        rows=[(row["work_order"], row["file"], row["code"]) for row in rows],
        photos=fresh,
        good=stored == [jpeg(first), jpeg(last)],
    )


def first_and_last(name: str) -> tuple[str, str]:
    """The names of a case's two good work orders."""
    plain = re.sub(r"[^a-z0-9]+", "-", name)
    return f"FIRST-{plain}", f"LAST-{plain}"


def good(name: str) -> File:
    return File(f"{name}/meter-1.jpg", jpeg(name))


def photo(world: World, records: dict[str, dict[str, object]], name: str) -> bytes:
    """The one photograph of a work order, as it is stored."""
    ((one,),) = [item["input"] for item in records[name]["work_items"]]  # type: ignore[attr-defined]
    return world.suite.storage.read(IMAGES, f"acme/{SITE}/{one['id']}.{one['file_extension']}")


def hold_sentence(row: dict[str, str]) -> None:
    """Each line names the file, or else the work order, and says what to do."""
    kind = KINDS[row["code"]]
    assert set(row) == {"work_order", "file", "code", "level", "message"}, row
    assert row["level"] == kind.level, row
    assert row["message"].endswith(kind.do), row
    if "{file}" in kind.means:
        assert f"“{row['file']}”" in row["message"], row
    elif "{work_order}" in kind.means:
        assert f"“{row['work_order']}”" in row["message"], row


def hold(world: World, cases: dict[str, Case]) -> None:
    """Send all of them, and tell of each that went otherwise."""
    wrong = []
    for name, case in cases.items():
        seen = send(world, name, case)
        if seen != expected(case):
            wrong.append(f"{name}:\n  saw {seen}\n  not {expected(case)}")
    assert not wrong, "\n".join(wrong)


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG of that size, with a row of nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def picture(kind: str, size: tuple[int, int] = (16, 16)) -> bytes:
    out = io.BytesIO()
    Picture.new("RGB", size, (9, 99, 199)).save(out, kind)
    return out.getvalue()


PHOTO = jpeg("a photograph")

NAMES = {
    "up": Case([File("../meter.jpg", PHOTO)], [("", "../meter.jpg", "UNSAFE_NAME")]),
    "up from a folder": Case(
        [File("BAD/../../meter.jpg", PHOTO)], [("BAD", "../../meter.jpg", "UNSAFE_NAME")]
    ),
    "up into a good one": Case(
        [File("BAD/../FIRST-up-into-a-good-one/meter-2.jpg", PHOTO)],
        [("BAD", "../FIRST-up-into-a-good-one/meter-2.jpg", "UNSAFE_NAME")],
    ),
    "here": Case([File("BAD/./meter.jpg", PHOTO)], [("BAD", "./meter.jpg", "UNSAFE_NAME")]),
    "absolute": Case([File("/etc/meter.jpg", PHOTO)], [("", "/etc/meter.jpg", "UNSAFE_NAME")]),
    "drive": Case([File("C:/BAD/meter.jpg", PHOTO)], [("", "C:/BAD/meter.jpg", "UNSAFE_NAME")]),
    "drive and backslashes": Case(
        [File("C:\\BAD\\meter.jpg", PHOTO)], [("", "C:\\BAD\\meter.jpg", "UNSAFE_NAME")]
    ),
    "backslash for slash": Case([File("BAD\\meter.jpg", PHOTO)], [("", "BAD\\meter.jpg", "UNSAFE_NAME")]),
    "backslash": Case([File("BAD/a\\meter.jpg", PHOTO)], [("BAD", "a\\meter.jpg", "UNSAFE_NAME")]),
    "nul": Case([File("BAD/meter\0.jpg", PHOTO)], [("BAD", "meter\\u0000.jpg", "UNSAFE_NAME")]),
    "newline": Case([File("BAD/me\nter.jpg", PHOTO)], [("BAD", "me\\u000ater.jpg", "UNSAFE_NAME")]),
    "empty step": Case([File("BAD//meter.jpg", PHOTO)], [("BAD", "/meter.jpg", "UNSAFE_NAME")]),
    "symlink": Case(
        [File("BAD/meter.jpg", b"/etc/passwd", mode=0o120777)], [("BAD", "meter.jpg", "SYMLINK")]
    ),
    "outside": Case([File("stray.jpg", PHOTO)], [("", "stray.jpg", "FILE_OUTSIDE_FOLDER")]),
    "nested": Case([File("BAD/deeper/meter.jpg", PHOTO)], [("BAD", "deeper/meter.jpg", "NESTED_FOLDER")]),
    "not the utf-8 it claims": Case(
        [File(b"BAD/meter\xff.jpg", PHOTO, flags=UTF8)], [("", "BAD/meter\\xff.jpg", "UNREADABLE_NAME")]
    ),
    "bad name, told once": Case(
        [File("BAD?/meter-1.jpg", PHOTO), File("BAD?/meter-2.jpg", PHOTO)],
        [("BAD?", "", "BAD_WORK_ORDER_NAME")],
    ),
    "name too long": Case(
        [File("B" * 129 + "/meter-1.jpg", PHOTO)], [("B" * 129, "", "BAD_WORK_ORDER_NAME")]
    ),
    "empty folder": Case([File("BAD/", mode=0o40755)], [("BAD", "", "EMPTY_FOLDER")]),
    "nested zip": Case(
        [File("BAD/more.zip", zipped([File("X/meter.jpg", PHOTO)]))], [("BAD", "more.zip", "UNKNOWN_FILE")]
    ),
    "something else": Case(
        [File("BAD/meter.jpg", PHOTO), File("BAD/notes.txt", b"x")], [("BAD", "notes.txt", "UNKNOWN_FILE")]
    ),
    "file twice": Case(
        [File("BAD/meter.jpg", PHOTO), File("BAD/meter.jpg", jpeg("another"))],
        [("BAD", "meter.jpg", "DUPLICATE_FILE")] * 2,
    ),
    "file twice, once its accents apart": Case(
        [File("BAD/door-1é.jpg", PHOTO), File("BAD/door-1e\u0301.jpg", PHOTO)],
        [("BAD", "door-1é.jpg", "DUPLICATE_FILE")] * 2,
    ),
    "unknown task group": Case(
        [File("BAD/roof-1.jpg", PHOTO), File("BAD/meter-1.jpg", PHOTO)],
        [("BAD", "roof-1.jpg", "UNKNOWN_TASK_GROUP")],
    ),
}

OFFSET = 30 + len("FIRST-overlapping/meter-1.jpg") + len(deflated(jpeg("FIRST-overlapping")))
"""Where the second file of the case of that name begins."""

ENTRIES = {
    "encrypted": Case([File("BAD/meter.jpg", PHOTO, flags=ENCRYPTED)], [("BAD", "meter.jpg", "ENCRYPTED")]),
    "encrypted, said by its own header alone": Case(
        [File("BAD/meter.jpg", PHOTO, local={"flags": ENCRYPTED})], [("BAD", "meter.jpg", "ENCRYPTED")]
    ),
    "unknown compression": Case(
        [File("BAD/meter.jpg", PHOTO, method=12)], [("BAD", "meter.jpg", "UNKNOWN_COMPRESSION")]
    ),
    "crc": Case(
        [File("BAD/meter.jpg", PHOTO, listed={"crc": 7})], [("BAD", "meter.jpg", "CHECKSUM_DIFFERS")]
    ),
    "crc of another": Case(
        [File("BAD/meter.jpg", PHOTO, packed=deflated(PHOTO[:-1] + b"?"))],
        [("BAD", "meter.jpg", "CHECKSUM_DIFFERS")],
    ),
    "said to be smaller": Case(
        [File("BAD/meter.jpg", PHOTO, listed={"size": len(PHOTO) - 1})],
        [("BAD", "meter.jpg", "SIZE_DIFFERS")],
    ),
    "said to be larger": Case(
        [File("BAD/meter.jpg", PHOTO, listed={"size": len(PHOTO) + 1})],
        [("BAD", "meter.jpg", "SIZE_DIFFERS")],
    ),
    "stored, sizes differ": Case(
        [File("BAD/meter.jpg", PHOTO, STORED, listed={"size": 5})], [("BAD", "meter.jpg", "SIZE_DIFFERS")]
    ),
    "another name inside": Case(
        [File("BAD/meter-1.jpg", PHOTO, packed=b"no deflate")], [("BAD", "meter-1.jpg", "DAMAGED")]
    ),
    "no header where it is said to be": Case(
        [File("BAD/meter-1.jpg", PHOTO, local={"signature": b"PK\x09\x09"})],
        [("BAD", "meter-1.jpg", "DAMAGED")],
    ),
    "overlapping": Case(
        [File("BAD/meter-1.jpg", PHOTO), File("BAD/meter-2.jpg", PHOTO, listed={"offset": OFFSET})],
        [("BAD", "meter-1.jpg", "OVERLAPPING"), ("BAD", "meter-2.jpg", "OVERLAPPING")],
    ),
    "reaching into the next": Case(
        [File("BAD/meter-1.jpg", PHOTO, STORED, local={"extras": 200})],
        [("BAD", "meter-1.jpg", "OVERLAPPING")],
    ),
    "beyond the end": Case(
        [File("BAD/meter-1.jpg", PHOTO, listed={"offset": 1 << 31})], [("BAD", "meter-1.jpg", "OVERLAPPING")]
    ),
    "a bomb by its ratio": Case(
        [File("BAD/metadata.json", b'{"a": "' + b" " * (3 << 20) + b'"}')],
        [("BAD", "metadata.json", "TOO_COMPRESSED")],
    ),
    "a bomb that lies": Case(
        [File("BAD/metadata.json", b" " * (3 << 20), listed={"size": 1000})],
        [("BAD", "metadata.json", "SIZE_DIFFERS")],
    ),
}

IMAGES_OF_ALL_SORTS = {
    "not an image": Case([File("BAD/meter.jpg", b"just text")], [("BAD", "meter.jpg", "NOT_AN_IMAGE")]),
    "of zero bytes": Case([File("BAD/meter.jpg", b"")], [("BAD", "meter.jpg", "EMPTY_FILE")]),
    "of zero bytes, stored": Case([File("BAD/meter.jpg", b"", STORED)], [("BAD", "meter.jpg", "EMPTY_FILE")]),
    "png as jpg": Case([File("BAD/meter.jpg", picture("PNG"))], [("BAD", "meter.jpg", "NOT_AN_IMAGE")]),
    "zip as jpg": Case(
        [File("BAD/meter.jpg", zipped([File("a", b"b")]))], [("BAD", "meter.jpg", "NOT_AN_IMAGE")]
    ),
    "gif": Case([File("BAD/meter.gif", picture("GIF"))], [("BAD", "meter.gif", "UNKNOWN_FILE")]),
    "200 megapixels": Case(
        [File("BAD/meter.png", png(20_000, 10_000))], [("BAD", "meter.png", "TOO_MANY_PIXELS")]
    ),
    "several things at once": Case(
        [
            File("BAD/meter-3.jpg", b"just text"),
            File("BAD/roof.jpg", PHOTO),
            File("BAD/meter-1.png", png(20_000, 10_000)),
            File("BAD/metadata.json", b"[]"),
            File("BAD/notes.txt", b"notes"),
            File("BAD/meter-2.jpg", PHOTO),
        ],
        [
            ("BAD", "metadata.json", "JSON_NOT_AN_OBJECT"),
            ("BAD", "meter-1.png", "TOO_MANY_PIXELS"),
            ("BAD", "meter-3.jpg", "NOT_AN_IMAGE"),
            ("BAD", "notes.txt", "UNKNOWN_FILE"),
            ("BAD", "roof.jpg", "UNKNOWN_TASK_GROUP"),
        ],
    ),
    "every kind that is taken": Case(
        [
            File("KINDS/meter-1.JPG", picture("JPEG")),
            File("KINDS/meter-2.jpeg", picture("JPEG", (17, 16))),
            File("KINDS/meter-3.PnG", picture("PNG")),
            File("KINDS/door.webp", picture("WEBP")),
        ],
        photos={"KINDS": 4},
    ),
}


def told(content: bytes, code: str, file: str = "metadata.json") -> Case:
    return Case([File(f"BAD/{file}", content), File("BAD/meter.jpg", PHOTO)], [("BAD", file, code)])


JSON = {
    "a list": told(b"[1]", "JSON_NOT_AN_OBJECT"),
    "a number, as parameters": told(b"7", "JSON_NOT_AN_OBJECT", "parameters.json"),
    "null": told(b"null", "JSON_NOT_AN_OBJECT"),
    "no json": told(b"{floor: 3}", "JSON_NOT_VALID"),
    "nothing": told(b"", "EMPTY_FILE"),
    "spaces": told(b"  ", "JSON_NOT_VALID"),
    "a key twice": told(b'{"a": 1, "a": 2}', "JSON_DUPLICATE_KEY"),
    "a key twice, deep, written otherwise": told(b'{"x": [{"a": 1, "\\u0061": 2}]}', "JSON_DUPLICATE_KEY"),
    "nan": told(b'{"a": NaN}', "JSON_NOT_VALID"),
    "infinity": told(b'{"a": -Infinity}', "JSON_NOT_VALID"),
    "infinite by its exponent": told(b'{"a": 1e999}', "JSON_NOT_VALID"),
    "an integer to be rounded": told(b'{"a": 123456789012345678901}', "JSON_NOT_VALID"),
    "a million levels": told(b'{"a": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", "TOO_COMPRESSED"),
    "too deep": told(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "JSON_TOO_DEEP"),
    "a lone surrogate": told(b'{"a": "\\ud800"}', "JSON_NOT_VALID"),
    "a lone surrogate as a key": told(b'{"\\udc00": 1}', "JSON_NOT_VALID"),
    "not utf-8": told('{"a": "é"}'.encode("latin-1"), "JSON_NOT_VALID"),
    "utf-16": told('{"a": 1}'.encode("utf-16"), "JSON_NOT_VALID"),
    "more than a document holds": Case(
        [
            File("BAD/parameters.json", json.dumps({"a": "x" * 70_000}).encode()),
            File("BAD/meter.jpg", PHOTO),
        ],
        [("BAD", "", "WORK_ORDER_TOO_LARGE")],
    ),
}

GOOD_FORMS = {
    "data descriptors": Case([File("OK/meter.jpg", PHOTO, descriptor=True)], photos={"OK": 1}),
    "zip64 fields": Case(
        [File("OK64/meter.jpg", PHOTO, zip64=True)], photos={"OK64": 1}, tail=Tail(zip64=True)
    ),
    "utf-8": Case([File("Zoë 山/meter.jpg", PHOTO)], photos={"Zoë 山": 1}),
    "utf-8, not said": Case([File("Œuvre/meter.jpg".encode(), PHOTO)], photos={"Œuvre": 1}),
    "cp437": Case([File("Café/meter.jpg".encode("cp437"), PHOTO)], photos={"Café": 1}),
    "unicode path": Case(
        [File(b"?/meter.jpg", PHOTO, extra=unicode_path(b"?/meter.jpg", "Łódź/meter.jpg"))],
        photos={"Łódź": 1},
    ),
    "accents apart": Case([File("Ame\u0301lie/meter.jpg", PHOTO)], photos={"Amélie": 1}),
    "what systems leave behind": Case(
        [
            File("JUNK/meter.jpg", PHOTO),
            File("JUNK/.DS_Store", b"x"),
            File("JUNK/._meter.jpg", b"x"),
            File("JUNK/Thumbs.db", b"x"),
            File(".DS_Store", b"x"),
            File("__MACOSX/JUNK/._meter.jpg", b"x"),
            File("__MACOSX/deeper/still/meter.jpg", b"x"),
        ],
        photos={"JUNK": 1},
    ),
    "scattered": Case(
        [
            File("S1/meter-1.jpg", jpeg("1")),
            File("S2/meter-1.jpg", jpeg("2")),
            File("S1/meter-2.jpg", jpeg("3")),
            File("S2/metadata.json", b"{}"),
            File("S1/metadata.json", b"{}"),
        ],
        photos={"S1": 2, "S2": 1},
    ),
    "folders twice": Case(
        [File("TWICE/", mode=0o40755), File("TWICE/meter.jpg", PHOTO), File("TWICE/", mode=0o40755)],
        photos={"TWICE": 1},
    ),
    "a comment, a gap, other extra fields": Case(
        [File("MORE/meter.jpg", PHOTO, extra=extra_field(0x5455, b"\3abcd"), local_extra=b"x" * 90)],
        photos={"MORE": 1},
        tail=Tail(comment=b"from the field", gap=b"padding"),
    ),
    "a bom": Case(
        [File("BOM/meter.jpg", PHOTO), File("BOM/metadata.json", b'\xef\xbb\xbf{"floor": 3}')],
        photos={"BOM": 1},
    ),
    "no photographs": Case([File("BARE/metadata.json", b'{"floor": 3}')], photos={"BARE": 0}),
    "what stands between objects as they are sent": Case(
        [File("SENT/meter.jpg", PHOTO + b"\r\n--waybill-object--\r\n" + b"x")], photos={"SENT": 1}
    ),
}


@pytest.mark.parametrize(
    "cases",
    [NAMES, ENTRIES, IMAGES_OF_ALL_SORTS, JSON, GOOD_FORMS],
    ids=["names", "entries", "images", "json", "good"],
)
def test_each_bad_thing_costs_its_own_work_order_alone(world: World, cases: dict[str, Case]) -> None:
    hold(world, cases)


BOTH = [good("A"), good("B")]
WHOLE = zipped(BOTH)

UNREADABLE = {
    "no bytes": (b"", "ARCHIVE_EMPTY"),
    "empty": (zipped([]), "ARCHIVE_EMPTY"),
    "only junk": (zipped([File("__MACOSX/._x", b"x"), File(".DS_Store", b"x")]), "ARCHIVE_EMPTY"),
    "not a zip": (b"<html>Sign in to continue</html>" * 99, "ARCHIVE_NOT_A_ZIP"),
    "cut off in the middle": (WHOLE[: len(WHOLE) // 2], "ARCHIVE_TRUNCATED"),
    "cut off by a byte": (WHOLE[:-1], "ARCHIVE_DAMAGED"),
    "without its beginning": (WHOLE[7:], "ARCHIVE_TRUNCATED"),
    "something before it": (b"#!/bin/sh\n" + WHOLE, "ARCHIVE_DAMAGED"),
    "something after it": (WHOLE + b"more", "ARCHIVE_DAMAGED"),
    "one of several disks": (zipped(BOTH, Tail(end={"disk": 1, "first_disk": 0})), "ARCHIVE_SPLIT"),
    "an encrypted directory": (
        zipped([good("A"), File("B/meter.jpg", PHOTO, flags=1 << 13 | ENCRYPTED)]),
        "ARCHIVE_ENCRYPTED",
    ),
    "lists fewer than it says": (zipped(BOTH, Tail(end={"here": 3, "files": 3})), "ARCHIVE_DAMAGED"),
    "lists more than it says": (zipped(BOTH, Tail(end={"here": 1, "files": 1})), "ARCHIVE_DAMAGED"),
    "a directory beyond its end": (zipped(BOTH, Tail(end={"start": 1 << 30})), "ARCHIVE_TRUNCATED"),
    "noise": (zlib.compress(b"noise") * 5000, "ARCHIVE_NOT_A_ZIP"),
}


def test_an_archive_that_cannot_be_read_fails_as_a_whole_and_says_why(world: World) -> None:
    for name, (archive, code) in UNREADABLE.items():
        shown = world.take_in(archive)
        (row,) = world.errors(shown["id"])
        hold_sentence(row)
        seen = (
            shown["status"],
            shown["error"]["code"],
            row["code"],
            shown["errors"],
            shown["work_orders_done"],
        )
        assert (name, seen) == (name, ("FAILED", code, code, 1, 0))
        assert shown["error"]["message"] == row["message"]
        assert shown["finish_date"] is not None
    assert world.taken_in() == {}
    assert world.suite.storage.list(IMAGES) == []
