"""Importing a slice of an archive: read its files, check them, store the photographs, write the work orders.

A work order is imported whole or not at all: each of its files is looked at, everything that is wrong is
listed, and only where nothing is it is written. A slice goes on where the last attempt had saved: after some
work orders it writes down how far it is, with the errors found since, in one transaction.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from shared import logs
from shared.accounts.customers import Site, get_site
from shared.analysis import queue, steps
from shared.batches import batch as batches
from shared.batches import errors_file, folders, json_files, naming, reporting
from shared.batches.archive import Entry, region, unpack
from shared.batches.batch import Batch, Progress
from shared.batches.problems import BadFile, Problem, problem
from shared.clock import elapsed_since, stopwatch
from shared.errors import Invalid, Refused
from shared.gcp.clients import Cloud
from shared.gcp.many import Many
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Later
from shared.workorders import images, parameters, pictures, removed, store, stored
from shared.workorders.parameters import WrongParameter
from shared.workorders.record import Input
from shared.workorders.store import CONTENT_TYPES
from shared.workorders.stored import DUE, StoredInput, StoredWorkOrder

CHUNK_ORDERS = 50
CHUNK_FILES = 500
"""After how many work orders, or files of them, a slice saves how far it is."""

CHUNK_JSON_BYTES = 2 * folders.JSON_LARGEST
"""The same for bytes of JSON: what is read of them stays in memory until it is written, and 4 MB of empty
lists are 100 MB then. Of one work order there are no more."""

ORDERS_AT_ONCE = 8
"""Of how many work orders of a slice files are read at once."""

IN_FLIGHT_BYTES = 96 * 1024 * 1024
"""How much of an archive, packed and unpacked, is in memory at once; one file alone may take more."""

SPAN_BYTES = 8 * 1024 * 1024
"""How much of an archive one call reads, but for a file that is larger."""

GAP_BYTES = 64 * 1024
"""What lies between two files is read, too, rather than asking twice, up to this much."""

MAX_PROBLEMS = 100
"""How many problems of one work order are listed; how many more there are is the last."""

UNKNOWN_LISTED = 20
"""How many parameters of a work order are warned of that its site does not know."""

GROUPS_NAMED = 20
"""How many of a site's task groups an error names."""


@dataclass
class _Outcome:
    """What came of one work order; `stored` is None if it was not imported. `files` has the files of its
    photographs, by input."""

    problems: list[Problem] = field(default_factory=list)
    stored: StoredWorkOrder | None = None
    images: int = 0
    bytes: int = 0
    files: Mapping[str, str] = field(default_factory=dict)


def import_slice(cloud: Cloud, batch: Batch, attempt: Attempt) -> Done | Later:
    """Import a slice, from where it was saved. What was imported before its batch is cancelled stays."""
    return asyncio.run(_import_slice(cloud, batch, attempt))


async def _import_slice(cloud: Cloud, batch: Batch, attempt: Attempt) -> Done | Later:
    began = stopwatch()
    site = get_site(cloud.db, batch.site, batch.customer)
    steps.ready(cloud, site)
    fields = attempt.fields
    position, reached = fields["position"], Progress.of(fields)
    async with Many(cloud.objects, cloud.settings.storage_url) as many:
        importer = _Importer(cloud, batch, site, attempt, many)
        planned = _planned(cloud, batch, fields["start"], fields["end"])
        for chunk in _chunks(planned[position:]):
            outcomes = await importer.run(chunk)
            if any(each.stored and each.stored.analysis == DUE for each in outcomes):
                queue.publish_queued(cloud, site)
            problems = [problem for each in outcomes for problem in each.problems]
            imported = [
                reporting.Imported(each.stored.work_order.id, each.stored.work_order.name, each.files)
                for each in outcomes
                if each.stored is not None and each.files
            ]
            documents = {
                **errors_file.documents(batch, attempt.piece.name, position, problems),
                **reporting.documents(batch, attempt.piece.name, position, imported),
            }
            position += len(chunk)
            reached = reached.plus(_counted(outcomes, problems))
            attempt.save(
                {**asdict(reached), "position": position}, documents, lambda: batches.counted(cloud, batch)
            )
            # Looked at behind a chunk: however little time there is, each attempt gets on.
            if position < len(planned) and elapsed_since(began) >= cloud.settings.attempt_seconds:
                return Later()
    logs.info("slice imported", work_orders=reached.work_orders_done)
    return Done()


def _planned(cloud: Cloud, batch: Batch, start: int, end: int) -> list[tuple[str, list[Entry]]]:
    if batch.listing is None:
        raise ValueError(f"the batch {batch.id} is {batch.state} and has no listing")
    return list(folders.read(cloud.objects.read(batch.listing, start, end)))


def _chunks(
    planned: Sequence[tuple[str, list[Entry]]],
) -> Iterator[list[tuple[str, list[Entry]]]]:
    chunk: list[tuple[str, list[Entry]]] = []
    files = json_bytes = 0
    for name, entries in planned:
        files += len(entries)
        more = sum(each.size for each in entries if not each.problem and each.file in folders.JSON_NAMES)
        json_bytes += more
        full = len(chunk) == CHUNK_ORDERS or files > CHUNK_FILES or json_bytes > CHUNK_JSON_BYTES
        if chunk and full:
            yield chunk
            chunk, files, json_bytes = [], len(entries), more
        chunk.append((name, entries))
    if chunk:
        yield chunk


def _counted(outcomes: Sequence[_Outcome], problems: Sequence[Problem]) -> Progress:
    done = [each for each in outcomes if each.stored is not None]
    return Progress(
        work_orders_done=len(done),
        work_orders_failed=len(outcomes) - len(done),
        images=sum(each.images for each in done),
        bytes=sum(each.bytes for each in done),
        **errors_file.counted(problems),
    )


class _Room:
    """Lets work begin as long as what is under way stays below a number of bytes, or nothing else is."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = asyncio.Condition()

    async def take(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._taken or self._taken + count <= self._most)
            self._taken += count

    async def give_back(self, count: int) -> None:
        async with self._changed:
            self._taken -= count
            self._changed.notify_all()


class _Importer:
    """Imports work orders of an archive, several at once."""

    def __init__(self, cloud: Cloud, batch: Batch, site: Site, attempt: Attempt, many: Many) -> None:
        if batch.archive is None:
            raise ValueError(f"the batch {batch.id} is {batch.state} and has no archive")
        self._cloud = cloud
        self._batch = batch
        self._archive = batch.archive
        self._site = site
        self._attempt = attempt
        self._many = many
        self._groups = naming.admissible(site.task_groups)
        self._code_page = batch.code_page or site.code_page or ""
        self._room = _Room(IN_FLIGHT_BYTES)
        self._turn = asyncio.Semaphore(ORDERS_AT_ONCE)

    async def run(self, chunk: Sequence[tuple[str, list[Entry]]]) -> list[_Outcome]:
        """Import these: their photographs side by side, then their documents."""
        ids = [store.work_order_id(self._site.id, name) for name, _ in chunk]
        removed.check_before(self._cloud, self._site.customer, ids)
        tasks = [asyncio.create_task(self._read(name, entries)) for name, entries in chunk]
        try:
            readings = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return self._write(readings)

    async def _read(self, name: str, entries: list[Entry]) -> "_Reading":
        reading = _Reading(self._site, name, self._groups, self._code_page)
        async with self._turn:
            await self._read_files(reading, entries)
        return reading

    async def _read_files(self, reading: "_Reading", entries: list[Entry]) -> None:
        wanted = reading.sort_out(entries)
        for span in _spans(wanted):
            start, end = span[0].offset, max(region(entry)[1] for entry in span)
            memory = end - start + sum(entry.size for entry in span)
            await self._room.take(memory)
            try:
                content = memoryview(await self._many.read(self._archive, start, end))
                await asyncio.gather(*(self._file(reading, entry, content, start) for entry in span))
            finally:
                await self._room.give_back(memory)
            self._attempt.heartbeat()

    async def _file(self, reading: "_Reading", entry: Entry, content: memoryview, at: int) -> None:
        start, end = region(entry)
        try:
            unpacked = unpack(entry, content[start - at : end - at])
            if entry.file in folders.JSON_NAMES:
                reading.documents[entry.file] = json_files.parse(unpacked)
                return
            refusal = pictures.refusal(unpacked)
            if refusal:
                raise BadFile(*refusal)
        except BadFile as bad:
            reading.wrong(bad.code, entry.file, bad.detail)
            return
        if reading.problems:
            return  # it will not be imported: what there is left to do is to see what else is wrong
        id = store.input_id(reading.id, entry.file, unpacked)
        extension = pictures.extension(unpacked, entry.file.rpartition(".")[2])
        stored = await self._many.create(
            self._cloud.settings.images_bucket,
            images.name_of(self._site.customer, self._site.id, id, extension),
            unpacked,
            CONTENT_TYPES[extension],
        )
        reading.taken[entry.file] = StoredInput(
            reading.photos[entry.file].task_group,
            Input(id=id, file_extension=extension),
            images.stored(id, extension, stored, unpacked),
        )

    def _write(self, readings: Sequence["_Reading"]) -> list[_Outcome]:
        """The work orders' documents, of those with which nothing is wrong."""
        arrivals = {reading.name: reading.arrive for reading in readings if not reading.problems}
        due = queue.due(self._site, reporting.waker(self._batch, self._attempt.piece.function))
        written = store.import_many(self._cloud, self._site, arrivals, due)
        return [reading.outcome(written.get(reading.name)) for reading in readings]


class _WrongParameters(Refused):
    def __init__(self, found: list[WrongParameter]) -> None:
        self.found = found
        super().__init__("; ".join(each.sentence for each in found))


class _Reading:
    """What has been read of one work order's files so far."""

    def __init__(self, site: Site, name: str, groups: dict[str, str], code_page: str) -> None:
        self.name = name
        self.id = store.work_order_id(site.id, name)
        self.problems: list[Problem] = []
        self.photos: dict[str, naming.Photo] = {}
        self.taken: dict[str, StoredInput] = {}
        self.documents: dict[str, dict[str, Any]] = {}
        self._groups = groups
        self._code_page = code_page
        self._site = site

    def sort_out(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries whose content is to be read; what is wrong with the others is noted."""
        wanted = []
        for entry in entries:
            if entry.problem:
                unknown = entry.problem == "UNKNOWN_CODE_PAGE"
                detail = folders.unknown_code_page(entry, entry.wrapped, self._code_page) if unknown else ""
                self.wrong(entry.problem, entry.file, detail)
                continue
            if entry.file not in folders.JSON_NAMES:
                photo = naming.photo(entry.file, self._groups)
                if photo is None:
                    known = ", ".join(list(self._groups.values())[:GROUPS_NAMED])
                    self.wrong("UNKNOWN_TASK_GROUP", entry.file, f"The site's task groups are {known}.")
                else:
                    self.photos[entry.file] = replace(photo, task_group=self._groups[photo.task_group])
            wanted.append(entry)
        return wanted

    def wrong(self, code: str, file: str, detail: str = "") -> None:
        self.problems.append(problem(code, work_order=self.name, file=file, detail=detail))

    def arrive(self, before: StoredWorkOrder) -> StoredWorkOrder:
        """The work order as it is with what was read. What the archive does not tell stays as it is."""
        photos = sorted(self.photos.values(), key=lambda photo: photo.place)
        after = stored.change(
            self._site,
            before,
            metadata=self.documents.get("metadata.json"),
            parameters=self.documents.get("parameters.json"),
            taken=[self.taken[photo.file] for photo in photos],
        )
        wrong = parameters.wrong(self._site, after.parameters)
        if wrong:
            raise _WrongParameters(wrong)
        return after

    def outcome(self, written: StoredWorkOrder | Refused | None) -> _Outcome:
        """What came of it, given what came of its document."""
        if isinstance(written, StoredWorkOrder):
            images = [each.image for each in self.taken.values() if each.image]
            unknown = parameters.unknown(self._site, self.documents.get("parameters.json", {}))
            for sentence in list(unknown.values())[:UNKNOWN_LISTED]:
                self.wrong("UNKNOWN_PARAMETER", "parameters.json", sentence)
            files = {photo.input.id: file for file, photo in self.taken.items()}
            size = sum(each.size for each in images)
            return _Outcome(self.problems, written, len(images), size, files)
        if isinstance(written, _WrongParameters):
            file = "parameters.json" if "parameters.json" in self.documents else ""
            for each in written.found:
                code = "MISSING_PARAMETER" if each.missing else "WRONG_PARAMETER"
                self.wrong(code, file, each.sentence)
        elif isinstance(written, Invalid):
            too_many = any(each.field == "inputs" for each in written.problems)
            self.wrong("TOO_MANY_FILES" if too_many else "WORK_ORDER_TOO_LARGE", "")
        elif written is not None:
            raise written
        return _Outcome(self._listed())

    def _listed(self) -> list[Problem]:
        """The problems by file, at most MAX_PROBLEMS, and how many more there are."""
        found = sorted(self.problems, key=lambda each: (each.file, each.code, each.message))
        more = len(found) - MAX_PROBLEMS
        if more > 0:
            detail = f"{more} more of this work order are not listed."
            found[MAX_PROBLEMS:] = [problem("MORE_ERRORS", work_order=self.name, detail=detail)]
        return found


def _spans(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries, in the order of their bytes, as many together as are read with one call."""
    span: list[Entry] = []
    begin = reach = 0
    for entry in sorted(entries, key=lambda each: each.offset):
        start, end = region(entry)
        if span and (start - reach > GAP_BYTES or end - begin > SPAN_BYTES):
            yield span
            span = []
        if not span:
            begin = start
        span.append(entry)
        reach = end
    if span:
        yield span
