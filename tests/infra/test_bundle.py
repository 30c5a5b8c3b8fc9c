"""bundle.yaml is read whole, refused by name where it cannot be, and lists exactly what functions/ holds."""

import ast
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.bundle import BUNDLE_YAML, Bundle, BundleError

ROOT = BUNDLE_YAML.parent.parent

GOOD: dict[str, Any] = {
    "functions": {
        "shop": {
            "does": "sells",
            "trigger": {"http": ["/v1", "/v1/orders/open"]},
            "timeout": 3600,
            "memory": "512Mi",
            "concurrency": 16,
            "account": "shop-account",
            "public": True,
        },
        "pack": {
            "does": "packs",
            "trigger": {"topic": "pack"},
            "timeout": 540,
            "memory": "2Gi",
            "concurrency": 1,
            "account": "shop-account",
            "retry": True,
            "attempts": 5,
            "dead_letter": "undelivered",
        },
        "take": {
            "does": "takes in",
            "trigger": {"bucket": "goods"},
            "timeout": 540,
            "memory": "1Gi",
            "concurrency": 1,
            "account": "pack-account",
            "retry": True,
            "attempts": 6,
            "dead_letter": "undelivered",
            "secrets": ["KEY_ONE", "KEY_2"],
        },
    },
    "buckets": {"goods": {"holds": "goods", "days": 30}, "labels": {"holds": "labels"}},
    "accounts": {
        "shop-account": {
            "firestore": True,
            "publishes": False,
            "storage": {"goods": ["roles/storage.objectViewer"]},
            "impersonates": False,
        },
        "pack-account": {
            "firestore": True,
            "publishes": False,
            "storage": {},
            "impersonates": False,
            "signs": True,
        },
    },
    "customer_folders": {"goods": ["roles/storage.objectViewer"]},
    "customer_grant": ["storage.objects.create"],
}


def load(tmp_path: Path, content: Any) -> Bundle:
    file = tmp_path / "bundle.yaml"
    file.write_text(yaml.safe_dump(content))
    return Bundle.load(file)


def test_reads_everything(tmp_path: Path) -> None:
    bundle = load(tmp_path, GOOD)
    shop, pack = bundle.functions["shop"], bundle.functions["pack"]
    assert (shop.paths, shop.topic, shop.signature_type) == (("/v1", "/v1/orders/open"), None, "http")
    assert (shop.public, shop.retry, shop.attempts, shop.dead_letter) == (True, False, None, None)
    assert (pack.paths, pack.topic, pack.signature_type) == ((), "pack", "cloudevent")
    assert (pack.public, pack.retry, pack.attempts, pack.dead_letter) == (False, True, 5, "undelivered")
    take = bundle.functions["take"]
    assert (take.paths, take.topic, take.bucket, take.signature_type) == ((), None, "goods", "cloudevent")
    assert (take.retry, take.attempts, take.dead_letter) == (True, 6, "undelivered")
    assert (shop.bucket, shop.secrets, take.secrets) == (None, (), ("KEY_ONE", "KEY_2"))
    assert bundle.secrets == ("KEY_ONE", "KEY_2")
    assert {name: account.signs for name, account in bundle.accounts.items()} == {
        "shop-account": False,
        "pack-account": True,
    }
    assert bundle.dead_letters == ("undelivered",)
    assert {name: bucket.days for name, bucket in bundle.buckets.items()} == {"goods": 30, "labels": None}
    assert bundle.accounts["shop-account"].storage == {"goods": ("roles/storage.objectViewer",)}
    assert bundle.customer_folders == {"goods": ("roles/storage.objectViewer",)}
    assert bundle.customer_grant == ("storage.objects.create",)


@pytest.mark.parametrize(
    ("entry", "change", "says"),
    [
        ((), {"topics": {}}, "bundle.yaml: unknown key 'topics'"),
        (("functions", "shop"), {"tiemout": 1}, "functions.shop: unknown key 'tiemout'"),
        (("functions", "shop", "trigger"), {"schedule": "* * * * *"}, "functions.shop.trigger: unknown key"),
        (("buckets", "goods"), {"versioning": True}, "buckets.goods: unknown key 'versioning'"),
        (("accounts", "shop-account"), {"owner": True}, "accounts.shop-account: unknown key 'owner'"),
        (("functions", "shop"), {"does": None}, "functions.shop: `does` should be str"),
        (("functions", "shop"), {"timeout": 3601}, "functions.shop: timeout 3601 is not within 1 to 3600"),
        (("functions", "shop"), {"timeout": 0}, "functions.shop: timeout 0"),
        (("functions", "shop"), {"timeout": True}, "functions.shop: `timeout` should be int, is True"),
        (("functions", "pack"), {"timeout": 541}, "functions.pack: timeout 541 is not within 1 to 540"),
        (("functions", "shop"), {"concurrency": 1001}, "functions.shop: concurrency 1001"),
        (("functions", "shop"), {"memory": "512 MB"}, "functions.shop: memory '512 MB'"),
        (("functions", "shop"), {"trigger": {}}, "functions.shop: a function has one trigger"),
        (("functions", "shop"), {"trigger": {"http": []}}, "functions.shop: a function has one trigger"),
        (("functions", "shop"), {"trigger": {"http": ["v1/"]}}, "functions.shop: 'v1/' is no path prefix"),
        (("functions", "shop", "trigger"), {"topic": "shop"}, "functions.shop: a function has one trigger"),
        (("functions", "pack"), {"trigger": {"topic": "other"}}, "functions.pack: a function's topic"),
        (("functions", "pack", "trigger"), {"bucket": "goods"}, "functions.pack: a function has one trigger"),
        (("functions", "shop", "trigger"), {"bucket": "goods"}, "functions.shop: a function has one trigger"),
        (("functions", "take"), {"trigger": {"bucket": "attic"}}, "functions.take: bucket 'attic' is not"),
        (("functions", "take"), {"timeout": 541}, "functions.take: timeout 541 is not within 1 to 540"),
        (("functions", "take"), {"public": True}, "functions.take: only an HTTP function"),
        (("functions", "take"), {"secrets": ["keys"]}, "functions.take: secret 'keys' is no variable's name"),
        (("accounts", "shop-account"), {"signs": "yes"}, "accounts.shop-account: `signs` should be bool"),
        (("functions", "pack"), {"public": True}, "functions.pack: only an HTTP function"),
        (("functions", "shop"), {"retry": True}, "functions.shop: an HTTP function cannot"),
        (("functions", "pack"), {"retry": False}, "functions.pack: `dead_letter` without `retry`"),
        (("functions", "pack"), {"attempts": 4}, "functions.pack: attempts 4 is not within 5 to 100"),
        (("functions", "pack"), {"attempts": 101}, "functions.pack: attempts 101"),
        (
            ("functions", "pack"),
            {"dead_letter": "pack"},
            "functions.pack: dead_letter 'pack' is a function's",
        ),
        (
            ("functions", "shop"),
            {"attempts": 5},
            "functions.shop: `attempts` and `dead_letter` come together",
        ),
        (("functions", "shop"), {"account": "nobody"}, "functions.shop: account 'nobody' is not among"),
        (("functions",), {"Shop": GOOD["functions"]["pack"]}, "functions.Shop: a function's name"),
        (
            ("functions",),
            {"two": GOOD["functions"]["shop"]},
            "functions.two: shop has the path '/v1' already",
        ),
        (("functions",), {"pack": None}, "functions.pack: should be a mapping"),
        (("buckets", "goods"), {"days": 0}, "buckets.goods: `days` is at least 1"),
        (("accounts",), {"shop": GOOD["accounts"]["shop-account"]}, "accounts.shop: an account's name"),
        (("accounts", "shop-account", "storage"), {"attic": []}, "accounts.shop-account: bucket 'attic'"),
        (("customer_folders",), {"attic": []}, "customer_folders: bucket 'attic'"),
        ((), {"customer_grant": [1]}, "bundle.yaml: customer_grant should hold texts"),
    ],
)
def test_refuses_by_name(tmp_path: Path, entry: tuple[str, ...], change: dict[str, Any], says: str) -> None:
    content = copy.deepcopy(GOOD)
    changed = content
    for key in entry:
        changed = changed[key]
    changed.update(copy.deepcopy(change))
    with pytest.raises(BundleError) as refused:
        load(tmp_path, content)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize("key", ["does", "trigger", "timeout", "memory", "concurrency", "account"])
def test_refuses_a_missing_key(tmp_path: Path, key: str) -> None:
    content = copy.deepcopy(GOOD)
    del content["functions"]["shop"][key]
    with pytest.raises(BundleError, match=rf"^functions.shop: `{key}` is missing"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1", "shop"),
        ("/v1/", "shop"),
        ("/v1/orders", "shop"),
        ("/v1/orders/open/7", "door"),
        ("/v1/orders/opened", "shop"),
        ("/v10", None),
        ("/", None),
    ],
)
def test_the_longest_prefix_of_whole_segments_serves(tmp_path: Path, path: str, name: str | None) -> None:
    content = copy.deepcopy(GOOD)
    content["functions"]["door"] = copy.deepcopy(content["functions"]["shop"])
    content["functions"]["shop"]["trigger"] = {"http": ["/v1"]}
    content["functions"]["door"]["trigger"] = {"http": ["/v1/orders/open"]}
    function = load(tmp_path, content).serving(path)
    assert (function.name if function else None) == name


def test_every_function_has_its_handler() -> None:
    for name in Bundle.load().functions:
        main = ROOT / "functions" / name / "main.py"
        assert main.exists(), f"bundle.yaml lists {name}, and {main.relative_to(ROOT)} is not there"
        defined = [
            node.name for node in ast.parse(main.read_text()).body if isinstance(node, ast.FunctionDef)
        ]
        assert name in defined, f"{main.relative_to(ROOT)} defines no handler named {name}"


def test_every_folder_in_functions_is_listed() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/*.py")}
    assert folders <= set(Bundle.load().functions)
