"""What an export by email may be told."""

from typing import Any

import pytest

from shared.delivery.email.config import EmailConfig
from shared.errors import Invalid
from shared.http.bodies import read


def test_an_address_that_comes_twice_is_kept_once_in_order() -> None:
    config = read(
        EmailConfig, {"emails": ["Zoe@acme.example", "ann@acme.example", "zoe@ACME.example", "zoe@x.de"]}
    )
    assert config.emails == ("Zoe@acme.example", "ann@acme.example", "zoe@x.de")


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "emails", "is needed"),
        ({"emails": []}, "emails", "at least one"),
        ({"emails": "ann@acme.example"}, "emails", "must be a list of addresses"),
        ({"emails": None}, "emails", "must be a list of addresses"),
        ({"emails": {"ann@acme.example": 1}}, "emails", "must be a list of addresses"),
        ({"emails": [f"a{n}@b.c" for n in range(1_001)]}, "emails", "at most 1000"),
        ({"emails": ["ann"]}, "emails[0]", "not an address"),
        ({"emails": ["a@b.c", "a@b.c\r\nBcc: d@e.f"]}, "emails[1]", "not an address"),
        ({"emails": ["Ann <a@b.c>"]}, "emails[0]", "not an address"),
        ({"emails": ["a@b.c"], "cc": []}, "cc", "no such field"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(EmailConfig, body)
    assert [problem.field for problem in refused.value.problems] == [field]
    assert says in str(refused.value)
