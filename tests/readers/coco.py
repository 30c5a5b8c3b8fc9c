"""Prints what pycocotools reads of a COCO file: for each image its file name, size, and boxes with areas."""

import contextlib
import json
import sys

from pycocotools.coco import COCO

with contextlib.redirect_stdout(sys.stderr):
    coco = COCO(f"{sys.argv[1]}/annotations/instances_default.json")
names = {each["id"]: each["name"] for each in coco.loadCats(coco.getCatIds())}
images = {}
for image in coco.loadImgs(coco.getImgIds()):
    found = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
    images[image["file_name"]] = {
        "size": [image["width"], image["height"]],
        "labels": [[names[each["category_id"]], each["bbox"], each["area"]] for each in found],
        "pixels": [int(coco.annToMask(each).sum()) for each in found if each["segmentation"]],
    }
print(json.dumps({"categories": [[id, names[id]] for id in sorted(names)], "images": images}))
