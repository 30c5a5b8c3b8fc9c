"""Every log line says whose it is, and what it is about."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.http import from_http

from infra.local.pubsub import Delivery, cloud_event_request
from infra.local.traffic import Fault
from shared import events, logs
from shared.errors import GiveUp, Retry
from tests.archives import File, zipped
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.world import World

NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)

IDS = {
    "run": {"export", "run"},
    "batch": {"batch"},
    "job": {"job"},
    "dataset task": {"task", "dataset"},
    "analysis": {"site"},
    "mail": {"mail"},
}
"""What a line about a work names, by its kind, beside its customer."""


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"severity"')]


def test_every_line_about_a_work_names_its_customer_and_what_its_kind_is_known_by(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.work_order("A")
    world.suite.traffic.arm("sendgrid.mail.send", Fault("error", status=429))
    world.export(connector_type="email", connector_config={"emails": ["ada@acme.example"]})
    world.export(connector_config={"storage_uri": "gs://acme-nowhere/w", "export_images": False})
    world.run_due(NIGHT)
    world.batch(zipped([File("WO-1/meter.jpg", world.photograph("a").content)]))
    Jobs(world).ended(Jobs(world).begin_import(b"id,name\n1,Ada\n"))
    datasets = Datasets(world)
    datasets.work_order("WO-2", [{}])
    datasets.exported(datasets.create(), export_type=2)
    world.settle(sweeps=True)
    found = [line for line in lines(capsys.readouterr().out) if "work" in line]
    assert {line["kind"] for line in found} >= {"run", "batch", "job", "dataset task", "mail"}
    assert {line["severity"] for line in found} == {"INFO", "WARNING", "ERROR"}
    for line in found:
        lacks = {"customer", *IDS[line["kind"]]} - set(line)
        assert not lacks, (lacks, line)


@pytest.mark.parametrize("error", [Retry("passes"), GiveUp("no", "Look."), ValueError("ours")], ids=repr)
def test_what_ends_a_delivery_is_logged_with_what_it_was_about(
    world: World, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object) -> None:
        with logs.bound(customer="acme", export="e", run="r"):
            raise error

    (line,) = answered(world, work, {"work": "exports/e/runs/r", "piece": "plan"}, capsys)
    assert (line["customer"], line["export"], line["run"]) == ("acme", "e", "r"), line
    assert (line["work"], line["piece"]) == ("exports/e/runs/r", "plan"), line


def test_a_delivery_that_fails_before_its_work_is_read_names_what_its_message_names(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object) -> None:
        raise Retry("Firestore is busy")

    (line,) = answered(world, work, {"work": "exports/e/runs/r/mails/m", "piece": "ask"}, capsys)
    assert (line["export"], line["run"], line["message"]) == ("e", "r", "to be delivered again"), line
    (line,) = answered(world, work, {"customer": "acme", "exports": ["e"]}, capsys)
    assert line["customer"] == "acme", line


def answered(
    world: World, work: Callable[..., None], body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> list[dict[str, Any]]:
    """The lines of a function's answer to a message."""
    capsys.readouterr()
    world.cloud.messages.publish("export_source", body)

    def push(delivery: Delivery) -> bool:
        headers, content = cloud_event_request(delivery)
        with contextlib.suppress(Exception):
            events.answer(from_http(headers, content), work)
        return True

    world.suite.pubsub.deliver_due(push)
    return lines(capsys.readouterr().out)


def test_a_request_that_fails_names_its_customer_and_what_its_path_names(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("ours")

    export = world.export()
    monkeypatch.setattr("shared.exports.pausing.pause", fails)
    capsys.readouterr()
    assert world.request("POST", f"/v1/exports/{export}:pause").status == 500
    (line,) = lines(capsys.readouterr().out)
    assert (line["customer"], line["export"]) == ("acme", export), line


def test_a_line_of_a_run_that_another_one_started_names_no_piece_of_that(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.work_order("A")
    world.export()
    world.export()
    world.run_due(NIGHT)
    world.settle(sweeps=True)
    started = [line for line in lines(capsys.readouterr().out) if line["message"] == "run started"]
    assert len(started) == 2
    for line in started:
        assert "piece" not in line, line
        assert line["work"] == f"exports/{line['export']}/runs/{line['run']}", line
