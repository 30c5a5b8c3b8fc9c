"""A run's way from its start to its end. Each step can be done twice, or by two at once, and is done once.

1. tick             begins the window and takes a slot (`tick`, `slots`)
2. plan             splits it into parts (`writing.plan`)
3. write            each part into staging (`writing.write`)
4. deliver          pins what was staged, and delivers the data files (`delivering`)
5. copy images      slice by slice (`copying`); of an export by email, mail its recipients (`mailing`)
6. finish           the manifest, the audit event, and the slot is free (`finishing`)

A run's function is sent the run's ids to take it on from wherever it is, or with a part's id to write that
part; `copy_images` is sent a slice. Whatever ends a step tells the next by a message.
"""

import contextlib
from collections.abc import Iterator
from datetime import datetime

from shared import logs
from shared.errors import Busy, GiveUp, Retry
from shared.exports import copying, delivering, finishing, mailing, runs, writing
from shared.exports.runs import DELIVERING, RUNNING, Run
from shared.exports.sweep import held_up, sweep
from shared.exports.tick import tick as start_what_is_due
from shared.gcp import leases
from shared.gcp.clients import Cloud
from shared.gcp.documents import count
from shared.gcp.messages import Message


def tick(cloud: Cloud, at: datetime) -> None:
    """What `tick` does for exports each minute: start what is due, and take up what got stuck."""
    start_what_is_due(cloud, at)
    sweep(cloud, at)


def export(cloud: Cloud, message: Message) -> None:
    """What the function of a source does with a message: write one part, finish, or take the run on."""
    run = runs.get(cloud, message["export"], message["run"])
    if run is None:
        return
    with _told(cloud, run):
        part = message.get("part")
        if message.get(mailing.FINISH):
            finishing.finish_if_done(cloud, run)
        elif part is None:
            advance(cloud, run)
        elif run.state == RUNNING:
            rest = writing.write(cloud, run, part)
            if rest is not None:
                cloud.messages.publish(run.source.function, {**run.message, "part": rest})
            elif not count(runs.unwritten(cloud, run)):
                cloud.messages.publish(run.source.function, run.message)


def copy(cloud: Cloud, message: Message) -> None:
    """What `copy_images` does with a message: copy one slice, and finish if it was the last."""
    run = runs.get(cloud, message["export"], message["run"])
    if run is None:
        return
    with _told(cloud, run):
        copying.copy_slice(cloud, run, message["slice"])
        finishing.finish_if_done(cloud, run)


def advance(cloud: Cloud, run: Run) -> None:
    """Take a run on from wherever it is. What others must do first, and nobody is at, they are told again."""
    if run.state == RUNNING and run.parts is None:
        run = writing.plan(cloud, run)
    if run.state == RUNNING:
        parts = cloud.db.collection(f"{run.path}/parts").where(filter=leases.untaken()).select([])
        waiting = [{**run.message, "part": part.id} for part in parts.stream()]
        cloud.messages.publish(run.source.function, *waiting)
        if count(runs.unwritten(cloud, run)):
            return
        run = delivering.pin(cloud, run)
    if run.state == DELIVERING:
        try:
            delivering.deliver_files(cloud, run)
        except delivering.TimeUp:
            cloud.messages.publish(run.source.function, run.message)
            return
        copying.make_slices(cloud, run)
        copying.tell_slices(cloud, run)
        if mailing.recipients(run):
            mailing.make_mails(cloud, run)
        finishing.finish_if_done(cloud, run)


@contextlib.contextmanager
def _told(cloud: Cloud, run: Run) -> Iterator[None]:
    with logs.bound(run=run.id, export=run.export, customer=run.customer):
        try:
            yield
        except GiveUp as error:
            finishing.fail(cloud, run, error)
        except Retry as passing:
            if not isinstance(passing, Busy):
                held_up(cloud, run, passing)
            raise
