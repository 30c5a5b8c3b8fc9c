"""Where a task writes: a path in the customer's bucket, as the customer's account."""

import hashlib

from shared.accounts.customers import get_customer
from shared.datasets.dataset import Dataset, Version
from shared.datasets.forms import form_of, plain
from shared.datasets.forms.base import Exported, Form, Usage
from shared.datasets.forms.plain import Plain
from shared.datasets.request import Request
from shared.datasets.samples import Sample
from shared.datasets.task import Task
from shared.delivery.cloud_storage.bucket import CustomerBucket, Ways
from shared.delivery.cloud_storage.uri import BucketUri
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from shared.workorders import images

WAYS = Ways("create the task again with an empty path", "create a task with another path")
"""What can be done about a task whose bucket refuses."""


def bucket_of(cloud: Cloud, customer: str, place: BucketUri) -> CustomerBucket:
    """A bucket of a customer, reached as the customer's account. CustomerMustAct where it is one of ours."""
    account = get_customer(cloud.db, customer).account
    return CustomerBucket.of(cloud, account, place.bucket, WAYS)


def origin_of(cloud: Cloud, dataset: Dataset) -> CustomerBucket | None:
    """The customer's bucket that the images of a dataset are in; None where they are in ours."""
    if dataset.origin is None:
        return None
    return bucket_of(cloud, dataset.customer, BucketUri(dataset.origin.bucket, dataset.origin.prefix))


def source_of(cloud: Cloud, dataset: Dataset, sample: Sample) -> Stored:
    """The image of a sample as it stands: in our bucket, or in that of a customer whose dataset was exported
    from another one."""
    image = sample.image
    if dataset.origin is not None:
        bucket, name = dataset.origin.bucket, f"{dataset.origin.prefix}{plain.place(sample)}"
    else:
        bucket = cloud.settings.images_bucket
        name = images.object_name(dataset.customer, sample.site_id, image)
    return Stored(bucket, name, image.generation, image.size, image.crc32c)


def exported(task: Task, version: Version) -> Exported:
    """What all of an export has in common."""
    request = task.request
    at = request.path
    return Exported(
        dataset=task.name,
        version=version.name,
        type=task.type,
        labels=tuple(version.labels),
        split=request.ratio_sample_usage,
        hard=not request.clear_hard_property,
        header=request.with_column_header,
        root=f"{request.source_type_header}{at.bucket}/{at.prefix}",
    )


def form(request: Request, exported: Exported) -> Form:
    """The form of an export."""
    if request.new_dataset:
        return Plain()
    return form_of(exported, request.version_format, request.annotation_format, request.export_format)


def usage(request: Request, sample: Sample) -> Usage | None:
    """Which split a sample is in: by a hash of its work order, so that the photographs of one visit are never
    on both sides, and a sample is on the same side in each export of the same ratio."""
    if not request.ratio_sample_usage:
        return None
    hashed = hashlib.sha256(f"split\n{sample.work_order_id}".encode()).digest()
    return "TRAIN" if int.from_bytes(hashed[:8]) < request.train_sample_ratio * 2**64 else "EVAL"
