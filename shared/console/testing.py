"""A connection test whose steps are shown one by one, while it goes on."""

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from shared.delivery.base import Step, telling


@dataclass
class Testing:
    """A connection test that goes on.

    answer   what it answered; None while it goes on, and where it failed
    failure  why it could not be ended, where it could not
    """

    answer: Any = None
    failure: Exception | None = None

    def begin(self, test: Callable[[], Any]) -> Iterator[Step]:
        """Begin a test, and give its steps as soon as each is known. Raises what `test` does before its first
        step; what it raises after that is the `failure`."""
        told: queue.SimpleQueue[Step | None] = queue.SimpleQueue()

        def run() -> None:
            try:
                with telling(told.put):
                    self.answer = test()
            except Exception as failure:
                self.failure = failure
            finally:
                told.put(None)

        # Log lines and the audit trail name the request from there, too.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
        thread.start()
        first = told.get()
        if first is None and self.failure is not None:
            raise self.failure
        return self._steps(first, told, thread)

    @staticmethod
    def _steps(
        step: Step | None, told: "queue.SimpleQueue[Step | None]", thread: threading.Thread
    ) -> Iterator[Step]:
        while step is not None:
            yield step
            step = told.get()
        thread.join()
