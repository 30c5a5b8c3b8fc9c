"""Writes docs/operators/licences.md: the licences of what is deployed.

    make licences

Two kinds of things are deployed that we did not write: packages, whose licences pip-licenses reads from their
metadata, and native libraries inside of them, of which the metadata says nothing.
"""

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.package import LOCK, ROOT

PAGE = ROOT / "docs/operators/licences.md"

PERMITTED = frozenset(
    {
        "3-Clause BSD License",
        "Apache Software License",
        "Apache-2.0",
        "Apache-2.0 AND MIT",
        "Apache-2.0 OR BSD-2-Clause",
        "Apache-2.0 OR BSD-3-Clause",
        "BSD License",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "EPL-2.0 OR GPL-2.0-or-later",
        "GNU Lesser General Public License v3 (LGPLv3)",
        "ISC",
        "MIT",
        "MIT License",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0 AND (Apache-2.0 OR MIT)",
        "Mozilla Public License 2.0 (MPL 2.0)",
        "PSF-2.0",
        "Python Software Foundation License",
        "The Unlicense (Unlicense)",
    }
)
"""What a package may say of its licence, word for word. None asks that our own code be given away: where
the GPL is named another can be chosen, and the LGPL is a library's that is loaded."""

LIBRARIES = {
    "libXau": "MIT",
    "libarrow": "Apache-2.0",
    "libarrow_acero": "Apache-2.0",
    "libarrow_compute": "Apache-2.0",
    "libarrow_dataset": "Apache-2.0",
    "libarrow_flight": "Apache-2.0",
    "libarrow_python": "Apache-2.0",
    "libarrow_python_flight": "Apache-2.0",
    "libarrow_python_parquet_encryption": "Apache-2.0",
    "libarrow_s3": "Apache-2.0",
    "libarrow_substrait": "Apache-2.0",
    "libavif": "BSD-2-Clause",
    "libbrotlicommon": "MIT",
    "libbrotlidec": "MIT",
    "libcrc32c": "BSD-3-Clause",
    "libde265": "LGPL-3.0",
    "libfreetype": "FTL",
    "libharfbuzz": "MIT",
    "libheif": "LGPL-3.0",
    "libjpeg": "IJG",
    "liblcms2": "MIT",
    "liblzma": "0BSD",
    "libopenjp2": "BSD-2-Clause",
    "libparquet": "Apache-2.0",
    "libpng16": "libpng-2.0",
    "libsharpyuv": "BSD-3-Clause",
    "libtiff": "libtiff",
    "libwebp": "BSD-3-Clause",
    "libwebpdemux": "BSD-3-Clause",
    "libwebpmux": "BSD-3-Clause",
    "libxcb": "MIT",
    "libzstd": "BSD-3-Clause",
}
"""The licence of each native library that may be inside of a package, as the package's own files give it."""

_LIBRARY = re.compile(r"(?P<name>[^-.]+)(?:-[^.]*)?\.so(?:\.[0-9.]+)?")
_OWN = re.compile(r"\.(?:cpython-\w+|abi3)[\w-]*\.so$")
"""How Python names a module of the package's own: https://peps.python.org/pep-3149/"""


def deployed() -> list[str]:
    """Return the names of the packages that are deployed, in the order of the lock."""
    return re.findall(r"^([\w.-]+)==", (ROOT / LOCK).read_text(encoding="utf-8"), re.MULTILINE)


def of_packages() -> dict[str, str]:
    """Return what each package says of its licence, by the package's name.

    CalledProcessError where pip-licenses fails, FileNotFoundError where it is not installed: `make licences`
    installs it.
    """
    said = subprocess.run(
        [
            str(Path(sys.prefix, "tools/bin/pip-licenses")),
            f"--python={sys.executable}",
            "--from=mixed",
            "--format=json",
            "--packages",
            *deployed(),
        ],
        check=True,
        stdout=subprocess.PIPE,
    )
    return {each["Name"]: each["License"] for each in json.loads(said.stdout)}


def libraries() -> dict[str, list[str]]:
    """Return the native libraries inside of each package that has some, by the package's name."""
    found = {name: sorted(set(_libraries(name))) for name in deployed()}
    return {name: some for name, some in found.items() if some}


def _libraries(package: str) -> Iterator[str]:
    for file in importlib.metadata.distribution(package).files or ():
        if not _OWN.search(file.name) and (match := _LIBRARY.fullmatch(file.name)):
            yield match["name"]


def page(packages: Mapping[str, str], inside: Mapping[str, list[str]]) -> str:
    """Return the page. KeyError where a library's licence is not known."""
    rows = [f"| {name} | {packages[name]} |" for name in sorted(packages, key=str.lower)]
    own = [f"| {each} | {package} | {LIBRARIES[each]} |" for package, some in inside.items() for each in some]
    return "\n".join(
        [
            "# Licences of what is deployed",
            "",
            "`make licences` makes this page from what requirements.lock installs. A test compares the two,"
            " and permits no licence that `infra/licences.py` does not name.",
            "",
            "## Packages",
            "| package | licence |",
            "|---|---|",
            *rows,
            "",
            "## Native libraries inside of them",
            "| library | package | licence |",
            "|---|---|---|",
            *own,
            "",
        ]
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(of_packages(), libraries()), encoding="utf-8")


if __name__ == "__main__":
    main()
