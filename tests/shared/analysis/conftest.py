"""The analysis's tests have analysers of their own on 127.0.0.1, which is a private network of theirs."""

import pytest

from tests.world import World


@pytest.fixture
def world(world: World) -> World:
    """As ever, and our account may sign."""
    world.suite.identity.allow_impersonation(world.account, world.account)
    world.allow_loopback()
    return world
