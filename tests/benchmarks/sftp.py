"""Delivering onto a customer's SFTP server: OpenSSH's own, against OpenSSH's client and rclone."""

import random
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import file_digest
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

from shared.delivery.base import Copy
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.connector import Sftp
from shared.delivery.sftp.remote import CHANNELS, Remote
from shared.delivery.sftp.writing import Writing
from shared.gcp.objects import Stored
from tests import openssh
from tests.benchmarks.delaying import DELAY, delayed
from tests.benchmarks.measure import (
    Comparison,
    Done,
    Figure,
    Ground,
    Side,
    children_cpu_seconds,
    compare,
    digest,
    shown,
)
from tests.benchmarks.neutral import memory_folder
from tests.openssh import OpenSsh

BIG_BYTES, QUICK_BIG_BYTES = 1_000_000_000, 8_000_000
IMAGES, QUICK_IMAGES = 2_000, 50
IMAGE_BYTES = 50_000
REPETITIONS = 3
FEW_IMAGES, QUICK_FEW_IMAGES = 200, 5
DELAYED_REPETITIONS = 1
QUICK_DELAY = 0.001
PIECE = 1_000_000

T = TypeVar("T")


def bench(ground: Ground) -> Iterator[Figure]:
    """Deliver a large file, and many images, from local files."""
    lacking = [program for program in ("sftp", "rclone") if shutil.which(program) is None]
    if openssh.server_program() is None:
        lacking.append("sshd")
    if lacking:
        print(f"\ndelivering by SFTP: {', '.join(lacking)} not installed; there are no figures")
        return
    with memory_folder("waybill-sftp-") as folder:
        folder.chmod(0o755)  # the server is another user's
        with openssh.running(folder) as server:
            yield from _file(ground, server, folder)
            yield from _images(ground, server, folder)


def _file(ground: Ground, server: OpenSsh, folder: Path) -> Iterator[Figure]:
    size = QUICK_BIG_BYTES if ground.quick else BIG_BYTES
    source = folder / "file"
    contents = random.Random(1)
    with source.open("wb") as file:
        for _ in range(0, size, PIECE):
            file.write(contents.randbytes(PIECE))
    client = _Client(server, folder, server.port)

    def ours(_: int) -> Path:
        with _FromFiles(ground, server, {"file": source}, server.port) as there:
            there.deliver(Stored("", "file", 1, size, ""), "ours")
        return server.root / "waybill" / "ours"

    def sftp(_: int) -> Path:
        target = server.root / "sftp"
        client.sftp(f"put {source} {target}\n")
        return target

    def done(_: Side[Path], __: int, landed: Path) -> Done:
        with landed.open("rb") as file:
            found = Done(size // PIECE, landed.stat().st_size, file_digest(file, "sha256").hexdigest())
        landed.unlink()
        return found

    sides = [
        Side("deliver: blocks side by side, over one channel", ours),
        Side("sftp: put", sftp, children_cpu_seconds),
    ]
    name = f"delivering a file of {size:,} bytes by SFTP"
    compared = shown(compare(name, "megabytes", 1 if ground.quick else REPETITIONS, sides, done))
    yield compared.figure("sftp_wall_vs_openssh, 1 GB", 1, "wall", 1.1)
    yield compared.figure("sftp_cpu_vs_openssh, 1 GB", 1, "cpu", None)


def _images(ground: Ground, server: OpenSsh, folder: Path) -> Iterator[Figure]:
    count, few = (QUICK_IMAGES, QUICK_FEW_IMAGES) if ground.quick else (IMAGES, FEW_IMAGES)
    source = folder / "images"
    source.mkdir()
    contents = random.Random(1)
    for number in range(count):
        (source / f"{number:05}.jpg").write_bytes(contents.randbytes(IMAGE_BYTES))
    compared = _compare(ground, server, folder, source, server.port, REPETITIONS, "")
    walls = [
        compared.figure(f"sftp_wall_vs_{name}, {IMAGES:,} images", at, "wall", 0.25)
        for at, name in enumerate(("openssh", "rclone"), 1)
    ]
    better = max(walls, key=lambda each: each.ratio)
    # The limit is against the better of the two; the other is only shown.
    yield from (each if each is better else replace(each, limit=None) for each in walls)
    yield compared.figure(f"sftp_cpu_vs_openssh, {IMAGES:,} images", 1, "cpu", None)
    for number in range(few, count):
        (source / f"{number:05}.jpg").unlink()
    delay = QUICK_DELAY if ground.quick else DELAY
    with delayed("127.0.0.1", server.port, delay) as there:
        port = int(there.rpartition(":")[2])
        later = f", {delay * 1000:g} ms added to each request"
        compared = _compare(ground, server, folder, source, port, DELAYED_REPETITIONS, later)
    yield compared.figure(f"sftp_wall_vs_openssh_30ms, {FEW_IMAGES} images", 1, "wall", 0.25)
    yield compared.figure(f"sftp_wall_vs_rclone_30ms, {FEW_IMAGES} images", 2, "wall", None)


def _compare(
    ground: Ground, server: OpenSsh, folder: Path, source: Path, port: int, repetitions: int, how: str
) -> Comparison:
    """All images of `source`, three ways, to the server at this port."""
    files = {file.name: file for file in sorted(source.iterdir())}
    client = _Client(server, folder, port)

    def ours(repetition: int) -> Path:
        copies = (Copy(name, 1, IMAGE_BYTES, "", f"{port}-{repetition}/{name}") for name in files)
        with _FromFiles(ground, server, files, port) as there:
            outcome = there.copy_images(copies)
        assert outcome.copied == len(files), outcome
        return server.root / "waybill" / f"{port}-{repetition}"

    def sftp(repetition: int) -> Path:
        target = server.root / f"sftp-{port}-{repetition}"
        puts = "".join(f"put {file} {target}/{name}\n" for name, file in files.items())
        client.sftp(f"mkdir {target}\n{puts}")
        return target

    def rclone(repetition: int) -> Path:
        target = server.root / f"rclone-{port}-{repetition}"
        client.rclone(source, target)
        return target

    def done(_: Side[Path], __: int, landed: Path) -> Done:
        found = digest([each.name.encode() + each.read_bytes() for each in sorted(landed.iterdir())])
        shutil.rmtree(landed)
        return found

    sides = [
        Side(f"copy_images: {CHANNELS} channels of one connection", ours),
        Side("sftp: put, one after the other", sftp, children_cpu_seconds),
        Side(f"rclone: {CHANNELS} transfers", rclone, children_cpu_seconds),
    ]
    name = f"delivering images of {IMAGE_BYTES:,} bytes by SFTP{how}"
    return shown(compare(name, "images", 1 if ground.quick else repetitions, sides, done))


@dataclass(frozen=True)
class _Files:
    """Reads local files in the place of objects: OpenSSH's client and rclone read them, too."""

    files: Mapping[str, Path]

    async def read(self, stored: Stored, start: int, end: int) -> bytes:
        with self.files[stored.name].open("rb") as file:
            file.seek(start)
            return file.read(end - start)


class _FromFiles(Sftp):
    """The connector of exports, but for where it reads from."""

    def __init__(self, ground: Ground, server: OpenSsh, files: Mapping[str, Path], port: int) -> None:
        config = SftpConfig.model_validate(server.connector_config(port=port))
        login = Login.parse(config.sealed_value() or "")
        super().__init__(ground.cloud, "", config, login, [ip_network("127.0.0.0/8")])
        self._files = _Files(files)

    async def _with_objects(self, remote: Remote, do: Callable[[Writing], Coroutine[Any, Any, T]]) -> T:
        return await do(Writing(remote, self._files))


class _Client:
    """OpenSSH's client and rclone, logging in as ours does: with a key, to a server whose key is known."""

    def __init__(self, server: OpenSsh, folder: Path, port: int) -> None:
        self._server = server
        self._port = port
        self._batch = folder / "batch"
        self._key = folder / "login"
        self._key.write_text(server.logins["ssh-ed25519"])
        self._key.chmod(0o600)
        self._known = folder / "known_hosts"
        self._known.write_text(f"[127.0.0.1]:{port} {server.host_key}\n")

    def sftp(self, batch: str) -> None:
        self._batch.write_text(batch)
        options = ["IdentitiesOnly=yes", f"UserKnownHostsFile={self._known}", f"Port={self._port}"]
        command = ["sftp", "-q", "-b", str(self._batch), "-F", "/dev/null", "-i", str(self._key)]
        command += [part for option in options for part in ("-o", option)]
        command.append(f"{self._server.username}@127.0.0.1")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def rclone(self, source: Path, target: Path) -> None:
        place = {
            "host": "127.0.0.1",
            "port": self._port,
            "user": self._server.username,
            "key_file": self._key,
            "known_hosts_file": self._known,
        }
        there = ",".join(f"{name}={value}" for name, value in place.items())
        command = [
            "rclone",
            "copy",
            "--config=/dev/null",
            f"--transfers={CHANNELS}",
            f"--checkers={CHANNELS}",
            "--immutable",  # what is there stays
            "--sftp-disable-hashcheck",  # it would start a program on the server for each file
            "--sftp-set-modtime=false",
            str(source),
            f":sftp,{there}:{target}",
        ]
        subprocess.run(command, check=True)
