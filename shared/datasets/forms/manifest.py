"""The manifest of an export: a line of JSON a sample, as ModelArts reads and writes it.
https://support.huaweicloud.com/intl/en-us/dataprepare-modelarts/dataprepare-modelarts-0015.html

It has no blank line, also not at its end. `source` is where the sample's image is. Of an image in a shard it
is where the shard is, and `member` the image's name in it.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Annotated, Any, Literal, NotRequired

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from shared.datasets.forms import names
from shared.datasets.forms.base import Exported, Form, Joined, Placed, Section
from shared.datasets.samples import AUTO, CLASSIFICATION, DETECTION, HUMAN, SEGMENTATION, Label
from shared.formats import json_lines, moments

SECTION = "manifest"
"""The name of its one section."""

TYPES = {
    CLASSIFICATION: "modelarts/image_classification",
    DETECTION: "modelarts/object_detection",
    SEGMENTATION: "modelarts/image_segmentation",
}
"""What an annotation of a dataset's type is called."""

_NAME_BYTES = 100

Annotation = TypedDict(
    "Annotation",
    {
        "type": Annotated[str, Field(description="What kind of label it is.")],
        "name": NotRequired[Annotated[str, Field(description="The label.")]],
        "property": NotRequired[Annotated[dict[str, str], Field(description="Always empty.")]],
        "annotation-loc": NotRequired[Annotated[str, Field(description="The file that has the labels.")]],
        "annotation-format": NotRequired[Annotated[str, Field(description="The format of that file.")]],
        "annotated-by": Annotated[str, Field(description="`human` where a person did, else `auto`.")],
        "creation-time": NotRequired[Annotated[str, Field(description="When the person did, in UTC.")]],
        "confidence": NotRequired[Annotated[float, Field(description="The analyser's, from 0 to 1.")]],
    },
)
"""A label of a sample, or the file that has all its labels."""

Line = TypedDict(
    "Line",
    {
        "source": Annotated[str, Field(description="Where the image is, or the shard that holds it.")],
        "member": NotRequired[Annotated[str, Field(description="The image's name in its shard.")]],
        "usage": NotRequired[
            Annotated[Literal["TRAIN", "EVAL"], Field(description="Its side, where samples are split.")]
        ],
        "hard": NotRequired[Annotated[Literal["true", "false"], Field(description="Whether it is hard.")]],
        "hard-coefficient": NotRequired[Annotated[float, Field(description="How hard, from 0 to 1.")]],
        "id": Annotated[str, Field(description="The id of the input, as records have it.")],
        "annotation": NotRequired[Annotated[list[Annotation], Field(description="Its labels, if any.")]],
    },
)
"""A sample."""


class Missing(TypedDict):
    """An image that was gone when the dataset was exported."""

    file_name: Annotated[str, Field(description="The name that the image would have.")]


def joined(exported: Exported) -> Joined:
    """The file, `<dataset>-<version>.manifest`."""
    dataset = names.segment(exported.dataset, _NAME_BYTES)
    version = names.segment(exported.version, _NAME_BYTES)
    return Joined(
        f"{dataset}-{version}.manifest", json_lines.FORMAT.content_type, (Section(SECTION, between=b"\n"),)
    )


def give(exported: Exported, form: Form, number: int, slice: Sequence[Placed]) -> bytes:
    """What the slice of that number, from 0, gives to it."""
    return b"\n".join(line(exported, form, number, placed) for placed in slice)


def line(exported: Exported, form: Form, number: int, placed: Placed) -> bytes:
    """The line of a sample of the slice of that number, without a newline."""
    sample = placed.sample
    fields: dict[str, Any] = {}
    if (image := form.image(placed)) is not None:
        fields["source"] = exported.root + image
    else:
        fields["source"] = f"{exported.root}{form.shard(number, placed)}"
        fields["member"] = sample.name
    if placed.usage is not None:
        fields["usage"] = placed.usage
    if exported.hard:
        fields["hard"] = "true" if sample.hard else "false"
        if sample.hard_coefficient is not None:
            fields["hard-coefficient"] = sample.hard_coefficient
    fields["id"] = sample.id
    if sample.labels:
        type = TYPES[exported.type]
        voc = form.annotation(placed)
        if voc is not None:
            fields["annotation"] = [_file(type, exported.root + voc, sample.labels)]
        else:
            fields["annotation"] = [_annotation(type, label) for label in sample.labels]
    return orjson.dumps(fields)


def _annotation(type: str, label: Label) -> dict[str, Any]:
    fields = {
        "type": type,
        "name": label.name,
        "property": {},
        "annotated-by": label.annotated_by,
        **_created([label]),
    }
    return fields if label.confidence is None else {**fields, "confidence": label.confidence}


def _file(type: str, where: str, labels: Sequence[Label]) -> dict[str, Any]:
    """An annotation that is a file. People made it if they made all its labels, when they made the last."""
    return {
        "type": type,
        "annotation-loc": where,
        "annotation-format": "PASCAL VOC",
        "annotated-by": HUMAN if all(label.human for label in labels) else AUTO,
        **_created(labels),
    }


def _created(labels: Iterable[Label]) -> dict[str, str]:
    """When a person made the labels, in UTC. When an analysis did is not recorded."""
    times = [at for label in labels if (at := moments.parse(label.at)) is not None]
    return {"creation-time": f"{max(times).astimezone(UTC):%Y-%m-%d %H:%M:%S}"} if times else {}
