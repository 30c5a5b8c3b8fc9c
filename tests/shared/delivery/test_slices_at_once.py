"""How many slices of images are copied into one bucket at once."""

from typing import Any

import pytest

from shared.datasets import steps as datasets
from shared.delivery.base import BUCKET_WRITES, COPIES_A_SECOND, SLICES_AT_ONCE
from shared.exports import steps as exports
from shared.work.kinds import Kind


@pytest.mark.parametrize(("kind", "stage"), [(exports.KIND, "copy"), (datasets.KIND, "write")])
def test_slices_that_copy_at_once_write_no_more_than_a_new_bucket_takes(kind: Kind[Any], stage: str) -> None:
    assert kind.stage(stage).at_once == SLICES_AT_ONCE
    assert 0 < SLICES_AT_ONCE * COPIES_A_SECOND <= BUCKET_WRITES
