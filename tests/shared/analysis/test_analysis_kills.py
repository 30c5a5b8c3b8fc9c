"""An analysis dies at every call that it makes, and its work order ends as if it had not."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from shared.accounts.customers import Site
from shared.net import outbound
from shared.workorders import kept, store
from shared.workorders.store import Photograph
from tests.outside import Outside
from tests.shared.analysis.analysers import Analyser, analysing, ask, right
from tests.shared.analysis.test_steps import CONTENTS, site_with
from tests.world import SITE, World


class Small:
    """A work order with two photographs, and what is asked of it: by an event, or by a request."""

    def __init__(self, world: World, outside: Outside, server: Analyser, name: str = "WO_1") -> None:
        self.world = world
        self.outside = outside
        self.server = server
        self.site = site_with(world, server.url)
        photographs = [Photograph("meter", f"meter-{n}.png", each) for n, each in enumerate(CONTENTS)]
        self.id = store.create(world.cloud, self.site, name, photographs=photographs).id
        self.path = f"/v0.2/work-orders/{self.id}/analyze?site_id={SITE}"
        uri = f"data:image/jpg;base64,{base64.b64encode(CONTENTS[0]).decode()}"
        self.body = {"inputs": [{"name": "door", "data": {"type": "image", "value": uri}}]}

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def event(self) -> None:
        """The message comes, and comes again until it was answered."""
        ask(self.world.cloud, self.site, self.id)
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
        after = store.look(world.cloud, self.site, self.id).kept
        assert (after.analysis, after.checked, after.count) == ("DONE", inputs, inputs)
        found = [each for item in after.work_order.work_items for each in item.input]
        codes = [[check.code for check in each.data_conformity] for each in found]
        assert codes == [[], [], ["DUPLICATE"]][:inputs]
        values = [[(r.task_name, r.analyzed_value) for r in each.job_conformity] for each in found]
        assert values == [[("reading", 7)]] * inputs
        names = [each.name for each in world.suite.storage.list("waybill-local-images")]
        stored = {name.rpartition("/")[2].partition(".")[0] for name in names}
        assert stored - world_inputs(world, self.site) == set(), "an image of no input is left behind"
        assert {each.id for each in found} <= stored


def world_inputs(world: World, site: Site) -> set[str]:
    """The ids of all inputs of the site."""
    ids = [each.id for each in world.cloud.db.collection("work_orders").select([]).stream()]
    return set().union(*(kept.input_ids(store.look(world.cloud, site, id).kept) for id in ids))


Another = Callable[[str], Small]


@pytest.fixture
def another(world: World, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Iterator[Another]:
    """Makes a work order of that name."""

    original = outbound.call

    def call(*arguments: Any, **named: Any) -> outbound.Answer:
        mine = outside.before("POST to the analyser")
        answer = original(*arguments, **named)
        outside.after("POST to the analyser", mine)
        return answer

    monkeypatch.setattr(outbound, "call", call)
    with analysing(right) as server:
        yield lambda name: Small(world, outside, server, name)


def writes(another: Another, way: str) -> range:
    """The numbers of the calls that write, of an undisturbed pass; the one before it gets what is got once,
    such as a token."""
    for name in ("FIRST", "UNDISTURBED"):
        small = another(name)
        small.outside.arm_write(0)
        getattr(small, way)()
        calls = list(small.outside.calls)
        small.ends(2 if way == "event" else 3)
    assert "POST to the analyser" in calls
    return range(1, len(calls) + 1)


@pytest.mark.parametrize("way", ["event", "request"])
def test_a_death_at_any_write_changes_nothing(another: Another, way: str) -> None:
    for at in writes(another, way):
        small = another(f"WO_{at}")
        small.outside.arm_write(at)
        getattr(small, way)()
        assert len(small.outside.calls) >= at, (at, small.outside.calls)
        small.outside.arm(0, "after")
        small.ends(2 if way == "event" else 3)


def test_an_event_that_sleeps_at_any_write_does_no_harm(another: Another) -> None:
    """It sleeps there while another does all there is, a third photograph included."""
    for at in writes(another, "event"):
        small = another(f"WO_{at}")
        small.outside.arm_write(at, small.request)
        small.event()
        small.outside.arm(0, "after")
        small.ends(3)
