"""State survives: a restart from the directory, and a SIGKILL in the middle of an upload."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from infra.local.clock import SuiteClock
from tests.infra.local.storage.suite import BUCKET, CUSTOMER, FAR, OTHER, OWNER, START, Suite, start

Q = 256 * 1024
CONTENT = bytes(range(256)) * 4096 + b"the end"


def _filled(directory: Path, clock: SuiteClock) -> Suite:
    suite = start(directory, clock)
    for email in (OWNER, OTHER):
        suite.identity.create_account(email)
    for bucket, location in ((BUCKET, "EU"), (CUSTOMER, "EU"), (FAR, "US")):
        suite.storage.create_bucket(bucket, location=location)
        suite.storage.grant(bucket, OWNER, "roles/storage.admin")
    return suite


def _open_session(suite: Suite) -> str:
    answer = suite.session().post(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x&ifGenerationMatch=0",
        headers={"X-Upload-Content-Length": str(len(CONTENT))},
    )
    return answer.headers["Location"].removeprefix(suite.url)


def _put(suite: Suite, session: str, start_at: int, end: int) -> requests.Response:
    return requests.put(
        suite.url + session,
        data=CONTENT[start_at:end],
        headers={"Content-Range": f"bytes {start_at}-{end - 1}/{len(CONTENT)}"},
        allow_redirects=False,
        timeout=5,
    )


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    clock = SuiteClock(frozen_at=START)
    suite = _filled(tmp_path, clock)
    client = suite.client()
    for name in "abc":
        client.bucket(BUCKET).blob(name).upload_from_string(name * 3, content_type="text/plain")
    client.bucket(BUCKET).blob("joined").compose([client.bucket(BUCKET).blob(name) for name in "abc"])
    client.bucket(CUSTOMER).blob("copy").rewrite(client.bucket(BUCKET).blob("joined"))
    suite.storage.put(BUCKET, "a", b"another")
    suite.storage.remove(BUCKET, "b")
    suite.storage.grant(BUCKET, OTHER, "storage.objects.get", folder="f/")
    suite.storage.grant(BUCKET, OTHER, "storage.objects.list", "storage.objects.create")
    suite.storage.revoke(BUCKET, OTHER, "storage.objects.create")
    suite.storage.delete_bucket(FAR)
    session = _open_session(suite)
    _put(suite, session, 0, 2 * Q)
    finished = _open_session_named(suite, "y")
    done = requests.put(suite.url + finished, data=b"y", timeout=5).json()
    token = suite.identity.mint(OWNER)
    before = {bucket: suite.storage.list(bucket) for bucket in (BUCKET, CUSTOMER)}
    suite.stop()

    again = start(tmp_path, clock)
    try:
        assert {bucket: again.storage.list(bucket) for bucket in (BUCKET, CUSTOMER)} == before
        assert again.storage.read(CUSTOMER, "copy") == b"aaabbbccc"
        assert again.storage.read(BUCKET, "a") == b"another"
        read = again.client(token=token).bucket(BUCKET).get_blob("c")
        assert read is not None
        assert read.content_type == "text/plain"
        other = again.client(OTHER).bucket(BUCKET)
        held = other.test_iam_permissions([f"storage.objects.{verb}" for verb in ("get", "list", "create")])
        assert held == ["storage.objects.list"]
        with pytest.raises(ValueError, match="no bucket"):
            again.storage.list(FAR)
        status = requests.put(
            again.url + session, headers={"Content-Range": "bytes */*"}, allow_redirects=False, timeout=5
        )
        assert (status.status_code, status.headers["Range"]) == (308, f"bytes=0-{2 * Q - 1}")
        resource = _put(again, session, 2 * Q, len(CONTENT)).json()
        assert again.storage.read(BUCKET, "x") == CONTENT
        assert int(resource["generation"]) > max(o.generation for o in before[BUCKET])
        # The digest of what came before the restart is in it.
        assert again.client().bucket(BUCKET).blob("x").download_as_bytes(checksum="md5") == CONTENT
        assert requests.put(again.url + finished, timeout=5).json() == done
    finally:
        again.stop()


def _open_session_named(suite: Suite, name: str) -> str:
    answer = suite.session().post(
        f"{suite.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name={name}"
    )
    return answer.headers["Location"].removeprefix(suite.url)


def test_contents_that_nothing_refers_to_are_swept_at_the_start(tmp_path: Path) -> None:
    suite = _filled(tmp_path, SuiteClock(frozen_at=START))
    suite.storage.put(BUCKET, "kept", b"k" * 1000)
    suite.storage.put(BUCKET, "gone", b"g" * 2000)
    suite.storage.remove(BUCKET, "gone")
    session = _open_session(suite)
    _put(suite, session, 0, Q)
    cancelled = _open_session(suite)
    _put(suite, cancelled, 0, Q)
    suite.stop()
    half_written = tmp_path / "storage" / "incoming" / "half"
    half_written.write_bytes(b"h")

    start(tmp_path, SuiteClock(frozen_at=START)).stop()
    sizes = sorted(file.stat().st_size for file in (tmp_path / "storage" / "contents").glob("*/*"))
    assert sizes == [1000, Q, Q]
    assert not half_written.exists()


_SERVE = """
import sys, threading
from pathlib import Path
from infra.local.clock import SuiteClock
from tests.infra.local.storage.suite import BUCKET, OWNER, start
suite = start(Path(sys.argv[1]), SuiteClock())
suite.identity.create_account(OWNER)
suite.storage.create_bucket(BUCKET)
suite.storage.grant(BUCKET, OWNER, "roles/storage.admin")
print(suite.url, suite.identity.mint(OWNER), flush=True)
threading.Event().wait()
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_an_upload(tmp_path: Path) -> None:
    """Three processes after one another serve the directory, each killed with a chunk half received."""

    def serve() -> tuple[subprocess.Popen[str], str, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        url, token = process.stdout.readline().split()
        return process, url, token

    def standing(url: str) -> int:
        answer = requests.put(url, headers={"Content-Range": "bytes */*"}, allow_redirects=False, timeout=5)
        assert answer.status_code == 308
        return int(answer.headers.get("Range", "bytes=0--1").split("-", 1)[1]) + 1

    content = os.urandom(40 * Q + 77)
    process, url, token = serve()
    made = requests.post(
        f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x&ifGenerationMatch=0",
        headers={"Authorization": f"Bearer {token}"},
        timeout=5,
    )
    session = made.headers["Location"].removeprefix(url)
    sure = 0
    for _ in range(3):
        at = standing(url + session)
        # What was acknowledged before a kill is there after it.
        assert at >= sure
        first = content[at : at + 4 * Q]
        acknowledged = requests.put(
            url + session,
            data=first,
            headers={"Content-Range": f"bytes {at}-{at + len(first) - 1}/*"},
            allow_redirects=False,
            timeout=5,
        )
        sure = at + 4 * Q
        assert acknowledged.headers["Range"] == f"bytes=0-{sure - 1}"
        rest = content[sure:]

        def half(rest: bytes = rest, process: subprocess.Popen[str] = process) -> object:
            yield rest[: 6 * Q + 1000]
            process.send_signal(signal.SIGKILL)
            process.wait()
            yield rest[6 * Q + 1000 :]

        with pytest.raises(requests.ConnectionError):
            requests.put(
                url + session,
                data=half(),  # type: ignore[arg-type]
                headers={"Content-Range": f"bytes {sure}-{len(content) - 1}/{len(content)}"},
                timeout=5,
            )
        assert process.stdout is not None
        process.stdout.close()
        process, url, token = serve()
    at = standing(url + session)
    assert at >= sure
    done = requests.put(
        url + session,
        data=content[at:],
        headers={"Content-Range": f"bytes {at}-{len(content) - 1}/{len(content)}"},
        timeout=5,
    )
    assert done.status_code == 200
    read = requests.get(
        f"{url}/storage/v1/b/{BUCKET}/o/x?alt=media", headers={"Authorization": f"Bearer {token}"}, timeout=5
    )
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert read.content == content
    assert f"md5={done.json()['md5Hash']}" in read.headers["X-Goog-Hash"]
