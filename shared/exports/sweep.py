"""Taking up what got stuck: whatever dies between a commit and a publish, or while it works, is found here.

Looked for by `beat` (of runs `swept`), which every step and every attempt sets by Firestore's time: runs
under way, and parts and slices still to be done, that have shown no life for a quarter of an hour. Telling a
function once more is always safe.
"""

from datetime import datetime

from google.cloud import firestore

from shared import logs
from shared.errors import GiveUp, Retry
from shared.exports import copying, finishing, mailing, runs
from shared.exports.runs import DELIVERING, ENDED, RUNNING, UNDER_WAY, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, transact
from shared.gcp.silence import SWEEPS_MOST, change, silent


def held_up(cloud: Cloud, run: Run, passing: Retry) -> None:
    """Write down what keeps a run that is under way, in case it is failed for that. One that has ended stays
    as it is."""
    reference = cloud.db.document(run.path)

    def note(transaction: firestore.Transaction) -> None:
        if reference.get(["state"], transaction=transaction).get("state") in UNDER_WAY:
            transaction.update(reference, {"held_up": str(passing)})

    transact(cloud.db, note)


def sweep(cloud: Cloud, at: datetime) -> None:
    """Have everything taken up that is silent at `at`. What fails here is logged and stops nothing else."""
    for group, field, values, since, take_up in (
        ("runs", "state", list(UNDER_WAY), "swept", _take_up_run),
        ("parts", "open", [True], "beat", _take_up_part),
        ("slices", "open", [True], "beat", _take_up_slice),
    ):
        for snapshot in silent(cloud, group, field, values, since, at):
            try:
                take_up(cloud, snapshot)
            except Exception as failure:
                path = snapshot.reference.path
                logs.error("something silent could not be taken up", exception=failure, document=path)


def _take_up_run(cloud: Cloud, snapshot: Snapshot) -> None:
    run = runs.from_snapshot(snapshot)
    sweeps = fields_of(snapshot).get("sweeps", 0)
    # Mails wait for SendGrid, a day at most; they are swept by themselves, and tell the run when they end.
    waits = run.state == DELIVERING and mailing.any_waits(cloud, run)
    if sweeps >= SWEEPS_MOST and not waits:
        finishing.fail(cloud, run, _never_ends(sweeps, fields_of(snapshot).get("held_up")))
        return
    # Not `beat`: being looked at is no sign of life, and a run that shows none loses its slot.
    taken_up = {"swept": firestore.SERVER_TIMESTAMP, "sweeps": firestore.Increment(0 if waits else 1)}
    if change(cloud, snapshot, taken_up) and not waits:
        _tell(cloud, run, run.source.function, run.message, "run")


def _never_ends(sweeps: int, held_up: str | None) -> GiveUp:
    taken_up = f"The run was taken up {sweeps} times and did not end"
    ours = "ours to mend: look into the functions' logs for this run, then retry the run."
    if held_up is None:
        return GiveUp(f"{taken_up}.", f"This is {ours}")
    return GiveUp(
        f"{taken_up}. What kept it last: {held_up.rstrip('.')}.",
        "If that is a server or bucket of yours, see that it answers, which the export's connection test "
        f"tells, then retry the run. Else this is {ours}",
    )


def _take_up_part(cloud: Cloud, snapshot: Snapshot) -> None:
    run = _owner(cloud, snapshot, RUNNING)
    if run is not None:
        _tell(cloud, run, run.source.function, {**run.message, "part": snapshot.id}, "part")


def _take_up_slice(cloud: Cloud, snapshot: Snapshot) -> None:
    run = _owner(cloud, snapshot, DELIVERING)
    if run is not None:
        _tell(cloud, run, copying.FUNCTION, {**run.message, "slice": snapshot.id}, "slice")


def _owner(cloud: Cloud, snapshot: Snapshot, state: str) -> Run | None:
    """The run of a silent part or slice, if it is in the state to do it; if it has ended, that is closed."""
    run = runs.from_snapshot(snapshot.reference.parent.parent.get())
    if run.state in ENDED:
        change(cloud, snapshot, {"open": False})
        return None
    beaten = _beat(cloud, snapshot)
    return run if beaten and run.state == state else None


def _beat(cloud: Cloud, snapshot: Snapshot) -> bool:
    """Mark it as taken up, unless it has shown life since; then it needs nobody."""
    return change(cloud, snapshot, {"beat": firestore.SERVER_TIMESTAMP})


def _tell(cloud: Cloud, run: Run, function: str, message: dict[str, str], kind: str) -> None:
    with logs.bound(run=run.id, export=run.export, customer=run.customer):
        cloud.messages.publish(function, message)
        logs.warning(f"a silent {kind} is taken up", **message)
