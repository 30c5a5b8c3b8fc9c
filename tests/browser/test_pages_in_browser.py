"""Every page of the console, as wide as a screen and a telephone, light and dark: everyone can read and use
it, it weighs little, and it asks nobody else. With `--screenshots` those of all are in `.local/screenshots/`.
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
    "batches": "/console/batches",
    "batches-none": "/console/batches?status=CANCELLED",
    "batch-new": "/console/batches/new",
    "batch": "/console/batches/{batch}",
    "batch-with-errors": "/console/batches/{batch_errors}",
    "batch-broken": "/console/batches/{batch_broken}",
    "batch-waiting": "/console/batches/{batch_empty}",
    "batch-cancel": "/console/batches/{batch_empty}/cancel",
    "batch-errors": "/console/batches/{batch_errors}/errors",
    "work-orders": "/console/work-orders?site_id={site}",
    "work-order": "/console/work-orders/{work_order}?site_id={site}",
    "work-order-of-markup": "/console/work-orders/{work_order_markup}?site_id={site}",
    "work-order-of-long-name": "/console/work-orders/{work_order_long}?site_id={site}",
    "work-order-correct": "/console/work-orders/{work_order_emoji}/correct"
    "?site_id={site}&input={input_emoji}&task=reading",
    "jobs": "/console/jobs",
    "job-exported": "/console/jobs/{job_export}",
    "jobs-none": "/console/jobs?state=Canceled",
    "job-import": "/console/jobs/import",
    "job-export": "/console/jobs/export",
    "job-with-rejects": "/console/jobs/{job}",
    "job-of-markup": "/console/jobs/{job_markup}",
    "job-of-long-name": "/console/jobs/{job_long}",
    "datasets": "/console/datasets",
    "datasets-none": "/console/datasets?name_prefix=nothing",
    "dataset-boxes": "/console/datasets/{dataset_boxes}/versions/{dataset_boxes_version}?label=meter",
    "dataset-new": "/console/datasets/new",
    "dataset": "/console/datasets/{dataset}",
    "dataset-without-samples": "/console/datasets/{dataset_empty}",
    "dataset-edit": "/console/datasets/{dataset}/edit",
    "dataset-delete": "/console/datasets/{dataset}/delete",
    "dataset-export": "/console/datasets/{dataset}/export",
    "samples": "/console/datasets/{dataset}/versions/{dataset_version}",
    "changes": "/console/datasets/{dataset}/versions/{dataset_before}/diff/{dataset_version}",
    "keys": "/console/keys",
    "key-to-make": "/console/keys/new",
    "key-to-revoke": "/console/keys/{spare_key_id}/revoke",
}
"""The other pages; what stands in braces is an id of seed.py."""

NO_PAGES = {
    "GET /assets/<digest>/<name>",
    "GET /batches/<uuid:batch>/errors.csv",
    "GET /batches/<uuid:batch>/errors.jsonl",
    "GET /batches/<uuid:batch>/failed-folders.txt",
    "GET /datasets/photographs/<site>/<name>",
    "GET /photographs/<site>/<file>",
}
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
def test_everyone_can_read_and_use_it(visitor: Visitor, pytestconfig: pytest.Config, name: str) -> None:
    path = {**SIGNED_OUT, **PAGES}[name].format_map(visitor.console.ids)
    page = visitor.open(path, signed_in=name not in SIGNED_OUT)
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("main")).to_be_visible()
    assert visitor.watches[0].weight() < MOST_BYTES
    assert visitor.watches[0].answers[0].status == 200
    faults = faults_in_all_views(page, name, screenshots=pytestconfig.getoption("--screenshots"))
    assert not faults, "\n".join(faults)
