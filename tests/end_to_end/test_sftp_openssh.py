"""Delivery onto a real OpenSSH server: what asyncssh's own server may do otherwise is held against the one
that most customers run."""

import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import asyncssh
import pytest

from shared.delivery.base import Copy, CopyResult, passed
from shared.delivery.sftp import connection_test, writing
from shared.delivery.sftp.config import Login, SftpConfig
from shared.delivery.sftp.connector import IMAGES_IN_FLIGHT, Sftp
from shared.errors import CustomerMustAct, Retry
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from tests.openssh import OpenSsh, running
from tests.world import World

pytestmark = pytest.mark.slow

NAME = "site/work-orders-timeline/dt=2026-11-22/file é #?%.jsonl"
PLACE = f"waybill/{NAME}"
RANGE = 256 * 1024


@pytest.fixture
def openssh() -> Iterator[OpenSsh]:
    with running() as server:
        yield server
        print("sshd said:", *server.said, sep="\n")  # shown where the test failed


@pytest.fixture
def cloud(world: World) -> Cloud:
    return world.cloud


@pytest.fixture
def connector(world: World, cloud: Cloud, openssh: OpenSsh) -> Callable[..., Sftp]:
    def make(**changes: object) -> Sftp:
        config = SftpConfig.model_validate(openssh.connector_config(**changes))
        login = Login.parse(config.sealed_value() or "")
        return Sftp(cloud, world.acme.account, config, login, [ip_network("127.0.0.0/8")])

    return make


def content_of(size: int) -> bytes:
    return b"".join(b"%015d\n" % number for number in range(-(-size // 16)))[:size]


def stage(cloud: Cloud, content: bytes, name: str = "file") -> Stored:
    return cloud.objects.create(
        cloud.settings.staging_bucket, f"acme/export/run/{name}", content, "text/plain"
    )


@pytest.mark.parametrize("login", ["ssh-ed25519", "ssh-rsa"])
def test_a_large_file_lands_once(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], login: str
) -> None:
    content = content_of(3 * writing.RANGE_BYTES + 7)
    staged = stage(cloud, content)
    beats: list[int] = []
    with connector(private_key=openssh.logins[login]) as there:
        there.deliver(staged, NAME, lambda: beats.append(1))
        assert len(beats) == 4
        made = (openssh.root / PLACE).stat()
        there.deliver(staged, NAME)
    assert openssh.files() == {PLACE: content}
    after = (openssh.root / PLACE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)


def test_images_land_beside_it(
    world: World, cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp]
) -> None:
    copies = []
    for number in range(60):
        content = content_of(10_000 + number)
        bucket = cloud.settings.images_bucket
        image = cloud.objects.create(bucket, f"acme/site/{number:02}.jpg", content, "image/jpeg")
        name = f"site/images/{number:02}.jpg"
        copies.append(Copy(image.name, image.generation, image.size, image.crc32c, name))
    openssh.put(f"waybill/{copies[7].name}", b"theirs")
    with connector() as there:
        assert there.copy_images(copies) == CopyResult(copied=59, conflicts=[copies[7]])
        assert there.copy_images(copies) == CopyResult(present=59, conflicts=[copies[7]])
    assert openssh.files() == {
        f"waybill/{copy.name}": b"theirs" if number == 7 else content_of(10_000 + number)
        for number, copy in enumerate(copies)
    }


def test_a_server_that_is_killed_is_gone_on_with(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)
    content = content_of(40 * RANGE)
    staged = stage(cloud, content)
    beats = 0

    def kill_it_at_the_thirtieth() -> None:
        nonlocal beats
        beats += 1
        if beats == 30:
            openssh.stop()

    with connector() as there, pytest.raises(Retry):
        there.deliver(staged, NAME, kill_it_at_the_thirtieth)
    [(half, written)] = openssh.files().items()
    assert half == writing.temporary(PLACE, staged.generation)
    assert len(written) >= 30 * RANGE
    openssh.start()
    beats = 100
    with connector() as there:
        there.deliver(staged, NAME, kill_it_at_the_thirtieth)
    assert beats - 100 <= 11, "ranges that were acknowledged are written again"
    assert openssh.files() == {PLACE: content}


def test_two_at_once(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RANGE_BYTES", RANGE)
    content = content_of(40 * RANGE)
    staged = stage(cloud, content)
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            with connector() as there:
                there.deliver(staged, NAME)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert all(isinstance(each, Retry) for each in failures), failures
    attempt()
    assert openssh.files() == {PLACE: content}


def test_another_file_is_never_overwritten(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody looks before the rename: the server itself refuses it."""
    staged = stage(cloud, b"lines\n")

    async def look_away(*_: object) -> bool:
        return False

    openssh.put(PLACE, b"theirs")
    with connector() as there:
        with pytest.raises(CustomerMustAct, match=r"^There is already another file at"):
            there.deliver(staged, NAME)
        monkeypatch.setattr(writing.Writing, "_is_there", look_away)
        with pytest.raises(CustomerMustAct, match=r"refuses to rename a file to waybill/.*: Failure"):
            there.deliver(staged, NAME)
    assert openssh.files()[PLACE] == b"theirs"


def test_what_the_user_may_not_do(cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp]) -> None:
    (openssh.root / "closed").mkdir(mode=0o555)
    openssh.put("waybill", b"a file")
    (openssh.root / "closed").chmod(0o555)
    staged = stage(cloud, b"lines\n")
    for path, says in (
        ("closed/in", r"refuses to make the directory closed/in: Permission denied"),
        ("closed", r"refuses to make the directory closed/site.*: Permission denied"),
        ("waybill", r"waybill on the SFTP server 127\.0\.0\.1 is not a directory|refuses to"),
    ):
        with connector(path=path) as there, pytest.raises(CustomerMustAct, match=says):
            there.deliver(staged, NAME)


def test_another_host_key_and_another_login_key(
    cloud: Cloud, openssh: OpenSsh, connector: Callable[..., Sftp]
) -> None:
    staged = stage(cloud, b"lines\n")
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with (
        connector(private_key=stranger) as there,
        pytest.raises(CustomerMustAct, match=r"refused the login of \w+ with the export's private key"),
    ):
        there.deliver(staged, NAME)
    pinned = openssh.host_key
    openssh.change_host_key()
    with connector(host_key=pinned) as there, pytest.raises(CustomerMustAct) as error:
        there.deliver(staged, NAME)
    for line in (pinned, openssh.host_key):
        assert asyncssh.import_public_key(line).get_fingerprint() in str(error.value)
    assert openssh.files() == {}


@pytest.mark.parametrize("more", ["", "MaxSessions 1\n", "MaxStartups 1\n"])
def test_many_images_go_over_the_channels_that_it_allows(world: World, cloud: Cloud, more: str) -> None:
    """With MaxSessions 1 that is one channel."""
    contents = {f"{number:03}.jpg": content_of(1_000 + number) for number in range(IMAGES_IN_FLIGHT + 20)}
    bucket = cloud.settings.images_bucket
    copies = []
    for name, content in contents.items():
        image = cloud.objects.create(bucket, f"acme/site/{name}", content, "image/jpeg")
        copies.append(Copy(image.name, image.generation, image.size, image.crc32c, name))
    with running(more=more) as openssh:
        config = SftpConfig.model_validate(openssh.connector_config())
        login = Login.parse(config.sealed_value() or "")
        with Sftp(cloud, world.acme.account, config, login, [ip_network("127.0.0.0/8")]) as there:
            assert there.copy_images(copies) == CopyResult(copied=len(copies))
        assert openssh.files() == {f"waybill/{name}": content for name, content in contents.items()}
        assert sum("Accepted publickey" in line for line in openssh.said) == 1


@pytest.mark.parametrize("path", ["", "waybill/in", "absolute"])
def test_the_connection_test(cloud: Cloud, openssh: OpenSsh, path: str) -> None:
    if path == "absolute":
        path = str(openssh.root / path)
    config = SftpConfig.model_validate(openssh.connector_config(path=path))
    login = Login.parse(config.sealed_value() or "")
    steps = connection_test.run(cloud, config, login, [ip_network("127.0.0.0/8")])
    assert [step.verdict for step in steps] == ["passed"] * 5, steps
    assert passed(steps)
    assert openssh.files() == {}
