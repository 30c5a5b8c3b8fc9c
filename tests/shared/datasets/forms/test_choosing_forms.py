"""Which form an export has, and which combinations are refused."""

import itertools
from typing import Any

import pytest

from shared.datasets.forms import form_of, unsupported
from shared.datasets.forms.base import Form
from shared.datasets.forms.coco import Coco
from shared.datasets.forms.csv import Csv
from shared.datasets.forms.images import Tile, Tree
from shared.datasets.forms.parquet import Parquet
from shared.datasets.forms.voc import Voc
from shared.datasets.forms.webdataset import WebDataset
from shared.datasets.forms.yolo import Yolo
from shared.datasets.samples import CLASSIFICATION, DETECTION, SEGMENTATION
from tests.subjects.exported_dataset import exported


@pytest.mark.parametrize(
    ("type", "chosen", "form"),
    [
        (CLASSIFICATION, ("Default", None, None), Tile),
        (CLASSIFICATION, ("Default", None, 2), Tile),
        (CLASSIFICATION, ("Default", None, 1), Tree),
        (DETECTION, ("Default", None, None), Voc),
        (SEGMENTATION, ("Default", "VOC", 2), Voc),
        (DETECTION, ("Default", "COCO", 2), Coco),
        (CLASSIFICATION, ("CSV", None, 2), Csv),
        (SEGMENTATION, ("YOLO", None, None), Yolo),
        (DETECTION, ("Parquet", None, None), Parquet),
        (CLASSIFICATION, ("WebDataset", None, 2), WebDataset),
    ],
)
def test_the_form_of_an_export(type: int, chosen: Any, form: type[Form]) -> None:
    assert unsupported(type, *chosen) is None
    assert isinstance(form_of(exported(type, []), *chosen), form)


@pytest.mark.parametrize(
    ("type", "chosen", "said"),
    [
        (CLASSIFICATION, ("Default", "COCO", None), "COCO needs boxes or polygons"),
        (CLASSIFICATION, ("Default", "VOC", 1), "VOC needs boxes or polygons"),
        (CLASSIFICATION, ("YOLO", None, None), "YOLO needs boxes or polygons"),
        (DETECTION, ("Default", None, 1), "use export_format 2"),
        (SEGMENTATION, ("Default", "COCO", 1), "use export_format 2"),
        (DETECTION, ("CSV", "COCO", None), "use version_format Default, or leave annotation_format out"),
        (CLASSIFICATION, ("Parquet", None, 1), "use version_format Default, or leave export_format out"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_choose(type: int, chosen: Any, said: str) -> None:
    assert said in (unsupported(type, *chosen) or "")
    with pytest.raises(ValueError, match=said):
        form_of(exported(type, []), *chosen)


def test_every_combination_has_a_form_or_a_reason() -> None:
    for type, version, annotation, export_format in itertools.product(
        (CLASSIFICATION, DETECTION, SEGMENTATION),
        ("Default", "CSV", "YOLO", "Parquet", "WebDataset"),
        (None, "VOC", "COCO"),
        (None, 1, 2),
    ):
        chosen: Any = (version, annotation, export_format)
        if unsupported(type, *chosen) is None:
            assert isinstance(form_of(exported(type, []), *chosen), Form)
