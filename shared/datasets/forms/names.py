"""Names of files and directories that are made of customers' words."""

import hashlib
import unicodedata
from urllib.parse import quote

from shared.datasets.samples import Sample

MAX_BYTES = 200
"""How many bytes of UTF-8 a name has. File systems take 255 for one name, Cloud Storage 1,024 for all of an
object's name. https://cloud.google.com/storage/docs/objects#naming"""

_DIGITS = 32


def segment(words: str, max_bytes: int = MAX_BYTES) -> str:
    """The words as the name of one file or directory.

    `/`, `%`, control characters, and the names `.` and `..` are percent-encoded: Cloud Storage or its XML
    cannot have them. A longer name is cut, and ends with `~` and 32 hex digits of the SHA-256 of the words.
    So different words have different names.
    """
    if words in (".", ".."):
        return words.replace(".", "%2E")
    parts = [quote(each, safe="") if _encoded(each) else each for each in words]
    if sum(len(part.encode()) for part in parts) <= max_bytes:
        return "".join(parts) or "%"
    end = "~" + hashlib.sha256(words.encode()).hexdigest()[:_DIGITS]
    kept, left = [], max_bytes - len(end)
    for part in parts:
        left -= len(part.encode())
        if left < 0:
            break
        kept.append(part)
    return "".join(kept) + end


def _encoded(character: str) -> bool:
    return character in "/%" or unicodedata.category(character) == "Cc" or character in "\ufffe\uffff"


def stem(sample: Sample) -> str:
    """The name of a sample's image without its extension. It has no dot: see `samples.Sample.name`."""
    return sample.name.partition(".")[0]
