"""The connector `sftp`: a directory on a server of the customer."""

import contextlib
from collections.abc import Iterator

from shared.accounts import secrets
from shared.accounts.networks import networks_of
from shared.delivery.base import Connector, ConnectorType, Secret, Step, Steps
from shared.delivery.sftp.config import Login, SftpConfig
from shared.errors import GiveUp
from shared.gcp.clients import Cloud


@contextlib.contextmanager
def _open(cloud: Cloud, customer: str, account: str, config: SftpConfig) -> Iterator[Connector]:
    # Imported here because it loads asyncssh, which would add a third of a second to every cold start.
    from shared.delivery.sftp.connector import Sftp

    allowed = networks_of(cloud.db, customer)
    with Sftp(cloud, account, config, _login(cloud, customer, config), allowed) as connector:
        yield connector


def _test(cloud: Cloud, customer: str, _: str, config: SftpConfig) -> list[Step]:
    from shared.delivery.sftp import connection_test

    try:
        login = _login(cloud, customer, config)
    except GiveUp as lost:
        steps = Steps()
        steps.append(Step("login", "failed", f"{lost} {lost.next_action}"))
        return steps
    return connection_test.run(cloud, config, login, networks_of(cloud.db, customer))


def _login(cloud: Cloud, customer: str, config: SftpConfig) -> Login:
    if config.secret is None:
        raise ValueError("the SFTP config has no stored secret")
    return Login.parse(secrets.get(cloud, customer, config.secret))


SFTP = ConnectorType(
    name="sftp",
    config=SftpConfig,
    open=_open,
    test=_test,
    by_site=True,
    images=lambda config: config.export_images,
    secret=Secret(
        fields=("password", "private_key"),
        server=("host", "port", "host_key"),
        value=SftpConfig.sealed_value,
        reached_as=SftpConfig.reached_as,
    ),
)
