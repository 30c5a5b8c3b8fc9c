"""The states view: of each work item only the last input."""

import json
from collections.abc import Iterator

from shared.workorders.record import encode, states_record
from tests.benchmarks.measure import Done, Figure, Ground, Side, compare, digest, shown
from tests.benchmarks.samples import work_order

RECORDS, QUICK_RECORDS = 2000, 30
REPETITIONS = 5


def bench(ground: Ground) -> Iterator[Figure]:
    """Make the views of that many records, with orjson and with json."""
    records = QUICK_RECORDS if ground.quick else RECORDS
    kept = [encode(work_order(number)) for number in range(records)]

    def ours(_: int) -> list[tuple[bytes, frozenset[str]]]:
        return [states_record(record) for record in kept]

    def standard(_: int) -> list[tuple[bytes, frozenset[str]]]:
        return [_with_json(record) for record in kept]

    def done(
        side: Side[list[tuple[bytes, frozenset[str]]]], _: int, views: list[tuple[bytes, frozenset[str]]]
    ) -> Done:
        return digest([record + ",".join(sorted(inputs)).encode() for record, inputs in views])

    sides = [Side("states_record", ours), Side("the same with json", standard)]
    found = shown(compare("states view", "records and their inputs' ids", REPETITIONS, sides, done))
    yield found.figure("states_view_cpu_vs_json", 1, "cpu", None)


def _with_json(record: bytes) -> tuple[bytes, frozenset[str]]:
    fields = json.loads(record)
    inputs: set[str] = set()
    for item in fields["work_items"]:
        item["input"] = item["input"][-1:]
        inputs.update(each["id"] for each in item["input"])
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(), frozenset(inputs)
