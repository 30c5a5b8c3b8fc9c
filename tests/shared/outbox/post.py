"""What the tests of mail share: an export run with mails to its recipients."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import methodcaller
from typing import Any

from shared.gcp.documents import server_time
from shared.outbox import mails
from shared.outbox.mails import Files, Mail
from shared.work import pieces
from shared.work.pieces import in_commits
from tests.world import World

RUN = "exports/11111111-2222-4333-8444-555555555555/runs/0123456789"

FACTS: dict[str, Any] = {
    "customer": "Acme",
    "sites": ["North"],
    "export_name": "Nightly",
    "export_type": "work-orders-timeline",
    "file_format": "csv",
    "window_start": "2026-11-20T23:00:00Z",
    "window_end": "2026-11-21T23:00:00Z",
    "timezone": "Europe/Paris",
    "rows": 12_345,
    "bytes": 6_789_012,
    "files": 1,
    "export": "11111111-2222-4333-8444-555555555555",
    "run": "0123456789",
}

TOKEN = re.compile(r"/v1/downloads/([0-9a-f]{32}_[A-Za-z0-9_-]{43})")


@dataclass
class Post:
    """The mails of one run."""

    world: World
    paths: list[str]

    def one(self) -> Mail:
        [path] = self.paths
        return self.of(path)

    def of(self, path: str) -> Mail:
        return mails.from_snapshot(self.world.cloud.db.document(path).get())

    def all(self) -> list[Mail]:
        return [self.of(path) for path in self.paths]

    def sent_to(self) -> list[str]:
        """Whom SendGrid has taken a message to, a message each."""
        return [recipient(each) for each in self.world.suite.sendgrid.sent]

    def settle(self) -> None:
        """Let time go by, with redeliveries and sweeps, until each mail has an outcome and nothing waits."""
        for _ in range(60):
            self.world.tick()
            self.world.drain()
            ended = all(mail.state in mails.ENDED for mail in self.all())
            if ended and not self.world.waiting():
                return
            self.world.wait(timedelta(minutes=6))
        raise AssertionError([(mail.state, mail.reason) for mail in self.all()])


def recipient(sent: dict[str, Any]) -> str:
    """The one recipient of a message."""
    [personalization] = sent["personalizations"]
    assert set(personalization) == {"to"}, personalization
    [to] = personalization["to"]
    address: str = to["email"]
    return address


def bodies(sent: dict[str, Any]) -> tuple[str, str]:
    """A message's text and HTML."""
    kinds = [each["type"] for each in sent["content"]]
    assert kinds == ["text/plain", "text/html"], kinds
    text, html = (each["value"] for each in sent["content"])
    return text, html


def tokens(sent: dict[str, Any]) -> set[str]:
    """The tokens in a message."""
    return {token for body in bodies(sent) for token in TOKEN.findall(body)}


def tell(world: World, *paths: str) -> None:
    """Publish the messages of mails, as redeliveries would."""
    world.cloud.messages.publish(mails.FUNCTION, *(pieces.message(path, mails.ASK) for path in paths))


def post(
    world: World,
    addresses: Sequence[str] = ("ann@acme.example",),
    *,
    kind: str = "export",
    facts: dict[str, Any] | None = None,
    linked: bool = True,
    then: dict[str, Any] | None = None,
    published: bool = True,
    customer: str = "acme",
    run: str = RUN,
) -> Post:
    """Make the mails of a run, as its end does, and publish them."""
    made = mails.documents(
        run,
        kind,
        "0123456789",
        addresses,
        facts or FACTS,
        customer=customer,
        link=Files(world.acme.account, f"{run}/files") if linked else None,
        then=then,
        at=server_time(world.cloud.db),
    )
    in_commits(
        world.cloud.db,
        (methodcaller("create", world.cloud.db.document(path), fields) for path, fields in made.items()),
    )
    if published:
        mails.publish(world.cloud, customer, server_time(world.cloud.db))
    return Post(world, [path for path in made if "/pieces/" not in path])
