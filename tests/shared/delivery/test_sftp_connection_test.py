"""The connection test by SFTP: which step fails, what it says, and that it leaves nothing."""

import socket
from collections.abc import Callable

import asyncssh
import pytest

from shared.clock import elapsed_since, stopwatch
from shared.delivery.base import Step, passed
from shared.delivery.sftp import connection_test, remote
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.connection_test import STEPS
from shared.errors import CustomerMustAct
from tests.sftp_server import PASSWORD, Action, Delivering, SftpServer, sftp
from tests.subjects.sparse_sftp import ALWAYS, FAILURE, sparse
from tests.world import World

__all__ = ["sftp"]


@pytest.fixture
def delivering(world: World, sftp: SftpServer) -> Delivering:
    return Delivering(world, sftp)


def steps_of(delivering: Delivering, **changes: object) -> list[Step]:
    config = SftpConfig.model_validate(delivering.sftp.connector_config(**changes))
    return connection_test.run(
        delivering.cloud, config, Login.parse(config.sealed_value() or ""), delivering.allowed
    )


def verdicts(steps: list[Step]) -> list[str]:
    return [step.verdict for step in steps]


def fails(steps: list[Step], name: str) -> str:
    """The sentence of the one step that failed: this one; those before it passed, those after are skipped."""
    at = STEPS.index(name)
    after = len(STEPS) - at - 1
    assert [step.name for step in steps] == list(STEPS)
    assert verdicts(steps) == ["passed"] * at + ["failed"] + ["skipped"] * after, steps
    assert not passed(steps)
    assert PASSWORD not in str(steps)
    assert all(f"the step {name} failed" in step.sentence for step in steps[at + 1 :])
    return steps[at].sentence


@pytest.mark.parametrize("path", ["", "/", "in", "/in/from waybill"])
def test_all_is_well(delivering: Delivering, path: str) -> None:
    steps = steps_of(delivering, path=path)
    assert [step.name for step in steps] == list(STEPS)
    assert verdicts(steps) == ["passed"] * 5, steps
    assert passed(steps)
    assert delivering.sftp.fingerprint in steps[1].sentence
    assert delivering.sftp.files() == {}
    assert delivering.sftp.count("rename") == 1


def test_a_directory_that_is_there_and_one_that_is_made(delivering: Delivering) -> None:
    assert steps_of(delivering)[3].sentence == "The directory waybill can be made."
    assert list(delivering.sftp.root.iterdir()) == []
    (delivering.sftp.root / "waybill").mkdir()
    assert steps_of(delivering)[3].sentence == "The directory waybill exists."


def test_an_address_that_may_not_be_called(delivering: Delivering) -> None:
    delivering.allowed = ()
    assert "is not on the public internet" in fails(steps_of(delivering), "address")
    assert delivering.sftp.calls == []


def test_a_port_that_nothing_answers_at(delivering: Delivering) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    sentence = fails(steps_of(delivering, port=port), "address")
    assert "Connection refused" in sentence
    assert sentence.endswith("This may be temporary: test again in a few minutes.")


def test_another_host_key(delivering: Delivering) -> None:
    pinned = delivering.sftp.host_key
    delivering.sftp.change_host_key()
    sentence = fails(steps_of(delivering, host_key=pinned), "host key")
    assert asyncssh.import_public_key(pinned).get_fingerprint() in sentence
    assert delivering.sftp.fingerprint in sentence


def test_what_is_no_ssh_server(delivering: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LOGIN_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sentence = fails(steps_of(delivering, port=silent.getsockname()[1]), "host key")
    assert "failed before the login: it took too long" in sentence


@pytest.mark.parametrize("stage", ["connect", "auth", "login"])
def test_a_server_that_hangs_up(delivering: Delivering, stage: str) -> None:
    delivering.sftp.arm(stage, "drop_before")
    sentence = fails(steps_of(delivering), "host key" if stage == "connect" else "login")
    assert "This may be temporary" in sentence


def test_a_wrong_password(delivering: Delivering) -> None:
    sentence = fails(steps_of(delivering, password="wr0ng"), "login")
    assert "refused the login of waybill with the export's password" in sentence
    assert "wr0ng" not in sentence


def test_a_user_who_may_not_use_sftp(delivering: Delivering) -> None:
    delivering.sftp.forbid_sftp()
    assert "Allow SFTP for waybill on the server" in fails(steps_of(delivering), "login")


def test_a_directory_that_cannot_be_made(delivering: Delivering) -> None:
    delivering.sftp.arm("mkdir", asyncssh.SFTPPermissionDenied("Permission denied"))
    sentence = fails(steps_of(delivering), "path")
    assert "refuses to make the directory waybill: Permission denied. Allow waybill to make" in sentence


def test_a_file_in_the_place_of_the_directory(delivering: Delivering) -> None:
    (delivering.sftp.root / "waybill").write_bytes(b"theirs")
    assert "waybill on the SFTP server 127.0.0.1 is not a directory" in fails(steps_of(delivering), "path")


@pytest.mark.parametrize("operation", ["open", "write", "close", "rename"])
def test_a_probe_file_that_is_refused_is_tidied_away(delivering: Delivering, operation: str) -> None:
    refusal: Action = asyncssh.SFTPFailure("Failure")
    delivering.sftp.arm(operation, refusal)
    sentence = fails(steps_of(delivering), "probe file")
    assert sentence.startswith("The SFTP server 127.0.0.1 refuses to ")
    assert "such as a full disk" in sentence
    assert delivering.sftp.files() == {}


def test_a_probe_file_that_cannot_be_removed_is_a_warning(delivering: Delivering) -> None:
    delivering.sftp.arm("remove", asyncssh.SFTPPermissionDenied("no"))
    steps = steps_of(delivering)
    assert verdicts(steps) == ["passed"] * 4 + ["warning"]
    assert passed(steps)
    [left] = delivering.sftp.files()
    assert f"Please remove {left}." in steps[4].sentence


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "step"), [("stat", "path"), ("write", "probe file")])
def test_a_server_that_never_answers_is_waited_for_in_all_not_step_by_step(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, operation: str, step: str
) -> None:
    monkeypatch.setattr(connection_test, "TALK_SECONDS", 1.0)
    monkeypatch.setattr(remote, "CLOSE_SECONDS", 0.2)
    delivering.sftp.arm(operation, "hang")
    start = stopwatch()
    sentence = fails(steps_of(delivering), step)
    assert elapsed_since(start) < 5
    assert "took longer than 1 seconds" in sentence


def test_all_together_takes_half_a_minute_at_most() -> None:
    waits = (connection_test.REACH_SECONDS, connection_test.TALK_SECONDS, connection_test.TIDY_SECONDS)
    assert sum(waits) + remote.CLOSE_SECONDS < 30


# --- the test walks the way of a run


@sparse
def test_what_a_run_can_do_without_the_test_does_without(
    delivering: Delivering, limit: Callable[[SftpServer], None]
) -> None:
    limit(delivering.sftp)
    steps = steps_of(delivering)
    assert verdicts(steps) == ["passed"] * 5, steps
    assert list(delivering.sftp.root.iterdir()) == []


@pytest.mark.parametrize("operation", ["mkdir", "open", "write", "close", "rename"])
def test_what_a_run_cannot_do_without_fails_the_test(delivering: Delivering, operation: str) -> None:
    (delivering.sftp.root / "waybill").mkdir()
    delivering.sftp.arm(operation, FAILURE, times=ALWAYS)
    told = fails(steps_of(delivering), "probe file")
    assert list((delivering.sftp.root / "waybill").iterdir()) == []
    with pytest.raises(CustomerMustAct) as refused:
        delivering.deliver(delivering.staged(b"lines"))
    assert refused.value.next_action in told


@pytest.mark.parametrize("operation", ["mkdir", "open", "write", "rename"])
def test_a_test_that_fails_leaves_no_directory(delivering: Delivering, operation: str) -> None:
    delivering.sftp.arm(operation, FAILURE, skip=int(operation == "mkdir"), times=ALWAYS)
    fails(steps_of(delivering, path="in/waybill"), "path" if operation == "mkdir" else "probe file")
    assert list(delivering.sftp.root.iterdir()) == []


def test_a_directory_with_something_in_it_stays(delivering: Delivering) -> None:
    (delivering.sftp.root / "waybill").mkdir()
    (delivering.sftp.root / "waybill" / "theirs").write_bytes(b"theirs")
    assert passed(steps_of(delivering))
    assert delivering.sftp.files() == {"waybill/theirs": b"theirs"}


def test_a_directory_that_cannot_be_removed_is_a_warning(delivering: Delivering) -> None:
    delivering.sftp.arm("rmdir", asyncssh.SFTPPermissionDenied("no"), times=ALWAYS)
    steps = steps_of(delivering)
    assert verdicts(steps) == ["passed"] * 4 + ["warning"]
    assert "could not be removed again. Exports run all the same." in steps[4].sentence
