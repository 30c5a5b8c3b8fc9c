"""Jobs in the small world: what clients send, and what becomes of it."""

import json
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
import requests

from shared import exact
from shared.accounts.keys import create_key
from shared.gcp.documents import id_ranges, server_time
from shared.items import store
from shared.jobs import importing
from tests.outside import Outside
from tests.subjects.small_work import SmallWork
from tests.world import Answer, World

ENDED = ("Completed", "Rejected", "Canceled", "Failed")


class Jobs:
    """Imports and exports jobs of a customer, as the published scripts do."""

    def __init__(self, world: World, customer: str = "acme") -> None:
        self.world = world
        self.customer = customer
        self.key = create_key(world.cloud.db, customer=customer, scopes=["jobs"])

    def send(self, path: str, method: str = "POST", **given: Any) -> Answer:
        """Send what the requests library makes of this, with the key."""
        prepared = requests.Request(method, f"http://localhost{path}", **given).prepare()
        body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
        headers = {"Authorization": f"Bearer {self.key}", **dict(prepared.headers)}
        return self.world.request(method, path, body, headers=headers)

    def post(self, path: str, **given: Any) -> dict[str, Any]:
        """The same; returns the job that is answered."""
        answer = self.send(f"/ls/api/batch/{path}", **given)
        assert answer.status == 200, answer
        body: dict[str, Any] = answer.body
        return body

    def begin_import(self, content: bytes, type: str = "Technician", **fields: Any) -> str:
        """Begin an import, and return the job's id."""
        template = fields.pop("template", None)
        files: dict[str, Any] = {"file": ("data/some.csv", content, "text/plain", {"Expires": "0"})}
        if template is not None:
            files["template"] = ("t.vm", template, "application/json", {"Expires": "0"})
        data = {"jobName": "Import", "itemType": type, "contentType": "text/plain", **fields}
        id: str = self.post("import", files=files, data=data)["jobId"]
        return id

    def imported(self, content: bytes, type: str = "Technician", **fields: Any) -> dict[str, Any]:
        """Import, and return the job at its end."""
        return self.ended(self.begin_import(content, type, **fields))

    def exported(self, type: str = "Technician", **fields: Any) -> dict[str, Any]:
        """Export, and return the job at its end."""
        data = {"jobName": "Export", "itemType": type, "contentType": "text/plain", "filters": "0", **fields}
        return self.ended(self.post("export", data=data)["jobId"])

    def status(self, id: str) -> dict[str, Any]:
        """A job as it stands."""
        return self.post("status", data={"jobId": id})

    def ended(self, id: str) -> dict[str, Any]:
        """A job once all messages are delivered."""
        self.world.drain()
        assert not self.world.failures, "\n".join(self.world.failures)
        shown = self.status(id)
        assert shown["status"] in ENDED, shown
        return shown

    def download(self, url: str) -> bytes:
        """What a link leads to."""
        path = url[url.index("/v1/downloads/") :]
        answer = self.world.request("GET", path)
        assert answer.status == 302, answer
        content: bytes = requests.get(answer.headers["Location"], timeout=60).content
        return content

    def items(self, type: str = "Technician") -> list[Any]:
        """The items of a type, by their ids."""
        cloud, now = self.world.cloud, server_time(self.world.cloud.db)
        [part] = id_ranges(0, 1)
        found = store.scan(cloud, self.customer, type, part, now)
        return sorted((exact.loads(each.record) for each in found), key=lambda each: str(each.get("id")))

    def mails(self) -> list[str]:
        """The subjects of the mails that were sent."""
        return sorted(
            str(message_from_bytes(file.read_bytes(), policy=default)["Subject"])
            for file in self.world.suite.outbox.glob("*.eml")
        )

    def letters(self) -> str:
        """The texts of the mails that were sent."""
        letters = []
        for file in sorted(self.world.suite.outbox.glob("*.eml")):
            body = message_from_bytes(file.read_bytes(), policy=default).get_body(("plain",))
            assert body is not None
            letters.append(str(body.get_content()))
        return "\n".join(letters)


class SmallJob(SmallWork):
    """What small jobs have in common."""

    function = "run_job"
    ended = ENDED

    def __init__(self, world: World, outside: Outside) -> None:
        super().__init__(world, outside)
        self.jobs = Jobs(world)
        self.id = self.begin()

    def shown(self) -> dict[str, Any]:
        return self.jobs.status(self.id)

    def reached(self, shown: dict[str, Any]) -> int:
        return int(shown["recordsProcessed"])

    def cancel(self) -> None:
        self.jobs.post("cancel", data={"jobId": self.id})

    def begin(self) -> str:
        """Begin the job."""
        raise NotImplementedError

    def done_once(self) -> None:
        """Check that it completed."""
        raise NotImplementedError

    def cancelled(self, shown: dict[str, Any]) -> None:
        """Check that what it shows after a cancel is true."""
        raise NotImplementedError

    def mail_states(self) -> list[Any]:
        """How far the mails are, for what a failed check says."""
        found = self.world.cloud.db.collection(f"jobs/{self.id}/mails").stream()
        return [
            {name: each.get(name) for name in ("state", "error") if name in (each.to_dict() or {})}
            for each in found
        ]

    def done_or_cancelled(self) -> None:
        shown = self.jobs.status(self.id)
        if shown["status"] == "Completed":
            self.done_once()
            return
        assert shown["status"] == "Canceled", shown
        assert self.world.open_pieces() == []
        self.cancelled(shown)


class SmallImport(SmallJob):
    """An import that makes every kind of call: two chunks, each action, rejected records, one item that is
    there before, and a mail."""

    LINES = (
        b'{"headers": {"action": "Create"}, "data": {"id": "new", "n": 1}}',
        b'{"headers": {"action": "Merge"}, "data": {"id": "there", "m": {"x": 1}}}',
        b'{"headers": {"action": "Create"}, "data": {"id": "new", "n": 2}}',
        b'{"headers": {"action": "Delete"}, "data": {"id": "gone"}}',
        b"no record",
        b'{"id": "plain"}',
    )

    def begin(self) -> str:
        before = b'[{"id": "there", "m": {"y": 2}}, {"id": "gone"}]'
        self.jobs.imported(before, contentType="application/json")
        return self.jobs.begin_import(
            b"\n".join(self.LINES),
            contentType="application/json",
            jobName="Small",
            notificationEmail="ops@acme.example",
        )

    def done_once(self) -> None:
        assert self.world.open_pieces() == []
        shown = self.jobs.status(self.id)
        counted = {name: shown[name] for name in ("status", "recordsProcessed", "recordsRejected")}
        assert counted == {"status": "Completed", "recordsProcessed": "6", "recordsRejected": "2"}, shown
        assert self.jobs.items() == [
            {"id": "new", "n": 1},
            {"id": "plain"},
            {"id": "there", "m": {"y": 2, "x": 1}},
        ]
        rejected = [json.loads(each) for each in self.jobs.download(shown["rejected"]).splitlines()]
        assert len(rejected) == 2, rejected
        assert rejected[0]["data"] == {"id": "new", "n": 2}
        assert rejected[1]["waybill_record"] == "no record"
        assert self.jobs.mails() == ["Small: import completed (Technician)"]
        downloads = [each.get("folder") for each in self.world.cloud.db.collection("downloads").stream()]
        assert downloads == [f"jobs/{self.id}/files"] * 2, "one link for the status, one for the mail"

    def cancelled(self, shown: dict[str, Any]) -> None:
        processed, rejected = int(shown["recordsProcessed"]), int(shown["recordsRejected"])
        there, merged = {"id": "there", "m": {"y": 2}}, {"id": "there", "m": {"y": 2, "x": 1}}
        gone, new = {"id": "gone"}, {"id": "new", "n": 1}
        items = {0: [gone, there], 3: [gone, new, merged], 6: [new, {"id": "plain"}, merged]}
        assert self.jobs.items() == items[processed], shown
        assert rejected == {0: 0, 3: 1, 6: 2}[processed], shown
        found = self.jobs.download(shown["rejected"]).splitlines() if "rejected" in shown else []
        assert len(found) == rejected, found
        left = self.jobs.download(shown["unprocessed"]).splitlines() if "unprocessed" in shown else []
        # Of a file that nobody has looked at, none is made.
        assert left == list(self.LINES[processed:]) or (processed == 0 and not left), (shown, left)
        mails = self.jobs.mails()
        assert mails == ["Small: import canceled (Technician)"], (
            f"{mails}, {self.mail_states()}, {self.world.failures}, {shown}"
        )


class SmallExport(SmallJob):
    """An export that makes every kind of call: two parts, a file, and a mail."""

    def begin(self) -> str:
        self.jobs.imported(b"id,name\n1,Ada\n2,Bob\n3,Eve\n")
        data = {
            "jobName": "Small",
            "itemType": "Technician",
            "contentType": "application/json",
            "filters": str({"name": ["Ada", "Eve"]}),
            "notificationEmail": "ops@acme.example",
        }
        id: str = self.jobs.post("export", data=data)["jobId"]
        return id

    def done_once(self) -> None:
        assert self.world.open_pieces() == []
        shown = self.jobs.status(self.id)
        assert (shown["status"], shown["recordsProcessed"]) == ("Completed", "2"), shown
        [url] = shown["links"]
        records = sorted(json.loads(self.jobs.download(url)), key=lambda each: str(each["id"]))
        assert records == [{"id": "1", "name": "Ada"}, {"id": "3", "name": "Eve"}]
        assert self.jobs.mails() == ["Small: export completed (Technician)"]

    def cancelled(self, shown: dict[str, Any]) -> None:
        assert "links" not in shown, shown
        assert int(shown["recordsProcessed"]) <= 2, shown
        mails = self.jobs.mails()
        assert mails == ["Small: export canceled (Technician)"], (
            f"{mails}, {self.mail_states()}, {self.world.failures}, {shown}"
        )


SmallImports = Callable[[], SmallImport]
SmallExports = Callable[[], SmallExport]


@pytest.fixture
def small_imports(
    new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> SmallImports:
    monkeypatch.setattr(importing, "CHUNK_RECORDS", 3)
    return lambda: SmallImport(new_world(), outside)


@pytest.fixture
def small_exports(
    new_world: Callable[[], World], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> SmallExports:
    monkeypatch.setenv("WAYBILL_PART_RECORDS", "2")
    return lambda: SmallExport(new_world(), outside)
