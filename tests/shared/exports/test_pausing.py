"""A pause leaves out whole windows that became due meanwhile, and nothing else; `skip` the open one, too."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.world import Answer, World


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def ask(world: World, export: str, call: str, body: Any = None) -> dict[str, Any]:
    answer = world.request("POST", f"/v1/exports/{export}:{call}", body)
    assert answer.status in (200, 201), answer
    found: dict[str, Any] = answer.body
    return found


def edit(world: World, export: str, changes: dict[str, Any]) -> Answer:
    return world.request("PATCH", f"/v1/exports/{export}", changes)


def shown(world: World, export: str) -> dict[str, Any]:
    found: dict[str, Any] = world.request("GET", f"/v1/exports/{export}").body
    return found


def named(world: World) -> list[tuple[str, str]]:
    """The windows that landed, in order, without their year."""
    windows = [manifest["window"] for manifest in world.manifests()]
    return [(window["start"][5:16], window["end"][5:16]) for window in windows]


def left_out(start: str, end: str) -> dict[str, str]:
    return {"start": f"2026-{start}:00Z", "end": f"2026-{end}:00Z"}


@pytest.mark.parametrize("interval", ["daily", "weekly", "monthly", "hourly", "every 15 minutes", "once"])
def test_a_pause_of_a_second_changes_nothing(world: World, interval: str) -> None:
    export = world.export(interval=interval)
    before = shown(world, export)
    ask(world, export, "pause")
    world.wait(timedelta(seconds=1))
    resumed = ask(world, export, "resume")
    assert resumed.pop("left_out") is None
    assert resumed == before
    assert shown(world, export) == before


def test_the_open_window_continues_with_what_was_committed_while_paused(world: World) -> None:
    orders = [world.work_order("BEFORE", photographs=0)]
    export = world.export(start="2026-11-22T09:00:00Z")
    ask(world, export, "pause")
    world.wait(timedelta(hours=3))
    orders.append(world.work_order("PAUSED", photographs=0))
    world.wait(timedelta(hours=3))
    assert ask(world, export, "resume")["left_out"] is None
    orders.append(world.work_order("AFTER", photographs=0))
    world.run_due(at("11-23 02:00"))
    assert named(world) == [("11-22T09:00", "11-23T00:00")]
    assert [each["id"] for each in world.records()] == [each.id for each in orders]


@pytest.mark.parametrize(
    ("config", "resumed", "gap", "follows"),
    [
        ({}, "11-25 12:00", ("11-22T09:17", "11-25T00:00"), ("11-25T00:00", "11-26T00:00")),
        # Its end has passed, and it is not due yet: the pause leaves nothing of it out.
        ({}, "11-25 01:00", ("11-22T09:17", "11-24T00:00"), ("11-24T00:00", "11-25T00:00")),
        (
            {"interval": "weekly"},
            "12-09 12:00",
            ("11-22T09:17", "12-07T00:00"),
            ("12-07T00:00", "12-14T00:00"),
        ),
        (
            {"interval": "monthly"},
            "12-09 12:00",
            ("11-22T09:17", "12-01T00:00"),
            ("12-01T00:00", "2027-01-01T00:00"[5:]),
        ),
        (
            {"interval": "hourly"},
            "11-22 12:30",
            ("11-22T09:17", "11-22T12:00"),
            ("11-22T12:00", "11-22T13:00"),
        ),
        (
            {"timezone": "Asia/Kathmandu"},
            "11-25 12:00",
            ("11-22T09:17", "11-24T18:15"),
            ("11-24T18:15", "11-25T18:15"),
        ),
    ],
)
def test_what_became_due_while_paused_is_left_out_and_can_be_exported_at_once(
    world: World,
    config: dict[str, Any],
    resumed: str,
    gap: tuple[str, str],
    follows: tuple[str, str],
) -> None:
    export = world.export(**config)
    ask(world, export, "pause")
    world.run_due(at(resumed))
    answer = ask(world, export, "resume")
    assert answer["left_out"] == left_out(*gap)
    assert answer["next_window_start"] == f"2026-{gap[1]}:00Z"
    ask(world, export, "backfill", answer["left_out"])
    world.drain()
    world.run_due(datetime.fromisoformat(answer["next_due"]))
    assert named(world) == [gap, follows]


def test_with_skip_the_open_window_is_left_out_too(world: World) -> None:
    export = world.export()
    ask(world, export, "pause")
    world.wait(timedelta(seconds=1))
    answer = ask(world, export, "resume?skip=true")
    assert answer["left_out"] == left_out("11-22T09:17", "11-23T00:00")
    world.run_due(at("11-23 02:00"))
    assert named(world) == []
    ask(world, export, "backfill", answer["left_out"])
    world.run_due(at("11-24 02:00"))
    assert named(world) == [("11-22T09:17", "11-23T00:00"), ("11-23T00:00", "11-24T00:00")]


@pytest.mark.parametrize("skip", ["maybe", "", "1", "yes"])
def test_skip_is_true_or_false(world: World, skip: str) -> None:
    export = world.export()
    ask(world, export, "pause")
    answer = world.request("POST", f"/v1/exports/{export}:resume?skip={skip}")
    assert answer.status == 400
    assert answer.body["errors"] == [{"field": "skip", "message": f"must be true or false; got '{skip}'"}]
    assert shown(world, export)["state"] == "PAUSED"


def test_what_waited_before_a_short_pause_is_not_lost_by_it(world: World) -> None:
    export = world.export(start="2026-11-19T00:00:00Z")  # three windows are due, and no tick has come
    ask(world, export, "pause")
    world.wait(timedelta(seconds=1))
    assert ask(world, export, "resume")["left_out"] is None
    world.run_due()
    assert named(world) == [
        ("11-19T00:00", "11-20T00:00"),
        ("11-20T00:00", "11-21T00:00"),
        ("11-21T00:00", "11-22T00:00"),
    ]


def test_a_second_pause_does_not_make_a_long_one_short(world: World) -> None:
    export = world.export()
    ask(world, export, "pause")
    world.move_to(at("11-25 12:00"))
    ask(world, export, "pause")
    assert ask(world, export, "resume")["left_out"] == left_out("11-22T09:17", "11-25T00:00")
    ask(world, export, "pause")  # and one after it begins anew
    assert ask(world, export, "resume")["left_out"] is None


def test_an_edit_of_a_paused_export_does_not_make_the_past_wait(world: World) -> None:
    export = world.export()
    ask(world, export, "pause")
    assert edit(world, export, {"start": "2020-01-01T00:00:00Z"}).status == 200
    answer = ask(world, export, "resume")
    assert answer["left_out"] == {"start": "2020-01-01T00:00:00Z", "end": "2026-11-22T00:00:00Z"}


def test_an_export_whose_end_passed_while_it_was_paused_has_ended(world: World) -> None:
    export = world.export(end="2026-11-24T12:00:00Z")
    ask(world, export, "pause")
    world.move_to(at("11-25 12:00"))
    answer = ask(world, export, "resume")
    assert (answer["state"], answer["left_out"]) == ("ENDED", left_out("11-22T09:17", "11-24T12:00"))
    assert answer["next_due"] is None
