"""A config is parsed once, and every field that is wrong is named."""

from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.delivery.cloud_storage.config import CloudStorageConfig
from shared.errors import Invalid
from shared.exports.config import ExportConfig, parse, timezones
from shared.exports.schedules import EPOCH, NAMED, local_instant

SITE = "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b"


def body(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "name": "Nightly",
        "site_ids": [SITE],
        "interval": "daily",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": "gs://acme-bi/waybill", "export_images": True},
    }
    whole.update(changes)
    return {field: value for field, value in whole.items() if value is not ...}


def bucket(uri: str) -> dict[str, Any]:
    return {"storage_uri": uri}


def problems(**changes: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        parse(body(**changes))
    return {problem.field: problem.message for problem in caught.value.problems}


def test_what_is_not_said_has_the_defaults_of_the_wire() -> None:
    config = parse(body())
    assert config.export_type == "work-orders-timeline"
    assert config.file_format == "json"
    assert (config.timezone, config.at) == ("UTC", "02:00")
    assert config.export_images is True
    assert parse(body(connector_config=bucket("gs://acme-bi"))).export_images is False


def test_a_config_comes_back_from_its_document_as_it_was() -> None:
    config = parse(
        body(start="2026-11-23T00:00:00+01:00", end="2026-12-01T00:00:00Z", timezone="Europe/Paris")
    )
    assert ExportConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.start == datetime(2026, 11, 22, 23, tzinfo=UTC)


def test_a_time_without_a_zone_is_read_on_the_clock_of_the_configs_timezone() -> None:
    config = parse(body(start="2026-07-01T00:00:00", timezone="Europe/Paris"))
    assert config.start == datetime(2026, 6, 30, 22, tzinfo=UTC)


@pytest.mark.parametrize("bound", ["start", "end"])
@pytest.mark.parametrize(
    ("timezone", "local", "instant"),
    [
        # What does not exist is the first instant after.
        ("Africa/Cairo", "2027-04-30T00:00:00", "2027-04-29T22:00"),
        ("Africa/Cairo", "2027-04-30T00:59:00", "2027-04-29T22:00"),
        ("Africa/Cairo", "2027-04-30", "2027-04-29T22:00"),
        ("Europe/Paris", "2027-03-28T02:30:00", "2027-03-28T01:00"),
        ("Australia/Lord_Howe", "2027-10-03T02:15:00", "2027-10-02T15:30"),
        ("Pacific/Apia", "2011-12-30T10:00:00", "2011-12-30T10:00"),
        # What comes twice is the first.
        ("Europe/Paris", "2027-10-31T02:00:00", "2027-10-31T00:00"),
        ("Europe/Paris", "2027-10-31T02:59", "2027-10-31T00:59"),
        ("Africa/Cairo", "2027-10-28T23:30:00", "2027-10-28T20:30"),
        ("America/St_Johns", "2010-11-06T23:30:00", "2010-11-07T02:00"),
        # What has an offset is that instant, also in those hours.
        ("Europe/Paris", "2027-10-31T02:00:00+01:00", "2027-10-31T01:00"),
        ("Africa/Cairo", "2027-04-30t00:00:00z", "2027-04-30T00:00"),
        # An offset of seconds is cut to whole minutes, as that of a midnight is.
        ("Africa/Monrovia", "1971-11-23T00:00:00", "1971-11-23T00:44"),
    ],
)
def test_a_local_time_in_a_clock_change_is_an_instant_by_the_rule_of_schedules(
    bound: str, timezone: str, local: str, instant: str
) -> None:
    config = parse(body(timezone=timezone, **{bound: local}))
    assert getattr(config, bound) == datetime.fromisoformat(instant).replace(tzinfo=UTC)
    assert ExportConfig.model_validate(config.model_dump(mode="json")) == config


@settings(max_examples=200, deadline=None)  # a zone is read from its file the first time
@given(
    day=st.dates(date(2000, 1, 2), date(2037, 12, 30)),
    at=st.times().map(lambda each: each.replace(second=0, microsecond=0, tzinfo=None)),
    timezone=st.sampled_from(sorted(timezones())),
)
def test_every_local_minute_of_every_zone_is_a_start(day: date, at: time, timezone: str) -> None:
    config = parse(body(timezone=timezone, start=f"{day}T{at}"))
    assert config.start == local_instant(day, at, ZoneInfo(timezone))


@pytest.mark.parametrize("interval", [*NAMED, "every 1 minutes", "every 1440 minutes"])
def test_every_interval_makes_a_schedule_with_a_first_window(interval: str) -> None:
    created = datetime(2026, 11, 22, 9, 17, 31, tzinfo=UTC)
    schedule = parse(body(interval=interval, timezone="Europe/Paris", at="02:30")).schedule(created)
    assert (schedule.interval, schedule.timezone.key, schedule.at) == (interval, "Europe/Paris", time(2, 30))
    window = schedule.window_from(schedule.start)
    assert window is not None
    minute = created.replace(second=0)
    assert (window.end if interval == "once" else window.start) == minute
    assert window.start == (EPOCH if interval == "once" else minute)


@pytest.mark.parametrize(
    ("uri", "bucket_name", "prefix"),
    [
        ("gs://acme-bi", "acme-bi", ""),
        ("gs://acme-bi/", "acme-bi", ""),
        ("gs://acme-bi/a/b", "acme-bi", "a/b/"),
        ("gs://acme-bi/a/b//", "acme-bi", "a/b/"),
        ("gs://acme-bi//", "acme-bi", ""),
        ("gs://acme-bi/" + "x" * 255, "acme-bi", "x" * 255 + "/"),
        ("gs://acme.example.com/été 'x' \"y\" 🚚 #?%2F", "acme.example.com", "été 'x' \"y\" 🚚 #?%2F/"),
    ],
)
def test_places_that_an_export_may_land_at(uri: str, bucket_name: str, prefix: str) -> None:
    config = parse(body(connector_config=bucket(uri))).connector_config
    assert isinstance(config, CloudStorageConfig)
    parsed = config.uri
    assert (parsed.bucket, parsed.prefix) == (bucket_name, prefix)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"name": ...}, "name", "needed"),
        ({"name": ""}, "name", "at least 1"),
        ({"site_ids": []}, "site_ids", "at least 1"),
        ({"site_ids": "all"}, "site_ids", "valid"),
        ({"site_ids": ["all"]}, "site_ids", "'all' is not a site id"),
        ({"site_ids": [SITE, SITE]}, "site_ids", "twice"),
        ({"export_type": "invoices"}, "export_type", "work-orders-states"),
        ({"file_format": "xml"}, "file_format", "json"),
        ({"interval": ...}, "interval", "needed"),
        ({"interval": "every 0 minutes"}, "interval", "divide"),
        ({"interval": "every 7 minutes"}, "interval", "divide"),
        (
            {"interval": "fortnightly"},
            "interval",
            "daily, weekly, monthly, every N minutes; got 'fortnightly'",
        ),
        ({"interval": "every N minutes"}, "interval", "must be"),
        ({"interval": "Weekly"}, "interval", "must be"),
        ({"timezone": "Europe/Atlantis"}, "timezone", "Europe/Atlantis"),
        ({"timezone": "../../etc/passwd"}, "timezone", "no timezone"),
        ({"timezone": ""}, "timezone", "no timezone"),
        ({"at": "25:00"}, "at", "time of day"),
        ({"at": "2:00"}, "at", "time of day"),
        ({"start": "yesterday"}, "start", "must be a time such as 2026-11-23T00:00:00Z; got 'yesterday'"),
        ({"start": "1700000000"}, "start", "must be a time such as"),
        ({"start": "2026-W48-1"}, "start", "must be a time such as"),
        ({"start": "2026-02-30T00:00:00Z"}, "start", "must be a time that there is"),
        ({"start": "1969-12-31T23:59:00", "timezone": "UTC"}, "start", "between 1970 and 2200"),
        ({"start": "1970-01-01T00:00:00", "timezone": "Asia/Tokyo"}, "start", "between 1970 and 2200"),
        ({"start": "0001-01-01T00:00:00", "timezone": "Asia/Tokyo"}, "start", "between 1970 and 2200"),
        ({"end": "9999-12-31T23:59:00", "timezone": "Pacific/Niue"}, "end", "between 1970 and 2200"),
        ({"start": "2027-10-31T02:00:30", "timezone": "Europe/Paris"}, "start", "must be a whole minute"),
        # A clock change away from each other in text, and the same instant.
        (
            {
                "start": "2027-03-28T02:10:00",
                "end": "2027-03-28T03:00:00",
                "timezone": "Europe/Paris",
            },
            "end",
            "after `start`",
        ),
        ({"start": 1_700_000_000}, "start", "text"),
        ({"start": "2026-11-23T00:00:30Z"}, "start", "whole minute"),
        ({"start": "2026-11-23T00:00:00Z", "end": "2026-11-23T00:00:00Z"}, "end", "after"),
        ({"notify": ["someone"]}, "notify[0]", "not an address"),
        ({"notify": ["a@b.c\r\nBcc: x@y.z"]}, "notify[0]", "not an address"),
        ({"connector_type": "carrier_pigeon"}, "connector_type", "cloud_storage"),
        ({"connector_type": ...}, "connector_type", "needed"),
        ({"connector_config": ...}, "connector_config", "needed"),
        ({"connector_config": {}}, "connector_config.storage_uri", "needed"),
        ({"connector_config": bucket("acme-bi/waybill")}, "connector_config.storage_uri", "gs://"),
        ({"connector_config": bucket("s3://acme-bi")}, "connector_config.storage_uri", "gs://"),
        ({"connector_config": bucket("gs://")}, "connector_config.storage_uri", "must name a bucket"),
        ({"connector_config": bucket("gs:///waybill")}, "connector_config.storage_uri", "must name a bucket"),
        ({"connector_config": bucket("gs://Acme")}, "connector_config.storage_uri", "is not a bucket name"),
        (
            {"connector_config": bucket("gs://acme-bi/a/../b")},
            "connector_config.storage_uri",
            "a folder named",
        ),
        ({"connector_config": bucket("gs://acme-bi/a\nb")}, "connector_config.storage_uri", "line break"),
        ({"connector_config": bucket("gs://acme-bi/" + "x/" * 450)}, "connector_config.storage_uri", "704"),
        ({"connector_config": bucket("gs://acme-bi/" + "é" * 128)}, "connector_config.storage_uri", "255"),
        (
            {"connector_config": bucket("gs://acme-bi//a")},
            "connector_config.storage_uri",
            "two slashes in a row",
        ),
        ({"connector_config": bucket("gs://acme-bi/a//b")}, "connector_config.storage_uri", "two slashes"),
        ({"connector_config": bucket("gs://acme-bi///a/")}, "connector_config.storage_uri", "two slashes"),
        (
            {"connector_config": bucket("gs://acme-bi/a\tb")},
            "connector_config.storage_uri",
            "control character",
        ),
        (
            {"connector_config": bucket("gs://acme-bi/a\x85")},
            "connector_config.storage_uri",
            "control character",
        ),
        (
            {"connector_config": {"storage_uri": "gs://acme-bi", "export_imagse": True}},
            "connector_config.export_imagse",
            "no such field",
        ),
        ({"intervall": "daily"}, "intervall", "no such field"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(changes: dict[str, Any], field: str, says: str) -> None:
    found = problems(**changes)
    assert list(found) == [field]
    assert says in found[field]


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = problems(interval="every 7 minutes", timezone="Mars/Olympus", connector_config=bucket("gs://"))
    assert set(found) == {"interval", "timezone", "connector_config.storage_uri"}
