"""A customer's limits: what is refused at each, and with which words; what waits; and the page of limits."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest

from infra.__main__ import main
from infra.commands.limits import USED
from infra.local.project import topic_path
from shared.accounts import limits
from shared.accounts.keys import create_key
from shared.accounts.limits import LIMITS
from shared.batches.batch import UPLOADED
from shared.exports import room
from shared.gcp import documents
from shared.http import routes
from shared.http.rates import BURST_SECONDS, Rates
from tests.infra.test_tables import DOCS, names, table
from tests.subjects.small_job import Jobs
from tests.subjects.small_run import MORNING
from tests.world import BUCKET, SITE, THEIR_SITE, World

Answered = tuple[int, str]


@pytest.fixture
def command(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs an operators' command, which must end as `status` says, and returns what it printed."""

    def run(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main(arguments) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out.strip()

    return run


def set_limits(world: World, **values: int) -> None:
    world.cloud.db.document("customers/acme").update(values)


def said(answer: Any) -> Answered:
    """The status of an answer, and the sentence of an error."""
    body = answer.body if isinstance(answer.body, dict) else {}
    sentence = next((body[each] for each in ("detail", "error_msg", "error_description") if each in body), "")
    return answer.status, sentence


class Exports:
    """Exports, and their runs by hand."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.export = ""

    def make(self) -> Answered:
        body = {
            "name": "Nightly",
            "site_ids": [SITE],
            "interval": "daily",
            "connector_type": "cloud_storage",
            "connector_config": {"storage_uri": f"gs://{BUCKET}/waybill", "export_images": False},
        }
        answer = self.world.request("POST", "/v1/exports", body)
        self.export = answer.body.get("id", self.export)
        return said(answer)

    def delete(self) -> None:
        assert self.world.request("DELETE", f"/v1/exports/{self.export}").status == 204

    def backfill(self) -> Answered:
        if not self.export:
            self.export = self.world.export()
        window = {"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z"}
        return said(self.world.request("POST", f"/v1/exports/{self.export}:backfill", window))

    def cancel_one(self) -> None:
        found = next(room.waiting_runs(self.world.cloud, "acme").limit(1).stream())
        path = f"/v1/exports/{self.export}/runs/{found.id}:cancel"
        assert self.world.request("POST", path).status == 200


class Batches:
    """Batches, with and without their archives."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.made: list[str] = []

    def make(self) -> Answered:
        answer = self.world.request("POST", f"/v0.2/batches?site_id={SITE}")
        self.made += [answer.body["batch_id"]] if answer.status == 201 else []
        return said(answer)

    def store(self) -> Answered:
        answer = self.world.request("POST", f"/v0.2/batches?site_id={SITE}", {"size": 1})
        self.made += [answer.body["batch_id"]] if answer.status == 201 else []
        return said(answer)

    def upload(self) -> Answered:
        answer = self.world.request("POST", f"/v0.2/batches?site_id={SITE}")
        if answer.status == 201:
            self.made.append(answer.body["batch_id"])
            received = {"state": UPLOADED}  # by its step, which would go on with what follows
            self.world.cloud.db.document(f"batches/{self.made[-1]}").update(received)
        return said(answer)

    def cancel_one(self) -> None:
        assert self.world.request("DELETE", f"/v0.2/batches/{self.made[0]}").status == 204


class SomeJobs:
    """Jobs, the uploads of their files, and the types of their items."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs = Jobs(world)
        self.made: list[str] = []

    def make(self) -> Answered:
        fields = {"jobName": "j", "itemType": "Technician", "contentType": "application/json", "filters": "0"}
        answer = self.jobs.send("/ls/api/batch/export", data=fields)
        self.made += [answer.body["jobId"]] if answer.status == 200 else []
        return said(answer)

    def cancel_one(self) -> None:
        self.jobs.post("cancel", data={"jobId": self.made[0]})
        self.world.drain()

    def upload_url(self) -> Answered:
        return said(self.jobs.send("/ls/api/batch/upload-url", data={"size": "10"}))

    def store(self) -> Answered:
        return said(self.jobs.send("/ls/api/batch/upload-url", data={"size": "1"}))

    def a_week_later(self) -> None:
        self.world.wait(timedelta(days=7, seconds=1))

    def define(self) -> Answered:
        self.made.append("x")
        return said(self.jobs.send(f"/ls/api/itemTypes/Type{len(self.made)}", "PUT", json={"key": "id"}))


Case = tuple[str, Callable[[Any], Answered], Callable[[Any], None] | None, type, int]

CASES: Mapping[str, Case] = {
    "exports": ("exports", Exports.make, Exports.delete, Exports, 409),
    "waiting runs": ("waiting_runs", Exports.backfill, Exports.cancel_one, Exports, 429),
    "backfills": ("backfills", Exports.backfill, Exports.cancel_one, Exports, 429),
    "open batches": ("open_batches", Batches.make, Batches.cancel_one, Batches, 429),
    "queued batches": ("queued_batches", Batches.upload, Batches.cancel_one, Batches, 429),
    "bytes of archives": ("stored_bytes", Batches.store, Batches.cancel_one, Batches, 429),
    "bytes of uploads of jobs": ("stored_bytes", SomeJobs.store, SomeJobs.a_week_later, SomeJobs, 429),
    "jobs": ("jobs", SomeJobs.make, SomeJobs.cancel_one, SomeJobs, 429),
    "uploads of jobs": ("job_uploads", SomeJobs.upload_url, SomeJobs.a_week_later, SomeJobs, 429),
    "item types": ("item_types", SomeJobs.define, None, SomeJobs, 409),
}


@pytest.mark.parametrize("case", [pytest.param(each, id=name) for name, each in CASES.items()])
def test_one_more_than_a_limit_is_refused_with_its_name_and_what_to_do(world: World, case: Case) -> None:
    name, make, make_room, of, status = case
    limit, subject = LIMITS[name], of(world)
    set_limits(world, **{name: 1})
    assert make(subject)[0] in (200, 201)
    answered, sentence = make(subject)
    assert answered == limit.status == status, sentence
    start = f"the limit {name} is 1 {limit.unit}, and 1 are in use: "
    assert sentence == f"{start}{f'{limit.now}, or ' if limit.now else ''}{limits.ASK}"
    if make_room is not None:
        make_room(subject)
        assert make(subject)[0] in (200, 201)
    set_limits(world, **{name: 5})
    assert make(subject)[0] in (200, 201)


def test_anothers_limits_count_nothing_of_a_customers(world: World) -> None:
    key = world.stranger()
    batches_key = create_key(world.cloud.db, customer="globex", scopes=["batches"], site=THEIR_SITE)
    ours = Exports(world)
    assert [ours.make()[0], ours.backfill()[0], Batches(world).make()[0]] == [201] * 3
    set_limits(world, exports=1, backfills=1, open_batches=1)
    theirs = {"exports": 1, "waiting_runs": 1, "backfills": 1, "open_batches": 1}
    world.cloud.db.document("customers/globex").update(theirs)
    assert [ours.make()[0], ours.backfill()[0], Batches(world).make()[0]] == [409, 429, 429]
    body: dict[str, Any] = {"name": "x", "site_ids": [THEIR_SITE], "interval": "daily"}
    body |= {"connector_type": "email", "connector_config": {"emails": ["a@globex.example"]}}
    made = world.request("POST", "/v1/exports", body, key=key)
    assert made.status == 201, made
    window = {"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z"}
    path = f"/v1/exports/{made.body['id']}:backfill"
    begun = world.request("POST", path, window, key=key)
    batch = world.request("POST", f"/v0.2/batches?site_id={THEIR_SITE}", {}, key=batches_key)
    assert (begun.status, batch.status) == (201, 201), (begun, batch)
    assert world.request("POST", "/v1/exports", body, key=key).status == 409
    assert world.request("POST", path, window, key=key).status == 429
    assert world.request("POST", "/v0.2/batches", {}, key=batches_key).status == 429


def test_requests_that_overlap_exceed_a_limit_by_one_less_than_they_are_and_the_next_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = 3
    all_have_counted = Barrier(together)

    def count(query: Any, up_to: int) -> int:
        found = documents.count(query, up_to=up_to)
        all_have_counted.wait(timeout=60)
        return found

    set_limits(world, open_batches=1)
    batches = Batches(world)
    with monkeypatch.context() as patch, ThreadPoolExecutor(together) as pool:
        patch.setattr(limits, "count", count)
        answers = list(pool.map(lambda _: batches.make(), range(together)))
    assert [status for status, _ in answers] == [201] * together, answers
    for left in reversed(range(together)):
        status, sentence = batches.make()
        assert (status, "the limit open_batches is 1 " in sentence) == (429, True), (left, sentence)
        batches.cancel_one()
        batches.made.pop(0)
    assert batches.make()[0] == 201


def test_what_a_request_made_already_is_answered_also_where_the_limit_is_reached(world: World) -> None:
    export = world.export()
    window = {"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z"}
    headers = {"Authorization": f"Token {world.key}", "Idempotency-Key": "once"}
    first = world.request("POST", f"/v1/exports/{export}:backfill", window, headers=headers)
    set_limits(world, backfills=1, waiting_runs=1)
    again = world.request("POST", f"/v1/exports/{export}:backfill", window, headers=headers)
    assert (first.status, again.status) == (201, 201), again
    assert again.body["run_id"] == first.body["run_id"]


# What the schedule makes


def shown(world: World, export: str) -> dict[str, Any]:
    answer = world.request("GET", f"/v1/exports/{export}")
    assert answer.status == 200, answer
    body: dict[str, Any] = answer.body
    return body


def windows(world: World, export: str) -> list[tuple[datetime, datetime]]:
    found = world.cloud.db.collection(f"exports/{export}/runs").stream()
    return sorted((each.get("window_start"), each.get("window_end")) for each in found)


@pytest.mark.slow
def test_windows_over_the_limit_wait_say_so_and_begin_once_when_there_is_room(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    set_limits(world, waiting_runs=2)
    exports = [world.export(name=f"Number {number}") for number in range(4)]
    world.tick(MORNING + timedelta(days=1))
    deliver_begun(world)
    assert sorted(len(windows(world, each)) for each in exports) == [0, 0, 0, 2]
    sentence = "the limit waiting_runs is 2 runs that have not ended, and 2 are in use: wait until some have"
    for export in exports:
        waits_for = shown(world, export)["waits_for"]
        begun = len(windows(world, export)) == 2
        assert waits_for is None if begun else (waits_for or "").startswith(sentence), export
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert any("windows that are due wait" in each["message"] for each in logged)
    for _ in range(4):
        world.drain()
        world.tick()
    world.drain()
    assert not world.failures, world.failures[0]
    for export in exports:
        first, second = windows(world, export)
        assert first[1] == second[0]
        assert shown(world, export)["waits_for"] is None


def test_windows_of_a_schedule_are_no_backfills(world: World) -> None:
    by_hand = Exports(world)
    by_hand.export = world.export()
    world.tick(MORNING + timedelta(days=1))
    deliver_begun(world)
    assert len(windows(world, by_hand.export)) == 2
    set_limits(world, backfills=1)
    answers = [by_hand.backfill() for _ in range(2)]
    assert [status for status, _ in answers] == [201, 429], answers


def test_an_export_that_is_behind_begins_no_more_windows_than_runs_may_wait(world: World) -> None:
    set_limits(world, waiting_runs=2)
    export = world.export()
    world.tick(MORNING + timedelta(days=4))
    deliver_begun(world)
    begun = windows(world, export)
    assert len(begun) == 2, begun
    assert "the limit waiting_runs is 2 " in (shown(world, export)["waits_for"] or "")


def deliver_begun(world: World) -> None:
    """Deliver the tick and its messages, and nothing of the runs that they begin."""
    while delivery := world.suite.pubsub.take(topics(world, "tick")):
        world.suite.pubsub.hand_over(delivery, world.push)
    while delivery := world.suite.pubsub.take(topics(world, "begin_exports")):
        world.suite.pubsub.hand_over(delivery, world.push)
    assert not world.failures, world.failures[0]


def topics(world: World, function: str) -> list[str]:
    return [topic_path(function, world.suite.project)]


def failed_runs(world: World, export: str, count: int) -> None:
    """Have so many windows of an export fail, all of the past."""
    for day in range(1, count + 1):
        window = {"start": f"2026-11-{day:02}T00:00:00Z", "end": f"2026-11-{day + 1:02}T00:00:00Z"}
        answer = world.request("POST", f"/v1/exports/{export}:backfill", window)
        run = world.cloud.db.document(f"exports/{export}/runs/{answer.body['run_id']}")
        now = world.suite.clock.now()
        run.update({"state": "FAILED", "open": False, "finished": now, "unexported": True})
        run.update({"first_failed": now, "stage": "plan"})


def test_failed_windows_are_retried_as_far_as_runs_may_wait_and_the_rest_later(world: World) -> None:
    export = world.export()
    failed_runs(world, export, 3)
    set_limits(world, waiting_runs=2)
    assert world.request("POST", f"/v1/exports/{export}:retry-failed").status in (200, 201)

    def waiting() -> int:
        return len(list(room.waiting_runs(world.cloud, "acme").stream()))

    deliver_begun(world)
    assert (waiting(), shown(world, export)["failed_windows"]["retrying"]) == (2, True)
    world.tick()
    deliver_begun(world)
    assert waiting() == 2
    for _ in range(3):
        world.drain()
        world.wait(timedelta(minutes=1))
        world.tick()
    world.drain()
    assert (waiting(), shown(world, export)["failed_windows"]["retrying"]) == (0, False)
    assert shown(world, export)["failed_windows"]["count"] == 0


def test_a_failed_run_is_not_retried_by_hand_where_no_further_run_may_wait(world: World) -> None:
    export = world.export()
    failed_runs(world, export, 1)
    [run] = world.cloud.db.collection(f"exports/{export}/runs").stream()
    set_limits(world, waiting_runs=0)
    path = f"/v1/exports/{export}/runs/{run.id}:retry"
    status, sentence = said(world.request("POST", path))
    assert (status, "the limit waiting_runs is 0" in sentence) == (429, True), sentence
    set_limits(world, waiting_runs=1)
    assert world.request("POST", path).status in (200, 201)


# What an operator sees and sets


def test_an_operator_sees_what_is_in_use_and_raises_a_limit_for_one_customer(
    world: World, command: Callable[..., str]
) -> None:
    world.stranger()
    world.export()
    made = Exports(world)
    rows = {row["limit"]: row for row in json.loads(command("limits", "acme", "--json"))["limits"]}
    assert list(rows) == list(LIMITS)
    assert {name for name, row in rows.items() if row["in_use"] is not None} == set(USED)
    assert (rows["exports"]["value"], rows["exports"]["in_use"]) == (LIMITS["exports"].default, 1)
    told = command("limits", "acme", "exports", "1")
    assert told == "The limit exports of acme is 1 exports that have not ended."
    assert made.make()[0] == 409
    command("limits", "acme", "exports", "2")
    assert made.make()[0] == 201
    command("limits", "acme", "exports", "1")
    rows = {row["limit"]: row for row in json.loads(command("limits", "acme", "--json"))["limits"]}
    assert (rows["exports"]["value"], rows["exports"]["in_use"]) == (1, 2)
    assert "  2  " in command("limits", "acme")
    command("limits", "acme", "exports", "default")
    assert "exports" not in (world.cloud.db.document("customers/acme").get().to_dict() or {})
    assert "exports" not in (world.cloud.db.document("customers/globex").get().to_dict() or {})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody",), "there is no customer nobody"),
        (("acme", "export", "1"), "there is no limit 'export': there are exports, waiting_runs"),
        (("acme", "exports"), "a limit is a number from 0, or `default`; got None"),
        (("acme", "exports", "-1"), "a limit is a number from 0"),
        (("acme", "exports", "many"), "a limit is a number from 0"),
        (("acme", "exports", "9" * 19), "a limit is a number from 0"),
    ],
)
def test_a_limit_that_cannot_be_set_is_a_sentence(
    world: World, command: Callable[..., str], arguments: tuple[str, ...], told: str
) -> None:
    kept = world.cloud.db.document("customers/acme").get().to_dict()
    assert told in command("limits", *arguments, status=1)
    assert world.cloud.db.document("customers/acme").get().to_dict() == kept


def test_status_says_of_a_window_that_is_due_that_a_limit_holds_it(
    world: World, command: Callable[..., str]
) -> None:
    set_limits(world, waiting_runs=0)
    export = world.export()
    world.tick(MORNING + timedelta(days=1))
    deliver_begun(world)
    [row] = json.loads(command("status", "--json"))["exports_due"]
    assert row["export"] == export
    assert row["note"].startswith("the limit waiting_runs is 0 runs"), row
    set_limits(world, waiting_runs=1)
    [row] = json.loads(command("status", "--json"))["exports_due"]
    assert row["note"] is None


# Requests a second


def test_a_customers_requests_a_second_are_its_own_and_read_again_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(routes, "REQUESTS", Rates(10, lambda: now[0]))
    monkeypatch.setattr(limits, "stopwatch", lambda: now[0])
    monkeypatch.setattr(limits, "elapsed_since", lambda began: now[0] - began)
    key = world.stranger()
    set_limits(world, requests_a_second=1)

    def asked(times: int, key: str | None = None) -> list[int]:
        return [world.request("GET", "/v1/options", key=key).status for _ in range(times)]

    at_once = int(BURST_SECONDS)
    assert asked(at_once + 1) == [200] * at_once + [429]
    refused = world.request("GET", "/v1/options")
    assert "the limit requests_a_second is 1, and" in refused.body["detail"], refused
    assert asked(at_once + 1, key) == [200] * (at_once + 1)
    set_limits(world, requests_a_second=2)
    now[0] += limits.KEPT_SECONDS - 1
    assert asked(at_once + 1) == [200] * at_once + [429], "by the value that was read"
    now[0] += limits.KEPT_SECONDS
    assert asked(2 * at_once + 1) == [200] * 2 * at_once + [429]


# The page


def test_the_page_on_limits_has_each_limit_and_each_limit_is_on_it() -> None:
    listed = [(names(row[0])[0], row[1], row[2], row[3]) for row in table("customers/limits.md")]
    refused = {*USED, "requests_a_second"}
    expected = [
        (each.name, f"{each.default:,}", each.unit, f"{each.status}" if each.name in refused else "")
        for each in LIMITS.values()
    ]
    assert listed == expected
    reasons = [row[4] for row in table("customers/limits.md")]
    assert reasons == [each.reason for each in LIMITS.values()]


def test_every_limit_is_held_somewhere_in_the_code() -> None:
    code = "".join(each.read_text() for each in (DOCS.parent / "shared").rglob("*.py"))
    for constant in [name for name, each in vars(limits).items() if isinstance(each, limits.Limit)]:
        assert code.count(constant) > 2, f"nothing holds {constant}"
