"""Each package holds what its function imports, and nothing that is only for the laptop or for tests."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bundle import Bundle
from infra.package import LOCK, REQUIREMENTS, ROOT, package

BUNDLE = Bundle.load()

# Runs where only the packages and site-packages can be imported from: imports each main.py as if alone.
# A file that is the same in several packages is compiled once.
IMPORT_EACH = """
import functools, importlib, importlib.machinery, importlib.metadata, json, pathlib, sys
compiled = functools.cache(lambda content: compile(content, "<a file>", "exec", dont_inherit=True))
importlib.machinery.SourceFileLoader.source_to_code = lambda self, content, path: compiled(bytes(content))
packages, result = [pathlib.Path(path) for path in json.loads(sys.argv[1])], {}
for folder in packages:
    sys.path.insert(0, str(folder))
    main = importlib.import_module("main")
    handler = getattr(main, folder.name, None)
    ours = ("main", "shared")
    own = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ours}
    result[folder.name] = {
        "handler": callable(handler) and handler.__module__ == "main",
        "strays": [n for n, m in own.items() if not str(m.__spec__.origin).startswith(f"{folder}/")],
        "shared": "shared" in own,
    }
    sys.path.remove(str(folder))
    for name in own:
        del sys.modules[name]
distributions = importlib.metadata.packages_distributions()
loaded = {name.partition(".")[0] for name in sys.modules}
result["distributions"] = sorted({d for name in loaded for d in distributions.get(name, ())})
result["loaded"] = sorted(loaded)
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return package(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def imported(packages: list[Path]) -> dict[str, dict[str, bool | list[str]]]:
    done = subprocess.run(
        # -I: neither this folder nor PYTHONPATH; -B: no caches beside the packaged files.
        [sys.executable, "-I", "-B", "-c", IMPORT_EACH, json.dumps([str(path) for path in packages])],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, dict[str, bool | list[str]]] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("function", BUNDLE.functions)
def test_imports_alone(imported: dict[str, dict[str, bool | list[str]]], function: str) -> None:
    assert imported[function] == {"handler": True, "strays": [], "shared": True}


def test_imports_nothing_that_only_development_installs(imported: dict[str, list[str]]) -> None:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    only_dev = {match[0].lower() for line in lines if (match := re.match(r"[A-Za-z][\w-]*", line))}
    assert {"pytest", "pyyaml"} <= only_dev
    assert not only_dev & {name.lower() for name in imported["distributions"]}
    assert not {"infra", "tests"} & set(imported["loaded"])


@pytest.mark.parametrize("function", BUNDLE.functions)
def test_holds_its_main_and_shared_and_nothing_else(packages: list[Path], function: str) -> None:
    folder = next(path for path in packages if path.name == function)
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    ours = [path.relative_to(ROOT) for path in (ROOT / "shared").rglob("*") if path.is_file()]
    shared = {path for path in ours if "__pycache__" not in path.parts}
    assert Path("shared/outbox/templates/letter.html") in shared
    assert files == {Path("main.py"), Path(REQUIREMENTS)} | shared
    assert (folder / "main.py").read_bytes() == (ROOT / "functions" / function / "main.py").read_bytes()
    assert (folder / REQUIREMENTS).read_bytes() == (ROOT / LOCK).read_bytes()


def test_nothing_of_infra_or_tests_is_in_a_package(packages: list[Path]) -> None:
    def digests(folder: Path) -> set[str]:
        files = [path for path in folder.rglob("*.py") if path.stat().st_size]
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    ours = digests(ROOT / "infra") | digests(ROOT / "tests")
    for folder in packages:
        assert not ours & digests(folder)
        names = {part for path in folder.rglob("*") for part in path.relative_to(folder).parts}
        assert not names & {"infra", "tests", "__pycache__", "conftest.py"}
        assert not [name for name in names if name.startswith("test_")]


@pytest.mark.slow
def test_made_again_it_is_the_same_and_what_was_there_is_gone(tmp_path: Path) -> None:
    def content(folders: list[Path]) -> dict[str, tuple[bytes, int]]:
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        return {str(file): (file.read_bytes(), file.stat().st_mode) for file in files}

    first = content(package(tmp_path))
    stale = next(tmp_path.iterdir()) / "shared" / "gone.py"
    stale.write_text("")
    assert content(package(tmp_path)) == first
    assert not stale.exists()


def test_never_replaces_a_folder_that_it_did_not_make(tmp_path: Path) -> None:
    name = next(iter(BUNDLE.functions))
    source = tmp_path / name / "main.py"
    source.parent.mkdir()
    source.write_text("kept")
    with pytest.raises(FileExistsError, match=name):
        package(tmp_path)
    assert source.read_text() == "kept"
