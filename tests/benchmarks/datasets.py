"""Exporting a dataset as COCO: ours against Google's client, by the CPU of the exporting process; and the
memory of a large export against a small one."""

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from google.cloud import firestore, storage
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.customers import add_customer, add_site, get_customer
from shared.accounts.keys import Caller
from shared.datasets import samples, service
from shared.datasets import task as tasks
from shared.datasets.dataset import Dataset
from shared.datasets.forms import coco
from shared.datasets.request import ALL
from shared.datasets.steps import KIND
from shared.datasets.task import Task
from shared.gcp.clients import Cloud
from shared.workorders import envelope, images, store
from shared.workorders.images import Image
from shared.workorders.record import SCHEMA, WorkOrder, encode
from tests.benchmarks import samples as work_orders
from tests.benchmarks import services, works
from tests.benchmarks.measure import Comparison, Done, Figure, Ground, Side, compare, digest, shown
from tests.benchmarks.services import Services
from tests.benchmarks.works import Performed

CUSTOMER, BUCKET = "sets", "bench-sets"
CALLER = Caller(key="bench", customer=CUSTOMER, scopes=frozenset(), site=None)

WORK_ORDER_SAMPLES = 6
"""How many photographs each of the work orders has."""

IMAGE_BYTES = 32
"""Small: a rewrite within a location moves no bytes. The contents of any two differ."""

WIDTH, HEIGHT = 4000, 3000
LABELS = ("meter", "seal", "cable", "cabinet", "antenna", "bolt", "plate", "rust")

WRITES_A_COMMIT = 200
"""How many work orders one commit writes. It may hold 10 MiB."""


SAMPLES, QUICK_SAMPLES = 6_000, 30
REPETITIONS = 3
LIMIT = 0.15

GROWN, QUICK_GROWN = 50_000, 60
"""How many samples the larger export has whose memory is measured; the small one has a tenth."""

GROWTH_LIMIT = 1.1


def bench(ground: Ground) -> Iterator[Figure]:
    """The comparison, and the memory."""
    onboard(ground)
    yield _compared(ground).figure("dataset_cpu_vs_client", 1, "cpu", LIMIT)
    works.show_head()
    samples = QUICK_GROWN if ground.quick else GROWN
    small, large = _apart(ground, "small", samples // 10), _apart(ground, "large", samples)
    yield works.growth("rss_growth_datasets", small, large, GROWTH_LIMIT)


def onboard(ground: Ground) -> None:
    """Make the customer whose datasets these are."""
    ground.served.ask(services.onboard, CUSTOMER, CUSTOMER, BUCKET)
    add_customer(ground.cloud.db, id=CUSTOMER, slug=CUSTOMER, name="Datasets")


def _compared(ground: Ground) -> Comparison:
    """Export that many samples, two ways, each time to a path of its own.

    The client's side only copies the images. It reads no labels, and writes no file of its own.
    """
    cloud, served = ground.cloud, ground.served
    samples = QUICK_SAMPLES if ground.quick else SAMPLES
    theirs = cloud.as_customer(get_customer(cloud.db, CUSTOMER).account)
    dataset = make(cloud, served, "compared", samples)
    client = storage.Client(
        project=cloud.settings.project,
        credentials=theirs.credentials,
        client_options={"universe_domain": theirs.credentials.universe_domain},
    )

    def ours(repetition: int) -> str:
        task = begin(cloud, dataset, f"ours/{repetition}/")
        export(cloud, task.path)
        return f"ours/{repetition}/"

    def one_by_one(repetition: int) -> str:
        prefix = f"client/{repetition}/"
        from_, to = client.bucket(cloud.settings.images_bucket), client.bucket(BUCKET)
        query = cloud.db.collection("work_orders").where(filter=FieldFilter("site_id", "==", "compared"))
        for snapshot in query.stream():
            fields: Any = snapshot.to_dict()
            for image in images.decode(fields["images"]):
                source = images.object_name(CUSTOMER, "compared", image)
                token, _, _ = to.blob(f"{prefix}{coco.IMAGES}/{image.file_name}").rewrite(
                    from_.blob(source),
                    if_generation_match=0,
                    if_source_generation_match=image.generation,
                )
                assert token is None
        return prefix

    def done(side: Side[str], _: int, prefix: str) -> Done:
        copied = served.ask(services.landed, BUCKET, f"{prefix}{coco.IMAGES}/")
        if side.work is ours:
            _whole(served, prefix, samples)
        found = digest(sorted(f"{each.crc32c} {each.size}".encode() for each in copied))
        return replace(found, bytes=sum(each.size for each in copied))

    sides = [
        Side("a dataset export task", ours),
        Side("client: stream, to_dict; rewrite, one after the other", one_by_one),
    ]
    return shown(compare("exporting a dataset as COCO", "samples", REPETITIONS, sides, done))


def _apart(ground: Ground, site: str, samples: int) -> Performed:
    dataset = make(ground.cloud, ground.served, site, samples)
    took = works.perform_apart(__name__, begin(ground.cloud, dataset, f"{site}/").path)
    assert took.records == samples, took
    _whole(ground.served, f"{site}/", samples)
    works.show(f"export of a dataset of {samples:,} samples", took)
    return took


def make(cloud: Cloud, served: Services, site: str, count: int) -> Dataset:
    """Make a detection dataset of that many samples, all of one new site."""
    add_site(cloud.db, id=site, customer=CUSTOMER, name=site, task_groups=work_orders.TASK_GROUPS)
    fill(cloud, served, site, count)
    return service.create(
        cloud,
        CALLER,
        name=site,
        type=samples.DETECTION,
        sites=[site],
        task_names=[],
        description="",
    )


def begin(cloud: Cloud, dataset: Dataset, prefix: str, **asked: Any) -> Task:
    """Begin an export, as COCO unless something else is asked for."""
    body = {"path": f"gs://{BUCKET}/{prefix}", "export_type": ALL, "annotation_format": "COCO", **asked}
    return service.begin_export(cloud, CALLER, dataset, body)


def export(cloud: Cloud, path: str) -> Task:
    """Do all of an export task, and return it at its end."""
    return tasks.from_snapshot(works.perform_all(cloud, KIND, path))


def _whole(served: Services, prefix: str, samples: int) -> None:
    """See that an export has its samples in its COCO file and in its manifest, the labels in the first."""
    found = orjson.loads(served.ask(services.read, BUCKET, f"{prefix}{coco.NAME}"))
    names = [each.name for each in served.ask(services.landed, BUCKET, prefix)]
    (manifest,) = (name for name in names if name.endswith(".manifest"))
    lines = served.ask(services.read, BUCKET, manifest).splitlines()
    numbers = len(found["images"]), len(lines), len(found["annotations"])
    assert numbers == (samples, samples, 2 * samples), numbers


def fill(cloud: Cloud, served: Services, site: str, count: int) -> None:
    """Write the work orders and images of a site, past all that would analyse them."""
    orders = [order_of(site, number) for number in range(-(-count // WORK_ORDER_SAMPLES))]
    inputs = [one.id for order in orders for item in order.work_items for one in item.input]
    # Those of the last work order that are too many have no image, and so are no samples.
    stored = _put(cloud, served, site, inputs[:count])
    for start in range(0, len(orders), WRITES_A_COMMIT):
        batch = cloud.db.batch()
        for order in orders[start : start + WRITES_A_COMMIT]:
            batch.create(cloud.db.document(f"work_orders/{order.id}"), document(order, stored))
        batch.commit()


def order_of(site: str, number: int) -> WorkOrder:
    """A work order as `samples.work_order` makes it, with an id of this site's alone."""
    return replace(work_orders.work_order(number), id=store.work_order_id(site, str(number)), site_id=site)


def _put(cloud: Cloud, served: Services, site: str, inputs: Sequence[str]) -> dict[str, Image]:
    """Store an image of each input; returns them by input."""
    names = {images.name_of(CUSTOMER, site, id, "jpg"): id for id in inputs}
    contents = [(name, random.Random(name).randbytes(IMAGE_BYTES)) for name in names]
    found = served.ask(services.put, cloud.settings.images_bucket, contents)
    return {
        names[each.name]: Image(
            names[each.name], "jpg", each.generation, each.size, each.crc32c, WIDTH, HEIGHT
        )
        for each in found
        if each.name in names
    }


def document(order: WorkOrder, stored: Mapping[str, Image]) -> dict[str, Any]:
    """The document of a work order with those images."""
    chance = random.Random(order.id)
    inputs = [one.id for item in order.work_items for one in item.input if one.id in stored]
    labels = {id: {"reading": {"confidence": 0.9, "regions": list(_regions(chance))}} for id in inputs}
    lines = b"".join(images.encode(stored[id]) for id in inputs)
    details = envelope.details(
        tags=(), parameters={}, labels=labels, checked=len(inputs), analysis="DONE", failure=""
    )
    packed = envelope.pack(encode(order), CUSTOMER, len(lines) + envelope.size_of(details))
    return {
        "customer": CUSTOMER,
        "site_id": order.site_id,
        "name": order.name,
        "shard": envelope.shard_of(order.id),
        "schema": SCHEMA,
        "deleted": False,
        "update_date": firestore.SERVER_TIMESTAMP,
        "encoding": packed.encoding,
        "record": packed.record,
        "images": lines,
        **details,
    }


def _regions(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Two labels with a box each."""
    for label in chance.sample(LABELS, 2):
        left, top = chance.randrange(WIDTH // 2), chance.randrange(HEIGHT // 2)
        yield {"label": label, "box": [left, top, chance.randrange(40, 900), chance.randrange(40, 900)]}


def main() -> None:
    """Do the export that the first argument names; print what it took."""
    works.report(_exported)


def _exported(cloud: Cloud) -> int:
    return export(cloud, sys.argv[1]).finished_count or 0


if __name__ == "__main__":
    main()
