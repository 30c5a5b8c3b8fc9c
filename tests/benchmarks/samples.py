"""Work orders of about 4 KB, the same at each run."""

import random
import uuid
from typing import Any

from shared.workorders.record import DataConformity, Input, JobConformity, WorkItem, WorkOrder, progress

SITE = "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b"
TASK_GROUPS = ("meter", "cabinet", "antenna")


def work_order(number: int) -> WorkOrder:
    """The n-th work order: three work items of two photographs each, with what two analyses found."""
    chance = random.Random(number)
    items = tuple(
        WorkItem(_id(chance), group, tuple(_input(chance) for _ in range(2))) for group in TASK_GROUPS
    )
    return WorkOrder(
        id=_id(chance),
        name=f"WO_{number:06}",
        site_id=SITE,
        metadata={
            "technician": chance.choice(("Ada", "Zoë", "Bảo")),
            "street": f"{chance.randrange(1, 200)} Rue de l'Église",
            "team": {"name": f"North {chance.randrange(9)}", "size": chance.randrange(2, 6)},
        },
        progress_score=progress(items, TASK_GROUPS),
        work_items=items,
    )


def _input(chance: random.Random) -> Input:
    return Input(
        id=_id(chance),
        file_extension="jpg",
        metadata=_where(chance),
        data_conformity=(
            DataConformity("resolution", "LOW_RESOLUTION", "information"),
            DataConformity("blur", "BLURRED", "warning"),
        ),
        job_conformity=(
            JobConformity("reading", chance.randrange(10**6), None, None, None, True),
            JobConformity("sealed", chance.random() < 0.5, True, "2026-11-22T09:17:00.000000Z", "seen", True),
        ),
    )


def _where(chance: random.Random) -> dict[str, Any]:
    return {"latitude": round(48 + chance.random(), 6), "longitude": round(2 + chance.random(), 6)}


def _id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))
