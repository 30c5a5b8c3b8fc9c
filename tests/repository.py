"""What the repository holds."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

_MADE = {"__pycache__", "dist"}
# Folders that are made here and are not hidden.


def listed(root: Path = ROOT) -> list[str]:
    """The paths of its files, those that are not committed yet included.

    Cloud Build is sent the files without git's own, and without `.gitignore`. There it is all that is not
    hidden. https://cloud.google.com/sdk/gcloud/reference/topic/gcloudignore
    """
    if (root / ".git").exists():
        listing = ["git", "ls-files", "-co", "--exclude-standard"]
        said = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True).stdout
        return [name for name in said.splitlines() if (root / name).exists()]
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _MADE]
        found += [str(Path(folder, name).relative_to(root)) for name in files if not name.startswith(".")]
    return sorted(found)
