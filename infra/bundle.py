"""The schema of `infra/bundle.yaml`, the one list of functions, buckets and accounts.

Terraform, Cloud Build, the local runner, the table of functions in docs/ and the tests read that file.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from shared.http.paths import single_slashes

BUNDLE_YAML = Path(__file__).parent / "bundle.yaml"

MAX_HTTP_TIMEOUT = 3600
"""Seconds that a function behind HTTP may run. https://cloud.google.com/functions/quotas#time_limits"""

MAX_EVENT_TIMEOUT = 540
"""Seconds that a function behind an event may run. https://cloud.google.com/functions/quotas#time_limits"""

MAX_CONCURRENCY = 1000
"""Requests that one instance may serve at once. https://cloud.google.com/run/docs/about-concurrency"""

MAX_INSTANCES = 1000
"""Instances of one function. https://cloud.google.com/run/docs/configuring/max-instances-limits"""

MIN_ATTEMPTS, MAX_ATTEMPTS = 5, 100
"""Delivery attempts before the dead-letter topic. https://cloud.google.com/pubsub/docs/dead-letter-topics"""


class BundleError(ValueError):
    """bundle.yaml is wrong. The message has a line for each wrong field: its path, and what is wrong."""


_T = TypeVar("_T")


def _named(entries: Any) -> Any:
    # An entry knows its name: the key that it stands under.
    if not isinstance(entries, dict):
        return entries
    for name, entry in entries.items():
        if isinstance(entry, dict) and "name" in entry:
            raise ValueError(f"{name} has a field `name`; the key is the name")
    return {
        name: {"name": name, **entry} if isinstance(entry, dict) else entry for name, entry in entries.items()
    }


def _not_null(value: Any) -> Any:
    # Terraform takes a key without a value for one that is there.
    if value is None:
        raise ValueError("has no value; leave the key out")
    return value


_Optional = Annotated[_T | None, BeforeValidator(_not_null)]
_ReadOnly = Annotated[Mapping[str, _T], AfterValidator(MappingProxyType)]
_Named = Annotated[_ReadOnly[_T], BeforeValidator(_named)]
_List = Annotated[tuple[_T, ...], Field(strict=False)]  # YAML has lists and no tuples

_FunctionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_Path = Annotated[str, Field(pattern=r"^(/|(/[A-Za-z0-9._~-]+)+)$")]
_Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi)$")]
_Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
_AccountName = Annotated[str, Field(pattern=r"^[a-z][-a-z0-9]{4,28}[a-z0-9]$")]
"""https://cloud.google.com/iam/docs/service-accounts-create"""

Roles = _ReadOnly[_List[str]]
"""The roles on each bucket: the bucket's name in the file -> roles."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class Trigger(_Model):
    """What calls a function: exactly one of the three."""

    http: _List[_Path] = ()
    """Path prefixes behind the front door."""

    topic: _Optional[str] = None
    """The topic whose messages it gets, named as the function is: 2nd-generation triggers cannot filter."""

    bucket: _Optional[str] = None
    """The bucket of ours whose objects it gets an event for when they are finalised."""

    @model_validator(mode="after")
    def _one(self) -> "Trigger":
        if sum([bool(self.http), self.topic is not None, self.bucket is not None]) != 1:
            raise ValueError("should be one of `http` with a path, `topic`, `bucket`")
        return self


class Instances(_Model):
    """How many instances a function may have at once, and so what it may cost."""

    most: Annotated[int, Field(ge=1, le=MAX_INSTANCES)]
    """At most so many. An event that finds none free is delivered again."""

    because: Annotated[str, Field(min_length=1)]
    """Why so many."""


class Function(_Model):
    """One Cloud Function, whose handler is in `functions/<name>/main.py`."""

    name: _FunctionName
    """The key of its entry."""

    does: str
    """What it does, in a few words, for people who read the list."""

    trigger: Trigger
    """What calls it."""

    timeout: Annotated[int, Field(ge=1)]
    """Seconds that one call may take: at most 3600 behind HTTP, at most 540 behind events."""

    memory: _Memory
    """The memory of one instance, as Cloud Run writes it: 512Mi, 2Gi."""

    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]
    """Requests that one instance serves at once, and its number of threads."""

    instances: Instances
    """How many instances it may have."""

    account: str
    """The name of the account that it runs as."""

    scheduled: bool = False
    """Whether Cloud Scheduler publishes to its topic, and its silence is a fault."""

    calls_customers: bool = False
    """Whether it calls addresses that customers give: SFTP servers, analysers, images by URL. Terraform can
    give such functions a network and one fixed address."""

    public: bool = False
    """Whether anyone may call it without an identity. HTTP only."""

    retry: bool = False
    """Whether an event that failed is delivered again, with backoff. Events only."""

    attempts: _Optional[Annotated[int, Field(ge=MIN_ATTEMPTS, le=MAX_ATTEMPTS)]] = None
    """After how many attempts an event goes to `dead_letter`."""

    dead_letter: _Optional[str] = None
    """The topic for events that failed at every attempt."""

    secrets: _List[_Variable] = ()
    """The environment variables that hold a secret."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Path prefixes behind the front door; none where events trigger it."""
        return self.trigger.http

    @property
    def topic(self) -> str | None:
        """The topic whose messages it gets."""
        return self.trigger.topic

    @property
    def bucket(self) -> str | None:
        """The bucket of ours whose objects it gets an event for."""
        return self.trigger.bucket

    @property
    def signature_type(self) -> str:
        """What functions-framework calls its kind: `http` or `cloudevent`."""
        return "http" if self.paths else "cloudevent"


class Cors(_Model):
    """What pages of Waybill's own site may do with a bucket from a browser."""

    methods: Annotated[list[str], Field(min_length=1)]
    """The methods of their requests."""

    headers: Annotated[list[str], Field(min_length=1)]
    """The headers that they may send, and see in an answer."""

    seconds: Annotated[int, Field(ge=1)]
    """How long a browser need not ask again whether it may."""


class Bucket(_Model):
    """One bucket of ours. The project's name goes before its own."""

    name: str
    """The key of its entry."""

    holds: str
    """What it holds, for people who read the list."""

    days: _Optional[Annotated[int, Field(ge=1)]] = None
    """How many days an object lives. Without it, for ever."""

    cors: _Optional[Cors] = None
    """What pages of Waybill's own site may do with it. Without it, nothing."""

    nearline_after: _Optional[Annotated[int, Field(ge=1)]] = None
    """After how many days an object moves to the storage class Nearline. Without it, never."""


class Account(_Model):
    """One service account, and what it may do."""

    name: _AccountName
    """The key of its entry."""

    firestore: bool
    """Whether it may read and write documents."""

    publishes: _List[str]
    """The topics of functions that it may publish to."""

    storage: Roles
    """The roles that it has on each bucket of ours."""

    impersonates: bool
    """Whether it may act as the customers' own accounts: roles/iam.serviceAccountTokenCreator on each."""

    signs: bool = False
    """Whether it may sign URLs in its own name: the same role, on itself."""


class Bundle(_Model):
    """All of bundle.yaml, in its order."""

    functions: _Named[Function]
    """The functions."""

    buckets: _Named[Bucket]
    """The buckets of ours."""

    roles: _ReadOnly[_List[str]]
    """The roles of our own: the id of each -> its permissions."""

    accounts: _Named[Account]
    """The accounts that the functions run as."""

    customer_folders: Roles
    """The roles that a customer's account has on its own folder, `<customer>/`, of our buckets."""

    customer_grant: _List[str]
    """The permissions that a customer gives that account on their bucket. Nothing may need more."""

    @classmethod
    def load(cls, path: Path = BUNDLE_YAML) -> "Bundle":
        """Read and check the file. BundleError names each wrong field by its path."""
        return _read(path.read_text(encoding="utf-8"))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The variables with a secret that functions name, each once."""
        return tuple(dict.fromkeys(secret for f in self.functions.values() for secret in f.secrets))

    def permissions(self, role: str) -> tuple[str, ...]:
        """What a role of our own permits; a role of Google's is itself."""
        return self.roles.get(role, (role,))

    @property
    def dead_letters(self) -> tuple[str, ...]:
        """The dead-letter topics that functions name, each once."""
        return tuple(dict.fromkeys(f.dead_letter for f in self.functions.values() if f.dead_letter))

    def serving(self, path: str) -> Function | None:
        """The function with the longest prefix of whole segments of this path; None where there is none. The
        prefix `/` is that path alone. Where an endpoint ended in a slash, a path begins with two."""
        path = single_slashes(path)
        fitting = [
            (len(prefix), function)
            for function in self.functions.values()
            for prefix in function.paths
            if path == prefix or (prefix != "/" and path.startswith(prefix + "/"))
        ]
        return max(fitting, key=lambda found: found[0])[1] if fitting else None


@functools.lru_cache(maxsize=4)
def _read(text: str) -> Bundle:
    # Read once: every suite of every test asks for it.
    try:
        bundle = Bundle.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise BundleError("\n".join(_problem(dict(each)) for each in error.errors())) from error
    problems = [*_between_fields(bundle), *_references(bundle)]
    if problems:
        raise BundleError("\n".join(problems))
    return bundle


def _problem(error: dict[str, Any]) -> str:
    path = ".".join(str(step) for step in error["loc"]) or "bundle.yaml"
    if error["type"] == "missing":
        return f"{path}: is missing"
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown field"
    if error["type"] == "value_error":
        return f"{path}: {error['ctx']['error']}"
    return f"{path}: {error['msg']}, is {error['input']!r}"


def _between_fields(bundle: Bundle) -> Iterator[str]:
    # What one field says of another of the same function.
    for function in bundle.functions.values():
        at = f"functions.{function.name}"
        longest = MAX_HTTP_TIMEOUT if function.paths else MAX_EVENT_TIMEOUT
        if function.timeout > longest:
            yield f"{at}.timeout: {function.timeout} is more than {longest} seconds"
        if function.paths and function.retry:
            yield f"{at}.retry: only events are delivered again, and an HTTP function has none"
        if function.public and not function.paths:
            yield f"{at}.public: only an HTTP function can be public"
        if function.scheduled and not function.topic:
            yield f"{at}.scheduled: only a function with a topic can be scheduled"
        if function.topic not in (None, function.name):
            yield f"{at}.trigger.topic: should be {function.name!r}, is {function.topic!r}"
        if function.attempts is None and function.dead_letter is not None:
            yield f"{at}.attempts: is missing; `dead_letter` needs it"
        if function.attempts is not None and function.dead_letter is None:
            yield f"{at}.dead_letter: is missing; `attempts` needs it"
        if function.dead_letter is not None and not function.retry:
            yield f"{at}.dead_letter: needs `retry: true`; without it an event is delivered once"


def _references(bundle: Bundle) -> Iterator[str]:
    # What one entry says of another.
    owners: dict[str, str] = {}
    for function in bundle.functions.values():
        at = f"functions.{function.name}"
        if function.account not in bundle.accounts:
            yield f"{at}.account: {function.account!r} is not among `accounts`"
        if function.bucket is not None and function.bucket not in bundle.buckets:
            yield f"{at}.trigger.bucket: {function.bucket!r} is not among `buckets`"
        for path in function.paths:
            owner = owners.setdefault(path, function.name)
            if owner != function.name:
                yield f"{at}.trigger.http: {owner} has the path {path!r} already"
        if function.dead_letter in bundle.functions:
            yield f"{at}.dead_letter: {function.dead_letter!r} is a function's own topic"
    for account in bundle.accounts.values():
        for number, topic in enumerate(account.publishes):
            if topic not in {function.topic for function in bundle.functions.values()}:
                yield f"accounts.{account.name}.publishes.{number}: no function has the topic {topic!r}"
    named = [(f"accounts.{account.name}.storage", account.storage) for account in bundle.accounts.values()]
    for at, roles in [*named, ("customer_folders", bundle.customer_folders)]:
        for bucket, named_roles in roles.items():
            if bucket not in bundle.buckets:
                yield f"{at}.{bucket}: there is no such bucket among `buckets`"
            for role in named_roles:
                if not role.startswith("roles/") and role not in bundle.roles:
                    yield f"{at}.{bucket}: there is no role {role!r} among `roles`"
