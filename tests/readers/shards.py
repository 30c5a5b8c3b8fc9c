"""Prints what webdataset reads of the shards in a directory, by what their names begin with."""

import json
import sys
from pathlib import Path

import webdataset

read: dict[str, list[object]] = {}
for prefix in ("shard", "train", "val"):
    paths = sorted(str(path) for path in Path(sys.argv[1]).glob(f"{prefix}-*.tar"))
    if not paths:
        continue
    last = len(paths) - 1
    urls = f"{sys.argv[1]}/{prefix}-{{000000..{last:06}}}.tar"
    for each in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("pil"):
        read.setdefault(prefix, []).append(
            {
                "key": each["__key__"],
                "size": each["jpg"].size if "jpg" in each else None,
                "json": each["json"],
            }
        )
print(json.dumps(read))
