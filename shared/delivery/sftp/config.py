"""Where an `sftp` export lands, and how Waybill logs in there."""

import json
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from shared.delivery.base import ConnectorConfig

PORT = 22
"""Where SSH is spoken, and the only port below 1024 that is called for it.
https://www.rfc-editor.org/rfc/rfc4253#section-4"""

HOST_LONGEST = 253
"""Characters of a host's name. https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4"""

USERNAME_LONGEST = 255
PASSWORD_LONGEST = 1_024
"""Characters; servers take a user's name of a few dozen, and PAM a password of 512."""

HOST_KEY_LONGEST = 8 * 1024
"""Characters of a public key's line: an RSA key of 16,384 bits has 2,800."""

PRIVATE_KEY_LONGEST = 16 * 1024
"""Characters of a private key: an RSA key of 16,384 bits has 12,700."""

MAX_PATH_BYTES = 3_500
"""With what an export writes below it a path stays under 4,096 bytes, more than which Linux does not take.
https://man7.org/linux/man-pages/man7/path_resolution.7.html"""

MAX_STEP_BYTES = 255
"""Bytes of one step of a path, as common file systems have it."""

_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Login:
    """What Waybill logs in with: exactly one of a password and a private key, in OpenSSH's or PEM's text."""

    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, value: str) -> "Login":
        """Read what `SftpConfig.sealed_value` gave. ValueError, without the value, where it is something
        else."""
        try:
            found = json.loads(value)
        except ValueError:
            found = None
        if isinstance(found, dict) and len(found) == 1:
            for name in ("password", "private_key"):
                if isinstance(found.get(name), str):
                    return cls(**{name: found[name]})
        raise ValueError("the stored secret is neither an SFTP password nor a private key")


class SftpConfig(ConnectorConfig):
    """Where an `sftp` export lands, and whether its images go along.

    host, port   the server: a name or an address
    username     who Waybill logs in as
    host_key     the server's public key, the only one that is accepted: `ssh-ed25519 AAAA…`
    path         the directory: from the root with a slash at its beginning, else from the login's home
    secret       the id of the stored password or private key; set by Waybill alone
    private_key, password  what a customer gives, one of both; they are in no dump
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = Field(max_length=HOST_LONGEST)
    port: int = PORT
    username: str = Field(min_length=1, max_length=USERNAME_LONGEST)
    host_key: str = Field(max_length=HOST_KEY_LONGEST)
    path: str
    export_images: bool = False
    secret: str | None = None
    private_key: SecretStr | None = Field(default=None, exclude=True, max_length=PRIVATE_KEY_LONGEST)
    # The last: its validator sees whether there is another login.
    password: SecretStr | None = Field(
        default=None, exclude=True, min_length=1, max_length=PASSWORD_LONGEST, validate_default=True
    )

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        if ":" in value and "/" not in value:
            try:
                return str(ip_address(value))
            except ValueError:
                pass
        if not _HOST.fullmatch(value):
            raise ValueError(
                "must be a host name or an IP address, such as sftp.example.com, without sftp://, port or "
                "path; write an internationalised name in its form that begins with xn--"
            )
        return value

    @field_validator("port")
    @classmethod
    def _port(cls, value: int) -> int:
        if value != PORT and not 1024 <= value <= 65535:
            raise ValueError(f"must be {PORT}, or from 1024 to 65535")
        return value

    @field_validator("username")
    @classmethod
    def _username(cls, value: str) -> str:
        from asyncssh.saslprep import saslprep

        try:
            # What the client would refuse to send. https://www.rfc-editor.org/rfc/rfc4013
            usable = bool(saslprep(value)) and not _CONTROL.search(value)
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("holds a character that a user name cannot have")
        return value

    @field_validator("host_key")
    @classmethod
    def _host_key(cls, value: str) -> str:
        from shared.delivery.sftp import keys

        return keys.host_key_line(keys.host_key(value))

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if _CONTROL.search(value):
            raise ValueError("must not hold a line break or another control character")
        if len(value.encode()) > MAX_PATH_BYTES:
            raise ValueError(f"must have at most {MAX_PATH_BYTES} bytes")
        if "//" in value:
            raise ValueError("must not hold two slashes in a row")
        if value.startswith("~"):
            raise ValueError(
                "must not begin with ~: a path without a leading slash begins at the user's home directory"
            )
        for step in value.split("/"):
            if step in (".", ".."):
                raise ValueError("must not have a directory named . or ..")
            if len(step.encode()) > MAX_STEP_BYTES:
                raise ValueError(f"must have at most {MAX_STEP_BYTES} bytes between two slashes")
        return value if value == "/" else value.rstrip("/")

    @field_validator("private_key")
    @classmethod
    def _private_key(cls, value: SecretStr | None) -> SecretStr | None:
        from shared.delivery.sftp import keys

        if value is not None:
            keys.private_key(value.get_secret_value())
        return value

    @field_validator("password")
    @classmethod
    def _one_login(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "private_key" not in info.data or "secret" not in info.data:
            return value  # what is wrong with those is said
        given = [each for each in (value, info.data["private_key"], info.data["secret"]) if each is not None]
        if not given:
            raise ValueError("is required, unless you give a private_key")
        if len(given) > 1:
            raise ValueError("must not be given together with a private_key: give one of the two")
        return value

    def sealed_value(self) -> str | None:
        """What is kept of the password or private key that was given, to be sealed: `Login.parse` reads it.
        None where none was given."""
        given: dict[str, Any] = {"password": self.password, "private_key": self.private_key}
        for name, value in given.items():
            if value is not None:
                return json.dumps({name: value.get_secret_value()})
        return None

    def reached_as(self, newest: "SftpConfig") -> "SftpConfig":
        """The same place, reached as a newer config of the same server says: with its login and host key. Of
        another server this one as it is."""
        if (newest.host, newest.port) != (self.host, self.port):
            return self
        login = {name: getattr(newest, name) for name in ("username", "host_key", "secret")}
        return self.model_copy(update=login)

    @property
    def destination(self) -> str:
        """The server."""
        return f"sftp://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def place(self, name: str) -> str:
        """Where a name below the export's directory stands on the server."""
        return name if not self.path else f"{self.path.rstrip('/')}/{name}"
