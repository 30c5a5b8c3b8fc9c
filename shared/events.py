"""What every function behind an event does around its use case: read the event, and answer as the tree of
errors says.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from cloudevents.http.event import CloudEvent
from werkzeug.exceptions import ServiceUnavailable

from shared import logs
from shared.errors import GiveUp, Retry
from shared.gcp.clients import Cloud, connect
from shared.gcp.messages import Message, ObjectFinalised, parse, parse_finalised
from shared.work.engine import perform
from shared.work.kinds import Kind

Event = TypeVar("Event", Message, ObjectFinalised)


def answer(event: CloudEvent, use_case: Callable[[Cloud, Message], None]) -> None:
    """Do the use case with the message that the event brings. Returning acknowledges the event.

    Retry is raised as 503, which has it delivered again and fills no log with traces; GiveUp is
    acknowledged, because the failure has been reported; anything else passes, which is a 500.
    """
    _answer(parse(event), use_case)


def answer_work(event: CloudEvent, kind: Kind[Any]) -> None:
    """Do the piece of work that the event names."""
    _answer(parse(event), lambda cloud, message: perform(cloud, kind, message.body))


def answer_object(event: CloudEvent, use_case: Callable[[Cloud, ObjectFinalised], None]) -> None:
    """The same of an object that came to be in a bucket."""
    _answer(parse_finalised(event), use_case)


def _answer(event: Event, use_case: Callable[[Cloud, Event], None]) -> None:
    logs.configure()
    with logs.bound(event=event.id, **_ids(event)):
        try:
            use_case(connect(), event)
        except Retry as passing:
            logs.warning("to be delivered again", about=passing, reason=str(passing))
            raise ServiceUnavailable(str(passing)) from passing
        except GiveUp as final:
            logs.error("not tried again", about=final, error=str(final), next_action=final.next_action)
        except Exception as surprise:
            logs.error("failed, to be delivered again", exception=surprise)
            raise


def _ids(event: Message | ObjectFinalised) -> dict[str, str]:
    """What an event is about, as far as it says so itself. A message of ours holds nothing but ids."""
    if isinstance(event, ObjectFinalised):
        return {"object": event.name}
    named = {name: id for name, id in event.body.items() if isinstance(id, str) and name != "at"}
    return {**logs.ids_of(named.get("work", "")), **named}
