"""What a connector is: it brings a run's files and images to where the customer wants them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from shared.errors import FieldProblem
from shared.gcp.clients import Cloud
from shared.gcp.objects import Stored
from shared.settings import Settings

TAIL_BYTES = 320
"""More than any name takes that a connector is given; a test holds the names against it."""

SECRET_FIELD = "secret"  # noqa: S105
"""The field of a `connector_config` that holds the id of its stored secret."""

Verdict = Literal["passed", "failed", "skipped", "warning"]


@dataclass(frozen=True)
class Step:
    """One step of a connection test: what came of it, and a sentence for the person who runs the other side.

    A step is skipped where one before it makes it pointless; a warning keeps no export from running.
    """

    name: str
    verdict: Verdict
    sentence: str


_tells: ContextVar[Callable[[Step], None] | None] = ContextVar("tells", default=None)


@contextmanager
def telling(tell: Callable[[Step], None]) -> Iterator[None]:
    """Have each step of the connection tests inside be told as soon as it is known."""
    token = _tells.set(tell)
    try:
        yield
    finally:
        _tells.reset(token)


class Steps(list[Step]):
    """The steps of a connection test. Each that is added is told to whoever asked for it by `telling`."""

    def append(self, step: Step) -> None:
        """Add a step."""
        super().append(step)
        if (tell := _tells.get()) is not None:
            tell(step)

    def extend(self, steps: Iterable[Step]) -> None:
        """Add steps, each as soon as it is known."""
        for step in steps:
            self.append(step)


def passed(steps: Sequence[Step]) -> bool:
    """Whether the export may run."""
    return all(step.verdict != "failed" for step in steps)


BUCKET_WRITES = 1_000
"""How many objects a second a bucket takes that few were written into before; it takes twice as many with
every twenty minutes. https://cloud.google.com/storage/docs/request-rate"""

COPIES_A_SECOND = 50
"""How many images a slice copies in a second where Cloud Storage takes a tenth of a second for each call of a
batch, of which six are under way. Where it is quicker, a bucket refuses what is too much, and copying slows
down."""

SLICES_AT_ONCE = BUCKET_WRITES // COPIES_A_SECOND
"""How many slices of one customer are copied at once: most customers have one bucket, and it may be new."""


class Copy(NamedTuple):
    """One image to copy: where it stands in our images bucket, exactly which generation, its size in bytes,
    its crc32c in base64, and what it is to be called, below the connector's own place."""

    source_name: str
    generation: int
    size: int
    crc32c: str
    name: str


@dataclass
class CopyResult:
    """What came of some copies. `missing` and `conflicts` hold those whose image is gone, or whose name is
    taken by something else; `generations`, where they were asked for, the generation of each that is there,
    by its name."""

    copied: int = 0
    present: int = 0
    generations: dict[str, int] = field(default_factory=dict)
    missing: list[Copy] = field(default_factory=list)
    conflicts: list[Copy] = field(default_factory=list)


class Connector(Protocol):
    """Where a run's files go. Names are relative: the connector knows what stands before them.

    Every method raises CustomerMustAct for what the customer can fix, GiveUp for what we must, and Retry for
    what is passing. Each can be done twice, and by two at once, and nothing that stands there is ever
    overwritten or removed.
    """

    def deliver(self, staged: Stored, name: str, on_progress: Callable[[], None]) -> None:
        """Bring a staged object there under this name, once; `on_progress` is called now and then where that
        takes long, and may raise to end it: the next time goes on from there."""
        ...

    def copy_images(self, copies: Iterable[Copy], on_progress: Callable[[CopyResult], None]) -> CopyResult:
        """Copy these; `on_progress` is called now and then with what came of it so far, and may raise to end
        it."""
        ...


class ConnectorConfig(BaseModel):
    """The `connector_config` of one export. Each connector has a subclass with its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def destination(self) -> str | None:
        """Where the names are that `place` gives, such as `gs://bucket`; None where nothing is brought
        anywhere."""
        return None

    def place(self, name: str) -> str:
        """The full name, at the customer's place, of what the export gives this name. Manifests show it."""
        return name


C = TypeVar("C", bound=ConnectorConfig)


@dataclass(frozen=True)
class Secret(Generic[C]):
    """The secret that a customer gives for Waybill to log in with.

    It is stored encrypted. The config then holds its id in the field `secret`, which only Waybill sets.

    fields      the config's fields that the secret is given in; a config is stored and shown without them
    server      the config's fields that say which server the secret opens; it is sent to no other server
    value       what is stored of the secret in a config that a customer sent; None where it has none
    reached_as  a config with the login of a newer one, if both are of the same server; else as it is
    """

    fields: tuple[str, ...]
    server: tuple[str, ...]
    value: Callable[[C], str | None]
    reached_as: Callable[[C, C], C]


@dataclass(frozen=True)
class Mailed(Generic[C]):
    """A delivery by mail: the files stay in staging, and each recipient is mailed a link that leads to them.
    A run is completed when each of its mails was sent or refused.

    recipients  the addresses
    max_files   how many files one mail may lead to
    """

    recipients: Callable[[C], tuple[str, ...]]
    max_files: int


@dataclass(frozen=True)
class ConnectorType(Generic[C]):
    """A connector and what it can do. Nothing outside `shared.delivery` asks which connector it is.

    name     what an export's `connector_type` calls it
    config   the class of its `connector_config`
    open     opens the connector to one place of a customer, until the end of the `with`
    test     runs the connection test of that place
    by_site  whether each site has files of its own; else one set of files is for all sites
    images   whether an export with this config takes images along; None where the connector takes none
    secret   the secret that its config holds, if any
    mailed   how its deliveries are mailed, if they are
    check    what is wrong with a config here, such as a place that is ours; fields are named within it

    `open` and `test` are given the customer's id, the customer's account and a config.
    """

    name: str
    config: type[C]
    open: Callable[[Cloud, str, str, C], AbstractContextManager[Connector]]
    test: Callable[[Cloud, str, str, C], list[Step]]
    by_site: bool
    images: Callable[[C], bool] | None = None
    secret: Secret[C] | None = None
    mailed: Mailed[C] | None = None
    check: Callable[[Settings, C], list[FieldProblem]] = lambda *_: []

    def exports_images(self, config: C) -> bool:
        """Whether an export with this config takes images along."""
        return self.images is not None and self.images(config)

    def secret_id(self, config: C) -> str | None:
        """The id of the stored secret, an audit event's `sftpDetailsKey`; None where there is none."""
        if self.secret is None:
            return None
        id: str | None = getattr(config, SECRET_FIELD)
        return id

    def recipients(self, config: C) -> tuple[str, ...]:
        """Whom a delivery is mailed to, an audit event's `recipients`."""
        return self.mailed.recipients(config) if self.mailed else ()
