from functools import partial
from typing import Any

import pytest

from shared import exact
from shared.gcp.documents import IdRange, id_ranges, server_time, transact
from shared.items import store
from tests.world import World


def put(world: World, items: dict[str, Any], customer: str = "acme", type: str = "Account") -> None:
    written = {key: None if value is None else exact.dumps(value) for key, value in items.items()}
    transact(
        world.cloud.db, lambda transaction: store.write(world.cloud, customer, type, written, transaction)
    )


def got(world: World, customer: str = "acme", type: str = "Account", most: int = 100) -> list[Any]:
    now = server_time(world.cloud.db)
    parts = id_ranges(store.number_of(world.cloud, customer, type, now), most)
    found = [each for part in parts for each in store.scan(world.cloud, customer, type, part, now)]
    assert len({each.id for each in found}) == len(found)
    return sorted((exact.loads(each.record) for each in found), key=lambda each: str(each["id"]))


def test_items_are_found_by_customer_and_type(world: World) -> None:
    put(world, {"a": {"id": "a"}, "b": {"id": "b"}})
    put(world, {"a": {"id": "a", "theirs": True}}, customer="other")
    put(world, {"a": {"id": "a", "contact": True}}, type="Contact")
    assert got(world) == [{"id": "a"}, {"id": "b"}]
    assert got(world, type="ACCOUNT") == got(world)
    assert got(world, customer="other") == [{"id": "a", "theirs": True}]


def test_an_item_written_again_is_the_same_item_and_none_deletes(world: World) -> None:
    put(world, {"a": {"id": "a", "n": 1}, "b": {"id": "b"}})
    put(world, {"a": {"id": "a", "n": 2}, "b": None})
    assert got(world) == [{"id": "a", "n": 2}]


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_the_parts_of_a_type_hold_each_item_once(world: World, most: int) -> None:
    put(world, {str(number): {"id": str(number)} for number in range(40)})
    assert [each["id"] for each in got(world, most=most)] == sorted(str(number) for number in range(40))


def test_parts_cover_all_ids() -> None:
    for items in (0, 1, 99, 100_000, 1_000_000):
        parts = id_ranges(items, 100)
        assert parts[0].first == "00000000"
        assert parts[-1].before == "g"
        assert [each.before for each in parts[:-1]] == [each.first for each in parts[1:]]
    assert id_ranges(0, 100) == [IdRange("00000000", "g")]


@pytest.mark.parametrize("size", [10, 600_000, 5_000_000])
def test_a_record_of_any_size_comes_back(world: World, size: int) -> None:
    record = {"id": "a", "text": "".join(chr(97 + number * number % 26) for number in range(size))}
    put(world, {"a": record})
    read = transact(
        world.cloud.db,
        lambda transaction: store.read(world.cloud, "acme", "Account", ["a", "b"], 10**7, transaction),
    )
    assert read == {"a": record, "b": None}
    assert got(world) == [record]


def test_reading_ends_when_there_are_enough_bytes(world: World) -> None:
    records = {f"{number:02}": {"id": f"{number:02}", "text": "x" * 1000} for number in range(40)}
    put(world, records)
    for max_bytes, count in ((1, 1), (2500, 3), (35_000, 35), (10**6, 40)):
        keys = sorted(records)
        wanted = partial(store.read, world.cloud, "acme", "Account", keys, max_bytes)
        read = transact(world.cloud.db, wanted)
        assert read == dict(list(records.items())[:count])


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64 + 1, -(2**90), 1.5, 1e16])
def test_numbers_are_kept_exactly(number: Any) -> None:
    content = exact.dumps({"n": number})
    assert exact.loads(content) == {"n": number}
    assert type(exact.loads(content)["n"]) is type(number)
    assert b" " not in content
