"""Where the suite's mail ends: a folder with each message as a mail program opens it, and each request."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

from infra.local import private
from infra.local.sendgrid.checks import addresses


class Outbox:
    """The folder. A file in it is whole from the start; `keep` and `sent` are for one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        private.folder(folder)

    def keep(
        self, sent: dict[str, Any], message_id: str, at: datetime, suppressed: Callable[[str], bool]
    ) -> None:
        """Write `<time>_<message id>.json`, the request, and before it a `.eml` for each personalization, the
        second and later with `_2`, `_3` behind the id. What would go to nobody but suppressed addresses is
        dropped, as SendGrid does: https://www.twilio.com/docs/sendgrid/glossary/drops
        """
        stem = f"{at:%Y%m%dT%H%M%S.%fZ}_{message_id}"
        for number, personalization in enumerate(sent["personalizations"], 1):
            if not all(suppressed(each) for each in addresses(personalization, "to", "cc", "bcc")):
                name = f"{stem}.eml" if number == 1 else f"{stem}_{number}.eml"
                self._write(name, bytes(letter(sent, personalization, at)))
        self._write(f"{stem}.json", json.dumps(sent, ensure_ascii=False, indent=2).encode())

    def sent(self) -> list[dict[str, Any]]:
        """The requests that were accepted, oldest first."""
        return [json.loads(file.read_bytes()) for file in sorted(self._folder.glob("*.json"))]

    def empty(self) -> None:
        """Remove every file."""
        for file in self._folder.iterdir():
            file.unlink()

    def files(self) -> dict[str, bytes]:
        """The content of every file, by its name."""
        return {file.name: file.read_bytes() for file in self._folder.iterdir()}

    def hold(self, files: Mapping[str, bytes]) -> None:
        """Hold these files and no other."""
        self.empty()
        for name, content in files.items():
            self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        private.write(self._folder / name, content)  # mails hold links that are secret


def letter(sent: dict[str, Any], personalization: dict[str, Any], at: datetime) -> EmailMessage:
    """What the recipients of one personalization get, of a request that was checked: who is in `bcc` is not
    in it."""
    message = EmailMessage(policy=SMTP)
    headers = {name.lower(): (name, value) for name, value in sent.get("headers", {}).items()}
    headers |= {name.lower(): (name, value) for name, value in personalization.get("headers", {}).items()}
    for name, value in headers.values():
        message[name] = _line(value)
    message["From"] = _address(sent["from"])
    for field in ("to", "cc"):
        if personalization.get(field):
            message[field.title()] = [_address(box) for box in personalization[field]]
    if "reply_to" in sent:
        message["Reply-To"] = _address(sent["reply_to"])
    message["Subject"] = _line(personalization.get("subject") or sent["subject"])
    del message["Date"]
    message["Date"] = at
    first, *others = sent["content"]
    message.set_content(first["value"], subtype=_subtype(first))
    for other in others:
        message.add_alternative(other["value"], subtype=_subtype(other))
    return message


def _address(box: dict[str, Any]) -> Address:
    username, _, domain = box["email"].rpartition("@")
    return Address(_line(box.get("name") or ""), username, domain)


def _subtype(content: dict[str, Any]) -> str:
    return str(content["type"]).rpartition("/")[2]


def _line(text: str) -> str:
    # Python's email package takes more characters for the end of a line than CR and LF, and refuses them.
    return " ".join(text.splitlines())
