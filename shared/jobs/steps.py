"""A job's way from its start to its end. Each step can be done twice, or by two at once, and is done once.

1. receive  the file of an import: it is pinned as it stands (`receiving`)
2. plan     see whether the job can be done, and cut an export into parts (`planning`)
3. import   record by record, from where the last attempt had committed (`importing`)
   export   part by part, then `write`: the parts become the files that were asked for (`exporting`)
4. finish   what can be downloaded, and the mail about the end (`finishing`)

A job that is cancelled goes to `cancel`, which is `finish` for what was done until then.
"""

from collections.abc import Mapping

from shared.jobs import exporting, finishing, importing, planning, receiving
from shared.jobs import job as jobs
from shared.jobs.job import ACCEPTED, CANCELING, EXPORT, IMPORT, INITIALIZED, PROCESSING, Job
from shared.work.kinds import Kind, Stage

FUNCTION = "run_job"
"""The function that does a job's pieces."""


def _function(_: Job) -> str:
    return FUNCTION


def _ids(job: Job) -> Mapping[str, str]:
    return {"job": job.id, "customer": job.customer}


KIND = Kind(
    name="job",
    collection="jobs",
    stages=(
        Stage(receiving.STAGE, INITIALIZED, _function, receiving.receive),
        Stage(planning.STAGE, ACCEPTED, _function, planning.plan),
        Stage(IMPORT, PROCESSING, _function, importing.import_records),
        Stage(EXPORT, PROCESSING, _function, exporting.read_part),
        Stage(exporting.WRITE, PROCESSING, _function, exporting.write),
        Stage(finishing.STAGE, PROCESSING, _function, finishing.finish),
        Stage(finishing.CANCEL, CANCELING, _function, finishing.finish, cancellable=False),
    ),
    parse=jobs.from_snapshot,
    ids=_ids,
    ending=finishing.ending,
    in_turn=True,
    closing=finishing.CANCEL,
)
"""An import or an export of records, and what becomes of it."""
