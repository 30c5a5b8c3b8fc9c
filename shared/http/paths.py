"""Paths of requests, where the endpoint that a client was given ended in a slash."""

import re

_SLASHES = re.compile("/{2,}")


def single_slashes(path: str) -> str:
    """The path with one slash for each run of them: `//v0.2/batches` is what a client asks for that puts
    `/v0.2/batches` behind an endpoint `https://waybill.example/`."""
    return _SLASHES.sub("/", path)
