"""The forms in which datasets are exported: where images go, and what is written of their labels."""

from shared.datasets.forms.base import Exported, Form
from shared.datasets.forms.coco import Coco
from shared.datasets.forms.csv import Csv
from shared.datasets.forms.images import Tile, Tree
from shared.datasets.forms.parquet import Parquet
from shared.datasets.forms.voc import Voc
from shared.datasets.forms.webdataset import WebDataset
from shared.datasets.forms.yolo import Yolo
from shared.datasets.samples import CLASSIFICATION

TREE, TILE = 1, 2
"""What an export's `export_format` says."""


def unsupported(
    type: int,
    version_format: str,
    annotation_format: str | None,
    export_format: int | None,
) -> str | None:
    """Why a dataset of that type cannot be exported so, and what to choose instead: a sentence. None where it
    can."""
    if version_format != "Default":
        if annotation_format is not None:
            return (
                f"annotation_format {annotation_format} cannot be combined with version_format "
                f"{version_format}: use version_format Default, or leave annotation_format out."
            )
        if export_format == TREE:
            return (
                f"export_format 1 (tree) cannot be combined with version_format {version_format}: use "
                "version_format Default, or leave export_format out."
            )
    if type == CLASSIFICATION and (wanted := annotation_format or version_format) in ("VOC", "COCO", "YOLO"):
        return (
            f"{wanted} needs boxes or polygons, and the labels of an image classification dataset "
            "(dataset_type 0) have none. Leave annotation_format out, and use version_format Default, CSV, "
            "Parquet or WebDataset; or export a dataset of dataset_type 1 (object detection) or 3 (image "
            "segmentation)."
        )
    if type != CLASSIFICATION and export_format == TREE:
        return (
            "export_format 1 (tree) has one label an image, which only an image classification dataset "
            "(dataset_type 0) has: use export_format 2, with annotation_format VOC or COCO."
        )
    return None


def form_of(
    exported: Exported,
    version_format: str,
    annotation_format: str | None,
    export_format: int | None,
) -> Form:
    """The form of an export. ValueError where it is `unsupported`."""
    if reason := unsupported(exported.type, version_format, annotation_format, export_format):
        raise ValueError(reason)
    match version_format:
        case "CSV":
            return Csv(exported)
        case "YOLO":
            return Yolo(exported)
        case "Parquet":
            return Parquet(exported)
        case "WebDataset":
            return WebDataset(exported)
        case _:
            if exported.type == CLASSIFICATION:
                return Tree() if export_format == TREE else Tile()
            return Coco(exported) if annotation_format == "COCO" else Voc(exported)
