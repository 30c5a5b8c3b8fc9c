"""Shards are tar files that can be written without holding an image. What webdataset makes of them is tested
in test_readers_read_datasets.py."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from shared.datasets.forms import form_of, webdataset
from shared.datasets.samples import CLASSIFICATION, DETECTION
from tests.subjects.exported_dataset import (
    CONTENT,
    broken,
    classified,
    content_of,
    detected,
    export,
    exported,
    placed,
    sample,
)

LARGE = 100 * 1024 * 1024


def members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(each, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]


def test_an_image_is_followed_by_its_labels(tmp_path: Path) -> None:
    there = export(tmp_path, [*detected(), broken(9)], DETECTION, "WebDataset")
    found = [member for path in sorted(tmp_path.glob("*.tar")) for member in members(path)]
    assert len(found) == 2 * len(there)
    for (image, content), (about, text), each in zip(found[::2], found[1::2], there, strict=True):
        assert image.name == each.sample.name
        assert content == content_of(each.sample)
        assert about.name == each.sample.name.replace(".jpg", ".json")
        said = json.loads(text)
        assert said["file_name"] == each.sample.name
        assert [(one["name"], one["box"]) for one in said["labels"]] == [
            (label.name, list(label.box or ())) for label in each.sample.labels
        ]
        assert said["metadata"] == each.sample.metadata
        assert (image.mtime, image.uid, image.gid, image.uname, image.gname) == (0, 0, 0, "", "")


def test_a_split_has_shards_of_its_own_and_no_number_is_missing(tmp_path: Path) -> None:
    there = export(tmp_path, classified(), CLASSIFICATION, "WebDataset", split=True)
    for prefix, usage in (("train", "TRAIN"), ("val", "EVAL")):
        paths = sorted(tmp_path.glob(f"{prefix}-*.tar"))
        assert [path.name for path in paths] == [f"{prefix}-{number:06}.tar" for number in range(len(paths))]
        images = [each.name for path in paths for each, _ in members(path)[::2]]
        assert images == [each.sample.name for each in there if each.usage == usage]
    assert not list(tmp_path.glob("*.jpg"))


@pytest.mark.parametrize("name", ["x" * 100, "x" * 101, "x" * 900, "größe🧯.jpg", "a/" + "b" * 150])
def test_any_name_is_read_back(tmp_path: Path, name: str) -> None:
    file = tmp_path / "one.tar"
    head = webdataset.header(name, len(CONTENT))
    assert len(head) % tarfile.BLOCKSIZE == 0
    assert head == webdataset.header(name, len(CONTENT))
    file.write_bytes(head + CONTENT + webdataset.padding(len(CONTENT)) + webdataset.END)
    ((member, content),) = members(file)
    assert (member.name, content) == (name, CONTENT)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, LARGE])
def test_contents_end_at_a_block(size: int) -> None:
    assert (size + len(webdataset.padding(size))) % tarfile.BLOCKSIZE == 0
    assert len(webdataset.padding(size)) < tarfile.BLOCKSIZE


def test_the_size_of_a_shard_with_a_large_image_is_known_without_its_bytes() -> None:
    large = replace(sample(1), image=replace(sample(1).image, size=LARGE))
    of = exported(CLASSIFICATION, [large])
    (shard,) = form_of(of, "WebDataset", None, None).shards(7, placed([large]))
    assert shard.name == "shard-000007.tar"
    (entry,) = shard.entries
    assert entry.sample == large
    assert len(entry.before) == tarfile.BLOCKSIZE
    assert shard.size == len(entry.before) + LARGE + len(entry.after) + len(shard.after)
    assert shard.size % tarfile.BLOCKSIZE == 0
