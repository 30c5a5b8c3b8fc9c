"""`:preview`: a config or an edit is checked, and its windows are shown; nothing is made."""

from typing import Any

import pytest

from tests.functions.test_exports import body
from tests.shared.exports.nights import live, nightly, shown
from tests.world import THEIR_SITE, World

PARIS = {"timezone": "Europe/Paris", "at": "03:30"}


def kept(world: World) -> dict[str, Any]:
    """All documents of exports and their versions, and all secrets."""
    found = [
        *world.cloud.db.collection("exports").stream(),
        *world.cloud.db.collection_group("versions").stream(),
        *world.cloud.db.collection("secrets").stream(),
        *world.cloud.db.collection("audit_trail").stream(),
    ]
    return {each.reference.path: each.to_dict() for each in found}


def preview(world: World, sent: Any, export: str = "") -> list[dict[str, str]]:
    path = f"/v1/exports/{export}:preview" if export else "/v1/exports:preview"
    answer = world.request("POST", path, sent)
    assert answer.status == 200, answer
    windows: list[dict[str, str]] = answer.body["next_windows"]
    return windows


@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
def test_the_next_five_windows_of_a_config_are_shown_on_the_clock_of_its_zone(world: World) -> None:
    before = kept(world)
    windows = preview(world, body(**PARIS))
    assert windows[:2] == [
        {
            "start": "2026-11-22T10:17:00+01:00",
            "end": "2026-11-23T00:00:00+01:00",
            "due": "2026-11-23T03:30:00+01:00",
        },
        {
            "start": "2026-11-23T00:00:00+01:00",
            "end": "2026-11-24T00:00:00+01:00",
            "due": "2026-11-24T03:30:00+01:00",
        },
    ]
    assert len(windows) == 5
    assert kept(world) == before
    made = world.request("POST", "/v1/exports", body(**PARIS))
    assert shown(world, made.body["id"])["next_windows"] == windows


@pytest.mark.ours_only("names the very moment, which needs a clock that stands")
def test_where_clocks_change_each_time_has_the_offset_of_its_day(world: World) -> None:
    windows = preview(world, body(**PARIS, start="2027-03-27T00:00:00"))
    assert [each["due"] for each in windows[:2]] == ["2027-03-28T03:30:00+02:00", "2027-03-29T03:30:00+02:00"]
    assert windows[1]["start"] == "2027-03-28T00:00:00+01:00"
    assert windows[1]["end"] == "2027-03-29T00:00:00+02:00"


def test_a_schedule_that_ends_shows_the_windows_that_are_left(world: World) -> None:
    ends = {"start": "2026-11-23T00:00:00Z", "end": "2026-11-24T12:00:00Z"}
    assert [each["end"] for each in preview(world, body(**ends))] == [
        "2026-11-24T00:00:00+00:00",
        "2026-11-24T12:00:00+00:00",
    ]
    once = preview(world, body(interval="once"))
    assert [each["start"] for each in once] == ["1970-01-01T00:00:00+00:00"]


def test_an_offset_of_seconds_is_told_in_utc(world: World) -> None:
    """Monrovia was 44 minutes and 30 seconds behind until 1972, which RFC 3339 cannot say."""
    windows = preview(world, body(interval="once", timezone="Africa/Monrovia"))
    assert windows[0]["start"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"interval": "every 7 minutes"}, "interval"),
        ({"site_ids": [THEIR_SITE]}, "site_ids[0]"),
        (
            {"connector_config": {"storage_uri": "gs://waybill-local-staging"}},
            "connector_config.storage_uri",
        ),
        ({"connector_config": {}}, "connector_config.storage_uri"),
        ({"start": "2020-01-01T00:00:00Z"}, "start"),
        ({"end": "2026-11-01T00:00:00Z"}, "end"),
        ({"naem": "x"}, "naem"),
    ],
)
def test_a_preview_refuses_what_making_the_export_refuses(
    world: World, changes: dict[str, Any], field: str
) -> None:
    previewed = world.request("POST", "/v1/exports:preview", body(**changes))
    assert (previewed.status, [each["field"] for each in previewed.body["errors"]]) == (400, [field])
    made = world.request("POST", "/v1/exports", body(**changes))
    assert made.body["errors"] == previewed.body["errors"]


@pytest.mark.slow
def test_an_edit_is_previewed_from_where_the_next_window_begins(world: World) -> None:
    export = nightly(world)
    live(world, 1, 1)
    before = kept(world)
    windows = preview(world, {"interval": "weekly"}, export)
    assert windows[0]["start"] == "2026-11-23T00:00:00+00:00"
    assert windows[0]["end"] == "2026-11-30T00:00:00+00:00"
    assert preview(world, {}, export) == shown(world, export)["next_windows"]
    assert kept(world) == before


@pytest.mark.slow
def test_a_preview_refuses_what_the_edit_refuses(world: World) -> None:
    export = nightly(world)
    live(world, 1, 1)
    for sent in ({"interval": "once"}, {"start": "2026-01-01T00:00:00Z"}, {"interval": "x"}, {"bom": True}):
        previewed = world.request("POST", f"/v1/exports/{export}:preview", sent)
        edited = world.request("PATCH", f"/v1/exports/{export}", sent)
        assert (previewed.status, previewed.body["errors"]) == (400, edited.body["errors"]), sent
    world.request("DELETE", f"/v1/exports/{export}")
    assert world.request("POST", f"/v1/exports/{export}:preview", {}).status == 409
    assert shown(world, export)["next_windows"] == []


def test_another_customers_export_is_not_previewed(world: World) -> None:
    export = world.export()
    answer = world.request("POST", f"/v1/exports/{export}:preview", {}, key=world.stranger())
    assert answer.status == 404
