"""The connector `email`: each recipient is mailed a link that leads to the files."""

import contextlib
from collections.abc import Iterator

from shared.delivery.base import Connector, ConnectorType, Mailed, Step
from shared.delivery.email import connection_test
from shared.delivery.email.config import EmailConfig
from shared.delivery.email.connector import Email
from shared.gcp.clients import Cloud

MAX_FILES = 1_000
"""How many files a mail may lead to: the page that its link opens lists each of them."""


@contextlib.contextmanager
def _open(_: Cloud, __: str, ___: str, ____: EmailConfig) -> Iterator[Connector]:
    yield Email()


def _test(cloud: Cloud, _: str, __: str, config: EmailConfig) -> list[Step]:
    return connection_test.run(cloud, config)


EMAIL = ConnectorType(
    name="email",
    config=EmailConfig,
    open=_open,
    test=_test,
    by_site=False,
    mailed=Mailed(recipients=lambda config: config.emails, max_files=MAX_FILES),
)
