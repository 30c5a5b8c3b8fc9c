"""Secret Manager, as far as functions see of it: random values in their environment, kept with the state."""

import base64
import json
import secrets
from collections.abc import Iterable
from pathlib import Path

KEY_BYTES = 32
"""Of a first value: enough for AES-256 and for HMAC-SHA256."""


def kept(file: Path, names: Iterable[str]) -> dict[str, str]:
    """The secrets of these names: those in the file, and fresh ones, kept there, for those that are not.

    A value is `1:<base64url of KEY_BYTES random bytes>`: versioned keys, comma-separated, newest first, as
    infra/docs/deploying.md has a deployer make it. Only the file's owner may read it.
    """
    values: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    fresh = [name for name in names if name not in values]
    if fresh:
        for name in fresh:
            values[name] = "1:" + base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        new = file.with_name(file.name + ".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(values))
        new.replace(file)
    return {name: values[name] for name in names}
