"""Which documents Firestore answers with while a test runs."""

from typing import Any

import pytest

from infra.local.firestore.service import FirestoreService


def documents_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the documents that Firestore answers with from now on: the list grows with each."""
    answered: list[str] = []
    document = FirestoreService._document

    def counted(self: FirestoreService, space: Any, version: Any, select: Any) -> bytes:
        answered.append(self._database.path_of(version))
        return document(self, space, version, select)

    monkeypatch.setattr(FirestoreService, "_document", counted)
    return answered
