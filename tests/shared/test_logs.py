"""Logs are JSON lines with the ids they are about."""

import json

import pytest

from shared import logs


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_one_object_with_severity_message_ids_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.configure()
    with logs.bound(run="r", export="e", customer=None), logs.bound(part="p"):
        logs.info("it\nhappened", rows=3)
    logs.warning("outside")
    assert lines(capsys) == [
        {"severity": "INFO", "message": "it\nhappened", "run": "r", "export": "e", "part": "p", "rows": 3},
        {"severity": "WARNING", "message": "outside"},
    ]


def test_an_error_carries_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    try:
        raise ValueError("why")
    except ValueError as error:
        logs.error("failed", exception=error)
    (line,) = lines(capsys)
    assert line["severity"] == "ERROR"
    assert "ValueError: why" in str(line["exception"])
