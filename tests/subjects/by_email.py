"""An export by email, and what came of its mails."""

from typing import Any

import requests

from shared.gcp.documents import fields_of
from tests.shared.outbox.post import recipient, tokens
from tests.world import OTHER_SITE, SITE, Answer, World

ANN, BOB, CYD, DAN, EVE = (f"{name}@acme.example" for name in ("ann", "bob", "cyd", "dan", "eve"))


def by_email(world: World, *addresses: str, **changes: Any) -> str:
    """Make a daily export of both sites to these addresses, and return its id."""
    whole = {
        "site_ids": [SITE, OTHER_SITE],
        "file_format": "csv",
        "connector_type": "email",
        "connector_config": {"emails": list(addresses or (ANN, BOB))},
    }
    return world.export(**whole | changes)


def work(world: World, count: int = 3) -> list[str]:
    """That many work orders, the last of the other site; returns their ids, in order."""
    made = [world.work_order(f"WO_{number}", photographs=1) for number in range(count - 1)]
    last = world.work_order(f"WO_{count - 1}", site=world.other_site, photographs=0)
    return sorted(each.id for each in (*made, last))


def only(world: World, export: str) -> dict[str, Any]:
    """The audit event of the export's only run."""
    (event,) = world.audit(export)
    return event


def asked(world: World, method: str, path: str, status: int = 200, **more: Any) -> dict[str, Any]:
    answer = world.request(method, path, **more)
    assert answer.status == status, answer
    body: dict[str, Any] = answer.body
    return body


def listed(world: World, export: str, kind: str = "export") -> dict[str, dict[str, Any]]:
    """The mails of that kind of the export's only run as its customer sees them, by their addresses."""
    path = f"/v1/exports/{export}/runs/{only(world, export)['run_id']}/mails"
    found = [each for each in asked(world, "GET", path)["mails"] if each["kind"] == kind]
    assert len({each["address"] for each in found}) == len(found), found
    return {each["address"]: each for each in found}


def sent_to(world: World) -> list[str]:
    """Whom SendGrid has taken a message to, a message each, in the order of their names."""
    return sorted(recipient(each) for each in world.suite.sendgrid.sent)


def token_of(world: World, address: str, number: int = -1) -> str:
    """The token in a message to the address, by default in the last one."""
    theirs = [each for each in world.suite.sendgrid.sent if recipient(each) == address]
    (token,) = tokens(theirs[number])
    return token


def clicked(world: World, token: str, query: str = "") -> Answer:
    return world.request("GET", f"/v1/downloads/{token}{query}", headers={"User-Agent": "Mozilla/5.0"})


def downloaded(world: World, token: str, query: str = "") -> bytes:
    """What a reader gets by a link."""
    answer = clicked(world, token, query)
    assert answer.status == 302, answer
    got = requests.get(answer.headers["Location"], timeout=10)
    assert got.status_code == 200, got.text
    return got.content


def staged(world: World, export: str) -> dict[str, bytes]:
    """What the export's only run has staged for delivery, by the ids of its files."""
    run = only(world, export)["run_id"]
    found = world.cloud.db.collection(f"exports/{export}/runs/{run}/files").stream()
    files = {each.id: fields_of(each)["staged"] for each in found}
    return {id: world.suite.storage.read(file["bucket"], file["name"]) for id, file in files.items()}


def by_status(event: dict[str, Any]) -> dict[str, str]:
    """The mails that an audit event names as not sent."""
    return {each["address"]: each["status"] for each in event["mails_not_sent"]}
