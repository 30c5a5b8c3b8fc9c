"""What Firestore's own indexes hold of the documents of jobs: short values that queries use, and no more."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.cloud.firestore_v1._helpers import encode_value

from infra.local.firestore.indexes import Indexes
from infra.local.firestore.sizes import index_entries
from tests.subjects.small_job import Jobs
from tests.world import World

INDEXES = Indexes(Path(__file__).parents[3] / "infra/firestore.indexes.json")

MAX_ENTRY_BYTES = 300
MAX_ENTRIES = 80


def entries(snapshot: Any) -> list[int]:
    """The size in bytes of each of a document's index entries."""
    fields = {name: encode_value(value)._pb for name, value in snapshot.to_dict().items()}
    return list(index_entries(INDEXES, snapshot.reference.path, fields).values())


@pytest.mark.slow
def test_nothing_large_is_indexed(world: World) -> None:
    jobs = Jobs(world)
    long = "x" * 1_000
    required = [f"field{number}{'y' * 80}" for number in range(100)]
    jobs.send("/ls/api/itemTypes/Wide", "PUT", json={"required": required})
    jobs.imported(f"{long},id\n1\n2,a\n".encode())
    jobs.imported(b"id\n1\n", template=f'{{"id": "$id"}}## {long}'.encode())
    jobs.exported(filters=json.dumps({"id": [f"{long}{number}" for number in range(50)]}))
    jobs.exported(sqlQuery=f"select '{long}' as x from Technician")
    jobs.exported(sqlQuery=f"select * from {long}")
    jobs.send("/ls/api/batch/upload-url")
    db = world.cloud.db
    seen = set()
    for group in ("jobs", "rejects", "uploads", "item_types"):
        for snapshot in db.collection_group(group).stream():
            seen.add(group)
            sizes = entries(snapshot)
            assert max(sizes, default=0) <= MAX_ENTRY_BYTES, (snapshot.reference.path, snapshot.to_dict())
            assert len(sizes) <= MAX_ENTRIES, (snapshot.reference.path, snapshot.to_dict())
    assert seen == {"jobs", "rejects", "uploads", "item_types"}
