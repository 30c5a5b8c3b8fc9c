"""Makes what Terraform uploads: one folder for each function of the bundle, with all that it imports.

    python -m infra.package [--out dist]

`<out>/<function>/` holds the function's main.py, `shared/`, and requirements.lock as requirements.txt. The
same tree gives the same bytes, so that a function whose code is unchanged is not deployed again.
"""

import argparse
import shutil
from pathlib import Path

from infra.bundle import Bundle

ROOT = Path(__file__).parent.parent

LOCK = "requirements.lock"
"""What the functions run on, pinned, with hashes: pip then installs nothing whose hash is not in it.
https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode"""

REQUIREMENTS = "requirements.txt"
"""What the lock is called in a package: the build installs the file of this name where main.py is.
https://cloud.google.com/functions/docs/writing/specifying-dependencies-python"""

_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def package(out: Path, bundle: Bundle | None = None) -> list[Path]:
    """Make the folder of each function anew under `out`, and return them in the bundle's order.

    FileExistsError where a folder of that name is there and was not made by this, FileNotFoundError where a
    function of the bundle has no main.py.
    """
    bundle = bundle or Bundle.load()
    return [_package(name, out / name) for name in bundle.functions]


def _package(name: str, folder: Path) -> Path:
    if folder.exists():
        # A folder that holds both was made here; functions/, shared/ and the like do not.
        if not all((folder / each).exists() for each in (REQUIREMENTS, "shared")):
            raise FileExistsError(f"{folder} is there and is no package: name another folder with --out")
        shutil.rmtree(folder)
    shutil.copytree(ROOT / "shared", folder / "shared", ignore=_NOT_CODE)
    shutil.copyfile(ROOT / "functions" / name / "main.py", folder / "main.py")
    shutil.copyfile(ROOT / LOCK, folder / REQUIREMENTS)
    for path in folder.rglob("*"):
        # The bits of the checkout depend on whose it is.
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def main() -> None:
    """Make them from the command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.package", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where to, by default dist/")
    package(parser.parse_args().out)


if __name__ == "__main__":
    main()
