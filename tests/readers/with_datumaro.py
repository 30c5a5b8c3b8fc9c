"""Prints what datumaro reads of a directory in a format: for each image its split, its size, and its labels
with boxes or polygons."""

import json
import sys

from datumaro import AnnotationType, Dataset

path, format = sys.argv[1:]
dataset = Dataset.import_from(path, format)
names = [label.name for label in dataset.categories()[AnnotationType.label]]
images = {}
for item in dataset:
    height, width = item.media.data.shape[:2]
    images[item.id] = {
        "split": item.subset,
        "size": [width, height],
        "labels": [
            [
                names[each.label],
                list(each.points) if each.type == AnnotationType.polygon else list(each.get_bbox()),
            ]
            for each in item.annotations
        ],
    }
print(json.dumps({"categories": names, "images": images}))
