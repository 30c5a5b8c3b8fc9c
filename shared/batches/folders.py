"""Which files of an archive make which work order: one folder each, gathered from wherever its files lie.

Everything is decided here by names and sizes alone, before any file is read. A file that cannot be imported
stays in its work order's folder with its problem, and costs only itself.
"""

import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from shared.batches.archive import HERE, Entry, decode, decode_one, encode, readings
from shared.batches.problems import BadArchive, Problem, problem
from shared.workorders import pictures

IMAGE_EXTENSIONS = frozenset(pictures.EXTENSIONS)
"""What an image's name may end in, in any case. It may be of another of these kinds than its name says."""

JSON_NAMES = frozenset({"metadata.json", "parameters.json"})
"""What the other two files of a work order are called."""

IMAGE_LARGEST = 64 << 20
"""The most bytes of an image: it is held in memory."""

JSON_LARGEST = 4 << 20
"""The most bytes of a JSON file: a record is to fit into a document."""

MAX_FILES = 5_002
"""The most files of a work order: 5,000 images and the two JSON files."""

READINGS_SHOWN = 3
"""In how many code pages a name that cannot be read is shown."""

MAX_PROBLEMS = 1_000
"""How many errors of no work order are listed, and how many empty folders."""

NAME_LONGEST = 128
"""The most characters of a work order's name."""

_JUNK_FOLDERS = (
    # macOS and its file servers: https://github.com/github/gitignore/blob/main/Global/macOS.gitignore
    r"__MACOSX|\.Spotlight-V100|\.Trashes?|\.fseventsd|\.TemporaryItems|\.DocumentRevisions-V100|\.AppleD\w+",
    r"Network Trash Folder|Temporary Items",
    # Windows
    r"System Volume Information|\$RECYCLE\.BIN",
    # network drives of Synology, QNAP, NetApp
    r"@eaDir|@tmp|@sharebin|#recycle|#snapshot|@Recycle|@Recently-Snapshot|\.@\w+|[.~]snapshot",
    # Linux, Android, and programs that keep folders in step
    r"lost\+found|\.Trash-\d+|\.thumbnails|LOST\.DIR|\.android_secure",
    r"\.dropbox\.cache|\.stfolder|\.stversions|\.tmp\.drive(?:down|up)load",
)
_JUNK_FILES = (
    # macOS; a folder's icon is called “Icon” and a carriage return, which file servers write as U+F00D
    r"\._[^/]*|Icon[\r\uf00d]",
    # Windows
    r"thumbs\.db(?::encryptable)?|ehthumbs(?:_vista)?\.db|desktop\.ini|picasa\.ini|[^/]*[:\uf03a]Zone\.Identifier",
    # a document that is open in Office; Synology's attributes of a file
    r"~\$[^/]*|[^/]*@Syno(?:EAStream|Resource)",
    # photographs that an Android telephone has deleted or not yet finished
    r"\.(?:trashed|pending)-[^/]*",
    # whatever else is hidden, but for what is named as a photograph
    rf"\.(?!\.?\Z|(?:[^/]*\.)?(?:{'|'.join(sorted(IMAGE_EXTENSIONS))})\Z)[^/]+",
)
_JUNK = re.compile(
    rf"(?:\A|/)(?:(?:{'|'.join(_JUNK_FOLDERS)})(?:/|\Z)|(?:{'|'.join(_JUNK_FILES)})\Z)", re.IGNORECASE
)
# What operating systems, file servers and telephones leave in folders that people look at.

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile(r"\A[A-Za-z]:")

_INDEX = struct.Struct(">I")
# What a line is sorted by, before its place in the archive: the number of its folder.

_NOT_A_NAME = -1
_NO_FILES = -2
# In a number's place: the folder's name cannot be a work order's; or no file of it has been seen.


@dataclass(frozen=True, slots=True)
class Folder:
    """A work order as the archive has it.

    name          the work order's name
    lines         its entries, as `archive.encode` makes them, in the order of their offsets
    files         how many those are
    packed_bytes  how much of the archive is to be read for them: those with a problem are not
    """

    name: str
    lines: bytes
    files: int
    packed_bytes: int


@dataclass(frozen=True)
class Plan:
    """What an archive holds.

    folders   one for each work order, in the order of their first files; to be gone through once
    problems  of the files and folders that make none: at most MAX_PROBLEMS errors, the number of further
              ones as MORE_ERRORS, and at most MAX_PROBLEMS empty folders
    failed    how many folders make none though they hold files
    """

    folders: Iterator[Folder]
    problems: list[Problem]
    failed: int


def kind(name: str) -> Literal["image", "json", ""]:
    """What a file is by its name alone; empty where it is nothing of a work order's."""
    if name in JSON_NAMES:
        return "json"
    stem, _, extension = name.rpartition(".")
    return "image" if stem and extension.lower() in IMAGE_EXTENSIONS else ""


def plan(lines: Iterable[bytes], code_page: str = "") -> Plan:
    """The work orders of the entries of `archive.directory`, which was given that code page.

    1. leave out what operating systems leave behind
    2. look through one folder that wraps everything
    3. number the folders, and list what lies in none
    4. gather each folder's entries, and find what is wrong with them

    BadArchive ARCHIVE_EMPTY where nothing but junk is in it. A million entries stay lines throughout.
    """
    kept, wrapper = _survey(lines)
    if not kept:
        raise BadArchive("ARCHIVE_EMPTY", "It holds only files that the operating system added.")
    problems, failed = _number(kept, wrapper, code_page)
    return Plan(_gather(kept, wrapper), problems, failed)


def read(lines: bytes) -> Iterator[tuple[str, list[Entry]]]:
    """The work orders of a slice of a plan, each with its entries."""
    for name, entries in groupby(decode(lines), key=lambda entry: entry.work_order):
        yield name, list(entries)


def slices(
    folders: Iterable[Folder], *, files: int, packed_bytes: int, folders_most: int
) -> Iterator[list[Folder]]:
    """Whole folders in their order, as many as stay within the bounds; a larger one is a slice of its own."""
    slice_: list[Folder] = []
    files_left, bytes_left = files, packed_bytes
    for folder in folders:
        files_left -= folder.files
        bytes_left -= folder.packed_bytes
        if slice_ and (files_left < 0 or bytes_left < 0 or len(slice_) == folders_most):
            yield slice_
            slice_ = []
            files_left, bytes_left = files - folder.files, packed_bytes - folder.packed_bytes
        slice_.append(folder)
    if slice_:
        yield slice_


def _survey(lines: Iterable[bytes]) -> tuple[list[bytes], str]:
    """The lines without junk, and the folder that wraps all files, with its slash, or nothing.

    Only files whose names are in order have a say in what wraps: an evil one must not cost the others.
    """
    kept: list[bytes] = []
    wrapper, wraps, deeper = "", True, False
    for line in lines:
        entry = decode_one(line)
        path = entry.path
        if path == HERE or _JUNK.search(path):
            continue
        kept.append(line)
        if not wraps or path.endswith("/") or _unnamed(entry):
            continue
        first, slash, rest = path.partition("/")
        wrapper = wrapper or first
        wraps = first == wrapper and slash != "" and ("/" in rest or not kind(rest))
        deeper = deeper or "/" in rest
    return kept, f"{wrapper}/" if wraps and deeper else ""


def _unnamed(entry: Entry) -> bool:
    """Whether its name says nothing that can be relied upon."""
    if entry.problem == "UNREADABLE_NAME":
        return True
    return _escapes(entry.path) or _CONTROL.search(entry.path) is not None


def _escapes(path: str) -> bool:
    """Whether a path leads out of the archive."""
    return path.startswith("/") or "/../" in f"/{path}/" or _DRIVE.match(path) is not None


def unknown_code_page(entry: Entry, wrapped: bool, code_page: str) -> str:
    """A sentence about a name that cannot be read in that code page, or where there is none: how its folder
    would read in others, or its file where the folder can be read."""
    if code_page:
        return f"It is not in {code_page}, which was named as the code page."
    step = int(wrapped)
    if "\\" not in entry.path.split("/")[step]:
        step += 1
    shown: dict[str, str] = {}
    for page, path in readings(entry).items():
        steps = path.split("/")
        if len(steps) > step and steps[step].isprintable():
            shown.setdefault(steps[step], page)
    could = [f"“{name}” in {page}" for name, page in shown.items()]
    return f"It would be {', '.join(could[:READINGS_SHOWN])}." if could else ""


def _number(kept: list[bytes], wrapper: str, code_page: str) -> tuple[list[Problem], int]:
    """Put before each line the number of its folder, in the order of their first files.

    What lies in no work order's folder leaves the list; returned are the problems, and how many folders have
    a name that cannot be a work order's.
    """
    numbers: dict[str, int] = {}
    usable = left = 0
    listing = _Listing()
    for line in kept:
        entry = decode_one(line)
        readable = entry.problem != "UNREADABLE_NAME"
        safe = not _unnamed(entry)
        folder, slash, _ = entry.path.removeprefix(wrapper).partition("/")
        if entry.path.endswith("/"):
            if folder and safe:
                numbers.setdefault(folder, _NO_FILES)
            continue
        if not (slash and entry.path.startswith(wrapper)):
            listing.add(_outside(entry, safe))
            continue
        number = numbers.get(folder, _NO_FILES)
        if number == _NO_FILES and _usable(folder):
            number = numbers[folder] = usable
            usable += 1
        if number >= 0:
            kept[left] = _INDEX.pack(number) + line
            left += 1
        elif not readable or _escapes(entry.path):
            listing.add(_outside(entry, safe))
            if not _escapes(entry.path):
                numbers[folder] = _NOT_A_NAME
        elif number == _NO_FILES:
            numbers[folder] = _NOT_A_NAME
            if "\\" in folder:
                detail = unknown_code_page(entry, bool(wrapper), code_page)
                listing.add(problem("UNKNOWN_CODE_PAGE", work_order=folder, detail=detail))
            else:
                listing.add(problem("BAD_WORK_ORDER_NAME", work_order=folder))
    del kept[left:]
    empty = [name for name, number in numbers.items() if number == _NO_FILES]
    failed = sum(number == _NOT_A_NAME for number in numbers.values())
    return listing.problems() + _empty(empty), failed


def _outside(entry: Entry, safe: bool) -> Problem:
    """What is wrong with a file that lies in no work order's folder."""
    if entry.problem == "UNREADABLE_NAME":
        return problem("UNREADABLE_NAME", file=entry.path)
    return problem("FILE_OUTSIDE_FOLDER" if safe else "UNSAFE_NAME", file=entry.path)


def _empty(names: list[str]) -> list[Problem]:
    """A warning for each folder without files; the last that is listed tells how many are not."""
    found = [problem("EMPTY_FOLDER", work_order=name) for name in names[:MAX_PROBLEMS]]
    if len(names) > MAX_PROBLEMS:
        more = f"The same holds for {len(names) - MAX_PROBLEMS:,} more folders."
        found[-1] = problem("EMPTY_FOLDER", work_order=names[MAX_PROBLEMS - 1], detail=more)
    return found


def _usable(name: str) -> bool:
    """Whether this can be a work order's name. Marks count as letters: many scripts write vowels so."""
    return (
        0 < len(name) <= NAME_LONGEST
        and name not in (".", "..")
        and name == name.strip(" ")
        and all(c.isalnum() or c in "_-. " or unicodedata.category(c).startswith("M") for c in name)
    )


def _gather(numbered: list[bytes], wrapper: str) -> Iterator[Folder]:
    """The folders, from lines with their numbers; the list is emptied on the way."""
    numbered.sort(reverse=True)
    while numbered:
        number = numbered[-1][: _INDEX.size]
        entries: list[Entry] = []
        while numbered and numbered[-1][: _INDEX.size] == number:
            line = numbered.pop()
            if len(entries) <= MAX_FILES:
                entry = decode_one(line[_INDEX.size :])
                entries.append(entry._replace(wrapped=True) if wrapper else entry)
        yield _folder(entries)


def _folder(entries: list[Entry]) -> Folder:
    name = entries[0].work_order
    if len(entries) > MAX_FILES:
        return Folder(name, encode(entries[0]._replace(problem="TOO_MANY_FILES")), 1, 0)
    times = Counter([entry.path for entry in entries])
    lines: list[bytes] = []
    packed_bytes = 0
    for entry in entries:
        code = entry.problem or _problem(entry, times[entry.path] > 1)
        lines.append(encode(entry._replace(problem=code) if code else entry))
        if not code:
            packed_bytes += entry.packed
    return Folder(name, b"".join(lines), len(lines), packed_bytes)


def _problem(entry: Entry, twice: bool) -> str:
    """What is wrong with a file of a work order, by its name and size."""
    if _unnamed(entry):
        return "UNSAFE_NAME"
    name = entry.file
    if "\\" in name:
        return "UNKNOWN_CODE_PAGE"
    if "/" in name:
        return "NESTED_FOLDER"
    kind_ = kind(name)
    if not kind_:
        return "UNKNOWN_FILE"
    if twice:
        return "DUPLICATE_FILE"
    if entry.size > (IMAGE_LARGEST if kind_ == "image" else JSON_LARGEST):
        return "FILE_TOO_LARGE"
    return "" if entry.size else "EMPTY_FILE"


class _Listing:
    """Errors as they are found: the first ones kept, all counted."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._count = 0

    def add(self, found: Problem) -> None:
        """One more."""
        self._count += 1
        if len(self._kept) < MAX_PROBLEMS:
            self._kept.append(found)

    def problems(self) -> list[Problem]:
        """Those kept, and the number of the others as one problem more."""
        more = self._count - len(self._kept)
        return [*self._kept, *([problem("MORE_ERRORS", detail=f"There are {more:,} more.")] if more else [])]
