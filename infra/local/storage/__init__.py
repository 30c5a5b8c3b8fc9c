"""Cloud Storage on a laptop: the JSON API that Waybill uses. README.md says what is built and after what."""

import builtins
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson
from aiohttp import web

from infra.local.clock import SuiteClock
from infra.local.identity import Identity
from infra.local.storage import cors, crc32c, iam
from infra.local.storage.api import JsonApi, after_prefix
from infra.local.storage.resources import check_name, checksums, moment
from infra.local.storage.server import Server
from infra.local.storage.store import HandOn, Store, Stored
from infra.local.traffic import Traffic

__all__ = ["StorageService", "StoredObject"]


@dataclass(frozen=True)
class StoredObject:
    """An object as a test or the demo sees it: `size` in bytes, `crc32c` in base64, `time_created` in UTC."""

    name: str
    size: int
    crc32c: str
    generation: int
    content_type: str
    time_created: datetime


class StorageService:
    """Buckets and objects kept in a directory, and their routes in an aiohttp application.

    Everything is kept across a restart, a SIGKILL included. One process at a time may have the directory.
    """

    def __init__(self, *, clock: SuiteClock, traffic: Traffic, identity: Identity, directory: Path) -> None:
        self._store = Store(directory, clock)
        self._api = JsonApi(self._store, traffic)
        self._server = Server(self._store, traffic, identity)

    def routes(self) -> builtins.list[web.RouteDef]:
        """What to add to the application."""
        return self._server.routes()

    def reset(self) -> None:
        """Forget every bucket, object, grant and session. No request may be on its way."""
        self._server.reset()
        self._store.reset()

    def kept(self) -> Callable[[], None]:
        """What takes it back to the buckets, objects, grants and sessions of now. No request may be on its
        way, then and now."""
        restore_state = self._store.kept()

        def restore() -> None:
            self._server.reset()
            restore_state()

        return restore

    def close(self) -> None:
        """Close the files; the application must have stopped."""
        self._store.close()

    def create_bucket(self, name: str, *, location: str = "EU") -> None:
        """Make a bucket. One that exists stays as it is."""
        self._store.add_bucket(name, location.upper())

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket, what is in it and who may do what on it: what a customer may do on a bad day."""
        self._store.drop_bucket(name)

    def grant(self, bucket: str, member: str, *roles_or_permissions: str, folder: str = "") -> None:
        """Give an account roles or single permissions on a bucket.

        With `folder`, the prefix of a managed folder ending in "/", only on what lies under it. ValueError
        for an unknown bucket, role or permission, and for one that cannot be granted on a folder.
        """
        self._need(bucket)
        if folder and not folder.endswith("/"):
            raise ValueError(f"a managed folder's name ends in a slash: {folder!r}")
        permissions = iam.permissions(roles_or_permissions, folder=bool(folder))
        self._store.grant(bucket, member, folder, permissions)

    def revoke(self, bucket: str, member: str, *permissions: str) -> None:
        """Take roles or permissions from an account, on a bucket and its folders; none named takes all."""
        self._store.revoke(bucket, member, iam.permissions(permissions) if permissions else iam.PERMISSIONS)

    def notify(self, bucket: str, *topics: str) -> None:
        """Have these topics, and no others, told of each object that comes to be in a bucket from now on.

        ValueError for an unknown bucket. What is told: `JsonApi.store_object`.
        """
        self._need(bucket)
        self._store.set_topics(bucket, topics)

    def allow_pages(
        self, bucket: str, origin: str, *, methods: Sequence[str], headers: Sequence[str], seconds: int
    ) -> None:
        """Let pages of an origin, and of no other, call a bucket: its CORS configuration, of one entry.

        ValueError for an unknown bucket.
        """
        self._need(bucket)
        self._store.set_cors(bucket, cors.Rule(origin, tuple(methods), tuple(headers), seconds).encoded())

    def hand_events_to(self, hand_on: HandOn) -> None:
        """Tell topics by `hand_on` from now on, first what an earlier process was killed over."""
        self._store.hand_events_to(hand_on)

    def list(self, bucket: str, prefix: str = "") -> builtins.list[StoredObject]:
        """What is in a bucket, in the order of the names' UTF-8. An unknown bucket raises ValueError."""
        self._need(bucket)
        high = after_prefix(prefix) if prefix else None
        return [_seen(stored) for stored in self._store.objects(bucket, prefix, high, -1)]

    def read(self, bucket: str, name: str) -> bytes:
        """An object's content. An unknown object raises KeyError."""
        stored = self._store.get(bucket, name)
        if stored is None:
            raise KeyError(f"{bucket}/{name}")
        return b"".join(self._store.read(orjson.loads(stored.pieces), 0, stored.size))

    def put(
        self, bucket: str, name: str, content: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        """Write an object past all checks: somebody else did. An unknown bucket raises ValueError."""
        self._need(bucket)
        check_name(name)
        crc, md5 = checksums(content)
        with self._store.transaction():
            pieces = self._store.write(content)
            metadata = {"contentType": content_type}
            self._api.store_object(bucket, name, metadata, pieces, size=len(content), crc=crc, md5=md5)

    def remove(self, bucket: str, name: str) -> None:
        """Delete an object past all checks: somebody else did. One that is not there is no error."""
        self._store.delete(bucket, name)

    def _need(self, bucket: str) -> None:
        if self._store.bucket(bucket) is None:
            raise ValueError(f"there is no bucket {bucket}")


def _seen(stored: Stored) -> StoredObject:
    return StoredObject(
        stored.name,
        stored.size,
        crc32c.encoded(stored.crc32c),
        stored.generation,
        orjson.loads(stored.metadata)["contentType"],
        moment(stored.created),
    )
