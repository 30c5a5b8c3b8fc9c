"""A Cloud Storage and an identity service behind one server, and clients for each account."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import requests
from aiohttp import web
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Client
from google.oauth2.credentials import Credentials

from infra.local.clock import SuiteClock
from infra.local.http_server import HttpServer
from infra.local.identity import Identity
from infra.local.storage import StorageService
from infra.local.traffic import Traffic

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
OWNER = "owner@waybill-test.iam.gserviceaccount.com"
OTHER = "other@waybill-test.iam.gserviceaccount.com"
BUCKET = "staging-bucket"
CUSTOMER = "customer-bucket"
FAR = "far-bucket"


@dataclass
class Suite:
    """A running server, and what it is made of."""

    directory: Path
    clock: SuiteClock
    traffic: Traffic
    identity: Identity
    storage: StorageService
    server: HttpServer
    url: str
    sessions: list[requests.Session] = field(default_factory=list)

    def client(self, email: str = OWNER, *, token: str | None = None) -> Client:
        return self._client(Credentials(token=token or self.identity.mint(email)))

    def anonymous(self) -> Client:
        return self._client(AnonymousCredentials())

    def _client(self, credentials: Any) -> Client:
        # The client would answer a 401 by refreshing what cannot be refreshed, and never show it.
        transport = AuthorizedSession(credentials, refresh_status_codes=())
        with mock.patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": self.url}):
            return Client(project="waybill-test", credentials=credentials, _http=transport)

    def session(self, email: str | None = OWNER) -> requests.Session:
        """A plain HTTP session as an account, or anonymous."""
        session = requests.Session()
        session.trust_env = False
        if email is not None:
            session.headers["Authorization"] = f"Bearer {self.identity.mint(email)}"
        self.sessions.append(session)
        return session

    def stop(self) -> None:
        for session in self.sessions:
            session.close()
        self.server.stop()
        self.storage.close()


def start(directory: Path, clock: SuiteClock | None = None) -> Suite:
    clock = clock or SuiteClock(frozen_at=START)
    traffic = Traffic()
    identity = Identity(traffic=traffic, file=directory / "identity.json")
    service = StorageService(clock=clock, traffic=traffic, identity=identity, directory=directory / "storage")
    app = web.Application()
    app.add_routes(identity.routes())
    app.add_routes(service.routes())
    server = HttpServer(app)
    url = f"http://127.0.0.1:{server.start()}"
    return Suite(directory, clock, traffic, identity, service, server, url)


def error(response: requests.Response) -> dict[str, Any]:
    """The error in an answer, its reason pulled up."""
    body = response.json()["error"]
    assert body["code"] == response.status_code
    assert body["errors"][0]["message"] == body["message"]
    assert body["errors"][0]["domain"] == "global"
    return {**body, "reason": body["errors"][0]["reason"]}
