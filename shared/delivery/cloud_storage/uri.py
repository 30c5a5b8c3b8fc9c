"""`gs://bucket/prefix`, taken apart."""

import re
from dataclasses import dataclass

COMPONENT_LONGEST = 63
"""How long each part of a bucket's name between dots may be."""

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
            raise ValueError(f"must begin with gs://, such as gs://my-bucket/waybill; got {uri!r}")
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise ValueError("must name a bucket after gs://, such as gs://my-bucket/waybill")
        components = bucket.split(".")
        if not _BUCKET.fullmatch(bucket) or not all(
            0 < len(each) <= COMPONENT_LONGEST for each in components
        ):
            raise ValueError(f"{bucket!r} is not a bucket name: 3 to 222 small letters, digits, - _ .")
        prefix = prefix.rstrip("/")
        if any(character in prefix for character in "\r\n\0"):
            raise ValueError("must not hold a line break or a NUL: object names cannot")
        if any(step in (".", "..") for step in prefix.split("/")):
            raise ValueError("must not have a folder named . or .., which most tools cannot open")
        if prefix.startswith(".well-known/acme-challenge"):
            raise ValueError("must not begin with .well-known/acme-challenge: Cloud Storage reserves it")
        return cls(bucket, f"{prefix}/" if prefix else "")
