"""Analysers that a test makes up: real servers on 127.0.0.1, which say what the test says. And what they are
asked about."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image as Picture

from shared.accounts.customers import Parameter, Site, add_site
from shared.analysis import queue, steps
from shared.gcp.clients import Cloud
from shared.gcp.documents import server_time
from shared.workorders import store
from tests.world import SITE, World


@dataclass(frozen=True)
class Reply:
    """What is answered; with `endless` the body is repeated until the caller hangs up."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.content)
        return value


Answers = Callable[[Asked], Reply]


class Analyser:
    """Answers each request as `answers` says; `asked` has them all. `over` is set when the test ends."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[Asked] = []
        self.sent = 0
        self.over = threading.Event()
        analyser = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, content)
                analyser.asked.append(asked)
                reply = analyser.answers(asked)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if not reply.endless:
                    self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                self.wfile.write(reply.content)
                analyser.sent += len(reply.content)
                while reply.endless and not analyser.over.is_set():
                    try:
                        self.wfile.write(reply.content)
                    except OSError:
                        return  # the caller hung up, as it should
                    analyser.sent += len(reply.content)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/secret-path?token=s3cr3t"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def analysing(answers: Answers | Reply) -> Iterator[Analyser]:
    """An analyser that answers so, until the test leaves."""
    analyser = Analyser(answers if callable(answers) else lambda _: answers)
    try:
        yield analyser
    finally:
        analyser.close()


def result(input_id: str, value: Any = 7, **more: Any) -> dict[str, Any]:
    """One result of the task `reading`."""
    return {
        "input_id": input_id,
        "task_name": "reading",
        "analyzed_value": value,
        "message": None,
        "is_conformity_validated": True,
    } | more


def right(asked: Asked) -> Reply:
    """What a good analyser answers: 7 for each image."""
    return Reply(body={"results": [result(image["id"]) for image in asked.body["images"]]})


def ask(cloud: Cloud, site: Site, id: str, *, publish: bool = True) -> None:
    """Have a work order analysed, as whoever made that due would."""
    steps.ready(cloud, site)
    kept = store.look(cloud, site, id).stored
    for path, piece in queue.due(site)(kept, server_time(cloud.db)).items():
        cloud.db.document(path).set(dict(piece))
    if publish:
        queue.publish_queued(cloud, site)


def photograph(seed: int = 1, side: int = 640) -> bytes:
    """A PNG that every check is content with: stripes, other ones for each seed."""
    picture = Picture.new("L", (side, side))
    picture.putdata([(x * (3 + seed) + y * 5) % 256 for y in range(side) for x in range(side)])
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


CONTENTS = [photograph(1), photograph(2)]


KIND_ONLY = (Parameter("kind", "string", required=False),)


def site_with(world: World, url: str | None, parameters: tuple[Parameter, ...] = KIND_ONLY) -> Site:
    """The first site, with two task groups, these parameters, and an analyser at `url`, if any."""
    return add_site(
        world.cloud.db,
        id=SITE,
        customer="acme",
        name="North",
        task_groups=("meter", "door"),
        required=("meter",),
        parameters=parameters,
        analysis_url=url,
    )
