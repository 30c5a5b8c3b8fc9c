"""An analysis dies, or is paused, at every call that it makes, and its work order ends as if it had not."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from shared.accounts.customers import Site
from shared.workorders import store, stored
from shared.workorders.store import Photograph
from tests import kills
from tests.outside import Outside
from tests.shared.analysis.analysers import CONTENTS, Analyser, analysing, ask, right, site_with
from tests.world import SITE, World

EXPIRED = "The referenced transaction has expired or is no longer valid."
"""What Firestore says to an attempt that was paused inside a transaction; its message comes again."""


class Small:
    """A work order with two photographs, and what is asked of it."""

    def __init__(self, world: World, outside: Outside, server: Analyser) -> None:
        self.world = world
        self.outside = outside
        self.server = server
        self.site = site_with(world, server.url)
        photographs = [Photograph("meter", f"meter-{n}.png", each) for n, each in enumerate(CONTENTS)]
        world.allow_loopback()
        self.id = store.create(world.cloud, self.site, "WO_1", photographs=photographs).id
        self.path = f"/v0.2/work-orders/{self.id}/analyze?site_id={SITE}"
        uri = f"data:image/jpg;base64,{base64.b64encode(CONTENTS[0]).decode()}"
        self.body = {"inputs": [{"name": "door", "data": {"type": "image", "value": uri}}]}

    def push(self, delivery: Delivery) -> bool:
        """Deliver as usual, but a process that was killed answers nothing."""
        return bool(self.outside.alive(lambda: self.world.push(delivery)))

    def request(self) -> None:
        """A client that sends again what it got no answer to."""
        for _ in range(2):
            answer = self.outside.alive(lambda: self.world.request("POST", self.path, self.body))
            if answer is not None:
                assert answer.status == 200, answer
                return

    def settle(self) -> None:
        self.world.settle()

    def ends(self, inputs: int) -> None:
        """All is checked and analysed, once."""
        world = self.world
        failures = [each for each in world.failures if EXPIRED not in each]
        assert not failures, failures[0]
        after = store.look(world.cloud, self.site, self.id).stored
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


class Event(Small):
    """A message asks for its analysis."""

    def run(self, push: Callable[[Delivery], bool]) -> None:
        ask(self.world.cloud, self.site, self.id)
        while self.world.suite.pubsub.deliver_due(push):
            pass

    def done_once(self) -> None:
        self.ends(2)


class Request(Small):
    """A client asks for it, with a third photograph."""

    def run(self, push: Callable[[Delivery], bool]) -> None:
        self.request()
        while self.world.suite.pubsub.deliver_due(push):
            pass

    def done_once(self) -> None:
        self.ends(3)


def world_inputs(world: World, site: Site) -> set[str]:
    """The ids of all inputs of the site."""
    ids = [each.id for each in world.cloud.db.collection("work_orders").select([]).stream()]
    return set().union(*(stored.input_ids(store.look(world.cloud, site, id).stored) for id in ids))


Make = Callable[[type[Small]], Callable[[], Any]]


@pytest.fixture
def make(new_world: Callable[[], World], outside: Outside) -> Iterator[Make]:
    """Makes what makes fresh ones of a kind."""
    with analysing(right) as server:

        def fresh(kind: type[Small]) -> Small:
            world = new_world()
            world.suite.identity.allow_impersonation(world.account, world.account)  # our account may sign
            return kind(world, outside, server)

        yield lambda kind: lambda: fresh(kind)


@pytest.mark.parametrize("kind", [Event, Request])
def test_an_analysis_makes_every_kind_of_call(make: Make, kind: type[Small]) -> None:
    calls = [call.name for call in kills.undisturbed(make(kind)()).calls if call.writes]
    assert "POST to a customer's server" in calls
    assert "Commit" in calls


@pytest.mark.slow
@kills.MODES
@pytest.mark.parametrize("kind", [Event, Request])
def test_killed_or_paused_at_any_call_it_ends_the_same(
    make: Make, kind: type[Small], mode: kills.Mode[Any]
) -> None:
    kills.each(make(kind), mode)


@pytest.mark.parametrize("kind", [Event, Request])
def test_with_every_message_delivered_twice_it_ends_the_same(make: Make, kind: type[Small]) -> None:
    kills.twice(make(kind)())


def asked_meanwhile(event: Event, place: kills.Place) -> None:
    """It is paused there while a client asks for all there is, a third photograph included."""
    kills.arm(event, place, event.request)
    event.run(event.push)
    kills.end(event, place)
    event.ends(3)


@pytest.mark.slow
def test_a_request_in_the_middle_of_an_event_does_no_harm(make: Make) -> None:
    kills.each(make(Event), kills.Mode("asked meanwhile", kills.Pass.pauses, asked_meanwhile))
