"""A stream into one new object, of Google's client. A module of its own, since it loads that client."""

from google.cloud.storage import Blob
from google.cloud.storage.fileio import BlobWriter


class Stream(BlobWriter):
    """Google's stream, but that it sends nothing when it is merely forgotten.

    The original is closed when it is collected, which makes an object of what a failed attempt had written
    so far, from whatever thread the collector happens to run in.
    """

    def __init__(self, blob: Blob, chunk_bytes: int, content_type: str) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            blob, chunk_size=chunk_bytes, content_type=content_type, if_generation_match=0
        )

    def __del__(self) -> None:
        """Do nothing."""
