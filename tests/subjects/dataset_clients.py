"""The clients of `/v2` that others wrote: the vendor's, which signs, and OpenStack's, which logs in."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.client import Client, ClientBuilder
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkcore.http.http_handler import HttpHandler
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkcore.sdk_response import SdkResponse
from keystoneauth1.identity import v3

OnItsWay = Callable[[Any], None]


class Proxy(HttpHandler):  # type: ignore[misc]
    """Changes a request after it is signed and before it is sent."""

    def __init__(self, change: OnItsWay) -> None:
        super().__init__()
        self._change = change

    def process_request(self, *, request: Any, **_: Any) -> None:
        self._change(request)


class Anything(SdkResponse):  # type: ignore[misc]
    """An answer of any form, as it is written."""

    openapi_types: ClassVar[dict[str, Any]] = {}
    attribute_map: ClassVar[dict[str, Any]] = {}


class Vendor:
    """The vendor's client, with a key."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        project: str | None = "acme",
        change: OnItsWay | None = None,
        config: HttpConfig | None = None,
        region: str | None = None,
        derived: bool = False,
    ) -> None:
        _, access, secret = key.split("_", 2)
        credentials = BasicCredentials(access, secret, project).with_iam_endpoint(url)
        if derived:
            credentials.with_derived_predicate(BasicCredentials.get_default_derived_predicate())
        builder = ClientBuilder(Client).with_credentials(credentials)
        if config is not None:
            builder.with_http_config(config)
        if change is not None:
            builder.with_http_handler(Proxy(change))
        if region is not None:
            builder._with_derived_auth_service_name("modelarts").with_region(Region(region, url))
        else:
            builder.with_endpoint(url)
        self.client = builder.build()

    def ask(self, method: str, path: str, **given: Any) -> Any:
        """What the client's call answers, as JSON."""
        answer = self.client.do_http_request(
            method=method, resource_path=path, response_type=Anything, **given
        )
        return json.loads(answer.raw_content)

    def refused(self, method: str, path: str, **given: Any) -> ClientRequestException:
        """How the call is refused."""
        with pytest.raises(ClientRequestException) as refused:
            self.ask(method, path, **given)
        return refused.value


def header(name: str, value: str) -> OnItsWay:
    return lambda request: request.header_params.update({name: value})


def password(url: str, key: str, **changes: Any) -> v3.Password:
    named: dict[str, Any] = {
        "auth_url": f"{url}/v3",
        "username": "bob",
        "password": key,
        "user_domain_name": "any",
        "project_id": "acme",
    }
    return v3.Password(**(named | changes))
