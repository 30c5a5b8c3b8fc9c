"""The suite, with Google's emulators in the place of its Firestore and its Pub/Sub."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.local.suite import Suite
from tests.emulators import programs
from tests.emulators.clock import MovedClock
from tests.emulators.firestore import GoogleFirestore
from tests.emulators.pubsub import GooglePubSub


@contextmanager
def with_emulators(state: Path, start: datetime) -> Iterator[Suite]:
    """Start the services and both emulators; end them. The clock begins at `start` at each reset."""
    clock = MovedClock(start)
    with (
        programs.running(programs.FIRESTORE, state.with_suffix(".firestore")) as firestore,
        programs.running(programs.PUBSUB, state.with_suffix(".pubsub")) as pubsub,
        Suite(state=state, clock=clock, run_functions=False) as suite,
    ):
        settings: dict[str, Any] = {"project": suite.project, "clock": clock, "traffic": suite.traffic}
        ours: Any = suite
        with (
            closing(GoogleFirestore(host=firestore, **settings)) as ours.firestore,
            closing(GooglePubSub(host=pubsub, **settings)) as ours.pubsub,
        ):
            yield suite
