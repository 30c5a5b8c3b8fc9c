"""Reaching a customer's SFTP server and logging in: with what it may be, and what comes of a server that is
another, or none."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from shared.clock import elapsed_since, stopwatch
from shared.delivery.sftp import remote
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.connector import Sftp
from shared.errors import CustomerMustAct, Retry
from tests.sftp_server import DELIVERED, PASSWORD, Delivering, SftpServer, sftp
from tests.world import World

__all__ = ["sftp"]

LANDED = {f"waybill/{DELIVERED}": b"lines\n"}


@pytest.fixture
def delivering(world: World, sftp: SftpServer) -> Delivering:
    return Delivering(world, sftp)


def fingerprint(line: str) -> str:
    return asyncssh.import_public_key(line).get_fingerprint()


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp384", "ssh-rsa"])
def test_a_private_key_logs_in(delivering: Delivering, kind: str) -> None:
    key = delivering.sftp.login_key(kind)
    delivering.sftp.password = None
    delivering.deliver(delivering.staged(b"lines\n"), password=None, private_key=key)
    assert delivering.sftp.files() == LANDED


@pytest.mark.parametrize("kind", ["ecdsa-sha2-nistp256", "ssh-rsa"])
def test_host_keys_of_other_kinds(delivering: Delivering, kind: str) -> None:
    delivering.sftp.change_host_key(kind)
    assert delivering.sftp.host_key.startswith(kind)
    delivering.deliver(delivering.staged(b"lines\n"))
    assert delivering.sftp.files() == LANDED


def test_a_password_that_is_asked_for_in_a_dialogue(delivering: Delivering) -> None:
    delivering.sftp.interactive = True
    delivering.deliver(delivering.staged(b"lines\n"))
    assert delivering.sftp.files() == LANDED


def test_a_wrong_password(delivering: Delivering) -> None:
    with pytest.raises(CustomerMustAct, match=r"login of waybill with the export's password") as error:
        delivering.deliver(delivering.staged(b"lines\n"), password="wr0ng")
    assert "wr0ng" not in f"{error.value}{error.value.next_action}{error.value.__cause__}"
    assert "waybill may log in with a password" in error.value.next_action
    assert delivering.sftp.files() == {}


def test_a_private_key_that_is_not_known_there(delivering: Delivering) -> None:
    key = delivering.sftp.login_key()
    delivering.sftp.keys.clear()
    with pytest.raises(CustomerMustAct, match=r"login of waybill with the export's private key"):
        delivering.deliver(delivering.staged(b"lines\n"), password=None, private_key=key)


def test_nothing_of_the_machine_logs_in(
    delivering: Delivering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key, a config and known hosts in the home directory are not looked at."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "id_ed25519").write_text(delivering.sftp.login_key())
    (ssh / "id_ed25519").chmod(0o600)
    (ssh / "config").write_text(f"ProxyCommand touch {tmp_path / 'ran'}\nKexAlgorithms none-such\n")
    (ssh / "known_hosts").write_text(f"127.0.0.1 {delivering.sftp.host_key}\n")
    monkeypatch.setenv("HOME", str(ssh.parent))
    with pytest.raises(CustomerMustAct, match=r"login of waybill with the export's password"):
        delivering.deliver(delivering.staged(b"lines\n"), password="wr0ng")
    pinned = delivering.sftp.host_key
    delivering.sftp.change_host_key()
    (ssh / "known_hosts").write_text(f"127.0.0.1 {delivering.sftp.host_key}\n")
    with pytest.raises(CustomerMustAct, match=r"is not the export's host_key: it is"):
        delivering.deliver(delivering.staged(b"lines\n", "other"), host_key=pinned)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_a_host_key_that_changed_is_told_before_anything_is_sent(delivering: Delivering, kind: str) -> None:
    pinned = delivering.sftp.host_key
    delivering.sftp.change_host_key(kind)
    with pytest.raises(CustomerMustAct, match=r"is not the export's host_key: it is") as error:
        delivering.deliver(delivering.staged(b"lines\n"), host_key=pinned)
    assert fingerprint(pinned) in str(error.value)
    assert delivering.sftp.fingerprint in str(error.value)
    assert "set the export's host_key to the new key" in error.value.next_action
    assert delivering.sftp.calls == [("connect", "")]


def test_a_host_key_that_changes_between_two_files(delivering: Delivering) -> None:
    staged = delivering.staged(b"lines\n")
    with delivering.connector() as there:
        there.deliver(staged, DELIVERED)
        delivering.sftp.arm("lstat", "drop_before")
        delivering.sftp.change_host_key()
        with pytest.raises(Retry):
            there.deliver(staged, "second")
        with pytest.raises(CustomerMustAct, match=r"is not the export's host_key: it is"):
            there.deliver(staged, "second")
    assert delivering.sftp.files() == LANDED


def test_a_user_who_may_not_use_sftp(delivering: Delivering) -> None:
    delivering.sftp.forbid_sftp()
    with pytest.raises(CustomerMustAct, match=r"does not allow SFTP for waybill") as error:
        delivering.deliver(delivering.staged(b"lines\n"))
    assert "Allow SFTP for waybill" in error.value.next_action


def test_private_addresses_are_refused_unless_they_are_the_customers(delivering: Delivering) -> None:
    staged = delivering.staged(b"lines\n")
    config = SftpConfig.model_validate(delivering.sftp.connector_config())
    with (
        Sftp(delivering.cloud, delivering.world.acme.account, config, Login(password=PASSWORD), ()) as there,
        pytest.raises(CustomerMustAct, match=r"127\.0\.0\.1 is not on the public internet"),
    ):
        there.deliver(staged, DELIVERED)
    assert delivering.sftp.calls == []


def test_a_server_that_is_down_may_come_back(delivering: Delivering) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Retry, match=r"^127\.0\.0\.1 failed: .*Connection refused"):
        delivering.deliver(delivering.staged(b"lines\n"), port=port)


def test_a_log_holds_neither_who_logs_in_nor_with_what(
    delivering: Delivering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    staged = delivering.staged(b"lines\n")
    delivering.deliver(staged)
    with pytest.raises(CustomerMustAct):
        delivering.deliver(staged, password="wr0ng")
    told = [each.getMessage() for each in caplog.records]
    assert [each for each in told if PASSWORD in each or "wr0ng" in each] == []
    assert [each.name for each in caplog.records if each.name.startswith("asyncssh")] == []


# --- what is no SFTP server

Script = Callable[[socket.socket], None]


@contextmanager
def answering(script: Script) -> Iterator[int]:
    """A port whose first connection is spoken to as the script says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            try:
                sock, _ = listener.accept()
                with sock:
                    sock.settimeout(20)
                    script(sock)
            except OSError:
                pass  # the client hung up, as it should

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(timeout=30)
        assert not thread.is_alive(), "the connection was not closed"


def says(*pieces: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        for piece in pieces:
            sock.sendall(piece)
        while sock.recv(65536):
            pass

    return script


def endless(piece: bytes, first: bytes = b"") -> Script:
    def script(sock: socket.socket) -> None:
        sock.sendall(first)
        while True:
            sock.sendall(piece)

    return script


def closes(sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-x\r\n")


@pytest.mark.parametrize(
    "script",
    [
        says(),
        closes,
        says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        says(b"\x00\xff\x00" * 100),
        says(b"SSH-2.0-x\r\n"),
        says(b"SSH-2.0-x\r\n", b"\xff" * 1_000),
        says(b"SSH-2.0-x\r\n", b"\x00\x00\x00\x0c\x0a\x14" + b"\x00" * 100),
        says(b"SSH-2.0-x\r\n", b"\x00\x00\x00\x0c\x0a\x01\x00\x00\x00\x0bHost down" + b"\x00" * 100),
        endless(b"x" * 65536),
        endless(b"a banner's line\r\n" * 4096),
        endless(b"\x00" * 65536, b"SSH-2.0-x\r\n"),
        endless(b"\xff" * 65536, b"SSH-2.0-x\r\n"),
    ],
)
def test_what_answers_rubbish_is_bounded(
    delivering: Delivering, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LOGIN_SECONDS", 0.3)
    staged = delivering.staged(b"lines\n")
    start = stopwatch()
    with answering(script) as port, pytest.raises(Retry, match=r"failed before the login: ") as error:
        delivering.deliver(staged, port=port)
    assert elapsed_since(start) < 8
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


def test_what_speaks_an_old_ssh(delivering: Delivering) -> None:
    with (
        answering(says(b"SSH-1.5-old\r\n")) as port,
        pytest.raises(CustomerMustAct, match=r"support no common SSH protocol"),
    ):
        delivering.deliver(delivering.staged(b"lines\n"), port=port)


def test_greetings_without_end_at_the_login(delivering: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LOGIN_SECONDS", 0.3)
    delivering.sftp.greets = True
    start = stopwatch()
    with pytest.raises(Retry, match=r"failed before the login: it took too long"):
        delivering.deliver(delivering.staged(b"lines\n"))
    assert elapsed_since(start) < 8


@pytest.mark.parametrize(
    ("more", "says"), [(1, "more bytes than requested"), (1_000_000, "an answer of 1000015 bytes")]
)
def test_a_server_that_sends_more_than_it_was_asked_for(delivering: Delivering, more: int, says: str) -> None:
    staged = delivering.staged(b"lines\n")
    delivering.deliver(staged)
    delivering.sftp.padding = b"x" * more
    with pytest.raises(Retry, match=says):
        delivering.deliver(staged)
    assert delivering.sftp.files() == LANDED
