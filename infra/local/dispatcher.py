"""Delivers what is published to the functions, as many at once as each of them takes."""

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from infra.local.clock import SuiteClock
from infra.local.processes import FunctionProcesses
from infra.local.pubsub import Delivery, PubSubService, PushFailed, cloud_event_request

ACKNOWLEDGING = frozenset((200, 201, 202, 204))
"""The answers to a push that acknowledge it. https://cloud.google.com/pubsub/docs/push#receive_push"""

LOOK_SECONDS = 1.0
"""How often, while something waits for its time, to look whether the clock was moved unannounced."""


class Dispatcher:
    """Hands each message to `push` when it is due. Woken by a publish, by `wake`, or by the next due time.

    `concurrency`: topic -> how many of its messages may be under way at once; other topics are left alone.
    """

    def __init__(
        self,
        *,
        pubsub: PubSubService,
        clock: SuiteClock,
        concurrency: Mapping[str, int],
        push: Callable[[Delivery], bool],
    ) -> None:
        self._pubsub = pubsub
        self._clock = clock
        self._concurrency = concurrency
        self._push = push
        self._woken = threading.Condition()
        self._news = False
        self._stopping = False
        self._under_way: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(max(1, sum(concurrency.values())), thread_name_prefix="push")
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._pubsub.watch(self.wake)
        self._thread.start()

    def wake(self) -> None:
        """Look again: something was published, or the clock was moved."""
        with self._woken:
            self._news = True
            self._woken.notify_all()

    def stop(self) -> None:
        """Begin no more deliveries. Those under way end on their own: see `join`."""
        with self._woken:
            self._stopping = True
            self._woken.notify_all()
        self._thread.join()

    def join(self) -> None:
        """Wait until every delivery under way has ended; stop the functions first, or it takes theirs."""
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        while True:
            with self._woken:
                if self._stopping:
                    return
                self._news = False
                free = [topic for topic, most in self._concurrency.items() if self._under_way[topic] < most]
            delivery = self._pubsub.take(free)
            if delivery is not None:
                with self._woken:
                    self._under_way[delivery.topic] += 1
                self._pool.submit(self._deliver, delivery)
                continue
            due = self._pubsub.next_due(free)
            patience = None
            if due is not None:
                patience = max(0.0, min((due - self._clock.now()).total_seconds(), LOOK_SECONDS))
            with self._woken:
                if not self._news and not self._stopping:
                    self._woken.wait(patience)

    def _deliver(self, delivery: Delivery) -> None:
        try:
            self._pubsub.hand_over(delivery, self._push)
        finally:
            with self._woken:
                self._under_way[delivery.topic] -= 1
            self.wake()


def push_to(processes: FunctionProcesses) -> Callable[[Delivery], bool]:
    """A push that posts the event to its function's process, and starts that if need be.

    Only such an answer within the function's timeout acknowledges; all else is told by an exception.
    """

    def push(delivery: Delivery) -> bool:
        function = processes.functions[delivery.function]
        headers, body = cloud_event_request(delivery)
        with processes.use(function.name) as instance:
            connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=function.timeout)
            try:
                connection.request("POST", "/", body, headers)
                status = connection.getresponse().status
            except TimeoutError as error:
                processes.overdue(instance)
                raise PushFailed(f"no answer within {function.timeout} seconds") from error
            finally:
                connection.close()
        if status not in ACKNOWLEDGING:
            raise PushFailed(f"answered {status}")
        return True

    return push
