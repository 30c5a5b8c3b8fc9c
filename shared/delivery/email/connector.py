"""The connector `email`: the files stay in staging, where the links of the mails lead."""

from collections.abc import Callable, Iterable

from shared.delivery.base import Copy, CopyResult
from shared.gcp.objects import Stored


class Email:
    """A Connector that brings nothing anywhere: mails are made once the files are there."""

    def deliver(self, staged: Stored, name: str, on_progress: Callable[[], None]) -> None:
        """Leave it in staging, which keeps it for longer than a link lives."""

    def copy_images(self, copies: Iterable[Copy], on_progress: Callable[[CopyResult], None]) -> CopyResult:
        """Copy none: images do not go by email."""
        return CopyResult()
