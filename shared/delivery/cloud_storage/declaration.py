"""The connector `cloud_storage`: a bucket of the customer."""

import contextlib
from collections.abc import Iterator

from shared.delivery.base import Connector, ConnectorType, Step
from shared.delivery.cloud_storage.config import CloudStorageConfig
from shared.errors import FieldProblem
from shared.gcp.clients import Cloud
from shared.settings import Settings

# What talks to a bucket is imported where it does: most requests and functions only read configs.


@contextlib.contextmanager
def _open(cloud: Cloud, _: str, account: str, config: CloudStorageConfig) -> Iterator[Connector]:
    from shared.delivery.cloud_storage.connector import CloudStorage

    yield CloudStorage(cloud, account, config)


def _test(cloud: Cloud, _: str, account: str, config: CloudStorageConfig) -> list[Step]:
    from shared.delivery.cloud_storage import connection_test

    return connection_test.run(cloud, account, config.storage_uri)


def _check(settings: Settings, config: CloudStorageConfig) -> list[FieldProblem]:
    from shared.delivery.cloud_storage.bucket import why_not

    why = why_not(settings, config.uri.bucket)
    return [FieldProblem("storage_uri", why)] if why else []


CLOUD_STORAGE = ConnectorType(
    name="cloud_storage",
    config=CloudStorageConfig,
    open=_open,
    test=_test,
    by_site=True,
    images=lambda config: config.export_images,
    check=_check,
)
