"""What an export says of the customer's bucket."""

from pydantic import field_validator

from shared.delivery.base import TAIL_BYTES, ConnectorConfig
from shared.delivery.cloud_storage.uri import BucketUri

OBJECT_NAME_BYTES = 1024
"""https://cloud.google.com/storage/docs/objects#naming"""


class CloudStorageConfig(ConnectorConfig):
    """Where a `cloud_storage` export lands, and whether its images go along."""

    storage_uri: str
    export_images: bool = False

    @field_validator("storage_uri")
    @classmethod
    def _uri(cls, value: str) -> str:
        uri = BucketUri.parse(value)
        if len(uri.prefix.encode()) + TAIL_BYTES > OBJECT_NAME_BYTES:
            raise ValueError(
                f"must have at most {OBJECT_NAME_BYTES - TAIL_BYTES} bytes after the bucket's name"
            )
        return value

    @property
    def uri(self) -> BucketUri:
        """The URI, parsed."""
        return BucketUri.parse(self.storage_uri)

    @property
    def destination(self) -> str:
        """The bucket."""
        return f"gs://{self.uri.bucket}"

    def place(self, name: str) -> str:
        """Where a name that an export gives stands in the bucket."""
        return self.uri.prefix + name
