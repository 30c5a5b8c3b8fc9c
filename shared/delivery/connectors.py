"""The connectors by the name that an export's `connector_type` gives."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pydantic import BaseModel

from shared.delivery.base import Connector, Step
from shared.delivery.cloud_storage import testing as cloud_storage_testing
from shared.delivery.cloud_storage.config import CloudStorageConfig
from shared.delivery.cloud_storage.connector import CloudStorage
from shared.gcp.clients import Cloud

Config = CloudStorageConfig
"""What a connector is told of one export. `prefix` stands before every name, `export_images` says whether
images go along."""


@dataclass(frozen=True)
class Kind:
    """A connector.

    config   what `connector_config` must be
    by_site  whether each site has files of its own
    open     the connector to one place of a customer's, until the end of the `with`
    test     the connection test of that place
    Both are given the customer's id and account.
    """

    config: type[BaseModel]
    by_site: bool
    open: Callable[[Cloud, str, str, Config], AbstractContextManager[Connector]]
    test: Callable[[Cloud, str, str, Config], list[Step]]


@contextlib.contextmanager
def _open_cloud_storage(cloud: Cloud, _: str, account: str, config: Config) -> Iterator[Connector]:
    yield CloudStorage(cloud, account, config)


def _test_cloud_storage(cloud: Cloud, _: str, account: str, config: Config) -> list[Step]:
    return cloud_storage_testing.test(cloud, account, config.storage_uri)


CONNECTORS = {
    "cloud_storage": Kind(CloudStorageConfig, True, _open_cloud_storage, _test_cloud_storage),
}
"""Every connector, by its name."""
