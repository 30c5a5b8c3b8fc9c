"""A document as it will be: what a transaction that changes one parses before it is written."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any


class Changed:
    """Has of a snapshot what parsing it needs; `read_time` is that of the read behind the change."""

    exists = True

    def __init__(self, reference: Any, fields: Mapping[str, Any], read_time: datetime | None = None) -> None:
        self.reference = reference
        self.id: str = reference.id
        self.read_time = read_time
        self._data = dict(fields)

    def get(self, name: str) -> Any:
        """The value of a field. KeyError where there is none."""
        return self._data[name]

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return dict(self._data)
