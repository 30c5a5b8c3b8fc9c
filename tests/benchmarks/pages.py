"""A page of the console's exports, against the same page of a customer who has none: until its first byte."""

from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from werkzeug.wrappers import Response

from shared.accounts.customers import add_customer, add_site
from shared.accounts.keys import Caller, create_key, identify
from shared.console import sessions
from shared.console.pages.exports import PAGE_SIZE
from shared.exports.api import ROUTES
from shared.gcp.clients import Cloud
from shared.http.routes import Asked
from tests.benchmarks.measure import Spread, Took, spread, timed
from tests.world import environ, framework

FULL, EMPTY = "pages", "nopages"
"""The customers: one with more exports than a page has, one without any."""


@dataclass(frozen=True)
class Pages:
    """What either page took, by turns."""

    full: list[Took]
    empty: list[Took]

    def ratio(self, clock: str) -> Spread:
        """How many times the `wall` or `cpu` of the empty page the full one takes."""
        pairs = zip(self.full, self.empty, strict=True)
        return spread(getattr(full, clock) / getattr(empty, clock) for full, empty in pairs)


def benchmark(cloud: Cloud, *, repetitions: int) -> Pages:
    """Ask for either page by turns, once unmeasured."""
    cookies = {customer: _signed_in(cloud, customer) for customer in (FULL, EMPTY)}
    took: dict[str, list[Took]] = {FULL: [], EMPTY: []}
    for repetition in range(repetitions + 1):
        for customer, cookie in cookies.items():
            time, shown = timed(lambda cookie=cookie: _rows(cookie))  # type: ignore[misc]
            if shown != (PAGE_SIZE if customer == FULL else 0):
                raise AssertionError(f"the page of {customer} shows {shown} exports")
            if repetition:
                took[customer].append(time)
    return Pages(took[FULL], took[EMPTY])


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
