"""What documents refer to is in the repository."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
TRACKED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
PAGES = sorted(name for name in TRACKED if name.endswith(".md") and (ROOT / name).exists())


def broken(page: Path) -> list[str]:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    return [link for link in links if not (page.parent / link).resolve().is_relative_to(ROOT)] + [
        link for link in links if not (page.parent / link).exists()
    ]


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_to_a_file_of_the_repository(name: str) -> None:
    assert broken(ROOT / name) == []


def test_a_link_that_leads_nowhere_or_outside_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[nowhere](nowhere.md) [web](https://example.com) [outside](/etc/passwd)")
    assert set(broken(page)) == {"nowhere.md", "/etc/passwd"}


def test_every_page_of_docs_is_found_from_its_first_page() -> None:
    seen, todo = set(), [ROOT / "docs/README.md"]
    while todo:
        page = todo.pop().resolve()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
        todo += [page.parent / link for link in links]
    missing = [name for name in PAGES if name.startswith("docs/") and (ROOT / name).resolve() not in seen]
    assert missing == []


OUTSIDE = re.compile(
    r"\bseed [1-5]\b|\b(?:wire|design|platform|style)\.md\b|\bthe design\b|\.\./shared", re.I
)


def test_no_file_refers_to_papers_that_are_not_in_the_repository() -> None:
    found = []
    for name in TRACKED:
        if (ROOT / name) == Path(__file__) or not (ROOT / name).is_file():
            continue
        for number, line in enumerate((ROOT / name).read_bytes().decode(errors="replace").splitlines(), 1):
            if OUTSIDE.search(line):
                found.append(f"{name}:{number}: {line.strip()}")
    assert not found, "\n".join(found)
