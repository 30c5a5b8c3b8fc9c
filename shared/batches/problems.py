"""Everything that can be wrong with a batch: the one list of codes, what each means and what to do.

`docs/customers/batch-errors.md` shows the same list; a test compares them. The sentences are for whoever made
the archive. A code once published keeps its meaning.
"""

import re
from dataclasses import dataclass
from typing import Literal

from shared.errors import WaybillError

Level = Literal["error", "warning"]

NAME_SHOWN = 255
"""How many characters of a name a problem shows: a zip allows 65,535, a document has no room for them."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What would break a line of the errors file, or a terminal.


@dataclass(frozen=True)
class Kind:
    """What a code means, a sentence in which {file} and {work_order} are names, and what to do about it.

    With an `error` what it is about was not taken in; a `warning` cost nothing.
    """

    level: Level
    means: str
    do: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `work_order` and `file` are empty where it concerns none.

    `message` says what happened and what to do, and names the file.
    """

    work_order: str
    file: str
    code: str
    message: str

    @property
    def level(self) -> Level:
        """`error` or `warning`."""
        return KINDS[self.code].level


def problem(code: str, *, work_order: str = "", file: str = "", detail: str = "") -> Problem:
    """The problem of that code. `detail` is a sentence more, as of BadFile; KeyError where no such code."""
    work_order, file = _shown(work_order), _shown(file)
    kind = KINDS[code]
    means = kind.means.format(file=f"“{file}”", work_order=f"“{work_order}”")
    return Problem(
        work_order, file, code, " ".join(part for part in (means, _escaped(detail), kind.do) if part)
    )


def _shown(name: str) -> str:
    if len(name) > NAME_SHOWN:
        name = name[: NAME_SHOWN - 1] + "…"
    return _escaped(name)


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class BadArchive(WaybillError):
    """The whole archive cannot be taken in. `detail` is a sentence about this one, or empty."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(problem(code, detail=detail).message)


class BadFile(WaybillError):
    """One file cannot be taken in. `detail` is a sentence about this one, or empty."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


_AGAIN = "Make the archive again and send it again."
_FILE_AGAIN = "Make the archive again from the original files, and send it again."

KINDS = {
    # The whole archive; the batch fails.
    "UPLOAD_TOO_LARGE": Kind(
        "error",
        "The upload is larger than your limit allows.",
        "Split the work orders over several archives, or ask us for a higher limit.",
    ),
    "ARCHIVE_EMPTY": Kind(
        "error",
        "The archive holds no files.",
        "Check what was put into it, and send it again.",
    ),
    "ARCHIVE_NOT_A_ZIP": Kind(
        "error",
        "The upload is not a zip archive.",
        "Send a file made with “compress” or “zip”; rar, 7z and tar are not read.",
    ),
    "ARCHIVE_TRUNCATED": Kind(
        "error",
        "The archive is incomplete: part of it is missing.",
        "Check that it opens on your computer, and send the whole file again.",
    ),
    "ARCHIVE_DAMAGED": Kind(
        "error",
        "The archive is damaged: its list of files cannot be trusted.",
        f"Check that it opens on your computer. {_AGAIN}",
    ),
    "ARCHIVE_SPLIT": Kind(
        "error",
        "The archive is one part of an archive that was split into several.",
        "Make one archive in one piece and send that.",
    ),
    "ARCHIVE_ENCRYPTED": Kind(
        "error",
        "The archive's list of files is encrypted.",
        "Make the archive without a password and send it again.",
    ),
    "ARCHIVE_TOO_MANY_FILES": Kind(
        "error",
        "The archive holds more files than your limit allows.",
        "Split the work orders over several archives.",
    ),
    "ARCHIVE_TOO_LARGE": Kind(
        "error",
        "The archive's files are, unpacked, larger than your limit allows.",
        "Split the work orders over several archives, or ask us for a higher limit.",
    ),
    "NOTHING_TAKEN_IN": Kind(
        "error",
        "No work order of the archive could be taken in.",
        "See the batch's errors for what is wrong with each, mend that, and send the archive again.",
    ),
    "INTERNAL": Kind(
        "error",
        "Something of ours failed; your archive is not to blame.",
        "Nothing needs mending on your side. Send the archive again, and tell us if it happens twice.",
    ),
    # A file or folder of no work order.
    "FILE_OUTSIDE_FOLDER": Kind(
        "error",
        "The file {file} lies in no work order's folder.",
        "Put it into the folder of its work order, or leave it out.",
    ),
    "UNSAFE_NAME": Kind(
        "error",
        "The name {file} is not that of a plain file in a folder.",
        "Use names without “..”, backslashes, drive letters, control characters, or a “/” at the beginning.",
    ),
    "UNREADABLE_NAME": Kind(
        "error",
        "The name {file} cannot be read: it is not the UTF-8 that it is said to be, is empty, or too long.",
        "Rename the file with a few plain letters and make the archive again.",
    ),
    "BAD_WORK_ORDER_NAME": Kind(
        "error",
        "The folder {work_order} cannot be a work order's name.",
        "Use 1 to 128 letters, digits, “_”, “-”, “.” and spaces between them.",
    ),
    # A file of a work order.
    "NESTED_FOLDER": Kind(
        "error",
        "The file {file} lies in a folder inside the work order's folder.",
        "Put the file directly into the work order's folder.",
    ),
    "UNKNOWN_FILE": Kind(
        "error",
        "The file {file} is neither an image nor metadata.json nor parameters.json.",
        "Send jpg, jpeg, png and webp images and those two files only.",
    ),
    "SYMLINK": Kind(
        "error",
        "The file {file} is only a link to another file.",
        "Put the file itself into the archive.",
    ),
    "ENCRYPTED": Kind(
        "error",
        "The file {file} is encrypted.",
        "Make the archive without a password and send it again.",
    ),
    "UNKNOWN_COMPRESSION": Kind(
        "error",
        "The file {file} is compressed in a way that we do not read.",
        "Make the archive with the usual method, “deflate”, or without compression.",
    ),
    "OVERLAPPING": Kind(
        "error",
        "The file {file} shares its place in the archive with another file.",
        _FILE_AGAIN,
    ),
    "TOO_COMPRESSED": Kind(
        "error",
        "The file {file} would unpack to more than a photograph or a list of parameters ever does.",
        "Check the file; if it is right, make the archive without compression.",
    ),
    "SIZE_DIFFERS": Kind(
        "error",
        "The file {file} has another size than the archive says.",
        _FILE_AGAIN,
    ),
    "CHECKSUM_DIFFERS": Kind(
        "error",
        "The file {file} was damaged: its checksum is not the one that the archive says.",
        _FILE_AGAIN,
    ),
    "DAMAGED": Kind(
        "error",
        "The file {file} is damaged and cannot be unpacked.",
        _FILE_AGAIN,
    ),
    "DUPLICATE_FILE": Kind(
        "error",
        "The file {file} is more than once in the archive, and nothing says which one is meant.",
        "Keep one of them.",
    ),
    "FILE_TOO_LARGE": Kind(
        "error",
        "The file {file} is too large: an image may have 64 MiB, a JSON file 4 MiB.",
        "Send a smaller one.",
    ),
    "EMPTY_FILE": Kind(
        "error",
        "The file {file} is empty.",
        "Send the file with its content, or leave it out.",
    ),
    "NOT_AN_IMAGE": Kind(
        "error",
        "The file {file} is called an image and cannot be read as one.",
        "Check that it opens on your computer, and send it as jpg, png or webp.",
    ),
    "TOO_MANY_PIXELS": Kind(
        "error",
        "The image {file} has more pixels than we read.",
        "Send it in a lower resolution.",
    ),
    "UNKNOWN_TASK_GROUP": Kind(
        "error",
        "The image {file} belongs to no task group of the site.",
        "Name it after a task group, with “-” and a number behind it if there are several.",
    ),
    "JSON_NOT_VALID": Kind(
        "error",
        "The file {file} is not valid JSON.",
        "Correct the file; a JSON checker shows the place.",
    ),
    "JSON_NOT_AN_OBJECT": Kind(
        "error",
        "The file {file} is JSON, but not a dictionary of names and values.",
        'Write it as {"name": "value"}.',
    ),
    "JSON_DUPLICATE_KEY": Kind(
        "error",
        "The file {file} gives a name twice, and nothing says which value is meant.",
        "Keep one of them.",
    ),
    "JSON_TOO_DEEP": Kind(
        "error",
        "The file {file} has lists and dictionaries inside each other more than 64 deep.",
        "Write it flatter.",
    ),
    # A work order.
    "EMPTY_FOLDER": Kind(
        "warning",
        "The folder {work_order} holds no files, and was made no work order.",
        "Nothing, if that is meant; else put its files into it.",
    ),
    "TOO_MANY_FILES": Kind(
        "error",
        "The work order {work_order} has more than 5,000 images.",
        "Split it into several work orders.",
    ),
    "MISSING_PARAMETER": Kind(
        "error",
        "The work order {work_order} lacks a parameter that the site asks for.",
        "Add it to parameters.json.",
    ),
    "WRONG_PARAMETER": Kind(
        "error",
        "A parameter of the work order {work_order} is not as the site asks for it.",
        "Correct it in parameters.json.",
    ),
    "WORK_ORDER_TOO_LARGE": Kind(
        "error",
        "The work order {work_order} is too large to be kept: its metadata, parameters and results together.",
        "Send less metadata, or split it into several work orders.",
    ),
    "MORE_ERRORS": Kind(
        "error",
        "There are more errors than are listed.",
        "Mend those that are listed, and send the archive again.",
    ),
}
"""Every code, in the order of the documentation."""
