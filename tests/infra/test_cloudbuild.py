"""cloudbuild.yaml tests before it deploys, and knows nothing that the bundle says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.bundle import BUNDLE_YAML, Bundle
from infra.package import ROOT
from tests.repository import listed

TEXT = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
BUILD: dict[str, Any] = yaml.safe_load(TEXT)
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in BUILD["steps"]}
TEST_BUILD: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild-test.yaml").read_text(encoding="utf-8"))
DEPLOYING = (ROOT / "docs/operators/deploying.md").read_text(encoding="utf-8")


def test_steps_in_order() -> None:
    assert [step["id"] for step in BUILD["steps"]] == [
        "test",
        "package",
        "customers",
        "terraform",
        "init",
        "plan",
        "apply",
    ]
    # Side by side they would not wait for the tests.
    assert not [step for step in BUILD["steps"] if "waitFor" in step]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("test", r"^gcloud builds submit --config=cloudbuild-test\.yaml --service-account=projects/"),
        ("package", r"--require-hashes -r requirements-deploy\.lock\n.* -m infra\.package$"),
        ("customers", r"customers\.auto\.tfvars\.json infra/terraform/$"),
        ("init", r"^init .*-lockfile=readonly -backend-config=bucket=\$\{_STATE_BUCKET\}"),
        ("plan", r"^plan .*-out=plan .*-var=project=\$\{PROJECT_ID\}"),
        ("apply", r"^apply -input=false plan$"),
    ],
)
def test_does(step: str, says: str) -> None:
    assert re.search(says, " ".join(STEPS[step]["args"]))


def test_the_tests_are_a_build_of_an_account_that_can_deploy_nothing() -> None:
    (step,) = TEST_BUILD["steps"]
    assert step["args"][-1] == "make lint && make test"
    account = BUILD["substitutions"]["_TEST_ACCOUNT"]
    assert STEPS["test"]["args"][-1].endswith("/${_TEST_ACCOUNT}@${PROJECT_ID}.iam.gserviceaccount.com")
    # All that the account is granted, in the page that makes it.
    granted = re.findall(
        rf"add-iam-policy-binding (.+) --member=serviceAccount:{account}@.* --role=(\S+)", DEPLOYING
    )
    assert granted == [
        ("PROJECT", "roles/logging.logWriter"),
        ("gs://PROJECT_cloudbuild", "roles/storage.objectViewer"),
    ]


def test_no_step_that_may_deploy_installs_what_only_tests_need() -> None:
    ours = yaml.safe_dump(BUILD)
    assert "requirements-deploy.lock" in ours
    assert not re.search(r"\bmake\b|requirements-(?!deploy)", ours)


def test_images_are_named_by_their_digests() -> None:
    for step in (*BUILD["steps"], *TEST_BUILD["steps"]):
        assert re.fullmatch(r"[a-z./-]+:[\w.-]+@sha256:[0-9a-f]{64}", step["name"]), step


def test_functions_have_the_python_that_tests_ran_on() -> None:
    runtime = re.search(r'runtime\s*=\s*"(.+)"', (ROOT / "infra/terraform/functions.tf").read_text())
    assert runtime
    image = TEST_BUILD["steps"][0]["name"]
    assert image.partition("-")[0].replace(":", "").replace(".", "") == runtime[1]
    assert STEPS["package"]["name"] == image


def test_terraform_runs_where_gcloud_is_and_from_where_it_was_put() -> None:
    target = STEPS["terraform"]["args"][-1].split()[-1]
    for step in ("init", "plan", "apply"):
        assert STEPS[step]["entrypoint"] == target
        assert "google-cloud-cli" in STEPS[step]["name"]
        assert STEPS[step]["dir"] == "infra/terraform"


def test_every_substitution_is_named_in_the_command_to_start_it() -> None:
    used = set(re.findall(r"\$\{?(_[A-Z_]+)", yaml.safe_dump(BUILD))) - set(BUILD["substitutions"])
    command = next(line for line in TEXT.splitlines() if "gcloud builds submit" in line)
    assert used == set(re.findall(r"(_[A-Z_]+)=", command))
    assert used == set(re.findall(r"(?<![A-Z])(_[A-Z_]+)=", DEPLOYING))


def test_spells_out_nothing_of_the_bundle() -> None:
    bundle = Bundle.load(BUNDLE_YAML)
    said = yaml.safe_dump(BUILD)
    named = {*bundle.functions, *bundle.buckets, *bundle.accounts, *bundle.dead_letters}
    assert not [name for name in named if re.search(rf"\b{re.escape(name)}\b", said)]


def test_the_tests_need_nothing_of_git_which_cloud_build_is_not_sent(tmp_path: Path) -> None:
    for name in ("pages/a.md", "README.md", ".venv/b.md", "shared/__pycache__/c.md", "dist/d.md", ".ci/run"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert listed(tmp_path) == ["README.md", "pages/a.md"]
    asking = [each for each in sorted((ROOT / "tests").rglob("*.py")) if "ls-files" in each.read_text()]
    assert [each.name for each in asking] == [Path(__file__).name, "repository.py"]
