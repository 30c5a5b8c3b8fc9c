"""Images with their labels as files and directories."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from shared.datasets.forms import names
from shared.datasets.forms.images import Tree
from shared.datasets.samples import CLASSIFICATION, Label
from tests.subjects.exported_dataset import (
    HARD_NAMES,
    NOT_XML,
    classified,
    content_of,
    export,
    placed,
    sample,
)


def unescaped(line: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r", "\\": "\\"}[found[1]], line)


def test_a_tile_has_a_text_file_beside_each_labelled_image(tmp_path: Path) -> None:
    there = export(tmp_path, classified(), CLASSIFICATION)
    files = {path.name for path in tmp_path.iterdir() if path.suffix != ".manifest"}
    for each in there:
        image = tmp_path / each.sample.name
        assert image.read_bytes() == content_of(each.sample)
        files.remove(image.name)
        text = image.with_suffix(".txt")
        assert text.exists() == bool(each.sample.labels)
        if each.sample.labels:
            files.remove(text.name)
            with text.open(encoding="utf-8") as opened:
                lines = [line.removesuffix("\n") for line in opened]
            assert [unescaped(line) for line in lines] == [label.name for label in each.sample.labels]
    assert not files


def test_a_tree_has_a_directory_a_label(tmp_path: Path) -> None:
    there = export(
        tmp_path, [each for each in classified() if len(each.labels) < 2], CLASSIFICATION, export_format=1
    )
    directories = {}
    for each in there:
        (image,) = tmp_path.rglob(each.sample.name)
        assert image.read_bytes() == content_of(each.sample)
        *directory, _ = image.relative_to(tmp_path).parts
        if each.sample.labels:
            directories[each.sample.labels[0].name] = directory
        else:
            assert directory == []
    assert len({tuple(each) for each in directories.values()}) == len(HARD_NAMES)
    for name, (only,) in directories.items():
        assert unquote(only) == name or len(name.encode()) > names.MAX_BYTES
    assert directories["left/right\\.."] == ["left%2Fright\\.."]
    assert directories[".."] == ["%2E%2E"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("fine label, 1", "fine label, 1"),
        ("a/b%c", "a%2Fb%25c"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "..."),
        ("a\r\n\x7f\x85", "a%0D%0A%7F%C2%85"),
        (NOT_XML, "bell%07%EF%BF%BE"),
        ("👩🏽‍🔧", "👩🏽‍🔧"),
    ],
)
def test_a_name_is_encoded_where_it_must_be(words: str, name: str) -> None:
    assert names.segment(words) == name


def test_a_long_name_is_cut_at_a_character_and_stays_its_own() -> None:
    one, other = names.segment("ä" * 2_000), names.segment("ä" * 2_001)
    assert one != other
    assert len(one.encode()) <= names.MAX_BYTES
    assert one.startswith("ä" * 70)
    assert "%" not in names.segment("x" * 182 + "//////" * 9).replace("%2F", "")


def test_a_tree_refuses_an_image_with_two_labels() -> None:
    labels = [Label("fine", "state"), Label("fine", "other"), Label("x" * 500, "place")]
    (one,) = placed([sample(1, labels)])
    assert Tree().problem(one) == (
        "The image of meter of the work order WO/1, first (00000001-1111-5222-8333-444444444444) has the "
        f"labels fine and {'x' * 80}…. As a tree an image is in the directory of its one label: use "
        "export_format 2, or a dataset with one task."
    )
    for good in (labels[:1], labels[:2], []):
        assert Tree().problem(placed([sample(1, good)])[0]) is None
