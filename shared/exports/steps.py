"""A run's way from its start to its end, as a kind of work (`shared.work`).

A tick creates the run (`tick`); it is PENDING until its customer has a free slot. Then:

1. plan     splits the window into parts (`writing.plan`)
2. write    writes each part into staging (`writing.write`)
3. pin      counts what was staged: from then on exactly that is delivered (`delivering.pin`)
4. deliver  delivers the data files (`delivering.deliver`)
5. copy     copies the images, slice by slice (`copying.copy`)
6. mail     has the mails of an export by email sent, and waits for them (`mailing.mail`)
7. finish   delivers the manifest (`finishing.finish`); the audit event is written with the run's end

`finishing.ending` is what happens whichever way a run ends.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from google.cloud import firestore

from shared.accounts.limits import PARALLEL_EXPORTS
from shared.delivery.base import SLICES_AT_ONCE
from shared.exports import copying, delivering, finishing, mailing, runs, writing
from shared.exports.export import DELETED
from shared.exports.runs import DELIVERING, RUNNING, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot
from shared.work import control
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Kind, Later, Stage

Step = Callable[[Cloud, Run, Attempt], Done | Later]


def _export_deleted(cloud: Cloud, transaction: firestore.Transaction, run: Snapshot) -> bool:
    export = run.reference.parent.parent.get(["state"], transaction=transaction)
    return (export.to_dict() or {}).get("state") == DELETED


def _stage(name: str, state: str, step: Step) -> Stage[Run]:
    return Stage(name, state, lambda run: run.source.function, step, cancellable=state == RUNNING)


KIND = Kind(
    name="run",
    collection="runs",
    stages=(
        _stage("plan", RUNNING, writing.plan),
        _stage(runs.WRITE, RUNNING, writing.write),
        _stage(runs.PIN, RUNNING, delivering.pin),
        _stage("deliver", DELIVERING, delivering.deliver),
        Stage(
            runs.COPY,
            DELIVERING,
            lambda _: copying.FUNCTION,
            copying.copy,
            cancellable=False,
            at_once=SLICES_AT_ONCE,
        ),
        _stage(mailing.STAGE, DELIVERING, mailing.mail),
        _stage("finish", DELIVERING, finishing.finish),
    ),
    parse=runs.from_snapshot,
    ids=lambda run: {"run": run.id, "export": run.export, "customer": run.customer},
    ending=finishing.ending,
    waiting=finishing.waiting,
    replans=runs.replans,
    advice=finishing.ADVICE,
    slots=PARALLEL_EXPORTS.of,
    lane="export",
    abandoned=_export_deleted,
)


def document(run: Run, at: datetime, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document of a run that is being created, at Firestore's time `at`."""
    return {**runs.new_run(run), **control.new(KIND.name, run.customer, at), **(more or {})}
