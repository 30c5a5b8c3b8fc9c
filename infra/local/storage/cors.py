"""CORS: which pages of other sites a browser lets use what is answered.

A bucket's configuration says it: https://cloud.google.com/storage/docs/cross-origin. Of an upload session the
origin counts that its first request had, whatever the later ones have: so whoever begins one for a page
sends that page's origin.
"""

from dataclasses import asdict, dataclass
from typing import Self

import orjson


@dataclass(frozen=True)
class Rule:
    """The one entry of a bucket's configuration.

    origin   of the pages that may
    methods  of their requests
    headers  that they may send, and see in an answer: `responseHeader` is both
    seconds  how long a browser need not ask again
    """

    origin: str
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    seconds: int

    def encoded(self) -> bytes:
        """As it is kept."""
        return orjson.dumps(asdict(self))

    @classmethod
    def of(cls, kept: bytes) -> Self:
        """As `encoded` made it."""
        fields = orjson.loads(kept)
        return cls(fields["origin"], tuple(fields["methods"]), tuple(fields["headers"]), fields["seconds"])

    def answering(self, origin: str | None, method: str) -> dict[str, str]:
        """The headers of an answer to a request of this method; none where its origin may not."""
        if origin != self.origin or method not in self.methods:
            return {}
        return {
            "Access-Control-Allow-Origin": self.origin,
            "Access-Control-Expose-Headers": ", ".join(self.headers),
            "Vary": "Origin",
        }

    def before(self, origin: str | None, method: str) -> dict[str, str]:
        """The headers of the answer to a browser that asks whether such a request may be made."""
        if not self.answering(origin, method):
            return {}
        return {
            "Access-Control-Allow-Origin": self.origin,
            "Access-Control-Allow-Methods": ",".join(self.methods),
            "Access-Control-Allow-Headers": ",".join(self.headers),
            "Access-Control-Max-Age": str(self.seconds),
            "Vary": "Origin",
        }
