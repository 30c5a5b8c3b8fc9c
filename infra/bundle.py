"""Reads `infra/bundle.yaml`, the one list of functions, buckets and accounts, and refuses what cannot be.

Terraform, Cloud Build, the local runner, the README's table and a test read the same file.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml

BUNDLE_YAML = Path(__file__).parent / "bundle.yaml"

HTTP_TIMEOUT = 3600
"""Seconds that a function behind HTTP may run. https://cloud.google.com/functions/quotas#time_limits"""

EVENT_TIMEOUT = 540
"""Seconds that a function behind an event may run. https://cloud.google.com/functions/quotas#time_limits"""

CONCURRENCY = 1000
"""Requests that one instance may serve at once. https://cloud.google.com/run/docs/about-concurrency"""

ATTEMPTS = range(5, 101)
"""Delivery attempts before the dead-letter topic. https://cloud.google.com/pubsub/docs/dead-letter-topics"""

_FUNCTION_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ACCOUNT_NAME = re.compile(
    r"[a-z][-a-z0-9]{4,28}[a-z0-9]"
)  # https://cloud.google.com/iam/docs/service-accounts-create
_MEMORY = re.compile(r"[1-9][0-9]*(Mi|Gi)")
_PATH = re.compile(r"/|(/[A-Za-z0-9._~-]+)+")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")

_T = TypeVar("_T")


class BundleError(ValueError):
    """bundle.yaml says something that cannot be; the message names the entry."""


@dataclass(frozen=True)
class Function:
    """One Cloud Function, triggered by exactly one of HTTP (`paths`), a topic named as it is, or a bucket.

    paths        path prefixes behind the front door; empty where events trigger it
    topic        the topic whose messages it gets, or None
    bucket       the bucket of ours whose objects it is told of as they are finalised, or None
    timeout      seconds
    memory       as Cloud Run writes it, such as `512Mi`
    concurrency  requests that one instance serves at once
    account      name of the account that it runs as
    public       whether anyone may call it, without an identity
    retry        whether an event that failed is delivered again
    attempts     after how many it goes to `dead_letter`; None where it has none
    secrets      the environment variables that hold a secret
    """

    name: str
    does: str
    paths: tuple[str, ...]
    topic: str | None
    bucket: str | None
    timeout: int
    memory: str
    concurrency: int
    account: str
    public: bool
    retry: bool
    attempts: int | None
    dead_letter: str | None
    secrets: tuple[str, ...] = ()

    @property
    def signature_type(self) -> str:
        """What functions-framework calls its kind: `http` or `cloudevent`."""
        return "http" if self.paths else "cloudevent"


@dataclass(frozen=True)
class Bucket:
    """One bucket of ours; `days` is how long an object lives, None for ever."""

    name: str
    holds: str
    days: int | None


@dataclass(frozen=True)
class Account:
    """One service account and what it may do.

    storage       the roles it has on each bucket of ours
    impersonates  whether it may act as the customers' own accounts
    signs         whether it may have Google sign in its own name, as signed URLs need
    """

    name: str
    firestore: bool
    publishes: bool
    storage: Mapping[str, tuple[str, ...]]
    impersonates: bool
    signs: bool = False


@dataclass(frozen=True)
class Bundle:
    """All of bundle.yaml, in its order.

    customer_folders  the roles a customer's account has on its own folder of our buckets
    customer_grant    the permissions a customer gives that account on their bucket
    """

    functions: Mapping[str, Function]
    buckets: Mapping[str, Bucket]
    accounts: Mapping[str, Account]
    customer_folders: Mapping[str, tuple[str, ...]]
    customer_grant: tuple[str, ...]

    @classmethod
    def load(cls, path: Path = BUNDLE_YAML) -> "Bundle":
        """Read and check the file. BundleError names the entry that cannot be."""
        return _read(path.read_text(encoding="utf-8"))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The variables with a secret that functions name, each once."""
        return tuple(dict.fromkeys(secret for f in self.functions.values() for secret in f.secrets))

    @property
    def dead_letters(self) -> tuple[str, ...]:
        """The dead-letter topics that functions name, each once."""
        return tuple(dict.fromkeys(f.dead_letter for f in self.functions.values() if f.dead_letter))

    def serving(self, path: str) -> Function | None:
        """The function with the longest prefix of whole segments of this path; None where there is none."""
        fitting = [
            (len(prefix), function)
            for function in self.functions.values()
            for prefix in function.paths
            if prefix == "/" or path == prefix or path.startswith(prefix + "/")
        ]
        return max(fitting, key=lambda found: found[0])[1] if fitting else None


def _function(entry: "_Entry") -> Function:
    trigger = entry.entry("trigger")
    paths = trigger.texts("http", ())
    topic = trigger.text("topic", None)
    bucket = trigger.text("bucket", None)
    trigger.nothing_else()
    function = Function(
        name=entry.name,
        does=entry.text("does"),
        paths=paths,
        topic=topic,
        bucket=bucket,
        timeout=entry.number("timeout"),
        memory=entry.text("memory"),
        concurrency=entry.number("concurrency"),
        account=entry.text("account"),
        public=entry.flag("public", False),
        retry=entry.flag("retry", False),
        attempts=entry.number("attempts", None),
        dead_letter=entry.text("dead_letter", None),
        secrets=entry.texts("secrets", ()),
    )
    entry.nothing_else()
    _possible(function, entry)
    return function


def _possible(function: Function, entry: "_Entry") -> None:
    entry.must(
        bool(_FUNCTION_NAME.fullmatch(function.name)), "a function's name is a Python name in lower case"
    )
    triggers = [bool(function.paths), function.topic is not None, function.bucket is not None]
    entry.must(sum(triggers) == 1, "a function has one trigger: `http` with a path, a `topic`, or a `bucket`")
    http = bool(function.paths)
    for path in function.paths:
        entry.must(bool(_PATH.fullmatch(path)), f"{path!r} is no path prefix: /like/this")
    if http:
        entry.must(not function.retry, "an HTTP function cannot have its events retried: it has none")
    else:
        entry.must(not function.public, "only an HTTP function can be public")
    if function.topic is not None:
        entry.must(function.topic == function.name, "a function's topic is named as the function is")
    for secret in function.secrets:
        entry.must(bool(_VARIABLE.fullmatch(secret)), f"secret {secret!r} is no variable's name: LIKE_THIS")
    longest = HTTP_TIMEOUT if http else EVENT_TIMEOUT
    entry.must(
        0 < function.timeout <= longest, f"timeout {function.timeout} is not within 1 to {longest} seconds"
    )
    entry.must(
        0 < function.concurrency <= CONCURRENCY,
        f"concurrency {function.concurrency} is not within 1 to {CONCURRENCY}",
    )
    entry.must(
        bool(_MEMORY.fullmatch(function.memory)), f"memory {function.memory!r} is not like 512Mi or 2Gi"
    )
    entry.must(
        (function.attempts is None) == (function.dead_letter is None),
        "`attempts` and `dead_letter` come together",
    )
    if function.attempts is not None:
        entry.must(function.retry, "`dead_letter` without `retry`: its events are delivered once")
        entry.must(
            function.attempts in ATTEMPTS,
            f"attempts {function.attempts} is not within {ATTEMPTS[0]} to {ATTEMPTS[-1]}",
        )


def _bucket(entry: "_Entry") -> Bucket:
    bucket = Bucket(entry.name, holds=entry.text("holds"), days=entry.number("days", None))
    entry.nothing_else()
    entry.must(bucket.days is None or bucket.days > 0, "`days` is at least 1")
    return bucket


def _account(entry: "_Entry") -> Account:
    account = Account(
        entry.name,
        firestore=entry.flag("firestore"),
        publishes=entry.flag("publishes"),
        storage=entry.roles("storage"),
        impersonates=entry.flag("impersonates"),
        signs=entry.flag("signs", False),
    )
    entry.nothing_else()
    entry.must(
        bool(_ACCOUNT_NAME.fullmatch(account.name)),
        "an account's name has 6 to 30 lower-case letters, digits and hyphens",
    )
    return account


@functools.lru_cache(maxsize=4)
def _read(text: str) -> Bundle:
    # Read once: every suite of every test asks for it.
    top = _Entry("bundle.yaml", yaml.safe_load(text))
    bundle = Bundle(
        functions=_each(top.entries("functions"), _function),
        buckets=_each(top.entries("buckets"), _bucket),
        accounts=_each(top.entries("accounts"), _account),
        customer_folders=top.roles("customer_folders"),
        customer_grant=top.texts("customer_grant"),
    )
    top.nothing_else()
    _check(bundle)
    return bundle


def _check(bundle: Bundle) -> None:
    owners: dict[str, str] = {}
    for function in bundle.functions.values():
        where = f"functions.{function.name}"
        if function.account not in bundle.accounts:
            raise BundleError(f"{where}: account {function.account!r} is not among `accounts`")
        if function.bucket is not None and function.bucket not in bundle.buckets:
            raise BundleError(f"{where}: bucket {function.bucket!r} is not among `buckets`")
        for path in function.paths:
            if path in owners:
                raise BundleError(f"{where}: {owners[path]} has the path {path!r} already")
            owners[path] = function.name
        if function.dead_letter in bundle.functions:
            raise BundleError(f"{where}: dead_letter {function.dead_letter!r} is a function's topic")
    named = [(f"accounts.{account.name}", account.storage) for account in bundle.accounts.values()]
    for where, roles in [*named, ("customer_folders", bundle.customer_folders)]:
        for bucket in roles:
            if bucket not in bundle.buckets:
                raise BundleError(f"{where}: bucket {bucket!r} is not among `buckets`")


_REQUIRED: Any = object()


class _Entry:
    """One mapping of the file: hands out its keys by type and knows which were never asked for."""

    def __init__(self, where: str, value: Any, name: str = "") -> None:
        self.where = where
        self.name = name
        if not isinstance(value, dict):
            raise BundleError(f"{where}: should be a mapping, is {value!r}")
        self._left: dict[Any, Any] = dict(value)

    def must(self, holds: bool, else_say: str) -> None:
        if not holds:
            raise BundleError(f"{self.where}: {else_say}")

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        return self._take(key, str, default)

    def number(self, key: str, default: Any = _REQUIRED) -> Any:
        return self._take(key, int, default)

    def flag(self, key: str, default: Any = _REQUIRED) -> Any:
        return self._take(key, bool, default)

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        value = self._take(key, list, default)
        for each in value:
            self.must(isinstance(each, str), f"{key} should hold texts, holds {each!r}")
        return tuple(value)

    def entry(self, key: str) -> "_Entry":
        return _Entry(f"{self.where}.{key}", self._take(key, dict, _REQUIRED), key)

    def entries(self, key: str) -> list["_Entry"]:
        value = self._take(key, dict, _REQUIRED)
        return [_Entry(f"{key}.{name}", entry, str(name)) for name, entry in value.items()]

    def roles(self, key: str) -> Mapping[str, tuple[str, ...]]:
        entry = self.entry(key)
        return MappingProxyType({bucket: entry.texts(bucket) for bucket in list(entry._left)})

    def nothing_else(self) -> None:
        self.must(not self._left, f"unknown key {', '.join(map(repr, self._left))}")

    def _take(self, key: str, kind: type, default: Any) -> Any:
        if key not in self._left:
            self.must(default is not _REQUIRED, f"`{key}` is missing")
            return default
        value = self._left.pop(key)
        # YAML's booleans are integers to Python.
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        self.must(fits, f"`{key}` should be {kind.__name__}, is {value!r}")
        return value


def _each(entries: list[_Entry], read: Any) -> Mapping[str, Any]:
    return MappingProxyType({entry.name: read(entry) for entry in entries})
