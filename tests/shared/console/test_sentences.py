"""A sentence that quotes a name stays as it is, whatever the name's direction."""

import pytest

from shared.console.rendering import name

TURNED = "\u202egpj.exe"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"“{TURNED}” is no name.", f"<bdi>“<bdi>{TURNED}</bdi>” is no name.</bdi>"),
        ("“a” and “<b>”", "<bdi>“<bdi>a</bdi>” and “<bdi>&lt;b&gt;</bdi>”</bdi>"),
        ("half “open", "<bdi>half “open</bdi>"),
        ("none <i>", "<bdi>none &lt;i&gt;</bdi>"),
    ],
)
def test_what_a_sentence_quotes_is_isolated_from_it(text: str, shown: str) -> None:
    assert str(name(text)) == shown
