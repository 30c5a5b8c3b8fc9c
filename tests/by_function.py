"""Has what the functions of a world do told apart by function."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from infra.local.pubsub import Delivery
from tests.world import BUNDLE, World


def around_calls(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    message: Callable[[str], AbstractContextManager[None]],
    request: Callable[[str, str, str], AbstractContextManager[None]],
) -> None:
    """Have each message be handled within `message`, which is given the function's name, and each request
    within `request`, which is given that, the method and the path."""
    push, ask = world.push, world.request

    def pushed(delivery: Delivery) -> bool:
        with message(delivery.function):
            return push(delivery)

    def requested(method: str, path: str, *more: Any, **named: Any) -> Any:
        function = BUNDLE.serving(path.partition("?")[0])
        assert function is not None, path
        with request(function.name, method, path):
            return ask(method, path, *more, **named)

    monkeypatch.setattr(world, "push", pushed)
    monkeypatch.setattr(world, "request", requested)
