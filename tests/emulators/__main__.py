"""`make check` has Google's emulators of Firestore and Pub/Sub run the suites of exports and batches."""

import subprocess
import sys
from collections.abc import Sequence

from infra.local.processes import REPOSITORY
from tests.emulators.programs import missing

SUITES = (
    "tests/emulators/on_emulators.py",
    "tests/shared/exports",
    "tests/shared/batches",
    "tests/functions/test_exports.py",
    "tests/functions/test_batches.py",
)
"""What they run: of these the tests that are quick, without those marked `ours_only`."""


def main(arguments: Sequence[str] = ()) -> int:
    """Run the suites on the emulators, with more arguments for pytest; or say that they are not here."""
    if absent := missing():
        print(
            f"Google's emulator of {' and of '.join(absent)} is not on this machine: "
            "the suites of exports and batches ran on our own services only."
        )
        return 0
    print("Google's emulators of Firestore and Pub/Sub run the suites of exports and batches.", flush=True)
    command = [sys.executable, "-m", "pytest", "--google", "-m", "not slow", *arguments, *SUITES]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
