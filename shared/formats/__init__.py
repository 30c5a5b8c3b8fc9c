"""The formats that files are written in. Each is a module; this is where they are registered."""

from shared.formats import csv, json_array, json_lines, parquet
from shared.formats.base import Format
from shared.formats.gzipped import Gzipped

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        json_lines.FORMAT,
        json_array.FORMAT,
        csv.FORMAT,
        parquet.FORMAT,
        Gzipped(json_lines.FORMAT),
        Gzipped(json_array.FORMAT),
        Gzipped(csv.FORMAT),
    )
}
"""The formats by the name that an export's `file_format` gives."""
