"""Importing a slice of an archive: read its files, check them, store the photographs, write the work orders.

A work order is imported whole or not at all: each of its files is looked at, everything that is wrong is
listed, and only where nothing is it is written. A slice goes on where the last attempt had saved: after some
work orders, a chunk, it writes down how far it is, with the errors found since, in one transaction.

While a chunk's documents are written, by a thread, the files of the next ones are read, by the event loop.
Chunks are written one after the other, each once all its photographs are stored. So whatever dies leaves
photographs of chunks that were not written, and the next attempt finds those where it would store them.
"""

import asyncio
from collections import deque
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
from shared.workorders.headers import read_header
from shared.workorders.parameters import WrongParameter
from shared.workorders.record import Input
from shared.workorders.store import CONTENT_TYPES
from shared.workorders.stored import DUE, StoredInput, StoredWorkOrder

CHUNK_ORDERS = 50
CHUNK_FILES = 500
"""After how many work orders, or files of them, a slice saves how far it is."""

CHUNK_JSON_BYTES = 2 * folders.JSON_LARGEST
"""The same for bytes of JSON. Of one work order there are no more."""

JSON_BYTES = CHUNK_JSON_BYTES
"""How many bytes of JSON may have been read and not yet written, of all chunks together. They stay in memory
that long, and 4 MB of empty lists are 100 MB then."""

CHUNKS_READ = 2
"""The files of how many chunks are read at once: those of the second while the last ones of the first are
under way."""

ORDERS_AT_ONCE = 12
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
    site, planned = await asyncio.gather(
        asyncio.to_thread(get_site, cloud.db, batch.site, batch.customer),
        asyncio.to_thread(_planned, cloud, batch, attempt.fields["start"], attempt.fields["end"]),
    )
    async with Many(cloud.objects, cloud.settings.storage_url) as many:
        importer = _Importer(cloud, batch, site, attempt, many)
        try:
            for chunk in _chunks(planned[importer.position :]):
                await importer.begin(chunk)
                # Looked at behind a chunk: however little time there is, each attempt gets on.
                if elapsed_since(began) >= cloud.settings.attempt_seconds:
                    break
            await importer.finish()
        finally:
            await importer.stop()
    if importer.position < len(planned):
        return Later()
    logs.info("slice imported", work_orders=importer.reached.work_orders_done)
    return Done()


def _planned(cloud: Cloud, batch: Batch, start: int, end: int) -> list[tuple[str, list[Entry]]]:
    if batch.listing is None:
        raise ValueError(f"the batch {batch.id} is {batch.state} and has no listing")
    return list(folders.read(cloud.objects.read(batch.listing, start, end)))


@dataclass
class _Chunk:
    """Some work orders as they are planned, by name and files, and how many bytes of JSON they have;
    `readings` once they are read."""

    planned: list[tuple[str, list[Entry]]] = field(default_factory=list)
    json_bytes: int = 0
    readings: Sequence["_Reading"] = ()


def _chunks(planned: Sequence[tuple[str, list[Entry]]]) -> Iterator[_Chunk]:
    chunk = _Chunk()
    files = 0
    for name, entries in planned:
        files += len(entries)
        more = sum(each.size for each in entries if not each.problem and each.file in folders.JSON_NAMES)
        full = len(chunk.planned) == CHUNK_ORDERS or files > CHUNK_FILES
        if chunk.planned and (full or chunk.json_bytes + more > CHUNK_JSON_BYTES):
            yield chunk
            chunk, files = _Chunk(), len(entries)
        chunk.planned.append((name, entries))
        chunk.json_bytes += more
    if chunk.planned:
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
    """Lets work begin as long as what is under way stays below a number of bytes, or nothing else is. Nobody
    overtakes who came before: what waits may be needed by what is under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = asyncio.Condition()
        self._line = asyncio.Lock()

    async def take(self, count: int) -> None:
        async with self._line, self._changed:
            await self._changed.wait_for(lambda: not self._taken or self._taken + count <= self._most)
            self._taken += count

    async def give_back(self, count: int) -> None:
        async with self._changed:
            self._taken -= count
            self._changed.notify_all()


class _Importer:
    """Imports chunks of work orders of an archive: reads the files of several work orders at once, and
    writes the documents of one chunk while the next ones are read.

    position  how many work orders of the slice are saved
    reached   what these came to
    """

    def __init__(self, cloud: Cloud, batch: Batch, site: Site, attempt: Attempt, many: Many) -> None:
        if batch.archive is None:
            raise ValueError(f"the batch {batch.id} is {batch.state} and has no archive")
        self.position: int = attempt.fields["position"]
        self.reached = Progress.of(attempt.fields)
        self._cloud = cloud
        self._batch = batch
        self._archive = batch.archive
        self._site = site
        self._attempt = attempt
        self._many = many
        self._groups = naming.admissible(site.task_groups)
        self._code_page = batch.code_page or site.code_page or ""
        self._room = _Room(IN_FLIGHT_BYTES)
        self._json_room = _Room(JSON_BYTES)
        self._turn = asyncio.Semaphore(ORDERS_AT_ONCE)
        self._reading: deque[asyncio.Task[_Chunk]] = deque()
        self._ready = asyncio.create_task(asyncio.to_thread(steps.ready, cloud, site))
        self._writing: asyncio.Task[None] | None = None

    async def begin(self, chunk: _Chunk) -> None:
        """Begin to read these. Returns once there is room for another chunk. What went wrong with a chunk is
        raised when a later one is begun, or at the end."""
        self._reading.append(asyncio.create_task(self._read_chunk(chunk)))
        if len(self._reading) == CHUNKS_READ:
            await self._go_on()

    async def finish(self) -> None:
        """Returns once all that was begun is written and saved."""
        while self._reading:
            await self._go_on()
        if self._writing is not None:
            await self._writing

    async def stop(self) -> None:
        """Read no more of what was begun."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(self._ready, *self._reading, return_exceptions=True)

    async def _go_on(self) -> None:
        """Begin to write the chunk that was begun first, behind the one before it."""
        if self._writing is not None:
            await self._writing
        self._writing = asyncio.create_task(self._write_chunk(await self._reading.popleft()))

    async def _read_chunk(self, chunk: _Chunk) -> _Chunk:
        """Read these, and store their photographs."""
        await self._json_room.take(chunk.json_bytes)
        ids = [store.work_order_id(self._site.id, name) for name, _ in chunk.planned]
        await asyncio.to_thread(removed.check_before, self._cloud, self._site.customer, ids)
        tasks = [asyncio.create_task(self._read(name, entries)) for name, entries in chunk.planned]
        try:
            chunk.readings = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return chunk

    async def _write_chunk(self, chunk: _Chunk) -> None:
        """Write its documents, and how far the slice is then."""
        await self._ready
        outcomes = await asyncio.to_thread(self._write, chunk.readings)
        saving = asyncio.to_thread(self._save, outcomes)
        if any(each.stored and each.stored.analysis == DUE for each in outcomes):
            await asyncio.gather(saving, asyncio.to_thread(queue.publish_queued, self._cloud, self._site))
        else:
            await saving
        await self._json_room.give_back(chunk.json_bytes)

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
            # A chunk that is written shows life at its end, and one attempt does not save twice at once.
            if self._writing is None or self._writing.done():
                self._attempt.heartbeat()

    async def _file(self, reading: "_Reading", entry: Entry, content: memoryview, at: int) -> None:
        start, end = region(entry)
        try:
            unpacked = unpack(entry, content[start - at : end - at])
            if entry.file in folders.JSON_NAMES:
                reading.documents[entry.file] = json_files.parse(unpacked)
                return
            header = read_header(unpacked)
            refusal = pictures.refusal(unpacked, header)
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
            images.stored(id, extension, stored, header),
        )

    def _write(self, readings: Sequence["_Reading"]) -> list[_Outcome]:
        """The work orders' documents, of those with which nothing is wrong."""
        arrivals = {reading.name: reading.arrive for reading in readings if not reading.problems}
        due = queue.due(self._site, reporting.waker(self._batch, self._attempt.piece.function))
        written = store.import_many(self._cloud, self._site, arrivals, due)
        return [reading.outcome(written.get(reading.name)) for reading in readings]

    def _save(self, outcomes: Sequence[_Outcome]) -> None:
        """How far the slice is with these, and what is to be known of them."""
        problems = [problem for each in outcomes for problem in each.problems]
        imported = [
            reporting.Imported(each.stored.work_order.id, each.stored.work_order.name, each.files)
            for each in outcomes
            if each.stored is not None and each.files
        ]
        piece = self._attempt.piece.name
        documents = {
            **errors_file.documents(self._batch, piece, self.position, problems),
            **reporting.documents(self._batch, piece, self.position, imported),
        }
        position = self.position + len(outcomes)
        reached = self.reached.plus(_counted(outcomes, problems))
        self._attempt.save(
            {**asdict(reached), "position": position},
            documents,
            lambda: batches.counted(self._cloud, self._batch),
        )
        self.position, self.reached = position, reached


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
