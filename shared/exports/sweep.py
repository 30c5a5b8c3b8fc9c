"""Taking up what got stuck: whatever dies between a commit and a publish, or while it works, is found here.

Looked for by `beat` (of runs `swept`), which every step and every attempt sets by Firestore's time: runs
under way, and parts and slices still to be done, that have shown no life for a quarter of an hour. Telling a
function once more is always safe.
"""

from datetime import datetime

from google.cloud import firestore

from shared import logs
from shared.errors import GiveUp
from shared.exports import copying, finishing, mailing, runs
from shared.exports.runs import DELIVERING, ENDED, RUNNING, UNDER_WAY, Run
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.gcp.silence import SWEEPS_MOST, change, silent


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
        error = GiveUp(
            f"The run was taken up {sweeps} times and did not end.",
            "This is ours to mend: look into the functions' logs for this run, then retry the run.",
        )
        finishing.fail(cloud, run, error)
        return
    # Not `beat`: being looked at is no sign of life, and a run that shows none loses its slot.
    taken_up = {"swept": firestore.SERVER_TIMESTAMP, "sweeps": firestore.Increment(0 if waits else 1)}
    if change(cloud, snapshot, taken_up) and not waits:
        _tell(cloud, run, run.source.function, run.message, "run")


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
