"""What the README says of functions and settings is so."""

import re
from pathlib import Path

from infra.bundle import Bundle
from shared.delivery.connectors import CONNECTORS
from shared.formats import FORMATS
from shared.settings import Settings
from shared.sources import SOURCES

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_functions_is_the_bundles() -> None:
    expected = []
    for function in Bundle.load().functions.values():
        trigger = "HTTP " + ", ".join(f"`{p}`" for p in function.paths)
        if function.topic:
            trigger = f"topic `{function.topic}`"
        elif function.bucket:
            trigger = f"object finalised in `{function.bucket}`"
        expected.append([f"`{function.name}`", trigger, function.does])
    assert rows("Functions") == expected


def table_of(page: str, title: str) -> list[list[str]]:
    text = (REPOSITORY / "docs" / "customers" / page).read_text()
    found = text.partition(f"\n## {title}")[2].partition("\n## ")[0]
    lines = [line for line in found.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_on_delivery_has_every_source_and_format() -> None:
    sources = [[f"`{each.name}`", each.description] for each in SOURCES.values()]
    assert table_of("delivery.md", "`export_type`") == sources
    formats = [[f"`{each.name}`", f"`.{each.extension}`", each.description] for each in FORMATS.values()]
    assert table_of("delivery.md", "`file_format`") == formats
    connectors = table_of("delivery.md", "`connector_type`")[: len(CONNECTORS)]
    assert [row[0] for row in connectors] == [f"`{name}`" for name in CONNECTORS]


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = {name: row[2] for row in rows("Settings") for name in re.findall(r"`(\w+)`", row[0])}
    source = (REPOSITORY / "shared" / "settings.py").read_text()
    assert set(re.findall(r'"((?:WAYBILL|GOOGLE|IAM)_\w+)"', source)) <= set(table)
    assert table["WAYBILL_PART_RECORDS"] == str(Settings.part_records)
    assert table["WAYBILL_SLICE_IMAGES"] == str(Settings.slice_images)


def test_every_path_that_the_readme_names_is_there() -> None:
    for path in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (REPOSITORY / path).exists(), path
    for path in re.findall(r"`((?:shared|infra)/[\w/.]+)`", README):
        assert (REPOSITORY / path).exists(), path
