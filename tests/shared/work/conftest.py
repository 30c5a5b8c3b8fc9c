import pytest

from tests.outside import Outside
from tests.shared.work.toy import Toys
from tests.world import World


@pytest.fixture
def toys(world: World, outside: Outside) -> Toys:
    return Toys(world, outside)
