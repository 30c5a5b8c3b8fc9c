"""Which data files a run delivers: what goes into each, and what it is called. Pure functions of the run and
its parts, so that whoever delivers them, and however often, delivers the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from shared.errors import CustomerMustAct
from shared.exports import names
from shared.exports.config import ExportConfig
from shared.exports.runs import Run, WrittenPart
from shared.gcp.objects import Stored

ALL = "all"
"""What stands in the place of a site in the id of a file that is of all."""


@dataclass(frozen=True)
class Planned:
    """A data file that is to be made of these staged parts, in this order.

    id    what its document is called
    site  whose it is; None where it is of all
    name  where it is delivered, below the place that the config gives
    size  how many bytes it will have, with what its format puts around and between the parts
    """

    id: str
    site: str | None
    name: str
    rows: int
    size: int
    parts: tuple[Stored, ...]


def room(config: ExportConfig, size: int, rows: int) -> bool:
    """Whether one file may be so large, in bytes and records."""
    most = config.format.max_rows
    return size <= config.max_file_bytes and not (config.split and most is not None and rows > most)


def plan(run: Run, parts: Iterable[WrittenPart]) -> Iterator[Planned]:
    """The data files of a run whose parts are all written, in order.

    One a site, or one for all where they do not land in folders; several, numbered, where one would be too
    large, or the format has one a part. CustomerMustAct where one would have more rows than the format allows
    and the config does not let it be split.
    """
    written = (part for part in parts if part.lines)
    for site, theirs in groupby(written, key=lambda part: _site(run, part)):
        pieces = list(_cut(run, theirs))
        for number, piece in enumerate(pieces, start=1):
            yield _planned(run, site, None if len(pieces) == 1 else number, piece)


def _site(run: Run, part: WrittenPart) -> str | None:
    return part.site or None if run.config.connector.by_site else None


def _cut(run: Run, parts: Iterable[WrittenPart]) -> Iterator[list[WrittenPart]]:
    config = run.config
    around, between = _extra(run)
    piece: list[WrittenPart] = []
    size = rows = 0
    for part in parts:
        alone = around + _bytes(part)
        size, rows = size + between + _bytes(part), rows + part.rows
        if not piece:
            size, rows = alone, part.rows
        elif not (config.format.joinable and room(config, size, rows)):
            yield piece
            piece, size, rows = [], alone, part.rows
        piece.append(part)
    if piece:
        yield piece


def _planned(run: Run, site: str | None, number: int | None, parts: list[WrittenPart]) -> Planned:
    config = run.config
    rows = sum(part.rows for part in parts)
    around, between = _extra(run)
    most = config.format.max_rows
    if most is not None and rows > most:
        whose = f"the site {site}" if site else "all sites"
        raise CustomerMustAct(
            f"The {config.format.name} file of {whose} would have {rows} rows; it may have at most {most}.",
            # With it, one record of ours gives more rows than a file may have: it is never cut in two.
            ("Take" if config.split else "Set `split` to true to have several files, or take")
            + " the file_format json; then retry what failed with :retry-failed.",
        )
    number_in_id = "" if number is None else f"-{number:0{names.NUMBER_DIGITS}}"
    return Planned(
        id=f"{site or ALL}{number_in_id}",
        site=site,
        name=names.data_file(
            site, config.export_type, run.window, config.zone, run.label, number, config.format.extension
        ),
        rows=rows,
        size=around + between * (len(parts) - 1) + sum(map(_bytes, parts)),
        parts=tuple(part.lines for part in parts if part.lines),
    )


def _extra(run: Run) -> tuple[int, int]:
    """How many bytes a file's format puts around its parts, and between two of them."""
    format = run.config.format
    if not format.joinable:
        return 0, 0
    return len(format.prefix(run.source.columns, run.config.style)) + len(format.suffix), len(
        format.separator
    )


def _bytes(part: WrittenPart) -> int:
    return part.lines.size if part.lines else 0
