"""Google's emulators of Firestore and Pub/Sub: where they are, and how they are run.

gcloud installs both (`gcloud components install`, or packages of the system) and runs them as
https://cloud.google.com/sdk/gcloud/reference/emulators says. Here their programs are started without it.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

READY_SECONDS = 60
"""How long one may take to answer: a Java machine starts, on a computer with much else to do."""

JAVA = "-Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""How its machine runs: in little memory, and with little compiling, as it lives for minutes."""


@dataclass(frozen=True)
class Program:
    """One emulator: what it is called here, and its program below gcloud's directory."""

    name: str
    path: str
    arguments: tuple[str, ...] = ()


FIRESTORE = Program("Firestore", "platform/cloud-firestore-emulator/cloud_firestore_emulator", ("start",))
PUBSUB = Program("Pub/Sub", "platform/pubsub-emulator/bin/cloud-pubsub-emulator")


def found(program: Program) -> Path | None:
    """Where the program is; None where this machine has no gcloud, Java or such an emulator."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return None
    path = Path(gcloud).resolve().parents[1] / program.path
    return path if path.exists() else None


def missing() -> list[str]:
    """What is called the emulators that this machine does not have."""
    return [each.name for each in (FIRESTORE, PUBSUB) if found(each) is None]


_WITH_US = '"$0" "$@" & read -r _; kill -KILL 0'
"""Runs a program until standard input closes, and ends its group: also when this process ends by SIGKILL."""


def start(command: list[str], output: Path) -> "subprocess.Popen[bytes]":
    """Start a program in a group of its own, which ends with this process. `output` is for what it prints."""
    with output.open("w") as written:
        return subprocess.Popen(
            ["sh", "-c", _WITH_US, *command],
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "HOME": str(output.parent), "JAVA_TOOL_OPTIONS": JAVA},
        )


@contextmanager
def running(program: Program, output: Path) -> Iterator[str]:
    """Start an emulator on a free port, and end it; yields its host and port. `output` is a file for what it
    prints. RuntimeError where it does not start."""
    path = found(program)
    if path is None:
        raise RuntimeError(f"Google's emulator of {program.name} is not on this machine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start([str(path), *program.arguments, "--host=127.0.0.1", f"--port={port}"], output)
    try:
        host = f"127.0.0.1:{port}"
        with grpc.insecure_channel(host) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=READY_SECONDS)
            except grpc.FutureTimeoutError as late:
                raise RuntimeError(f"the emulator did not start: {output.read_text()}") from late
        yield host
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
