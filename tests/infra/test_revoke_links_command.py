"""`python -m infra revoke-links`: what an operator withdraws, as the customer can."""

from datetime import UTC, datetime

import pytest

from infra.__main__ import main
from tests.subjects.by_email import ANN, BOB, by_email, clicked, token_of, work
from tests.subjects.small_job import Jobs
from tests.world import World

MORNING = datetime(2026, 11, 23, 2, tzinfo=UTC)


def opens(world: World, address: str) -> int:
    return clicked(world, token_of(world, address)).status


def test_the_links_of_a_recipient_and_then_of_all(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    work(world)
    export = by_email(world)
    world.run_due(MORNING)
    assert main(("revoke-links", "export", export, "--recipient", ANN)) == 0
    assert f"The links of {ANN} to files of Nightly of acme are withdrawn." in capsys.readouterr().out
    assert (opens(world, ANN), opens(world, BOB)) == (410, 302)
    assert main(("revoke-links", "export", export)) == 0
    assert (opens(world, ANN), opens(world, BOB)) == (410, 410)


def test_the_links_of_a_job(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = Jobs(world)
    jobs.imported(b"userId,name\n1,Ann\n")
    job = jobs.exported()
    assert job["links"]
    assert main(("revoke-links", "job", job["jobId"])) == 0
    assert f"The links to files of the job {job['jobId']} of acme are withdrawn." in capsys.readouterr().out
    assert "links" not in jobs.post("status", data={"jobId": job["jobId"]})
    token = job["links"][0].partition("/v1/downloads/")[2]
    assert world.request("GET", f"/v1/downloads/{token}").status == 410


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("export", "e"), "there is no export e"),
        (("job", "j"), "there is no job j"),
        (("job", "j", "--recipient", ANN), "--recipient with an export only"),
    ],
)
def test_what_there_is_nothing_to_withdraw_of_is_a_sentence(
    world: World, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    assert main(("revoke-links", *arguments)) == 1
    assert told in capsys.readouterr().err
