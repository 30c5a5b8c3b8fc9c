"""The errors of a batch: kept as they come, a few lines a document, and read as one file.

The documents' ids are in the order of the archive: the plan's, then each slice's, by how far it was. By the
field `has` those are found that hold a line of some code, level or work order, without reading the others.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.batches.batch import Batch
from shared.batches.problems import PROBLEM_TYPES, Problem
from shared.errors import Invalid
from shared.formats import csv
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.http import paging
from shared.http.paging import DIGEST_DIGITS
from shared.outbox.letters import MAX_CODES, MAX_PLACES
from shared.sources.batch_errors import LINE

DOCUMENT_BYTES = 256 * 1024
"""How many bytes of lines one document takes; it may hold 1 MiB, a line about 3 KiB."""

PLAN_SLICE = "000000"
"""What the plan's own errors are kept under, before those of the slices."""

MAX_SUMMARY_BYTES = 8 * 1024 * 1024
"""How many bytes of lines a summary reads at most, to find where the first of each code are."""

PREFIXES = (1, 2, 4, 8, 16)
"""The lengths, in characters, of the beginnings of work orders' names that documents are found by. More would
find more exactly, and be more entries in an index for each name."""

READ_TOGETHER = 8
"""How many documents a page reads at once, and how many more it reads than it may have lines."""

_PLACE = re.compile(r"([0-9A-Za-z-]{1,200})@([0-9]{1,6})@([0-9a-f]{32})")
"""What the token of a page holds: the document and the line where it goes on, and a digest of the filters."""

COLUMNS = tuple(column.name for column in LINE)
"""The fields of a line, in order."""


def documents(batch: Batch, slice_id: str, position: int, problems: Iterable[Problem]) -> dict[str, Any]:
    """The documents, by path, that keep what was found in a slice up to that position."""
    blocks: list[list[tuple[Problem, bytes]]] = []
    room = 0
    for problem in problems:
        line = orjson.dumps({name: getattr(problem, name) for name in COLUMNS}) + b"\n"
        if len(line) > room:
            blocks.append([])
            room = DOCUMENT_BYTES
        blocks[-1].append((problem, line))
        room -= len(line)
    # The batch-errors source finds them by these, wherever they lie. They never change.
    found_by = {
        "customer": batch.customer,
        "site_id": batch.site,
        "created": firestore.SERVER_TIMESTAMP,
    }
    return {
        f"{batch.path}/errors/{slice_id}-{position:06}-{number:03}": {
            **found_by,
            "lines": b"".join(line for _, line in block),
            "has": {key: True for problem, _ in block for key in _keys(problem)},
        }
        for number, block in enumerate(blocks)
    }


def _keys(problem: Problem) -> Iterator[str]:
    """What a document is found by that holds a problem: names of fields, of letters, digits and `_`."""
    yield f"code_{problem.code}"
    yield f"level_{problem.level}"
    for length in PREFIXES:
        if len(problem.work_order) >= length:
            yield _name_key(problem.work_order[:length])


def _name_key(beginning: str) -> str:
    return f"name_{beginning.encode().hex()}"


@dataclass(frozen=True)
class Wanted:
    """Which lines are wanted: those that everything holds for that is given. `prefix` is how the name of the
    work order's folder begins."""

    code: str | None = None
    level: str | None = None
    prefix: str | None = None

    def holds(self, line: Mapping[str, Any]) -> bool:
        """Whether a line is wanted."""
        return (
            self.code in (None, line["code"])
            and self.level in (None, line["level"])
            and line["work_order"].startswith(self._composed)
        )

    def keys(self) -> Iterator[str]:
        """By what the documents are found that can hold such a line."""
        if self.code is not None:
            yield f"code_{self.code}"
        if self.level is not None:
            yield f"level_{self.level}"
        if self._composed:
            length = max(length for length in PREFIXES if length <= len(self._composed))
            yield _name_key(self._composed[:length])

    @property
    def _composed(self) -> str:
        """The form that names from archives have (NFC)."""
        return unicodedata.normalize("NFC", self.prefix or "")


def page(
    cloud: Cloud, batch: Batch, wanted: Wanted, size: int, token: str | None
) -> tuple[list[dict[str, str]], str | None]:
    """One page of the wanted lines of a batch, in the order of its archive, and the next page's token.

    It reads READ_TOGETHER documents more than `size` at most, and so can have fewer lines, or none, and a
    next page. Invalid where the token is none of this list.
    """
    documents = cloud.db.collection(f"{batch.path}/errors")
    digest = hashlib.sha256(f"{batch.path} {wanted}".encode()).hexdigest()[:DIGEST_DIGITS]
    query = _holding(documents, batch, wanted.keys()).order_by("__name__")
    first = 0
    if token:
        id, first = _place(token, digest)
        query = query.start_at({"__name__": documents.document(id)})
    shown: list[dict[str, str]] = []
    left = size + READ_TOGETHER
    while left:
        together = min(READ_TOGETHER, left)
        read = list(query.limit(together).stream())
        for document in read:
            lines = fields_of(document)["lines"].splitlines()
            for number, line in enumerate(lines[first:], first):
                found = orjson.loads(line)
                if not wanted.holds(found):
                    continue
                if len(shown) == size:
                    return shown, paging.token_of(f"{document.id}@{number}@{digest}")
                shown.append(found)
            first = 0
            at = f"{document.id}@{len(lines)}@{digest}"
        if len(read) < together:
            return shown, None
        left -= together
        query = query.start_after(read[-1])
    return shown, paging.token_of(at)


def failed_folders(cloud: Cloud, batch: Batch) -> Iterator[bytes]:
    """The names of the work orders' folders that have an error, and so were not imported: one a line, in the
    order of the archive. What would break a line is escaped in them, as in the errors file."""
    documents = cloud.db.collection(f"{batch.path}/errors")
    last = ""
    for snapshot in _holding(documents, batch, ["level_error"]).order_by("__name__").stream():
        for line in map(orjson.loads, fields_of(snapshot)["lines"].splitlines()):
            # All lines of a work order follow one another.
            if line["level"] == "error" and line["work_order"] not in ("", last):
                last = line["work_order"]
                yield f"{last}\n".encode()


def _holding(documents: Any, batch: Batch, keys: Iterable[str]) -> Any:
    """The query of the documents of a batch that can hold lines with these keys."""
    for key in keys if batch.searchable else ():
        documents = documents.where(filter=FieldFilter(f"has.{key}", "==", True))
    return documents


def _place(token: str, digest: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(paging.text_of(token))
    if found is None:
        raise Invalid.field("page_token", paging.NONE_OF_OURS)
    if found[3] != digest:
        raise Invalid.field("page_token", paging.OTHER_FILTERS)
    return found[1], int(found[2])


def counted(problems: Iterable[Problem]) -> dict[str, Any]:
    """How many errors and warnings there are, also by code, by the names that a batch has for them."""
    codes = Counter(problem.code for problem in problems)
    levels = Counter[str]()
    for code, count in codes.items():
        levels[PROBLEM_TYPES[code].level] += count
    return {"errors": levels["error"], "warnings": levels["warning"], "codes": dict(codes)}


def lines(cloud: Cloud, batch: Batch) -> Iterator[bytes]:
    """The errors file as JSON Lines, as far as it is, in pieces."""
    for snapshot in cloud.db.collection(f"{batch.path}/errors").order_by("__name__").stream():
        yield fields_of(snapshot)["lines"]


def summary(cloud: Cloud, batch: Batch, codes: Mapping[str, int]) -> list[dict[str, Any]]:
    """What is wrong with a batch, a code each, for the letter about it (`letters.Batch`): errors first, the
    most frequent first. `codes` has how many lines have each."""
    shown = sorted(codes, key=lambda code: (PROBLEM_TYPES[code].level, -codes[code]))[:MAX_CODES]
    places: dict[str, list[dict[str, str]]] = {code: [] for code in shown}
    wanted = sum(min(codes[code], MAX_PLACES) for code in shown)
    read = 0
    for piece in lines(cloud, batch) if wanted else ():
        read += len(piece)
        for line in map(orjson.loads, piece.splitlines()):
            code = line["code"]
            if len(places.get(code, _FULL)) < MAX_PLACES:
                place = " / ".join(filter(None, (line["work_order"], line["file"]))) or "The archive"
                sentence = line["message"].removesuffix(PROBLEM_TYPES[code].action)
                places[code].append({"place": place, "sentence": sentence})
                wanted -= 1
        if not wanted or read > MAX_SUMMARY_BYTES:
            break
    return [
        {
            "code": code,
            "level": PROBLEM_TYPES[code].level,
            "count": codes[code],
            "places": places[code],
            "action": PROBLEM_TYPES[code].action,
        }
        for code in shown
    ]


_FULL = range(MAX_PLACES)
# As many places as are shown: of a code that is not shown there is no room for one.


def as_csv(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same as CSV, as exports write it (`formats.csv`)."""
    yield csv.row(COLUMNS)
    for piece in pieces:
        for line in piece.splitlines():
            fields = orjson.loads(line)
            yield csv.row(fields[name] for name in COLUMNS)
