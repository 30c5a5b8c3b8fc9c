from typing import Any

import pytest

from shared.items import changes
from shared.items.changes import Unusable
from shared.items.types import ItemType

ACCOUNT = ItemType("Account")


def envelope(action: Any, data: Any, **headers: Any) -> dict[str, Any]:
    return {"headers": {"category": "entity", "type": "Account", "action": action, **headers}, "data": data}


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"id": "a", "objectId": "b"}, "a"),
        ({"id": "", "objectId": "b"}, "b"),
        ({"id": None, "objectId": 7}, "7"),
        ({"id": 2**70}, str(2**70)),
    ],
)
def test_an_item_is_known_by_its_id_else_its_object_id(record: dict[str, Any], key: str) -> None:
    assert changes.parse(record, ACCOUNT, merge=False).key == key


def test_a_record_without_a_key_is_known_by_what_it_holds() -> None:
    one, same, other = (
        changes.parse(record, ACCOUNT, merge=False).key for record in ({"a": 1}, {"a": 1}, {"a": 2})
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("record", "of", "merge", "sentence"),
    [
        ({"id": True}, ACCOUNT, False, "The field id tells items apart: it must be a text or an integer."),
        (
            {"id": {"a": 1}},
            ACCOUNT,
            False,
            "The field id tells items apart: it must be a text or an integer.",
        ),
        ({"id": "a" * 501}, ACCOUNT, False, "The field id may have at most 500 characters."),
        (
            {"id": "a"},
            ItemType("Account", "code"),
            False,
            "The field code tells items apart: give it a value.",
        ),
        (
            {"id": "a"},
            ItemType("Account", None, ("name",)),
            False,
            "The field name is required: give it a value.",
        ),
        (
            {"id": "a", "age": "x"},
            ItemType("Account", types={"age": "integer"}),
            False,
            "The field age must be an integer.",
        ),
        (
            {"id": "a", "more": r'{"n": 12345678901234567890123, "half": "\ud800"}'},
            ItemType("Account", types={"more": "object"}),
            False,
            "The field more must be an object.",
        ),
        (
            {"id": "a", "born": "31.12.2020"},
            ItemType("Account", types={"born": "moment"}),
            True,
            "The field born must be a date of ISO 8601, such as 2026-03-31 or 2026-03-31T05:00:00+0000.",
        ),
        (envelope("Destroy", {}), ACCOUNT, False, "The action must be one of Create, Merge, Update, Delete."),
        (envelope("Create", [1]), ACCOUNT, False, "The data of an envelope must be an object."),
        (
            envelope("Create", {"id": "a"}, type="Contact"),
            ACCOUNT,
            False,
            "The envelope is of another type than the job, which imports Account.",
        ),
        (
            envelope("Create", {"id": "a"}, category="event"),
            ACCOUNT,
            False,
            "Only envelopes of the category entity are imported.",
        ),
    ],
)
def test_what_is_no_item_of_the_type_is_refused_in_a_sentence(
    record: dict[str, Any], of: ItemType, merge: bool, sentence: str
) -> None:
    with pytest.raises(Unusable) as refused:
        changes.parse(record, of, merge=merge)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("integer", "12", 12),
        ("integer", str(2**70), 2**70),
        ("number", "1.5", 1.5),
        ("boolean", "TRUE", True),
        ("array", "[1, 2]", [1, 2]),
        ("object", '{"a": 1}', {"a": 1}),
        ("text", "12", "12"),
        ("integer", " ", None),
    ],
)
def test_text_becomes_what_the_type_says(type: Any, text: str, value: Any) -> None:
    of = ItemType("Account", types={"field": type})
    assert changes.parse({"id": "a", "field": text}, of, merge=False).data["field"] == value


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("Create", None, {"id": "a", "tags": {"x": 1}}),
        ("create", {"id": "a"}, "There is an item a already: use Update or Merge."),
        ("Update", {"id": "a", "old": 1}, {"id": "a", "tags": {"x": 1}}),
        ("Update", None, "There is no item a: use Create."),
        ("Merge", {"id": "a", "tags": {"y": 2}}, {"id": "a", "tags": {"y": 2, "x": 1}}),
        ("Merge", None, {"id": "a", "tags": {"x": 1}}),
        ("Delete", {"id": "a"}, None),
        ("Delete", None, "There is no item a to delete."),
    ],
)
def test_each_action_does_what_it_says_and_refuses_what_it_cannot(
    action: str, before: dict[str, Any] | None, after: Any
) -> None:
    change = changes.parse(envelope(action, {"id": "a", "tags": {"x": 1}}), ACCOUNT, merge=False)
    if isinstance(after, str):
        with pytest.raises(Unusable) as refused:
            changes.applied(change, before, ACCOUNT)
        assert str(refused.value) == after
    else:
        assert changes.applied(change, before, ACCOUNT) == after


def test_null_removes_a_field_when_merged_and_stays_otherwise() -> None:
    before = {"id": "a", "b": {"c": 1, "d": 2}, "e": 3}
    assert changes.merged(before, {"b": {"c": None}, "e": None}) == {"id": "a", "b": {"d": 2}}
    change = changes.parse({"id": "a", "e": None}, ACCOUNT, merge=False)
    assert changes.applied(change, before, ACCOUNT) == {"id": "a", "e": None}


def test_a_record_that_only_looks_like_an_envelope_is_an_item() -> None:
    record = {"id": "a", "headers": {"action": "Delete"}, "data": {}}
    assert changes.parse(record, ACCOUNT, merge=False).data == record
