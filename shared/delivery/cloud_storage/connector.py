"""The connector `cloud_storage`: everything goes into the customer's bucket, as the customer's account."""

from collections.abc import Callable, Iterable

from shared.delivery.base import Copy, CopyResult
from shared.delivery.cloud_storage.bucket import CustomerBucket
from shared.delivery.cloud_storage.config import CloudStorageConfig
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored


class CloudStorage:
    """A Connector to one place in one bucket."""

    def __init__(self, cloud: Cloud, account: str, config: CloudStorageConfig) -> None:
        self._settings = cloud.settings
        self._config = config
        self._bucket = CustomerBucket.of(cloud, account, config.uri.bucket)

    def deliver(self, staged: Stored, name: str, on_progress: Callable[[], None]) -> None:
        """As `Connector.deliver`: one call, whatever its size."""
        self._bucket.deliver(staged, self._config.place(name))

    def copy_images(self, copies: Iterable[Copy], on_progress: Callable[[CopyResult], None]) -> CopyResult:
        """As `Connector.copy_images`, in batched rewrites."""
        from shared.delivery.cloud_storage.copying import copy_images  # loads aiohttp; files need none

        return copy_images(
            self._bucket,
            (copy._replace(name=self._config.place(copy.name)) for copy in copies),
            source_bucket=self._settings.images_bucket,
            storage_url=self._settings.storage_url,
            max_batch=self._settings.copy_batch,
            on_progress=on_progress,
        )
