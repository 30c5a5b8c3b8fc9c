"""The connectors by the name that an export's `connector_type` gives."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.accounts import secrets
from shared.delivery.base import Connector, Step
from shared.delivery.cloud_storage import testing as cloud_storage_testing
from shared.delivery.cloud_storage.config import CloudStorageConfig
from shared.delivery.cloud_storage.connector import CloudStorage
from shared.delivery.email import testing as email_testing
from shared.delivery.email.config import EmailConfig
from shared.delivery.email.connector import Email
from shared.delivery.sftp.config import Login, SftpConfig
from shared.errors import GiveUp
from shared.gcp.clients import Cloud

Config = CloudStorageConfig | EmailConfig | SftpConfig
"""What a connector is told of one export. `place` says where a name stands, `export_images` whether images go
along."""


@dataclass(frozen=True)
class Kind:
    """A connector.

    config   what `connector_config` must be
    by_site  whether each site has files of its own
    slow     whether the other side sets the pace: then an attempt ends in time, and goes on later
    open     the connector to one place of a customer's, until the end of the `with`
    test     the connection test of that place
    Both are given the customer's id and account, and a config of theirs.
    """

    config: type[BaseModel]
    by_site: bool
    slow: bool
    open: Callable[[Cloud, str, str, Any], AbstractContextManager[Connector]]
    test: Callable[[Cloud, str, str, Any], list[Step]]


@contextlib.contextmanager
def _open_cloud_storage(
    cloud: Cloud, _: str, account: str, config: CloudStorageConfig
) -> Iterator[Connector]:
    yield CloudStorage(cloud, account, config)


def _test_cloud_storage(cloud: Cloud, _: str, account: str, config: CloudStorageConfig) -> list[Step]:
    return cloud_storage_testing.test(cloud, account, config.storage_uri)


@contextlib.contextmanager
def _open_email(*_: object) -> Iterator[Connector]:
    yield Email()


def _test_email(cloud: Cloud, _: str, __: str, config: EmailConfig) -> list[Step]:
    return email_testing.test(cloud, config)


@contextlib.contextmanager
def _open_sftp(cloud: Cloud, customer: str, account: str, config: SftpConfig) -> Iterator[Connector]:
    # Here, since it loads asyncssh: a third of a second of every cold start.
    from shared.delivery.sftp.connector import Sftp

    with Sftp(cloud, account, config, _login(cloud, customer, config)) as connector:
        yield connector


def _test_sftp(cloud: Cloud, customer: str, _: str, config: SftpConfig) -> list[Step]:
    from shared.delivery.sftp import testing

    try:
        login = _login(cloud, customer, config)
    except GiveUp as lost:
        return [Step("login", "failed", f"{lost} {lost.next_action}")]
    return testing.test(cloud, config, login)


def _login(cloud: Cloud, customer: str, config: SftpConfig) -> Login:
    if config.secret is None:
        raise ValueError("an SFTP config without a stored secret was taken in")
    return Login.parse(secrets.get(cloud, customer, config.secret))


CONNECTORS = {
    "cloud_storage": Kind(CloudStorageConfig, True, False, _open_cloud_storage, _test_cloud_storage),
    "email": Kind(EmailConfig, False, False, _open_email, _test_email),
    "sftp": Kind(SftpConfig, True, True, _open_sftp, _test_sftp),
}
"""Every connector, by its name."""
