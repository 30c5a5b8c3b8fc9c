"""How a child speaks with its parent: frames on stdin and stdout. It imports nothing of Waybill.

A frame is one byte that names its kind, eight bytes of length, and the body.
"""

import os
import traceback
from collections.abc import Callable

REFUSED = b"R"  # a sentence for the customer
OUT_OF_MEMORY = b"M"
FAULT = b"!"  # a trace for us
END = b"."

HEADER = 9


class RefusedInput(Exception):
    """The customer's input is wrong or not allowed; its text is a sentence for them."""


def receive() -> tuple[bytes, bytes]:
    """The next frame from the parent. A parent that is gone ends the child."""
    header = _read(HEADER)
    return header[:1], _read(int.from_bytes(header[1:], "big"))


def send(kind: bytes, body: bytes | memoryview = b"") -> None:
    """Send a frame to the parent; waits until it is read."""
    _write(kind + len(body).to_bytes(8, "big"))
    _write(body)


def main(run: Callable[[], None]) -> None:
    """Run, and tell the parent how it ended. Nothing is cleaned up: the process ends at once."""
    try:
        run()
    except RefusedInput as refused:
        send(REFUSED, str(refused).encode(errors="replace"))
    except MemoryError:
        send(OUT_OF_MEMORY)
    except EOFError:
        pass
    except BaseException:
        send(FAULT, traceback.format_exc()[-4000:].encode(errors="replace"))
    os._exit(0)


def _read(size: int) -> bytes:
    made = bytearray()
    while len(made) < size:
        block = os.read(0, min(size - len(made), 1 << 20))
        if not block:
            raise EOFError
        made += block
    return bytes(made)


def _write(body: bytes | memoryview) -> None:
    rest = memoryview(body)
    while rest:
        rest = rest[os.write(1, rest) :]
