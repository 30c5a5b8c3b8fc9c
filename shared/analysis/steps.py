"""A work order's analysis. Each step can be done twice, or by two at once, and is done once.

1. ask    whoever makes an analysis due writes a piece in the same commit (`queue`), and publishes it
2. check  its new photographs, some at a time (`checking`); what is checked is saved
3. post   the work order to the site's analyser, if it has one (`analyser`)
4. store  what that says, beside what changed meanwhile (`results`)

What is passing is tried again, for MAX_WAIT at least; what is not, or stays, makes the analysis FAILED, with
a sentence for the customer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from shared import logs
from shared.accounts.customers import Site, get_site
from shared.analysis import analyser, checking, queue, results
from shared.clock import elapsed_since, stopwatch
from shared.errors import Conflict, CustomerMustAct, GiveUp, Invalid, NotFound, Retry
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot
from shared.work import control
from shared.work.attempts import Attempt
from shared.work.kinds import Done, Kind, Later, Stage, WaitedTooLong
from shared.workorders import store
from shared.workorders.envelope import Oversized
from shared.workorders.store import Held
from shared.workorders.stored import DUE, FAILED, WAITING, StoredWorkOrder

MAX_WAIT = timedelta(hours=1)
"""How long an analyser may be away, from the first failed try on. While it answers about others, it is only
busy: then the engine's MAX_WAIT_ALONE counts."""

AFTER_FIXING = "Once that is fixed, POST to the work order's /analyze to have it analysed again."
"""What to do about every analysis that failed."""


@dataclass(frozen=True)
class Time:
    """How many seconds of an attempt are for the checks, and for the analyser with all that asking it takes.
    Where the checks took more than half of theirs, the analyser is left to the next attempt."""

    checks: float
    analyser: float


@dataclass(frozen=True)
class Analyses:
    """The analyses of a site."""

    site: str
    customer: str


def analyse(cloud: Cloud, analyses: Analyses, attempt: Attempt) -> Done | Later:
    """Analyse one work order, as far as there is time. Nothing where it is not there, or no analysis of it is
    due."""
    id = attempt.piece.name
    time = Time(checks=cloud.settings.attempt_seconds, analyser=2 * analyser.ANSWER_SECONDS)
    with logs.bound(work_order=id):
        try:
            site = get_site(cloud.db, analyses.site, analyses.customer)
            after = take_on(cloud, site, id, time, attempt.heartbeat)
        except NotFound as gone:
            logs.info("nothing to analyse", reason=str(gone))
            return Done()
        except Conflict as others:
            raise Retry(str(others)) from others
        except Oversized as too_large:
            logs.error("a work order is not analysed", reason=str(too_large))
            return Done()
        if not after.unchecked or after.analysis == FAILED:
            queue.wake(cloud, attempt.fields.get("wakes"), id)
    return Later() if after.analysis == DUE else Done()


def failed(cloud: Cloud, analyses: Analyses, attempt: Attempt, error: GiveUp) -> None:
    """Write down that an analysis failed, whose analyser was away for MAX_WAIT, or at which we fail."""
    piece = attempt.piece
    failure = f"{error} {error.next_action}"
    if isinstance(error, WaitedTooLong):
        failure = f"The site's analyser was away or busy for {error.time}. {error.reason} {AFTER_FIXING}"
    with logs.bound(work_order=piece.name):
        try:
            site = get_site(cloud.db, analyses.site, analyses.customer)
            store.change(cloud, site, piece.name, lambda now: _given_up(now.stored, failure))
            queue.wake(cloud, piece.fields.get("wakes"), piece.name)
        except NotFound as gone:
            logs.info("nothing to analyse", reason=str(gone))


def _given_up(now: StoredWorkOrder, failure: str) -> StoredWorkOrder:
    return replace(now, analysis=FAILED, failure=failure) if now.analysis == DUE else now


def take_on(
    cloud: Cloud, site: Site, id: str, time: Time, alive: Callable[[], None] = lambda: None
) -> StoredWorkOrder:
    """Analyse a work order as far as there is time; returns it as it is then. DUE means that there is more
    to do. `alive` is called after each photograph that is checked.

    NotFound where there is no such work order, Conflict where too many change it, Retry where its analyser
    is away or busy.
    """
    began = stopwatch()
    held = store.look(cloud, site, id)
    if held.stored.analysis == DUE and (held.stored.unchecked or not site.analysis_url):
        checked = checking.check(cloud, site, held.stored, lambda: elapsed_since(began) < time.checks, alive)
        try:
            after = store.change(cloud, site, id, lambda now: checked.put_into(site, now.stored))
        except Invalid as too_large:
            return _unfit(cloud, site, id, held.stored, "What the checks say of its photographs", too_large)
        if after.analysis != DUE or elapsed_since(began) > time.checks / 2:
            return after
        held = store.look(cloud, site, id)
    if held.stored.analysis != DUE or held.stored.unchecked or not site.analysis_url:
        return held.stored
    return _posted(cloud, site, held, time.analyser)


def _posted(cloud: Cloud, site: Site, posted: Held, seconds: float) -> StoredWorkOrder:
    """Ask the analyser, and keep what comes of it."""
    id = posted.stored.work_order.id
    try:
        found = analyser.ask(cloud, site, posted, seconds)
        if found is None:
            return store.change(cloud, site, id, lambda now: _noted(now.stored, posted.stored, WAITING))
        return store.change(
            cloud, site, id, lambda now: results.put_into(site, now.stored, posted.stored, found)
        )
    except CustomerMustAct as final:
        failure = f"{final} {final.next_action}"
    except Invalid as too_large:
        return _unfit(cloud, site, id, posted.stored, "The analyser's results", too_large)
    logs.warning("an analysis failed", failure=failure)
    failure = f"{failure} {AFTER_FIXING}"
    return store.change(cloud, site, id, lambda now: _noted(now.stored, posted.stored, FAILED, failure))


def _unfit(
    cloud: Cloud, site: Site, id: str, analysed: StoredWorkOrder, what: str, too_large: Invalid
) -> StoredWorkOrder:
    failure = f"{what} do not fit into the work order: {too_large}."
    logs.warning("an analysis failed", failure=failure)
    failure = f"{failure} {AFTER_FIXING}"
    return store.change(cloud, site, id, lambda now: _noted(now.stored, analysed, FAILED, failure))


def _noted(
    now: StoredWorkOrder, posted: StoredWorkOrder, analysis: str, failure: str = ""
) -> StoredWorkOrder:
    """How far the analysis is, unless others got further, or there is something new to analyse."""
    if now.analysis != DUE or not results.same(now, posted):
        return now
    return replace(now, analysis=analysis, failure=failure)


def _parse(snapshot: Snapshot) -> Analyses:
    return Analyses(snapshot.id, snapshot.get("customer"))


def _ids(analyses: Analyses) -> Mapping[str, str]:
    return {"site": analyses.site, "customer": analyses.customer}


KIND = Kind(
    name="analysis",
    collection="analyses",
    stages=(Stage(queue.STAGE, "RUNNING", lambda _: queue.FUNCTION, analyse),),
    parse=_parse,
    ids=_ids,
    standing=True,
    piece_failed=failed,
    max_wait=MAX_WAIT,
)
"""A site's analyses: they never end, and each work order is a piece."""


def ready(cloud: Cloud, site: Site) -> None:
    """Have the document of a site's analyses there, before a work order's can be due."""
    control.stand(cloud, KIND, queue.document(cloud, site), site.customer, queue.PLAN)
