"""Draws a few images of a COCO dataset with their boxes and labels, as pycocotools reads them.

`python infra/local/contact_sheet.py FOLDER SHEET LABEL…` draws the first image of each label into the PNG
file SHEET, and prints as JSON what pycocotools found in FOLDER. It runs in the Python that has the readers
of requirements-readers.txt, and shares no code with Waybill.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from pycocotools.coco import COCO

COLUMNS = 3

SCALE = 0.75
"""How large an image is drawn."""

CAPTION = 20
"""Pixels of the line below an image."""

GAP = 8
"""Pixels between two images."""

LINES = ("#ffd400", "#00e5ff", "#ff5ad1", "#7dff5a", "#ff8a3d", "#b18cff")
"""The colours of boxes: labels take them in turn."""


def main(folder: Path, sheet: Path, labels: list[str]) -> None:
    """Draw the sheet, and print what there is."""
    with contextlib.redirect_stdout(sys.stderr):
        coco = COCO(str(folder / "annotations/instances_default.json"))
    names = {each["id"]: each["name"] for each in coco.loadCats(coco.getCatIds())}
    shown = [min(coco.getImgIds(catIds=coco.getCatIds(catNms=[label]))) for label in labels]
    tiles = [_tile(coco, folder, image, names) for image in coco.loadImgs(shown)]
    width, height = max(each.width for each in tiles), max(each.height for each in tiles)
    rows = -(-len(tiles) // COLUMNS)
    drawn = Image.new("RGB", (COLUMNS * (width + GAP) - GAP, rows * height), "white")
    for number, tile in enumerate(tiles):
        drawn.paste(tile, (number % COLUMNS * (width + GAP), number // COLUMNS * height))
    drawn.quantize().save(sheet, optimize=True)  # 256 colours make a small file
    found = {
        "images": [[each["sample_id"], each["file_name"]] for each in coco.loadImgs(coco.getImgIds())],
        "boxes": [
            [coco.loadImgs(each["image_id"])[0]["sample_id"], names[each["category_id"]], *each["bbox"]]
            for each in coco.loadAnns(coco.getAnnIds())
        ],
        "without_labels": sum(not coco.getAnnIds(imgIds=[each]) for each in coco.getImgIds()),
    }
    print(json.dumps(found))


def _tile(coco: COCO, folder: Path, image: dict[str, Any], names: dict[int, str]) -> Image.Image:
    picture = Image.open(folder / "images" / image["file_name"]).convert("RGB")
    if picture.size != (image["width"], image["height"]):
        raise ValueError(f"{image['file_name']} has {picture.size} pixels; the dataset says another size")
    size = round(picture.width * SCALE), round(picture.height * SCALE)
    tile = Image.new("RGB", (size[0], size[1] + CAPTION), "white")
    tile.paste(picture.resize(size))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(13)
    for label in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
        colour = LINES[label["category_id"] % len(LINES)]
        left, top, width, height = (each * SCALE for each in label["bbox"])
        draw.rectangle((left, top, left + width - 1, top + height - 1), outline=colour, width=2)
        words = names[label["category_id"]]
        draw.rectangle(draw.textbbox((left + 4, top + 3), words, font), fill="black")
        draw.text((left + 4, top + 3), words, colour, font)
    draw.text((3, size[1] + 3), image["file_name"], "black", font)
    return tile


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
