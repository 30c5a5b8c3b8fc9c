"""Steps one and two of a run: plan its parts, and write one."""

import dataclasses
from dataclasses import asdict
from datetime import datetime

from google.cloud import firestore

from shared import logs
from shared.accounts.customers import sites_of
from shared.clock import elapsed_since, stopwatch
from shared.errors import GiveUp
from shared.exports import files, names, runs
from shared.exports.runs import Run, WrittenPart
from shared.gcp import documents
from shared.gcp.clients import Cloud
from shared.gcp.objects import LazyWriter
from shared.sources.base import Deletion, Item, Part
from shared.window import Window, floor_minute
from shared.work.attempts import Attempt
from shared.work.kinds import Done

MAX_PARTS = 50_000
"""How many parts a run may have: their files are numbered with five digits."""

LIST_TYPE = "text/plain"
"""What our own lists in staging say they are."""


def plan(cloud: Cloud, run: Run, attempt: Attempt) -> Done:
    """Split the run into parts, and say as of which moment they are read.

    GiveUp where it would have more than MAX_PARTS, or a site belongs to another customer by now.
    """
    read_time = readable(run.window, documents.read_time(attempt.work), cloud)
    theirs = sites_of(cloud.db, run.config.site_ids, run.customer)
    for site in run.config.site_ids:
        if site not in theirs:
            raise GiveUp(f"The site {site} is no longer yours.", "Make an export without it.")
    parts = run.source.parts(cloud, dataclasses.replace(run, read_time=read_time).selection)
    if len(parts) > MAX_PARTS:
        raise GiveUp(
            f"The window holds too much for one run: {len(parts)} parts, of at most {MAX_PARTS}.",
            "Export it in several windows with :backfill.",
        )
    logs.info("run planned", parts=len(parts))
    return Done(
        work={"parts": len(parts), "read_time": read_time, "planned": firestore.SERVER_TIMESTAMP},
        plans={runs.WRITE: ((runs.part_id(number), asdict(part)) for number, part in enumerate(parts))},
    )


def readable(window: Window, now: datetime, cloud: Cloud) -> datetime:
    """When a window is read: at its end, or at the oldest whole minute that Firestore still has."""
    return max(window.end, floor_minute(now - cloud.settings.history))


def write(cloud: Cloud, run: Run, attempt: Attempt) -> Done:
    """Write one part: one attempt, one upload each of lines, images and deletions, the attempt in the name.

    What other attempts wrote is never looked at, and leaves staging with its age. When the time is up, the
    part ends where it is, and the rest becomes a part of its own.
    """
    written, rest = _write(cloud, run, runs.part_of(attempt.piece), attempt)
    logs.info("part written", part=written.id, rows=written.rows)
    left = {runs.rest_id(written.id): asdict(rest)} if rest else {}
    return Done(runs.written_part(written), rest=left)


def _write(cloud: Cloud, run: Run, part: Part, attempt: Attempt) -> tuple[WrittenPart, Part | None]:
    began, id = stopwatch(), attempt.piece.name
    config, columns = run.config, run.source.columns
    format = config.format
    rows = 0
    rest = None

    def staged(extension: str, content_type: str) -> LazyWriter:
        name = names.staged(run.customer, run.export, run.label, f"{id}-{attempt.id}.{extension}")
        return LazyWriter(cloud.objects, cloud.settings.staging_bucket, name, content_type)

    with (
        staged(format.extension, format.content_type) as lines,
        staged("images", LIST_TYPE) as images,
        staged("deleted", LIST_TYPE) as deleted,
    ):
        records = format.records(columns, config.style, lines.write)
        around = len(format.prefix(columns, config.style)) + len(format.suffix)
        last: Item | Deletion | None = None
        for item in run.source.items(cloud, run.selection, part):
            if isinstance(item, Deletion):
                deleted.write(item.id.encode() + b"\n")
            elif item.rows:
                grown = around + records.size_with(item.lines)
                if rows and last and not files.room(config, grown, rows + item.rows):
                    rest = part.rest(last)
                    break
                rows += item.rows
                records.write(item.lines)
                if config.export_images:
                    images.write(item.images)
            last = item
            if elapsed_since(began) >= cloud.settings.attempt_seconds:
                rest = part.rest(item)
                break
            attempt.heartbeat()
        if rows:
            records.close()
        return WrittenPart(id, part.site, rows, lines.close(), images.close(), deleted.close()), rest
