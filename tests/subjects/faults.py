"""The kinds of calls, and how each can fail."""

from infra.local.traffic import Fault

GRPC = [
    "firestore.Commit",
    "firestore.BatchGetDocuments",
    "firestore.RunQuery",
    "firestore.RunAggregationQuery",
    "pubsub.Publish",
]


HTTP_FAULTS = [
    *(Fault("error", status=status) for status in (429, 500, 503)),
    Fault("reset_before"),
    Fault("reset_after"),
    Fault("truncate"),
    Fault("delay", seconds=0.2),
]


GRPC_FAULTS = [
    *(Fault("error", status=code) for code in (8, 13, 14)),  # RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE
    Fault("reset_before"),
    Fault("reset_after"),
    Fault("delay", seconds=0.2),
]


def named(value: object) -> str:
    return f"{value.action}-{value.status}" if isinstance(value, Fault) else str(value)
