"""How the service says no: one exception that carries the gRPC code and the sentence for the caller."""

from grpc import StatusCode


class Refused(Exception):
    """A request answered with an error. `code` is the gRPC status, `message` what the caller reads."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Refused:
    """The request itself is wrong, whatever the data: INVALID_ARGUMENT."""
    return Refused(StatusCode.INVALID_ARGUMENT, message)


def unimplemented(what: str) -> Refused:
    """Production can, this service cannot: UNIMPLEMENTED."""
    return Refused(StatusCode.UNIMPLEMENTED, f"{what} is not implemented by the local Firestore")
