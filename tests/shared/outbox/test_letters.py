"""What the letters say, held against files; and that a name cannot make them say something else."""

import re
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from html.parser import HTMLParser

import pytest
from markupsafe import escape

from shared.outbox import letters
from shared.outbox.letters import MAX_FACT, MAX_LETTER_BYTES, MAX_SUBJECT
from shared.outbox.rendering import one_line, size
from tests.shared.outbox.post import FACTS
from tests.subjects.letters import BATCH, FAILED, HOSTILE, JOB, LETTERS, LINK, URL, letter, told


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


KINDS = ("export", "failed", "suspended", "waiting", "undelivered", "batch", "job")


@pytest.mark.parametrize("name", KINDS)
def test_a_name_cannot_add_headers_lines_or_elements(name: str) -> None:
    kind, facts, link = LETTERS[name]
    made, usual = (letter(kind, told(facts, text), link) for text in (HOSTILE, "plain"))
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = made.subject  # it refuses line breaks
    assert "evil.example" in made.subject, "the name is told all the same"
    for control in "\r\x00\u2028\u202e\u200f":
        assert control not in made.subject + made.text + made.html
    assert len(made.text.splitlines()) == len(usual.text.splitlines())
    assert _Reader(made.html).seen == _Reader(usual.html).seen
    assert escape(one_line(HOSTILE, 80)) in made.html


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "text", ['"' * 5_000, "\U0001f469" * 5_000, "ab " * 5_000], ids=["escaped", "wide", "words"]
)
def test_no_letter_is_so_large_that_gmail_cuts_it(name: str, text: str) -> None:
    kind, facts, link = LETTERS[name]
    long = told(facts, text)
    for some in long.keys() & {"problems", "unsent", "sites"}:  # more than there can be
        long[some] = long[some] * 20
    for each in long.get("problems", ()):
        each["places"] = each["places"][:1] * 20
    made = letter(kind, long, link)
    assert len(made.subject) <= MAX_SUBJECT
    assert len(made.text.encode()) < MAX_LETTER_BYTES
    assert len(made.html.encode()) < MAX_LETTER_BYTES


GOOD = {"Ready", "Imported", "Completed", "Sign in"}
WARNS = {
    "Waiting",
    "Not sent to everybody",
    "Imported in part",
    "Imported, with warnings",
    "Completed, with rejected records",
    "Canceled",
}
BAD = {"Failed", "Suspended", "Expired", "Rejected"}
BANDS = {"#1a7f37": GOOD, "#9a5b00": WARNS, "#c4262e": BAD}


@pytest.mark.parametrize("name", LETTERS)
def test_a_word_and_a_colour_say_how_it_went(name: str) -> None:
    made = letter(*LETTERS[name])
    band = re.search(r'<td bgcolor="(#[0-9a-f]{6})".*\n.*&nbsp; ([^<]*)</strong>', made.html)
    assert band is not None
    colour, status = band.groups()
    assert made.text.startswith(f"{status}\n")
    assert status in BANDS[colour], (status, colour)


@pytest.mark.parametrize("name", LETTERS)
def test_what_people_read_has_no_code_and_no_call(name: str) -> None:
    text = letter(*LETTERS[name]).text
    people, _, rest = text.partition("For developers\n")
    assert rest or name.startswith(("export", "sign_in")), "the others have a part for developers"
    people = re.sub(r"^([0-9].*) \([A-Z_]+\)$", r"\1", people, flags=re.MULTILINE)  # it stands beside words
    found = re.search(r"[A-Z]{2,}_[A-Z]{3,}|\b(GET|POST|FAILED|COMPLETED|EXPIRED)\b|\B:[a-z]", people)
    assert found is None, found


def test_a_sentence_that_names_a_call_is_mailed_without_it() -> None:
    says = "Raise it; then export this window with :backfill."
    text = letter("failed", {**FAILED, "next_action": says}, None).text
    assert "Raise it; then export this window.\n" in text


def test_where_the_clocks_change_a_period_has_its_offsets() -> None:
    hour = {"window_start": "2026-10-25T00:00:00Z", "window_end": "2026-10-25T01:00:00Z"}
    text = letter("export", {**FACTS, **hour}, LINK).text
    twice = "25 October 2026, 02:00 (UTC+02:00) to 25 October 2026, 02:00 (UTC+01:00)"
    assert f"{twice}, Europe/Paris time\n" in text


@pytest.mark.parametrize(
    ("start", "end", "read"),
    [
        # The first two would read alike.
        ("00:15", "00:30", "02:15 (UTC+02:00) to 25 October 2026, 02:30 (UTC+02:00)"),
        ("01:15", "01:30", "02:15 (UTC+01:00) to 25 October 2026, 02:30 (UTC+01:00)"),
        ("01:45", "02:00", "02:45 (UTC+01:00) to 25 October 2026, 03:00 (UTC+01:00)"),
        ("02:00", "02:15", "03:00 to 25 October 2026, 03:15"),
    ],
)
def test_a_period_of_an_hour_that_comes_twice_has_its_offsets(start: str, end: str, read: str) -> None:
    window = {"window_start": f"2026-10-25T{start}:00Z", "window_end": f"2026-10-25T{end}:00Z"}
    text = letter("export", {**FACTS, **window}, LINK).text
    assert f"25 October 2026, {read}, Europe/Paris time\n" in text


@pytest.mark.parametrize("date", ["2026-03-29T00:30:00Z", "2026-10-25T02:30:00Z"])
def test_a_period_beside_a_change_of_the_clocks_has_no_offsets(date: str) -> None:
    window = {"window_start": date, "window_end": date.replace(":30:", ":45:")}
    assert "(UTC" not in letter("export", {**FACTS, **window}, LINK).text.partition("The link")[0]


@pytest.mark.parametrize(
    ("count", "read"),
    [
        (1, "S0"),
        (2, "S0 and S1"),
        (5, "S0, S1, S2, S3 and S4"),
        (200, "S0, S1, S2, S3, S4 and 195 more"),
    ],
)
def test_of_many_sites_the_first_are_named(count: int, read: str) -> None:
    sites = letters.some([f"S{number}" for number in range(count)])
    text = letter("export", {**FACTS, "sites": sites}, LINK).text
    assert re.search(rf"^Sites?: +{re.escape(read)}$", text, re.MULTILINE), text


@pytest.mark.parametrize("name", ["", "\u202e\u200f"])
def test_what_has_no_name_is_named_by_its_id(name: str) -> None:
    assert f"export {FACTS['export']} is ready" in letter("export", {**FACTS, "export_name": name}, LINK).text
    assert f"batch {BATCH['batch']} was" in letter("batch", {**BATCH, "filename": name}, LINK).text
    assert f"import {JOB['job']} is" in letter("job", {**JOB, "name": name}, LINK).text


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
