"""The suite's services in a process of their own, so that the client's CPU is told apart from theirs."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Concatenate, ParamSpec, TypeVar
from unittest.mock import patch

from google.auth.compute_engine import _metadata

from infra.local.project import account_email, make_customer_account, make_customer_bucket, topic_path
from infra.local.pubsub import Delivery
from infra.local.storage import StoredObject
from infra.local.suite import Suite
from infra.local.traffic import READS
from shared.gcp import clients
from shared.gcp.clients import Cloud

ACCOUNT = "waybill-benchmarks"
"""Whom the benchmarks' process runs as: it takes images in and exports them."""

P = ParamSpec("P")
T = TypeVar("T")


class Services:
    """The running suite of another process."""

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe = pipe

    def ask(self, work: Callable[Concatenate[Suite, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have a module's function called there, with the suite first. RuntimeError with its traceback
        where it fails."""
        self._pipe.send((work, args, kwargs))
        done, answer = self._pipe.recv()
        if not done:
            raise RuntimeError(answer)
        result: T = answer
        return result


@contextmanager
def running() -> Iterator[tuple[Services, Cloud]]:
    """Start the services, and make this process's clients of them; at the end both are gone."""
    spawning = multiprocessing.get_context("spawn")  # gRPC does not live through a fork
    ours, theirs = spawning.Pipe()
    with TemporaryDirectory(prefix="waybill-bench-") as state, ours:
        process = spawning.Process(target=_serve, args=(theirs, Path(state)), daemon=True)
        process.start()
        theirs.close()
        services = Services(ours)
        try:
            environment = services.ask(_prepare)
            # google-auth reads where the metadata server is once, when it is imported.
            host = environment["GCE_METADATA_HOST"]
            with patch.dict(os.environ, environment), patch.object(_metadata, "_GCE_METADATA_HOST", host):
                clients.forget()
                yield services, clients.connect()
        finally:
            clients.forget()
            # In order they would say goodbye to each client, and gRPC tells of that among the figures.
            process.terminate()
            process.join()


def _serve(pipe: "Connection[Any, Any]", state: Path) -> None:
    """Carry out what is asked until the other end closes, also by the end of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Suite(state=state / "suite", run_functions=False) as suite:
        while True:
            try:
                work, args, kwargs = pipe.recv()
            except EOFError:
                return
            try:
                answer = True, work(suite, *args, **kwargs)
            except Exception:
                answer = False, traceback.format_exc()
            pipe.send(answer)


# --- what can be asked of it


def _prepare(suite: Suite) -> dict[str, str]:
    account = account_email(ACCOUNT, suite.project)
    suite.identity.create_account(account)
    for bucket in ("uploads", "staging", "images", "records", "datasets"):
        suite.storage.grant(f"{suite.project}-{bucket}", account, "roles/storage.objectUser")
    return suite.env(ACCOUNT)


def function_environment(suite: Suite, function: str) -> dict[str, str]:
    """What the process of a function is given where the suite runs it."""
    return suite.env_of(function)


def onboard(suite: Suite, customer: str, slug: str, bucket: str) -> str:
    """Make a customer's account and bucket, and let us act as them; returns the account's email."""
    email = make_customer_account(suite, customer, slug)
    suite.identity.allow_impersonation(account_email(ACCOUNT, suite.project), email)
    make_customer_bucket(suite, bucket, email)
    return email


def put(suite: Suite, bucket: str, contents: Sequence[tuple[str, bytes]]) -> list[StoredObject]:
    """Write objects past all checks; returns what is in the bucket then."""
    for name, content in contents:
        suite.storage.put(bucket, name, content)
    return suite.storage.list(bucket)


def landed(suite: Suite, bucket: str, prefix: str) -> list[StoredObject]:
    """What is in a bucket under a prefix, in the order of the names."""
    return suite.storage.list(bucket, prefix)


def read(suite: Suite, bucket: str, name: str) -> bytes:
    """An object's content."""
    return suite.storage.read(bucket, name)


def wait(suite: Suite, by: timedelta) -> None:
    """Set the clock forward."""
    suite.move_clock(suite.clock.now() + by)


def documents_read(suite: Suite) -> int:
    """How many documents were read since this was asked last, as Google charges for them."""
    return suite.traffic.take_billed()[READS]


def tick(suite: Suite) -> None:
    """Do what Cloud Scheduler does each minute."""
    suite.tick()


def take(suite: Suite) -> Delivery | None:
    """The first message that is due; None where none is."""
    topics = [topic_path(each.topic, suite.project) for each in suite.bundle.functions.values() if each.topic]
    return suite.pubsub.take(topics)


def acknowledge(suite: Suite, delivery: Delivery) -> None:
    """Settle a message that was taken."""
    suite.pubsub.hand_over(delivery, lambda _: True)
