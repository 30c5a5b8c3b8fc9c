"""A work order's analysis: what is asked of an analyser, what is kept of what it says, and whatever else it
may do."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from google.api_core.exceptions import NotFound

from infra.local import example_analyser
from shared.accounts.customers import Site, add_site
from shared.analysis import analyser, checking, queue, steps
from shared.errors import Retry
from shared.gcp.documents import fields_of
from shared.settings import Keys
from shared.work import attempts, engine, overview, pieces, stages
from shared.work.attempts import Attempt
from shared.workorders import images, store, stored
from shared.workorders.store import Photograph
from shared.workorders.stored import Correction, StoredWorkOrder
from tests.shared.analysis.analysers import (
    CONTENTS,
    Analyser,
    Asked,
    Reply,
    analysing,
    ask,
    photograph,
    result,
    right,
    site_with,
)
from tests.world import SITE, World

TIME = steps.Time(checks=60, analyser=30)


def made(world: World, site: Site, contents: Sequence[bytes] = CONTENTS[:1], name: str = "WO_1") -> str:
    """A work order with these photographs, its message published; returns its id."""
    photographs = [Photograph("meter", f"meter-{n}.png", content) for n, content in enumerate(contents)]
    work_order = store.create(world.cloud, site, name, parameters={"kind": "gas"}, photographs=photographs)
    ask(world.cloud, site, work_order.id)
    return work_order.id


def held(world: World, id: str) -> StoredWorkOrder:
    return store.look(world.cloud, world.site, id).stored


def inputs(kept_: StoredWorkOrder) -> list[Any]:
    return [each for item in kept_.work_order.work_items for each in item.input]


def results_of(kept_: StoredWorkOrder) -> list[Any]:
    return [[(r.task_name, r.analyzed_value) for r in each.job_conformity] for each in inputs(kept_)]


@pytest.fixture
def server() -> Iterator[Analyser]:
    with analysing(right) as analyser_:
        yield analyser_


# --- image checks


def test_without_an_analyser_the_checks_are_all_there_is(world: World) -> None:
    id = made(world, world.site, [CONTENTS[0], photograph(3, side=100), b"\x89PNG no picture", CONTENTS[0]])
    world.drain()
    after = held(world, id)
    assert (after.analysis, after.checked, after.unchecked) == ("DONE", 4, [])
    assert [[(c.check, c.code, c.level) for c in each.data_conformity] for each in inputs(after)] == [
        [],
        [("resolution", "LOW_RESOLUTION", "warning")],
        [("readable", "UNREADABLE", "error")],
        [("duplicate", "DUPLICATE", "warning")],
    ]
    assert after.work_order.progress_score == 1.0
    record = json.loads(fields_of(world.cloud.db.document(f"work_orders/{id}").get())["record"])
    assert record["work_items"][0]["input"][3]["data_conformity"] == [
        {"check": "duplicate", "code": "DUPLICATE", "level": "warning"}
    ]
    assert not world.failures


def test_only_new_photographs_are_read_again(world: World) -> None:
    id = made(world, world.site)
    world.drain()
    world.suite.traffic.forget()
    again = [Photograph("door", "door.png", CONTENTS[0])]
    store.add_inputs(world.cloud, world.site, id, again)
    ask(world.cloud, world.site, id)
    world.drain()
    assert [[c.code for c in each.data_conformity] for each in inputs(held(world, id))] == [[], ["DUPLICATE"]]
    assert len(world.suite.traffic.calls("storage.objects.get_media")) == 1


def test_a_photograph_that_is_gone_is_missing(world: World) -> None:
    id = made(world, world.site, CONTENTS)
    name = f"acme/{SITE}/{inputs(held(world, id))[0].id}.png"
    world.suite.storage.remove(world.cloud.settings.images_bucket, name)
    world.drain()
    found = [[c.code for c in each.data_conformity] for each in inputs(held(world, id))]
    assert (found, held(world, id).analysis) == ([["MISSING"], []], "DONE")


def test_what_cannot_be_checked_in_time_is_left_to_the_next_message(world: World) -> None:
    photographs = [Photograph("meter", "meter.png", CONTENTS[0])]
    id = store.create(world.cloud, world.site, "WO_1", photographs=photographs).id
    hurried = replace(world.cloud, settings=replace(world.cloud.settings, attempt_seconds=0))
    ask(world.cloud, world.site, id, publish=False)
    engine.perform(hurried, steps.KIND, pieces.message(f"analyses/{SITE}", pieces.id_of(queue.PLAN, id)))
    assert (held(world, id).analysis, held(world, id).checked) == ("DUE", 0)
    assert len(world.suite.pubsub.outstanding()) == 1
    world.drain()
    assert (held(world, id).analysis, held(world, id).checked) == ("DONE", 1)


def test_checks_show_life_after_each_photograph(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many take longer than the lease: another attempt would begin with the same ones."""
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.0)
    id = made(world, world.site, [CONTENTS[0], photograph(3, side=100), b"\x89PNG no picture"])
    saved: list[str] = []
    save = Attempt.save

    def counted(attempt: Attempt, *args: Any) -> None:
        saved.append(attempt.piece.name)
        save(attempt, *args)

    monkeypatch.setattr(Attempt, "save", counted)
    world.drain()
    assert (held(world, id).analysis, saved) == ("DONE", [id] * 3)


def test_checks_that_took_long_leave_the_analyser_to_the_next_message(
    world: World, server: Analyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    with monkeypatch.context() as patched:
        patched.setattr(steps, "elapsed_since", lambda _: 0.6 * TIME.checks)
        after = steps.take_on(world.cloud, site, id, TIME)
    assert (after.analysis, after.checked, server.asked) == ("DUE", 1, [])
    world.drain()
    assert (held(world, id).analysis, len(server.asked)) == ("DONE", 1)


def test_what_was_checked_in_time_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "READ_AT_ONCE", 1)
    id = made(world, world.site, [*CONTENTS, CONTENTS[0]])
    before = held(world, id)
    turns = iter([True, True, True, True, False])  # each is asked before it is read, and before it is decoded
    checked = checking.check(world.cloud, world.site, before, lambda: next(turns))
    after = store.change(world.cloud, world.site, id, lambda now: checked.put_into(world.site, now.stored))
    assert (after.analysis, after.checked, len(after.unchecked)) == ("DUE", 2, 1)
    # Another attempt that had begun before saves the same, and less, and nothing is said twice.
    assert checked.put_into(world.site, after) == after
    world.drain()
    codes = [[c.code for c in each.data_conformity] for each in inputs(held(world, id))]
    assert (codes, held(world, id).analysis) == ([[], [], ["DUPLICATE"]], "DONE")


def test_checks_of_a_work_order_that_was_made_anew_are_not_the_new_ones(world: World) -> None:
    id = made(world, world.site, [photograph(3, side=100)])
    checked = checking.check(world.cloud, world.site, held(world, id), lambda: True)
    store.delete(world.cloud, world.site, id)
    photographs = [Photograph("door", "door.png", CONTENTS[1])]
    store.create(world.cloud, world.site, "WO_1", photographs=photographs)
    anew = held(world, id)
    assert checked.put_into(world.site, anew) == anew
    assert (anew.analysis, anew.checked) == ("DUE", 0)


def test_a_bucket_that_is_gone_is_no_photographs_fault(world: World) -> None:
    id = made(world, world.site)
    elsewhere = replace(world.cloud, settings=replace(world.cloud.settings, project="none"))
    with pytest.raises(NotFound, match="bucket does not exist"):
        steps.take_on(elsewhere, world.site, id, TIME)
    assert (held(world, id).analysis, held(world, id).checked) == ("DUE", 0)


# --- what is asked


def test_an_analyser_gets_the_record_the_photographs_and_a_signature(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site, CONTENTS)
    photographs: list[bytes] = []

    def look(asked: Asked) -> Reply:
        photographs.extend(requests.get(each["url"], timeout=10).content for each in asked.body["images"])
        return right(asked)

    server.answers = look
    world.drain()
    [asked] = server.asked
    after = held(world, id)
    assert asked.path == "/secret-path?token=s3cr3t"
    assert asked.headers["content-type"] == "application/json"
    assert list(asked.body) == ["work_order", "images", "parameters"]
    assert asked.body["parameters"] == {"kind": "gas"}
    record = asked.body["work_order"]
    assert (record["id"], record["name"], record["site_id"]) == (id, "WO_1", SITE)
    assert record["create_date"].startswith("2026-11-22T09:17:00.")
    assert record["work_items"][0]["input"][0]["data_conformity"] == []
    assert [each["id"] for each in asked.body["images"]] == [each.id for each in inputs(after)]
    assert photographs == CONTENTS
    assert all("X-Goog-Expires=3600&" in each["url"] for each in asked.body["images"])
    generations = [f"generation={each.generation}&" for each in images.decode(after.images)]
    for image, generation in zip(asked.body["images"], generations, strict=True):
        assert generation in image["url"], "whatever else comes to stand there, this one is shown"
    header = asked.headers["x-waybill-signature"]
    at = int(header.partition(",")[0].removeprefix("t="))
    secret = analyser.secret(world.cloud.settings, site)
    assert header == analyser.signature([secret], at, asked.content)
    assert (after.analysis, results_of(after)) == ("DONE", [[("reading", 7)], [("reading", 7)]])


# printf '17.{}' | openssl dgst -sha256 -hmac key
HEX = "e66392eac42eafc68c35a01c712811e016386c12456975fc3af80c9268568e3a"
HEX_OF_OLDER = "0782d7df5b946f224de97ae72e1be3517979f9b5cf3eeea3f22e564313774f43"


def test_the_signature_is_that_of_the_contract() -> None:
    assert analyser.signature(["key"], 17, b"{}") == f"t=17,v1={HEX}"
    assert analyser.signature(["key", "older"], 17, b"{}") == f"t=17,v1={HEX},v1={HEX_OF_OLDER}"


def test_while_keys_are_rotated_an_analyser_knows_us_by_either_secret(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    with_keys = [
        replace(world.cloud.settings, analyser_keys=Keys("K", keys))
        for keys in ({1: b"a"}, {1: b"a", 2: b"b"})
    ]
    old, new = (analyser.secret(settings, site) for settings in with_keys)
    steps.take_on(replace(world.cloud, settings=with_keys[1]), site, id, TIME)
    [asked] = server.asked
    header = asked.headers["x-waybill-signature"]
    at = int(header.partition(",")[0].removeprefix("t="))
    assert header == analyser.signature([new, old], at, asked.content), "the newest first"
    for secret, known in ((old, True), (new, True), ("another", False)):
        assert example_analyser.signed(secret, header, asked.content, at) is known


def test_each_site_has_a_secret_of_its_own_made_of_the_newest_key(world: World) -> None:
    def secret(site: Site, **keys: bytes) -> str:
        versions = Keys("WAYBILL_ANALYSER_KEYS", {int(name[1:]): key for name, key in keys.items()})
        return analyser.secret(replace(world.cloud.settings, analyser_keys=versions), site)

    assert secret(world.site, v1=b"a") == secret(world.site, v1=b"a")
    assert len({secret(world.site, v1=b"a"), secret(world.other_site, v1=b"a")}) == 2
    assert secret(world.site, v1=b"a", v2=b"b", v10=b"c") == secret(world.site, v10=b"c")
    with pytest.raises(LookupError, match="WAYBILL_ANALYSER_KEYS is not set"):
        secret(world.site)


def test_the_sites_that_have_an_analyser_are_known(world: World) -> None:
    assert analyser.sites(world.cloud.db, 9) == []
    site_with(world, "https://a.example/")
    add_site(world.cloud.db, id="s-2", customer="globex", name="S", analysis_url="https://b.example/")
    assert analyser.sites(world.cloud.db, 9) == [("acme", SITE), ("globex", "s-2")]
    assert len(analyser.sites(world.cloud.db, 1)) == 1


# --- what it says


def test_all_that_a_result_says_is_kept(world: World, server: Analyser) -> None:
    more = {
        "confidence": 0.5,
        "regions": [
            {"label": "dial", "box": [1, 2, 3.5, 4], "colour": "red"},
            {"label": "rim", "polygon": [[0, 0], [1, 0], [0, 1]]},
        ],
        "labeler": "model-3",
        "review": "accepted",
        "hard": True,
        "mood": "good",
    }

    def say(asked: Asked) -> Reply:
        one = result(asked.body["images"][0]["id"], "12 kWh", message="fine", **more)
        return Reply(body={"results": [one], "model": "newer than we are"})

    server.answers = say
    id = made(world, site_with(world, server.url))
    world.drain()
    after = held(world, id)
    [photograph_] = inputs(after)
    [found] = photograph_.job_conformity
    assert (found.analyzed_value, found.corrected_value, found.message) == ("12 kWh", None, "fine")
    label = after.labels[photograph_.id]["reading"]
    assert label == {
        "confidence": 0.5,
        "regions": [
            {"label": "dial", "box": [1, 2, 3.5, 4]},
            {"label": "rim", "polygon": [[0, 0], [1, 0], [0, 1]]},
        ],
        "labeler": "model-3",
        "review": "accepted",
        "hard": True,
    }
    record = fields_of(world.cloud.db.document(f"work_orders/{id}").get())["record"]
    assert b"model-3" not in record, "labels are not exported"


def test_results_of_inputs_that_it_was_not_asked_about_are_left_out(
    world: World, server: Analyser, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_with(world, server.url)
    other = made(world, site, [CONTENTS[1]], name="WO_OTHER")
    others = inputs(held(world, other))[0].id

    def lie(asked: Asked) -> Reply:
        if asked.body["work_order"]["id"] == other:
            return Reply(202)
        ours = asked.body["images"][0]["id"]
        return Reply(body={"results": [result("none"), result(others, 1), result(ours, 2)]})

    server.answers = lie
    id = made(world, site)
    world.drain()
    assert results_of(held(world, id)) == [[("reading", 2)]]
    assert results_of(held(world, other)) == [[]]
    assert held(world, id).analysis == "DONE"
    [line] = [json.loads(each) for each in capsys.readouterr().out.splitlines() if "left out" in each]
    assert (line["count"], line["work_order"]) == (2, id)


MEND = " Once that is fixed, POST to the work order's /analyze to have it analysed again."

BAD_RESULTS: list[tuple[str, dict[str, Any], str]] = [
    ("an unknown kind of value", {"analyzed_value": [1]}, "analyzed_value: must be a text, a number, true"),
    ("a long value", {"analyzed_value": "x" * 2001}, "analyzed_value: may have 2000 characters"),
    ("no id", {"input_id": None}, "input_id: input should be a valid string"),
    ("a text for a truth", {"is_conformity_validated": "yes"}, "is_conformity_validated: input should be a"),
    ("too confident", {"confidence": 1.01}, "confidence: input should be less than or equal to 1"),
    ("less than nothing", {"confidence": -0.01}, "confidence: input should be greater than or equal to 0"),
    (
        "a box of three",
        {"regions": [{"label": "a", "box": [1, 2, 3]}]},
        "regions[0].box: list should have at",
    ),
    ("a line", {"regions": [{"label": "a", "polygon": [[1, 2], [3, 4]]}]}, "regions[0].polygon: list should"),
    (
        "a point of three",
        {"regions": [{"label": "a", "polygon": [[1, 2, 3]] * 3}]},
        "polygon[0]: list should",
    ),
    ("too many regions", {"regions": [{"label": "a"}] * 1001}, "regions: list should have at most 1000"),
    ("a long message", {"message": "x" * 2001}, "message: string should have at most 2000 characters"),
    ("no task", {"task_name": ""}, "task_name: string should have at least 1 character"),
]


def bad(more: dict[str, Any]) -> Callable[[Asked], Reply]:
    return lambda asked: Reply(body={"results": [result(asked.body["images"][0]["id"]) | more]})


FINAL: list[tuple[str, Any, str]] = [
    ("gone", Reply(404), "The site's analyser 127.0.0.1 answered 404. It must answer 200 with results, or"),
    ("no content", Reply(204), "answered 204."),
    ("unauthorized", Reply(401, b"s3cr3t"), "answered 401."),
    (
        "no JSON",
        Reply(200, b"<html>s3cr3t"),
        "answered what is not as agreed: body: is not JSON: see line 1, column 1. Fix its an",
    ),
    ("a list", Reply(200, []), "body: must be a JSON object"),
    (
        "not exact",
        Reply(200, b'{"results": [{"analyzed_value": 18446744073709551616}]}'),
        "results[0].analyzed_v",
    ),
    ("twice", Reply(200, b'{"results": [], "results": []}'), "results: stands twice in the same object"),
    (
        "a name twice",
        Reply(200, b'{"results": [{"hard": true, "hard": false}]}'),
        "results[0].hard: stands twice",
    ),
    ("nothing", Reply(200, {}), "results: is needed"),
    ("infinite", Reply(200, b'{"results": [{"confidence": NaN}]}'), "body: is not JSON"),
    ("all wrong", Reply(200, {"results": [{}] * 20_000}), "results[0].input_id: is needed; results[0].task_"),
    ("too many", Reply(200, {"results": [{}] * 20_001}), "results: list should have at most 20000 items"),
    (
        "too many lists",
        Reply(200, b'{"results": [' + b"[]," * 200_000 + b"[]]}"),
        "body: has more than 200,000 lists and objects",
    ),
    (
        "endless",
        Reply(200, b"x" * 65_536, endless=True),
        "127.0.0.1 answered more than is taken. Make it ans",
    ),
    *((name, bad(more), sentence) for name, more, sentence in BAD_RESULTS),
]


@pytest.mark.parametrize(
    ("answers", "sentence"), [each[1:] for each in FINAL], ids=[each[0] for each in FINAL]
)
def test_what_will_not_get_better_is_told_at_once(world: World, answers: Any, sentence: str) -> None:
    with analysing(answers) as server:
        id = made(world, site_with(world, server.url))
        world.drain()
        after = held(world, id)
        assert (after.analysis, after.checked) == ("FAILED", 1), after.failure
        assert sentence in after.failure
        assert after.failure.endswith(MEND)
        assert "s3cr3t" not in after.failure
        assert len(after.failure) < 600, "not all of what is wrong with 20,000 results is listed"
        assert (len(server.asked), results_of(after)) == (1, [[]])
        assert server.sent < 20 * 1024 * 1024
        assert not world.suite.pubsub.outstanding()
        assert not world.failures


def test_a_redirect_is_not_followed(world: World) -> None:
    with analysing(right) as inward:
        with analysing(Reply(302, headers={"Location": inward.url})) as server:
            id = made(world, site_with(world, server.url))
            world.drain()
        assert inward.asked == []
    assert "answered 302." in held(world, id).failure
    assert "redirects are not followed" in held(world, id).failure


def test_a_private_address_is_not_called_unless_it_is_of_the_customers_networks(
    world: World, server: Analyser
) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    world.cloud.db.document("customers/acme").update({"networks": ["127.0.0.2/32"]})
    after = steps.take_on(world.cloud, site, id, TIME)
    assert (after.analysis, server.asked) == ("FAILED", [])
    assert after.failure == (
        "The site's analyser is not called any more. 127.0.0.1 may not be called: "
        "its address 127.0.0.1 is not on the "
        "public internet. Give a host that is, or have an operator allow that network." + MEND
    )


def test_labels_that_do_not_fit_are_told(world: World, server: Analyser) -> None:
    def say(asked: Asked) -> Reply:
        id = asked.body["images"][0]["id"]
        noise = [[(n * 7919.123) % 1000, (n * 104729.77) % 1000] for n in range(900)]
        regions = [{"label": "x", "polygon": [[x + n, y * n] for x, y in noise]} for n in range(40)]
        return Reply(body={"results": [result(id, regions=regions)]})

    server.answers = say
    id = made(world, site_with(world, server.url))
    world.drain()
    assert held(world, id).failure.startswith(
        "The analyser's results do not fit into the work order: results: must have at most 262144 bytes of"
    )


# --- slow, busy, down


PASSING = [Reply(500), Reply(503), Reply(429), Reply(502, b"<html>")]


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: reply.status)
def test_what_passes_is_asked_again_after_its_backoff(world: World, reply: Reply) -> None:
    with analysing(reply) as server:
        id = made(world, site_with(world, server.url))
        world.drain()
        assert (held(world, id).analysis, len(server.asked)) == ("DUE", 1)
        waits = fields_of(world.cloud.db.document(f"analyses/{SITE}").get())["waits_for"]
        assert waits == f"127.0.0.1 answered {reply.status}."
        (site,) = overview.waiting(world.cloud, steps.KIND).shown
        assert (site.id, site.customer, site.waits_for) == (SITE, "acme", waits)
        server.answers = right
        world.settle()
        assert (held(world, id).analysis, results_of(held(world, id))) == ("DONE", [[("reading", 7)]])
        assert len(server.asked) == 2
        assert overview.waiting(world.cloud, steps.KIND).shown == []
    assert not world.failures, "what passes fills no log with traces"


def test_who_stays_away_for_an_hour_is_given_up(world: World) -> None:
    with analysing(Reply(503)) as server:
        id = made(world, site_with(world, server.url))
        for _ in range(3):
            world.drain()
            assert held(world, id).analysis == "DUE"
            world.wait(timedelta(minutes=19))
            world.sweep()
        world.drain()
        assert (held(world, id).analysis, len(server.asked)) == ("DUE", 4)
        world.wait(timedelta(minutes=10))
        world.sweep()
        world.drain()
        assert held(world, id).analysis == "FAILED"
    assert held(world, id).failure == (
        "The site's analyser was away or busy for an hour. 127.0.0.1 answered 503." + MEND
    )
    assert not world.suite.pubsub.outstanding()


def test_time_in_a_queue_does_not_count_as_time_that_the_analyser_was_away(world: World) -> None:
    with analysing(Reply(429)) as server:
        id = made(world, site_with(world, server.url))
        world.drain()
        world.wait(timedelta(hours=5))  # nobody came to ask again
        server.answers = right
        world.settle()
        assert (held(world, id).analysis, len(server.asked)) == ("DONE", 2), held(world, id).failure


@pytest.mark.slow
def test_who_is_busy_with_others_is_asked_again_for_a_day(world: World) -> None:
    with analysing(right) as server:
        site = site_with(world, server.url)
        refused = made(world, site)
        server.answers = lambda asked: Reply(429) if refused.encode() in asked.content else right(asked)
        hours = timedelta(0)
        while held(world, refused).analysis == "DUE":
            assert hours < timedelta(hours=26)
            world.sweep()
            world.drain()
            other = made(world, site, name=f"WO_{hours.total_seconds():.0f}")
            world.drain()
            assert held(world, other).analysis == "DONE"
            world.wait(timedelta(minutes=50))
            hours += timedelta(minutes=50)
    assert hours >= timedelta(hours=24)
    assert held(world, refused).failure == (
        "The site's analyser was away or busy for 24 hours. 127.0.0.1 answered 429." + MEND
    )


def test_who_is_down_is_asked_again(world: World) -> None:
    with analysing(right) as server:
        pass
    site = site_with(world, server.url)
    id = made(world, site)
    with pytest.raises(Retry, match=r"^127\.0\.0\.1 failed: it could not be reached: Connection refused\."):
        steps.take_on(world.cloud, site, id, TIME)
    assert (held(world, id).analysis, held(world, id).checked) == ("DUE", 1)


def test_who_is_slow_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyser, "ANSWER_SECONDS", 0.1)
    with analysing(right) as server:

        def sleep(asked: Asked) -> Reply:
            server.over.wait(10)
            return right(asked)

        server.answers = sleep
        site = site_with(world, server.url)
        id = made(world, site)
        with pytest.raises(Retry, match=r"took longer than 0\.1 seconds\. Make it answer sooner"):
            steps.take_on(world.cloud, site, id, TIME)
    assert held(world, id).analysis == "DUE"


def test_where_signing_takes_all_the_time_nobody_is_asked(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    with pytest.raises(Retry, match="signing the URLs of all photographs took too long"):
        steps.take_on(world.cloud, site, id, replace(TIME, analyser=0))
    assert (held(world, id).analysis, server.asked) == ("DUE", [])


def bad_body(status: int) -> Callable[[Asked], Reply]:
    return lambda _: Reply(status, b"s3cr3t")


def test_no_url_secret_or_body_is_in_a_log(
    world: World, server: Analyser, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_with(world, server.url)
    for number, status in enumerate([200, 503, 400]):
        server.answers = bad_body(status)
        made(world, site, name=f"WO_{number}")
        world.drain()
    out = capsys.readouterr().out
    assert "to be tried again" in out
    assert "an analysis failed" in out
    for never in ("s3cr3t", "secret-path", "X-Goog", "v1=", analyser.secret(world.cloud.settings, site)):
        assert never not in out


# --- later, meanwhile, twice


def test_an_analyser_may_answer_later(world: World) -> None:
    with analysing(Reply(202)) as server:
        id = made(world, site_with(world, server.url))
        world.drain()
        assert (held(world, id).analysis, held(world, id).checked) == ("WAITING", 1)
        ask(world.cloud, world.site, id)
        world.drain()
        assert len(server.asked) == 1, "it is not asked again while it is waited for"
    assert not world.suite.pubsub.outstanding()


def test_a_correction_made_meanwhile_stays(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    world.drain()
    [first] = inputs(held(world, id))

    def correct(asked: Asked) -> Reply:
        correction = {"input_id": first.id, "task_name": "reading", "value": 9, "message": "misread"}
        store.edit(world.cloud, site, id, corrections=[Correction(**correction)])
        return Reply(body={"results": [result(each["id"], 8) for each in asked.body["images"]]})

    server.answers = correct
    store.add_inputs(world.cloud, site, id, [Photograph("door", "door.png", CONTENTS[1])])
    ask(world.cloud, site, id)
    world.drain()
    corrected, second = inputs(held(world, id))
    [one] = corrected.job_conformity
    assert (one.analyzed_value, one.corrected_value, one.message) == (8, 9, "misread")
    assert one.corrected_date is not None
    assert [each.analyzed_value for each in second.job_conformity] == [8]
    assert held(world, id).analysis == "DONE"


def test_what_came_meanwhile_is_analysed_too(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    changes: list[Callable[[], Any]] = [
        lambda: store.add_inputs(world.cloud, site, id, [Photograph("door", "a.png", CONTENTS[1])]),
        lambda: store.change(
            world.cloud, site, id, lambda now: stored.change(site, now.stored, parameters={"kind": "water"})
        ),
    ]
    numbers = iter(range(10))

    def change(asked: Asked) -> Reply:
        if changes:
            changes.pop(0)()
        number = next(numbers)
        return Reply(body={"results": [result(each["id"], number) for each in asked.body["images"]]})

    server.answers = change
    world.drain()
    after = held(world, id)
    assert (after.analysis, after.unchecked) == ("DONE", [])
    assert [len(each.body["images"]) for each in server.asked] == [1, 2, 2]
    assert server.asked[2].body["parameters"] == {"kind": "water"}
    assert results_of(after) == [[("reading", 2)], [("reading", 2)]]


@pytest.mark.parametrize("status", [202, 404])
def test_what_came_meanwhile_is_not_ended_by_an_answer_without_results(
    world: World, server: Analyser, status: int
) -> None:
    site = site_with(world, server.url)
    id = made(world, site)

    def add(asked: Asked) -> Reply:
        if len(server.asked) > 1:
            return right(asked)
        photographs = [Photograph("door", "door.png", CONTENTS[1])]
        store.add_inputs(world.cloud, site, id, photographs)
        return Reply(status)

    server.answers = add
    world.drain()
    assert (held(world, id).analysis, len(server.asked)) == ("DONE", 2)
    assert results_of(held(world, id)) == [[("reading", 7)], [("reading", 7)]]


def test_a_work_order_deleted_meanwhile_stays_deleted(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site)

    def delete(asked: Asked) -> Reply:
        store.delete(world.cloud, site, id)
        return right(asked)

    server.answers = delete
    world.drain()
    assert fields_of(world.cloud.db.document(f"work_orders/{id}").get())["deleted"] is True
    assert not world.suite.pubsub.outstanding()
    assert not world.failures


def test_one_made_anew_meanwhile_gets_nothing_of_the_old_ones_checks(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site, [photograph(3, side=100)])

    def anew(asked: Asked) -> Reply:
        if len(server.asked) == 1:
            store.delete(world.cloud, site, id)
            photographs = [Photograph("door", "door.png", CONTENTS[1])]
            store.create(world.cloud, site, "WO_1", photographs=photographs)
        return right(asked)

    server.answers = anew
    world.drain()
    after = held(world, id)
    assert [each.data_conformity for each in inputs(after)] == [()]
    assert (after.analysis, after.checked, results_of(after)) == ("DONE", 1, [[("reading", 7)]])


def test_a_message_that_comes_twice_is_done_once(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    message = pieces.message(queue.document(world.cloud, site).path, pieces.id_of(queue.PLAN, id))
    world.cloud.messages.publish(queue.FUNCTION, message, message)
    world.drain()
    reference = world.cloud.db.document(f"work_orders/{id}")
    done = reference.get()
    ask(world.cloud, site, id)
    world.drain()
    assert len(server.asked) == 1
    assert reference.get().update_time == done.update_time


def test_analyses_asked_for_one_by_one_stand_in_line_too(world: World) -> None:
    """However many requests one customer makes, another's analysis stands behind a few of them."""
    for number in range(12):
        made(world, world.site, name=f"WO_{number}")
    assert 0 < len(world.waiting()) <= stages.MAX_IN_LINE
    world.drain()
    assert not world.open_pieces()


def test_two_at_once_do_it_once(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site, CONTENTS)
    both = threading.Barrier(2)

    def together(asked: Asked) -> Reply:
        both.wait(timeout=20)
        return right(asked)

    server.answers = together
    with ThreadPoolExecutor(2) as pool:
        after = list(pool.map(lambda _: steps.take_on(world.cloud, site, id, TIME), range(2)))
    assert len(server.asked) == 2
    assert after[0] == after[1] == held(world, id)
    assert (after[0].analysis, after[0].checked) == ("DONE", 2)
    assert [each.data_conformity for each in inputs(after[0])] == [(), ()]
    assert results_of(after[0]) == [[("reading", 7)], [("reading", 7)]]


def test_who_comes_late_changes_nothing_that_others_found(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = made(world, site)
    values = iter([1, 2])

    def overtaken(asked: Asked) -> Reply:
        mine = next(values)
        if mine == 1:
            assert steps.take_on(world.cloud, site, id, TIME).analysis == "DONE"
        return Reply(body={"results": [result(asked.body["images"][0]["id"], mine)]})

    server.answers = overtaken
    world.drain()
    assert results_of(held(world, id)) == [[("reading", 2)]]


@pytest.mark.parametrize(
    ("work", "work_order"),
    [("analyses/none", "{id}"), (f"analyses/{SITE}", "none"), ("work_orders/{id}", "{id}")],
)
def test_a_message_about_nothing_that_is_due_does_nothing(
    world: World, server: Analyser, work: str, work_order: str
) -> None:
    site = site_with(world, server.url)
    steps.ready(world.cloud, site)
    photographs = [Photograph("meter", "meter.png", CONTENTS[0])]
    id = store.create(world.cloud, site, "WO_1", photographs=photographs).id
    piece = pieces.id_of(queue.PLAN, work_order.replace("{id}", id))
    world.cloud.messages.publish(queue.FUNCTION, pieces.message(work.replace("{id}", id), piece))
    world.drain()
    assert (held(world, id).analysis, held(world, id).checked, server.asked) == ("DUE", 0, [])
    assert not world.failures
    assert not world.suite.pubsub.outstanding()


def test_an_analysis_whose_message_was_lost_is_found_by_the_sweep(world: World, server: Analyser) -> None:
    site = site_with(world, server.url)
    id = store.create(
        world.cloud, site, "WO_1", photographs=[Photograph("meter", "meter.png", CONTENTS[0])]
    ).id
    ask(world.cloud, site, id, publish=False)
    world.settle()
    assert (held(world, id).analysis, results_of(held(world, id))) == ("DONE", [[("reading", 7)]])


def test_an_analysis_at_which_we_fail_is_reported_as_ours_and_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = made(world, world.site), made(world, world.site, name="WO_2")
    take_on = steps.take_on

    def fail(cloud: Any, site: Site, id: str, *more: Any) -> StoredWorkOrder:
        if id == bad:
            raise ZeroDivisionError
        return take_on(cloud, site, id, *more)

    monkeypatch.setattr(steps, "take_on", fail)
    for _ in range(engine.MAX_ATTEMPTS + 2):
        world.drain()
        world.wait(timedelta(minutes=11))
        world.sweep()
    world.drain()
    assert held(world, good).analysis == "DONE"
    assert held(world, bad).analysis == "FAILED"
    assert "This is ours to fix" in held(world, bad).failure
    assert world.open_pieces() == []


def test_an_analysers_numbers_are_kept_as_sent_and_its_byte_order_mark_is_passed_over(world: World) -> None:
    def answer(asked: Asked) -> Reply:
        results = [{**result(each["id"]), "analyzed_value": 2**64 - 1} for each in asked.body["images"]]
        return Reply(200, b"\xef\xbb\xbf" + json.dumps({"results": results}).encode())

    with analysing(answer) as server:
        id = made(world, site_with(world, server.url))
        world.drain()
    after = held(world, id)
    assert after.analysis == "DONE", after.failure
    [item] = after.work_order.work_items
    assert [[each.analyzed_value for each in one.job_conformity] for one in item.input] == [[2**64 - 1]]
