"""The states view: of each work item only the last input."""

import json

from shared.workorders.record import encode, states_record
from tests.benchmarks.measure import Comparison, Done, Side, compare, digest
from tests.benchmarks.samples import work_order


def benchmark(*, records: int, repetitions: int) -> Comparison:
    """Make that many views, with orjson and with json."""
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
    return compare("states view", "records and their inputs' ids", repetitions, sides, done)


def _with_json(record: bytes) -> tuple[bytes, frozenset[str]]:
    fields = json.loads(record)
    inputs: set[str] = set()
    for item in fields["work_items"]:
        item["input"] = item["input"][-1:]
        inputs.update(each["id"] for each in item["input"])
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(), frozenset(inputs)
