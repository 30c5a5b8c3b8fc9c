"""The JSON API's calls on objects and buckets, contents in resumable sessions excepted (uploads.py).

Each call checks in one order: bucket (404), permission (401, 403), preconditions (412), source (404).
What each needs: https://cloud.google.com/storage/docs/access-control/iam-json
"""

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from infra.local.storage import crc32c
from infra.local.storage.errors import (
    StorageError,
    condition_not_met,
    denied,
    invalid,
    no_bucket,
    no_object,
    unimplemented,
)
from infra.local.storage.iam import PERMISSIONS
from infra.local.storage.requests import (
    CONDITIONS,
    JSON,
    Answer,
    Operation,
    Query,
    check_headers,
    matching,
    named,
    split_target,
)
from infra.local.storage.resources import (
    Conditions,
    Wanted,
    bucket_resource,
    check_hashes,
    check_name,
    checksums,
    etag,
    object_resource,
    timestamp,
    wanted,
)
from infra.local.storage.store import SESSION_LIFE, Bucket, Pieces, Store, Stored
from infra.local.traffic import Traffic

COMPOSE_SOURCES = 32
"""https://cloud.google.com/storage/quotas#objects"""

PAGE_SIZE = 1000
"""Objects and prefixes in one page of a list, at most and unless asked for fewer.

https://cloud.google.com/storage/docs/json_api/v1/objects/list
"""

MIB = 1 << 20
BYTES_REWRITTEN_PER_CALL = 256 * MIB
"""How far one call of a rewrite between locations gets if it does not say; production tells no number."""

WHOLE_IN_MEMORY = MIB
"""A content up to this size is answered at once, a larger one in blocks."""

_DEFAULT_TYPE = "application/octet-stream"

READING = ("if-match", "if-none-match")
"""The headers of a call that reads an object: https://cloud.google.com/storage/docs/json_api/v1/parameters#etag."""

_LIST = {
    *("delimiter", "endOffset", "matchGlob", "maxResults", "pageToken", "prefix", "startOffset"),
    "includeFoldersAsPrefixes",
}
_LIST_OFF = {"includeTrailingDelimiter", "softDeleted", "versions"}
"""What Google's tools turn off in so many words; turned on, it is not built."""
_REWRITE = {
    "ifSourceGenerationMatch",
    "ifSourceGenerationNotMatch",
    "maxBytesRewrittenPerCall",
    "rewriteToken",
    "sourceGeneration",
}


class JsonApi:
    """Carries out calls on a store."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self._store = store
        self._traffic = traffic

    # Which call a request is

    def operation(
        self, method: str, target: str, prefix: str, body: bytes, headers: Mapping[str, str], root: str
    ) -> Operation:
        """The call that a request to `prefix` (`/storage/v1/`) makes. 501 for one that is not built.

        `headers` has names in lower case. Links to objects begin with `root`, the URL at which the server was
        reached.
        """
        segments, query = split_target(target, prefix)
        if not (method == "GET" and len(segments) == 4 and segments[2] == "o"):
            check_headers(headers)
        match method, segments:
            case "GET", ["b", bucket]:
                known: set[str] = {"ifMetagenerationMatch", "ifMetagenerationNotMatch"}
                Query(query, known=known)
                return Operation("storage.buckets.get", bucket, partial(self._bucket, bucket, root))
            case "GET", ["b", bucket, "iam", "testPermissions"]:
                asked = Query(query, known={"permissions"})
                return Operation(
                    "storage.buckets.testIamPermissions",
                    bucket,
                    partial(self._test_permissions, bucket, asked),
                )
            case "GET", ["b", bucket, "o"]:
                asked = Query(query, known=_LIST | _LIST_OFF)
                asked.flag("includeFoldersAsPrefixes")
                for name in sorted(_LIST_OFF):
                    if asked.flag(name):
                        raise unimplemented(f"parameter {name}")
                return Operation(
                    "storage.objects.list",
                    f"{bucket}/{asked.text('prefix')}",
                    partial(self._list, bucket, asked, root),
                )
            case "GET", ["b", bucket, "o", name]:
                asked = Query(query, known=CONDITIONS | {"generation"})
                check_headers(headers, *READING)
                if asked.text("alt") == "media":
                    run = partial(self.media, bucket, name, asked, headers)
                    return Operation("storage.objects.get_media", f"{bucket}/{name}", run, plain=True)
                run = partial(self._get, bucket, name, asked, headers, root)
                return Operation("storage.objects.get", f"{bucket}/{name}", run)
            case "DELETE", ["b", bucket, "o", name]:
                asked = Query(query, known=CONDITIONS | {"generation"})
                run = partial(self._delete, bucket, name, asked)
                return Operation("storage.objects.delete", f"{bucket}/{name}", run)
            case "POST", ["b", bucket, "o", name, "compose"]:
                asked = Query(query, known={"ifGenerationMatch", "ifMetagenerationMatch"})
                run = partial(self._compose, bucket, name, asked, body, root)
                return Operation("storage.objects.compose", f"{bucket}/{name}", run)
            case "POST", ["b", source_bucket, "o", source, "rewriteTo", "b", bucket, "o", name]:
                asked = Query(query, known=CONDITIONS | _REWRITE)
                run = partial(self._rewrite, (source_bucket, source), (bucket, name), asked, body, root)
                resource = f"{source_bucket}/{source} -> {bucket}/{name}"
                return Operation("storage.objects.rewrite", resource, run)
            case _:
                raise unimplemented(f"{method} {target.partition('?')[0]}")

    def insert(
        self, bucket: str, name: str, asked: Query, sent: Wanted, content: bytes, root: str
    ) -> Operation:
        """The call that writes an object whose whole content came with the request."""

        def run(principal: str) -> Answer:
            conditions = asked.conditions()
            with self._store.transaction():
                self.may_write(principal, bucket, name, conditions)
                crc, md5 = checksums(content)
                check_hashes(crc, md5, {"crc32c": sent.crc32c, "md5": sent.md5})
                pieces = self._store.write(content)
                stored = self.store_object(
                    bucket, name, sent.metadata, pieces, size=len(content), crc=crc, md5=md5, root=root
                )
            return Answer(200, orjson.dumps(object_resource(stored, root)))

        return Operation("storage.objects.insert", f"{bucket}/{name}", run)

    # What several calls need

    def has_bucket(self, name: str) -> bool:
        """Whether there is a bucket of that name."""
        return self._store.bucket(name) is not None

    def need_bucket(self, name: str) -> Bucket:
        """A bucket, or 404."""
        bucket = self._store.bucket(name)
        if bucket is None:
            raise no_bucket()
        return bucket

    def need(self, principal: str, permission: str, bucket: str, path: str = "") -> None:
        """403 (401 for an anonymous caller) unless a permission is held on an object or prefix."""
        self._traffic.need(permission, bucket, principal)
        if not self._store.grants.holds(bucket, principal, permission, path):
            raise denied(principal, permission)

    def may_write(self, principal: str, bucket: str, name: str, conditions: Conditions) -> None:
        """Check all that must hold for an object to be written; the name first.

        What stands there already may only be replaced by who may delete it:
        https://cloud.google.com/storage/docs/access-control/iam-permissions#object_permissions
        """
        check_name(name)
        self.need_bucket(bucket)
        self.need(principal, "storage.objects.create", bucket, name)
        self.may_replace(principal, bucket, name, conditions)

    def may_replace(self, principal: str, bucket: str, name: str, conditions: Conditions) -> None:
        """The part of `may_write` that can change while an upload is going on."""
        self.need_bucket(bucket)
        existing = self._store.get(bucket, name)
        conditions.require(existing)
        if existing is not None:
            self.need(principal, "storage.objects.delete", bucket, name)

    def store_object(
        self,
        bucket: str,
        name: str,
        metadata: dict[str, Any],
        pieces: Pieces,
        *,
        size: int,
        crc: int,
        md5: bytes | None,
        components: int | None = None,
        root: str = "",
    ) -> Stored:
        """Write an object, all checks done, and have whoever wants to know told of it.

        What is told, and how: https://cloud.google.com/storage/docs/pubsub-notifications#format
        """
        generation, now = self._store.new_generation()
        metadata.setdefault("contentType", _DEFAULT_TYPE)
        stored = Stored(
            bucket,
            name,
            generation,
            size,
            crc,
            md5,
            components,
            now,
            orjson.dumps(metadata),
            orjson.dumps(pieces),
        )
        self._store.put(stored)
        for topic in self._store.topics(bucket):
            attributes = {
                "eventType": "OBJECT_FINALIZE",
                "payloadFormat": "JSON_API_V1",
                "bucketId": bucket,
                "objectId": name,
                "objectGeneration": str(generation),
                "eventTime": timestamp(now),
            }
            self._store.add_event(topic, orjson.dumps(object_resource(stored, root)), attributes)
        return stored

    def _find(self, principal: str, bucket: str, name: str, generation: int | None = None) -> Stored:
        """An object that is read, written over or deleted; 404, or 403 for who may not list.

        Without the permission to list, nothing tells whether an object exists:
        https://cloud.google.com/storage/docs/hosting-static-website#share-your-files
        """
        stored = self._store.get(bucket, name)
        if stored is None or generation not in (None, stored.generation):
            self.need(principal, "storage.objects.list", bucket, name)
            raise no_object(bucket, name)
        return stored

    # The calls

    def _bucket(self, name: str, root: str, principal: str) -> Answer:
        bucket = self.need_bucket(name)
        self.need(principal, "storage.buckets.get", name)
        return Answer(200, orjson.dumps(bucket_resource(bucket, root)))

    def _test_permissions(self, name: str, asked: Query, principal: str) -> Answer:
        self.need_bucket(name)
        permissions = asked.texts("permissions")
        unknown = [permission for permission in permissions if permission not in PERMISSIONS]
        if unknown:
            raise invalid(f"Permission {unknown[0]} is not valid for this resource.")
        held = [p for p in permissions if self._store.grants.holds(name, principal, p)]
        body: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
        if held:
            body["permissions"] = held
        return Answer(200, orjson.dumps(body))

    def _get(
        self, bucket: str, name: str, asked: Query, headers: Mapping[str, str], root: str, principal: str
    ) -> Answer:
        stored = self._readable(bucket, name, asked, headers, principal)
        if stored is None:
            return Answer(304)
        return Answer(200, orjson.dumps(object_resource(stored, root)))

    def _readable(
        self, bucket: str, name: str, asked: Query, headers: Mapping[str, str], principal: str
    ) -> Stored | None:
        """The object to be read, or None if it is the one that the caller knows already (304)."""
        self.need_bucket(bucket)
        self.need(principal, "storage.objects.get", bucket, name)
        stored = self._find(principal, bucket, name, asked.number("generation"))
        conditions = asked.conditions()
        if not conditions.hold(stored):
            unchanged = Conditions(conditions.generation, None, conditions.metageneration, None)
            if unchanged.hold(stored):
                return None
            raise condition_not_met()
        tag = etag(stored.generation)
        if "if-match" in headers and not named(headers["if-match"], tag):
            raise condition_not_met()
        return None if named(headers.get("if-none-match", ""), tag) else stored

    def media(
        self, bucket: str, name: str, asked: Query, headers: Mapping[str, str], principal: str
    ) -> Answer:
        """An object's content, or the part of it that a Range header asks for."""
        stored = self._readable(bucket, name, asked, headers, principal)
        if stored is None:
            return Answer(304)
        resource = object_resource(stored)
        hashes = [f"crc32c={resource['crc32c']}"]
        if stored.md5 is not None:
            hashes.append(f"md5={resource['md5Hash']}")
        told = {
            "ETag": f'"{resource["etag"]}"',
            "X-Goog-Generation": resource["generation"],
            "X-Goog-Metageneration": "1",
            "X-Goog-Hash": ",".join(hashes),
            "X-Goog-Storage-Class": "STANDARD",
            "X-Goog-Stored-Content-Encoding": resource.get("contentEncoding", "identity"),
            "X-Goog-Stored-Content-Length": resource["size"],
        }
        for field, header in (
            ("cacheControl", "Cache-Control"),
            ("contentDisposition", "Content-Disposition"),
            ("contentEncoding", "Content-Encoding"),
            ("contentLanguage", "Content-Language"),
        ):
            if field in resource:
                told[header] = resource[field]
        start, end, status = 0, stored.size, 200
        part = byte_range(headers.get("range", ""), stored.size)
        if part is not None:
            start, end, status = *part, 206
            told["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
        content = self._store.read(orjson.loads(stored.pieces), start, end)
        if end - start <= WHOLE_IN_MEMORY:
            return Answer(status, b"".join(content), resource["contentType"], told)
        return Answer(status, b"", resource["contentType"], told, content, end - start)

    def _list(self, bucket: str, asked: Query, root: str, principal: str) -> Answer:
        self.need_bucket(bucket)
        prefix, delimiter = asked.text("prefix"), asked.text("delimiter")
        self.need(principal, "storage.objects.list", bucket, prefix)
        wanted = matching(asked.text("matchGlob"))
        if delimiter and asked.text("matchGlob"):
            raise unimplemented("matchGlob with a delimiter")
        most = asked.number("maxResults")
        if most is not None and most < 0:
            raise invalid("Invalid value for maxResults")
        most = min(most or PAGE_SIZE, PAGE_SIZE)
        low = max(prefix, asked.text("startOffset"))
        if asked.text("pageToken"):
            low = max(low, _from_page_token(asked.text("pageToken")))
        high = after_prefix(prefix) if prefix else None
        if asked.text("endOffset"):
            high = min(high, asked.text("endOffset")) if high is not None else asked.text("endOffset")
        items: list[dict[str, Any]] = []
        prefixes: list[str] = []
        token = ""
        exhausted = False
        while not exhausted:
            rows = self._store.objects(bucket, low, high, most + 1)
            exhausted = len(rows) <= most
            for stored in rows:
                if not wanted(stored.name):
                    low = stored.name + "\0"
                    continue
                if len(items) + len(prefixes) == most:
                    token, exhausted = low, True
                    break
                cut = stored.name.find(delimiter, len(prefix)) if delimiter else -1
                if cut < 0:
                    items.append(object_resource(stored, root))
                    low = stored.name + "\0"
                    continue
                group = stored.name[: cut + len(delimiter)]
                prefixes.append(group)
                following = after_prefix(group)
                exhausted = following is None
                low = following or low
                break
        body: dict[str, Any] = {"kind": "storage#objects"}
        if token:
            body["nextPageToken"] = base64.urlsafe_b64encode(token.encode()).decode()
        if prefixes:
            body["prefixes"] = prefixes
        if items:
            body["items"] = items
        return Answer(200, orjson.dumps(body))

    def _delete(self, bucket: str, name: str, asked: Query, principal: str) -> Answer:
        with self._store.transaction():
            self.need_bucket(bucket)
            self.need(principal, "storage.objects.delete", bucket, name)
            stored = self._find(principal, bucket, name, asked.number("generation"))
            asked.conditions().require(stored)
            self._store.delete(bucket, name)
        return Answer(204)

    def _compose(
        self, bucket: str, name: str, asked: Query, body: bytes, root: str, principal: str
    ) -> Answer:
        request = json_body(body)
        sources = request.get("sourceObjects")
        if request.keys() - {"kind", "sourceObjects", "destination"}:
            raise unimplemented(
                f"{min(request.keys() - {'kind', 'sourceObjects', 'destination'})} in compose"
            )
        if not isinstance(sources, list) or not sources:
            raise invalid("You must provide at least one source component.")
        if len(sources) > COMPOSE_SOURCES:
            raise invalid(
                f"The number of source components provided ({len(sources)}) exceeds the maximum "
                f"({COMPOSE_SOURCES})"
            )
        sent = wanted(request.get("destination") or {}, bucket=bucket)
        named = [_compose_source(source) for source in sources]
        with self._store.transaction():
            check_name(name)
            self.need_bucket(bucket)
            self.need(principal, "storage.objects.create", bucket, name)
            for source, _, _ in named:
                self.need(principal, "storage.objects.get", bucket, source)
            existing = self._store.get(bucket, name)
            asked.conditions().require(existing)
            found = [(self._find(principal, bucket, source, gen), held) for source, gen, held in named]
            for stored, held in found:
                held.require(stored)
            if existing is not None:
                self.need(principal, "storage.objects.delete", bucket, name)
            pieces: Pieces = []
            crc = size = components = 0
            for stored, _ in found:
                pieces += orjson.loads(stored.pieces)
                crc = crc32c.combine(crc, stored.crc32c, stored.size)
                size += stored.size
                components += stored.components or 1
            made = self.store_object(
                bucket,
                name,
                sent.metadata,
                pieces,
                size=size,
                crc=crc,
                md5=None,
                components=components,
                root=root,
            )
        return Answer(200, orjson.dumps(object_resource(made, root)))

    def _rewrite(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        asked: Query,
        body: bytes,
        root: str,
        principal: str,
    ) -> Answer:
        sent = wanted(json_body(body), bucket=target[0])
        bucket, name = target
        with self._store.transaction():
            check_name(name)
            source_bucket, target_bucket = self.need_bucket(source[0]), self.need_bucket(bucket)
            self.need(principal, "storage.objects.get", *source)
            self.need(principal, "storage.objects.create", bucket, name)
            existing = self._store.get(bucket, name)
            asked.conditions().require(existing)
            stored = self._find(principal, *source, asked.number("sourceGeneration"))
            Conditions(
                asked.number("ifSourceGenerationMatch"), asked.number("ifSourceGenerationNotMatch")
            ).require(stored)
            if existing is not None:
                self.need(principal, "storage.objects.delete", bucket, name)
            apart = source_bucket.location != target_bucket.location
            if apart:
                done, token = self._rewritten(stored, target, asked)
                if token:
                    return _rewrite_answer(stored.size, done, token, root)
            components = stored.components if not apart or stored.components is None else 1
            made = self.store_object(
                bucket,
                name,
                sent.metadata or orjson.loads(stored.metadata),
                orjson.loads(stored.pieces),
                size=stored.size,
                crc=stored.crc32c,
                md5=stored.md5,
                components=components,
                root=root,
            )
        return _rewrite_answer(stored.size, stored.size, made, root)

    def _rewritten(self, stored: Stored, target: tuple[str, str], asked: Query) -> tuple[int, str]:
        """How far a rewrite between locations is after this call, and the token to go on with, if any.

        The token tells all there is to know, so a rewrite goes on after a restart.
        """
        per_call = asked.number("maxBytesRewrittenPerCall")
        if per_call is not None and (per_call < MIB or per_call % MIB):
            raise invalid("maxBytesRewrittenPerCall must be an integral multiple of 1 MiB (1048576).")
        about = [stored.bucket, stored.name, stored.generation, *target]
        done, started = 0, self._store.now()
        if asked.text("rewriteToken"):
            try:
                *said, done, started = orjson.loads(_unwrapped(asked.text("rewriteToken")))
            except (ValueError, TypeError):
                raise invalid("Invalid rewrite token.") from None
            if said != about:
                raise invalid("The rewrite token does not fit the source and destination of this request.")
            if self._store.now() - started > SESSION_LIFE.total_seconds() * 1_000_000:
                raise StorageError(410, "The rewrite token has expired.")
        done += per_call or BYTES_REWRITTEN_PER_CALL
        if done >= stored.size:
            return stored.size, ""
        return done, base64.urlsafe_b64encode(orjson.dumps([*about, done, started])).decode()


def _rewrite_answer(size: int, done: int, then: str | Stored, root: str) -> Answer:
    body: dict[str, Any] = {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": str(done),
        "objectSize": str(size),
        "done": not isinstance(then, str),
    }
    if isinstance(then, str):
        body["rewriteToken"] = then
    else:
        body["resource"] = object_resource(then, root)
    return Answer(200, orjson.dumps(body), JSON)


def _compose_source(source: Any) -> tuple[str, int | None, Conditions]:
    try:
        name, generation = source["name"], source.get("generation")
        held = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
        return (
            str(name),
            None if generation is None else int(generation),
            Conditions(None if held is None else int(held)),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise invalid("Invalid source object in compose.") from None


def json_body(body: bytes) -> dict[str, Any]:
    """A request's body, an object in JSON; 400 for something else. No body is an empty one."""
    try:
        read = orjson.loads(body) if body.strip() else {}
    except ValueError:
        raise StorageError(400, "Parse Error", reason="parseError") from None
    if not isinstance(read, dict):
        raise StorageError(400, "Parse Error", reason="parseError")
    return read


def _unwrapped(token: str) -> bytes:
    return base64.b64decode(token, altchars=b"-_", validate=True)


def _from_page_token(token: str) -> str:
    try:
        return _unwrapped(token).decode()
    except ValueError:
        raise invalid(f"Invalid page token: {token}") from None


def after_prefix(prefix: str) -> str | None:
    """The first name in UTF-8's order after every name that begins with `prefix`; None if there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last == 0xD800:
            last = 0xE000
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(last)
        prefix = prefix[:-1]
    return None


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """What a Range header asks for as [start, end); None for all of it; 416 where there is nothing there.

    A header with several ranges, or with none that makes sense, is as good as none.
    https://cloud.google.com/storage/docs/json_api/v1/parameters#range
    """
    unit, _, ranges = header.partition("=")
    first, dash, last = ranges.strip().partition("-")
    if unit.strip() != "bytes" or not dash or not (first + last).isdecimal():
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    else:
        start, end = max(size - int(last), 0), size
    if start >= end:
        raise StorageError(416, "Request range not satisfiable")
    return start, end
