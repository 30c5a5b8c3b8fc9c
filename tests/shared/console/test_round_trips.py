"""A full page of a list asks Firestore no more often than an empty one: each call is a way there and back
before the first byte. What a page takes by the clock is a figure of the benchmarks."""

from datetime import timedelta

import pytest

from shared.console.pages.exports import PAGE_SIZE
from shared.gcp.documents import fields_of
from tests.console import Browser
from tests.shared.exports.nights import nightly
from tests.world import World

WINDOW = {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T09:00:00Z"}


def calls(browser: Browser, path: str, rows: int) -> list[str]:
    """The calls of a page that shows so many rows."""
    browser.get(path)  # what an instance reads once is read now
    browser.world.suite.traffic.forget()
    page = browser.get(path)
    assert (page.status, page.html.count('<td class="name">')) == (200, rows)
    return [call.kind for call in browser.world.suite.traffic.calls("firestore.")]


@pytest.mark.ours_only("counts the calls that our Firestore sees")
@pytest.mark.parametrize("of", ["exports", "runs"])
def test_a_full_page_asks_as_often_as_an_empty_one(world: World, of: str) -> None:
    export = nightly(world)
    fields = fields_of(world.cloud.db.document(f"exports/{export}").get())
    if of == "exports":
        path, collection, order = "/console/exports", "exports", "created"
        empty = "?state=PAUSED"
    else:
        path, collection, order = f"/console/exports/{export}/runs", f"exports/{export}/runs", "due"
        empty = "?status=FAILED"
        run = world.request("POST", f"/v1/exports/{export}:backfill", WINDOW).body["run_id"]
        fields = fields_of(world.cloud.db.document(f"{collection}/{run}").get())
    for number in range(PAGE_SIZE + 2):
        id = f"00000000-0000-4000-8000-{number:012}"
        moved = {order: fields[order] + timedelta(seconds=number)}
        world.cloud.db.document(f"{collection}/{id}").set({**fields, **moved})
    browser = Browser(world)
    browser.sign_in()
    nothing = calls(browser, path + empty, 0)
    assert nothing, "no call was seen"
    assert calls(browser, path, PAGE_SIZE) == nothing
