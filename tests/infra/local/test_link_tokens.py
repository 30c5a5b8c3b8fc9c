"""A link's token stands in its path: nothing on the laptop writes that path down, whatever is answered."""

from pathlib import Path

import pytest
import requests

from infra.local.suite import Suite
from infra.local.traffic import Fault

pytestmark = pytest.mark.slow

SECRET = "tell-nobody_" + "x" * 31
TOKEN = f"{0:032x}_{SECRET}"
"""Of the form of a real one, so that it is looked up; its first half is no secret."""

READS = ("firestore.BatchGetDocuments", "firestore.RunQuery")
"""How a token can be looked up."""

INVALID_ARGUMENT = 3
"""A code that no client tries again, so that the function itself fails."""


def holding(folder: Path, text: str) -> list[str]:
    """The files under a folder with this text in them."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [str(file.relative_to(folder)) for file in files if text.encode() in file.read_bytes()]


def test_the_token_of_a_link_is_in_no_file_and_on_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Suite(state=tmp_path) as suite:
        link = f"{suite.url}/v1/downloads/{TOKEN}"
        requests.get(link, allow_redirects=False, timeout=60)
        requests.head(f"{link}?file={TOKEN}", allow_redirects=False, timeout=60)
        requests.get(f"{link}/more", allow_redirects=False, timeout=60)
        for kind in READS:
            suite.traffic.arm(kind, Fault("error", status=INVALID_ARGUMENT), times=9)
        requests.get(link, allow_redirects=False, timeout=60)
        suite.traffic.disarm()
        suite.processes.kill("downloads")
        requests.get(f"{suite.url}/nowhere/{TOKEN}", timeout=60)
        assert [start.function for start in suite.processes.starts] == ["downloads"]
        during = holding(tmp_path, SECRET)
    log = tmp_path / "logs" / "downloads.log"
    assert log.exists()
    assert (during, holding(tmp_path, SECRET)) == ([], []), log.read_text()
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
