"""Secret Manager, as far as functions see of it: random values in their environment, kept with the state."""

import base64
import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from infra.local import private

KEY_BYTES = 32
"""Of a first value: enough for AES-256 and for HMAC-SHA256."""

SENDGRID_KEY = "WAYBILL_SENDGRID_KEY"
"""The secret that is another service's key and no list of ours."""


def kept(file: Path, names: Iterable[str]) -> dict[str, str]:
    """The secrets of these names: those in the file, and fresh ones, kept there, for those that are not.

    A value is `1:<base64url of KEY_BYTES random bytes>`: versioned keys, comma-separated, newest first, as
    docs/operators/deploying.md has a deployer make it. SENDGRID_KEY looks as SendGrid's own do. Only the
    file's owner may read it.
    """
    values: dict[str, str] = json.loads(private.read(file) or "{}")
    fresh = [name for name in names if name not in values]
    if fresh:
        for name in fresh:
            values[name] = _sendgrid_key() if name == SENDGRID_KEY else _versioned_key()
        private.write(file, json.dumps(values))
    return {name: values[name] for name in names}


def _versioned_key() -> str:
    return "1:" + base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _sendgrid_key() -> str:
    """https://github.com/sendgrid/sendgrid-php/issues/239: `SG.`, an id, a dot and the secret itself."""
    return f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(KEY_BYTES)}"
