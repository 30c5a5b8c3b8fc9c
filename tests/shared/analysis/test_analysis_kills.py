"""An analysis dies at every call that it makes, and its work order ends as if it had not."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from shared.analysis import messages
from shared.http import outbound
from shared.workorders import store
from shared.workorders.store import Photograph
from tests.outside import BOTH, Outside, When
from tests.shared.analysis.analysers import Analyser, analysing, right
from tests.shared.analysis.test_steps import CONTENTS, site_with
from tests.world import SITE, World

EVENT_CALLS = 12
REQUEST_CALLS = 21
"""How many calls an event and a request make; a test holds each to that, so that each is a place to die."""


class Small:
    """A work order with two photographs, and what is asked of it: by an event, or by a request."""

    def __init__(self, world: World, outside: Outside, server: Analyser) -> None:
        self.world = world
        self.outside = outside
        self.server = server
        self.site = site_with(world, server.url)
        photographs = [Photograph("meter", f"meter-{n}.png", each) for n, each in enumerate(CONTENTS)]
        self.id = store.create(world.cloud, self.site, "WO_1", photographs=photographs).id
        self.path = f"/v0.2/work-orders/{self.id}/analyze?site_id={SITE}"
        uri = f"data:image/jpg;base64,{base64.b64encode(CONTENTS[0]).decode()}"
        self.body = {"inputs": [{"name": "door", "data": {"type": "image", "value": uri}}]}

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def event(self) -> None:
        """The message comes, and comes again until it was answered."""
        messages.publish(self.world.cloud, self.site, [store.look(self.world.cloud, self.site, self.id).kept])
        while self.world.suite.pubsub.deliver_due(self.push):
            pass

    def request(self) -> None:
        """A client that sends again what it got no answer to."""
        for _ in range(2):
            answer = self.outside.alive(lambda: self.world.request("POST", self.path, self.body))
            if answer is not None:
                assert answer.status == 200, answer
                return

    def ends(self, inputs: int) -> None:
        """All is checked and analysed, once."""
        world = self.world
        world.settle()
        assert not world.failures, "\n".join(world.failures)
        kept = store.look(world.cloud, self.site, self.id).kept
        assert (kept.analysis, kept.checked, kept.count) == ("DONE", inputs, inputs)
        found = [each for item in kept.work_order.work_items for each in item.input]
        codes = [[check.code for check in each.data_conformity] for each in found]
        assert codes == [[], [], ["DUPLICATE"]][:inputs]
        values = [[(r.task_name, r.analyzed_value) for r in each.job_conformity] for each in found]
        assert values == [[("reading", 7)]] * inputs
        assert len(list(world.suite.storage.list("waybill-local-images"))) == inputs


@pytest.fixture
def small(world: World, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    original = outbound.call

    def call(*arguments: Any, **named: Any) -> outbound.Answer:
        mine = outside.before("the analyser")
        answer = original(*arguments, **named)
        outside.after("the analyser", mine)
        return answer

    monkeypatch.setattr(outbound, "call", call)
    with analysing(right) as server:
        yield Small(world, outside, server)


def test_an_event_makes_every_kind_of_call(small: Small) -> None:
    small.outside.arm(0, "before")
    small.event()
    small.ends(2)
    assert len(small.outside.calls) == EVENT_CALLS, small.outside.calls


def test_a_request_makes_every_kind_of_call(small: Small) -> None:
    small.outside.arm(0, "before")
    small.request()
    small.ends(3)
    assert len(small.outside.calls) == REQUEST_CALLS, small.outside.calls


def sampled(calls: int) -> pytest.MarkDecorator:
    """Every call; all but each third only in `make check`."""
    slow = pytest.mark.slow
    each = [pytest.param(at, marks=[] if at % 3 == 0 else slow) for at in range(1, calls + 1)]
    return pytest.mark.parametrize("at", each)


@BOTH
@pytest.mark.parametrize("at", range(1, EVENT_CALLS + 1))
def test_an_event_may_die_anywhere(small: Small, at: int, when: When) -> None:
    small.outside.arm(at, when)
    small.event()
    assert len(small.outside.calls) >= at
    small.outside.arm(0, "before")
    small.ends(2)


@BOTH
@sampled(REQUEST_CALLS)
def test_a_request_may_die_anywhere(small: Small, at: int, when: When) -> None:
    small.outside.arm(at, when)
    small.request()
    assert len(small.outside.calls) >= at
    small.outside.arm(0, "before")
    small.ends(3)


@BOTH
@sampled(EVENT_CALLS)
def test_an_event_that_sleeps_anywhere_does_no_harm(small: Small, at: int, when: When) -> None:
    """It sleeps there while another does all there is, a third photograph included."""
    small.outside.arm(at, when, small.request)
    small.event()
    small.outside.arm(0, "before")
    small.ends(3)
