"""The engine, proved with a toy kind: each real kind has a thin set of its own."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import Aborted, RetryError, ServiceUnavailable
from google.cloud import firestore

from infra.local.project import topic_path
from infra.local.traffic import Fault
from shared.errors import Busy, Conflict, GiveUp, Retry
from shared.gcp.documents import TRANSACTION_ATTEMPTS, change
from shared.work import control, engine, pieces, stages
from shared.work.attempts import Attempt, Stopped
from shared.work.kinds import Done, End, Later, PlannedTooLongAgo, Stage
from tests.shared.work.toy import DOUBLES, PLANS, Toys, fails, fields


def test_a_work_goes_from_stage_to_stage_and_ends(toys: Toys) -> None:
    work = toys.make(count=3)
    assert fields(work)["state"] == "PLANNING"
    toys.drain()
    after = fields(work)
    assert (after["state"], after["open"], after["sum"]) == ("COMPLETED", False, 6), after
    assert sorted(toys.steps.done) == ["000000", "000001", "000002", "finish", "plan"]
    assert list(toys.open_pieces()) == []
    assert [each.id for each in work.collection("ends").stream()] == ["COMPLETED"]


def test_a_work_says_when_each_of_its_stages_began_and_ended(toys: Toys) -> None:
    def lasting(_: Attempt) -> None:
        toys.world.wait(timedelta(seconds=2))

    toys.steps.does = dict.fromkeys(("plan", "double", "finish"), lasting)
    work = toys.make(count=1)
    [planning] = fields(work)["stage_times"].values()
    assert planning.keys() == {"began"}
    toys.drain()
    times = fields(work)["stage_times"]
    lasted = {name: round((each["ended"] - each["began"]).total_seconds()) for name, each in times.items()}
    assert lasted == {"plan": 2, "double": 2, "finish": 2}
    assert times["plan"]["began"] == planning["began"]
    assert times["plan"]["ended"] == times["double"]["began"]


def test_a_stage_that_is_begun_anew_has_the_times_of_its_last_time(toys: Toys) -> None:
    toys.steps.does["double"] = fails(GiveUp("gone", "nothing"))
    work = toys.make(count=1)
    toys.drain()
    before = fields(work)["stage_times"]
    assert "ended" in before["double"]
    toys.steps.does.clear()
    toys.world.wait(timedelta(hours=1))
    assert control.retry(toys.cloud, toys.kind, work.get())
    toys.drain()
    after = fields(work)["stage_times"]
    assert after["plan"] == before["plan"]
    assert after["double"]["began"] >= before["double"]["ended"] + timedelta(hours=1)
    assert after["finish"]["ended"] >= after["double"]["ended"] >= after["double"]["began"]


def test_a_work_is_created_once_though_the_answer_is_lost(toys: Toys) -> None:
    toys.world.suite.traffic.arm("firestore.Commit", Fault("reset_after"))
    work = toys.make(count=3)
    toys.drain()
    assert (fields(work)["state"], toys.steps.done.count("plan")) == ("COMPLETED", 1)


def test_a_work_that_is_created_again_goes_on_at_the_stage_where_it_is(toys: Toys) -> None:
    work = toys.make(count=0)
    toys.world.suite.pubsub.deliver_due(toys.push)
    assert fields(work)["stage"] == "finish"
    toys.world.suite.pubsub.deliver_due(lambda _: True)  # the message for its piece is lost
    toys.make(count=0)
    toys.drain()
    assert (fields(work)["state"], toys.steps.done) == ("COMPLETED", ["plan", "finish"])


def calls_of(toys: Toys, number: int, count: int = 1) -> list[str]:
    """The calls that are made for one message, the `number`th of a new work of so many planned pieces."""
    toys.make(count=count)
    for _ in range(number):
        toys.world.suite.pubsub.deliver_due(toys.push)
    toys.world.suite.traffic.forget()
    toys.world.suite.pubsub.deliver_due(toys.push)
    kinds = [call.kind.partition(".") for call in toys.world.suite.traffic.calls()]
    return [name for service, _, name in kinds if service == "firestore" or name == "Publish"]


TAKE = ["BatchGetDocuments", "Commit"]
"""The work and the piece are read together, and one write takes the piece that is as it was read."""


@pytest.mark.parametrize(
    ("count", "before"), [(1, []), (engine.WITH_WORK, []), (engine.WITH_WORK + 1, ["Commit"])]
)
def test_a_plan_is_published_without_looking_at_what_was_just_written(
    toys: Toys, count: int, before: list[str]
) -> None:
    planned = [*before, "BatchGetDocuments", "Commit"]
    room = ["RunAggregationQuery", "RunAggregationQuery"]
    assert calls_of(toys, 0, count) == [*TAKE, *planned, "RunQuery", *room, "Commit", "Publish"]


def test_the_last_piece_of_a_plan_moves_its_work_on_by_few_calls(toys: Toys) -> None:
    done, more = ["BatchGetDocuments", "Commit"], ["RunQuery"]
    moved = ["RunAggregationQuery", "BatchGetDocuments", "Commit", "Publish"]
    assert calls_of(toys, 1) == [*TAKE, *more, *done, *moved]


def once_before_a_piece_is_taken(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[Any, Any], object]
) -> list[Any]:
    """Have something happen to a piece between its reading and the write that takes it, given the piece and
    that write; returns the piece to which it did, once it has."""
    pieces_met: list[Any] = []

    def late(db: Any, piece: Any, changes: Any) -> Any:
        if not pieces_met:
            pieces_met.append(piece)
            happens(piece, changes)
        return change(db, piece, changes)

    monkeypatch.setattr("shared.work.engine.change", late)
    return pieces_met


def test_a_piece_that_changes_when_it_is_taken_is_looked_at_again(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = toys.make(count=1)
    met = once_before_a_piece_is_taken(monkeypatch, lambda piece, _: piece.reference.update({"woken": True}))
    toys.drain()
    assert met
    assert (fields(work)["state"], toys.steps.done.count("plan")) == ("COMPLETED", 1)


def test_a_piece_that_another_takes_meanwhile_is_left_to_it(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = toys.make(count=1)
    met = once_before_a_piece_is_taken(
        monkeypatch, lambda piece, begun: piece.reference.update({**begun, "holder": "another"})
    )
    toys.world.suite.pubsub.deliver_due(toys.push)
    assert met
    assert toys.steps.done == [], "two attempts did one piece"
    piece = fields(work.collection("pieces").document("plan"))
    assert (piece["holder"], piece["woken"]) == ("another", True)


def test_an_attempt_goes_on_though_the_answer_is_lost_by_which_it_took_its_piece(toys: Toys) -> None:
    work = toys.make(count=1)
    toys.world.suite.traffic.arm("firestore.Commit", Fault("reset_after"), resource=f"{work.path}/pieces")
    toys.drain()
    assert not toys.faults
    piece = fields(work.collection("pieces").document("plan"))
    assert (fields(work)["state"], piece["attempts"]) == ("COMPLETED", 1)


def test_a_piece_that_others_are_writing_is_taken_in_turn(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contended(piece: Any, begun: Any) -> None:
        raise Aborted("others are at it")

    work = toys.make(count=1)
    met = once_before_a_piece_is_taken(monkeypatch, contended)
    toys.drain()
    assert met
    assert not toys.faults
    assert (fields(work)["state"], toys.steps.done.count("plan")) == ("COMPLETED", 1)


def test_a_plan_without_pieces_goes_on_to_the_next_stage(toys: Toys) -> None:
    work = toys.make(count=0)
    toys.drain()
    assert (fields(work)["state"], fields(work)["sum"]) == ("COMPLETED", 0)


def test_every_message_twice_does_each_piece_once(toys: Toys) -> None:
    toys.twice = True
    work = toys.make(count=5)
    toys.drain()
    assert fields(work)["sum"] == 20
    assert len(toys.steps.done) == len(set(toys.steps.done)) == 7, toys.steps.done


def test_what_a_piece_waits_for_is_written_down_at_the_first_failed_try(toys: Toys) -> None:
    toys.steps.does["double"] = fails(Retry("the server does not answer"))
    work = toys.make(count=1)
    toys.drain()
    assert (fields(work)["waits_for"], fields(work)["waiting"]) == ("the server does not answer", False)
    assert not toys.faults
    toys.world.wait(timedelta(minutes=1))
    toys.sweep()
    toys.drain()
    assert fields(work)["waiting"] is True  # from the second failed try on it holds nobody up


def test_a_piece_is_tried_again_after_its_backoff_and_not_before(toys: Toys) -> None:
    toys.steps.does["double"] = fails(Retry("away"))
    work = toys.make(count=1)
    toys.drain()
    tried = len(toys.steps.done)
    (piece,) = list(toys.open_pieces())[:1]
    toys.cloud.messages.publish(DOUBLES, pieces.message(work.path, piece.id))
    toys.drain()
    assert len(toys.steps.done) == tried
    del toys.steps.does["double"]
    toys.settle()
    assert fields(work)["state"] == "COMPLETED"
    assert fields(work)["waits_for"] is None


def test_waiting_for_an_hour_is_reported_once(toys: Toys) -> None:
    toys.steps.does["double"] = fails(Retry("away"))
    work = toys.make(count=1)
    toys.drain()

    def reports() -> list[str]:
        return [each.get("why") for each in work.collection("reports").stream()]

    for minutes in (20, 20, 15):
        toys.world.wait(timedelta(minutes=minutes))
        toys.sweep()
        toys.drain()
        assert reports() == []
    for _ in range(2):
        toys.world.wait(timedelta(minutes=11))
        toys.sweep()
        toys.drain()
    assert reports() == ["away"]


def test_what_waits_for_longer_than_its_kind_allows_fails_with_what_it_waited_for(toys: Toys) -> None:
    toys.steps.does["double"] = fails(Retry("the bucket answers 429"))
    work = toys.make(count=1)
    toys.drain()
    for _ in range(2):
        toys.world.wait(toys.kind.max_wait)
        toys.sweep()
        toys.drain()
    after = fields(work)
    assert after["state"] == "FAILED"
    assert "12 hours" in after["error"]
    assert "the bucket answers 429" in after["error"]


def test_time_in_a_queue_is_no_failed_try(toys: Toys) -> None:
    toys.steps.does["double"] = fails(Retry("the bucket answers 429"))
    work = toys.make(count=1)
    toys.drain()
    del toys.steps.does["double"]
    toys.world.wait(3 * engine.MAX_WAIT_ALONE)  # nobody came to try it again
    toys.sweep()
    toys.drain()
    assert fields(work)["state"] == "COMPLETED"


def test_a_final_failure_ends_the_work_and_says_what_to_do(toys: Toys) -> None:
    toys.steps.does["double"] = fails(GiveUp("the bucket is gone", "Create it."))
    work = toys.make(count=3)
    toys.drain()
    after = fields(work)
    assert (after["state"], after["error"], after["next_action"]) == (
        "FAILED",
        "the bucket is gone",
        "Create it.",
    )
    toys.settle()
    assert [each.id for each in work.collection("ends").stream()] == ["FAILED"]


@pytest.mark.parametrize("nth", [1, 2], ids=["when it is taken", "when it is finished"])
def test_a_transaction_that_others_keep_out_passes_and_is_no_fault_of_ours(toys: Toys, nth: int) -> None:
    work = toys.make(count=1)
    (plan,) = toys.open_pieces()
    toys.world.suite.traffic.arm(
        "firestore.Commit", Fault("abort"), nth=nth, times=TRANSACTION_ATTEMPTS, resource=plan.reference.path
    )
    toys.drain()
    assert [each for each in toys.faults if "Retry" not in each] == []
    toys.world.wait(timedelta(minutes=20))
    toys.sweep()
    toys.drain()
    assert fields(work)["state"] == "COMPLETED"


def test_a_fault_of_ours_is_raised_and_counted_and_ends_in_a_failure(toys: Toys) -> None:
    toys.steps.does["double"] = fails(ZeroDivisionError())
    work = toys.make(count=1)
    for _ in range(engine.MAX_ATTEMPTS + 2):
        toys.drain()
        toys.world.wait(timedelta(minutes=11))
        toys.sweep()
    toys.drain()
    assert toys.steps.done.count("000000") == engine.MAX_ATTEMPTS
    assert len(toys.faults) == engine.MAX_ATTEMPTS
    assert fields(work)["state"] == "FAILED"
    assert "ZeroDivisionError" in fields(work)["error"]


def test_a_failed_work_goes_on_from_where_it_was(toys: Toys) -> None:
    def one_fails(attempt: Attempt) -> Any:
        if attempt.piece.name == "000001":
            raise GiveUp("not now", "Retry.")
        return None

    toys.steps.does["double"] = one_fails
    work = toys.make(count=3)
    toys.drain()
    toys.settle()
    done = toys.steps.done.count("plan")
    toys.steps.does.clear()
    assert control.retry(toys.cloud, toys.kind, work.get())
    toys.settle()
    assert (fields(work)["state"], fields(work)["sum"]) == ("COMPLETED", 6)
    assert toys.steps.done.count("plan") == done == 1
    assert toys.steps.done.count("000000") == 1
    assert not control.retry(toys.cloud, toys.kind, work.get())


def test_a_failed_work_whose_plan_is_too_old_is_planned_anew(toys: Toys) -> None:
    toys.steps.does["double"] = fails(GiveUp("not now", "Retry."))
    work = toys.make(count=2)
    toys.drain()
    toys.world.wait(timedelta(days=8))
    toys.steps.does.clear()
    assert control.retry(toys.cloud, toys.kind, work.get())
    toys.settle()
    assert toys.steps.done.count("plan") == 2
    assert fields(work)["sum"] == 2


@pytest.mark.parametrize("events", range(4))
def test_a_cancelled_work_ends_at_once_and_leaves_nothing_open(toys: Toys, events: int) -> None:
    work = toys.make(count=2)
    topics = [DOUBLES, "export_source"]
    for _ in range(events):
        toys.world.suite.pubsub.deliver_due(toys.push)
        if fields(work)["state"] in ("FINISHING", "COMPLETED"):
            return
    assert topics
    assert control.cancel(toys.cloud, toys.kind, work)
    assert not control.cancel(toys.cloud, toys.kind, work)
    toys.settle()
    assert fields(work)["state"] == "CANCELLED"
    assert [each.id for each in work.collection("ends").stream()] == ["CANCELLED"]


def test_a_stage_that_finishes_cannot_be_cancelled_unless_it_waits(toys: Toys) -> None:
    def while_it_runs(_: Attempt) -> Any:
        with pytest.raises(Conflict, match="it finishes"):
            control.cancel(toys.cloud, toys.kind, work)
        raise Retry("the server does not answer")

    toys.steps.does["finish"] = while_it_runs
    work = toys.make(count=1)
    toys.drain()
    toys.world.wait(timedelta(minutes=1))

    def waits(_: Attempt) -> Any:
        raise Retry("the server does not answer")

    toys.steps.does["finish"] = waits
    toys.sweep()
    toys.drain()
    assert fields(work)["waiting"]
    assert control.cancel(toys.cloud, toys.kind, work)
    toys.settle()
    assert fields(work)["state"] == "CANCELLED"


def test_an_attempt_that_is_alive_at_a_waiting_finish_keeps_it_from_being_cancelled(toys: Toys) -> None:
    tried = []

    def step(_: Attempt) -> Any:
        tried.append(1)
        if len(tried) == 3:
            with pytest.raises(Conflict, match="right now"):
                control.cancel(toys.cloud, toys.kind, work)
            return None
        raise Retry("away")

    toys.steps.does["finish"] = step
    work = toys.make(count=1)
    toys.drain()
    toys.settle()
    assert len(tried) == 3
    assert fields(work)["state"] == "COMPLETED"


def test_an_attempt_learns_at_its_next_save_that_its_work_was_cancelled(toys: Toys) -> None:
    def step(attempt: Attempt) -> Any:
        attempt.save({"position": 1})
        control.cancel(toys.cloud, toys.kind, work)
        with pytest.raises(Stopped):
            attempt.save({"position": 2})
        raise Stopped

    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    assert fields(work)["state"] == "CANCELLED"


def closing(toys: Toys) -> list[str]:
    """Have the toy closed when it is cancelled; returns what the closing step has seen."""
    seen: list[str] = []

    def close(_: Any, toy: Any, attempt: Attempt) -> Done:
        seen.append(str(attempt.work.get("state")))
        return Done(end=End("CANCELLED", {"closed": True}))

    stage = Stage("close", "CLOSING", lambda _: PLANS, close)
    toys.kind = replace(toys.kind, stages=(*toys.kind.stages, stage), closing="close")
    return seen


@pytest.mark.parametrize("events", [0, 1, 2])
def test_a_cancelled_work_with_a_closing_stage_is_closed_once(toys: Toys, events: int) -> None:
    seen = closing(toys)
    work = toys.make(count=2)
    for _ in range(events):
        toys.world.suite.pubsub.deliver_due(toys.push)
        if fields(work)["state"] in ("FINISHING", "COMPLETED"):
            return
    assert control.cancel(toys.cloud, toys.kind, work)
    assert fields(work)["state"] == "CLOSING"
    assert not control.cancel(toys.cloud, toys.kind, work)
    toys.settle()
    assert (fields(work)["state"], fields(work)["closed"]) == ("CANCELLED", True)
    assert seen == ["CLOSING"] * len(seen)
    assert len(seen) == 1, seen
    assert [each.id for each in work.collection("ends").stream()] == ["CANCELLED"]
    assert not control.cancel(toys.cloud, toys.kind, work)


def test_a_plan_that_is_too_old_is_made_anew_once(toys: Toys) -> None:
    planned: list[int] = []

    def plan(_: Attempt) -> Any:
        planned.append(1)

    def double(attempt: Attempt) -> Any:
        if len(planned) == 1:
            raise PlannedTooLongAgo("plan")

    toys.steps.does |= {"plan": plan, "double": double}
    work = toys.make(count=3)
    toys.drain()
    toys.settle()
    assert (fields(work)["state"], fields(work)["sum"], len(planned)) == ("COMPLETED", 6, 2)
    assert list(toys.open_pieces()) == []


def test_no_part_is_committed_after_the_work_was_cancelled(toys: Toys) -> None:
    closing(toys)
    reference = toys.cloud.db.document("parts/one")

    def part(number: int) -> Any:
        def write(transaction: Any) -> dict[str, int]:
            transaction.set(reference, {"number": number})
            return {"position": number}

        return write

    def step(attempt: Attempt) -> Any:
        attempt.commit(part(1))
        control.cancel(toys.cloud, toys.kind, work)
        with pytest.raises(Stopped):
            attempt.commit(part(2))
        raise Stopped

    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    toys.settle()
    assert (fields(work)["state"], fields(reference)["number"]) == ("CANCELLED", 1)


def test_an_attempt_that_lost_its_lease_commits_no_part(toys: Toys) -> None:
    reference = toys.cloud.db.document("parts/one")

    def write(transaction: Any) -> dict[str, int]:
        transaction.set(reference, {"number": 1})
        return {}

    def step(attempt: Attempt) -> Any:
        toys.steps.does.clear()
        toys.world.wait(timedelta(minutes=5))
        toys.sweep()
        toys.drain()
        with pytest.raises((Busy, Stopped)):
            attempt.commit(write)
        raise Stopped

    toys.steps.does["double"] = step
    toys.make(count=1)
    toys.drain()
    assert not reference.get().exists


def test_the_result_of_an_attempt_that_lost_its_lease_counts_for_nothing(toys: Toys) -> None:
    def step(attempt: Attempt) -> Any:
        toys.steps.does.clear()
        toys.world.wait(timedelta(minutes=5))
        toys.sweep()
        toys.drain()
        return Done({"doubled": 1_000})

    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    assert (fields(work)["state"], fields(work)["sum"]) == ("COMPLETED", 0)


def test_a_late_attempt_corrects_how_its_work_ended_where_the_kind_says_so(toys: Toys) -> None:
    began: list[str] = []

    def finish(attempt: Attempt) -> Any:
        began.append(attempt.id)
        if len(began) > 1:
            raise GiveUp("the first attempt ended without a result", "Look.")
        toys.world.wait(timedelta(minutes=5))
        toys.sweep()
        toys.drain()
        return Done(end=End(ends, {"sum": 7}))

    toys.steps.does["finish"] = finish

    def corrects(toy: Any, attempt: str, end: End) -> bool:
        return attempt == began[0] and end.state == "COMPLETED"

    toys.kind = replace(toys.kind, corrects=corrects)
    for ends, state, total in (("COMPLETED", "COMPLETED", 7), ("CANCELLED", "FAILED", None)):
        began.clear()
        work = toys.make(ends, count=1)
        toys.drain()
        after = fields(work)
        assert (after["state"], after["open"], after.get("sum")) == (state, False, total), after
        toys.settle()


def test_a_step_goes_back_to_an_earlier_stage_and_carries_what_that_is_given(toys: Toys) -> None:
    seen: list[tuple[str, Any]] = []

    def plan(attempt: Attempt) -> Any:
        seen.append((attempt.id, attempt.carried))

    def finish(attempt: Attempt) -> Any:
        if len(seen) == 1:
            seen.append((attempt.id, attempt.carried))
            return Done(next="plan", carry="once more")
        return None

    toys.steps.does = {"plan": plan, "finish": finish}
    work = toys.make(count=2)
    toys.drain()
    (_, first), (finished, none), (planned, carried) = seen
    assert (first, none, carried) == (None, None, "once more")
    assert planned == finished, "the same attempt goes on"
    assert (fields(work)["state"], fields(work)["sum"]) == ("COMPLETED", 2)
    assert list(toys.open_pieces()) == []


def test_another_attempt_is_given_nothing_that_was_carried(toys: Toys) -> None:
    seen: list[Any] = []

    def plan(attempt: Attempt) -> Any:
        seen.append(attempt.carried)
        if attempt.carried:
            raise Retry("not now")

    def finish(attempt: Attempt) -> Any:
        return Done(next="plan", carry="once more") if len(seen) == 1 else None

    toys.steps.does = {"plan": plan, "finish": finish}
    work = toys.make(count=0)
    toys.drain()
    toys.settle()
    assert seen == [None, "once more", None]
    assert fields(work)["state"] == "COMPLETED"


def test_a_work_that_fails_ends_in_the_state_that_its_stage_names(toys: Toys) -> None:
    stages = [replace(each, failed="UNCLEAR") if each.name == "finish" else each for each in toys.kind.stages]
    toys.kind = replace(toys.kind, stages=tuple(stages))
    for stage, state in (("double", "FAILED"), ("finish", "UNCLEAR")):
        toys.steps.does = {stage: fails(GiveUp("not now", "Look."))}
        work = toys.make(stage, count=1)
        toys.drain()
        assert (fields(work)["state"], fields(work)["error"]) == (state, "not now")
        assert control.retry(toys.cloud, toys.kind, work.get()) == (state == "FAILED")


def test_a_commit_whose_answer_was_lost_is_known_for_our_own(toys: Toys) -> None:
    def finish(attempt: Attempt) -> Any:
        if toys.steps.done.count("finish") > 1:
            return None
        toys.world.suite.traffic.arm("firestore.Commit", Fault("reset_after"), resource=f"{work.path}/pieces")
        return Done(next="plan", carry="once more")

    carried: list[Any] = []
    toys.steps.does = {"plan": lambda attempt: carried.append(attempt.carried), "finish": finish}
    work = toys.make(count=1)
    toys.drain()
    assert not toys.faults
    assert (fields(work)["state"], fields(work)["sum"]) == ("COMPLETED", 0)
    assert carried == [None, "once more"], "the same attempt went on"


def test_saved_progress_is_what_the_next_attempt_begins_with(toys: Toys) -> None:
    seen = []

    def step(attempt: Attempt) -> Any:
        seen.append(attempt.fields.get("position"))
        if attempt.fields.get("position") is None:
            attempt.save({"position": 7})
            return Later({"position": 8})
        return None

    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    assert seen == [None, 8]
    assert fields(work)["state"] == "COMPLETED"


def test_100_attempts_that_save_write_the_works_document_once_a_heartbeat(toys: Toys) -> None:
    """A document takes about one write a second: 100 pieces that save at once must not each write it."""
    work = toys.make(count=0)
    document = {**fields(work), "open": True, "plan": "double-x", "stage": "double", "count": 1}
    work.set(document)
    now = toys.world.suite.clock.now()
    attempts = []
    for number in range(100):
        piece = pieces.new("acme", DOUBLES, "double", "double-x", f"{number:06}", now)
        reference = work.collection("pieces").document(f"double-x.{number:06}")
        reference.set({**piece, "holder": f"a{number}"})
        attempts.append(Attempt(toys.cloud, f"a{number}", pieces.parse(reference.get()), work.get()))
    updates = set()
    for seconds in range(100):
        toys.world.wait(timedelta(seconds=1))
        attempts[seconds].save({"position": 1})
        updates.add(work.get().update_time)
    assert len(updates) <= 1 + 100 / 45, len(updates)


@pytest.mark.slow
def test_one_customers_many_pieces_do_not_keep_anothers_waiting(toys: Toys) -> None:
    """However many pieces one customer has, at most MAX_IN_LINE of them stand before another's. The stages of
    the other's work are planned behind one line, and done behind the next."""
    toys.make("large", count=100)
    toys.world.suite.pubsub.deliver_due(toys.push)
    toys.make("small", count=1, customer="globex")
    toys.steps.done.clear()
    order: list[str] = []

    def step(attempt: Attempt) -> Any:
        order.append(f"{attempt.piece.customer} {attempt.piece.stage}")

    toys.steps.does = {"plan": step, "double": step}
    toys.drain()
    assert order.count("acme double") == 100
    planned, doubled = order.index("globex plan"), order.index("globex double")
    most = 2 * stages.MAX_IN_LINE  # those in line, and those that follow while they are begun
    assert max(planned, doubled - planned) <= most, (planned, doubled)


@pytest.mark.slow
def test_however_many_works_a_customer_has_each_has_one_piece_in_line_beside_the_few_of_all(
    toys: Toys,
) -> None:
    works = [toys.make(f"number-{number}", count=20) for number in range(4)]
    toys.world.suite.pubsub.deliver_due(toys.push)  # they are planned
    assert len(toys.world.suite.pubsub.outstanding()) == stages.MAX_IN_LINE + len(works) - 1
    toys.drain()
    assert {fields(work)["state"] for work in works} == {"COMPLETED"}


def test_however_many_works_of_a_kind_in_turn_a_customer_has_few_are_in_line(toys: Toys) -> None:
    toys.kind = replace(toys.kind, in_turn=True)
    works = [toys.make(f"number-{number}", count=1) for number in range(20)]
    works.append(toys.make("small", count=1, customer="globex"))
    assert len(toys.world.suite.pubsub.outstanding()) <= stages.MAX_IN_LINE + 1
    continued: set[str] = set()

    def step(attempt: Attempt) -> Any:
        if attempt.piece.work in continued:
            return None
        continued.add(attempt.piece.work)
        return Later()

    toys.steps.does["plan"] = step
    toys.drain()
    assert {fields(work)["state"] for work in works} == {"COMPLETED"}
    assert pieces.in_line(toys.cloud.db, "acme", PLANS, 100) == 0


@pytest.mark.slow
def test_where_instances_are_to_spare_many_pieces_are_under_way_at_once(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "MAX_PUBLISHED", 12)
    topic = topic_path(DOUBLES, toys.world.suite.project)
    under_way, most = [0], []

    def step(_: Attempt) -> None:
        under_way[0] += 1
        most.append(under_way[0])
        while delivery := toys.world.suite.pubsub.take([topic]):
            toys.world.suite.pubsub.hand_over(delivery, toys.push)
        under_way[0] -= 1

    toys.steps.does["double"] = step
    work = toys.make(count=30)
    toys.drain()
    assert (max(most), fields(work)["state"]) == (12, "COMPLETED")


@pytest.mark.parametrize("at_once", [1, 2, 7])
def test_a_stage_has_no_more_pieces_of_a_customer_at_once_than_it_says(toys: Toys, at_once: int) -> None:
    toys.kind = replace(
        toys.kind,
        stages=tuple(
            replace(each, at_once=at_once) if each.name == "double" else each for each in toys.kind.stages
        ),
    )
    topic = topic_path(DOUBLES, toys.world.suite.project)
    under_way, most = [0], []

    def step(_: Attempt) -> None:
        under_way[0] += 1
        most.append(under_way[0])
        while delivery := toys.world.suite.pubsub.take([topic]):
            toys.world.suite.pubsub.hand_over(delivery, toys.push)
        under_way[0] -= 1

    toys.steps.does["double"] = step
    work = toys.make(count=10)
    toys.drain()
    assert (max(most), fields(work)["state"]) == (at_once, "COMPLETED")


def test_the_sweep_publishes_no_more_pieces_at_once_than_a_stage_says(toys: Toys) -> None:
    double = replace(toys.kind.stage("double"), at_once=2)
    toys.kind = replace(
        toys.kind, stages=tuple(double if each.name == "double" else each for each in toys.kind.stages)
    )
    toys.make(count=10)
    toys.world.suite.pubsub.deliver_due(toys.push)  # it is planned
    toys.world.suite.pubsub.deliver_due(lambda _: True)  # and the line's messages are lost
    for _ in range(3):
        toys.world.wait(pieces.STALLED + timedelta(minutes=1))
        toys.sweep()
    assert pieces.published(toys.cloud.db, "acme", DOUBLES, 100) == 2


def test_pieces_of_an_older_plan_leave_the_line(toys: Toys) -> None:
    planned: list[int] = []

    def plan(_: Attempt) -> None:
        planned.append(1)

    def double(_: Attempt) -> None:
        if len(planned) == 1:
            raise PlannedTooLongAgo("plan")

    toys.steps.does |= {"plan": plan, "double": double}
    work = toys.make(count=12)
    toys.drain()
    assert (fields(work)["state"], len(planned)) == ("COMPLETED", 2)
    assert pieces.in_line(toys.cloud.db, "acme", DOUBLES, 100) == 0


def test_a_piece_that_waits_for_its_next_try_keeps_no_other_out_of_the_line(toys: Toys) -> None:
    def step(attempt: Attempt) -> None:
        if int(attempt.piece.name) < 2 * stages.MAX_IN_LINE:
            raise Retry("the server does not answer")

    toys.steps.does["double"] = step
    toys.make(count=4 * stages.MAX_IN_LINE)
    toys.drain()
    assert len(toys.steps.done) == 1 + 4 * stages.MAX_IN_LINE


def test_a_line_whose_messages_are_lost_goes_on_with_the_sweep(toys: Toys) -> None:
    work = toys.make(count=12)
    toys.world.suite.pubsub.deliver_due(toys.push)  # it is planned
    toys.world.suite.pubsub.deliver_due(lambda _: True)  # and the line's messages are lost
    assert not toys.world.suite.pubsub.outstanding()
    toys.world.wait(pieces.STALLED + timedelta(minutes=1))
    toys.sweep()
    toys.drain()
    assert fields(work)["state"] == "COMPLETED"


def test_a_piece_of_before_there_were_lines_is_done(toys: Toys) -> None:
    work = toys.make(count=1)
    (plan,) = toys.open_pieces()
    plan.reference.update({"in_line": firestore.DELETE_FIELD})
    toys.drain()
    assert fields(work)["state"] == "COMPLETED"


def test_a_queued_piece_that_is_done_meanwhile_stays_done(toys: Toys) -> None:
    """Two publish the same queue: what the other one published may be done before this one writes."""
    work = toys.make(count=stages.MAX_IN_LINE + 10)
    toys.world.suite.pubsub.deliver_due(toys.push)
    queued = list(pieces.of_plan(toys.cloud, work.path, fields(work)["plan"], ["QUEUED"]).stream())
    assert len(queued) == 10
    queued[3].reference.update(pieces.ended("DONE"))
    opened = stages._opened(toys.cloud, queued, toys.world.suite.clock.now())
    assert [each.id for each in queued if each.reference not in opened] == [queued[3].id]
    found = [each.reference.get().get("status") for each in queued]
    assert (found[3], found.count("OPEN")) == ("DONE", 9), found


def test_100_pieces_that_wait_write_the_works_document_twice(toys: Toys) -> None:
    toys.steps.does["double"] = lambda attempt: fails(Retry(f"no answer for {attempt.piece.name}"))(attempt)
    work = toys.make(count=20)
    toys.world.suite.pubsub.deliver_due(toys.push)
    updates = {work.get().update_time}
    for _ in range(2):
        while toys.world.suite.pubsub.deliver_due(toys.push):
            updates.add(work.get().update_time)
        toys.world.wait(timedelta(seconds=30))
        toys.sweep()
    assert len(updates) <= 3, len(updates)


@pytest.mark.slow
def test_a_plan_of_2000_pieces_is_written_in_commits_of_a_bounded_size(toys: Toys) -> None:
    work = toys.make(count=2_000)
    toys.world.suite.traffic.forget()
    toys.world.suite.pubsub.deliver_due(toys.push)
    commits = toys.world.suite.traffic.calls("firestore.Commit")
    assert 2_000 / pieces.COMMIT_PIECES <= len(commits) <= 2_000 / pieces.COMMIT_PIECES + 10
    assert fields(work)["state"] == "DOUBLING"
    toys.make("other", count=1, customer="globex")  # others go on
    for _ in range(3):
        toys.world.suite.pubsub.deliver_due(toys.push)
    control.cancel(toys.cloud, toys.kind, work)


def test_pieces_of_a_plan_that_never_counted_are_closed(toys: Toys) -> None:
    """A plan whose attempt died before it counted leaves pieces that must never be done."""
    work = toys.make(count=1)
    lost = pieces.new("acme", DOUBLES, "double", "double-lost", "000000", toys.world.suite.clock.now())
    reference = work.collection("pieces").document("double-lost.000000")
    reference.set({**lost, "number": 9})
    toys.drain()
    toys.cloud.messages.publish(DOUBLES, pieces.message(work.path, "double-lost.000000"))
    toys.drain()
    toys.settle()
    assert (fields(work)["state"], fields(work)["sum"]) == ("COMPLETED", 0)
    assert reference.get().get("status") == "CLOSED"


def test_a_piece_that_rests_is_looked_at_by_the_sweep_when_its_time_has_come(toys: Toys) -> None:
    toys.steps.does["finish"] = lambda _: Later({"looked": True}, after=timedelta(hours=1))
    work = toys.make(count=1)
    toys.drain()
    for minutes in (30, 29):
        toys.world.wait(timedelta(minutes=minutes))
        toys.sweep()
        toys.drain()
        assert toys.steps.done.count("finish") == 1, toys.steps.done
    del toys.steps.does["finish"]
    toys.world.wait(timedelta(minutes=2))
    toys.sweep()
    toys.drain()
    assert fields(work)["state"] == "COMPLETED"


def test_a_work_can_be_created_to_rest_until_a_message_or_its_time_comes(toys: Toys) -> None:
    works = [toys.make(id, count=1, after=timedelta(hours=1)) for id in ("told", "looked-at")]
    assert not toys.world.suite.pubsub.outstanding()
    toys.cloud.messages.publish(PLANS, pieces.message(works[0].path, "plan"))
    for minutes in (0, 59):
        toys.world.wait(timedelta(minutes=minutes))
        toys.sweep()
        toys.drain()
        assert [fields(work)["state"] for work in works] == ["COMPLETED", "PLANNING"]
    toys.world.wait(timedelta(minutes=2))
    toys.sweep()
    toys.drain()
    assert [fields(work)["state"] for work in works] == ["COMPLETED", "COMPLETED"]


def test_pieces_that_rest_take_no_room_of_those_that_are_published(toys: Toys) -> None:
    now = toys.world.suite.clock.now()
    for number in range(stages.MAX_PUBLISHED):
        piece = pieces.new("acme", DOUBLES, "finish", "finish", "finish", now)
        path = f"toys/resting-{number}/pieces/finish"
        toys.cloud.db.document(path).set({**piece, **pieces.resting(now, timedelta(hours=1))})
    toys.make(count=30)
    toys.world.suite.pubsub.deliver_due(toys.push)
    assert len(toys.world.suite.pubsub.outstanding()) == stages.MAX_IN_LINE


def test_a_work_that_has_ended_is_not_written_by_a_late_attempt(toys: Toys) -> None:
    ended: list[Any] = []

    def step(_: Attempt) -> Later:
        control.cancel(toys.cloud, toys.kind, work)
        ended.append(work.get().update_time)
        toys.world.wait(timedelta(minutes=1))
        return Later()

    toys.steps.does["double"] = step
    work = toys.make(count=1)
    toys.drain()
    assert ended == [work.get().update_time]


def test_a_message_wakes_a_piece_that_rests(toys: Toys) -> None:
    toys.steps.does["finish"] = lambda _: Later(after=timedelta(hours=1))
    work = toys.make(count=1)
    toys.drain()
    del toys.steps.does["finish"]
    (piece,) = [each for each in toys.open_pieces() if each.get("name") == "finish"]
    toys.cloud.messages.publish(PLANS, pieces.message(work.path, piece.id))
    toys.drain()
    assert fields(work)["state"] == "COMPLETED"


def test_a_message_that_comes_while_a_piece_decides_to_rest_wakes_it(toys: Toys) -> None:
    def rest(attempt: Attempt) -> Later:
        del toys.steps.does["finish"]
        engine.perform(toys.cloud, toys.kind, attempt.piece.message)
        return Later(after=timedelta(hours=1))

    toys.steps.does["finish"] = rest
    work = toys.make(count=1)
    toys.drain()
    assert fields(work)["state"] == "COMPLETED", toys.steps.done


def test_what_a_resting_piece_waits_for_is_written_down(toys: Toys) -> None:
    toys.steps.does["finish"] = lambda _: Later(after=timedelta(hours=1), waits_for="the mails are not sent")
    work = toys.make(count=1)
    toys.drain()
    assert (fields(work)["waits_for"], fields(work)["waiting"]) == ("the mails are not sent", True)
    del toys.steps.does["finish"]
    toys.settle()
    assert (fields(work)["state"], fields(work)["waits_for"]) == ("COMPLETED", None)


def test_what_a_piece_leaves_is_a_piece_of_the_same_plan(toys: Toys) -> None:
    def leave(attempt: Attempt) -> Done | None:
        if attempt.piece.name != "000000":
            return Done({"doubled": 100})
        return Done({"doubled": 1}, rest={"000000r": {"number": 7}})

    toys.steps.does["double"] = leave
    work = toys.make(count=1)
    toys.drain()
    assert sorted(toys.steps.done) == ["000000", "000000r", "finish", "plan"]
    assert (fields(work)["state"], fields(work)["sum"]) == ("COMPLETED", 101)


def test_an_outage_of_google_cloud_is_waited_for_and_is_no_fault_of_ours(toys: Toys) -> None:
    toys.steps.does["double"] = fails(RetryError("Timeout", ServiceUnavailable("http://secret.example")))
    work = toys.make(count=1)
    for _ in range(engine.MAX_ATTEMPTS + 2):
        toys.drain()
        toys.world.wait(timedelta(minutes=11))
        toys.sweep()
    assert not toys.faults
    waits = fields(work)
    assert (waits["state"], "ServiceUnavailable 503" in waits["waits_for"]) == ("DOUBLING", True), waits
    assert "secret" not in waits["waits_for"]
    del toys.steps.does["double"]
    toys.settle()
    assert fields(work)["state"] == "COMPLETED"


def _unavailable(*_: object) -> Attempt:
    raise ServiceUnavailable("http://secret.example")


def test_an_outage_before_an_attempt_could_begin_is_no_fault_of_ours(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = toys.make(count=1)
    with monkeypatch.context() as out:
        out.setattr(engine, "_take", _unavailable)
        with pytest.raises(Retry, match="no attempt could begin") as told:
            engine.perform(toys.cloud, toys.kind, pieces.message(work.path, "plan"))
    assert "secret" not in str(told.value)
    toys.settle()
    assert fields(work)["state"] == "COMPLETED"


@pytest.mark.slow
def test_a_queue_is_refilled_several_at_a_time(toys: Toys) -> None:
    work = toys.make(count=2 * stages.MAX_PUBLISHED)
    toys.world.suite.traffic.forget()
    toys.drain()
    assert fields(work)["state"] == "COMPLETED"
    published = sum(call.kind == "pubsub.Publish" for call in toys.world.suite.traffic.calls())
    assert published <= 2 * stages.MAX_PUBLISHED / stages.REFILL + 3  # and those of the stages
