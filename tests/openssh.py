"""OpenSSH's server on 127.0.0.1, which most customers run.

It belongs to an ordinary user, and lets that user in with a key; a password would need root and PAM.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh

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


def server_program() -> str | None:
    """Where OpenSSH's server is; None where it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def running(below: Path | None = None, more: str = "") -> Iterator["OpenSsh"]:
    """A server, in a directory of its own `below` that; `more` are lines of its config."""
    # Not below pytest's own directory, into which the server's user may not look.
    with tempfile.TemporaryDirectory(prefix="waybill-sshd-", dir=below) as home:
        server = OpenSsh(Path(home), more)
        try:
            yield server
        finally:
            server.stop()


class OpenSsh:
    """sshd with one user, whose login begins in `root`."""

    def __init__(self, home: Path, more: str = "") -> None:
        program = server_program()
        if program is None:
            raise RuntimeError(
                "OpenSSH's server is not installed: `apt-get install openssh-server` installs it"
            )
        self._program = program
        self._home = home
        self._more = more
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
        config.write_text(CONFIG.format(port=self.port, home=self._home, root=self.root) + self._more)
        self.own()
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
            raise RuntimeError(f"sshd did not start: {''.join(self.said)}")

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
        self.own()

    def _children(self, pid: int) -> list[int]:
        """Each connection has a process, and that one another, below the server's."""
        found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [*found, *(deeper for each in found for deeper in self._children(each))]

    def _write_host_key(self) -> None:
        path = self._home / "host_key"
        path.unlink(missing_ok=True)
        path.write_bytes(self._key.export_private_key())
        path.chmod(0o600)

    def own(self) -> None:
        """Give the user what was put there."""
        if os.geteuid() == 0:
            for path in (self._home, *self._home.rglob("*")):
                shutil.chown(path, self.username)
