"""Delivery onto a real OpenSSH server: what asyncssh's own server may do otherwise is held against the one
that most customers run.

The server belongs to an ordinary user and listens on 127.0.0.1. It lets that user in with a key; a password
would need root and PAM.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from shared.delivery.base import Copy, CopyResult, passed
from shared.delivery.sftp import connection_test, writing
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.connector import Sftp
from shared.errors import CustomerMustAct, Retry
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from tests.world import World

pytestmark = pytest.mark.slow

NAME = "site/work-orders-timeline/dt=2026-11-22/file é #?%.jsonl"
PLACE = f"waybill/{NAME}"
RANGE = 256 * 1024

CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel INFO
Subsystem sftp internal-sftp -d {root}
"""


class OpenSsh:
    """sshd with one user, whose login begins in `root`."""

    def __init__(self, home: Path) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.fail("OpenSSH's server is not installed: `apt-get install openssh-server` installs it")
        self._program = program
        self._home = home
        # As root it would want directories of the system's: it then runs as a user that every system has and
        # that, unlike nobody, systemd does not call locked.
        self.username = "daemon" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.root = home / "root"
        self.root.mkdir()
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._login = asyncssh.generate_private_key("ssh-ed25519")
        rsa = asyncssh.generate_private_key("ssh-rsa")
        self.logins = {
            "ssh-ed25519": self._login.export_private_key().decode(),
            "ssh-rsa": rsa.export_private_key().decode(),
        }
        with (home / "authorized_keys").open("wb") as file:
            for key in (self._login, rsa):
                file.write(key.export_public_key())
        self._write_host_key()
        self._process: subprocess.Popen[bytes] | None = None
        self.said: list[str] = []
        self.port = 0
        self.start()

    @property
    def host_key(self) -> str:
        return " ".join(self._key.export_public_key().decode().split()[:2])

    def change_host_key(self) -> None:
        self.stop()
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._write_host_key()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with socket.create_server(("127.0.0.1", self.port)) as free:
            self.port = free.getsockname()[1]
        config = self._home / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, home=self._home, root=self.root))
        self._own()
        become: list[str] = []
        if os.geteuid() == 0:
            # Not by subprocess itself: that would fork in the midst of gRPC's threads, which can hang.
            user = pwd.getpwnam(self.username)
            become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._process = subprocess.Popen(
            [*become, self._program, "-D", "-e", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        listening = threading.Event()
        threading.Thread(target=self._hear, args=(self._process, listening), daemon=True).start()
        if not listening.wait(20):
            pytest.fail(f"sshd did not start: {''.join(self.said)}")

    def _hear(self, process: "subprocess.Popen[bytes]", listening: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line.decode(errors="replace"))
            if "Server listening on" in self.said[-1]:
                listening.set()

    def stop(self) -> None:
        """End it with all its connections, at once."""
        process, self._process = self._process, None
        if process is not None:
            for child in self._children(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, 9)
            process.kill()
            process.wait(timeout=10)

    def connector_config(self, **changes: Any) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "username": self.username,
            "private_key": self.logins["ssh-ed25519"],
            "host_key": self.host_key,
            "path": "waybill",
        } | changes

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def put(self, name: str, content: bytes) -> None:
        """A file that stands there, as the user's."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._own()

    def _children(self, pid: int) -> list[int]:
        """Each connection has a process, and that one another, below the server's."""
        found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [*found, *(deeper for each in found for deeper in self._children(each))]

    def _write_host_key(self) -> None:
        path = self._home / "host_key"
        path.unlink(missing_ok=True)
        path.write_bytes(self._key.export_private_key())
        path.chmod(0o600)

    def _own(self) -> None:
        if os.geteuid() == 0:
            for path in (self._home, *self._home.rglob("*")):
                shutil.chown(path, self.username)


@pytest.fixture
def openssh() -> Iterator[OpenSsh]:
    # Not below pytest's own directory, into which the server's user may not look.
    with tempfile.TemporaryDirectory(prefix="waybill-sshd-") as home:
        server = OpenSsh(Path(home))
        try:
            yield server
        finally:
            server.stop()
            print("sshd said:", *server.said, sep="\n")  # shown where the test failed


@pytest.fixture
def cloud(world: World) -> Cloud:
    return world.cloud


@pytest.fixture
def connector(world: World, cloud: Cloud, openssh: OpenSsh) -> Callable[..., Sftp]:
    def make(**changes: object) -> Sftp:
        config = SftpConfig.model_validate(openssh.connector_config(**changes))
        login = Login.parse(config.sealed_value() or "")
        return Sftp(cloud, world.acme.account, config, login, [ip_network("127.0.0.0/8")])

    return make


def content_of(size: int) -> bytes:
    return b"".join(b"%015d\n" % number for number in range(-(-size // 16)))[:size]


def stage(cloud: Cloud, content: bytes, name: str = "file") -> Stored:
    return cloud.objects.create(
        cloud.settings.staging_bucket, f"acme/export/run/{name}", content, "text/plain"
    )


@pytest.mark.parametrize("login", ["ssh-ed25519", "ssh-rsa"])
def test_a_large_file_lands_once(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], login: str
) -> None:
    content = content_of(3 * writing.RANGE_BYTES + 7)
    staged = stage(cloud, content)
    beats: list[int] = []
    with connector(private_key=openssh.logins[login]) as there:
        there.deliver(staged, NAME, lambda: beats.append(1))
        assert len(beats) == 4
        made = (openssh.root / PLACE).stat()
        there.deliver(staged, NAME)
    assert openssh.files() == {PLACE: content}
    after = (openssh.root / PLACE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)


def test_images_land_beside_it(
    world: World, cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp]
) -> None:
    copies = []
    for number in range(60):
        content = content_of(10_000 + number)
        bucket = cloud.settings.images_bucket
        image = cloud.objects.create(bucket, f"acme/site/{number:02}.jpg", content, "image/jpeg")
        name = f"site/images/{number:02}.jpg"
        copies.append(Copy(image.name, image.generation, image.size, image.crc32c, name))
    openssh.put(f"waybill/{copies[7].name}", b"theirs")
    with connector() as there:
        assert there.copy_images(copies) == CopyResult(copied=59, conflicts=[copies[7]])
        assert there.copy_images(copies) == CopyResult(present=59, conflicts=[copies[7]])
    assert openssh.files() == {
        f"waybill/{copy.name}": b"theirs" if number == 7 else content_of(10_000 + number)
        for number, copy in enumerate(copies)
    }


def test_a_server_that_is_killed_is_gone_on_with(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)
    content = content_of(40 * RANGE)
    staged = stage(cloud, content)
    beats = 0

    def kill_it_at_the_thirtieth() -> None:
        nonlocal beats
        beats += 1
        if beats == 30:
            openssh.stop()

    with connector() as there, pytest.raises(Retry):
        there.deliver(staged, NAME, kill_it_at_the_thirtieth)
    [(half, written)] = openssh.files().items()
    assert half == writing.temporary(PLACE, staged.generation)
    assert len(written) >= 30 * RANGE
    openssh.start()
    beats = 100
    with connector() as there:
        there.deliver(staged, NAME, kill_it_at_the_thirtieth)
    assert beats - 100 <= 11, "ranges that were acknowledged are written again"
    assert openssh.files() == {PLACE: content}


def test_two_at_once(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)
    content = content_of(40 * RANGE)
    staged = stage(cloud, content)
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            with connector() as there:
                there.deliver(staged, NAME)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert all(isinstance(each, Retry) for each in failures), failures
    attempt()
    assert openssh.files() == {PLACE: content}


def test_another_file_is_never_overwritten(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody looks before the rename: the server itself refuses it."""
    staged = stage(cloud, b"lines\n")

    async def look_away(*_: object) -> bool:
        return False

    openssh.put(PLACE, b"theirs")
    with connector() as there:
        with pytest.raises(CustomerMustAct, match=r"^There is already another file at"):
            there.deliver(staged, NAME)
        monkeypatch.setattr(writing.Writing, "_is_there", look_away)
        with pytest.raises(CustomerMustAct, match=r"refuses to rename a file to waybill/.*: Failure"):
            there.deliver(staged, NAME)
    assert openssh.files()[PLACE] == b"theirs"


def test_what_the_user_may_not_do(cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp]) -> None:
    (openssh.root / "closed").mkdir(mode=0o555)
    openssh.put("waybill", b"a file")
    (openssh.root / "closed").chmod(0o555)
    staged = stage(cloud, b"lines\n")
    for path, says in (
        ("closed/in", r"refuses to make the directory closed/in: Permission denied"),
        ("closed", r"refuses to make the directory closed/site.*: Permission denied"),
        ("waybill", r"waybill on the SFTP server 127\.0\.0\.1 is not a directory|refuses to"),
    ):
        with connector(path=path) as there, pytest.raises(CustomerMustAct, match=says):
            there.deliver(staged, NAME)


def test_another_host_key_and_another_login_key(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp]
) -> None:
    staged = stage(cloud, b"lines\n")
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with (
        connector(private_key=stranger) as there,
        pytest.raises(CustomerMustAct, match=r"refused the login of \w+ with the export's private key"),
    ):
        there.deliver(staged, NAME)
    pinned = openssh.host_key
    openssh.change_host_key()
    with connector(host_key=pinned) as there, pytest.raises(CustomerMustAct) as error:
        there.deliver(staged, NAME)
    for line in (pinned, openssh.host_key):
        assert asyncssh.import_public_key(line).get_fingerprint() in str(error.value)
    assert openssh.files() == {}


@pytest.mark.parametrize("path", ["", "waybill/in", "absolute"])
def test_the_connection_test(cloud: Cloud, openssh: OpenSsh, path: str) -> None:
    if path == "absolute":
        path = str(openssh.root / path)
    config = SftpConfig.model_validate(openssh.connector_config(path=path))
    login = Login.parse(config.sealed_value() or "")
    steps = connection_test.run(cloud, config, login, [ip_network("127.0.0.0/8")])
    assert [step.verdict for step in steps] == ["passed"] * 5, steps
    assert passed(steps)
    assert openssh.files() == {}
