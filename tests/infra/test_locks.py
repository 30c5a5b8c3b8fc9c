"""What is installed is pinned with hashes: for what is deployed, for what deploys it, and for tests."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.package import ROOT

RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
LOCKS = [RUNTIME, DEV, ROOT / "requirements-deploy.lock", ROOT / "requirements-tools.lock"]


def pins(lock: Path) -> dict[str, tuple[Requirement, int]]:
    """Return each requirement of the lock with the number of its hashes, by its name."""
    found: dict[str, tuple[Requirement, int]] = {}
    name = ""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if re.match(r" *#", line):
            continue
        if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line):
            requirement, hashes = found[name]
            found[name] = (requirement, hashes + 1)
        else:
            requirement = Requirement(line.removesuffix("\\"))
            name = canonicalize_name(requirement.name)
            assert name not in found
            found[name] = (requirement, 0)
    return found


def named(lock: Path) -> set[str]:
    """Return the names that the file which the lock is made of has."""
    lines = lock.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.split()[0]) for line in lines if line and line[0] not in "#-"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_each_package_is_pinned_with_hashes(lock: Path) -> None:
    found = pins(lock)
    assert named(lock) <= set(found)
    for name, (requirement, hashes) in found.items():
        assert [each.operator for each in requirement.specifier] == ["=="], name
        assert hashes, name


@pytest.mark.parametrize("lock", LOCKS[:3], ids=lambda lock: lock.stem)
def test_what_tests_ran_on_is_what_is_deployed(lock: Path) -> None:
    dev = pins(DEV)
    assert {name: str(each[0].specifier) for name, each in pins(lock).items()} == {
        name: str(dev[name][0].specifier) for name in pins(lock)
    }


def test_everything_that_our_code_imports_is_deployed_with_it() -> None:
    files = [file for folder in ("functions", "shared") for file in (ROOT / folder).rglob("*.py")]
    found: dict[str, Path] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name: file for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module] = file
    # What types alone need is read by mypy. Google's packages share a name: each main.py imports them.
    known = sys.stdlib_module_names | {"shared", "google", "_typeshed"}
    providers = importlib.metadata.packages_distributions()
    deployed = set(pins(RUNTIME))
    strange = {
        name: str(file)
        for name, file in found.items()
        if (top := name.partition(".")[0]) not in known
        and not deployed & {canonicalize_name(each) for each in providers.get(top, ())}
    }
    assert strange == {}


def test_what_is_installed_is_what_the_lock_says() -> None:
    every = {name: each for name, (each, _) in pins(DEV).items()}
    wanted = {name: each for name, each in every.items() if not each.marker or each.marker.evaluate()}
    assert {name: importlib.metadata.version(name) for name in wanted} == {
        name: str(each.specifier).removeprefix("==") for name, each in wanted.items()
    }


def test_providers_of_terraform_are_locked_at_the_versions_that_are_asked_for() -> None:
    folder = ROOT / "infra/terraform"
    main = (folder / "main.tf").read_text(encoding="utf-8")
    lock = (folder / ".terraform.lock.hcl").read_text(encoding="utf-8")
    asked = re.findall(r'source\s*=\s*"(.+)"\s*version\s*=\s*"(.+)"', main)
    locked = re.findall(
        r'provider "registry\.terraform\.io/(.+)" \{\s*version\s*=\s*"(.+)"\s*constraints\s*=\s*"(.+)"', lock
    )
    assert asked
    assert sorted(locked) == sorted((source, version, version) for source, version in asked)
    for block in lock.split("provider ")[1:]:
        assert len(re.findall(r'"zh:[0-9a-f]{64}"', block)) >= 12, block
