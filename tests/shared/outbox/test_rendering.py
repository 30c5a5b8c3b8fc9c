"""How templates are rendered: what goes into HTML is escaped, and a name without a value is an error."""

from typing import Any

import pytest
from jinja2 import UndefinedError

from shared.outbox import letters, rendering

PAGE: dict[str, Any] = {"tone": "failure", "status": "Failed", "style": "", "about": None, "rows": []}


def test_what_goes_into_html_is_escaped() -> None:
    values = {**PAGE, "title": "<i>", "sentences": ["a & b", "</p><script>"]}
    page = rendering.render("page.html", values)
    assert "<h1>&lt;i&gt;</h1>\n" in page
    assert "<p>a &amp; b</p>\n<p>&lt;/p&gt;&lt;script&gt;</p>\n" in page


@pytest.mark.parametrize("missing", ["title", "sentences", "style"])
def test_a_name_without_a_value_is_an_error(missing: str) -> None:
    values = {**PAGE, "title": "Gone", "sentences": ["It is gone."]}
    assert "It is gone." in rendering.render("page.html", values)
    del values[missing]
    with pytest.raises(UndefinedError, match=missing):
        rendering.render("page.html", values)


@pytest.mark.parametrize("letter", letters.KINDS)
@pytest.mark.parametrize("html", [True, False])
def test_each_letter_has_a_template(letter: str, html: bool) -> None:
    assert rendering.get(f"{letter}.jinja", html=html).name == f"{letter}.jinja"
