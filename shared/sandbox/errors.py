"""What can be wrong with a query or a template. The customer can fix it; the text is a sentence for them."""

from shared import errors


class Refused(errors.Refused):
    """The query or the template is wrong, or is not allowed. The sentence says what and what to do."""


class OverLimit(errors.Refused):
    """It was stopped at a limit. The sentence names the limit and what to do."""


class OutOfTime(OverLimit):
    """It was stopped since it took too long."""


class OutOfMemory(OverLimit):
    """It was stopped since it needed too much memory."""
