"""The settings that Waybill is given by its environment, read in one place into one type."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from shared.addresses import checked

IAM_CREDENTIALS_URL = "https://iamcredentials.googleapis.com"
"""Where tokens of customers' accounts come from.
https://cloud.google.com/iam/docs/reference/credentials/rest"""

SENDGRID_URL = "https://api.sendgrid.com"
"""Where mail is handed over; of an account in the EU it is https://api.eu.sendgrid.com.
https://www.twilio.com/docs/sendgrid/api-reference/mail-send#base-url"""

KEY_BYTES = 32
"""How long each key of Waybill's own must be at least: 32 random bytes, as AES-256 and HMAC-SHA256 take.
https://csrc.nist.gov/pubs/sp/800/57/pt1/r5/final"""


@dataclass(frozen=True)
class Keys:
    """The versions of a key of Waybill's own. Each use has a key of its own, so that a function holds only
    what it uses.

    variable  the environment variable that has them
    versions  version -> key; the highest version makes what is new, each other one opens what it made
    """

    variable: str
    versions: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    def newest(self) -> int:
        """The highest version; ValueError where there is none."""
        if not self.versions:
            raise ValueError(
                f"{self.variable} is not set: give this process the value that the functions have"
            )
        return max(self.versions)


OWN_BUCKETS = ("uploads", "staging", "images", "datasets", "records", "function-source")
"""What the names of our buckets have behind the project's: those of infra/bundle.yaml, and that of functions'
code (infra/terraform/storage.tf)."""


@dataclass(frozen=True)
class Settings:
    """Everything a function is configured with.

    project              the Google Cloud project; buckets and accounts are named after it
    storage_url          Cloud Storage's address, without a slash at the end
    iam_credentials_url  the IAM credentials API's address
    part_records         the most records that one part of a run takes: about a minute's work
    attempt_seconds      how long one attempt writes a part, or takes a slice of an archive in, before it
                         leaves the rest to another; an event function may run 540 seconds
                         https://cloud.google.com/functions/docs/configuring/timeout
    slice_images         the most images that one slice of a run's copying takes: if all of them are missing,
                         their names must fit into the slice's document
    copy_batch           the most images that one call to Storage copies; it takes 100
                         https://cloud.google.com/storage/docs/batch#overview
    slice_files          the most files of an archive that one slice takes in, unless one work order has more
    slice_bytes          the same in bytes as they stand in the archive
    secret_keys          what seals customers' logins of their own servers, for those that speak SFTP
    access_keys          what signs access tokens, and seals the secrets of keys that sign requests
    link_keys            what the links that a job's status shows are derived from
    console_keys         what signs the cookies and forms of the console
    analyser_keys        what the secrets of sites' analysers are derived from
    sendgrid_key         the key that SendGrid knows us by; empty where no mail is sent. Unlike keys of our
                         own it counts when settings are compared: clients are kept by their settings, and
                         those of another key must not be taken for ours
    sendgrid_url         SendGrid's address, without a slash at the end
    mail_from            the address that mail comes from; SendGrid takes only one that it has verified
                         https://www.twilio.com/docs/sendgrid/for-developers/sending-email/sender-identity
    url                  where Waybill's HTTP functions answer, without a slash at the end: links in mails
                         begin with it
    region               the region that a login names in its catalog; a client without one takes any
    history              how far back Firestore can be read: with point-in-time recovery seven days, less
                         an hour in which a run that was planned at the last moment can still be written
                         https://cloud.google.com/firestore/docs/use-pitr
    """

    project: str
    storage_url: str = "https://storage.googleapis.com"
    iam_credentials_url: str = IAM_CREDENTIALS_URL
    part_records: int = 50_000
    attempt_seconds: float = 420
    slice_images: int = 5_000
    copy_batch: int = 100
    slice_files: int = 2_000
    slice_bytes: int = 256 * 1024 * 1024
    secret_keys: Keys = field(default=Keys("WAYBILL_SECRET_KEYS"), repr=False, compare=False)
    access_keys: Keys = field(default=Keys("WAYBILL_ACCESS_KEYS"), repr=False, compare=False)
    link_keys: Keys = field(default=Keys("WAYBILL_LINK_KEYS"), repr=False, compare=False)
    console_keys: Keys = field(default=Keys("WAYBILL_CONSOLE_KEYS"), repr=False, compare=False)
    analyser_keys: Keys = field(default=Keys("WAYBILL_ANALYSER_KEYS"), repr=False, compare=False)
    sendgrid_key: str = field(default="", repr=False)
    sendgrid_url: str = SENDGRID_URL
    mail_from: str = ""
    url: str = ""
    region: str = "RegionOne"
    history: timedelta = timedelta(days=7) - timedelta(hours=1)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read the settings; a missing or empty GOOGLE_CLOUD_PROJECT raises KeyError naming it, what cannot
        be read ValueError, and so does a key that is there and empty, or too short to be one.

        The emulator variables are those that Google's own clients know, so that what we call ourselves
        goes where their calls go.
        """
        if not env.get("GOOGLE_CLOUD_PROJECT"):
            raise KeyError("GOOGLE_CLOUD_PROJECT is not set: name the project that Waybill runs in")
        return cls(
            project=env["GOOGLE_CLOUD_PROJECT"],
            storage_url=env.get("STORAGE_EMULATOR_HOST", cls.storage_url).rstrip("/"),
            iam_credentials_url=env.get("IAM_CREDENTIALS_URL", cls.iam_credentials_url).rstrip("/"),
            part_records=int(env.get("WAYBILL_PART_RECORDS", cls.part_records)),
            attempt_seconds=float(env.get("WAYBILL_ATTEMPT_SECONDS", cls.attempt_seconds)),
            slice_images=int(env.get("WAYBILL_SLICE_IMAGES", cls.slice_images)),
            copy_batch=int(env.get("WAYBILL_COPY_BATCH", cls.copy_batch)),
            slice_files=int(env.get("WAYBILL_SLICE_FILES", cls.slice_files)),
            slice_bytes=int(env.get("WAYBILL_SLICE_BYTES", cls.slice_bytes)),
            secret_keys=_keys("WAYBILL_SECRET_KEYS", env),
            access_keys=_keys("WAYBILL_ACCESS_KEYS", env),
            link_keys=_keys("WAYBILL_LINK_KEYS", env),
            console_keys=_keys("WAYBILL_CONSOLE_KEYS", env),
            analyser_keys=_keys("WAYBILL_ANALYSER_KEYS", env),
            # Whoever pastes a key into Secret Manager ends it with a newline, which no header may hold.
            sendgrid_key=_secret("WAYBILL_SENDGRID_KEY", env).strip(),
            sendgrid_url=(env.get("WAYBILL_SENDGRID_URL") or cls.sendgrid_url).rstrip("/"),
            mail_from=_address("WAYBILL_MAIL_FROM", env),
            url=env.get("WAYBILL_URL", "").rstrip("/"),
            region=env.get("WAYBILL_REGION") or cls.region,
        )

    @property
    def origin(self) -> str:
        """The origin of Waybill's own pages; empty where `url` is."""
        return origin_of(self.url) if self.url else ""

    @property
    def own_buckets(self) -> frozenset[str]:
        """Every bucket of ours: no customer names one of them as a place of their own."""
        return frozenset(f"{self.project}-{each}" for each in OWN_BUCKETS)

    @property
    def uploads_bucket(self) -> str:
        """Holds the archives that customers upload, at `<customer>/<batch>.zip`."""
        return f"{self.project}-uploads"

    @property
    def staging_bucket(self) -> str:
        """Holds what a run has written and not yet delivered, at `<customer>/<export>/<run>/…`."""
        return f"{self.project}-staging"

    @property
    def images_bucket(self) -> str:
        """Holds the photographs, at `<customer>/<site>/<input id>.<file extension>`."""
        return f"{self.project}-images"

    @property
    def records_bucket(self) -> str:
        """Holds records too large for a document, named by the hash of what they hold."""
        return f"{self.project}-records"

    @property
    def datasets_bucket(self) -> str:
        """Holds the samples of datasets' versions, at `<customer>/<dataset>/<task>/…`."""
        return f"{self.project}-datasets"


def origin_of(url: str) -> str:
    """The origin of a URL, as browsers send it: its scheme and host, and the port where it is not the usual
    one. ValueError where it has none. https://www.rfc-editor.org/rfc/rfc6454#section-6.2"""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme not in _PORTS or not host:
        raise ValueError(f"{url!r} is no address of a site: it must begin with https:// or http://")
    host = f"[{host}]" if ":" in host else host
    usual = port in (None, _PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" if usual else f"{parts.scheme}://{host}:{port}"


_PORTS = {"https": 443, "http": 80}


def _address(name: str, env: Mapping[str, str]) -> str:
    # Checked by the function that sends mail, which has SendGrid's key: the library takes long to load.
    text = env.get(name, "").strip()
    try:
        return checked(text) if text and env.get("WAYBILL_SENDGRID_KEY") else text
    except ValueError as wrong:
        raise ValueError(f"{name}: {wrong}") from None


def _secret(name: str, env: Mapping[str, str]) -> str:
    """A secret as it stands in the environment; empty where there is none. ValueError for one without a
    value: what is made with an empty key is open to everybody."""
    if name in env and not env[name].strip():
        raise ValueError(f"{name} is set and empty: add a version with a value to its secret, or unset it")
    return env.get(name, "")


def _keys(name: str, env: Mapping[str, str]) -> Keys:
    keys = {}
    for each in _secret(name, env).split(","):
        if each.strip():
            version, _, key = each.strip().partition(":")
            try:
                keys[int(version)] = base64.urlsafe_b64decode(key)
            except (ValueError, binascii.Error):
                # Not the value itself: this ends in a log.
                raise ValueError(f"{name} must be <version>:<base64url>, comma between") from None
    for number, held in keys.items():
        if len(held) < KEY_BYTES:
            raise ValueError(
                f"version {number} of {name} is {len(held)} bytes long: it must be {KEY_BYTES} random bytes"
            )
    if name in env and not keys:
        raise ValueError(f"{name} holds no key: it must be <version>:<base64url>, comma between")
    return Keys(name, keys)
