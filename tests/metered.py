"""Adds up what Google would charge for while a test calls the functions, by function."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from infra.local.traffic import MESSAGE_BYTES, MESSAGES
from tests.world import BUNDLE, World

INVOCATIONS = "invocations"
"""How often a function was called."""


class Metered:
    """What each function of a world was charged for: `charged`, by function, then by what is charged."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.charged: dict[str, Counter[str]] = {}
        self._traffic = world.suite.traffic
        push, request = world.push, world.request

        def pushed(delivery: Delivery) -> bool:
            with self.by(delivery.function):
                return push(delivery)

        def requested(method: str, path: str, *more: Any, **named: Any) -> Any:
            function = BUNDLE.serving(path.partition("?")[0])
            assert function is not None, path
            with self.by(function.name):
                return request(method, path, *more, **named)

        monkeypatch.setattr(world, "push", pushed)
        monkeypatch.setattr(world, "request", requested)

    @contextmanager
    def by(self, function: str) -> Iterator[None]:
        """What is done inside is done by this function."""
        charged = self.charged.setdefault(function, Counter())
        # What came before is the delivery that calls it, and its request to publish where that is not ours.
        before = self._traffic.take_billed()
        charged.update({name: number for name, number in before.items() if name in (MESSAGES, MESSAGE_BYTES)})
        charged[INVOCATIONS] += 1
        try:
            yield
        finally:
            charged.update(self._traffic.take_billed())

    def taken(self) -> Mapping[str, Mapping[str, int]]:
        """What was charged since this was asked last."""
        taken, self.charged = self.charged, {}
        return {function: dict(+charged) for function, charged in taken.items()}
