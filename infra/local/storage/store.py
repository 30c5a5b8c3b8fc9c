"""What is kept: buckets, grants, objects and upload sessions in SQLite, contents in files beside it.

A content's file never changes once it is written. An object's content is a list of pieces of files, so that a
rewrite or a compose shares them instead of copying bytes. A file that nothing refers to any more (its object
was deleted, or the process was killed before it said what the file was for) goes when the store is opened
next.
"""

import itertools
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from infra.local.clock import SuiteClock
from infra.local.databases import copied
from infra.local.storage.iam import Grants

SESSION_LIFE = timedelta(days=7)
"""https://cloud.google.com/storage/docs/resumable-uploads#session-uris"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, location TEXT, created INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (bucket TEXT, folder TEXT, member TEXT, permission TEXT,
    PRIMARY KEY (bucket, folder, member, permission)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (bucket TEXT, name TEXT, generation INTEGER, size INTEGER, crc32c INTEGER,
    md5 BLOB, components INTEGER, created INTEGER, metadata BLOB, pieces BLOB,
    PRIMARY KEY (bucket, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, bucket TEXT, name TEXT, principal TEXT,
    conditions BLOB, metadata BLOB, hashes BLOB, declared INTEGER, file TEXT, persisted INTEGER,
    crc32c INTEGER, created INTEGER, cancelled INTEGER, answer BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (upload TEXT PRIMARY KEY, origin TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cors (bucket TEXT PRIMARY KEY, rule BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told_topics (bucket TEXT, topic TEXT, PRIMARY KEY (bucket, topic)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, topic TEXT, data BLOB, attributes TEXT);
"""
# `events` is an outbox: what is still to be told, written with the object that it is about.

_OBJECT = "bucket, name, generation, size, crc32c, md5, components, created, metadata, pieces"
_UPLOAD = (
    "id, bucket, name, principal, conditions, metadata, hashes, declared, file, persisted, crc32c, created, "
    "cancelled, answer"
)

HandOn = Callable[[str, bytes, Mapping[str, str]], bool]
"""Takes an event for a topic, its data and its attributes; whether it is in safe hands."""

Pieces = list[tuple[str, int, int]]
"""A content: file, offset in it, size, for one piece after the other."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket. `created` in microseconds since 1970, as everywhere here."""

    name: str
    location: str
    created: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it is kept. `metadata` and `pieces` are JSON, `components` None unless it is composed."""

    bucket: str
    name: str
    generation: int
    size: int
    crc32c: int
    md5: bytes | None
    components: int | None
    created: int
    metadata: bytes
    pieces: bytes


@dataclass(slots=True)
class Upload:
    """A resumable session as it is kept.

    `answer` is the object's resource, as JSON, once it is final. Of a cancelled one it is why the server
    ended it, or None.
    """

    id: str
    bucket: str
    name: str
    principal: str
    conditions: bytes
    metadata: bytes
    hashes: bytes
    declared: int | None
    file: str
    persisted: int
    crc32c: int
    created: int
    cancelled: bool
    answer: bytes | None


class Store:
    """The kept state. Safe to share between threads: each public method holds the one lock."""

    def __init__(self, directory: Path, clock: SuiteClock) -> None:
        self._clock = clock
        self._contents = directory / "contents"
        self._incoming = directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._folders: set[Path] = set()
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(
            directory / "storage.sqlite", isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)
        self._hand_on: HandOn | None = None
        self._buckets: dict[str, Bucket] = {}
        self._topics: dict[str, tuple[str, ...]] = {}
        self._load()
        self._sweep()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def reset(self) -> None:
        """Forget everything but where events go."""
        with self.transaction():
            for table in (
                "buckets",
                "grants",
                "objects",
                "uploads",
                "origins",
                "cors",
                "told_topics",
                "events",
            ):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
            self._buckets, self._topics, self.grants = {}, {}, Grants()
            self._last, self._to_tell = 0, False
            self._sweep()

    def kept(self) -> Callable[[], None]:
        """What takes it back to the state of now. Contents are never changed, only removed."""
        with self._lock:
            database = copied(self._db)
            contents = {file: file.read_bytes() for file in self._files()}

        def restore() -> None:
            with self._lock:
                database.backup(self._db)
                for file, content in contents.items():
                    if not file.exists():
                        file.write_bytes(content)
                self._load()

        return restore

    def _load(self) -> None:
        """Have in memory what the database says."""
        self._buckets = {
            row[0]: Bucket(*row) for row in self._db.execute("SELECT name, location, created FROM buckets")
        }
        self.grants = Grants()
        for bucket, folder, member, permission in self._db.execute(
            "SELECT bucket, folder, member, permission FROM grants"
        ):
            self.grants.add(bucket, member, folder, [permission])
        self._topics = {}
        for bucket, topic in self._db.execute("SELECT bucket, topic FROM told_topics ORDER BY bucket, topic"):
            self._topics[bucket] = (*self._topics.get(bucket, ()), topic)
        self._to_tell = False
        self._last = self._db.execute("SELECT coalesce(max(generation), 0) FROM objects").fetchone()[0]

    def now(self) -> int:
        """The suite's time in microseconds."""
        return (self._clock.now() - _EPOCH) // timedelta(microseconds=1)

    def new_generation(self) -> tuple[int, int]:
        """A generation larger than every one before, and the time. They are the same but after a restart."""
        now = self.now()
        with self._lock:
            self._last = max(now, self._last + 1)
            return self._last, now

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. One inside another joins it: a batch is written at once."""
        with self._lock:
            if self._depth:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            else:
                self._db.execute("COMMIT")
            finally:
                self._depth = 0
            if self._to_tell:
                self._tell()

    # Buckets and grants

    def bucket(self, name: str) -> Bucket | None:
        """A bucket, or None."""
        return self._buckets.get(name)

    def add_bucket(self, name: str, location: str) -> None:
        """Make a bucket; one that exists stays as it is."""
        with self._lock:
            if name not in self._buckets:
                bucket = Bucket(name, location, self.now())
                self._db.execute("INSERT INTO buckets VALUES (?, ?, ?)", (name, location, bucket.created))
                self._buckets[name] = bucket

    def drop_bucket(self, name: str) -> None:
        """Remove a bucket, what is in it, and who may do what on it."""
        with self.transaction():
            self._db.execute("DELETE FROM objects WHERE bucket = ?", (name,))
            self._db.execute("DELETE FROM grants WHERE bucket = ?", (name,))
            self._db.execute("DELETE FROM told_topics WHERE bucket = ?", (name,))
            self._db.execute("DELETE FROM cors WHERE bucket = ?", (name,))
            self._topics.pop(name, None)
            self._db.execute("DELETE FROM buckets WHERE name = ?", (name,))
            self.grants.forget_bucket(name)
            self._buckets.pop(name, None)

    def grant(self, bucket: str, member: str, folder: str, permissions: frozenset[str]) -> None:
        """Give a member permissions on a bucket, or on a folder of it."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO grants VALUES (?, ?, ?, ?)",
                [(bucket, folder, member, permission) for permission in permissions],
            )
            self.grants.add(bucket, member, folder, permissions)

    def revoke(self, bucket: str, member: str, permissions: frozenset[str]) -> None:
        """Take permissions from a member, on the bucket and on each of its folders."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM grants WHERE bucket = ? AND member = ? AND permission = ?",
                [(bucket, member, permission) for permission in permissions],
            )
            self.grants.take(bucket, member, permissions)

    # Events

    def topics(self, bucket: str) -> tuple[str, ...]:
        """The topics that are told of each object of a bucket."""
        return self._topics.get(bucket, ())

    def set_topics(self, bucket: str, topics: tuple[str, ...]) -> None:
        """Have these topics, and no others, told of each object of a bucket."""
        with self.transaction():
            self._db.execute("DELETE FROM told_topics WHERE bucket = ?", (bucket,))
            self._db.executemany("INSERT INTO told_topics VALUES (?, ?)", [(bucket, each) for each in topics])
            self._topics[bucket] = topics

    def add_event(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        """Have a topic told of something, once the transaction that this belongs to is committed."""
        self._db.execute(
            "INSERT INTO events (topic, data, attributes) VALUES (?, ?, ?)",
            (topic, data, orjson.dumps(dict(attributes)).decode()),
        )
        self._to_tell = True

    def hand_events_to(self, hand_on: HandOn) -> None:
        """Hand events on from now, first those that an earlier process left."""
        with self._lock:
            self._hand_on = hand_on
            self._tell()

    def _tell(self) -> None:
        """Hand on what is in the outbox. A kill on the way has an event handed on twice, never not at all."""
        self._to_tell = False
        if self._hand_on is None:
            return
        waiting = self._db.execute("SELECT id, topic, data, attributes FROM events ORDER BY id").fetchall()
        for id, topic, data, attributes in waiting:
            if not self._hand_on(topic, data, orjson.loads(attributes)):
                return
            self._db.execute("DELETE FROM events WHERE id = ?", (id,))

    # Objects

    def get(self, bucket: str, name: str) -> Stored | None:
        """An object, or None."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND name = ?",  # noqa: S608
                (bucket, name),
            ).fetchone()
        return Stored(*row) if row else None

    def put(self, stored: Stored) -> None:
        """Write an object, in place of the one of its name."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    stored.bucket,
                    stored.name,
                    stored.generation,
                    stored.size,
                    stored.crc32c,
                    stored.md5,
                    stored.components,
                    stored.created,
                    stored.metadata,
                    stored.pieces,
                ),
            )

    def delete(self, bucket: str, name: str) -> None:
        """Remove an object if it is there."""
        with self._lock:
            self._db.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))

    def objects(self, bucket: str, low: str, high: str | None, limit: int) -> list[Stored]:
        """Objects with low <= name < high, in the order of their names' UTF-8."""
        sql = f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND name >= ?"  # noqa: S608
        parameters: list[Any] = [bucket, low]
        if high is not None:
            sql += " AND name < ?"
            parameters.append(high)
        with self._lock:
            rows = self._db.execute(sql + " ORDER BY name LIMIT ?", [*parameters, limit]).fetchall()
        return [Stored(*row) for row in rows]

    # Upload sessions

    def upload(self, upload_id: str) -> Upload | None:
        """An upload session, or None."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_UPLOAD} FROM uploads WHERE id = ?",  # noqa: S608
                (upload_id,),
            ).fetchone()
        return Upload(*row) if row else None

    def set_cors(self, bucket: str, rule: bytes) -> None:
        """Have this be what pages of other sites may do with a bucket, in place of what was."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO cors VALUES (?, ?)", (bucket, rule))

    def cors(self, bucket: str) -> bytes | None:
        """What they may do, or None."""
        with self._lock:
            row = self._db.execute("SELECT rule FROM cors WHERE bucket = ?", (bucket,)).fetchone()
        return row[0] if row else None

    def set_origin(self, upload_id: str, origin: str) -> None:
        """Keep the origin that an upload session was begun with."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO origins VALUES (?, ?)", (upload_id, origin))

    def origin(self, upload_id: str) -> str | None:
        """The origin that an upload session was begun with, or None."""
        with self._lock:
            row = self._db.execute("SELECT origin FROM origins WHERE upload = ?", (upload_id,)).fetchone()
        return row[0] if row else None

    def put_upload(self, upload: Upload) -> None:
        """Write an upload session, in place of what is kept of it."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    upload.id,
                    upload.bucket,
                    upload.name,
                    upload.principal,
                    upload.conditions,
                    upload.metadata,
                    upload.hashes,
                    upload.declared,
                    upload.file,
                    upload.persisted,
                    upload.crc32c,
                    upload.created,
                    upload.cancelled,
                    upload.answer,
                ),
            )

    # Contents

    def new_file(self) -> str:
        """A name for a content's file."""
        return secrets.token_hex(16)

    def file(self, name: str) -> Path:
        """Where a content's file is, or is to be."""
        folder = self._contents / name[:2]
        if folder not in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)
        return folder / name

    def write(self, content: bytes) -> Pieces:
        """Keep a content. It is all there or not at all."""
        if not content:
            return []
        name = self.new_file()
        incoming = self._incoming / name
        incoming.write_bytes(content)
        os.rename(incoming, self.file(name))  # noqa: PTH104 (half the cost of Path.rename)
        return [(name, 0, len(content))]

    def read(self, pieces: Pieces, start: int, end: int, most: int = 1 << 20) -> Iterator[bytes]:
        """The bytes [start, end) of a content, in blocks of at most `most`."""
        for name, offset, size in pieces:
            if start < size and end > 0:
                with self.file(name).open("rb") as file:
                    file.seek(offset + max(start, 0))
                    left = min(end, size) - max(start, 0)
                    while left > 0:
                        block = file.read(min(left, most))
                        if not block:
                            raise OSError(f"the content {name} is shorter than it was")
                        left -= len(block)
                        yield block
            start -= size
            end -= size

    def _files(self) -> Iterator[Path]:
        return itertools.chain(self._incoming.iterdir(), self._contents.glob("*/*"))

    def _sweep(self) -> None:
        """Remove sessions long over, and files that nothing refers to."""
        oldest = self.now() - 2 * SESSION_LIFE // timedelta(microseconds=1)
        self._db.execute("DELETE FROM uploads WHERE created < ?", (oldest,))
        self._db.execute("DELETE FROM origins WHERE upload NOT IN (SELECT id FROM uploads)")
        used = {
            name
            for (pieces,) in self._db.execute("SELECT pieces FROM objects")
            for name, _, _ in orjson.loads(pieces)
        }
        used.update(
            name
            for (name,) in self._db.execute("SELECT file FROM uploads WHERE answer IS NULL AND NOT cancelled")
        )
        for file in self._files():
            if file.name not in used or file.parent == self._incoming:
                file.unlink()
