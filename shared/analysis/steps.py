"""A work order's analysis. Each step can be done twice, or by two at once, and is done once.

1. ask    whoever makes an analysis due publishes a message, or takes it on at once (`take_on`)
2. check  its new photographs, some at a time (`checking`); what is checked is saved
3. post   the work order to the site's analyser, if it has one (`analyser`)
4. store  what that says, beside what changed meanwhile (`results`)

What is passing is tried again as long as GIVE_UP_AFTER; what is not, or stays, makes the analysis FAILED,
with a sentence for the customer.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import logs
from shared.accounts.customers import Site, get_site
from shared.analysis import analyser, checking, messages, results
from shared.clock import elapsed_since, stopwatch
from shared.errors import Conflict, CustomerMustAct, Invalid, NotFound, Retry
from shared.gcp.clients import Cloud
from shared.gcp.messages import Message
from shared.workorders import store
from shared.workorders.kept import DUE, FAILED, WAITING, Kept
from shared.workorders.store import Held

GIVE_UP_AFTER = timedelta(hours=1)
"""How long an analyser may be away, from when the message was published."""

AFTER_MENDING = "Once that is mended, POST to the work order's /analyze to have it analysed again."
"""What to do about every analysis that failed."""


@dataclass(frozen=True)
class Time:
    """How many seconds of an attempt are for the checks, and for the analyser with all that asking it takes.
    Where the checks took more than half of theirs, the analyser is left to the next attempt."""

    checks: float
    analyser: float


def analyse(cloud: Cloud, message: Message) -> None:
    """What `analyse_work_order` does with a message. Nothing where the work order is not there, or no
    analysis of it is due."""
    id = message["work_order"]
    time = Time(checks=cloud.settings.attempt_seconds, analyser=2 * analyser.ANSWER_SECONDS)
    with logs.bound(customer=message["customer"], site=message["site"], work_order=id):
        try:
            site = get_site(cloud.db, message["site"], message["customer"])
            after = take_on(cloud, site, id, time, asked=message.published)
        except NotFound as gone:
            logs.info("nothing to analyse", reason=str(gone))
            return
        except Conflict as others:
            raise Retry(str(others)) from others
        if after.analysis == DUE:
            messages.publish(cloud, site, [after])


def take_on(cloud: Cloud, site: Site, id: str, time: Time, asked: datetime | None = None) -> Kept:
    """Analyse a work order as far as there is time; returns it as it is then. DUE means that there is more
    to do: publish a message.

    asked  when the analysis was asked for, by Pub/Sub; None: just now

    NotFound where there is no such work order, Conflict where too many change it, Retry where its analyser
    is away or busy.
    """
    began = stopwatch()
    held = store.look(cloud, site, id)
    if held.kept.analysis == DUE and (held.kept.unchecked or not site.analysis_url):
        checked = checking.check(cloud, site, held.kept, lambda: elapsed_since(began) < time.checks)
        after = store.change(cloud, site, id, lambda now: checked.put_into(site, now.kept))
        if after.analysis != DUE or elapsed_since(began) > time.checks / 2:
            return after
        held = store.look(cloud, site, id)
    if held.kept.analysis != DUE or held.kept.unchecked or not site.analysis_url:
        return held.kept
    return _posted(cloud, site, held, time.analyser, asked)


def _posted(cloud: Cloud, site: Site, posted: Held, seconds: float, asked: datetime | None) -> Kept:
    """Ask the analyser, and keep what comes of it."""
    id = posted.kept.work_order.id
    try:
        found = analyser.ask(cloud, site, posted, seconds)
        if found is None:
            return store.change(cloud, site, id, lambda now: _noted(now.kept, posted.kept, WAITING))
        return store.change(cloud, site, id, lambda now: results.put_into(site, now.kept, posted.kept, found))
    except analyser.Away as away:
        if asked is None or posted.read - asked <= GIVE_UP_AFTER:
            raise
        failure = f"The site's analyser was away for an hour. {away}"
    except CustomerMustAct as final:
        failure = f"{final} {final.next_action}"
    except Invalid as too_large:
        failure = f"The analyser's results do not fit into the work order: {too_large}."
    logs.warning("an analysis failed", failure=failure)
    failure = f"{failure} {AFTER_MENDING}"
    return store.change(cloud, site, id, lambda now: _noted(now.kept, posted.kept, FAILED, failure))


def _noted(now: Kept, posted: Kept, analysis: str, failure: str = "") -> Kept:
    """How far the analysis is, unless others got further, or there is something new to analyse."""
    if now.analysis != DUE or not results.same(now, posted):
        return now
    return replace(now, analysis=analysis, failure=failure)
