"""The connection test: whether an export can land on the SFTP server that its config names, and if not, who
must do what.

A small file of ours is written, renamed and removed again; the export's directory is made where it is
missing.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

import asyncssh

from shared.delivery.base import Step
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.remote import TEMPORARY, Greeter, Remote, log_in, reach
from shared.errors import GiveUp, Retry
from shared.gcp.clients import Cloud

STEPS = ("address", "host key", "login", "path", "probe file")
"""The steps' names, in order."""

REACH_SECONDS = 8.0
TALK_SECONDS = 16.0
"""How long the server may take over the first step, and over all others: with closing what was open, half a
minute. Somebody waits for it, in an HTTP function that has 60 seconds for all."""

PROBE = b"Waybill wrote this to test the connection. It may be removed.\n"


def run(cloud: Cloud, config: SftpConfig, login: Login) -> list[Step]:
    """Test whether an export can land there: a Step for each of STEPS.

    address     the name is known, Waybill may call the address, and something answers at the port
    host key    the server shows the key that the config pins
    login       it lets the user in, to SFTP
    path        the directory is there, or can be made
    probe file  a file can be written there, renamed, and removed again

    What is merely passing is said as a failed step: whoever tests can try again.
    """
    try:
        sock = reach(config, cloud.settings.private_addresses, REACH_SECONDS)
    except (GiveUp, Retry) as error:
        return _stopped([], error)
    steps = [Step("address", "passed", f"{config.host} accepts connections on port {config.port}.")]
    with asyncio.Runner() as runner:
        return runner.run(_talk(config, login, sock, cloud.new_id(), steps))


async def _talk(
    config: SftpConfig, login: Login, sock: socket.socket, id: str, steps: list[Step]
) -> list[Step]:
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
            steps.append(await _probe(config, remote, id))
    except TimeoutError:
        _shown(greeter, steps)
        slow = Retry(f"the SFTP server {config.host} took longer than {TALK_SECONDS:g} seconds")
        return _stopped(steps, slow)
    except (GiveUp, Retry) as error:
        _shown(greeter, steps)
        return _stopped(steps, error)
    finally:
        if remote is not None:
            await remote.close()
    return steps


def _shown(greeter: Greeter, steps: list[Step]) -> None:
    """Add the step of the host key, once the server has shown the right one."""
    if greeter.accepted and len(steps) == STEPS.index("host key"):
        fingerprint = greeter.pinned.get_fingerprint()
        steps.append(Step("host key", "passed", f"The server has the export's host key {fingerprint}."))


async def _path(config: SftpConfig, remote: Remote) -> Step:
    place = config.path or f"of {config.username}"
    made = await remote.make_directory(config.path)
    return Step("path", "passed", f"The directory {place} {'was created' if made else 'exists'}.")


async def _probe(config: SftpConfig, remote: Remote, id: str) -> Step:
    first = config.place(f"{TEMPORARY}probe-{id}")
    second = f"{first}-renamed"
    try:
        async with remote.writing(first) as file:
            await file.write(PROBE, 0)
        await remote.rename(first, second)
    except (GiveUp, asyncssh.SFTPError) as refused:
        with contextlib.suppress(GiveUp, Retry):
            await remote.remove(first)
        if isinstance(refused, asyncssh.SFTPError):
            raise remote.refusal(f"to rename {first}", refused) from refused
        raise
    try:
        await remote.remove(second)
    except GiveUp as refused:
        return Step(
            "probe file",
            "warning",
            f"A file was written and renamed, but could not be removed: {refused} "
            f"Exports run all the same. Please remove {second}.",
        )
    return Step("probe file", "passed", "A small file was written, renamed and removed.")


def _stopped(steps: Sequence[Step], error: GiveUp | Retry) -> list[Step]:
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
    return [*steps, Step(failed, "failed", sentence), *skipped]
