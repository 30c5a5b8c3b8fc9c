"""What holds a secret on the laptop can be read by its owner alone, whatever was there before."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.local import demo_customer, private, secrets
from infra.local.clock import SuiteClock
from infra.local.identity import Identity
from infra.local.sendgrid.outbox import Outbox
from infra.local.suite import Suite
from infra.local.traffic import Traffic


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def left_open(tmp_path: Path) -> Path:
    """A folder as an older version, or a killed process, may have left it: everybody reads each file."""
    for name in ("secrets.json", "identity.json", "customer.json", "letter.json"):
        for file in (tmp_path / name, tmp_path / f"{name}.new"):
            file.write_text("{}")
            file.chmod(0o666)
    tmp_path.chmod(0o755)
    return tmp_path


def test_a_file_is_closed_from_its_first_byte(left_open: Path, umask: None) -> None:
    file = left_open / "secrets.json"
    private.write(file, "first")
    assert (mode(file), file.read_text()) == (0o600, "first")
    assert not file.with_name("secrets.json.new").exists()


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / "secrets.json.new").symlink_to(elsewhere)
    private.write(tmp_path / "secrets.json", "ours")
    assert (elsewhere.read_text(), (tmp_path / "secrets.json").is_symlink()) == ("theirs", False)


def test_secrets_that_were_open_are_closed(left_open: Path, umask: None) -> None:
    file = left_open / "secrets.json"
    file.write_text(json.dumps({"ONE": "1:x"}))
    assert secrets.kept(file, ["ONE"]) == {"ONE": "1:x"}
    assert mode(file) == 0o600
    secrets.kept(file, ["TWO"])
    assert mode(file) == 0o600


def test_the_keys_of_accounts_are_closed(left_open: Path, umask: None) -> None:
    Identity(traffic=Traffic(), file=left_open / "identity.json")
    assert mode(left_open / "identity.json") == 0o600


def test_mails_are_closed(left_open: Path) -> None:
    Outbox(left_open)._write("letter.json", b"{}")
    assert (mode(left_open), mode(left_open / "letter.json")) == (0o700, 0o600)


def test_a_suites_state_is_closed(left_open: Path) -> None:
    (left_open / "customer.json").write_text('{"WAYBILL_API_KEY": "wb_1"}')
    now = datetime(2026, 11, 22, 9, 17, tzinfo=UTC)
    with Suite(state=left_open, clock=SuiteClock(frozen_at=now), run_functions=False) as suite:
        assert demo_customer.ensure(suite) == {"WAYBILL_API_KEY": "wb_1"}
        assert [mode(each) for each in (left_open, suite.outbox)] == [0o700, 0o700]
        for name in ("secrets.json", "identity.json", "customer.json"):
            assert mode(left_open / name) == 0o600, name
