"""A batch's way from its start to its end. Each step can be done twice, or by two at once, and is done once.

1. create   the batch, and the URL that its archive is uploaded to (`service`)
2. receive  its archive: it is pinned as it stands (`receiving`)
3. plan     the archive's directory, cut into slices of whole work orders (`planning`)
4. import   slice by slice: photographs, then work orders, errors as they come (`importing`)
5. report   what the checks of the photographs found, once they are made (`reporting`)
6. finish   add up what the slices came to (`finishing`)

At its end the addresses of `notify` are mailed (`finishing.ending`).
"""

from collections.abc import Mapping

from shared.batches import batch as batches
from shared.batches import finishing, importing, planning, receiving, reporting
from shared.batches.batch import IMPORT, PROCESSING, UPLOADED, WAITING_FOR_UPLOAD, Batch
from shared.gcp.clients import Cloud
from shared.gcp.messages import ObjectFinalised
from shared.work import pieces
from shared.work.engine import perform
from shared.work.kinds import Kind, Stage

FUNCTION = "ingest_work_orders"
"""The function that is asked to do a batch's pieces. `ingest_batch`, which learns of an archive, does the
first two steps at once."""


def _function(_: Batch) -> str:
    return FUNCTION


def _ids(batch: Batch) -> Mapping[str, str]:
    return {"batch": batch.id, "customer": batch.customer}


KIND = Kind(
    name="batch",
    collection="batches",
    stages=(
        Stage(receiving.STAGE, WAITING_FOR_UPLOAD, _function, receiving.receive),
        Stage("plan", UPLOADED, _function, planning.plan),
        Stage(IMPORT, PROCESSING, _function, importing.import_slice),
        Stage(reporting.STAGE, PROCESSING, _function, reporting.report),
        Stage("finish", PROCESSING, _function, finishing.finish),
    ),
    parse=batches.from_snapshot,
    ids=_ids,
    ending=finishing.ending,
)
"""An archive of work orders, and what becomes of it."""


def archive_came(cloud: Cloud, event: ObjectFinalised) -> None:
    """What `ingest_batch` does with an object that came to be in the uploads bucket: receive it, and plan its
    batch."""
    batch = receiving.batch_of(cloud, event)
    if batch is not None:
        perform(cloud, KIND, pieces.message(batch.path, receiving.STAGE))
