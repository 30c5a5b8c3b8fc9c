"""URLs of Cloud Storage: of which bucket one is."""

from urllib.parse import unquote, urlsplit

HOSTS = ("storage.googleapis.com", "storage.cloud.google.com")
"""Where Cloud Storage answers: a bucket is the first step of the path, or stands before the host.
https://cloud.google.com/storage/docs/request-endpoints"""


def bucket_in(url: str) -> str | None:
    """The bucket that a `gs://` URI or a URL of Cloud Storage's is of; None for any other URL."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    if parts.scheme.lower() == "gs":
        return host
    for each in HOSTS:
        if host == each:
            return unquote(parts.path).lstrip("/").partition("/")[0]
        if host.endswith(f".{each}"):
            return host.removesuffix(f".{each}")
    return None
