"""An export's config: parsed once, here, into frozen types; every wrong field is named."""

import re
from datetime import UTC, datetime, time
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from shared.delivery.cloud_storage.uri import BucketUri
from shared.exports import names
from shared.exports.schedules import EPOCH, Schedule, interval_problem
from shared.http.bodies import Address, read
from shared.sources import SOURCES
from shared.window import floor_minute, moment_problem

SITES_MOST = 200
NOTIFY_MOST = 50
"""How many sites, and how many addresses, one export may name."""

OBJECT_NAME_BYTES = 1024
"""https://cloud.google.com/storage/docs/objects#naming"""

NO_PLACES = {"localtime", "posixrules", "Factory"}
"""Names that a machine's own files add to the time zones of the world."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


class CloudStorageConfig(BaseModel):
    """Where a `cloud_storage` export lands, and whether its images go along."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage_uri: str
    export_images: bool = False

    @field_validator("storage_uri")
    @classmethod
    def _uri(cls, value: str) -> str:
        uri = BucketUri.parse(value)
        if len(uri.prefix.encode()) + names.TAIL_BYTES > OBJECT_NAME_BYTES:
            longest = OBJECT_NAME_BYTES - names.TAIL_BYTES
            raise ValueError(f"the part behind the bucket must have at most {longest} bytes")
        return value

    @property
    def uri(self) -> BucketUri:
        """The URI, parsed."""
        return BucketUri.parse(self.storage_uri)


class ExportConfig(BaseModel):
    """What an export is asked to do. `wire.md` section 2 has the fields; times are UTC, whole minutes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    site_ids: tuple[str, ...] = Field(min_length=1, max_length=SITES_MOST)
    export_type: str = "work-orders-timeline"
    file_format: Literal["json"] = "json"
    interval: str
    timezone: str = "UTC"
    at: str = "02:00"
    start: datetime | None = None
    end: datetime | None = None
    notify: tuple[Address, ...] = Field(default=(), max_length=NOTIFY_MOST)
    connector_type: Literal["cloud_storage"]
    connector_config: CloudStorageConfig

    @field_validator("site_ids")
    @classmethod
    def _sites(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not _UUID.fullmatch(value):
                raise ValueError(f"{value!r} is not the id of a site: a UUID in small letters")
        if len(set(values)) < len(values):
            raise ValueError("names a site twice")
        return values

    @field_validator("export_type")
    @classmethod
    def _source(cls, value: str) -> str:
        if value not in SOURCES:
            raise ValueError(f"must be one of {', '.join(SOURCES)}; got {value!r}")
        return value

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
        if value not in available_timezones() or value in NO_PLACES:
            raise ValueError(f"there is no timezone {value!r}: use a name such as Europe/Paris")
        return value

    @field_validator("at")
    @classmethod
    def _at(cls, value: str) -> str:
        if not _AT.fullmatch(value):
            raise ValueError(f"must be a time of day such as 02:30; got {value!r}")
        return value

    @field_validator("start", "end", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        # A number would be taken for seconds since 1970, or for milliseconds, by its size.
        if not isinstance(value, str | datetime | None):
            raise ValueError("must be text such as 2026-11-23T00:00:00Z")
        return value

    @field_validator("start", "end")
    @classmethod
    def _minute(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            value = value.replace(tzinfo=ZoneInfo(info.data.get("timezone", "UTC")))
        problem = moment_problem(value)
        if problem:
            raise ValueError(problem)
        value = value.astimezone(UTC)
        start = info.data.get("start")
        if info.field_name == "end" and start is not None and value <= start:
            raise ValueError("must come after `start`")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The timezone."""
        return ZoneInfo(self.timezone)

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
