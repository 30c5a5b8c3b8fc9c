"""Every block of infra/terraform/ has what the provider takes, and refers to what is there."""

import re
from typing import Any

import pytest

from tests.provider import PACKAGES, problems, schema, versions
from tests.terraform import FILES, References, parsed, references, resources

FETCHED = "the providers' schemas are not here: make check fetches them"


@pytest.mark.slow
def test_the_schema_is_that_of_the_versions_that_are_pinned() -> None:
    assert PACKAGES.is_dir(), FETCHED
    pinned = parsed()["terraform"][0]["required_providers"][0]
    assert versions() == {name: provider["version"] for name, provider in pinned.items()}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_argument_is_one_that_the_provider_takes(file: Any) -> None:
    assert PACKAGES.is_dir(), FETCHED
    assert problems(file.read_text(encoding="utf-8")) == []


ADDRESS = """
resource "google_compute_address" "own" {
  name = "a"
}
"""
BUCKET = """
resource "google_storage_bucket" "own" {
  name     = "a"
  location = "EU"

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 3
    }
  }
}
"""
RULES = """
resource "google_storage_bucket" "own" {
  name     = "a"
  location = "EU"

  dynamic "lifecycle_rule" {
    for_each = [1]

    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }
}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "change", "says"),
    [
        (ADDRESS, ("name =", "nmae ="), "google_compute_address.own: takes no `nmae`"),
        (ADDRESS, ('name = "a"', ""), "google_compute_address.own: needs `name`"),
        (ADDRESS, ('"a"', '["a"]'), "google_compute_address.own.name: cannot be ['\"a\"']"),
        (
            ADDRESS,
            ("compute_address", "compute_adress"),
            "google_compute_adress.own: the provider has no such resource",
        ),
        (
            ADDRESS,
            ('name = "a"', 'name = "a"\n labels = "b"'),
            'google_compute_address.own.labels: cannot be "b"',
        ),
        (ADDRESS, ("resource", "data"), None),
        (
            ADDRESS,
            ('name = "a"', 'name = "a"\n lifecycle {\n destroy = 1\n }'),
            "google_compute_address.own.lifecycle: takes no `destroy`",
        ),
        (
            BUCKET,
            ("      age", "      aeg"),
            "google_storage_bucket.own.lifecycle_rule.condition: takes no `aeg`",
        ),
        (BUCKET, ("location = ", "age = 1 #"), "google_storage_bucket.own: takes no `age`"),
        (
            BUCKET,
            ('type = "Delete"', 'type = "Delete"\nage = 3'),
            "google_storage_bucket.own.lifecycle_rule.action: takes no `age`",
        ),
        (BUCKET, ('type = "Delete"', ""), "google_storage_bucket.own.lifecycle_rule.action: needs `type`"),
        (
            BUCKET,
            ("condition {", "condition = {"),
            "google_storage_bucket.own.lifecycle_rule.condition: is an argument, and should be a block",
        ),
        (
            BUCKET,
            ('name     = "a"', "name {\n}"),
            "google_storage_bucket.own.name: is a block, and should be an argument",
        ),
        (
            BUCKET,
            (
                "lifecycle_rule",
                "versioning {\nenabled = true\n}\nversioning {\nenabled = true\n}\nlifecycle_rule",
            ),
            "google_storage_bucket.own.versioning: stands 2 times, and may stand once",
        ),
        (
            RULES,
            ("      age", "      aeg"),
            "google_storage_bucket.own.lifecycle_rule.condition: takes no `aeg`",
        ),
        (
            RULES,
            ("for_each", "foreach"),
            "google_storage_bucket.own.lifecycle_rule: a dynamic block takes for_each and content, "
            "and has ['content', 'foreach']",
        ),
        ('variable "a" {\n type = string\n}', ("", ""), "variable.a: needs `description`"),
        ('output "a" {\n description = "b"\n valeu = 1\n}', ("", ""), "output.a: takes no `valeu`"),
        ('provider "google" {\n projekt = 1\n}', ("", ""), "provider.google: takes no `projekt`"),
        ("import {\n from = a.b\n id = 1\n}", ("", ""), "import: takes no `from`"),
        ('resorce "a" "b" {\n}', ("", ""), "resorce: is no block of Terraform's language"),
        (ADDRESS, ("", ""), None),
        (BUCKET, ("", ""), None),
        (RULES, ("", ""), None),
    ],
)
def test_what_does_not_fit_is_found(text: str, change: tuple[str, str], says: str | None) -> None:
    assert PACKAGES.is_dir(), FETCHED
    found = problems(text.replace(*change, 1))
    assert (found[:1] == []) if says is None else (says in found), found


def not_there(found: References) -> list[str]:
    """The references to what no resource can be asked for."""
    wrong = []
    for address, _, attribute in sorted(found):
        kind = address.removeprefix("data.").partition(".")[0]
        block = schema(kind, data=address.startswith("data."))
        if block and attribute and attribute not in block.attributes | set(block.arguments):
            wrong.append(f"{address}.{attribute}")
    return wrong


@pytest.mark.slow
def test_every_attribute_that_is_read_is_one_that_its_resource_has() -> None:
    assert PACKAGES.is_dir(), FETCHED
    found = references(parsed())
    assert len(found) > 30
    assert not_there(found) == []


@pytest.mark.slow
def test_an_attribute_that_is_not_there_is_found() -> None:
    assert PACKAGES.is_dir(), FETCHED
    read = "${google_compute_address.own.adress} ${google_compute_address.own[a[b]].address}"
    assert not_there(references(read)) == ["google_compute_address.own.adress"]


def wrongly_counted(found: References, made: dict[str, Any]) -> list[str]:
    """The references to one of several without saying which, or to which of one."""
    return [
        f"{address}[].{attribute}" if indexed else f"{address}.{attribute}"
        for address, indexed, attribute in sorted(found)
        if address in made and attribute and indexed != bool({"for_each", "count"} & set(made[address]))
    ]


def test_one_of_several_is_named_by_its_key_and_only_then() -> None:
    assert wrongly_counted(references(parsed()), resources()) == []
    assert wrongly_counted(
        references("${a_b.c.id} ${google_a.many.id}"), {"google_a.many": {"for_each": 1}}
    ) == ["google_a.many.id"]
    assert wrongly_counted(references("${google_a.one[1].id}"), {"google_a.one": {}}) == ["google_a.one[].id"]


def test_only_what_is_made_for_each_speaks_of_each() -> None:
    assert [
        name
        for name, body in resources().items()
        if "for_each" not in body and re.search(r"\beach\.", str(body))
    ] == []
