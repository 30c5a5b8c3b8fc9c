from typing import Any

import pytest

from shared.errors import Invalid
from shared.jobs import filters


@pytest.mark.parametrize("text", ["", "0", " 0 ", "{}", "0.0"])
def test_these_mean_no_filters(text: str) -> None:
    assert filters.parse(text) is None


@pytest.mark.parametrize(
    "text", ["{'userId': 'ada', 'done': True, 'n': None}", '{"userId": "ada", "done": true, "n": null}']
)
def test_json_and_python_literals_are_read(text: str) -> None:
    assert filters.parse(text) == {"userId": "ada", "done": True, "n": None}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{'a': __import__('os')}",
        "{'a': open('/etc/passwd').read()}",
        "{'a': [x for x in (1, 2)]}",
        "{'a': 'b' * 1000000000}",
        "{'a': {'b': 1}}",
        "{1: 2}",
        "['a']",
        "{'a': b'x'}",
        "{'a': ",
        "(" * 10_000,
        "{'a': " + "[" * 5_000,
        "{'a': 1j}",
        "a\0b",
    ],
)
def test_what_is_no_literal_of_fields_and_values_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="filters"):
        filters.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        "{'a': 1, 'a': 2}",
        "{'a': 1, 'b': None, \"a\": 1}",
        '{"n": 12345678901234567890123, "a": 1, "a": 2}',
    ],
)
def test_a_field_that_is_named_twice_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"filters\.a: stands twice"):
        filters.parse(text)


def test_filters_keep_every_integer_and_may_begin_with_a_byte_order_mark() -> None:
    assert filters.parse('\ufeff{"n": 12345678901234567890123}') == {"n": 12345678901234567890123}


def test_filters_are_bounded() -> None:
    with pytest.raises(Invalid, match="more than 65536 bytes"):
        filters.parse("{'a': '" + "x" * 65536 + "'}")
    with pytest.raises(Invalid, match="more than 50 fields"):
        filters.parse(str({f"f{number}": 1 for number in range(51)}))
    with pytest.raises(Invalid, match="more than 1000 values"):
        filters.parse(str({"a": list(range(1001))}))


@pytest.mark.parametrize(
    ("wanted", "value", "matching"),
    [
        ("ada", "ada", True),
        ("ada", "Ada", False),
        (1, 1.0, True),
        (1, True, False),
        (True, 1, False),
        (None, None, True),
        (["a", "b"], "b", True),
        ("/Workflow/processStatus[Editing]", "Editing", True),
        ("/Workflow/processStatus[Editing]", "/Workflow/processStatus[Editing]", True),
        ("/Workflow/processStatus[Editing]", "Done", False),
        ("/Account/family[]/group[x]", "x", True),
    ],
)
def test_a_record_matches_by_its_values(wanted: Any, value: Any, matching: bool) -> None:
    assert filters.matches({"field": wanted}, {"field": value, "other": 1}) is matching


def test_a_field_that_a_record_lacks_is_null() -> None:
    assert filters.matches({"field": None}, {})
    assert not filters.matches({"field": "a"}, {})
