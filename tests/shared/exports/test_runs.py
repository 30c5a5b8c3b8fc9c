"""A run from the tick to the manifest, in this process."""

from datetime import UTC, datetime, timedelta

from tests.world import BUCKET, SITE, World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)


def test_the_thin_whole(world: World) -> None:
    work_order = world.work_order("WO_1")
    export = world.export()
    world.run_due(MORNING)
    assert len(world.landed()) == 4, world.landed().keys()
    assert [record["id"] for record in world.records()] == [work_order.id]
