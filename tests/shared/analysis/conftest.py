"""The analysis's tests have analysers of their own on 127.0.0.1, which settings must allow."""

import pytest

from infra.local.suite import Suite
from tests.world import World


@pytest.fixture
def suite(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("WAYBILL_PRIVATE_ADDRESSES", "127.0.0.0/8")
    return suite


@pytest.fixture
def world(world: World) -> World:
    """As ever, and our account may sign."""
    world.suite.identity.allow_impersonation(world.account, world.account)
    return world
