"""bundle.yaml is read whole, refused by name where it cannot be, and lists exactly what functions/ holds."""

import ast
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from infra.bundle import BUNDLE_YAML, Account, Bucket, Bundle, BundleError, Cors, Function, Instances, Trigger

ROOT = BUNDLE_YAML.parent.parent

GOOD: dict[str, Any] = {
    "functions": {
        "shop": {
            "does": "sells",
            "trigger": {"http": ["/v1", "/v1/orders/open"]},
            "timeout": 3600,
            "memory": "512Mi",
            "concurrency": 16,
            "instances": {"most": 7, "because": "it is enough"},
            "account": "shop-account",
            "public": True,
        },
        "pack": {
            "does": "packs",
            "trigger": {"topic": "pack"},
            "timeout": 540,
            "memory": "2Gi",
            "concurrency": 1,
            "instances": {"most": 7, "because": "it is enough"},
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
            "instances": {"most": 7, "because": "it is enough"},
            "account": "pack-account",
            "retry": True,
            "attempts": 6,
            "dead_letter": "undelivered",
            "secrets": ["KEY_ONE", "KEY_2"],
        },
    },
    "buckets": {"goods": {"holds": "goods", "days": 30, "nearline_after": 9}, "labels": {"holds": "labels"}},
    "roles": {"remover": ["storage.objects.delete"]},
    "accounts": {
        "shop-account": {
            "firestore": True,
            "publishes": [],
            "storage": {"goods": ["roles/storage.objectViewer"]},
            "impersonates": False,
        },
        "pack-account": {
            "firestore": True,
            "publishes": [],
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
    assert (shop.instances.most, shop.instances.because, shop.calls_customers) == (7, "it is enough", False)
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
    assert bundle.buckets["goods"].nearline_after == 9
    assert bundle.permissions("remover") == ("storage.objects.delete",)
    assert bundle.permissions("roles/storage.objectViewer") == ("roles/storage.objectViewer",)
    assert {name: bucket.days for name, bucket in bundle.buckets.items()} == {"goods": 30, "labels": None}
    assert bundle.accounts["shop-account"].storage == {"goods": ("roles/storage.objectViewer",)}
    assert bundle.customer_folders == {"goods": ("roles/storage.objectViewer",)}
    assert bundle.customer_grant == ("storage.objects.create",)


ONE_TRIGGER = "should be one of `http` with a path, `topic`, `bucket`"


def at(content: Any, *path: str) -> Any:
    """The entry of the content at this path."""
    for key in path:
        content = content[key]
    return content


@pytest.mark.parametrize(
    ("entry", "change", "says"),
    [
        ("", {"topics": {}}, "topics: unknown field"),
        ("functions.shop", {"tiemout": 1}, "functions.shop.tiemout: unknown field"),
        ("functions.shop", {"name": "shop"}, "functions: shop has a field `name`; the key is the name"),
        ("functions.shop.trigger", {"schedule": "daily"}, "functions.shop.trigger.schedule: unknown field"),
        ("buckets.goods", {"versioning": True}, "buckets.goods.versioning: unknown field"),
        ("accounts.shop-account", {"owner": True}, "accounts.shop-account.owner: unknown field"),
        ("functions.shop", {"does": None}, "functions.shop.does: Input should be a valid string, is None"),
        ("functions.shop", {"timeout": 3601}, "functions.shop.timeout: 3601 is more than 3600 seconds"),
        ("functions.pack", {"timeout": 541}, "functions.pack.timeout: 541 is more than 540 seconds"),
        ("functions.take", {"timeout": 541}, "functions.take.timeout: 541 is more than 540 seconds"),
        (
            "functions.shop",
            {"timeout": 0},
            "functions.shop.timeout: Input should be greater than or equal to 1, is 0",
        ),
        (
            "functions.shop",
            {"timeout": True},
            "functions.shop.timeout: Input should be a valid integer, is True",
        ),
        (
            "functions.shop",
            {"timeout": "60"},
            "functions.shop.timeout: Input should be a valid integer, is '60'",
        ),
        (
            "functions.shop",
            {"concurrency": 1001},
            "functions.shop.concurrency: Input should be less than or equal to 1000, is 1001",
        ),
        (
            "functions.shop",
            {"memory": "512 MB"},
            "functions.shop.memory: String should match pattern '^[1-9][0-9]*(Mi|Gi)$', is '512 MB'",
        ),
        (
            "functions.shop.instances",
            {"most": 0},
            "functions.shop.instances.most: Input should be greater than or equal to 1, is 0",
        ),
        (
            "functions.shop.instances",
            {"because": ""},
            "functions.shop.instances.because: String should have at least 1 character, is ''",
        ),
        ("functions.shop", {"trigger": {}}, f"functions.shop.trigger: {ONE_TRIGGER}"),
        ("functions.shop", {"trigger": {"http": []}}, f"functions.shop.trigger: {ONE_TRIGGER}"),
        ("functions.shop.trigger", {"topic": "shop"}, f"functions.shop.trigger: {ONE_TRIGGER}"),
        ("functions.shop.trigger", {"bucket": "goods"}, f"functions.shop.trigger: {ONE_TRIGGER}"),
        ("functions.pack.trigger", {"bucket": "goods"}, f"functions.pack.trigger: {ONE_TRIGGER}"),
        (
            "functions.shop.trigger",
            {"topic": None},
            "functions.shop.trigger.topic: has no value; leave the key out",
        ),
        (
            "functions.shop",
            {"trigger": {"http": ["/v1", "v1/"]}},
            "functions.shop.trigger.http.1: String should match pattern "
            "'^(/|(/[A-Za-z0-9._~-]+)+)$', is 'v1/'",
        ),
        (
            "functions.pack",
            {"trigger": {"topic": "other"}},
            "functions.pack.trigger.topic: should be 'pack', is 'other'",
        ),
        (
            "functions.take",
            {"trigger": {"bucket": "attic"}},
            "functions.take.trigger.bucket: 'attic' is not among `buckets`",
        ),
        ("functions.take", {"public": True}, "functions.take.public: only an HTTP function can be public"),
        ("functions.pack", {"public": True}, "functions.pack.public: only an HTTP function can be public"),
        (
            "functions.take",
            {"secrets": ["KEYS", "keys"]},
            "functions.take.secrets.1: String should match pattern '^[A-Z][A-Z0-9_]*$', is 'keys'",
        ),
        (
            "functions.shop",
            {"retry": True},
            "functions.shop.retry: only events are delivered again, and an HTTP function has none",
        ),
        (
            "functions.pack",
            {"retry": False},
            "functions.pack.dead_letter: needs `retry: true`; without it an event is delivered once",
        ),
        (
            "functions.pack",
            {"attempts": 4},
            "functions.pack.attempts: Input should be greater than or equal to 5, is 4",
        ),
        (
            "functions.pack",
            {"attempts": 101},
            "functions.pack.attempts: Input should be less than or equal to 100, is 101",
        ),
        (
            "functions.pack",
            {"dead_letter": "pack"},
            "functions.pack.dead_letter: 'pack' is a function's own topic",
        ),
        ("functions.shop", {"attempts": 5}, "functions.shop.dead_letter: is missing; `attempts` needs it"),
        ("functions.shop", {"account": "nobody"}, "functions.shop.account: 'nobody' is not among `accounts`"),
        (
            "functions",
            {"Shop": GOOD["functions"]["pack"]},
            "functions.Shop.name: String should match pattern '^[a-z][a-z0-9_]{0,62}$', is 'Shop'",
        ),
        (
            "functions",
            {"two": GOOD["functions"]["shop"]},
            "functions.two.trigger.http: shop has the path '/v1' already",
        ),
        (
            "functions",
            {"pack": None},
            "functions.pack: Input should be a valid dictionary or instance of Function, is None",
        ),
        (
            "buckets.goods",
            {"days": 0},
            "buckets.goods.days: Input should be greater than or equal to 1, is 0",
        ),
        (
            "accounts.shop-account",
            {"signs": "yes"},
            "accounts.shop-account.signs: Input should be a valid boolean, is 'yes'",
        ),
        (
            "accounts",
            {"shop": GOOD["accounts"]["shop-account"]},
            "accounts.shop.name: String should match pattern '^[a-z][-a-z0-9]{4,28}[a-z0-9]$', is 'shop'",
        ),
        (
            "accounts.shop-account.storage",
            {"attic": []},
            "accounts.shop-account.storage.attic: there is no such bucket among `buckets`",
        ),
        (
            "accounts.shop-account",
            {"publishes": ["pack", "shop"]},
            "accounts.shop-account.publishes.1: no function has the topic 'shop'",
        ),
        (
            "accounts.shop-account.storage",
            {"goods": ["keeper"]},
            "accounts.shop-account.storage.goods: there is no role 'keeper' among `roles`",
        ),
        (
            "customer_folders",
            {"attic": []},
            "customer_folders.attic: there is no such bucket among `buckets`",
        ),
        ("", {"customer_grant": [1]}, "customer_grant.0: Input should be a valid string, is 1"),
        ("", {"customer_grant": "one"}, "customer_grant: Input should be a valid tuple, is 'one'"),
    ],
)
def test_names_the_field_that_is_wrong(tmp_path: Path, entry: str, change: dict[str, Any], says: str) -> None:
    content = copy.deepcopy(GOOD)
    at(content, *filter(None, entry.split("."))).update(copy.deepcopy(change))
    with pytest.raises(BundleError) as refused:
        load(tmp_path, content)
    assert str(refused.value).splitlines()[0] == says


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        (
            {"timeout": 0, "memory": "1", "tiemout": 1},
            ["functions.shop.timeout", "functions.shop.memory", "functions.shop.tiemout"],
        ),
        ({"timeout": 3601, "account": "nobody"}, ["functions.shop.timeout", "functions.shop.account"]),
    ],
)
def test_names_every_field_that_is_wrong(tmp_path: Path, change: dict[str, Any], paths: list[str]) -> None:
    content = copy.deepcopy(GOOD)
    content["functions"]["shop"].update(change)
    with pytest.raises(BundleError) as refused:
        load(tmp_path, content)
    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == paths


@pytest.mark.parametrize("content", [None, [], "functions"])
def test_refuses_a_file_that_is_no_mapping(tmp_path: Path, content: Any) -> None:
    with pytest.raises(BundleError, match=r"^bundle\.yaml: Input should be a valid dictionary"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    "path",
    [
        *(("functions", "shop", key) for key in GOOD["functions"]["shop"] if key != "public"),
        *(("accounts", "shop-account", key) for key in GOOD["accounts"]["shop-account"]),
        ("functions", "shop", "instances", "most"),
        ("functions", "shop", "instances", "because"),
        ("functions", "pack", "attempts"),
        ("functions", "pack", "dead_letter"),
        ("buckets", "goods", "holds"),
        *((key,) for key in GOOD),
    ],
    ids=".".join,
)
def test_names_the_field_that_is_missing(tmp_path: Path, path: tuple[str, ...]) -> None:
    content = copy.deepcopy(GOOD)
    del at(content, *path[:-1])[path[-1]]
    with pytest.raises(BundleError) as refused:
        load(tmp_path, content)
    assert f"{'.'.join(path)}: is missing" in str(refused.value)


@pytest.mark.parametrize("model", [Bundle, Function, Instances, Trigger, Bucket, Cors, Account])
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_what_was_read_cannot_be_changed(tmp_path: Path) -> None:
    bundle = load(tmp_path, GOOD)
    with pytest.raises(ValidationError):
        bundle.functions["shop"].timeout = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        del bundle.functions["shop"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1", "shop"),
        ("/v1/", "shop"),
        ("/v1/orders", "shop"),
        ("/v1/orders/open/7", "door"),
        ("/v1/orders/opened", "shop"),
        ("//v1/orders", "shop"),
        ("//v1//orders/open/7", "door"),
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


def test_every_http_function_stands_behind_the_door() -> None:
    for function in Bundle.load().functions.values():
        main = (ROOT / "functions" / function.name / "main.py").read_text()
        behind = "@door.http\n" in main and "functions_framework.http" not in main
        assert behind == bool(function.paths), f"{function.name}: whoever has no key stops it"


def test_each_function_has_an_account_of_its_own() -> None:
    bundle = Bundle.load()
    accounts = [function.account for function in bundle.functions.values()]
    assert sorted(accounts) == sorted(set(accounts))
    assert set(bundle.accounts) - set(accounts) == {"waybill-platform"}


def test_who_is_public_may_act_as_customers_for_a_connection_test_or_a_link_alone() -> None:
    bundle = Bundle.load()
    public = {
        f.name for f in bundle.functions.values() if f.public and bundle.accounts[f.account].impersonates
    }
    # The console does in its own process what exports and datasets do.
    assert public == {"exports", "downloads", "datasets", "console"}
    assert bundle.accounts["waybill-downloads"].publishes == ()
    assert bundle.functions["downloads"].secrets == ()


def test_every_folder_in_functions_is_listed() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/*.py")}
    assert folders <= set(Bundle.load().functions)
