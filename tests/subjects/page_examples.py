"""The examples of a page, run as its reader runs them."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks in a language, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [content for name, content in found if name == language]


def shown(folder: Path, variables: Mapping[str, str], *command: str | Path) -> str:
    """What a command prints in that folder, with these variables; it must succeed."""
    ended = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout
