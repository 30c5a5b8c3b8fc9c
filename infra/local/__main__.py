"""The commands of the suite, `python -m infra.local COMMAND`: up, tick, ls, get, demo."""

import argparse
import importlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra import command_line

with command_line.packages():
    import grpc
    import requests

    from infra.local import buckets, private
    from infra.local.processes import REPOSITORY
    from infra.local.suite import Emulators, Ports, PortTaken, StateInUse, Suite

PORTS = {
    "front_door": ("WAYBILL_PORT", 8085),
    "http": ("WAYBILL_HTTP_PORT", 8086),
    "firestore": ("WAYBILL_FIRESTORE_PORT", 8087),
    "pubsub": ("WAYBILL_PUBSUB_PORT", 8088),
    "scheduler": ("WAYBILL_SCHEDULER_PORT", 8089),
}
"""For each service its variable and its port where that is not set."""

SERVERS = {
    "firestore": "FIRESTORE_EMULATOR_HOST",
    "pubsub": "PUBSUB_EMULATOR_HOST",
    "storage": "STORAGE_EMULATOR_HOST",
}
"""The variable that names a server of the user's own, for each service that can be one."""

OWN = "WAYBILL_OWN_SERVERS"
"""Which of those variables name the own servers of the suite that shows them: VARIABLE=HOST, with commas."""

ANSWER_SECONDS = 5
"""How long a server of the user's own may take to answer at all."""

ENV_FILE = "env"
"""In the state's directory: how to reach the running suite, as KEY=VALUE lines. There while it runs."""

OPERATOR = "waybill-source-exporter"
"""Whom `python -m infra` runs as on a laptop: one of our accounts that may act as customers do."""

CONTROL_SECONDS = 30

_NO_SUITE = "No suite is running on the state in {}: start one with `make up`."


class _Sentence(Exception):
    """What went wrong, for a person to read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local", description="Google Cloud on this machine."
    )
    parser.add_argument(
        "--state",
        type=_directory,
        default=REPOSITORY / ".local",
        help="the directory that holds what survives a restart (default: .local in the checkout)",
    )
    parser.add_argument(
        "--root",
        type=_directory,
        default=REPOSITORY,
        help="where functions/ and infra/bundle.yaml are (default: the checkout)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    variables = ", ".join(f"{variable} ({port})" for variable, port in PORTS.values())
    commands.add_parser(
        "up",
        help="run the suite in the foreground, until Ctrl-C",
        description=f"Run the suite until Ctrl-C or SIGTERM. Ports come from the environment: {variables}. "
        "FIRESTORE_EMULATOR_HOST, PUBSUB_EMULATOR_HOST and STORAGE_EMULATOR_HOST, where they are set, name "
        "servers to use instead of ours.",
    )
    tick = commands.add_parser(
        "tick",
        help="set the running suite's clock, and tick",
        description="Tick now or, with AT, set the suite's clock to AT first. It never goes back.",
    )
    tick.add_argument(
        "at", metavar="AT", nargs="?", help="a time with its zone, such as 2026-11-23T02:00:00Z"
    )
    onboard = commands.add_parser(
        "customer",
        help="make a customer's account and bucket in the running suite",
        description="Make the account that ID and SLUG name, as Terraform does, and the BUCKET with its "
        "grant, as the customer does. `python -m infra add-customer` tells Waybill of the customer.",
    )
    for argument in ("id", "slug", "bucket"):
        onboard.add_argument(argument, metavar=argument.upper())
    looking = commands.add_parser(
        "ls",
        help="list what is in a bucket of the running suite",
        description="List size, time and name of each object in PLACE, gs://bucket/prefix. Without PLACE it "
        "is the demo customer's bucket.",
    )
    fetching = commands.add_parser(
        "get",
        help="fetch what is in a bucket of the running suite",
        description="Write each object in PLACE, gs://bucket/prefix, below the folder TO. Without them it is "
        "the demo customer's bucket, and .local/got. Files that are there are replaced.",
    )
    for each in (looking, fetching):
        each.add_argument("place", metavar="PLACE", nargs="?", help="such as gs://demo-telecom-bi/first")
    fetching.add_argument("to", metavar="TO", nargs="?", type=_directory, help="a folder, made if need be")
    commands.add_parser("demo", help="two days of a scheduled export, end to end, in about a minute")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "up":
            return _up(asked.state, asked.root, os.environ)
        if asked.command == "tick":
            return _tick(asked.state, asked.at)
        if asked.command == "customer":
            return _customer(asked.state, id=asked.id, slug=asked.slug, bucket=asked.bucket)
        if asked.command == "ls":
            return _list(asked.state, asked.place)
        if asked.command == "get":
            return _get(asked.state, asked.place, asked.to)
        return int(importlib.import_module("infra.local.demo").main() or 0)
    except (_Sentence, buckets.Refused) as told:
        print(told, file=sys.stderr)
        return 1


def _directory(said: str) -> Path:
    # Functions run in a directory of their own.
    return Path(said).resolve()


def _up(state: Path, root: Path, environment: Mapping[str, str]) -> int:
    ports = Ports(**{service: _port(environment, *named) for service, named in PORTS.items()})
    emulators = _emulators(environment)
    _check(emulators)
    stop = threading.Event()

    def stopping(_number: int, _frame: object) -> None:
        # The second one ends the process at once; the functions notice that by themselves.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop.set()

    signal.signal(signal.SIGINT, stopping)
    signal.signal(signal.SIGTERM, stopping)
    file = state / ENV_FILE
    try:
        suite = Suite(state=state, ports=ports, emulators=emulators, root=root)
        # One that was killed left its own behind.
        file.unlink(missing_ok=True)
        suite.start()
    except StateInUse as error:
        raise _Sentence(f"{error}.") from error
    except PortTaken as taken:
        raise _Sentence(
            f"Port {taken.port} is taken: set {PORTS[taken.service][0]} to a port that is free."
        ) from taken
    try:
        suite.tick_each_minute()
        lines = "".join(f"{key}={value}\n" for key, value in _shown(suite, root).items())
        private.write(file, lines)  # a key is in it
        print(lines + f"The suite is up; {file} says the same. Ctrl-C stops it.", flush=True)
        stop.wait()
    finally:
        file.unlink(missing_ok=True)
        suite.stop()
    return 0


def _shown(suite: Suite, root: Path) -> dict[str, str]:
    """What users of the running suite need; in this checkout, the demo customer's key and bucket too."""
    shown = suite.env()
    if root == REPOSITORY:
        customer = importlib.import_module("infra.local.demo_customer").ensure(suite)
        shown = {**suite.env(OPERATOR), **customer}
    own = ",".join(f"{variable}={host}" for variable, host in suite.own_hosts().items())
    return {**shown, "WAYBILL_OUTBOX": str(suite.outbox), OWN: own}


def _port(environment: Mapping[str, str], variable: str, default: int) -> int:
    said = environment.get(variable) or str(default)
    if not said.isdecimal() or int(said) > 65_535:
        raise _Sentence(f"{variable}={said} is no port: give a number up to 65535, 0 for any that is free.")
    return int(said)


def _emulators(environment: Mapping[str, str]) -> Emulators:
    """The servers of the user's own; what a shell has from a suite's `env` file names none of those."""
    ours = set(environment.get(OWN, "").split(","))
    said = {
        variable: "" if f"{variable}={host}" in ours else host
        for variable in SERVERS.values()
        if (host := environment.get(variable, ""))
    }
    storage = said.get(SERVERS["storage"], "").rstrip("/")
    if storage and "://" not in storage:
        storage = f"http://{storage}"
    return Emulators(
        firestore=said.get(SERVERS["firestore"], ""), pubsub=said.get(SERVERS["pubsub"], ""), storage=storage
    )


def _check(emulators: Emulators) -> None:
    """A sentence where a server of the user's own does not answer as what it is to be.

    Google's clients try for minutes, and say nothing.
    """
    for service in ("firestore", "pubsub"):
        host = getattr(emulators, service)
        if not host:
            continue
        if not re.fullmatch(r"[^/\s:]+:\d+|\[[^/\s]+\]:\d+", host):
            raise _Sentence(f"{SERVERS[service]}={host} is no server: it must be HOST:PORT.")
        with grpc.insecure_channel(host) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
            except grpc.FutureTimeoutError as error:
                raise _silent(service, host) from error
    if emulators.storage:
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.get(
                    f"{emulators.storage}/storage/v1/b?project=any", timeout=ANSWER_SECONDS, stream=True
                )
        except requests.ConnectionError as error:
            raise _silent("storage", emulators.storage) from error
        except requests.Timeout as error:
            raise _silent("storage", emulators.storage) from error
        except (requests.RequestException, ValueError) as error:
            raise _Sentence(
                f"{SERVERS['storage']}={emulators.storage} is no server: it must be http://HOST:PORT."
            ) from error


def _silent(service: str, host: str) -> _Sentence:
    return _Sentence(
        f"{SERVERS[service]} is set to {host}, and no server answers there: start that server, or unset "
        f"{SERVERS[service]} to use the suite's own."
    )


def _running(state: Path) -> dict[str, str]:
    """How to reach the running suite."""
    try:
        lines = (state / ENV_FILE).read_text().splitlines()
    except FileNotFoundError as error:
        raise _Sentence(_NO_SUITE.format(state)) from error
    return dict(line.split("=", 1) for line in lines)


def _list(state: Path, said: str | None) -> int:
    env = _running(state)
    where = _place(env, said)
    number = size = 0
    for each in buckets.listed(env["STORAGE_EMULATOR_HOST"], where):
        print(f"{each.size:>12}  {each.updated[:19]:19}  gs://{where.bucket}/{buckets.shown(each.name)}")
        number, size = number + 1, size + each.size
    print(
        f"{_count(number, 'object')}, {_count(size, 'byte')} in gs://{where.bucket}/{buckets.shown(where.prefix)}"
    )
    return 0


def _get(state: Path, said: str | None, to: Path | None) -> int:
    """Fetch all that can be; 1 where something could not, after a sentence for each."""
    env = _running(state)
    where = _place(env, said)
    folder = to or state / "got"
    number = failed = 0
    for each in buckets.listed(env["STORAGE_EMULATOR_HOST"], where):
        try:
            number += buckets.fetch(env["STORAGE_EMULATOR_HOST"], where, each, folder) is not None
        except buckets.Refused as refused:
            print(refused, file=sys.stderr)
            failed += 1
    print(f"{_count(number, 'file')} from gs://{where.bucket}/{buckets.shown(where.prefix)}, now in {folder}")
    return 1 if failed else 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _place(env: Mapping[str, str], said: str | None) -> buckets.Place:
    bucket = said or env.get("WAYBILL_CUSTOMER_BUCKET")
    if not bucket:
        raise _Sentence("Say which bucket: gs://bucket or gs://bucket/prefix.")
    return buckets.place(bucket)


def _tick(state: Path, at: str | None) -> int:
    told = _control(state, "POST", "tick", {"at": at} if at else {}, "Not ticked")
    print(f"Ticked; the suite's clock stands at {told['now']}.")
    return 0


def _customer(state: Path, **customer: str) -> int:
    made = _control(state, "PUT", "customers", customer, "Nothing is made")
    print(f"The account {made['account']} may write to gs://{made['bucket']}.")
    return 0


def _control(state: Path, method: str, path: str, body: Mapping[str, str], otherwise: str) -> Any:
    """Have the running suite do something; a sentence that begins with `otherwise` where it does not."""
    url = f"{_running(state)['IAM_CREDENTIALS_URL']}/_suite/{path}"
    try:
        answer = requests.request(method, url, data=json.dumps(body), timeout=CONTROL_SECONDS)
    except requests.ConnectionError as error:
        raise _Sentence(_NO_SUITE.format(state)) from error
    told = answer.json()
    if answer.status_code != 200:
        raise _Sentence(f"{otherwise}: {told['error']['message']}.")
    return told


if __name__ == "__main__":
    command_line.run(main)
