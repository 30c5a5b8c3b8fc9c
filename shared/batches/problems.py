"""The errors and warnings of a batch: the one list of codes, what each means and what to do.

`docs/customers/batch-errors.md` shows the same list; a test compares them. The sentences are written for the
person who made the archive. A published code keeps its meaning.
"""

import re
from dataclasses import dataclass
from typing import Literal

from shared.errors import WaybillError

Level = Literal["error", "warning"]

MAX_NAME_SHOWN = 255
"""The most characters of a name that a problem shows. A zip allows names of 65,535 bytes; a document has no
room for those."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Characters that would break a line of the errors file, or a terminal, or turn round what stands behind them:
# https://www.unicode.org/reports/tr9/#Explicit_Directional_Embeddings


@dataclass(frozen=True)
class ProblemType:
    """What a code means, and what to do about it.

    level    `error`: the work order or the file was not imported; `warning`: everything was imported
    meaning  a sentence; {file} and {work_order} stand for the names, {name} for the first of them that there
             is
    action   what to do, a sentence
    """

    level: Level
    meaning: str
    action: str


@dataclass(frozen=True)
class Problem:
    """One error or warning. `work_order` and `file` are empty where the problem has none.

    `message` says what happened and what to do, and names the file.
    """

    work_order: str
    file: str
    code: str
    message: str

    @property
    def level(self) -> Level:
        """`error` or `warning`."""
        return PROBLEM_TYPES[self.code].level


def problem(code: str, *, work_order: str = "", file: str = "", detail: str = "") -> Problem:
    """A problem with this code. `detail` is one more sentence. KeyError if there is no such code."""
    work_order, file = _shown(work_order), _shown(file)
    type = PROBLEM_TYPES[code]
    meaning = type.meaning.format(
        file=f"“{file}”", work_order=f"“{work_order}”", name=f"“{file or work_order}”"
    )
    sentences = [each for each in (meaning, _escaped(detail), type.action) if each]
    return Problem(work_order, file, code, " ".join(sentences))


def _shown(name: str) -> str:
    if len(name) > MAX_NAME_SHOWN:
        name = name[: MAX_NAME_SHOWN - 1] + "…"
    return _escaped(name)


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class BadArchive(WaybillError):
    """The whole archive cannot be imported. `detail` is a sentence about this archive, or empty."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(problem(code, detail=detail).message)


class BadFile(WaybillError):
    """One file cannot be imported. `detail` is a sentence about this file, or empty."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


_AGAIN = "Make the archive again and send it again."
_FILE_AGAIN = "Make the archive again from the original files, and send it again."
_LOOK = "Look at it. If it does not show what it should, take the photograph again"

PROBLEM_TYPES = {
    # The whole archive; the batch fails.
    "UPLOAD_TOO_LARGE": ProblemType(
        "error",
        "The upload is larger than your limit allows.",
        "Split the work orders over several archives, or ask us for a higher limit.",
    ),
    "ARCHIVE_EMPTY": ProblemType(
        "error",
        "The archive holds no files.",
        "Check that you packed the right folder, and send the archive again.",
    ),
    "ARCHIVE_NOT_A_ZIP": ProblemType(
        "error",
        "The upload is not a zip archive.",
        "Send a zip file; rar, 7z and tar files are not supported.",
    ),
    "ARCHIVE_TRUNCATED": ProblemType(
        "error",
        "The archive is incomplete: part of it is missing.",
        "Check that it opens on your computer, and send the whole file again.",
    ),
    "ARCHIVE_DAMAGED": ProblemType(
        "error",
        "The archive is damaged: its list of files contradicts itself.",
        f"Check that it opens on your computer. {_AGAIN}",
    ),
    "ARCHIVE_SPLIT": ProblemType(
        "error",
        "The archive is only one part of a split archive.",
        "Make one archive that is not split, and send it.",
    ),
    "ARCHIVE_ENCRYPTED": ProblemType(
        "error",
        "The archive's list of files is encrypted.",
        "Make the archive without a password and send it again.",
    ),
    "ARCHIVE_TOO_MANY_FILES": ProblemType(
        "error",
        "The archive holds more files than your limit allows.",
        "Split the work orders over several archives.",
    ),
    "ARCHIVE_TOO_LARGE": ProblemType(
        "error",
        "The archive's files are larger, once unpacked, than your limit allows.",
        "Split the work orders over several archives, or ask us for a higher limit.",
    ),
    "NOTHING_TAKEN_IN": ProblemType(
        "error",
        "No work order of the archive could be imported.",
        "Fix the errors that the batch lists, and send the archive again.",
    ),
    "INTERNAL": ProblemType(
        "error",
        "Waybill failed; your archive did not cause it.",
        "Send the archive again. If it fails again, contact us.",
    ),
    # A file or folder of no work order.
    "FILE_OUTSIDE_FOLDER": ProblemType(
        "error",
        "The file {file} is not in a work order's folder.",
        "Move it into the folder of its work order, or remove it.",
    ),
    "UNSAFE_NAME": ProblemType(
        "error",
        "The name {file} is not a safe file name.",
        "Use names without “..”, drive letters or control characters, and no “/” at the start.",
    ),
    "UNREADABLE_NAME": ProblemType(
        "error",
        "The name {file} cannot be read: it is not valid UTF-8, is empty, or is too long.",
        "Rename the file with a few plain letters, and make the archive again.",
    ),
    "UNKNOWN_CODE_PAGE": ProblemType(
        "error",
        "The name {name} is not in UTF-8, and its code page is not known.",
        "Make a batch that names the archive's code_page, or make the archive with names in UTF-8.",
    ),
    "BAD_WORK_ORDER_NAME": ProblemType(
        "error",
        "The folder name {work_order} cannot be the name of a work order.",
        "Use 1 to 128 letters, digits, “_”, “-” and “.”, with spaces only between them.",
    ),
    # A file of a work order.
    "NESTED_FOLDER": ProblemType(
        "error",
        "The file {file} is in a folder inside the work order's folder.",
        "Move the file directly into the work order's folder.",
    ),
    "UNKNOWN_FILE": ProblemType(
        "error",
        "The file {file} is not an image, metadata.json or parameters.json.",
        "Send only jpg, jpeg, png, webp and heic images, and these two files.",
    ),
    "SYMLINK": ProblemType(
        "error",
        "The file {file} is a symbolic link to another file.",
        "Put the other file itself into the archive.",
    ),
    "ENCRYPTED": ProblemType(
        "error",
        "The file {file} is encrypted.",
        "Make the archive without a password and send it again.",
    ),
    "UNKNOWN_COMPRESSION": ProblemType(
        "error",
        "The file {file} is compressed with a method that is not supported.",
        "Make the archive with the usual method, “deflate”, or without compression.",
    ),
    "OVERLAPPING": ProblemType(
        "error",
        "The file {file} overlaps another file in the archive.",
        _FILE_AGAIN,
    ),
    "TOO_COMPRESSED": ProblemType(
        "error",
        "The file {file} is compressed more than a photograph or a list of parameters can be.",
        "Check the file. If it is right, make the archive without compression.",
    ),
    "SIZE_DIFFERS": ProblemType(
        "error",
        "The file {file} does not have the size that the archive gives for it.",
        _FILE_AGAIN,
    ),
    "CHECKSUM_DIFFERS": ProblemType(
        "error",
        "The file {file} is damaged: it does not have the checksum that the archive gives for it.",
        _FILE_AGAIN,
    ),
    "DAMAGED": ProblemType(
        "error",
        "The file {file} is damaged and cannot be unpacked.",
        _FILE_AGAIN,
    ),
    "DUPLICATE_FILE": ProblemType(
        "error",
        "The file {file} is in the archive more than once.",
        "Keep one of them.",
    ),
    "FILE_TOO_LARGE": ProblemType(
        "error",
        "The file {file} is too large: an image may have at most 64 MiB, a JSON file at most 4 MiB.",
        "Send a smaller file.",
    ),
    "EMPTY_FILE": ProblemType(
        "error",
        "The file {file} is empty.",
        "Send the file with its content, or remove it.",
    ),
    "NOT_AN_IMAGE": ProblemType(
        "error",
        "The file {file} is called an image and cannot be read as one.",
        "Send the photograph as jpg, png, webp or heic.",
    ),
    "DAMAGED_IMAGE": ProblemType(
        "error",
        "The image {file} is damaged: it ends, or says nothing that is an image's, before its first pixel.",
        "Check that it opens on your computer, and send it again.",
    ),
    "TOO_MANY_PIXELS": ProblemType(
        "error",
        "The image {file} has too many pixels.",
        "Send it in a lower resolution.",
    ),
    "UNKNOWN_TASK_GROUP": ProblemType(
        "error",
        "The image {file} belongs to no task group of the site.",
        "Name it after a task group, with “-” and a number behind it if there are several.",
    ),
    "JSON_NOT_VALID": ProblemType(
        "error",
        "The file {file} is not valid JSON.",
        "Correct the file; a JSON checker shows the place.",
    ),
    "JSON_NOT_AN_OBJECT": ProblemType(
        "error",
        "The file {file} is valid JSON, but not an object.",
        'Write it as {"name": "value"}.',
    ),
    "JSON_DUPLICATE_KEY": ProblemType(
        "error",
        "The file {file} has the same name twice in one object.",
        "Keep one of them.",
    ),
    "JSON_HOLDS_NUL": ProblemType(
        "error",
        "The file {file} has a text with a NUL character (\\u0000).",
        "Remove the character; many programs cannot read it.",
    ),
    "JSON_TOO_DEEP": ProblemType(
        "error",
        "The file {file} has lists and objects nested more than 64 deep.",
        "Nest them less deeply.",
    ),
    "JSON_TOO_MANY_VALUES": ProblemType(
        "error",
        "The file {file} has more than 200,000 lists and objects, or a million values.",
        "Send fewer, or write them as one text.",
    ),
    # A photograph that was imported, and what its checks found: the codes of `data_conformity`.
    "UNREADABLE": ProblemType(
        "warning",
        "The image {file} was imported, but cannot be shown: its pixels are damaged or incomplete.",
        "Check that it opens on your computer, and send the photograph again.",
    ),
    "MISSING": ProblemType(
        "warning",
        "The image {file} was imported, but is gone from Waybill's storage; your archive did not cause it.",
        "Send the photograph again.",
    ),
    "TAKES_TOO_LONG": ProblemType(
        "warning",
        "The image {file} was imported, but not checked: decoding it takes too long.",
        "Save it again as an ordinary JPEG, and send that.",
    ),
    "TAKES_TOO_MUCH_MEMORY": ProblemType(
        "warning",
        "The image {file} was imported, but not checked: decoding it takes too much memory.",
        "Save it again as an ordinary JPEG, or send it in a lower resolution.",
    ),
    "LOW_RESOLUTION": ProblemType(
        "warning",
        "The image {file} was imported, but is small.",
        "Send the photograph as the camera made it, not a preview of it.",
    ),
    "BLURRED": ProblemType(
        "warning",
        "The image {file} was imported, but is blurred.",
        f"{_LOOK}.",
    ),
    "TOO_DARK": ProblemType(
        "warning",
        "The image {file} was imported, but is too dark.",
        f"{_LOOK}, with more light.",
    ),
    "TOO_BRIGHT": ProblemType(
        "warning",
        "The image {file} was imported, but is too bright.",
        f"{_LOOK}, with less light.",
    ),
    "DUPLICATE": ProblemType(
        "warning",
        "The image {file} was imported, but is the same as another image of its work order.",
        "If it should be another photograph, send that one. Otherwise there is nothing to do.",
    ),
    "MORE_WARNINGS": ProblemType(
        "warning",
        "There are more warnings about the images of the work order {work_order} than this list shows.",
        "Look at the work order: each of its inputs has them in data_conformity.",
    ),
    # A work order.
    "EMPTY_FOLDER": ProblemType(
        "warning",
        "The folder {work_order} holds no files. No work order was made of it.",
        "If it should be a work order, put its files into it. Otherwise there is nothing to do.",
    ),
    "TOO_MANY_FILES": ProblemType(
        "error",
        "The work order {work_order} has more than 5,000 images.",
        "Split it into several work orders.",
    ),
    "MISSING_PARAMETER": ProblemType(
        "error",
        "The work order {work_order} lacks a parameter that the site requires.",
        "Add it to parameters.json.",
    ),
    "WRONG_PARAMETER": ProblemType(
        "error",
        "A parameter of the work order {work_order} is not as the site asks for it.",
        "Correct it in parameters.json.",
    ),
    "UNKNOWN_PARAMETER": ProblemType(
        "warning",
        "The work order {work_order} has a parameter that the site does not ask for. It was stored.",
        "If its name is mistyped, correct it in parameters.json. Otherwise there is nothing to do.",
    ),
    "WORK_ORDER_TOO_LARGE": ProblemType(
        "error",
        "The work order {work_order} is too large to store: its metadata, parameters and results together.",
        "Send less metadata, or split it into several work orders.",
    ),
    "MORE_ERRORS": ProblemType(
        "error",
        "There are more errors than this list shows.",
        "Fix the listed errors, and send the archive again.",
    ),
}
"""Every code, in the order of the documentation."""
