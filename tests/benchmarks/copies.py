"""Copying images from one bucket into another: batched rewrites against rclone, on a neutral server."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shared.delivery.base import Copy
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.delivery.cloud_storage.copying import IN_FLIGHT, copy_images
from tests.benchmarks import neutral, services
from tests.benchmarks.delaying import DELAY, delayed
from tests.benchmarks.measure import (
    Comparison,
    Done,
    Figure,
    Ground,
    Side,
    children_cpu_seconds,
    compare,
    digest,
    shown,
)
from tests.benchmarks.neutral import Neutral

SOURCE, BUCKET = "bench-images", "bench-landed"
FOLDER = "bench/site"
IMAGES, QUICK_IMAGES = 5_000, 120
IMAGE_BYTES = 50_000
REPETITIONS, DELAYED_REPETITIONS = 3, 1


def bench(ground: Ground) -> Iterator[Figure]:
    """Copy the same images with as many connections, at once and where each request takes longer."""
    if why := neutral.missing() or (None if shutil.which("rclone") else "rclone is not installed"):
        print(f"\ncopying images: {why}; there are no figures")
        return
    images = QUICK_IMAGES if ground.quick else IMAGES
    account = ground.served.ask(services.onboard, "bench", "bench", BUCKET)
    with neutral.memory_folder("waybill-images-") as contents:
        _make(contents / SOURCE / FOLDER, images)
        with neutral.running(contents) as server:
            shutil.rmtree(contents / SOURCE)
            server.create_bucket(BUCKET)
            compared = _compare(ground, server, account, server.url, "copying images", REPETITIONS)
            yield compared.figure("copy_cpu_vs_rclone", 1, "cpu", 0.08)
            yield compared.figure("copy_wall_vs_rclone", 1, "wall", 1.0)
            with delayed("127.0.0.1", server.port) as there:
                name = f"copying images, {DELAY * 1000:g} ms added to each request"
                later = _compare(ground, server, account, f"http://{there}", name, DELAYED_REPETITIONS)
            yield later.figure("copy_wall_vs_rclone_30ms", 1, "wall", 0.25)


def _make(folder: Path, images: int) -> None:
    folder.mkdir(parents=True)
    contents = random.Random(1)
    for number in range(images):
        (folder / f"{number:05}.jpg").write_bytes(contents.randbytes(IMAGE_BYTES))


def _compare(
    ground: Ground, server: Neutral, account: str, url: str, name: str, repetitions: int
) -> Comparison:
    theirs = ground.cloud.as_customer(account)
    copies = [
        Copy(each["name"], int(each["generation"]), int(each["size"]), each["crc32c"], each["name"])
        for each in server.objects(SOURCE)
    ]

    def ours(repetition: int) -> str:
        prefix = f"ours/{repetition}/"
        renamed = (each._replace(name=prefix + each.name) for each in copies)
        bucket = CustomerBucket(theirs, account, BUCKET)
        outcome = copy_images(bucket, renamed, source_bucket=SOURCE, storage_url=url)
        assert outcome.copied == len(copies), outcome
        return prefix

    def rclone(repetition: int) -> str:
        command = [
            "rclone",
            "copy",
            "--config=/dev/null",
            f"--gcs-endpoint={url}/storage/v1/",
            "--gcs-anonymous",
            "--gcs-bucket-policy-only",
            "--gcs-no-check-bucket",  # it is there
            "--fast-list",
            f"--transfers={IN_FLIGHT}",
            f"--checkers={IN_FLIGHT}",
            "--immutable",  # what is there stays
            f":google cloud storage:{SOURCE}",
            f":google cloud storage:{BUCKET}/rclone/{repetition}",
        ]
        subprocess.run(command, check=True)
        return f"rclone/{repetition}/"

    def done(_: Side[str], __: int, prefix: str) -> Done:
        landed = server.objects(BUCKET)
        found = digest(
            [
                f"{each['name'].removeprefix(prefix)} {each['contentType']} {each['crc32c']}".encode()
                for each in landed
            ]
        )
        server.empty(BUCKET)
        return replace(found, bytes=sum(int(each["size"]) for each in landed))

    sides = [
        Side(f"copy_images: batched rewrites, {IN_FLIGHT} in flight", ours),
        Side(f"rclone: server-side copies, {IN_FLIGHT} in flight", rclone, children_cpu_seconds),
    ]
    return shown(compare(name, "images", repetitions, sides, done))
