"""Connectors declare what they can do: nothing outside `shared.delivery` asks which connector one is."""

import ast
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, SecretStr

from shared.delivery import connectors
from shared.delivery.base import (
    Connector,
    ConnectorConfig,
    ConnectorType,
    Copy,
    CopyResult,
    Mailed,
    Secret,
    Step,
)
from shared.delivery.connectors import CONNECTORS
from shared.exports.api import ROUTES
from shared.exports.config import ExportConfig
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from tests import contract
from tests.world import OTHER_SITE, SITE, World

ROOT = Path(__file__).resolve().parents[3]
MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)
ANN = "ann@acme.example"


def modules() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the product outside `shared/delivery`, by their paths."""
    for path in sorted(
        each for top in ("shared", "functions", "infra") for each in (ROOT / top).rglob("*.py")
    ):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("shared/delivery/"):
            yield name, ast.parse(path.read_text())


def imported(node: ast.AST) -> list[str]:
    """The modules, and the names in them, that an import statement names."""
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{each.name}" for each in node.names]
    return []


def test_no_module_outside_delivery_imports_the_config_of_a_connector() -> None:
    # A dataset goes into a bucket and nowhere else, so its tasks have no connector to choose.
    found = [
        f"{path}:{node.lineno} imports {name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node)
        for connector in CONNECTORS
        if f"{name}.".startswith(f"shared.delivery.{connector}.config.")
        or (
            path.startswith("shared/")
            and not path.startswith("shared/datasets/")
            and f"{name}.".startswith(f"shared.delivery.{connector}.")
        )
    ]
    assert found == []


def test_no_module_outside_delivery_asks_which_connector_it_is() -> None:
    configs = {"ConnectorConfig", *(connector.config.__name__ for connector in CONNECTORS.values())}

    def asks(node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            named = ast.unparse(node.args[1])
            return "connector" in ast.unparse(node).lower() or any(each in named for each in configs)
        if isinstance(node, ast.Compare | ast.MatchValue):
            strings = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
            return bool(strings & set(CONNECTORS))
        return False

    found = [
        f"{path}:{getattr(node, 'lineno', 0)} {ast.unparse(node)}"
        for path, tree in modules()
        if not path.startswith("infra/local/")  # speaks for Google and SendGrid, which have words like these
        for node in ast.walk(tree)
        if asks(node)
    ]
    assert found == []


def test_the_schema_of_an_export_names_the_config_of_every_connector() -> None:
    named = ExportConfig.model_json_schema()["properties"]["connector_config"]["anyOf"]
    fields = {each["title"]: [*each["properties"]][:1] for each in named}
    assert fields == {
        "CloudStorageConfig": ["storage_uri"],
        "EmailConfig": ["emails"],
        "SftpConfig": ["host"],
    }


# --- a connector that is added


class CourierConfig(ConnectorConfig):
    street: str
    bell: str | None = None
    secret: str | None = None
    door_code: SecretStr | None = Field(default=None, exclude=True)

    def place(self, name: str) -> str:
        return f"{self.street}/{name}"

    def code(self) -> str | None:
        return self.door_code.get_secret_value() if self.door_code else None

    def reached_as(self, newest: "CourierConfig") -> "CourierConfig":
        return self.model_copy(update={"secret": newest.secret})


class Courier:
    """A Connector that hands each file to a dictionary."""

    def __init__(self, cloud: Cloud, config: CourierConfig, handed: dict[str, bytes]) -> None:
        self._cloud, self._config, self._handed = cloud, config, handed

    def deliver(self, staged: Stored, name: str, on_progress: Callable[[], None]) -> None:
        self._handed[self._config.place(name)] = self._cloud.objects.read(staged)

    def copy_images(self, copies: Iterable[Copy], on_progress: Callable[[CopyResult], None]) -> CopyResult:
        raise AssertionError(f"this connector takes no images: {list(copies)}")


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A connector `courier` is registered; what its exports delivered, by name."""
    handed: dict[str, bytes] = {}

    @contextlib.contextmanager
    def opened(cloud: Cloud, _: str, __: str, config: CourierConfig) -> Iterator[Connector]:
        yield Courier(cloud, config, handed)

    def tested(_: Cloud, __: str, ___: str, config: CourierConfig) -> list[Step]:
        return [Step("street", "passed", f"This is {config.street}.")]

    courier = ConnectorType(
        name="courier",
        config=CourierConfig,
        open=opened,
        test=tested,
        by_site=False,
        secret=Secret(("door_code",), ("street",), CourierConfig.code, CourierConfig.reached_as),
    )
    monkeypatch.setitem(connectors.CONNECTORS, courier.name, courier)
    contract.forget(ROUTES)  # the document has the config of every connector
    yield handed
    contract.forget(ROUTES)


def by_courier(world: World, **place: Any) -> str:
    return world.export(
        site_ids=[SITE, OTHER_SITE],
        connector_type="courier",
        connector_config={"street": "Elm Street", "door_code": "1234", **place},
    )


def test_a_connector_that_is_registered_delivers(world: World, handed: dict[str, bytes]) -> None:
    for site in (world.site, world.other_site):
        world.work_order(f"Of {site.name}", site=site, photographs=1)
    export = by_courier(world)
    tested = world.request("POST", f"/v1/exports/{export}:test").body
    assert tested["steps"] == [{"name": "street", "verdict": "passed", "sentence": "This is Elm Street."}], (
        tested
    )
    assert "courier" in world.request("GET", "/v1/options").body["connector_types"]
    world.run_due(MORNING)
    (event,) = world.audit(export)
    shown = world.request("GET", f"/v1/exports/{export}").body["connector_config"]
    assert shown == {"street": "Elm Street", "bell": None, "secret": event["sftpDetailsKey"]}
    assert event["sftpDetailsKey"] is not None
    assert (event["status"], event["file_count"], event["images"]) == ("COMPLETED", 1, 0), event
    assert (event["operations"], event["recipients"]) == (["COURIER"], [])
    data, manifest = sorted(handed, key=lambda name: "_manifests" in name)
    assert data.startswith("Elm Street/"), data
    assert handed[data].count(b"\n") == event["rows"] == 2
    assert b'"exported":false' in handed[manifest]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"bell": "second"}, True),
        ({"street": "Oak Street", "door_code": "1"}, False),
        ({"street": "Oak Street"}, None),
    ],
)
def test_the_secret_of_a_registered_connector_stays_with_its_server(
    world: World, handed: dict[str, bytes], change: dict[str, str], kept: bool | None
) -> None:
    export = by_courier(world)
    before = world.request("GET", f"/v1/exports/{export}").body["connector_config"]["secret"]
    answer = world.request("PATCH", f"/v1/exports/{export}", {"connector_config": change})
    assert answer.status == 200, answer
    after = answer.body["connector_config"]["secret"]
    assert (None if after is None else after == before) is kept, (before, after)


def test_a_mail_that_would_lead_to_too_many_files_is_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = Mailed[Any](recipients=lambda config: config.emails, max_files=1)
    email = dataclasses.replace(CONNECTORS["email"], by_site=True, mailed=limited)
    monkeypatch.setitem(connectors.CONNECTORS, "email", email)
    for site in (world.site, world.other_site):
        world.work_order(f"Of {site.name}", site=site, photographs=0)
    export = world.export(
        site_ids=[SITE, OTHER_SITE], connector_type="email", connector_config={"emails": [ANN]}
    )
    world.run_due(MORNING)
    (event,) = world.audit(export)
    assert (event["status"], event["error"]) == (
        "FAILED",
        "The window has 2 files; a mail leads to at most 1.",
    )
    assert event["recipients"] == [{"address": ANN, "name": ""}]
    assert world.suite.sendgrid.sent == []
