"""Writes down which permissions each function needs while a test calls it.

Only what a function does is written down, not what the test does beside it. The functions of a test's process
share an account, and the clients of customers' accounts: whoever calls as a customer is counted as one who
got that customer's token.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import pytest

from infra.local.permissions import GET_TOKEN, INVOKE, PROJECT, READ_SECRET, RECEIVE
from infra.local.secrets import SENDGRID_KEY
from infra.local.suite import Suite
from infra.local.traffic import Need
from shared import settings
from shared.gcp import clients
from tests.by_function import around_calls
from tests.world import BUNDLE, World

CUSTOMER = "customer"
"""What any customer's account is written down as."""

ITSELF = "itself"
"""What the function's own account is written down as, where it acts as that."""

Needed = tuple[str, str, str]
"""A permission, on what (a bucket, a topic, a secret, an account), and as whom: CUSTOMER, or empty."""


class _Versions(Mapping[int, bytes]):
    """Keys, whose use is written down in `used`. A function that is not given them finds none."""

    def __init__(self, variable: str, versions: Mapping[int, bytes], seen: "Seen") -> None:
        self._variable = variable
        self._versions = versions
        self._seen = seen

    def _held(self) -> Mapping[int, bytes]:
        self._seen.keys.add(self._variable)
        return self._versions if self._variable in self._seen.given else {}

    def __getitem__(self, version: int) -> bytes:
        return self._held()[version]

    def __iter__(self) -> Iterator[int]:
        return iter(self._held())

    def __len__(self) -> int:
        return len(self._held())


class Seen:
    """What the functions of a world are seen to need: `needed`, by the function's name.

    keys   the variables of the keys that were used since the function was called
    given  those of the secrets that it is given
    """

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.needed: dict[str, set[Needed]] = {name: set() for name in BUNDLE.functions}
        self._suite = world.suite
        self.keys: set[str] = set()
        self.given: frozenset[str] = frozenset(BUNDLE.secrets)
        around_calls(world, monkeypatch, self.by, self._by_request)
        read = settings._keys

        def keys(name: str, env: Mapping[str, str]) -> settings.Keys:
            return settings.Keys(name, _Versions(name, read(name, env).versions, self))

        monkeypatch.setattr(settings, "_keys", keys)
        # Settings that are equal share clients, and keys do not count: those made before are not watched.
        clients.forget()

    def _by_request(self, function: str, method: str, path: str) -> AbstractContextManager[None]:
        return self.by(function, *(["console"] if _in_console(method, path) else []))

    @contextmanager
    def by(self, function: str, *others: str) -> Iterator[None]:
        """What is done inside is done by this function. What it needs, those others need, too, since they do
        the same in their own process."""
        traffic = self._suite.traffic
        traffic.take_needs()
        mails = len(traffic.calls("sendgrid."))
        self.keys.clear()
        declared = BUNDLE.functions[function]
        before, self.given = self.given, frozenset(declared.secrets)
        try:
            yield
        finally:
            self.given = before
            found = {each for need in traffic.take_needs() for each in _of(need, self._suite)}
            found |= {(READ_SECRET, variable, "") for variable in self.keys}
            if len(traffic.calls("sendgrid.")) > mails:
                found.add((READ_SECRET, SENDGRID_KEY, ""))
            if not declared.paths:
                found.add((INVOKE, function, ""))
            if declared.bucket is not None:
                found.add((RECEIVE, PROJECT, ""))
            for each in (function, *others):
                self.needed[each] |= found


def _in_console(method: str, path: str) -> bool:
    """Whether pages of the console make this call of an API, or one like it."""
    if path.startswith(("/v3", "/ls/api/oauth2", "/v1/downloads")):
        return False
    return not ("/work-orders" in path and method in ("POST", "DELETE"))


def _of(need: Need, suite: Suite) -> Iterator[Needed]:
    """What a need is written down as: the permission, on what, and as whom where it is a customer."""
    resource = need.resource.removeprefix(f"{suite.project}-")
    if "@" in resource:
        resource = CUSTOMER if resource.startswith("customer-") else ITSELF
    if not need.principal.startswith("customer-"):
        yield need.permission, resource, ""
        return
    yield GET_TOKEN, CUSTOMER, ""
    ours = resource if resource in BUNDLE.buckets else "their bucket"
    yield need.permission, ours, CUSTOMER
