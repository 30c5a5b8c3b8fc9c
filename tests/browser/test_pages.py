"""Every page of the console, as wide as a screen and a telephone, light and dark: everyone can read and use
it, it weighs little, and it asks nobody else. Its screenshots are in `.local/screenshots/`.
"""

from collections.abc import Mapping
from uuid import UUID

import pytest
from playwright.sync_api import expect
from werkzeug.routing import Map, Rule

from shared.console.site import SITE
from tests.browser.console import Visitor
from tests.browser.looking import MOST_BYTES, faults_in_all_views

SIGNED_OUT: Mapping[str, str] = {
    "sign-in": "/console/sign-in",
    "link-in-a-mail": f"/console/by-mail/{'0' * 32}_{'A' * 43}",
}
"""Pages for those who are not signed in, by the names of their screenshots."""

PAGES: Mapping[str, str] = {
    "overview": "/console",
    "exports": "/console/exports",
    "exports-none": "/console/exports?state=DELETED",
    "export-new": "/console/exports/new",
    "export": "/console/exports/{export}",
    "export-of-markup": "/console/exports/{export_markup}",
    "export-of-long-name": "/console/exports/{export_long}",
    "export-failing": "/console/exports/{export_failing}",
    "export-paused": "/console/exports/{export_paused}",
    "export-edit": "/console/exports/{export_waiting}/edit",
    "export-history": "/console/exports/{export}/history",
    "export-backfill": "/console/exports/{export}/backfill",
    "export-test": "/console/exports/{export}/test",
    "export-delete": "/console/exports/{export_long}/delete",
    "runs": "/console/exports/{export}/runs",
    "run": "/console/exports/{export}/runs/{run}",
    "run-failed": "/console/exports/{export_failing}/runs/{run_failing}",
    "run-waiting": "/console/exports/{export_waiting}/runs/{run_waiting}",
    "run-mailed": "/console/exports/{export_mail}/runs/{run_mail}",
    "keys": "/console/keys",
    "key-to-make": "/console/keys/new",
    "key-to-revoke": "/console/keys/{spare_key_id}/revoke",
}
"""The other pages; what stands in braces is an id of seed.py."""

NO_PAGES = {"GET /assets/<digest>/<name>"}
"""What is answered with something else than a page."""


def test_each_page_is_looked_at() -> None:
    rules = [Rule("/console" + page.path, endpoint=str(page)) for page in SITE.pages if page.method == "GET"]
    match = Map(rules, strict_slashes=False, merge_slashes=False).bind("").match
    looked_at = {
        match(path.partition("?")[0].format_map(_Anything()))[0]
        for path in (*SIGNED_OUT.values(), *PAGES.values())
    }
    assert looked_at == {rule.endpoint for rule in rules} - NO_PAGES


class _Anything(dict[str, str]):
    def __missing__(self, name: str) -> str:
        if name.endswith("key_id"):
            return "0" * 16
        return "0" * 32 if name.startswith("dataset") else str(UUID(int=0))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SIGNED_OUT, *PAGES])
def test_everyone_can_read_and_use_it(visitor: Visitor, name: str) -> None:
    path = {**SIGNED_OUT, **PAGES}[name].format_map(visitor.console.ids)
    page = visitor.open(path, signed_in=name not in SIGNED_OUT)
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("main")).to_be_visible()
    assert visitor.watches[0].weight() < MOST_BYTES
    assert visitor.watches[0].answers[0].status == 200
    faults = faults_in_all_views(page, name)
    assert not faults, "\n".join(faults)
