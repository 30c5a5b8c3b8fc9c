"""A page of the console's exports, against the same page of a customer who has none, until the
whole answer is there."""

from collections.abc import Iterator
from uuid import NAMESPACE_URL, uuid5

from werkzeug.wrappers import Response

from shared.accounts.customers import add_customer, add_site
from shared.accounts.keys import Caller, create_key, identify
from shared.console import sessions
from shared.console.pages.exports import PAGE_SIZE
from shared.exports.api import ROUTES
from shared.gcp.clients import Cloud
from shared.http.routes import Asked
from tests.benchmarks.measure import DifferentWork, Figure, Ground, Took, spread, timed
from tests.world import environ, framework

FULL, EMPTY = "pages", "nopages"
"""The customers: one with more exports than a page has, one without any."""


REPETITIONS, QUICK_REPETITIONS = 25, 3

WALL_LIMIT = 2.0


def bench(ground: Ground) -> Iterator[Figure]:
    """Ask for either page by turns, once unmeasured."""
    cookies = {customer: _signed_in(ground.cloud, customer) for customer in (FULL, EMPTY)}
    took: dict[str, list[Took]] = {FULL: [], EMPTY: []}
    for repetition in range((QUICK_REPETITIONS if ground.quick else REPETITIONS) + 1):
        for customer, cookie in cookies.items():
            time, rows = timed(lambda cookie=cookie: _rows(cookie))  # type: ignore[misc]
            if rows != (PAGE_SIZE if customer == FULL else 0):
                raise DifferentWork(f"the page of {customer} shows {rows} exports")
            if repetition:
                took[customer].append(time)
    for clock, limit in (("wall", WALL_LIMIT), ("cpu", None)):
        full, empty = ([getattr(each, clock) for each in took[customer]] for customer in (FULL, EMPTY))
        ratio = spread(one / other for one, other in zip(full, empty, strict=True)).median
        ms = (spread(full).median * 1e3, spread(empty).median * 1e3)
        unit = f"ms{' of CPU' if clock == 'cpu' else ''} a page"
        yield Figure(f"console_page_vs_empty, {clock}", ratio, *ms, unit, limit)


def _signed_in(cloud: Cloud, customer: str) -> str:
    """Make the customer, with its exports, and return the cookie of a session."""
    add_customer(cloud.db, id=customer, slug=customer, name=customer)
    site = add_site(cloud.db, id=str(uuid5(NAMESPACE_URL, customer)), customer=customer, name="North")
    caller, _ = identify(cloud.db, create_key(cloud.db, customer=customer, scopes=["exports"]))
    for number in range(PAGE_SIZE + 5 if customer == FULL else 0):
        _make(cloud, caller, site.id, number)
    return sessions.begin(cloud, caller)


def _make(cloud: Cloud, caller: Caller, site: str, number: int) -> None:
    config = {
        "name": f"Nightly {number}",
        "site_ids": [site],
        "interval": "daily",
        "connector_type": "cloud_storage",
        "connector_config": {"storage_uri": f"gs://pages-bi/{number}", "export_images": True},
    }
    ROUTES.perform(cloud, caller, Asked("POST", "/v1/exports", body=config), f"{number:032}")


def _rows(cookie: str) -> int:
    """How many exports the page shows."""
    headers = [("Cookie", f"{sessions.COOKIE}={cookie}")]
    answer = Response.from_app(framework("console"), environ("/console/exports", headers=headers))
    return answer.get_data().count(b'<td class="name">')
