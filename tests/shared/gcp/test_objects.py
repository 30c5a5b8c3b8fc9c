"""Objects are created once, and a lost answer is found out."""

import gc
import os

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed

from infra.local.traffic import Fault
from shared.gcp.objects import CHUNK_BYTES, WHOLE_BYTES, DifferentObject, Objects, crc32c_of
from tests.world import World

LOST = Fault("reset_after")
LARGE = b"x" * WHOLE_BYTES


@pytest.fixture
def objects(world: World) -> Objects:
    return world.cloud.objects


@pytest.fixture
def bucket(world: World) -> str:
    return world.cloud.settings.staging_bucket


def test_the_same_content_may_be_created_twice_and_stands_once(objects: Objects, bucket: str) -> None:
    first = objects.create(bucket, "a", b"content", "text/plain")
    assert objects.create(bucket, "a", b"content", "text/plain") == first
    assert (first.size, first.crc32c) == (7, crc32c_of(b"content"))


def test_the_first_names_that_begin_with_a_prefix(objects: Objects, bucket: str, world: World) -> None:
    for name in ("a/x.txt", "a/b/x.txt", "x.txt", "a/"):
        world.suite.storage.put(bucket, name, b"")
    assert objects.names(bucket, "a/", 2) == ["a/", "a/b/x.txt"]
    assert objects.names(bucket, "a/", 5) == ["a/", "a/b/x.txt", "a/x.txt"]
    assert objects.names(bucket, "", 1) == ["a/"]
    assert objects.names(bucket, "b/", 1) == []


def test_something_else_is_left_as_it_is(objects: Objects, bucket: str, world: World) -> None:
    world.suite.storage.put(bucket, "a", b"theirs")
    with pytest.raises(DifferentObject, match=f"gs://{bucket}/a"):
        objects.create(bucket, "a", b"ours", "text/plain")
    assert world.suite.storage.read(bucket, "a") == b"theirs"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 12_345])
def test_a_stream_is_invisible_until_it_is_closed(
    objects: Objects, bucket: str, world: World, size: int
) -> None:
    content = os.urandom(size)
    writer = objects.writer(bucket, "a", "text/plain")
    for at in range(0, size, 1_000_000):
        writer.write(content[at : at + 1_000_000])
    assert objects.stat(bucket, "a") is None
    stored = writer.close()
    assert (stored.size, stored.crc32c) == (size, crc32c_of(content))
    assert world.suite.storage.read(bucket, "a") == content
    if size:
        assert objects.read(stored, 0, size) == content
        assert objects.read(stored, size // 2, size) == content[size // 2 :]


def test_a_stream_that_is_abandoned_leaves_nothing(objects: Objects, bucket: str) -> None:
    writer = objects.writer(bucket, "a", "text/plain")
    writer.write(os.urandom(CHUNK_BYTES + 1))
    writer.abandon()
    assert objects.stat(bucket, "a") is None


def test_a_stream_that_is_forgotten_leaves_nothing(objects: Objects, bucket: str, world: World) -> None:
    writer = objects.writer(bucket, "a", "text/plain")
    writer.write(os.urandom(CHUNK_BYTES + 1))
    world.suite.traffic.forget()
    del writer
    gc.collect()
    assert objects.stat(bucket, "a") is None
    assert world.suite.traffic.calls("storage.uploads") == []


def test_a_stream_onto_what_is_there_is_refused_as_an_api_error(objects: Objects, bucket: str) -> None:
    objects.create(bucket, "a", b"first", "text/plain")
    writer = objects.writer(bucket, "a", "text/plain")
    writer.write(b"second")
    with pytest.raises(PreconditionFailed):
        writer.close()
    assert objects.create_stream(bucket, "a", [b"fi", b"rst"], "text/plain").size == 5
    with pytest.raises(DifferentObject):
        objects.create_stream(bucket, "a", [b"second"], "text/plain")


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([], ["objects.insert"]),
        ([b"fi", b"rst"], ["objects.insert"]),
        ([LARGE[1:], b"x"], ["objects.insert"]),
        ([LARGE, b"x"], ["uploads.start", "uploads.chunk", "objects.get"]),
        ([b"x"] * 3 + [LARGE, b"x"], ["uploads.start", "uploads.chunk", "objects.get"]),
    ],
    ids=["empty", "small", "just whole", "larger", "larger with its middle"],
)
def test_a_stream_of_little_content_is_one_call(
    objects: Objects, bucket: str, world: World, pieces: list[bytes], calls: list[str]
) -> None:
    world.suite.traffic.forget()
    stored = objects.create_stream(bucket, "new", iter(pieces), "text/plain")
    assert [each.kind for each in world.suite.traffic.calls("storage.")] == [
        f"storage.{each}" for each in calls
    ]
    content = b"".join(pieces)
    assert world.suite.storage.read(bucket, "new") == content
    assert stored.same_content(len(content), crc32c_of(content))


@pytest.mark.parametrize(
    "kind",
    ["storage.objects.insert", "storage.objects.rewrite", "storage.objects.compose", "storage.uploads.chunk"],
)
def test_a_lost_answer_ends_as_success(objects: Objects, bucket: str, world: World, kind: str) -> None:
    one, two = (objects.create(bucket, name, name.encode(), "text/plain") for name in ("one", "two"))
    world.suite.traffic.arm(kind, LOST)
    match kind:
        case "storage.objects.insert":
            stored = objects.create(bucket, "new", b"onetwo", "text/plain")
        case "storage.objects.rewrite":
            stored = objects.copy(one, bucket, "new")
        case "storage.objects.compose":
            stored = objects.compose(bucket, "new", [one, two], "text/plain")
        case _:
            stored = objects.create_stream(bucket, "new", [LARGE, b"two"], "text/plain")
    whole = {"storage.objects.rewrite": b"one", "storage.uploads.chunk": LARGE + b"two"}
    assert world.suite.storage.read(bucket, "new") == whole.get(kind, b"onetwo")
    assert stored.generation == next(e.generation for e in world.suite.storage.list(bucket, "new"))


def test_what_is_copied_is_exactly_the_generation_that_was_meant(
    objects: Objects, bucket: str, world: World
) -> None:
    meant = objects.create(bucket, "a", b"meant", "text/plain")
    world.suite.storage.put(bucket, "a", b"newer")
    with pytest.raises((PreconditionFailed, NotFound)):
        objects.copy(meant, bucket, "b")
    assert objects.stat(bucket, "b") is None


def test_a_rewrite_in_steps_across_locations(objects: Objects, bucket: str, world: World) -> None:
    world.suite.storage.create_bucket("far-away", location="US")
    world.suite.storage.grant("far-away", world.account, "roles/storage.objectUser")
    source = objects.create(bucket, "a", os.urandom(3 * 1024 * 1024), "text/plain")
    copied = objects.copy(source, "far-away", "a")
    assert (copied.size, copied.crc32c) == (source.size, source.crc32c)


def test_a_bucket_that_is_not_there_is_not_taken_for_an_object_that_is_not(
    objects: Objects, bucket: str
) -> None:
    assert objects.stat(bucket, "nothing") is None
    with pytest.raises(NotFound, match="bucket does not exist"):
        objects.stat("no-such-bucket", "nothing")
