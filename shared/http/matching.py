"""`ETag` and `If-Match`: a change is made only to the version that its caller has seen.
https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1"""

from dataclasses import dataclass

from werkzeug.http import parse_etags

from shared.errors import Outdated

HEADER = "If-Match"


def etag(version: int) -> str:
    """The `ETag` of what is at that version."""
    return f'"{version}"'


@dataclass(frozen=True)
class IfMatch:
    """Which version a request is for: its `If-Match` as it was sent, None where it has none."""

    sent: str | None

    def must_be(self, version: int, what: str) -> None:
        """Outdated where the request is for another version than this one of `what`."""
        if self.sent is None or parse_etags(self.sent).contains(str(version)):
            return
        raise Outdated(
            f"{what} was changed meanwhile, and is at version {version} now: look at it, and send your "
            f"change again with `{HEADER}: {etag(version)}`"
        )


ANY = IfMatch(None)
"""What a request says that is for any version."""
