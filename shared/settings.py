"""What Waybill is told from outside, read in one place into one type."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

IAM_CREDENTIALS_URL = "https://iamcredentials.googleapis.com"
"""Where tokens of customers' accounts come from.
https://cloud.google.com/iam/docs/reference/credentials/rest"""


@dataclass(frozen=True)
class Settings:
    """Everything a function is configured with.

    project              the Google Cloud project; buckets and accounts are named after it
    storage_url          Cloud Storage's address, without a slash at the end
    iam_credentials_url  the IAM credentials API's address
    part_records         the most records that one part of a run takes: about a minute's work
    part_seconds         how long one attempt writes before it leaves the rest to another part; an event
                         function may run 540 seconds
                         https://cloud.google.com/functions/docs/configuring/timeout
    slice_images         the most images that one slice of a run's copying takes: if all of them are missing,
                         their names must fit into the slice's document
    history              how far back Firestore can be read: with point-in-time recovery seven days, less
                         an hour in which a run that was planned at the last moment can still be written
                         https://cloud.google.com/firestore/docs/use-pitr
    """

    project: str
    storage_url: str = "https://storage.googleapis.com"
    iam_credentials_url: str = IAM_CREDENTIALS_URL
    part_records: int = 50_000
    part_seconds: float = 420
    slice_images: int = 5_000
    history: timedelta = timedelta(days=7) - timedelta(hours=1)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read the settings; a missing or empty GOOGLE_CLOUD_PROJECT raises KeyError naming it.

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
            part_seconds=float(env.get("WAYBILL_PART_SECONDS", cls.part_seconds)),
            slice_images=int(env.get("WAYBILL_SLICE_IMAGES", cls.slice_images)),
        )

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
