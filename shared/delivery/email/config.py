"""The config of an export by email."""

from typing import Any

from pydantic import Field, field_validator

from shared.addresses import once
from shared.delivery.base import ConnectorConfig
from shared.http.bodies import Address

MAX_RECIPIENTS = 1_000
"""How many addresses one export may be mailed to. Each gets a message of its own."""


class EmailConfig(ConnectorConfig):
    """Whom an `email` export is mailed to. An address that comes twice, in whatever case, is kept once."""

    emails: tuple[Address, ...] = Field(max_length=MAX_RECIPIENTS)

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
