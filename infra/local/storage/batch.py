"""Multipart bodies, and batches: many calls in one multipart request, many answers in one.

https://cloud.google.com/storage/docs/batch
"""

import re
import secrets
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlsplit

from infra.local.storage.errors import StorageError, invalid
from infra.local.storage.requests import Answer

CALLS = 100
"""https://cloud.google.com/storage/docs/batch#overview"""

PAYLOAD_BYTES = 10 * 1024 * 1024
"""https://cloud.google.com/storage/docs/batch#overview"""

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*:")


@dataclass(frozen=True, slots=True)
class Part:
    """One call of a batch. Header names are in lower case."""

    content_id: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def boundary_of(content_type: str, kind: str) -> bytes:
    """The boundary in a Content-Type; 400 if it is not of this multipart kind or has none.

    Google's apitools, and so gcloud, put it in apostrophes, which are no quotes to the standard.
    """
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != kind or not isinstance(boundary, str) or not boundary:
        raise invalid(f"The Content-Type must be {kind} with a boundary.")
    if len(boundary) > 2 and boundary[0] == boundary[-1] == "'":
        boundary = boundary[1:-1]
    return boundary.encode()


def parts(body: bytes, boundary: bytes) -> list[bytes]:
    """The parts of a multipart body, headers included."""
    found = re.split(rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(?=--|[ \t]*\r?\n)", body)
    if len(found) < 2 or not found[-1].startswith(b"--"):
        raise invalid("The multipart body is malformed or its end is missing.")
    return [part.lstrip(b" \t").removeprefix(b"\r").removeprefix(b"\n") for part in found[1:-1]]


def two_parts(body: bytes, boundary: bytes) -> tuple[bytes, bytes]:
    """The two parts of an upload, headers included; 400 for what has another number of them.

    The second one is content of any kind: it ends at the last line that can end the body, and at the kind of
    line break that the body itself uses. https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1
    """
    line = b"--" + re.escape(boundary)
    opening = re.search(rb"(?:\A|\n)" + line + rb"[ \t]*(?=(\r?\n))", body)
    if opening is None:
        raise _malformed()
    before = b"\n" if opening[1] == b"\n" else b"\r?\n"
    middle = re.compile(before + line + rb"[ \t]*(?=(\r?\n))")
    between = middle.search(body, opening.end())
    if between is None:
        raise _malformed()
    ends = re.compile(before + line + rb"--[ \t]*(?=\r?\n|\Z)").finditer(body, between.end())
    end = max((found.start() for found in ends), default=-1)
    if end < 0 or middle.search(body, between.end(), end):
        raise _malformed()
    return body[opening.end(1) : between.start()], body[between.end(1) : end]


def _malformed() -> StorageError:
    return invalid("Malformed multipart body.")


def head_and_body(part: bytes) -> tuple[list[str], bytes]:
    """The lines before the first blank one, each header in one line, and what comes after it."""
    for blank in (b"\r\n", b"\n"):
        if part.startswith(blank):
            return [], part[len(blank) :]
    head, *rest = _BLANK_LINE.split(part, maxsplit=1)
    return _FOLD.sub(b"", head).decode("utf-8", "replace").splitlines(), rest[0] if rest else b""


def headers_and_body(part: bytes) -> tuple[dict[str, str], bytes]:
    """The headers of a part, of which there may be none, and what comes after them; 400 for other lines."""
    lines, content = head_and_body(part)
    if not all(_HEADER.match(line) for line in lines):
        raise _malformed()
    return headers_of(lines), content


def headers_of(lines: list[str]) -> dict[str, str]:
    """Header lines as a dictionary, names in lower case."""
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


def read(body: bytes, content_type: str) -> list[Part]:
    """The calls of a batch; 400 for none, for more than 100, for more than 10 MB and for what is no batch."""
    if len(body) > PAYLOAD_BYTES:
        raise invalid(f"The batch request must not exceed {PAYLOAD_BYTES} bytes.")
    found = parts(body, boundary_of(content_type, "multipart/mixed"))
    if not 0 < len(found) <= CALLS:
        raise invalid(f"A batch request must hold 1 to {CALLS} calls, not {len(found)}.")
    return [_part(part) for part in found]


def _part(part: bytes) -> Part:
    outer, request = head_and_body(part)
    lines, body = head_and_body(request)
    method, _, rest = (lines or [""])[0].partition(" ")
    target = rest.rpartition(" ")[0]
    if not target:
        raise invalid("A part of the batch request holds no HTTP request.")
    headers = headers_of(lines[1:])
    length = headers.get("content-length", "")
    if length.isdecimal():
        body = body[: int(length)]
    if not target.startswith("/"):
        # The Python client sends whole URLs.
        target = urlsplit(target)._replace(scheme="", netloc="").geturl()
    return Part(headers_of(outer).get("content-id", ""), method, target, headers, body)


def write(answers: list[tuple[Part, Answer]]) -> Answer:
    """The answer to a batch, in the order of its calls."""
    boundary = f"batch_{secrets.token_urlsafe(16)}"
    blocks: list[bytes] = []
    for part, answer in answers:
        head = f"--{boundary}\r\nContent-Type: application/http\r\n"
        if part.content_id:
            name = part.content_id.removeprefix("<").removesuffix(">")
            head += f"Content-ID: <response-{name}>\r\n"
        head += f"\r\nHTTP/1.1 {answer.status} {answer.reason}\r\n"
        for name, value in answer.headers.items():
            head += f"{name}: {value}\r\n"
        head += f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n\r\n"
        blocks += (head.encode(), answer.body, b"\r\n")
    blocks.append(f"--{boundary}--\r\n".encode())
    return Answer(200, b"".join(blocks), f"multipart/mixed; boundary={boundary}")
