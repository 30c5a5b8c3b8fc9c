"""What is kept of the files that a customer uploads, and how many bytes that is in all.

Each file has a document, customers/<customer>/stored/<file>, with its `bytes` and the time `until` which it
counts. It is written when its upload URL is made, where its size is said then, and again when the file came;
it goes when the file is removed. So what is in use is one sum, of which Firestore reads the index alone
(https://cloud.google.com/firestore/pricing#aggregation_queries); decision 0060 says what is not counted.
"""

from datetime import datetime, timedelta
from typing import Any

from google.api_core.exceptions import FailedPrecondition, NotFound
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts import limits
from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time, total
from shared.gcp.objects import Stored
from shared.work.lifetimes import REMOVE_AFTER

UPLOADS_KEPT = timedelta(days=30)
"""How long a file stays that nobody removes: the rule of the bucket `uploads` in infra/bundle.yaml."""


def check(cloud: Cloud, customer: str, declared: int | None = None) -> None:
    """TooMany where a customer may store no further file now, or none of the size that is declared."""
    most = limits.value(cloud.db, customer, limits.STORED_BYTES)
    used, more = in_use(cloud, customer), declared or 1
    if used + more > most:
        raise limits.STORED_BYTES.reached(most, used, more)


def in_use(cloud: Cloud, customer: str) -> int:
    """How many bytes of a customer count now."""
    kept = cloud.db.collection(f"customers/{customer}/stored")
    return total(kept.where(filter=FieldFilter("until", ">", server_time(cloud.db))), "bytes")


def expect(cloud: Cloud, name: str, declared: int | None, life: timedelta) -> None:
    """Count a file from now on that has an upload URL, for the life of that; one whose size is not said
    counts once it came. `name` is what it is called in the uploads bucket."""
    if declared is not None:
        _write(cloud, name, declared, server_time(cloud.db) + life, expected=True)


def came(cloud: Cloud, name: str) -> None:
    """Count a file that came; nothing where it is not there any more, or is in no customer's folder."""
    customer, _, file = name.partition("/")
    if not customer or not file or not cloud.db.document(f"customers/{customer}").get([]).exists:
        return
    found = cloud.objects.stat(cloud.settings.uploads_bucket, name)
    if found is not None:
        keep(cloud, found, server_time(cloud.db))


def keep(cloud: Cloud, found: Stored, at: datetime) -> None:
    """Count a file that was found in the uploads bucket at that time."""
    _write(cloud, found.name, found.size, at + UPLOADS_KEPT, expected=False)


def withdrawn(cloud: Cloud, name: str) -> None:
    """Count a file no longer whose upload URL was withdrawn, unless it came before that."""
    document = _document(cloud, name)
    snapshot = document.get()
    if snapshot.exists and snapshot.get("expected"):
        try:
            document.delete(cloud.db.write_option(last_update_time=snapshot.update_time))
        except (FailedPrecondition, NotFound):
            return  # it came meanwhile, or another has done the same


def removed(cloud: Cloud, name: str) -> None:
    """Count a file no longer that was removed."""
    _document(cloud, name).delete()


def _document(cloud: Cloud, name: str) -> Any:
    customer, _, file = name.partition("/")
    return cloud.db.document(f"customers/{customer}/stored/{file.replace('/', '-')}")


def _write(cloud: Cloud, name: str, size: int, until: datetime, *, expected: bool) -> None:
    fields = {"bytes": size, "until": until, "expected": expected, REMOVE_AFTER: until}
    _document(cloud, name).set(fields)
