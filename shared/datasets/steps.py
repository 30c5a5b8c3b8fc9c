"""A task's way from its start to its end. Each step can be done twice, or by two at once, and is done once.

1. plan    find the version that is asked for, or say what is to be read for a new one (`reading`)
2. read    read the work orders as they stand, part by part (`reading`)
3. pin     make a version of what was read; a task that only makes a version ends here (`reading`)
4. select  find out which samples are to be exported, slice by slice (`writing`)
5. count   number them (`writing`)
6. write   copy their images and write their labels, slice by slice (`writing`)
7. join    join the files of all slices (`finishing`)
8. finish  the manifest (`finishing`)
"""

from collections.abc import Mapping

from shared.datasets import finishing, reading, writing
from shared.datasets import task as tasks
from shared.datasets.task import INIT, RUNNING, Task
from shared.delivery.base import SLICES_AT_ONCE
from shared.work.kinds import Kind, Stage

FUNCTION = "export_dataset"
"""The function that does a task's pieces."""


def _function(_: Task) -> str:
    return FUNCTION


def _ids(task: Task) -> Mapping[str, str]:
    return {"task": task.id, "dataset": task.dataset, "customer": task.customer}


KIND = Kind(
    name="dataset task",
    collection="dataset_tasks",
    stages=(
        Stage(reading.PLAN, INIT, _function, reading.plan),
        Stage(reading.READ, RUNNING, _function, reading.read),
        Stage(reading.PIN, RUNNING, _function, reading.pin),
        Stage(reading.SELECT, RUNNING, _function, writing.select),
        Stage(writing.COUNT, RUNNING, _function, writing.count),
        Stage(tasks.WRITE, RUNNING, _function, writing.write, at_once=SLICES_AT_ONCE),
        Stage(finishing.JOIN, RUNNING, _function, finishing.join),
        Stage(finishing.FINISH, RUNNING, _function, finishing.finish, cancellable=False),
    ),
    parse=tasks.from_snapshot,
    ids=_ids,
    ending=finishing.ending,
    advice="See to that, then create the task again. If it is nothing of yours, ask Waybill's operators.",
)
"""The export of a dataset, or the making of one of its versions."""
