"""The page on deploying says, in an order that works, all that has to be there before the first one."""

import base64
import json
import re
import subprocess
import sys

from infra.bundle import Bundle
from infra.package import ROOT
from tests.terraform import parsed, resources, said

PAGE = (ROOT / "docs" / "operators" / "deploying.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """What stands below a title of the page."""
    assert f"\n## {title}\n" in PAGE, title
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_secret_is_made_with_its_first_version_by_gcloud_alone() -> None:
    commands = section("Secrets")
    loop = re.search(
        r"for each in (.*); do\n.*gcloud secrets create waybill-\$each-keys --data-file=-\ndone", commands
    )
    assert loop
    made = re.findall(r"gcloud secrets create (waybill-[\w-]+) --data-file=-", commands)
    made += [f"waybill-{each}-keys" for each in loop[1].split()]
    assert sorted(made) == sorted(name.lower().replace("_", "-") for name in Bundle.load().secrets)
    assert "-target" not in PAGE, "Cloud Build cannot apply a part"


def test_they_are_made_before_the_first_deployment() -> None:
    before = section("Before the first deployment")
    assert "](#secrets)" in before
    assert re.search(r"gcloud services enable .*secretmanager\.googleapis\.com", before)
    assert PAGE.index("\n## Before the first deployment\n") < PAGE.index("\n## Deploy\n")


def test_the_key_that_the_page_makes_is_one() -> None:
    made = re.search(r"python3 -c '(.+?)'", section("Secrets"))
    assert made
    value = subprocess.run([sys.executable, "-c", made[1]], capture_output=True, text=True, check=True).stdout
    version, _, key = value.partition(":")
    assert (version, len(base64.urlsafe_b64decode(key))) == ("1", 32)


def test_cloud_build_is_given_the_account_in_the_form_that_it_takes() -> None:
    made = re.search(r"gcloud iam service-accounts create (\S+)", PAGE)
    assert made
    # A bare address is refused: https://cloud.google.com/build/docs/securing/configure-user-specified-service-accounts
    account = f"projects/PROJECT/serviceAccounts/{made[1]}@PROJECT.iam.gserviceaccount.com"
    build = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
    told = [line for text in (PAGE, build) for line in text.splitlines() if not line.lstrip().startswith("-")]
    assert re.findall(r"--service-account=(\S+)", "\n".join(told)) == [account, account]
    assert f"--member=serviceAccount:{made[1]}@PROJECT.iam.gserviceaccount.com" in PAGE


def test_the_variables_for_what_is_there_already_are_variables() -> None:
    named = set(re.findall(r'`("\w+": [^`]+)`', section("Before the first deployment")))
    known = {name: each for block in parsed()["variable"] for name, each in block.items()}
    assert named == {'"import_database": true', '"all_users_refused": true'}
    for name in (json.loads(f"{{{each}}}") for each in named):
        assert set(name) <= set(known)
    text = re.search(r"echo '(.+?)' \| gcloud storage cp - gs://STATE/customers\.auto\.tfvars\.json", PAGE)
    assert text
    assert json.loads(text[1]) == {"customers": {}}


def test_no_trace_keeps_the_url_of_a_link() -> None:
    """Cloud Run traces what it likes, and nothing can leave out a path. So nothing keeps traces."""
    assert "\ngcloud services disable cloudtrace.googleapis.com --force\n" in section("Mail")
    keeping = {"cloudtrace.googleapis.com", "cloudapis.googleapis.com"}
    by_hand = " ".join(re.findall(r"gcloud services enable (.+)", PAGE)).split()
    by_terraform = re.findall(r"[\w.-]+\.googleapis\.com", said("google_project_service.api"))
    assert keeping & {*by_hand, *by_terraform} == set()
    assert len(by_hand) > 3 < len(by_terraform), (by_hand, by_terraform)


def test_a_backup_can_be_restored_by_the_page() -> None:
    backups = section("Backups")
    days = int(resources()["google_firestore_backup_schedule.daily"]["retention"].removesuffix("s")) // 86_400
    assert f"{days} days" in backups
    steps = ["jobs pause", "--no-delete-protection", "databases delete", "--destination-database='(default)'"]
    assert sorted(steps, key=backups.index) == steps


def test_the_page_names_every_output_that_an_operator_needs() -> None:
    outputs = {name for block in parsed()["output"] for name in block}
    assert {"dns_records", "egress_address"} <= outputs
    for name in ("dns_records", "egress_address"):
        assert f"`{name}`" in PAGE


def test_the_rate_of_an_address_is_the_load_balancers() -> None:
    rules = resources()["google_compute_security_policy.front_door"]["rule"]
    [rate] = [
        rule["rate_limit_options"][0]["rate_limit_threshold"][0]
        for rule in rules
        if rule["action"] == "throttle"
    ]
    assert f"One address may make {rate['count']:,} requests a minute" in section("Host names")
