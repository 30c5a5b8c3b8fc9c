"""Objects as Google's JSON writes them, and what of it a caller may set.

https://cloud.google.com/storage/docs/json_api/v1/objects#resource
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import google_crc32c
import orjson

from infra.local.storage import crc32c
from infra.local.storage.errors import StorageError, condition_not_met, invalid, unimplemented
from infra.local.storage.store import Bucket, Stored

NAME_BYTES = 1024
"""https://cloud.google.com/storage/docs/objects#naming"""

_HASH_BYTES = {"crc32c": 4, "md5": 16}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_SETTABLE = {
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "metadata",
}
_OUTPUT_ONLY = {
    "acl",
    "bucket",
    "componentCount",
    "crc32c",
    "etag",
    "generation",
    "id",
    "kind",
    "md5Hash",
    "mediaLink",
    "metageneration",
    "name",
    "owner",
    "selfLink",
    "size",
    "storageClass",
    "timeCreated",
    "timeFinalized",
    "timeStorageClassUpdated",
    "updated",
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of a call, on the object that it reads or writes. None: not asked."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    def hold(self, stored: Stored | None) -> bool:
        """Whether they hold. An object that does not exist has the generation 0.

        https://cloud.google.com/storage/docs/request-preconditions
        """
        generation = stored.generation if stored else 0
        if self.generation is not None and generation != self.generation:
            return False
        if self.not_generation is not None and generation == self.not_generation:
            return False
        metageneration = 1 if stored else 0
        if self.metageneration is not None and metageneration != self.metageneration:
            return False
        return self.not_metageneration is None or metageneration != self.not_metageneration

    def require(self, stored: Stored | None) -> None:
        """Raise 412 if they do not hold."""
        if not self.hold(stored):
            raise condition_not_met()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller says of an object to be: its metadata as JSON, and the checksums that it must have."""

    name: str | None
    metadata: dict[str, Any]
    crc32c: str | None = None
    md5: str | None = None


def wanted(resource: Any, *, bucket: str = "") -> Wanted:
    """Read an Object resource from a request. 400 for what is no such thing, 501 for fields not built."""
    if not isinstance(resource, dict):
        raise invalid("Parse Error")
    if not resource:
        return Wanted(None, {})
    if bucket and resource.get("bucket", bucket) != bucket:
        raise invalid("The bucket in the object resource must match the bucket in the request.")
    if resource.get("storageClass") not in (None, "STANDARD"):
        raise unimplemented(f"storage class {resource['storageClass']}")
    if resource.get("acl"):
        raise invalid(
            "Cannot use ACL API to update object policy when uniform bucket-level access is enabled."
        )
    unknown = [
        key for key, value in resource.items() if value is not None and key not in _SETTABLE | _OUTPUT_ONLY
    ]
    if unknown:
        raise unimplemented(f"object field {unknown[0]}")
    metadata = {key: value for key, value in resource.items() if key in _SETTABLE and value is not None}
    custom = metadata.get("metadata", {})
    if not isinstance(custom, dict) or not all(isinstance(value, str) for value in custom.values()):
        raise invalid("Invalid value for: metadata")
    if not all(isinstance(value, str) for key, value in metadata.items() if key != "metadata"):
        raise invalid("Invalid value for: Expected a string")
    name = resource.get("name")
    if name is not None and not isinstance(name, str):
        raise invalid("Invalid value for: name")
    crc, md5 = resource.get("crc32c"), resource.get("md5Hash")
    for kind, value in (("crc32c", crc), ("md5", md5)):
        if value is not None:
            _check_hash(kind, value)
    return Wanted(name, metadata, crc, md5)


def check_name(name: str) -> str:
    """An object's name if it may be one, else 400."""
    if not name:
        raise StorageError(400, "Required", reason="required")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise invalid("Disallowed unicode characters present in object name.") from None
    if length > NAME_BYTES:
        raise invalid(
            f"The maximum object length is {NAME_BYTES} characters, but got a name with {length} bytes."
        )
    if "\r" in name or "\n" in name:
        raise invalid(f"Disallowed unicode characters present in object name '{name}'")
    if name in (".", "..") or name.startswith(".well-known/acme-challenge/"):
        raise invalid(f"Invalid object name: '{name}'")
    return name


def check_hashes(content_crc32c: int, content_md5: bytes, said: Mapping[str, str | None]) -> None:
    """400 where the content has another checksum than the caller said; `said` has `crc32c` and `md5`.

    https://cloud.google.com/storage/docs/data-validation#client-library_validation
    """
    for kind, label, actual in (
        ("crc32c", "CRC32C", crc32c.encoded(content_crc32c)),
        ("md5", "MD5 hash", base64.b64encode(content_md5).decode()),
    ):
        if said.get(kind) and said[kind] != actual:
            raise invalid(f'Provided {label} "{said[kind]}" doesn\'t match calculated {label} "{actual}".')


def said_hashes(header: str | None) -> dict[str, str | None]:
    """The checksums in an x-goog-hash header, `crc32c=...,md5=...`; 400 for what is none.

    https://cloud.google.com/storage/docs/xml-api/reference-headers#xgooghash
    """
    said: dict[str, str | None] = {}
    for part in header.split(",") if header else ():
        kind, _, value = part.strip().partition("=")
        if said.setdefault(kind, value) != value:
            raise invalid(f"The header x-goog-hash has two values of {kind}.")
    for kind, declared in said.items():
        _check_hash(kind, declared)
    return said


def declaring(sent: Wanted, header: str | None) -> Wanted:
    """What is to be written, with the checksums of an x-goog-hash header, too; 400 where they disagree."""
    said = {"crc32c": sent.crc32c, "md5": sent.md5}
    for kind, value in said_hashes(header).items():
        if said[kind] not in (None, value):
            raise invalid(f"The {kind} of the object resource is not that of the header x-goog-hash.")
        said[kind] = value
    return replace(sent, crc32c=said["crc32c"], md5=said["md5"])


def _check_hash(kind: str, value: Any) -> None:
    """400 for what cannot be a checksum of its kind, in base64."""
    try:
        length = len(base64.b64decode(value, validate=True))
    except (TypeError, ValueError):
        length = -1
    if length != _HASH_BYTES.get(kind):
        raise invalid(f"Invalid value for: {kind}: '{value}'")


def checksums(content: bytes) -> tuple[int, bytes]:
    """The CRC32C and the MD5 of a content."""
    return google_crc32c.value(content), hashlib.md5(content, usedforsecurity=False).digest()


def timestamp(microseconds: int) -> str:
    """RFC 3339 in milliseconds, as Cloud Storage writes its times."""
    moment = _EPOCH + microseconds * _MICROSECOND
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(microseconds: int) -> datetime:
    """As a datetime, UTC."""
    return _EPOCH + microseconds * _MICROSECOND


def etag(generation: int) -> str:
    """What production writes: generation and metageneration as two varint fields, in base64."""
    varint = bytearray(b"\x08")
    while generation > 0x7F:
        varint.append(generation & 0x7F | 0x80)
        generation >>= 7
    return base64.b64encode(bytes(varint) + bytes([generation]) + b"\x10\x01").decode()


def object_resource(stored: Stored, root: str = "") -> dict[str, Any]:
    """An Object resource, with links that begin with `root`, the server's URL, if it is given."""
    created = timestamp(stored.created)
    resource: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": "1",
        **orjson.loads(stored.metadata),
        "storageClass": "STANDARD",
        "size": str(stored.size),
        "crc32c": crc32c.encoded(stored.crc32c),
        "etag": etag(stored.generation),
        "timeCreated": created,
        "updated": created,
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    }
    if stored.md5 is not None:
        resource["md5Hash"] = base64.b64encode(stored.md5).decode()
    if stored.components is not None:
        resource["componentCount"] = stored.components
    if root:
        path = f"storage/v1/b/{quote(stored.bucket, safe='')}/o/{quote(stored.name, safe='')}"
        resource["selfLink"] = f"{root}/{path}"
        resource["mediaLink"] = f"{root}/download/{path}?generation={stored.generation}&alt=media"
    return resource


def bucket_resource(bucket: Bucket, root: str) -> dict[str, Any]:
    """A Bucket resource: https://cloud.google.com/storage/docs/json_api/v1/buckets#resource."""
    created = timestamp(bucket.created)
    return {
        "kind": "storage#bucket",
        "selfLink": f"{root}/storage/v1/b/{quote(bucket.name, safe='')}",
        "id": bucket.name,
        "name": bucket.name,
        "location": bucket.location,
        "locationType": "multi-region" if bucket.location in ("EU", "US", "ASIA") else "region",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "etag": "CAE=",
        "timeCreated": created,
        "updated": created,
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "enforced",
        },
    }
