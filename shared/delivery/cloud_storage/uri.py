"""`gs://bucket/prefix`, taken apart."""

import re
from dataclasses import dataclass

from shared.cutting import shown

COMPONENT_LONGEST = 63
"""How long each part of a bucket's name between dots may be."""

MAX_STEP_BYTES = 255
"""Bytes of a folder's name, as Linux has it: where a bucket is mounted, longer ones cannot be opened.
https://man7.org/linux/man-pages/man3/pathconf.3.html"""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# https://cloud.google.com/storage/docs/objects#naming: some are forbidden, and of the rest it warns.

_BUCKET = re.compile(r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]")


@dataclass(frozen=True)
class BucketUri:
    """A place in a bucket; `prefix` is empty or ends in a slash."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, uri: str) -> "BucketUri":
        """Read a `storage_uri`; ValueError with a sentence where it is none.

        https://cloud.google.com/storage/docs/buckets#naming, https://cloud.google.com/storage/docs/objects#naming
        """
        scheme, separator, rest = uri.partition("://")
        if scheme != "gs" or not separator:
            raise ValueError(f"must begin with gs://, such as gs://my-bucket/waybill; got {shown(uri)}")
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise ValueError("must name a bucket after gs://, such as gs://my-bucket/waybill")
        components = bucket.split(".")
        if not _BUCKET.fullmatch(bucket) or not all(
            0 < len(each) <= COMPONENT_LONGEST for each in components
        ):
            raise ValueError(f"{shown(bucket)} is not a bucket name: 3 to 222 small letters, digits, - _ .")
        prefix = prefix.rstrip("/")
        if _CONTROL.search(prefix):
            raise ValueError("must not hold a line break or another control character")
        if "//" in f"/{prefix}":
            raise ValueError(
                "must not hold two slashes in a row: a folder without a name cannot be reached by Hadoop, "
                "Spark or gcsfuse"
            )
        for step in prefix.split("/"):
            if step in (".", ".."):
                raise ValueError("must not have a folder named . or .., which most tools cannot open")
            if len(step.encode()) > MAX_STEP_BYTES:
                raise ValueError(
                    f"must have at most {MAX_STEP_BYTES} bytes between two slashes: gcsfuse opens no more"
                )
        if prefix.startswith(".well-known/acme-challenge"):
            raise ValueError("must not begin with .well-known/acme-challenge: Cloud Storage reserves it")
        return cls(bucket, f"{prefix}/" if prefix else "")
