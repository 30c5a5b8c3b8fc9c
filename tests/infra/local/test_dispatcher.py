"""The dispatcher: what is due is delivered at once, as many together as a function takes, and no more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from infra.local.clock import SuiteClock
from infra.local.dispatcher import Dispatcher, push_to
from infra.local.http_server import HttpServer
from infra.local.processes import FunctionProcesses
from infra.local.pubsub import Delivery, PubSubService, PushFailed, cloud_event_request
from infra.local.traffic import Traffic

ONE, TWO, OTHER = (f"projects/p/topics/{name}" for name in ("one", "two", "other"))
PATIENCE = 10
"""Seconds until a test gives up waiting; none of them waits for a time to pass."""


class Bench:
    def __init__(self) -> None:
        self.clock = SuiteClock(frozen_at=datetime(2026, 11, 23, 2, tzinfo=UTC))
        self.service = PubSubService(clock=self.clock, traffic=Traffic(), file=None)
        for topic in (ONE, TWO, OTHER):
            self.service.create_topic(topic)
            self.service.subscribe(topic, topic.replace("topics", "subscriptions"))
        self.answer: Callable[[Delivery], bool] = lambda _: True
        self.dispatcher = Dispatcher(
            pubsub=self.service, clock=self.clock, concurrency={ONE: 1, TWO: 2}, push=self._push
        )
        self._changed = threading.Condition()
        self.begun: list[bytes] = []
        self.under_way: list[bytes] = []
        self.most = 0
        self.dispatcher.start()

    def _push(self, delivery: Delivery) -> bool:
        with self._changed:
            self.begun.append(delivery.data)
            self.under_way.append(delivery.data)
            self.most = max(self.most, len(self.under_way))
            self._changed.notify_all()
        try:
            return self.answer(delivery)
        finally:
            with self._changed:
                self.under_way.remove(delivery.data)
                self._changed.notify_all()

    def until(self, holds: Callable[[], bool]) -> None:
        self.service.watch(self._look)
        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE)

    def _look(self) -> None:
        with self._changed:
            self._changed.notify_all()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.dispatcher.stop()
    bench.dispatcher.join()
    bench.service.stop()


def test_a_publish_is_delivered(bench: Bench) -> None:
    bench.service.publish(ONE, b"1")
    bench.until(lambda: not bench.service.outstanding())
    bench.service.publish(TWO, b"2")
    bench.until(lambda: not bench.service.outstanding())
    assert bench.begun == [b"1", b"2"]


def test_topics_without_a_function_here_are_left_alone(bench: Bench) -> None:
    bench.service.publish(OTHER, b"x")
    bench.service.publish(ONE, b"1")
    bench.until(lambda: len(bench.service.outstanding()) == 1)
    assert bench.begun == [b"1"]


def test_as_many_at_once_as_a_function_takes_and_no_more(bench: Bench) -> None:
    go_on = threading.Event()
    bench.answer = lambda _: go_on.wait(PATIENCE)
    for number in range(4):
        bench.service.publish(TWO, b"two-%d" % number)
        bench.service.publish(ONE, b"one-%d" % number)
    bench.until(lambda: len(bench.under_way) == 3)
    assert sorted(bench.under_way) == [b"one-0", b"two-0", b"two-1"]
    assert [each.due for each in bench.service.outstanding()].count(None) == 3
    go_on.set()
    bench.until(lambda: not bench.service.outstanding())
    assert bench.most == 3
    assert [data for data in bench.begun if data.startswith(b"one")] == [b"one-%d" % n for n in range(4)]


@pytest.mark.parametrize("announced", [True, False])
def test_a_failed_one_is_delivered_again_when_the_clock_is_moved(bench: Bench, announced: bool) -> None:
    bench.answer = lambda _: len(bench.begun) > 1
    bench.service.publish(ONE, b"1")
    bench.until(lambda: any(each.outcome for each in bench.service.outstanding()))
    assert bench.begun == [b"1"]
    bench.clock.advance(timedelta(seconds=10))
    if announced:
        bench.dispatcher.wake()
    bench.until(lambda: not bench.service.outstanding())
    assert bench.begun == [b"1", b"1"]


@pytest.mark.parametrize(
    ("status", "acknowledged"), [(200, 1), (204, 1), (302, 0), (404, 0), (500, 0), (206, 0)]
)
def test_what_an_answer_to_a_push_means(status: int, acknowledged: int) -> None:
    got: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        got.append((request.method, request.headers["ce-id"], await request.read()))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/", answer)
    server = HttpServer(app)
    instance = SimpleNamespace(port=server.start())
    processes = SimpleNamespace(
        functions={"one": SimpleNamespace(name="one", timeout=PATIENCE)}, use=lambda _: nullcontext(instance)
    )
    delivery = Delivery(f"{ONE}-sub", ONE, "17", b"{}", {}, datetime(2026, 11, 23, 2, tzinfo=UTC), 1)
    push = push_to(cast(FunctionProcesses, processes))
    if acknowledged:
        assert push(delivery)
    else:
        with pytest.raises(PushFailed, match=f"answered {status}"):
            push(delivery)
    server.stop()
    assert got == [("POST", "17", cloud_event_request(delivery)[1])]


def test_stopping_waits_for_what_is_under_way_and_begins_nothing(bench: Bench) -> None:
    go_on = threading.Event()
    bench.answer = lambda _: go_on.wait(PATIENCE)
    bench.service.publish(ONE, b"1")
    bench.service.publish(ONE, b"2")
    bench.until(lambda: bench.under_way == [b"1"])
    bench.dispatcher.stop()
    go_on.set()
    bench.dispatcher.join()
    assert bench.begun == [b"1"]
    assert [each.attempts for each in bench.service.outstanding()] == [0]
