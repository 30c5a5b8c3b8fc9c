"""What can go wrong, in one tree. It alone decides what a caller or an event is answered.

WaybillError
├── Refused              the caller's fault; nothing was done
│   ├── Invalid          400  the input is wrong; the wrong fields are named
│   ├── Unauthenticated  401  no key, or none that we know
│   ├── Forbidden        403  the key lacks a scope
│   ├── NotFound         404  nothing of that name belongs to this customer
│   ├── Conflict         409  right in itself, but not now
│   ├── Outdated         412  what it is to change was changed meanwhile
│   ├── TooSlow          408  the request's body did not arrive in time
│   ├── TooLarge         413  the request's body is larger than is accepted
│   └── TooMany          429  right in itself, but too many of them, or too often
├── Retry                passing: the event is answered 503 and is delivered again
│   └── Busy             another attempt is at it
└── GiveUp               trying again cannot help: the event is acknowledged and the failure is reported
    └── CustomerMustAct  only the customer can fix it: a bucket gone, a permission withdrawn

Anything else that is raised is a surprise: the event is answered 500, with a trace in the log, and is
delivered again. `events.answer` does as this tree says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.cutting import cut


class WaybillError(Exception):
    """The root. Its text is a sentence that says what happened, to what, and what to do."""


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field: its path, as `connector_config.storage_uri`, and a sentence."""

    field: str
    message: str


class Refused(WaybillError):
    """The caller's fault; nothing was done."""

    status = 400
    title = "Bad request"
    code: str | None = None
    """The error's code, on surfaces whose errors have one; None where the status alone decides it."""


PROBLEMS_SHOWN = 20
"""How many wrong fields an error names; of the rest it says how many they are."""

FIELD_LONGEST = 200
"""Characters of the path of a field that an error names."""

MESSAGE_LONGEST = 1_000
"""Characters of what an error says of one field."""

SENTENCE_LONGEST = 4_000
"""Characters of what an answer says of one error."""


class Invalid(Refused):
    """The input is wrong. `problems` names the fields that are, the first PROBLEMS_SHOWN of them; `more` is
    how many others are."""

    title = "The request is not valid"

    def __init__(self, problems: Sequence[FieldProblem], more: int = 0) -> None:
        """`more` is how many are wrong besides `problems`."""
        self.problems = [
            FieldProblem(cut(each.field, FIELD_LONGEST), cut(each.message, MESSAGE_LONGEST))
            for each in problems[:PROBLEMS_SHOWN]
        ]
        self.more = more + max(0, len(problems) - PROBLEMS_SHOWN)
        others = [f"and {self.more:,} more"] if self.more else []
        super().__init__("; ".join([*(f"{p.field}: {p.message}" for p in self.problems), *others]))

    @classmethod
    def field(cls, field: str, message: str) -> "Invalid":
        """The one field that is wrong."""
        return cls([FieldProblem(field, message)])


class Unauthenticated(Refused):
    """No key, or none that we know."""

    status = 401
    title = "Authentication is needed"


class Forbidden(Refused):
    """The key is known and lacks a scope."""

    status = 403
    title = "The key may not do this"


class NotFound(Refused):
    """Nothing of that name belongs to this customer."""

    status = 404
    title = "Not found"


class Conflict(Refused):
    """Right in itself, but not in the state things are in.

    Where what it asks for is taken, such as a name, `existing_id` is the id of what has it, if the caller may
    see that.
    """

    status = 409
    title = "Not possible now"

    def __init__(self, message: str, existing_id: str | None = None) -> None:
        super().__init__(message)
        self.existing_id = existing_id


class Outdated(Refused):
    """What it is to change was changed since the caller looked at it."""

    status = 412
    title = "Changed meanwhile"


class TooLarge(Refused):
    """The request's body is larger than is accepted."""

    status = 413
    title = "The request is too large"


class TooSlow(Refused):
    """The request's body did not arrive in time."""

    status = 408
    title = "The request came too slowly"


class TooMany(Refused):
    """Right in itself, but too many of them, or too often.

    `seconds` is how long to wait, where waiting helps.
    """

    status = 429
    title = "Too many requests"

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class Retry(WaybillError):
    """Passing, and expected: the next delivery takes it up."""


class Busy(Retry):
    """Another attempt is at it, and alive; the next delivery finds it done, or takes over."""


class GiveUp(WaybillError):
    """Trying again cannot help. `next_action` says what would, in a sentence."""

    def __init__(self, message: str, next_action: str) -> None:
        super().__init__(message)
        self.next_action = next_action


class CustomerMustAct(GiveUp):
    """Only the customer can fix it; both sentences are written for them."""
