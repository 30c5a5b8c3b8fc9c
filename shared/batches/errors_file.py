"""The errors of a batch: kept as they come, a few lines a document, and read as one file.

The documents' ids are in the order of the archive: the plan's, then each slice's, by how far it was.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from google.cloud import firestore

from shared.batches.batch import Batch
from shared.batches.problems import PROBLEM_TYPES, Problem
from shared.formats import csv
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of
from shared.outbox.letters import MAX_CODES, MAX_PLACES
from shared.sources.batch_errors import LINE

DOCUMENT_BYTES = 256 * 1024
"""How many bytes of lines one document takes; it may hold 1 MiB, a line about 3 KiB."""

PLAN_SLICE = "000000"
"""What the plan's own errors are kept under, before those of the slices."""

MAX_SUMMARY_BYTES = 8 * 1024 * 1024
"""How many bytes of lines a summary reads at most, to find where the first of each code are."""

COLUMNS = tuple(column.name for column in LINE)
"""The fields of a line, in order."""


def documents(batch: Batch, slice_id: str, position: int, problems: Iterable[Problem]) -> dict[str, Any]:
    """The documents, by path, that keep what was found in a slice up to that position."""
    blocks: list[list[bytes]] = []
    room = 0
    for problem in problems:
        line = orjson.dumps({name: getattr(problem, name) for name in COLUMNS}) + b"\n"
        if len(line) > room:
            blocks.append([])
            room = DOCUMENT_BYTES
        blocks[-1].append(line)
        room -= len(line)
    # The batch-errors source finds them by these, wherever they lie. They never change.
    found_by = {
        "customer": batch.customer,
        "site_id": batch.site,
        "created": firestore.SERVER_TIMESTAMP,
    }
    return {
        f"{batch.path}/errors/{slice_id}-{position:06}-{number:03}": {**found_by, "lines": b"".join(lines)}
        for number, lines in enumerate(blocks)
    }


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
