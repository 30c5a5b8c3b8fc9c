"""A machine without Chromium says so."""

from pathlib import Path

import pytest

from infra.local.processes import REPOSITORY
from tests.browser import chromium

TOLD = "Chromium is not installed: `apt-get install chromium` installs it"


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_chromium_a_test_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(chromium.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match=TOLD):
        chromium.program()


def test_where_it_is_required_a_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(chromium.REQUIRED, "required")
    with pytest.raises(pytest.fail.Exception, match=TOLD):
        chromium.program()


def test_ci_installs_and_requires_it() -> None:
    told = (REPOSITORY / ".ci/run").read_text()
    assert f"export {chromium.REQUIRED}=required" in told
    assert "packages+=(chromium-headless-shell" in told
