"""An export's config: parsed once, here, into frozen types; every wrong field is named."""

import functools
import re
from datetime import datetime, time
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
)

from shared.cutting import shown
from shared.delivery.base import ConnectorType
from shared.delivery.connectors import CONNECTORS, Config
from shared.exports.schedules import EPOCH, Schedule, interval_problem, moment
from shared.formats import FORMATS
from shared.formats.base import DateFormat, Format, Style
from shared.http.bodies import Address, read
from shared.sources import DEFAULT, SOURCES
from shared.sources.base import Source
from shared.window import floor_minute

MAX_SITES = 200
MAX_NOTIFY = 50
"""How many sites, and how many addresses, one export may name."""

FILE_BYTES = 1024**3
FILE_BYTES_LEAST = 1024**2
MAX_FILE_BYTES = 1024**4
"""How large a data file may grow before another begins: unless a config says otherwise, and what it may say.
An object of Cloud Storage may have 5 TiB. https://cloud.google.com/storage/quotas#objects"""

MOMENT = (
    "A whole minute, as in RFC 3339: `2026-11-23T00:00:00Z`. Without an offset it is a time on the clock of "
    "the export's `timezone`; one that does not exist there is the first instant after, and one that comes "
    "twice is the first."
)
"""What a moment is that a caller names."""

NO_PLACES = {"localtime", "posixrules", "Factory"}
"""Names that a machine's own files add to the time zones of the world."""


@functools.cache
def timezones() -> frozenset[str]:
    """The names of the time zones of the world. Listing them reads many files, so it is done once."""
    return frozenset(available_timezones() - NO_PLACES)


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


_When = Annotated[datetime, WithJsonSchema({"type": "string", "description": MOMENT})]


class ExportConfig(BaseModel):
    """What an export is asked to do (docs/contracts/exports.md). Times are UTC, whole minutes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    site_ids: tuple[str, ...] = Field(min_length=1, max_length=MAX_SITES)
    export_type: str = DEFAULT
    file_format: str = "json"
    date_format: DateFormat = "iso8601"
    bom: bool = False
    split: bool = False
    max_file_bytes: int = Field(default=FILE_BYTES, ge=FILE_BYTES_LEAST, le=MAX_FILE_BYTES)
    interval: str
    timezone: str = "UTC"
    at: str = "02:00"
    start: _When | None = None
    end: _When | None = None
    notify: tuple[Address, ...] = Field(default=(), max_length=MAX_NOTIFY)
    connector_type: str
    connector_config: Config

    @field_validator("site_ids")
    @classmethod
    def _sites(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not _UUID.fullmatch(value):
                raise ValueError(f"{shown(value)} is not a site id: site ids are UUIDs in small letters")
        if len(set(values)) < len(values):
            raise ValueError("must not name a site twice")
        return values

    @field_validator("export_type", "file_format", "connector_type")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        known = {"export_type": [*SOURCES], "file_format": [*FORMATS], "connector_type": [*CONNECTORS]}
        names = known[info.field_name or ""]
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}; got {shown(value)}")
        return value

    @field_validator("date_format")
    @classmethod
    def _dates(cls, value: str, info: ValidationInfo) -> str:
        format = FORMATS.get(info.data.get("file_format", ""))
        if format is not None and value != "iso8601" and not format.has_date_format:
            raise ValueError(f"must be iso8601 or left out: the format {format.name} supports no other")
        return value

    @field_validator("bom")
    @classmethod
    def _bom(cls, value: bool, info: ValidationInfo) -> bool:
        format = FORMATS.get(info.data.get("file_format", ""))
        if format is not None and value and not format.has_bom:
            having = " and ".join(each.name for each in FORMATS.values() if each.has_bom)
            raise ValueError(
                f"must be false or left out: a byte order mark is for {having}, not for {format.name}"
            )
        return value

    @field_validator("connector_config", mode="wrap")
    @classmethod
    def _connector_config(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        # Which fields there are depends on the connector; a wrong connector is told of by itself.
        connector = CONNECTORS.get(info.data.get("connector_type", ""))
        return value if connector is None else connector.config.model_validate(value)

    @field_validator("interval")
    @classmethod
    def _interval(cls, value: str) -> str:
        problem = interval_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        if value not in timezones():
            raise ValueError(f"there is no timezone {shown(value)}: use a name such as Europe/Paris")
        return value

    @field_validator("at")
    @classmethod
    def _at(cls, value: str) -> str:
        if not _AT.fullmatch(value):
            raise ValueError(f"must be a time of day such as 02:30; got {shown(value)}")
        return value

    @field_validator("start", "end", mode="before")
    @classmethod
    def _moment(cls, value: Any, info: ValidationInfo) -> datetime | None:
        # A wrong timezone is told of by itself.
        zone = ZoneInfo(info.data.get("timezone", "UTC"))
        return None if value is None else moment(value, zone)

    @field_validator("end")
    @classmethod
    def _in_order(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("start")
        if value is not None and start is not None and value <= start:
            raise ValueError("must be after `start`")
        return value

    @property
    def source(self) -> Source:
        """What is exported."""
        return SOURCES[self.export_type]

    @property
    def format(self) -> Format:
        """How it is written."""
        return FORMATS[self.file_format]

    @property
    def style(self) -> Style:
        """How values are written."""
        return Style(self.date_format, self.zone, self.bom)

    @property
    def connector(self) -> ConnectorType[Any]:
        """What brings it there."""
        return CONNECTORS[self.connector_type]

    @property
    def export_images(self) -> bool:
        """Whether images go along."""
        return self.connector.exports_images(self.connector_config)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom its files are mailed to, if its connector mails them."""
        return self.connector.recipients(self.connector_config)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that it names: those whom its files are mailed to, and those told of failures."""
        return (*self.recipients, *self.notify)

    @property
    def secret_id(self) -> str | None:
        """The id of the stored secret that its connector logs in with, if there is one."""
        return self.connector.secret_id(self.connector_config)

    @property
    def zone(self) -> ZoneInfo:
        """The timezone."""
        return ZoneInfo(self.timezone)

    def reached_as(self, newest: "ExportConfig") -> "ExportConfig":
        """The same config with the login of a newer one, if both deliver to the same server."""
        secret = self.connector.secret
        if secret is None or newest.connector_type != self.connector_type:
            return self
        place = secret.reached_as(self.connector_config, newest.connector_config)
        return self.model_copy(update={"connector_config": place})

    def schedule(self, created: datetime) -> Schedule:
        """The schedule of an export created then: its windows begin at `start`, or at its creation.

        `once` without `start` is everything so far, without `end` up to its creation.
        """
        created = floor_minute(created)
        start, end = self.start, self.end
        if self.interval == "once":
            start, end = start or EPOCH, end or created
        return Schedule(self.interval, self.zone, time.fromisoformat(self.at), start or created, end)


def parse(body: dict[str, Any]) -> ExportConfig:
    """Read a config as it was sent; Invalid naming each field that is wrong."""
    return read(ExportConfig, body)
