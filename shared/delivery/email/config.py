"""What an export by email is told."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.addresses import once
from shared.http.bodies import Address

RECIPIENTS_MOST = 1_000
"""How many addresses one export may be mailed to. Each gets a message of its own."""


class EmailConfig(BaseModel):
    """Whom an `email` export is mailed to. An address that comes twice, in whatever case, is kept once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    emails: tuple[Address, ...] = Field(max_length=RECIPIENTS_MOST)

    @field_validator("emails", mode="before")
    @classmethod
    def _list(cls, values: Any) -> Any:
        if not isinstance(values, list | tuple):
            raise ValueError("must be a list of addresses")
        return values

    @field_validator("emails")
    @classmethod
    def _once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if not values:  # told once the addresses are right: else a wrong one would be told as none, too
            raise ValueError("needs at least one address")
        return once(values)

    def place(self, name: str) -> str:
        """Where a name that an export gives stands: nowhere but in staging, under the same."""
        return name

    @property
    def export_images(self) -> bool:
        """Whether images go along: never by email."""
        return False
