"""What is kept beside a record takes so much room, and no more."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from shared.errors import Invalid
from shared.workorders import envelope


def kept(labels: Mapping[str, Any]) -> dict[str, Any]:
    return envelope.details(tags=(), parameters={}, labels=labels, checked=0, analysis="DONE", failure="")


def labels(inputs: int, boxes: list[list[float]]) -> dict[str, Any]:
    """Labels with these boxes for each input."""
    return {
        str(id): {"task": {"regions": [{"label": "a", "box": box} for box in boxes]}} for id in range(inputs)
    }


def test_labels_come_back() -> None:
    some = labels(10, [[1.0, 2.5, 3.0, 4.0]])
    assert envelope.read_labels(kept(some)["labels"]) == some
    assert kept({})["labels"] == b""


def test_labels_that_do_not_fit_into_the_document_are_refused() -> None:
    chance = random.Random(1)
    boxes = [[chance.random() for _ in range(4)] for _ in range(10_000)]
    with pytest.raises(Invalid, match="at most 262144 bytes of labels, compressed"):
        kept(labels(1, boxes))


@pytest.mark.slow
def test_labels_that_do_not_fit_into_memory_are_refused_however_small_they_are_compressed() -> None:
    with pytest.raises(Invalid, match="at most 8388608 bytes of labels"):
        kept(labels(250, [[1.0, 2.0, 3.0, 4.0]] * 1_000))
