"""Google Cloud on a laptop: all services of the suite in this process, on one clock, and the functions."""

import fcntl
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO

from aiohttp import web
from google.api_core.exceptions import GoogleAPIError

from infra.bundle import Bundle, Function
from infra.local import control, private, secrets
from infra.local.clock import SuiteClock
from infra.local.dispatcher import Dispatcher, push_to
from infra.local.firestore import FirestoreService
from infra.local.front_door import front_door
from infra.local.http_server import HttpServer
from infra.local.identity import Identity
from infra.local.processes import REPOSITORY, FunctionProcesses
from infra.local.project import (
    account_email,
    allow_own_pages,
    make_project,
    publish_to,
    topic_path,
    trigger_topic,
)
from infra.local.pubsub import Delivery, PubSubService
from infra.local.scheduler import SchedulerService
from infra.local.sendgrid import BEGINNING, SendGridService
from infra.local.storage import StorageService
from infra.local.traffic import Traffic

REGION = "europe-west1"
"""Where the project's Scheduler job is to be: of an operator's commands, what Terraform has by default."""

TICK_TOPIC = "tick"
"""Where the one Scheduler job publishes."""

TICK_DATA = b"{}"
"""What it publishes: nothing but the fact."""

MAIL_FROM = "waybill@waybill.example"
"""Where mail comes from here: a name that can be nobody's. https://www.rfc-editor.org/rfc/rfc2606#section-2"""

NO_DOOR = "http://waybill.example"
"""What links in mails begin with where there is no front door, so that they are whole in tests, too."""


@dataclass(frozen=True)
class Ports:
    """Where on 127.0.0.1 the suite listens; 0 takes any free port.

    http holds Cloud Storage, the IAM credentials API, the metadata server, SendGrid and the suite's own
    control.
    """

    http: int = 0
    firestore: int = 0
    pubsub: int = 0
    scheduler: int = 0
    front_door: int = 0


@dataclass(frozen=True)
class Emulators:
    """Servers of the user's own that take the place of ours; empty where ours is used.

    firestore, pubsub  host:port
    storage            http://host:port
    """

    firestore: str = ""
    pubsub: str = ""
    storage: str = ""


class StateInUse(Exception):
    """Another suite runs on the same state."""


class PortTaken(Exception):
    """A port is taken; `service` is the field of Ports that asked for it, `port` the port."""

    def __init__(self, service: str, port: int) -> None:
        super().__init__(f"port {port}, for {service}, is taken")
        self.service = service
        self.port = port


class Suite:
    """All services, started and stopped together. Use it as a context manager, or call start and stop, once.

    state          a directory; what it holds survives restarts and kills. One suite at a time: StateInUse.
    run_functions  False: only the services; tests deliver messages through `pubsub.deliver_due`
    push           takes the place of posting events to the functions' processes
    emulators      servers to use instead of ours
    settings       more variables for the functions' environment
    root           where infra/bundle.yaml and functions/ are

    A frozen clock is for tests in this process; functions in their own see the suite's times all the same.
    """

    def __init__(
        self,
        *,
        state: Path,
        clock: SuiteClock | None = None,
        ports: Ports | None = None,
        project: str = "waybill-local",
        run_functions: bool = True,
        push: Callable[[Delivery], bool] | None = None,
        emulators: Emulators | None = None,
        settings: Mapping[str, str] | None = None,
        root: Path = REPOSITORY,
    ) -> None:
        self.state = state
        self.project = project
        self.emulators = emulators or Emulators()
        self.settings = dict(settings or {})
        self.bundle = Bundle.load(root / "infra" / "bundle.yaml")
        self._secrets: dict[str, str] = {}
        self._asked = ports or Ports()
        self._listening: dict[str, int] = {}
        self._servers: list[HttpServer] = []
        self._run_functions = run_functions
        # Databases, buckets and logs of customers are in it, too.
        private.folder(state)
        self._stack = ExitStack()
        with ExitStack() as opened:
            opened.enter_context(_lock(state / "lock"))
            self.clock = clock or SuiteClock(file=state / "clock.json")
            self._secrets = secrets.kept(state / "secrets.json", self.bundle.secrets)
            self.traffic = Traffic()
            self.identity = Identity(traffic=self.traffic, file=state / "identity.json")
            self.storage = StorageService(
                clock=self.clock, traffic=self.traffic, identity=self.identity, directory=state / "storage"
            )
            opened.callback(self.storage.close)
            self.firestore = FirestoreService(
                clock=self.clock,
                traffic=self.traffic,
                file=state / "firestore.sqlite",
                indexes=REPOSITORY / "infra" / "firestore.indexes.json",
            )
            opened.callback(self.firestore.stop)
            self.pubsub = PubSubService(clock=self.clock, traffic=self.traffic, file=state / "pubsub.sqlite")
            opened.callback(self.pubsub.stop)
            self.scheduler = SchedulerService(
                clock=self.clock,
                traffic=self.traffic,
                file=state / "scheduler.json",
                publish=self._publish,
            )
            opened.callback(self.scheduler.stop)
            self.sendgrid = SendGridService(
                clock=self.clock,
                traffic=self.traffic,
                key=self._secrets.get(secrets.SENDGRID_KEY, ""),
                outbox=self.outbox,
                file=state / "suppressions.json",
            )
            self.processes = FunctionProcesses(
                self.bundle.functions, env=self._function_env, logs=state / "logs", root=root
            )
            opened.callback(self.processes.stop)
            self._stack = opened.pop_all()
        self._push = push or push_to(self.processes)
        self._dispatcher: Dispatcher | None = None
        self._moving = threading.Condition()
        self._moved = self._stopping = False

    def start(self) -> None:
        """Listen, make the project, and deliver what waits. PortTaken where a port is not free."""
        try:
            for service in self._listens():
                _refuse_taken(service, getattr(self._asked, service))
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the functions and every service. What is not done is done after the next start."""
        with self._moving:
            self._stopping = True
            self._moving.notify_all()
        self._stack.close()

    def reset(self) -> None:
        """Be as after `start`, on the same ports, with all state gone and the clock where it began: cheaper
        than a new suite for each test.

        Only without functions, whose processes have state of their own, and on a frozen clock (ValueError).
        What is asked of the services must have been answered; of calls that their callers gave up it waits
        for the end.
        """
        self._wait_idle()
        self.clock.restart()
        with self.identity.together():
            self.identity.reset()
            self.storage.reset()
            self.firestore.reset()
            self.pubsub.reset()
            self.scheduler.reset()
            self.sendgrid.reset()
            self.traffic.reset()
            make_project(self)

    def kept(self) -> Callable[[], None]:
        """What takes the state and the clock back to now, as often as it is called: cheaper than coming here
        once more. When it may be called is as for `reset`."""
        self._wait_idle()
        services = (
            self.clock,
            self.identity,
            self.storage,
            self.firestore,
            self.pubsub,
            self.scheduler,
            self.sendgrid,
            self.traffic,
        )
        each = [service.kept() for service in services]

        def restore() -> None:
            self._wait_idle()
            for back in each:
                back()

        return restore

    def _wait_idle(self) -> None:
        """Wait for the end of what was asked. ValueError for a suite that runs functions."""
        if self._run_functions:
            raise ValueError("a suite that runs functions cannot be reset")
        for server in self._servers:
            server.wait_idle()

    def __enter__(self) -> "Suite":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the HTTP functions answer; empty without functions."""
        return f"http://127.0.0.1:{self._listening['front_door']}" if "front_door" in self._listening else ""

    @property
    def own_url(self) -> str:
        """What the functions take for their own address."""
        return self.url or NO_DOOR

    @property
    def control_url(self) -> str:
        """Where Storage, IAM, the metadata server, SendGrid and the suite's control answer."""
        return f"http://127.0.0.1:{self._listening['http']}"

    @property
    def outbox(self) -> Path:
        """The folder where mail ends: `.eml` for each message, `.json` for each request."""
        return self.state / "outbox"

    def env(self, account: str | None = None) -> dict[str, str]:
        """The variables by which Google's clients, the functions and the operators' commands find the suite,
        and every secret.

        `account`, a name of bundle.yaml or an email, is whom the metadata server takes the caller for;
        without one it gives no token.
        """
        commands = {"WAYBILL_SCHEDULER_HOST": self._host("scheduler"), "GOOGLE_CLOUD_REGION": REGION}
        return {**self._addresses(account), **commands, **self._secrets}

    def env_of(self, function: str) -> dict[str, str]:
        """The variables of a function of the bundle; KeyError where there is none of that name."""
        return self._function_env(self.bundle.functions[function])

    def _addresses(self, account: str | None) -> dict[str, str]:
        here = f"127.0.0.1:{self._listening['http']}"
        metadata = f"{here}/as/{account_email(account, self.project)}" if account else here
        return {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "STORAGE_EMULATOR_HOST": self.emulators.storage or f"http://{here}",
            "FIRESTORE_EMULATOR_HOST": self.emulators.firestore or self._host("firestore"),
            "PUBSUB_EMULATOR_HOST": self.emulators.pubsub or self._host("pubsub"),
            "IAM_CREDENTIALS_URL": f"http://{here}",
            "GCE_METADATA_HOST": metadata,
            "GCE_METADATA_IP": metadata,
            "WAYBILL_SENDGRID_URL": f"http://{here}{BEGINNING}",
            "WAYBILL_MAIL_FROM": MAIL_FROM,
            "WAYBILL_URL": self.own_url,
        }

    def move_clock(self, at: datetime) -> datetime:
        """Set the clock, never back (ValueError), and wake what waits for it. Returns the time it is."""
        with self._moving:
            now = self.clock.set(at)
            self._moved = True
            self._moving.notify_all()
        if self._dispatcher is not None:
            self._dispatcher.wake()
        return now

    def tick(self, at: datetime | None = None) -> None:
        """Do what Cloud Scheduler does each minute; with `at`, set the clock to it first, never back."""
        if at is not None:
            self.move_clock(at)
        topic = topic_path(TICK_TOPIC, self.project)
        if self.emulators.pubsub:
            publish_to(self.emulators.pubsub, topic, TICK_DATA)
        else:
            self.pubsub.publish(topic, TICK_DATA)

    def own_hosts(self) -> dict[str, str]:
        """Of the variables that name a server, those that name one of this suite's own."""
        servers = {
            "FIRESTORE_EMULATOR_HOST": self.emulators.firestore,
            "PUBSUB_EMULATOR_HOST": self.emulators.pubsub,
            "STORAGE_EMULATOR_HOST": self.emulators.storage,
        }
        addresses = self._addresses(None)
        return {variable: addresses[variable] for variable, theirs in servers.items() if not theirs}

    def tick_each_minute(self) -> None:
        """From now on tick at each whole minute of the suite's clock; minutes that it leaps are left out.

        Where `python -m infra ticks` has made a Scheduler job it is that which ticks, on its own schedule.
        """
        scheduler = threading.Thread(target=self._tick_each_minute, name="scheduler", daemon=True)
        self._stack.callback(scheduler.join)
        scheduler.start()

    def push_url(self, function: str) -> str:
        """Where a Pub/Sub that is not ours pushes a function's messages."""
        return f"{self.control_url}/_suite/push/{function}"

    def push(self, delivery: Delivery) -> bool:
        """Deliver one message to its function, as the dispatcher does."""
        return self._push(delivery)

    def _listens(self) -> list[str]:
        """The fields of Ports that this suite listens at."""
        given = {"firestore": self.emulators.firestore, "pubsub": self.emulators.pubsub}
        unused = {service for service, host in given.items() if host}
        if not self._run_functions:
            unused.add("front_door")
        return [field.name for field in fields(self._asked) if field.name not in unused]

    def _start(self) -> None:
        app = web.Application(client_max_size=0)
        # Storage last: an object of a bucket is any path that is nobody else's.
        routes = (control.routes(self), self.identity.routes(), self.sendgrid.routes(), self.storage.routes())
        for each in routes:
            app.add_routes(each)
        self._stack.callback(self._serve("http", app).stop)
        if not self.emulators.firestore:
            self._listening["firestore"] = self.firestore.start(self._asked.firestore)
        if not self.emulators.pubsub:
            self._listening["pubsub"] = self.pubsub.start(self._asked.pubsub)
        self._listening["scheduler"] = self.scheduler.start(self._asked.scheduler)
        make_project(self)
        self.storage.hand_events_to(self._publish)
        if self._run_functions:
            door = self._serve("front_door", front_door(self.bundle, self.processes))
            if not self.emulators.storage:
                allow_own_pages(self, self.project)  # once more: only now it is known where they are
            self._dispatch()
            self._stack.callback(door.stop)

    def _publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> bool:
        """Take an event of Storage's; False where the user's own Pub/Sub does not: it is tried again."""
        if not self.emulators.pubsub:
            self.pubsub.publish(topic, data, attributes)
            return True
        try:
            publish_to(self.emulators.pubsub, topic, data, attributes)
        except GoogleAPIError as refused:
            print(f"an event for {topic} waits: {refused}", file=sys.stderr)
            return False
        return True

    def _serve(self, service: str, app: web.Application) -> HttpServer:
        server = HttpServer(app)
        self._servers.append(server)
        self._listening[service] = server.start(getattr(self._asked, service))
        return server

    def _dispatch(self) -> None:
        topics = {
            topic: function.concurrency
            for function in self.bundle.functions.values()
            if (topic := trigger_topic(function, self.project)) is not None
        }
        dispatcher = Dispatcher(pubsub=self.pubsub, clock=self.clock, concurrency=topics, push=self.push)
        self._dispatcher = dispatcher
        # Backwards: begin nothing more, end the functions, and see what became of what they were doing.
        self._stack.callback(dispatcher.join)
        self._stack.callback(self.processes.stop)
        self._stack.callback(dispatcher.stop)
        dispatcher.start()

    def _host(self, service: str) -> str:
        return f"127.0.0.1:{self._listening[service]}"

    def _function_env(self, function: Function) -> dict[str, str]:
        own = {name: self._secrets[name] for name in function.secrets}
        return {**self._addresses(function.account), **own, **self.settings}

    def _tick_each_minute(self) -> None:
        due = _next_minute(self.clock.now())
        while True:
            with self._moving:
                if self._stopping:
                    return
                now = self.clock.now()
                if self._moved:
                    self._moved = False
                    due = _next_minute(now)
                if now < due:
                    self._moving.wait((due - now).total_seconds())
                    continue
                minute, due = due, _next_minute(now)
            if self.scheduler.has_jobs():
                self.scheduler.run_due(minute)
            else:
                self.tick()


def _next_minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _lock(file: Path) -> IO[str]:
    """Hold the state for as long as the file is open; the kernel lets go when the process ends."""
    held = file.open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        raise StateInUse(
            f"a suite already runs on the state in {file.parent}: stop that one first"
        ) from error
    return held


def _refuse_taken(service: str, port: int) -> None:
    if port:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            raise PortTaken(service, port) from error
