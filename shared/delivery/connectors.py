"""The connectors. Each is a package here, whose declaration is registered in this module."""

from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, SerializeAsAny
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from shared.delivery.base import ConnectorConfig, ConnectorType
from shared.delivery.cloud_storage.declaration import CLOUD_STORAGE
from shared.delivery.email.declaration import EMAIL
from shared.delivery.sftp.declaration import SFTP

CONNECTORS: dict[str, ConnectorType[Any]] = {each.name: each for each in (CLOUD_STORAGE, EMAIL, SFTP)}
"""The connectors by the name that an export's `connector_type` gives."""


class _OfAnyConnector:
    """Makes the JSON schema of a field name the config of every connector."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        configs = [connector.config for connector in CONNECTORS.values()]
        return {"anyOf": [handler(config.__pydantic_core_schema__) for config in configs]}


Config = Annotated[SerializeAsAny[ConnectorConfig], _OfAnyConnector()]
"""A field that holds the config of any connector."""
