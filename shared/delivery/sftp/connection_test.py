"""The connection test: whether an export can land on the SFTP server that its config names, and if not, who
must do what.

A small file is delivered as a run delivers its files, into a directory below the export's, and both are
removed again; so is the export's directory where the test had to make it.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from shared.delivery.base import Step, Steps
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.remote import TEMPORARY, Greeter, Remote, log_in, reach
from shared.delivery.sftp.writing import Writing, temporary
from shared.errors import GiveUp, Retry
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored, crc32c_of
from shared.net.outbound import Network

STEPS = ("address", "host key", "login", "path", "probe file")
"""The steps' names, in order."""

REACH_SECONDS = 8.0
TALK_SECONDS = 14.0
"""How long the server may take over the first step, and over all others: with closing what was open, half a
minute. Somebody waits for it, in an HTTP function that has 60 seconds for all."""

TIDY_SECONDS = 2.0
"""How long a test that failed may take to remove what it made."""

GENERATION = 1
"""The probe's, as a run's objects have one."""

PROBE = b"Waybill wrote this to test the connection. It may be removed.\n"


def run(cloud: Cloud, config: SftpConfig, login: Login, allowed: Sequence[Network]) -> list[Step]:
    """Test whether an export can land there: a Step for each of STEPS. `allowed` are the customer's private
    networks.

    address     the name is known, Waybill may call the address, and something answers at the port
    host key    the server shows the key that the config pins
    login       it lets the user in, to SFTP
    path        the directory is there, or can be made
    probe file  in a directory below it a file can be written, renamed, and removed again

    What is merely passing is said as a failed step: whoever tests can try again.
    """
    try:
        sock = reach(config, allowed, REACH_SECONDS)
    except (GiveUp, Retry) as error:
        return _stopped(Steps(), error)
    steps = Steps()
    steps.append(Step("address", "passed", f"{config.host} accepts connections on port {config.port}."))
    with asyncio.Runner() as runner:
        return runner.run(_talk(config, login, sock, cloud.new_id(), steps))


async def _talk(config: SftpConfig, login: Login, sock: socket.socket, id: str, steps: Steps) -> list[Step]:
    """These steps, and all that come after them."""
    greeter = Greeter(config)
    remote = None
    try:
        async with asyncio.timeout(TALK_SECONDS):
            connection = await log_in(config, login, sock, greeter)
            _shown(greeter, steps)
            remote = await Remote.over(config, connection)
            steps.append(Step("login", "passed", f"{config.username} can log in and use SFTP."))
            steps.append(await _path(config, remote))
            probed = await _probe(config, remote, id)
            left = await _tidy(remote)
            if left is not None and probed.verdict == "passed":
                sentence = (
                    f"{probed.sentence} The directory {left} could not be removed again. Exports run all the "
                    "same."
                )
                probed = Step(probed.name, "warning", sentence)
            steps.append(probed)
    except TimeoutError:
        _shown(greeter, steps)
        if remote is not None:
            await _tidy_after_failure(config, remote, id)
        slow = Retry(f"the SFTP server {config.host} took longer than {TALK_SECONDS:g} seconds")
        return _stopped(steps, slow)
    except (GiveUp, Retry) as error:
        _shown(greeter, steps)
        if remote is not None:
            await _tidy_after_failure(config, remote, id)
        return _stopped(steps, error)
    finally:
        if remote is not None:
            await remote.close()
    return steps


def _shown(greeter: Greeter, steps: Steps) -> None:
    """Add the step of the host key, once the server has shown the right one."""
    if greeter.accepted and len(steps) == STEPS.index("host key"):
        fingerprint = greeter.pinned.get_fingerprint()
        steps.append(Step("host key", "passed", f"The server has the export's host key {fingerprint}."))


async def _path(config: SftpConfig, remote: Remote) -> Step:
    place = f"The directory {config.path or f'of {config.username}'}"
    await remote.make_directory(config.path)
    return Step("path", "passed", f"{place} {'can be made' if remote.made else 'exists'}.")


class _Probe:
    """Stands for our buckets: what is delivered is PROBE."""

    async def read(self, _: Stored, start: int, end: int) -> bytes:
        return PROBE[start:end]


async def _probe(config: SftpConfig, remote: Remote, id: str) -> Step:
    """Deliver PROBE as a run delivers a file, into a directory of its own."""
    staged = Stored("", id, GENERATION, len(PROBE), crc32c_of(PROBE))
    target = _target(config, id)
    await Writing(remote, _Probe()).deliver(staged, target, lambda: None)
    try:
        await remote.remove(target)
    except GiveUp as refused:
        return Step(
            "probe file",
            "warning",
            f"A file was written and renamed, but could not be removed: {refused} "
            f"Exports run all the same. Please remove {target}.",
        )
    return Step("probe file", "passed", "A small file was written, renamed and removed.")


def _target(config: SftpConfig, id: str) -> str:
    return config.place(f"{TEMPORARY}probe-{id}/probe.txt")


async def _tidy_after_failure(config: SftpConfig, remote: Remote, id: str) -> None:
    """Remove what the test made, as far as the server lets it."""
    target = _target(config, id)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TIDY_SECONDS):
            for path in (temporary(target, GENERATION), target):
                with contextlib.suppress(GiveUp, Retry):
                    await remote.remove(path)
            await _tidy(remote)


async def _tidy(remote: Remote) -> str | None:
    """Remove the directories that the test made; the one that could not be removed, if any."""
    for path in reversed(remote.made):
        try:
            await remote.remove_directory(path)
        except (GiveUp, Retry):
            return path
    return None


def _stopped(steps: Steps, error: GiveUp | Retry) -> list[Step]:
    """These steps have passed, the next one failed with this error, and the others are not tried."""
    failed, *rest = STEPS[len(steps) :]
    said = str(error)
    if isinstance(error, GiveUp):
        sentence = f"{said} {error.next_action}"
    else:
        sentence = (
            f"{said[0].upper()}{said[1:].rstrip('.')}. This may be temporary: test again in a few minutes."
        )
    skipped = [Step(name, "skipped", f"Skipped, since the step {failed} failed.") for name in rest]
    steps.extend([Step(failed, "failed", sentence), *skipped])
    return steps
