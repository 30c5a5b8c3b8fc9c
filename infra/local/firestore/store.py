"""Documents and index entries in SQLite, each version with the time from which and to which it was true.

A read at any past time is then one more condition on a range, and reading in pieces needs no lock in between.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from infra.local.databases import copied
from infra.local.firestore.indexes import CompositeIndex, Indexes
from infra.local.firestore.messages import Document
from infra.local.firestore.values import encode_path

FOREVER = 2**63 - 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS spaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS collections (
    id INTEGER PRIMARY KEY, space INTEGER NOT NULL, path TEXT NOT NULL, UNIQUE (space, path));
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL, name TEXT NOT NULL,
    since INTEGER NOT NULL, until INTEGER NOT NULL, created INTEGER NOT NULL, fields BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS versions_by_name ON versions (collection, name, since, until);
CREATE TABLE IF NOT EXISTS definitions (id INTEGER PRIMARY KEY, definition TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS entries (
    definition INTEGER NOT NULL, scope INTEGER NOT NULL, key BLOB NOT NULL,
    since INTEGER NOT NULL, until INTEGER NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (definition, scope, key, since)) WITHOUT ROWID;
"""

_SCAN = """
SELECT e.key, v.collection, v.name, v.since, v.created, v.fields
FROM entries e CROSS JOIN versions v ON v.id = e.version
WHERE e.definition = ? AND e.scope = ? AND e.key >= ? AND e.key < ? AND e.since <= ? AND e.until > ?
ORDER BY e.key LIMIT ?
"""


class Version(NamedTuple):
    """A document as it was for a while: `since` is its update_time, `fields` a serialized Document."""

    collection: int
    name: str
    since: int
    created: int
    fields: bytes


class Collection(NamedTuple):
    """A collection: `path` is below `/documents`, `group` its last segment."""

    id: int
    space: int
    path: str
    group: str


class Change(NamedTuple):
    """One document's way from `before` to `after`, as parsed Documents; None where there is none."""

    path: str
    old: Version | None
    before: Any
    after: Any
    created: int


class Store:
    """The tables. Every method takes `lock` for as long as it runs; `writing` holds it for a whole commit."""

    def __init__(self, file: Path | None, indexes: Indexes) -> None:
        self.lock = threading.RLock()
        self._db = sqlite3.connect(
            ":memory:" if file is None else file,
            check_same_thread=False,
            isolation_level=None,
            cached_statements=256,
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA cache_size=-65536")
        self._db.executescript(_SCHEMA)
        self._spaces: dict[str, int] = {}
        self._collections: dict[tuple[int, str], Collection] = {}
        self._by_id: dict[int, Collection] = {}
        self._load_names()
        self._indexes = indexes
        self._ids: dict[CompositeIndex, int] = {}
        with self.writing():
            self._declare()

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._db.close()

    def reset(self) -> None:
        """Forget all data."""
        with self.writing():
            for table in ("entries", "versions", "collections", "spaces", "meta"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
            self._load_names()

    def kept(self) -> Callable[[], None]:
        """What takes it back to the data of now."""
        with self.lock:
            database = copied(self._db)

        def restore() -> None:
            with self.lock:
                database.backup(self._db)
                self._load_names()

        return restore

    # Times

    def last_commit(self) -> int:
        """The time of the last commit that this file holds; 0 if none."""
        with self.lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = 'last_commit'").fetchone()
        return int(row[0]) if row else 0

    def forget_before(self, at: int) -> None:
        """Drop the versions that ended before a time: no read can reach them."""
        with self.writing():
            self._db.execute("DELETE FROM entries WHERE until <= ?", (at,))
            self._db.execute("DELETE FROM versions WHERE until <= ?", (at,))

    # Names

    def space(self, name: str) -> int:
        """The number of a data space, `projects/p/databases/d`."""
        with self.lock:
            if name not in self._spaces:
                cursor = self._db.execute("INSERT INTO spaces (name) VALUES (?)", (name,))
                self._spaces[name] = int(cursor.lastrowid or 0)
            return self._spaces[name]

    def collection(self, space: int, path: str) -> Collection | None:
        """The collection at a path, if anything was ever written to it."""
        return self._collections.get((space, path))

    def collection_of(self, version: Version) -> Collection:
        """The collection that a version stands in."""
        return self._by_id[version.collection]

    def collections(self, space: int, *, group: str | None = None, below: str = "") -> list[Collection]:
        """The collections of a data space, of one id or of all, whose path begins with `below`."""
        with self.lock:
            return [
                c
                for c in self._collections.values()
                if c.space == space and (group is None or c.group == group) and c.path.startswith(below)
            ]

    # Reading

    def at(self, collection: Collection | None, name: str, time: int) -> Version | None:
        """A document as it was at a time."""
        if collection is None:
            return None
        with self.lock:
            row = self._db.execute(
                "SELECT until, collection, name, since, created, fields FROM versions"
                " WHERE collection = ? AND name = ? AND since <= ? ORDER BY since DESC LIMIT 1",
                (collection.id, name, time),
            ).fetchone()
        return Version(*row[1:]) if row and row[0] > time else None

    def by_name(self, collection: Collection, time: int, *, least: str, limit: int) -> list[Version]:
        """Documents in the order of their ids, from `least` on (itself included)."""
        with self.lock:
            rows = self._db.execute(
                "SELECT collection, name, since, created, fields FROM versions"
                " WHERE collection = ? AND name >= ? AND since <= ? AND until > ? ORDER BY name LIMIT ?",
                (collection.id, least, time, time, limit),
            ).fetchall()
        return [Version(*row) for row in rows]

    def any_in(self, collection: Collection, time: int) -> bool:
        """Whether a collection holds a document at a time."""
        return bool(self.by_name(collection, time, least="", limit=1))

    def scan(
        self,
        index: CompositeIndex,
        scope: int,
        low: bytes,
        high: bytes,
        time: int,
        *,
        limit: int,
    ) -> list[tuple[bytes, Version]]:
        """Index entries with low <= key < high and their documents, in the index's order."""
        with self.lock:
            rows = self._db.execute(
                _SCAN,
                (self._ids[index], scope, low, high, time, time, limit),
            ).fetchall()
        return [(row[0], Version(*row[1:])) for row in rows]

    def count(
        self, index: CompositeIndex, scope: int, low: bytes, high: bytes, time: int, *, limit: int
    ) -> int:
        """How many entries such a scan finds, at most `limit`."""
        with self.lock:
            row = self._db.execute(
                "SELECT COUNT(*) FROM (SELECT 1 FROM entries WHERE definition = ? AND scope = ?"
                " AND key >= ? AND key < ? AND since <= ? AND until > ? LIMIT ?)",
                (self._ids[index], scope, low, high, time, time, limit),
            ).fetchone()
        return int(row[0])

    # Writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All or nothing: what is written inside is committed at the end, or undone by an exception."""
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                self._load_names()
                raise
            self._db.execute("COMMIT")

    def write(self, space: int, changes: Iterable[Change], time: int) -> None:
        """Put documents in place at a commit time, and end what they replace. Call it inside `writing`."""
        begun, ended = [], []
        for change in changes:
            parent, _, name = change.path.rpartition("/")
            collection = self._collections.get((space, parent)) or self._new_collection(space, parent)
            if change.old is not None:
                self._db.execute(
                    "UPDATE versions SET until = ? WHERE collection = ? AND name = ? AND since = ?",
                    (time, collection.id, name, change.old.since),
                )
                ended += [
                    (time, definition, scope, key, change.old.since)
                    for definition, scope, key in self._keys(collection, name, change.before)
                ]
            if change.after is not None:
                cursor = self._db.execute(
                    "INSERT INTO versions (collection, name, since, until, created, fields)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        collection.id,
                        name,
                        time,
                        FOREVER,
                        change.created,
                        change.after.SerializeToString(deterministic=True),
                    ),
                )
                begun += [
                    (definition, scope, key, time, FOREVER, cursor.lastrowid)
                    for definition, scope, key in self._keys(collection, name, change.after)
                ]
        self._db.executemany(
            "UPDATE entries SET until = ? WHERE definition = ? AND scope = ? AND key = ? AND since = ?", ended
        )
        self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", begun)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('last_commit', ?)", (time,))

    def _keys(self, collection: Collection, name: str, document: Any) -> list[tuple[int, int, bytes]]:
        keys = []
        for index in self._indexes.of_group(collection.group):
            key = index.key(document.fields, encode_path(f"{collection.path}/{name}"))
            if key is not None:
                scope = collection.space if index.across else collection.id
                keys.append((self._ids[index], scope, key))
        return keys

    def _load_names(self) -> None:
        self._spaces = dict(self._db.execute("SELECT name, id FROM spaces"))
        self._collections, self._by_id = {}, {}
        for id_, space, path in self._db.execute("SELECT id, space, path FROM collections"):
            self._remember(id_, space, path)

    def _new_collection(self, space: int, path: str) -> Collection:
        cursor = self._db.execute("INSERT INTO collections (space, path) VALUES (?, ?)", (space, path))
        return self._remember(int(cursor.lastrowid or 0), space, path)

    def _remember(self, id_: int, space: int, path: str) -> Collection:
        collection = Collection(id_, space, path, path.rpartition("/")[2])
        self._collections[space, path] = self._by_id[id_] = collection
        return collection

    def _declare(self) -> None:
        """Bring the index entries in line with what is declared now, history included."""
        kept = dict(self._db.execute("SELECT definition, id FROM definitions"))
        wanted = {index.definition(): index for index in self._indexes.composite}
        for definition, id_ in kept.items():
            if definition in wanted:
                self._ids[wanted[definition]] = id_
            else:
                self._db.execute("DELETE FROM entries WHERE definition = ?", (id_,))
                self._db.execute("DELETE FROM definitions WHERE id = ?", (id_,))
        for definition, index in wanted.items():
            if definition not in kept:
                cursor = self._db.execute("INSERT INTO definitions (definition) VALUES (?)", (definition,))
                self._ids[index] = int(cursor.lastrowid or 0)
                self._fill(index)

    def _fill(self, index: CompositeIndex) -> None:
        for collection in [c for c in self._by_id.values() if c.group == index.group]:
            scope = collection.space if index.across else collection.id
            rows = self._db.execute(
                "SELECT id, name, since, until, fields FROM versions WHERE collection = ?", (collection.id,)
            )
            for id_, name, since, until, fields in rows:
                key = index.key(Document.FromString(fields).fields, encode_path(f"{collection.path}/{name}"))
                if key is not None:
                    self._db.execute(
                        "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                        (self._ids[index], scope, key, since, until, id_),
                    )
