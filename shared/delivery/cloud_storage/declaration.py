"""The connector `cloud_storage`: a bucket of the customer."""

import contextlib
from collections.abc import Iterator

from shared.delivery.base import Connector, ConnectorType, Step
from shared.delivery.cloud_storage import connection_test
from shared.delivery.cloud_storage.bucket import why_not
from shared.delivery.cloud_storage.config import CloudStorageConfig
from shared.delivery.cloud_storage.connector import CloudStorage
from shared.errors import FieldProblem
from shared.gcp.clients import Cloud
from shared.settings import Settings


@contextlib.contextmanager
def _open(cloud: Cloud, _: str, account: str, config: CloudStorageConfig) -> Iterator[Connector]:
    yield CloudStorage(cloud, account, config)


def _test(cloud: Cloud, _: str, account: str, config: CloudStorageConfig) -> list[Step]:
    return connection_test.run(cloud, account, config.storage_uri)


def _check(settings: Settings, config: CloudStorageConfig) -> list[FieldProblem]:
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
