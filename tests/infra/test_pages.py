"""What documents refer to is in the repository."""

import re
from pathlib import Path

import pytest

from tests.guides import guides
from tests.repository import listed

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)")
DIFF = re.compile(r"^```diff\n.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TRACKED = listed()
PAGES = sorted(name for name in TRACKED if name.endswith(".md"))


def anchors(page: Path) -> set[str]:
    """What links can name of a page: its headings, as GitHub writes them."""
    headings = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def links(page: Path) -> list[tuple[str, str]]:
    """The page's own links: file and heading, either of which may be empty. Those in a `diff` are of the file
    that it changes."""
    return [link for link in LINK.findall(DIFF.sub("", page.read_text())) if "://" not in link[0]]


def broken(page: Path) -> list[str]:
    """The links that lead to no file, to no heading, or out of the repository."""
    found = []
    for file, heading in links(page):
        target = (page.parent / file).resolve() if file else page
        inside = target.exists() and (target == page or target.is_relative_to(ROOT))
        if not inside or (heading and heading not in anchors(target)):
            found.append(f"{file}#{heading}" if heading else file)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_to_a_file_of_the_repository(name: str) -> None:
    assert broken(ROOT / name) == []


def test_a_link_that_leads_nowhere_or_outside_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n[nowhere](nowhere.md) [web](https://example.com#x) [outside](/etc/passwd)"
        "[here](#a-title) [no heading](#another)\n```diff\n+[of another page](there.md)\n```\n"
    )
    assert broken(page) == ["nowhere.md", "/etc/passwd", "#another"]


def test_every_page_of_docs_is_found_from_its_first_page() -> None:
    seen, todo = set(), [ROOT / "docs/README.md"]
    while todo:
        page = todo.pop().resolve()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        todo += [page.parent / file for file, _ in links(page) if file]
    missing = [name for name in PAGES if name.startswith("docs/") and (ROOT / name).resolve() not in seen]
    assert missing == []


OUTSIDE = re.compile(
    r"\bseeds? [1-5]\b|\bthe seed\b|\bseed's\b|\bseed_|[a-z]_seed_"
    r"|\b(?:wire|design|platform|style)\.md\b|\bthe design\b|\.\./shared\b"
    r"|(?<![\w.$}/-])/(?:work|home|root|Users|mnt)/",
    re.I,
)
"""Papers that are not in the repository, and paths of somebody's own machine."""


def outside(text: str) -> list[str]:
    """The lines that refer to what is not in the repository, each with its number."""
    lines = enumerate(text.splitlines(), 1)
    return [f"{number}: {line.strip()}" for number, line in lines if OUTSIDE.search(line)]


def test_no_file_refers_to_what_is_not_in_the_repository() -> None:
    found = []
    for name in TRACKED:
        file = ROOT / name
        if file.is_file() and file != Path(__file__):
            found += [f"{name}:{line}" for line in outside(file.read_bytes().decode(errors="replace"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "the keys of seed 3",
        "as the seed says",
        "seed's limit",
        "SEED_CHUNK = 1",
        "fields: wire.md, section 2",
        "the design has a file at the end",
        "see ../shared/design.md",
        "cd /work/main",
        "in /home/ada/waybill",
        "in /root/.config",
    ],
)
def test_a_reference_to_what_is_not_in_the_repository_is_found(line: str) -> None:
    assert outside(line) == [f"1: {line}"]


@pytest.mark.parametrize(
    "line",
    ["random.Random(seed)", "https://example.com/work/1", "`shared/work/`", "$ROOT/work/x", "PATH/home/x"],
)
def test_other_lines_are_not(line: str) -> None:
    assert outside(line) == []


PATH = re.compile(r"`((?:shared|functions|infra|docs|tests)/[\w/.-]+)`")


@pytest.mark.parametrize("name", PAGES)
def test_every_path_that_a_page_names_is_there(name: str) -> None:
    text = (ROOT / name).read_text()
    made = {file for guide in guides(name, text) for file in guide.files}
    named = set(PATH.findall(text)) - made
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


DOCS = re.compile(r"(?<![\w/.-])docs/[\w/-]+\.md\b")


def test_every_page_that_code_names_is_there() -> None:
    named = [
        (name, page)
        for name in TRACKED
        if not name.endswith(".md") and (ROOT / name).is_file()
        for page in DOCS.findall((ROOT / name).read_bytes().decode(errors="replace"))
    ]
    assert len(named) > 20, named
    assert [each for each in named if not (ROOT / each[1]).exists()] == []
