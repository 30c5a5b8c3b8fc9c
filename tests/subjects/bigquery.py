"""What answers as BigQuery does to whoever loads files: load jobs, whose files are read as their schema says.

It takes JSON Lines, which is all that docs/customers/loading.md loads.
https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from tests.http_server import Quiet, serving

TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "INTEGER": (int,),
    "FLOAT": (int, float),
    "BOOLEAN": (bool,),
    "TIMESTAMP": (str,),
}
"""What a value of each type is in JSON; one of the type JSON is anything.
https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#data_types"""

Read = Callable[[str, str], bytes]


class BigQuery:
    """Keeps what is loaded into each table. `read` gives the content of an object, by bucket and name."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.jobs: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.fail_next = False
        self.lose_answer = False

    @contextmanager
    def listening(self, folder: Path) -> Iterator[dict[str, str]]:
        """The variables by which Google's client finds it. The folder gets the key of an account, which gets
        tokens here."""
        server = make_server("127.0.0.1", 0, Request.application(self._answer), request_handler=Quiet)
        with serving(server) as url:
            key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
            account = {
                "type": "service_account",
                "project_id": "project",
                "client_email": "loader@project.iam.gserviceaccount.com",
                "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
                "token_uri": f"{url}/token",
            }
            (folder / "account.json").write_text(json.dumps(account))
            yield {
                "BIGQUERY_EMULATOR_HOST": url,
                "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
            }

    def _answer(self, request: Request) -> Response:
        if request.path == "/token":
            token = {"access_token": "a-token", "expires_in": 3_600, "token_type": "Bearer"}
            return Response(json.dumps(token), content_type="application/json")
        id = request.path.rpartition("/jobs")[2].strip("/")
        if request.method == "GET" and id in self.jobs:
            return Response(json.dumps(self.jobs[id]), content_type="application/json")
        if request.method == "POST" and not id:
            return self._insert(json.loads(request.get_data()))
        return _error(404, "notFound")

    def _insert(self, sent: dict[str, Any]) -> Response:
        id = sent["jobReference"]["jobId"]
        if id in self.jobs:
            return _error(409, "duplicate")
        job = {**sent, "status": {"state": "DONE"}, "statistics": {}}
        self.jobs[id] = job
        try:
            if self.fail_next:
                self.fail_next = False
                raise BadLoad("Access Denied: File")
            job["statistics"] = {"load": {"outputRows": str(self._load(sent["configuration"]["load"]))}}
        except BadLoad as error:
            job["status"]["errorResult"] = {"reason": "invalid", "message": str(error)}
        if self.lose_answer:
            self.lose_answer = False
            return _error(400, "invalid")
        return Response(json.dumps(job), content_type="application/json")

    def _load(self, load: dict[str, Any]) -> int:
        """All rows of all files, or none."""
        if load["sourceFormat"] != "NEWLINE_DELIMITED_JSON" or load.get("writeDisposition") != "WRITE_APPEND":
            raise BadLoad(f"{load['sourceFormat']}, {load.get('writeDisposition')}")
        rows = []
        for uri in load["sourceUris"]:
            bucket, _, name = uri.removeprefix("gs://").partition("/")
            records = map(json.loads, self._read(bucket, name).decode().split("\n")[:-1])
            rows += [_row(each, load["schema"]["fields"], load["ignoreUnknownValues"]) for each in records]
        table = ".".join(load["destinationTable"].values())
        self.tables.setdefault(table, []).extend(rows)
        return len(rows)


class BadLoad(Exception):
    """A load that fails."""


def _row(record: dict[str, Any], fields: list[dict[str, str]], ignore: bool) -> dict[str, Any]:
    names = [field["name"] for field in fields]
    if not ignore and not record.keys() <= set(names):
        raise BadLoad(f"No such field: {sorted(record.keys() - set(names))}")
    for field in fields:
        value = record.get(field["name"])
        if value is None or field["type"] == "JSON":
            continue
        of_type = isinstance(value, TYPES[field["type"]])
        if not of_type or isinstance(value, bool) != (field["type"] == "BOOLEAN"):
            raise BadLoad(f"{field['name']} is {value!r}, and no {field['type']}")
        if field["type"] == "TIMESTAMP" and datetime.fromisoformat(value).tzinfo is None:
            raise BadLoad(f"{field['name']} is {value!r}")
    return {name: record.get(name) for name in names}


def _error(status: int, reason: str) -> Response:
    error = {"code": status, "message": reason, "errors": [{"reason": reason, "message": reason}]}
    return Response(json.dumps({"error": error}), status=status, content_type="application/json")
