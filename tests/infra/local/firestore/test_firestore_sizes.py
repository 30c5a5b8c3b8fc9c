"""What a commit weighs, its index entries counted, and that one of more than 10 MiB is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions

from infra.local.firestore import messages as m
from infra.local.firestore.indexes import Indexes
from infra.local.firestore.sizes import change_size, index_entries
from tests.infra.local.firestore.conftest import Bench

TASK = "users/jeff/tasks/my_task_id"
"""The document of Google's examples: its name takes 44 bytes, its parent's 27.
https://firebase.google.com/docs/firestore/storage-size"""


def declared(tmp_path: Path, *indexes: Any, overrides: list[Any] | None = None) -> Path:
    file = tmp_path / "indexes.json"
    file.write_text(json.dumps({"indexes": indexes, "fieldOverrides": overrides or []}))
    return file


def override(field: str, *indexes: dict[str, str]) -> dict[str, Any]:
    return {"collectionGroup": "tasks", "fieldPath": field, "indexes": indexes}


def composite(scope: str, *fields: str) -> dict[str, Any]:
    ordered = [{"fieldPath": field, "order": "ASCENDING"} for field in fields]
    return {"collectionGroup": "tasks", "queryScope": scope, "fields": ordered}


def document(**fields: Any) -> Any:
    return m.Document(fields={name: value(each) for name, each in fields.items()})


def value(of: Any) -> Any:
    if isinstance(of, bool):
        return {"boolean_value": of}
    if isinstance(of, int):
        return {"integer_value": of}
    if isinstance(of, str):
        return {"string_value": of}
    if isinstance(of, list):
        return {"array_value": {"values": [value(each) for each in of]}}
    return {"map_value": {"fields": {name: value(each) for name, each in of.items()}}}


def sizes(indexes: Path, **fields: Any) -> list[int]:
    return sorted(index_entries(Indexes(indexes), TASK, document(**fields).fields).values())


ASCENDING = {"order": "ASCENDING", "queryScope": "COLLECTION"}


@pytest.mark.parametrize(
    ("given", "fields", "expected"),
    [
        # 44 + 27 + 5 + 1 + 32: https://firebase.google.com/docs/firestore/storage-size
        ({}, {"done": False}, [109, 109]),
        ({"overrides": [override("done", ASCENDING)]}, {"done": False}, [109]),
        # 44 + 5 + 1 + 48
        (
            {"overrides": [override("done", ASCENDING | {"queryScope": "COLLECTION_GROUP"})]},
            {"done": False},
            [98],
        ),
        ({"overrides": [override("done")]}, {"done": False}, []),
        ({"overrides": [override("*")]}, {"done": False, "inner": {"x": 1}, "tags": [1]}, []),
        # 44 + 27 + (1 + 8) + 32
        (
            {"indexes": [composite("COLLECTION", "done", "priority")], "overrides": [override("*")]},
            {"done": False, "priority": 1},
            [112],
        ),
        (
            {"indexes": [composite("COLLECTION_GROUP", "done", "priority")], "overrides": [override("*")]},
            {"done": False, "priority": 1},
            [85],
        ),
        # A document without one of the fields is not in the index.
        (
            {"indexes": [composite("COLLECTION", "done", "priority")], "overrides": [override("*")]},
            {"done": False},
            [],
        ),
        # Each element of an array once; each field in a map, under its whole path.
        ({}, {"tags": ["a", "b", "a"]}, [44 + 27 + 5 + 2 + 32] * 2),
        ({}, {"inner": {"deep": {"x": 1}}}, [44 + 27 + 13 + 8 + 32] * 2),
        # An index holds 1,500 bytes of a value.
        ({"overrides": [override("text", ASCENDING)]}, {"text": "x" * 5_000}, [44 + 27 + 5 + 1_500 + 32]),
    ],
)
def test_index_entries_by_googles_formula(
    tmp_path: Path, given: dict[str, Any], fields: dict[str, Any], expected: list[int]
) -> None:
    assert sizes(
        declared(tmp_path, *given.get("indexes", []), overrides=given.get("overrides")), **fields
    ) == (expected)


def test_a_change_counts_the_document_and_the_entries_that_come_and_go(tmp_path: Path) -> None:
    indexes = Indexes(declared(tmp_path))
    one, other = document(done=False, priority=1), document(done=True, priority=1)
    entries = [109, 109, 120, 120]
    assert sorted(index_entries(indexes, TASK, one.fields).values()) == entries
    whole = 44 + 32 + (5 + 1) + (9 + 8)
    assert change_size(indexes, TASK, None, one) == whole + sum(entries)
    assert change_size(indexes, TASK, one, other) == whole + 4 * 109, "two go, two come"
    assert change_size(indexes, TASK, one, one) == whole
    assert change_size(indexes, TASK, one, None) == 44 + sum(entries)


def test_a_small_document_with_ten_indexed_fields_weighs_five_to_six_kilobytes(tmp_path: Path) -> None:
    run = f"exports/{'e' * 32}/runs/{'r' * 32}/slices/{'s' * 12}"
    fields = {f"field_{n}": "a short value" for n in range(10)}
    assert 5_000 < change_size(Indexes(declared(tmp_path)), run, None, document(**fields)) < 6_000


SMALL = {f"field_{number}": number for number in range(10)}


LONG = f"exports/{'e' * 32}/runs/{'r' * 32}/tasks"
"""With names as long as ours are, such a document weighs 5,446 bytes, its index entries counted."""


def commit(bench: Bench, documents: int, *, first: int = 0, transaction: bool = False) -> None:
    batch = bench.db.transaction() if transaction else bench.db.batch()
    if transaction:
        batch._begin()
    for number in range(first, first + documents):
        batch.set(bench.db.document(f"{LONG}/{number:012}"), SMALL)
    batch._commit() if transaction else batch.commit()


@pytest.mark.slow
@pytest.mark.parametrize("transaction", [False, True])
def test_a_commit_of_more_than_10_mib_with_its_index_entries_is_refused(
    bench: Bench, transaction: bool
) -> None:
    with pytest.raises(exceptions.InvalidArgument) as caught:
        commit(bench, 2_000, transaction=transaction)
    commit(bench, 1_800, transaction=transaction)
    assert caught.value.message == "Transaction too big. Decrease transaction size."
    assert len(bench.ids(bench.db.collection_group("tasks"))) == 1_800


@pytest.mark.slow
def test_fields_that_are_exempt_weigh_little(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = make_bench(None, declared(tmp_path, overrides=[override("*")]))
    commit(bench, 10_000)


def test_a_few_documents_with_many_fields_are_counted_too(bench: Bench) -> None:
    fields = {f"field_{number:03}": number for number in range(1_000)}

    def commit_of(documents: int) -> None:
        batch = bench.db.batch()
        for number in range(documents):
            batch.set(bench.db.document(f"{LONG}/{number:012}"), fields)
        batch.commit()

    with pytest.raises(exceptions.InvalidArgument, match="Transaction too big"):
        commit_of(24)
    commit_of(12)


@pytest.mark.slow
def test_deletions_count(bench: Bench) -> None:
    """https://github.com/firebase/firebase-tools/issues/1036."""
    commit(bench, 1_800)
    commit(bench, 300, first=1_800)
    batch = bench.db.batch()
    for number in range(2_100):
        batch.delete(bench.db.document(f"{LONG}/{number:012}"))
    with pytest.raises(exceptions.InvalidArgument, match="Transaction too big"):
        batch.commit()
    assert len(bench.ids(bench.db.collection_group("tasks"))) == 2_100
