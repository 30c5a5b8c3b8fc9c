"""What the letters say, held against files; and that a name cannot make them say something else."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from html.parser import HTMLParser
from typing import Any

import pytest
from markupsafe import escape

from shared.outbox import letters
from shared.outbox.letters import MAX_FACT, MAX_SUBJECT, Letter, Link
from shared.outbox.rendering import one_line, size
from tests.shared.outbox.post import FACTS

URL = "https://waybill.example"
LINK = Link(f"{URL}/v1/downloads/{'0' * 32}_{'s' * 43}", datetime(2026, 11, 29, 1, 0, 5, tzinfo=UTC))

FAILED = {
    **{name: FACTS[name] for name in ("export_name", "export", "run")},
    **{name: FACTS[name] for name in ("window_start", "window_end", "timezone")},
    "error": "The account customer-acme-data-export@x may not create objects in the bucket acme-bi.",
    "next_action": "Grant it storage.objects.create on acme-bi.",
}
BATCH: dict[str, Any] = {
    "batch": "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b",
    "filename": "monday.zip",
    "site": "North",
    "status": "COMPLETED_WITH_ERRORS",
    "work_orders_done": 1_300,
    "work_orders_failed": 4,
    "images": 5_200,
    "bytes": 12_500_000_000,
    "errors": 4,
    "warnings": 1,
    "error": None,
}
JOB: dict[str, Any] = {
    "job": "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b",
    "name": "Technicians of the north",
    "does": "import",
    "item_type": "Technician",
    "status": "Completed",
    "reason": "1,297 of 1,300 records were imported, and 3 rejected. Line 8: The field age is wrong.",
    "processed": 1_300,
    "rejected": 3,
    "files": 1,
}
UNDELIVERED = {
    **FAILED,
    "error": "bob@acme.example: An earlier mail to this address came back: 550 5.1.1 no such user",
    "next_action": "Correct the addresses in the export's emails.",
}
EXPORTED = {"does": "export", "reason": "1,300 records were exported.", "rejected": 0}
UNREADABLE = {
    "status": "Rejected",
    "reason": "The file is empty: see that it is the right one.",
    **dict.fromkeys(("processed", "rejected", "files"), 0),
}
NOTHING = {"rows": 0, "bytes": 0, "files": 0}
ALL_IN = {"status": "COMPLETED", "work_orders_failed": 0, "errors": 0, "warnings": 0}
NONE_CAME = {**{name: 0 for name, value in BATCH.items() if isinstance(value, int)}, "status": "EXPIRED"}
BROKEN = {"status": "FAILED", "error": "The archive is no zip: send one.", "filename": None, "errors": 1}

LETTERS: dict[str, tuple[str, dict[str, Any], Link | None]] = {
    "export": ("export", FACTS, LINK),
    "export_empty": ("export", {**FACTS, **NOTHING}, None),
    "export_once": ("export", {**FACTS, "window_start": "1970-01-01T00:00:00Z", "files": 12}, LINK),
    "failed": ("failed", FAILED, None),
    "suspended": ("suspended", FAILED, None),
    "waiting": ("waiting", FAILED, None),
    "undelivered": ("undelivered", UNDELIVERED, None),
    "batch": ("batch", BATCH, None),
    "batch_completed": ("batch", {**BATCH, **ALL_IN}, None),
    "batch_failed": ("batch", {**BATCH, **BROKEN}, None),
    "job": ("job", JOB, LINK),
    "job_exported": ("job", {**JOB, **EXPORTED}, LINK),
    "job_rejected": ("job", {**JOB, **UNREADABLE}, None),
    "batch_expired": ("batch", {**BATCH, **NONE_CAME}, None),
}


def letter(kind: str, facts: dict[str, Any], link: Link | None) -> Letter:
    return letters.write(letters.parse(kind, facts), URL, link)


class _Reader(HTMLParser):
    """What a person reads of a page, its links, and whether each element is closed."""

    VOID = ("meta", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "title" not in self.open:
            self.words += f"{data} "


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("name", LETTERS)
def test_each_letter_reads_as_it_should(name: str, golden: Callable[[str, str], None]) -> None:
    made = letter(*LETTERS[name])
    golden(f"{name}.txt", f"Subject: {made.subject}\n\n{made.text}")
    golden(f"{name}.html", made.html)


@pytest.mark.parametrize("name", LETTERS)
def test_both_forms_say_the_same_and_load_nothing(name: str) -> None:
    made = letter(*LETTERS[name])
    page = _Reader(made.html)
    assert set(words(made.text)) <= set(words(page.words))
    assert page.seen.isdisjoint({"img", "script", "link", "style", "iframe"})
    assert made.html.count("http") == made.html.count(URL)
    link = LETTERS[name][2]
    assert page.links == ([link.url] if link else [])
    assert not link or f"\n{link.url}\n" in made.text, "a link has a line of its own"


TOLD_BY_OTHERS = {"name", "reason", "export_name", "site", "filename", "error", "next_action"}
HOSTILE = (
    'x\r\nBcc: eve@evil.example\r\n\r\n<img src="https://evil.example/?"><b>\u202egpj.exe\x00\u2028&amp;'
)


@pytest.mark.parametrize("name", ["export", "failed", "suspended", "waiting", "undelivered", "batch", "job"])
def test_a_name_cannot_add_headers_lines_or_elements(name: str) -> None:
    kind, facts, link = LETTERS[name]
    hostile = dict.fromkeys(facts.keys() & TOLD_BY_OTHERS, HOSTILE)
    made = letter(kind, {**facts, **hostile}, link)
    usual = letter(kind, {**facts, **dict.fromkeys(hostile, "plain")}, link)
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = made.subject  # it refuses line breaks
    assert "evil.example" in made.subject, "the name is told all the same"
    for control in "\r\x00\u2028\u202e":
        assert control not in made.subject + made.text + made.html
    assert len(made.text.splitlines()) == len(usual.text.splitlines())
    assert _Reader(made.html).seen == _Reader(usual.html).seen
    assert escape(one_line(HOSTILE, 80)) in made.html


@pytest.mark.parametrize("name", LETTERS)
def test_what_is_long_is_cut(name: str) -> None:
    kind, facts, link = LETTERS[name]
    long = dict.fromkeys(facts.keys() & TOLD_BY_OTHERS, "ab " * 100_000)
    made = letter(kind, {**facts, **long}, link)
    assert len(made.subject) <= MAX_SUBJECT
    assert len(made.text) + len(made.html) < 20_000 + 4 * MAX_FACT


@pytest.mark.parametrize(
    ("count", "read"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_500_000_000, "12.5 GB"),
        (5_000_000_000_000, "5,000.0 GB"),
    ],
)
def test_sizes_are_readable(count: int, read: str) -> None:
    assert size(count) == read


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("  a\t\n b  ", "a b"),
        ("a\r\n b\x0b\x85\u2029c\u2066d", "a b c d"),
        ("Zoë 中文 👩‍🔧 می‌خواهم", "Zoë 中文 👩‍🔧 می‌خواهم"),
        ("x" * 81, "x" * 79 + "…"),
    ],
)
def test_a_line_is_one_line(text: str, line: str) -> None:
    assert one_line(text, 80) == line


def test_a_facts_type_bounds_its_texts() -> None:
    kept = letters.kept("failed", {**FAILED, "error": "e" * 5_000})
    assert len(kept["error"]) == MAX_FACT
    assert {**kept, "error": ""} == {**FAILED, "error": ""}
