"""The tree of each source, as customers' documentation shows it, is what is delivered."""

import re
from pathlib import Path

import pytest

from shared.sources import SOURCES
from shared.window import utc_second
from tests.shared.exports.landed import mailed
from tests.shared.sources.reading import fill
from tests.world import BUCKET, OTHER_SITE, SITE, World

PAGE = Path(__file__).parents[3] / "docs" / "customers" / "delivery.md"

STAMP = r"[0-9]{8}T[0-9]{6}Z"
RUN = "[sh][0-9a-f]{32}"
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

PLACES = (
    (rf"_{STAMP}_{STAMP}_{RUN}\.jsonl$", "_<start>_<end>_<run>.<extension>"),
    (rf"^_manifests/{UUID}/{STAMP}_{STAMP}_{RUN}\.json$", "_manifests/<export>/<start>_<end>_<run>.json"),
    (rf"^(?:{SITE}|{OTHER_SITE})/", "<site>/"),
    (rf"/images/{UUID}\.jpg$", "/images/<input>.<file_extension>"),
    (r"/dt=2026-11-22/", "/dt=<date>/"),
)
"""What differs in a name from run to run, and how the page calls it."""


def documented() -> dict[str, set[str]]:
    """The tree of the page: the names of each source."""
    section = PAGE.read_text().partition("\n## What lands\n")[2].partition("\n## ")[0]
    trees: dict[str, set[str]] = {}
    source = ""
    for line in section.split("```")[1].strip("\n").splitlines():
        if line.startswith("  "):
            trees[source].add(line.strip())
        else:
            source = line
            trees[source] = set()
    return trees


def shown(name: str) -> str:
    for pattern, place in PLACES:
        name = re.sub(pattern, place, name)
    return name


@pytest.mark.slow
def test_the_tree_of_each_source_is_the_documented_one(world: World) -> None:
    window = fill(world, minutes=2)
    world.cloud.db.document("customers/acme").update({"parallel_exports": 100})
    config = {"interval": "once", "start": utc_second(window.start), "end": utc_second(window.end)}
    for source in SOURCES:
        place = {"storage_uri": f"gs://{BUCKET}/{source}", "export_images": True}
        sites = [SITE, OTHER_SITE]
        world.export(**config, export_type=source, site_ids=sites, connector_config=place)
    mails = {"connector_type": "email", "connector_config": {"emails": ["zoe@acme.example"]}}
    world.export(**config, **mails, site_ids=[SITE, OTHER_SITE])
    world.run_due()
    landed = list(world.landed())
    assert documented() == {
        source: {shown(name.removeprefix(f"{source}/")) for name in landed if name.startswith(f"{source}/")}
        for source in SOURCES
    }
    [name] = mailed(world, "zoe@acme.example")
    assert shown(name) == "work-orders-timeline_<start>_<end>_<run>.<extension>"
