"""Operators are told of what could not be delivered, of a tick that is silent, and of works that fail."""

import re

from infra.bundle import Bundle
from infra.commands.ticks import FUNCTION
from infra.package import ROOT
from tests.terraform import parsed, resources


def alerts() -> dict[str, str]:
    """Each alert -> all that it says."""
    return {
        name.partition(".")[2]: str(body).replace("\\", "")
        for name, body in resources().items()
        if name.startswith("google_monitoring_alert_policy.")
    }


def test_there_is_one_for_each_thing_that_needs_somebody() -> None:
    assert set(alerts()) == {"dead_letter", "silent", "failing"}
    channels = "google_monitoring_notification_channel.operators[*].id"
    assert [name for name, alert in alerts().items() if channels not in alert] == []
    channel = resources()["google_monitoring_notification_channel.operators"]
    assert channel["count"] == '${var.alert_email == "" ? 0 : 1}'
    assert channel["labels"] == {"email_address": "${var.alert_email}"}


def test_every_dead_letter_is_told_of() -> None:
    body = resources()["google_monitoring_alert_policy.dead_letter"]
    assert body["for_each"] == "${local.dead_letters}"
    assert "num_undelivered_messages" in alerts()["dead_letter"]
    [condition] = body["conditions"][0]["condition_threshold"]
    assert (condition["comparison"], condition["threshold_value"]) == ("COMPARISON_GT", 0)


def test_the_function_that_cloud_scheduler_calls_may_not_be_silent() -> None:
    assert {name for name, function in Bundle.load().functions.items() if function.scheduled} == {FUNCTION}
    body = resources()["google_monitoring_alert_policy.silent"]
    assert "if try(function.scheduled, false)" in body["for_each"]
    [condition] = body["conditions"][0]["condition_absent"]
    assert 'response_code_class = "2xx"' in condition["filter"].replace("\\", "")
    # A tick a minute, and one that is late by a few.
    assert 120 <= int(condition["duration"].removesuffix("s")) <= 900


def test_failing_works_are_counted_by_the_line_that_the_engine_logs() -> None:
    metric = resources()["google_logging_metric.failed"]
    message = re.search(r'jsonPayload\.message="(.+?)"', metric["filter"].replace("\\", ""))
    assert message
    engine = (ROOT / "shared" / "work" / "engine.py").read_text(encoding="utf-8")
    assert f'logs.error("{message[1]}"' in engine
    assert metric["label_extractors"] == {"kind": "EXTRACT(jsonPayload.kind)"}
    assert "logging.googleapis.com/user/${google_logging_metric.failed.name}" in alerts()["failing"]


def test_more_than_five_works_of_a_kind_that_fail_within_an_hour_are_told_of() -> None:
    [condition] = resources()["google_monitoring_alert_policy.failing"]["conditions"][0][
        "condition_threshold"
    ]
    assert (condition["comparison"], condition["threshold_value"]) == ("COMPARISON_GT", 5)
    [counted] = condition["aggregations"]
    assert counted == {
        "alignment_period": "3600s",
        "per_series_aligner": "ALIGN_SUM",
        "cross_series_reducer": "REDUCE_SUM",
        "group_by_fields": ["metric.label.kind"],
    }
    page = (ROOT / "docs" / "operators" / "deploying.md").read_text(encoding="utf-8")
    assert "when more than five works of a kind fail within an hour" in page


def test_every_alert_names_a_page_that_is_there_and_a_title_that_it_has() -> None:
    for name, alert in alerts().items():
        page = re.search(r"docs/operators/\w+\.md", alert)
        assert page, name
        text = (ROOT / page[0]).read_text(encoding="utf-8")
        for title in re.findall(rf'{re.escape(page[0])}, "([^"]+)"', alert):
            assert f"\n## {title}\n" in text, title


def test_the_apis_that_all_this_needs_are_turned_on() -> None:
    apis = str(resources()["google_project_service.api"]["for_each"])
    for api in ("certificatemanager", "monitoring", "vpcaccess", "compute", "logging"):
        assert f'"{api}.googleapis.com"' in apis
    assert parsed()
