"""Archives as customers send them, good and evil, through the real door: what is imported, and what is said
of the rest."""

import csv
import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from google.cloud.firestore_v1 import FieldFilter
from PIL import Image as Picture
from pillow_heif import register_heif_opener

from infra.local.pubsub import Delivery
from shared.accounts.customers import Parameter, add_site
from shared.batches import batch as batches
from shared.batches import folders, importing
from shared.batches.batch import ENDED
from shared.batches.problems import PROBLEM_TYPES
from shared.gcp.documents import count, fields_of
from shared.work import pieces
from shared.work.attempts import HEARTBEAT_SECONDS
from shared.workorders import envelope, images, store, stored
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
from tests.outside import Outside
from tests.world import SITE, World, jpeg

pytestmark = pytest.mark.cuts

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
    levels = [PROBLEM_TYPES[code].level for _, _, code in case.rows]
    folders = {name for name, _, code in case.rows if name and PROBLEM_TYPES[code].level == "error"}
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


OURS = ("ingest_batch", "ingest_work_orders")


def send(world: World, name: str, case: Case) -> Seen:
    """Take the case in, and hold each sentence that is said against the list of codes."""
    before = set(world.imported())
    first, last = first_and_last(name)
    archive = zipped([good(first), *case.files, good(last)], case.tail)
    shown = world.import_archive(archive)
    rows = world.errors(shown["id"])
    for row in rows:
        hold_sentence(row)
    records = world.imported()
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
    type = PROBLEM_TYPES[row["code"]]
    assert set(row) == {"work_order", "file", "code", "level", "message"}, row
    assert row["level"] == type.level, row
    assert row["message"].endswith(type.action), row
    if "{name}" in type.meaning:
        assert f"“{row['file'] or row['work_order']}”" in row["message"], row
    elif "{file}" in type.meaning:
        assert f"“{row['file']}”" in row["message"], row
    elif "{work_order}" in type.meaning:
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


register_heif_opener()  # so that Pillow writes HEIC


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
    "absolute": Case([File("/etc/meter.jpg", PHOTO)], [("", "/etc/meter.jpg", "UNSAFE_NAME")]),
    "drive": Case([File("C:/BAD/meter.jpg", PHOTO)], [("", "C:/BAD/meter.jpg", "UNSAFE_NAME")]),
    "drive and backslashes": Case(
        [File("C:\\BAD\\meter.jpg", PHOTO)], [("", "C:/BAD/meter.jpg", "UNSAFE_NAME")]
    ),
    "backslash": Case([File("BAD/a\\meter.jpg", PHOTO)], [("BAD", "a/meter.jpg", "NESTED_FOLDER")]),
    "nul": Case([File("BAD/meter\0.jpg", PHOTO)], [("BAD", "meter\\u0000.jpg", "UNSAFE_NAME")]),
    "newline": Case([File("BAD/me\nter.jpg", PHOTO)], [("BAD", "me\\u000ater.jpg", "UNSAFE_NAME")]),
    "symlink": Case(
        [File("BAD/meter.jpg", b"/etc/passwd", mode=0o120777)], [("BAD", "meter.jpg", "SYMLINK")]
    ),
    "outside": Case([File("stray.jpg", PHOTO)], [("", "stray.jpg", "FILE_OUTSIDE_FOLDER")]),
    "nested": Case([File("BAD/deeper/meter.jpg", PHOTO)], [("BAD", "deeper/meter.jpg", "NESTED_FOLDER")]),
    "not the utf-8 it claims": Case(
        [File(b"BAD/meter\xff.jpg", PHOTO, flags=UTF8), File("BAD/meter-1.jpg", PHOTO)],
        [("BAD", "meter\\xff.jpg", "UNREADABLE_NAME")],
    ),
    "an unknown code page": Case(
        [File("REPARACIÓN 17/meter.jpg".encode("cp850"), PHOTO)],
        [("REPARACI\\xe0N 17", "", "UNKNOWN_CODE_PAGE")],
    ),
    "a file in an unknown code page": Case(
        [File("BAD/métier.jpg".encode("cp1252"), PHOTO), File("BAD/meter-1.jpg", PHOTO)],
        [("BAD", "m\\xe9tier.jpg", "UNKNOWN_CODE_PAGE")],
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
    "png as jpg": Case(
        [File("PNG/meter.jpg", picture("PNG"))],
        [("PNG", "meter.jpg", "LOW_RESOLUTION")],
        photos={"PNG": 1},
    ),
    "half a header": Case(
        [File("BAD/meter.jpg", picture("JPEG")[:300])], [("BAD", "meter.jpg", "DAMAGED_IMAGE")]
    ),
    "gif as jpg": Case([File("BAD/meter.jpg", picture("GIF"))], [("BAD", "meter.jpg", "NOT_AN_IMAGE")]),
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
            File("KINDS/meter-4.HEIC", picture("HEIF")),
            File("KINDS/meter-5.heif", picture("HEIF", (17, 16))),
        ],
        [
            *[
                ("KINDS", f"meter-{n}", "LOW_RESOLUTION")
                for n in ("1.JPG", "2.jpeg", "3.PnG", "4.HEIC", "5.heif")
            ],
            ("KINDS", "door.webp", "LOW_RESOLUTION"),
        ],
        photos={"KINDS": 6},
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
    "too many lists": told(b'{"a": [' + b"[]," * 200_000 + b"[]]}", "JSON_TOO_MANY_VALUES"),
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
    "backslashes for slashes": Case(
        [File("POWERSHELL\\", mode=0), File("POWERSHELL\\meter.jpg", PHOTO, mode=0)],
        photos={"POWERSHELL": 1},
    ),
    "from here": Case(
        [File("./", mode=0o40755), File("./TAR/", mode=0o40755), File("./TAR/meter.jpg", PHOTO)],
        photos={"TAR": 1},
    ),
    "steps that lead nowhere": Case([File("NOWHERE/.//meter.jpg", PHOTO)], photos={"NOWHERE": 1}),
    "what telephones and file servers leave behind": Case(
        [
            File("PHONE/meter.jpg", PHOTO),
            File("PHONE/.nomedia"),
            File("PHONE/@eaDir/meter.jpg/SYNOPHOTO_THUMB_M.jpg", b"x"),
            File("System Volume Information/IndexerVolumeGuid", b"x"),
            File("Icon\r"),
        ],
        photos={"PHONE": 1},
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
    [
        pytest.param(NAMES, id="names", marks=pytest.mark.slow),
        pytest.param(ENTRIES, id="entries", marks=pytest.mark.slow),
        pytest.param(IMAGES_OF_ALL_SORTS, id="images"),
        pytest.param(JSON, id="json", marks=pytest.mark.slow),
        pytest.param(GOOD_FORMS, id="good", marks=pytest.mark.slow),
    ],
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
        shown = world.import_archive(archive)
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
    assert world.imported() == {}
    assert world.suite.storage.list(IMAGES) == []


def test_an_archive_of_which_nothing_can_be_taken_in_has_failed_and_lists_why(world: World) -> None:
    shown = world.import_archive(zipped([File("BAD/roof.jpg", PHOTO), File("stray.txt", b"x")]))
    assert (shown["status"], shown["error"]["code"]) == ("FAILED", "NOTHING_TAKEN_IN")
    assert shown["error"]["message"].endswith(PROBLEM_TYPES["NOTHING_TAKEN_IN"].action)
    found = [("", "stray.txt", "FILE_OUTSIDE_FOLDER"), ("BAD", "roof.jpg", "UNKNOWN_TASK_GROUP")]
    assert (rows(world, shown), shown["errors"]) == (found, 2)


def test_an_archive_of_an_empty_folder_alone_is_no_failure(world: World) -> None:
    shown = world.import_archive(zipped([File("EMPTY/", mode=0o40755)]))
    assert (shown["status"], shown["work_orders_total"], shown["warnings"]) == ("COMPLETED", 0, 1)
    assert rows(world, shown) == [("EMPTY", "", "EMPTY_FOLDER")]


# --- what a work order becomes


def contents(world: World, name: str) -> dict[str, list[bytes]]:
    """A work order's photographs as they are stored, in their order, by task group."""
    return {
        item["name"]: [
            world.suite.storage.read(IMAGES, f"acme/{SITE}/{each['id']}.{each['file_extension']}")
            for each in item["input"]
        ]
        for item in world.imported()[name]["work_items"]
    }


def document(world: World, name: str) -> dict[str, Any]:
    (found,) = world.cloud.db.collection("work_orders").where(filter=FieldFilter("name", "==", name)).stream()
    return fields_of(found)


def site(world: World, **changes: Any) -> None:
    known: dict[str, Any] = {"name": "North", "task_groups": ("meter", "door"), "required": ("meter",)}
    add_site(world.cloud.db, id=SITE, customer="acme", **(known | changes))


def rows(world: World, shown: dict[str, Any]) -> list[Row]:
    return [(row["work_order"], row["file"], row["code"]) for row in world.errors(shown["id"])]


def test_photographs_are_in_the_order_of_their_numbers_across_task_groups_then_those_without(
    world: World,
) -> None:
    site(world, task_groups=("meter", "door", "door-2"))
    names = ["meter.jpg", "door-10.jpg", "door-2.jpg", "meter-11.jpg", "door.jpg", "door-2-1.jpg"]
    names += ["door-3.jpg", "meter-002.jpg", "door-2-7.JPG"]
    world.import_archive(zipped([File(f"WO/{name}", jpeg(name)) for name in names]))
    assert contents(world, "WO") == {
        "door-2": [jpeg("door-2-1.jpg"), jpeg("door-2-7.JPG"), jpeg("door-2.jpg")],
        "meter": [jpeg("meter-002.jpg"), jpeg("meter-11.jpg"), jpeg("meter.jpg")],
        "door": [jpeg("door-3.jpg"), jpeg("door-10.jpg"), jpeg("door.jpg")],
    }
    lines = images.decode(document(world, "WO")["images"])
    whole = [world.suite.storage.read(IMAGES, f"acme/{SITE}/{each.file_name}") for each in lines]
    assert whole == [
        jpeg(name)
        for name in (
            *("door-2-1.jpg", "meter-002.jpg", "door-3.jpg", "door-2-7.JPG", "door-10.jpg", "meter-11.jpg"),
            *("door-2.jpg", "door.jpg", "meter.jpg"),
        )
    ]


def test_one_folder_that_wraps_everything_is_looked_through(world: World) -> None:
    files = [File("batch 7/", mode=0o40755), File("__MACOSX/batch 7/._WO_1", b"x")]
    files += [File("batch 7/WO_1/meter.jpg", jpeg("1")), File("batch 7/WO_2/door-1.jpg", jpeg("2"))]
    files += [File("batch 7/WO_BAD/deeper/door-1.jpg", jpeg("3")), File("batch 7/read me.txt", b"x")]
    shown = world.import_archive(zipped(files))
    assert set(world.imported()) == {"WO_1", "WO_2"}
    assert contents(world, "WO_2") == {"door": [jpeg("2")]}
    assert rows(world, shown) == [
        ("", "batch 7/read me.txt", "FILE_OUTSIDE_FOLDER"),
        ("WO_BAD", "deeper/door-1.jpg", "NESTED_FOLDER"),
    ]


NAMED_WRONGLY = {
    "meter-1.jpg": ("PNG", "png"),
    "meter-2.png": ("JPEG", "jpg"),
    "meter-3.webp": ("HEIF", "heic"),
    "meter-4.jpg": ("HEIF", "heic"),
    "meter-5.HEIC": ("JPEG", "jpg"),
    "meter-6.jpeg": ("WEBP", "webp"),
    "meter-7.JPEG": ("JPEG", "jpeg"),
}


def test_a_photograph_is_stored_as_it_came_under_the_extension_of_what_it_is(world: World) -> None:
    files = {name: picture(kind, (16 + n, 16)) for n, (name, (kind, _)) in enumerate(NAMED_WRONGLY.items())}
    archive = zipped([File(f"WO/{name}", content) for name, content in files.items()])
    world.import_archive(archive)
    [item] = world.imported()["WO"]["work_items"]
    assert [each["file_extension"] for each in item["input"]] == [own for _, own in NAMED_WRONGLY.values()]
    assert contents(world, "WO") == {"meter": list(files.values())}
    lines = list(images.decode(document(world, "WO")["images"]))
    assert [(each.width, each.height) for each in lines] == [(16 + n, 16) for n in range(len(files))]
    types = {each.name.rpartition(".")[2]: each.content_type for each in world.suite.storage.list(IMAGES)}
    assert types == {
        "png": "image/png",
        "jpg": "image/jpeg",
        "heic": "image/heic",
        "webp": "image/webp",
        "jpeg": "image/jpeg",
    }
    before = document(world, "WO")
    world.import_archive(archive)
    assert document(world, "WO") == before, "the same archive again changes nothing"


def test_an_image_that_is_none_is_named_as_what_it_is(world: World) -> None:
    shown = world.import_archive(
        zipped([File("BAD/meter-1.jpg", picture("GIF")), File("BAD/meter-2.png", png(20_000, 10_000))])
    )
    gif, large = [row["message"] for row in world.errors(shown["id"])]
    assert "It is a GIF image. Send the photograph as jpg, png, webp or heic." in gif
    assert "It has 200,000,000; 100,000,000 are allowed." in large


def test_names_are_read_in_the_code_page_of_the_batch_or_else_of_its_site(world: World) -> None:
    archive = zipped([File("REPARACIÓN 17/door-1.jpg".encode("cp850"), jpeg("1"))])
    refused = world.import_archive(archive)
    counts = (refused["status"], refused["work_orders_total"], refused["work_orders_failed"])
    assert (counts, world.imported()) == (("FAILED", 1, 1), {})
    taken = world.import_archive(archive, code_page="CP850")
    assert (taken["status"], taken["code_page"], set(world.imported())) == (
        "COMPLETED",
        "cp850",
        {"REPARACIÓN 17"},
    )
    site(world, code_page="cp1252")
    world.import_archive(zipped([File("RÉPARATION 2/door-1.jpg".encode("cp1252"), jpeg("1"))]))
    world.import_archive(archive, code_page="850")
    assert set(world.imported()) == {"REPARACIÓN 17", "RÉPARATION 2"}


@pytest.mark.parametrize("code_page", ["latin1", "utf-16", "cp99999", "unicode_escape", "", "850\0", 850])
def test_a_code_page_that_is_none_is_refused_by_name(world: World, code_page: Any) -> None:
    answer = world.request("POST", "/v0.2/batches?site_id=" + SITE, {"code_page": code_page})
    assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, ["code_page"])


def test_parameters_are_held_against_what_the_site_asks_for(world: World) -> None:
    asked = (Parameter("kind", "string"), Parameter("floor", "number", required=False), Parameter("any"))
    world.import_archive(zipped([File("KNOWN/parameters.json", b'{"kind": "copper", "any": []}')]))
    site(world, parameters=asked)
    told = {
        "RIGHT": b'{"kind": "fibre", "any": {"a": 1}, "more": null}',
        "FLOOR": b'{"kind": "fibre", "any": 1, "floor": 2.5}',
        "WRONG": b'{"kind": 7, "any": 1, "floor": true}',
        "LESS": b'{"kind": "fibre", "any": null}',
    }
    files = [File(f"{name}/parameters.json", content) for name, content in told.items()]
    files += [File(f"{name}/meter.jpg", jpeg(name)) for name in (*told, "NONE", "KNOWN")]
    shown = world.import_archive(zipped(files))
    errors = world.errors(shown["id"])
    for row in errors:
        hold_sentence(row)
    assert [
        (row["work_order"], row["file"], row["code"], row["message"].split(".")[1]) for row in errors
    ] == [
        ("WRONG", "parameters.json", "WRONG_PARAMETER", " 'floor' should be a number, and is a boolean"),
        ("WRONG", "parameters.json", "WRONG_PARAMETER", " 'kind' should be a string, and is a number"),
        ("LESS", "parameters.json", "MISSING_PARAMETER", " 'any' is missing"),
        ("NONE", "", "MISSING_PARAMETER", " 'any' is missing"),
        ("NONE", "", "MISSING_PARAMETER", " 'kind' is missing"),
    ]
    assert (shown["work_orders_done"], shown["work_orders_failed"]) == (3, 3)
    assert set(world.imported()) == {"RIGHT", "FLOOR", "KNOWN"}
    assert orjson.loads(document(world, "RIGHT")["parameters"]) == orjson.loads(told["RIGHT"])
    assert orjson.loads(document(world, "KNOWN")["parameters"]) == {"kind": "copper", "any": []}
    assert contents(world, "KNOWN") == {"meter": [jpeg("KNOWN")]}


def test_parameters_that_the_site_does_not_know_are_kept_and_warned_of(world: World) -> None:
    site(world, parameters=(Parameter("kind", "string", required=False), Parameter("floor", "number", False)))
    told = {
        "WO": b'{"knid": "fibre", "floor": 1, "none": null}',
        "MANY": orjson.dumps({f"p{n}": n for n in range(50)}),
    }
    files = [File(f"{name}/parameters.json", content) for name, content in told.items()]
    shown = world.import_archive(zipped([*files, *(File(f"{name}/meter.jpg", jpeg(name)) for name in told)]))
    assert (shown["status"], shown["work_orders_done"], shown["errors"], shown["warnings"]) == (
        "COMPLETED",
        2,
        0,
        21,
    )
    [row] = [row for row in world.errors(shown["id"]) if row["work_order"] == "WO"]
    assert (row["file"], row["code"], row["level"]) == ("parameters.json", "UNKNOWN_PARAMETER", "warning")
    assert "'knid' is none of the site's parameters. Did you mean 'kind'?" in row["message"]
    assert orjson.loads(document(world, "WO")["parameters"]) == orjson.loads(told["WO"])


def test_metadata_and_parameters_are_replaced_where_they_are_sent_and_stay_where_not(world: World) -> None:
    world.import_archive(
        zipped(
            [
                File("BOTH/metadata.json", b'{"a": 1, "b": {"c": [1, 2]}}'),
                File("BOTH/parameters.json", b'{"kind": "fibre"}'),
                File("STAYS/metadata.json", b'{"a": 1}'),
                File("STAYS/parameters.json", b'{"kind": "fibre"}'),
            ]
        )
    )
    world.import_archive(
        zipped(
            [
                File("BOTH/metadata.json", '{"é": 18446744073709551615}'.encode()),
                File("BOTH/parameters.json", b"{}"),
                File("STAYS/meter.jpg", PHOTO),
            ]
        )
    )
    assert world.imported()["BOTH"]["metadata"] == {"é": 2**64 - 1}
    assert document(world, "BOTH")["parameters"] == b"{}"
    assert world.imported()["STAYS"]["metadata"] == {"a": 1}
    assert document(world, "STAYS")["parameters"] == b'{"kind":"fibre"}'
    assert contents(world, "STAYS") == {"meter": [PHOTO]}


# --- the same archive again


def versions(world: World) -> dict[str, Any]:
    """When each work order was last changed, by its name, and the generation of each object."""
    found = {each.get("name"): each.update_time for each in world.cloud.db.collection("work_orders").stream()}
    return found | {each.name: each.generation for each in world.suite.storage.list(IMAGES)}


def folder(name: str) -> list[File]:
    return [
        File(f"{name}/meter-1.jpg", jpeg(f"{name} 1")),
        File(f"{name}/door-2.jpg", jpeg(f"{name} 2")),
        File(f"{name}/metadata.json", b'{"floor": 3}'),
        File(f"{name}/parameters.json", b'{"kind": "fibre"}'),
    ]


def test_the_same_archive_again_changes_nothing_and_one_folder_mended_that_one_alone(world: World) -> None:
    bad = [File("WO_3/meter-1.jpg", b"no image"), File("WO_3/door-2.jpg", jpeg("WO_3 2"))]
    archive = zipped([*folder("WO_1"), *folder("WO_2"), *bad])
    assert world.import_archive(archive)["status"] == "COMPLETED_WITH_ERRORS"
    before = versions(world)
    world.wait(timedelta(hours=1))
    again = world.import_archive(archive)
    assert (again["status"], again["work_orders_done"], again["work_orders_failed"]) == (
        "COMPLETED_WITH_ERRORS",
        2,
        1,
    )
    assert versions(world) == before
    world.wait(timedelta(hours=1))
    more = File("WO_2/meter-7.jpg", jpeg("WO_2 7"))
    fixed = world.import_archive(zipped([*folder("WO_1"), *folder("WO_2"), more, *folder("WO_3")]))
    assert (fixed["status"], fixed["work_orders_done"], fixed["images"]) == ("COMPLETED", 3, 7)
    after = versions(world)
    assert {name for name in before if before[name] != after[name]} == {"WO_2"}
    assert {name for name in set(after) - set(before) if "/" not in name} == {"WO_3"}
    assert contents(world, "WO_2") == {"meter": [jpeg("WO_2 1"), jpeg("WO_2 7")], "door": [jpeg("WO_2 2")]}
    assert contents(world, "WO_3") == {"meter": [jpeg("WO_3 1")], "door": [jpeg("WO_3 2")]}


def test_a_work_order_that_was_deleted_comes_back_as_the_archive_has_it(world: World) -> None:
    archive = zipped([*folder("WO_1"), *folder("WO_2")])
    world.import_archive(archive)
    store.delete(world.cloud, world.site, store.work_order_id(SITE, "WO_1"))
    assert set(world.imported()) == {"WO_2"}
    world.import_archive(archive)
    assert set(world.imported()) == {"WO_1", "WO_2"}
    assert contents(world, "WO_1") == {"meter": [jpeg("WO_1 1")], "door": [jpeg("WO_1 2")]}


# --- bounds


def test_many_problems_are_listed_up_to_a_number_and_counted(world: World) -> None:
    wrong = [File(f"BAD/notes-{number:03}.txt", b"x") for number in range(importing.MAX_PROBLEMS + 5)]
    stray = [File(f"stray-{number:04}.txt", b"x") for number in range(folders.MAX_PROBLEMS + 3)]
    shown = world.import_archive(zipped([good("A"), *wrong, *stray, good("B")]))
    assert set(world.imported()) == {"A", "B"}
    found = rows(world, shown)
    first = [("", f"stray-{number:04}.txt", "FILE_OUTSIDE_FOLDER") for number in range(folders.MAX_PROBLEMS)]
    then = [("BAD", f"notes-{number:03}.txt", "UNKNOWN_FILE") for number in range(importing.MAX_PROBLEMS)]
    assert found == [*first, ("", "", "MORE_ERRORS"), *then, ("BAD", "", "MORE_ERRORS")]
    more = [row["message"] for row in world.errors(shown["id"]) if row["code"] == "MORE_ERRORS"]
    assert ["There are 3 more." in more[0], "5 more of this work order" in more[1]] == [True, True], more
    assert (shown["errors"], shown["work_orders_failed"]) == (len(found), 1)


def test_a_work_order_of_too_many_files_is_told_so_and_read_no_further(world: World) -> None:
    many = [File(f"BAD/meter-{number}.jpg", PHOTO, STORED) for number in range(folders.MAX_FILES + 1)]
    shown = world.import_archive(zipped([good("A"), *many, good("B")]))
    ((name, _, code),) = rows(world, shown)
    assert (name, code, set(world.imported())) == ("BAD", "TOO_MANY_FILES", {"A", "B"})
    assert len(world.suite.storage.list(IMAGES)) == 2


def test_a_work_order_that_gets_too_many_with_the_next_archive_stays_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_INPUTS", 3)
    world.import_archive(zipped([File(f"WO/meter-{number}.jpg", jpeg(str(number))) for number in (1, 2)]))
    more = [File(f"WO/meter-{number}.jpg", jpeg(str(number))) for number in (2, 3, 4)]
    shown = world.import_archive(zipped([good("A"), *more, good("B")]))
    assert rows(world, shown) == [("WO", "", "TOO_MANY_FILES")]
    assert contents(world, "WO") == {"meter": [jpeg("1"), jpeg("2")]}
    assert set(world.imported()) == {"WO", "A", "B"}


@pytest.mark.slow
def test_seventy_thousand_files_of_which_nearly_all_are_junk(world: World) -> None:
    junk = [File(f"__MACOSX/WO_{n // 9}/._meter-{n}.jpg", b"x", STORED) for n in range(70_000)]
    shown = world.import_archive(zipped([good("A"), *junk, good("B")], Tail(zip64=True)))
    assert (shown["status"], shown["work_orders_total"], set(world.imported())) == (
        "COMPLETED",
        2,
        {"A", "B"},
    )


@pytest.mark.slow
def test_a_work_order_of_as_many_files_as_it_may_have(world: World) -> None:
    """Each photograph is small, so that it is soon looked at, and is warned of for that."""

    def small(number: int) -> bytes:
        said = str(number).encode()
        return b"\xff\xd8\xff\xfe" + (len(said) + 2).to_bytes(2) + said + tiny[2:]

    tiny = picture("JPEG")
    many = [File(f"WO/meter-{n}.jpg", small(n), STORED) for n in range(stored.MAX_INPUTS, 0, -1)]
    told = [File("WO/metadata.json", b'{"floor": 3}'), File("WO/parameters.json", b'{"kind": "fibre"}')]
    shown = world.import_archive(zipped([good("A"), *many, *told, good("B")]))
    assert (shown["status"], shown["work_orders_done"], shown["images"]) == ("COMPLETED", 3, 5_002)
    assert contents(world, "WO") == {"meter": [small(n) for n in range(1, stored.MAX_INPUTS + 1)]}
    assert document(world, "WO")["analysis"] == "DONE"


@pytest.mark.slow
def test_json_of_100_megabytes(world: World) -> None:
    large = b'{"a": "' + b"x" * (100 << 20) + b'"}'
    hold(
        world,
        {
            "stored": Case(
                [File("BAD/metadata.json", large, STORED)], [("BAD", "metadata.json", "FILE_TOO_LARGE")]
            ),
            "deflated": Case(
                [File("BAD/metadata.json", large)], [("BAD", "metadata.json", "TOO_COMPRESSED")]
            ),
        },
    )


LIMITS = {
    "as many bytes": ({"batch_bytes": len(WHOLE)}, ""),
    "a byte too many": ({"batch_bytes": len(WHOLE) - 1}, "UPLOAD_TOO_LARGE"),
    "as many files": ({"batch_files": 2}, ""),
    "a file too many": ({"batch_files": 1}, "ARCHIVE_TOO_MANY_FILES"),
}


@pytest.mark.parametrize(("limits", "code"), LIMITS.values(), ids=LIMITS)
def test_a_customer_has_limits_of_its_own(world: World, limits: dict[str, int], code: str) -> None:
    world.cloud.db.document("customers/acme").update(limits)
    shown = world.import_archive(WHOLE)
    assert (shown["error"] or {}).get("code", "") == code
    assert set(world.imported()) == (set() if code else {"A", "B"})


def test_a_bomb_by_its_sum_is_refused_before_anything_is_unpacked(world: World) -> None:
    notes = json.dumps({"a": "ab" * 50_000}).encode()
    archive = zipped([good("A"), *(File(f"WO_{n}/metadata.json", notes) for n in range(100)), good("B")])
    world.cloud.db.document("customers/acme").update({"batch_bytes": len(archive)})
    shown = world.import_archive(archive)
    assert (shown["status"], shown["error"]["code"]) == ("FAILED", "ARCHIVE_TOO_LARGE")
    assert world.imported() == {}


# --- while it runs


@pytest.fixture
def step_by_step(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which each slice has at most four files, and saves after each work order."""
    monkeypatch.setenv("WAYBILL_SLICE_FILES", "4")
    monkeypatch.setattr(importing, "CHUNK_ORDERS", 1)
    return world


SIX = zipped(
    [
        *folder("WO_1"),
        *folder("WO_2"),
        *folder("WO_3"),
        File("BAD_1/roof.jpg", PHOTO),
        File("BAD_2/meter.jpg", b"?"),
        *folder("WO_4"),
    ]
)
OUTCOME = {
    "status": "COMPLETED_WITH_ERRORS",
    "work_orders_total": 6,
    "work_orders_done": 4,
    "work_orders_failed": 2,
    "images": 8,
    "errors": 2,
}
WRONG_OF_SIX = [("BAD_1", "roof.jpg", "UNKNOWN_TASK_GROUP"), ("BAD_2", "meter.jpg", "NOT_AN_IMAGE")]


def outcome(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in OUTCOME}


def deliver(world: World, between: Callable[[Delivery], None]) -> None:
    """Deliver everything, and look after each delivery."""

    def push(delivery: Delivery) -> bool:
        answered = world.push(delivery)
        between(delivery)
        return answered

    while world.suite.pubsub.deliver_due(push):
        pass


def test_progress_and_errors_are_seen_while_it_runs_and_only_grow(step_by_step: World) -> None:
    world = step_by_step
    id = world.batch(SIX)
    assert world.shown(id)["status"] == "WAITING_FOR_UPLOAD"
    seen: list[tuple[str, int, int, int, int]] = []

    def look(delivery: Delivery) -> None:
        shown = world.shown(id)
        counts = [shown[f"work_orders_{name}"] for name in ("done", "failed")]
        now = (shown["status"], *counts, shown["images"], len(world.errors(id)))
        if now not in seen[-1:]:
            seen.append(now)

    deliver(world, look)
    assert seen == [
        ("PROCESSING", 0, 0, 0, 0),
        ("PROCESSING", 1, 0, 2, 0),
        ("PROCESSING", 2, 0, 4, 0),
        ("PROCESSING", 3, 0, 6, 0),
        ("PROCESSING", 3, 2, 6, 2),
        ("PROCESSING", 4, 2, 8, 2),
        ("COMPLETED_WITH_ERRORS", 4, 2, 8, 2),
    ]
    assert outcome(world.shown(id)) == OUTCOME
    assert rows(world, world.shown(id)) == WRONG_OF_SIX


def test_small_slices_come_to_the_same_as_large_ones(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    large = world.import_archive(SIX)
    assert (outcome(large), rows(world, large)) == (OUTCOME, WRONG_OF_SIX)
    before = versions(world)
    for files, size in (("1", "1"), ("4", "1000000"), ("5", "2500")):
        monkeypatch.setenv("WAYBILL_SLICE_FILES", files)
        monkeypatch.setenv("WAYBILL_SLICE_BYTES", size)
        small = world.import_archive(SIX)
        assert (outcome(small), rows(world, small)) == (OUTCOME, WRONG_OF_SIX)
        assert versions(world) == before


def test_an_archive_comes_to_what_its_work_orders_come_to_that_are_made_one_by_one(world: World) -> None:
    names = ["WO_1", "WO_2", "WO_3"]

    def landed() -> dict[str, Any]:
        """Photographs and documents, without what time and the checks of photographs say of them; they are
        removed, so that they can be made anew."""
        found: dict[str, Any] = {}
        for each in world.suite.storage.list(IMAGES):
            found[each.name] = (each.content_type, world.suite.storage.read(IMAGES, each.name))
            world.suite.storage.remove(IMAGES, each.name)
        for snapshot in world.cloud.db.collection("work_orders").stream():
            fields = fields_of(snapshot)
            record = orjson.loads(fields["record"])
            for item in record["work_items"]:
                for one in item["input"]:
                    del one["data_conformity"]
            of_time = ("update_date", "analysis", "checked", "record", "images")
            kept = {name: value for name, value in fields.items() if name not in of_time}
            lines = [replace(image, generation=0) for image in images.decode(fields["images"])]
            found[snapshot.id] = (kept, orjson.dumps(record | {"progress_score": 0}), lines)
            snapshot.reference.delete()
        return found

    world.import_archive(zipped([file for name in names for file in folder(name)]))
    from_archive = landed()
    for name in names:
        store.create(
            world.cloud,
            world.site,
            name,
            metadata={"floor": 3},
            parameters={"kind": "fibre"},
            photographs=[
                store.Photograph(group, f"{group}-{place}.jpg", jpeg(f"{name} {place}"))
                for place, group in enumerate(("meter", "door"), 1)
            ],
        )
    assert landed() == from_archive
    assert len(from_archive) == 3 + 6


@pytest.mark.parametrize(
    ("bound", "value", "seen_done"),
    [
        ("CHUNK_ORDERS", 1, [0, 1, 2, 3, 4, 5, 6]),
        ("CHUNK_FILES", 5, [0, 1, 2, 4, 6]),
        ("CHUNK_JSON_BYTES", 30, [0, 1, 2, 5, 6]),
    ],
)
def test_an_attempt_without_time_does_a_piece_and_leaves_the_rest_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, seen_done: list[int]
) -> None:
    monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "0")
    monkeypatch.setenv("WAYBILL_SLICE_FILES", "100")  # one slice, whatever the suite is run with
    monkeypatch.setattr(importing, bound, value)
    id = world.batch(SIX)
    seen: list[int] = []

    def look(delivery: Delivery) -> None:
        shown = world.shown(id)
        now = shown["work_orders_done"] + shown["work_orders_failed"]
        if now not in seen[-1:]:
            seen.append(now)
        if now == 6:
            monkeypatch.setenv("WAYBILL_ATTEMPT_SECONDS", "60")  # without time, no photograph is checked

    deliver(world, look)
    assert seen == seen_done
    assert (outcome(world.shown(id)), rows(world, world.shown(id))) == (OUTCOME, WRONG_OF_SIX)


def test_what_was_taken_in_before_it_was_cancelled_stays_and_the_rest_is_not(step_by_step: World) -> None:
    world = step_by_step
    id = world.batch(SIX)

    def cancel(delivery: Delivery) -> None:
        if world.shown(id)["work_orders_done"] == 2:
            assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204

    deliver(world, cancel)
    shown = world.shown(id)
    assert (shown["status"], shown["work_orders_done"]) == ("CANCELLED", 2)
    assert set(world.imported()) == {"WO_1", "WO_2"}
    assert world.suite.pubsub.outstanding() == []
    world.wait(timedelta(days=1))
    world.run_due()
    assert (world.shown(id)["status"], set(world.imported())) == ("CANCELLED", {"WO_1", "WO_2"})


def test_cancelled_in_the_middle_of_a_slice_it_stops_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ORDERS", 1)
    id = world.batch(SIX)
    import_many = store.import_many

    def cancel(*told: Any) -> Any:
        written = import_many(*told)
        world.request("DELETE", f"/v0.2/batches/{id}")
        return written

    monkeypatch.setattr(store, "import_many", cancel)
    world.drain()
    assert (world.shown(id)["status"], set(world.imported())) == ("CANCELLED", {"WO_1"})


@pytest.mark.ours_only("waits for the locks of a paused transaction at call after call: minutes")
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_cancelled_at_whatever_call_it_stays_cancelled(world: World, outside: Outside, every: int) -> None:
    at = every // 2 or 1
    while True:
        id = world.batch(zipped([good(f"WO_{at}")]))
        before: list[str] = []

        def cancel(id: str = id, before: list[str] = before) -> None:
            before.append(world.shown(id)["status"])
            assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204

        outside.arm(at, "before", cancel)
        with outside.watching():
            deliver(world, lambda _: None)
        if not before:
            break
        ends = before[0] if before[0] in ENDED else "CANCELLED"
        assert (at, world.shown(id)["status"]) == (at, ends)
        at += every
    assert at > 20
    assert not world.failures, world.failures[0]
    for _ in range(2):
        world.wait(timedelta(days=1))
        world.run_due()
    assert world.open_pieces() == []


def test_a_site_that_changes_while_it_runs_is_taken_as_it_is_then(step_by_step: World) -> None:
    world = step_by_step
    id = world.batch(SIX)

    def change(delivery: Delivery) -> None:
        if world.shown(id)["work_orders_done"] == 2:
            site(world, task_groups=("meter",))

    deliver(world, change)
    assert rows(world, world.shown(id)) == [
        ("WO_3", "door-2.jpg", "UNKNOWN_TASK_GROUP"),
        *WRONG_OF_SIX,
        ("WO_4", "door-2.jpg", "UNKNOWN_TASK_GROUP"),
    ]
    assert set(world.imported()) == {"WO_1", "WO_2"}


def test_a_site_that_goes_while_it_runs_ends_the_batch_and_leaves_what_is_in(step_by_step: World) -> None:
    world = step_by_step
    id = world.batch(SIX)

    def remove(delivery: Delivery) -> None:
        if world.shown(id)["work_orders_done"] == 2:
            world.cloud.db.document(f"sites/{SITE}").delete()

    deliver(world, remove)
    for _ in range(60):
        world.wait(timedelta(minutes=11))
        world.tick()
        world.drain()
        if world.shown(id)["finish_date"] and not world.suite.pubsub.outstanding():
            break
    shown = world.shown(id)
    assert (shown["status"], (shown["error"] or {}).get("code")) == ("FAILED", "INTERNAL"), shown
    assert set(world.imported()) == {"WO_1", "WO_2"}


def test_a_batch_whose_plan_always_fails_says_so_to_its_customer_and_to_operators(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails as INTERNAL, which is the one line of its errors file."""

    def fault(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(folders, "plan", fault)
    id = world.batch(WHOLE)
    for _ in range(15):
        world.drain()
        world.wait(timedelta(minutes=11))
        world.tick()
    world.drain()
    shown, told = world.shown(id), fields_of(world.cloud.db.document(f"batches/{id}").get())
    sentence = "Waybill failed; your archive did not cause it."
    assert (shown["status"], shown["error"]["code"], shown["errors"]) == ("FAILED", "INTERNAL", 1), shown
    assert shown["error"]["message"].startswith(sentence)
    assert [(row["code"], row["message"].startswith(sentence)) for row in world.errors(id)] == [
        ("INTERNAL", True)
    ]
    assert "plan was begun 10 times" in told["error"]
    assert "ZeroDivisionError" in told["error"]
    assert "functions' logs" in told["next_action"]
    assert len(world.failures) == 10


@pytest.mark.slow
def test_slices_that_save_side_by_side_seldom_write_their_batch(step_by_step: World) -> None:
    """A document takes about one write a second, however many slices save."""
    world = step_by_step
    id = world.batch(zipped([good(f"WO_{number:02}") for number in range(80)]))
    reference = world.cloud.db.document(f"batches/{id}")
    written: list[Any] = []

    def look(_: Delivery) -> None:
        world.wait(timedelta(seconds=2))
        document = reference.get()
        if document.get("state") == "PROCESSING":
            written.append(document.update_time)

    deliver(world, look)
    assert world.shown(id)["work_orders_done"] == 80
    assert len(written) > 20  # one a slice
    assert len(set(written)) <= 2 + 2 * len(written) / HEARTBEAT_SECONDS, set(written)


@pytest.mark.slow
def test_an_archive_of_12000_slices_is_planned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Firestore, here as there, refuses a commit of more than 10 MiB, index entries counted."""
    monkeypatch.setenv("WAYBILL_SLICE_FILES", "1")
    id = world.batch(zipped([File(f"WO_{number}/metadata.json", b"{}", STORED) for number in range(12_000)]))
    world.suite.pubsub.deliver_due(world.push)
    assert not world.failures, world.failures[0]
    shown, batch = world.shown(id), batches.get(world.cloud, id)
    assert (shown["status"], shown["work_orders_total"]) == ("PROCESSING", 12_000)
    assert batch is not None
    assert batch.slices is not None
    assert count(pieces.of_plan(world.cloud, batch.path, batch.slices, ["OPEN", "QUEUED"])) == 12_000
    assert world.request("DELETE", f"/v0.2/batches/{id}").status == 204


def test_an_archive_makes_no_record_larger_than_one_may_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "RECORD_BYTES", 2_000)
    metadata = [json.dumps({"a": "x" * size}).encode() for size in (1_000, 3_000)]
    files = [File(f"{name}/metadata.json", one) for name, one in zip(("OK", "BAD"), metadata, strict=True)]
    shown = world.import_archive(zipped([*files, good("OK"), good("BAD"), good("ALSO")]))
    assert (shown["status"], shown["work_orders_failed"]) == ("COMPLETED_WITH_ERRORS", 1)
    errors = [line for line in world.errors(shown["id"]) if line["level"] == "error"]
    assert [(line["work_order"], line["code"]) for line in errors] == [("BAD", "WORK_ORDER_TOO_LARGE")]


# --- the errors file


def test_the_errors_file_is_the_same_as_json_lines_and_as_csv_but_for_what_spreadsheets_run(
    world: World,
) -> None:
    nasty = [
        '=HYPERLINK("http:evil","x").jpg',
        "+1.jpg",
        "-1.jpg",
        "@SUM(A1).jpg",
        'a,"b".jpg',
        "é\u2028.jpg",
    ]
    files = [File(f"-2/{name}", PHOTO) for name in nasty]
    shown = world.import_archive(zipped([good("A"), *files, File("=1.txt", b"x"), good("B")]))
    lines = world.errors(shown["id"])
    answer = world.request("GET", f"/v0.2/batches/{shown['id']}/errors?format=csv")
    read = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert len(lines) == 7

    def harmless(text: str) -> str:
        return f"'{text}" if text[:1] in tuple("=+-@") else text

    assert read == [{name: harmless(value) for name, value in line.items()} for line in lines]
    assert [row["file"] for row in read] == [
        "'=1.txt",
        *("'+1.jpg", "'-1.jpg", '\'=HYPERLINK("http:evil","x").jpg', "'@SUM(A1).jpg", 'a,"b".jpg'),
        "é\\u2028.jpg",
    ]
    assert {row["work_order"] for row in read[1:]} == {"'-2"}


def test_a_batch_without_errors_has_an_empty_errors_file(world: World) -> None:
    shown = world.import_archive(WHOLE)
    path = f"/v0.2/batches/{shown['id']}/errors"
    assert world.request("GET", path).body == b""
    assert world.request("GET", f"{path}?format=csv").body == b"work_order,file,code,level,message\r\n"
