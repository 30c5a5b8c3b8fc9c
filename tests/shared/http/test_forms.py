"""Forms: what browsers, curl and Python send, cut anywhere, and what is wrong with others."""

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
import requests
from werkzeug.test import EnvironBuilder

from shared.errors import Invalid, TooLarge
from shared.http.forms import FORM_BYTES, MAX_HEADER_BYTES, MAX_PARTS, Part, fields, parts
from shared.http.routes import PUBLIC, Body, Route, Routes
from shared.http.sent import BLOCK_BYTES
from tests.shared.http.toy import NewBoat, Yard, surface, toy

URLENCODED = "application/x-www-form-urlencoded"

CHROME = (
    b"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n"
    b'Content-Disposition: form-data; name="jobName"\r\n'
    b"\r\n"
    b"Zo\xc3\xab's job\r\n"
    b"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n"
    b'Content-Disposition: form-data; name="file"; filename="a %22b%22.csv"\r\n'
    b"Content-Type: text/csv\r\n"
    b"\r\n"
    b"id,name\r\n1,Ann\r\n\r\n"
    b"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n"
    b'Content-Disposition: form-data; name="template"; filename=""\r\n'
    b"Content-Type: application/octet-stream\r\n"
    b"\r\n"
    b"\r\n"
    b"------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n"
)

CURL = (
    b"--------------------------d74496d66958873e\r\n"
    b'Content-Disposition: form-data; name="file"; filename="data.json"\r\n'
    b"Content-Type: application/json\r\n"
    b"Expires: 0\r\n"
    b"\r\n"
    b'[{"id": 1}]\r\n'
    b"--------------------------d74496d66958873e\r\n"
    b'Content-Disposition: form-data; name="itemType"\r\n'
    b"\r\n"
    b"Account\r\n"
    b"--------------------------d74496d66958873e--\r\n"
)

OLD_PYTHON = (
    b"--0123456789abcdef\r\n"
    b"Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%2Ftmp%2FZo%C3%AB.json\r\n"
    b"Content-Type: application/json\r\n"
    b"Expires: 0\r\n"
    b"\r\n"
    b"[]\r\n"
    b"--0123456789abcdef--\r\n"
)

SENT: dict[str, tuple[str, bytes, list[tuple[str, str | None, str, bytes]]]] = {
    "chrome": (
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
        CHROME,
        [
            ("jobName", None, "text/plain", "Zoë's job".encode()),
            ("file", 'a "b".csv', "text/csv", b"id,name\r\n1,Ann\r\n"),
            ("template", "", "application/octet-stream", b""),
        ],
    ),
    "curl": (
        "multipart/form-data; boundary=------------------------d74496d66958873e",
        CURL,
        [
            ("file", "data.json", "application/json", b'[{"id": 1}]'),
            ("itemType", None, "text/plain", b"Account"),
        ],
    ),
    "old python": (
        'multipart/form-data; boundary="0123456789abcdef"',
        OLD_PYTHON,
        [("file", "/tmp/Zoë.json", "application/json", b"[]")],
    ),
    "a preamble, an epilogue, spaces, and lines like boundaries": (
        "Multipart/Form-Data; charset=utf-8; Boundary=b",
        b"preamble\r\n--b \t\r\nContent-Disposition: form-data;\r\n name=x\r\n\r\n"
        b"\r\n--\r\n-b\r--b\n--b\r\r\r\n--b--\r\nepilogue\r\n--b\r\n",
        [("x", None, "text/plain", b"\r\n--\r\n-b\r--b\n--b\r\r")],
    ),
    "no line end at the end": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n--b--',
        [("x", None, "text/plain", b"")],
    ),
    "no part": ("multipart/form-data; boundary=b", b"--b--\r\n", []),
    "urlencoded": (
        f"{URLENCODED}; charset=UTF-8",
        b"jobId=a+b%26c&filters=0&template=&name=Zo%C3%AB&raw=Zo\xc3\xab",
        [
            ("jobId", None, "text/plain", b"a b&c"),
            ("filters", None, "text/plain", b"0"),
            ("template", None, "text/plain", b""),
            ("name", None, "text/plain", "Zoë".encode()),
            ("raw", None, "text/plain", "Zoë".encode()),
        ],
    ),
}


class Wire(io.RawIOBase):
    """A body that comes in these pieces; `read` counts what was asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.read_bytes = 0
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        self.rest = self.rest or next(self.pieces, b"")
        piece, self.rest = self.rest[: len(into)], self.rest[len(into) :]
        into[: len(piece)] = piece
        self.read_bytes += len(piece)
        return len(piece)


def sent(content_type: str | None, *pieces: bytes) -> flask.Request:
    """A request whose body comes in these pieces, as a server gives it on: without a length."""
    return wired(content_type, Wire(iter(pieces)))


def wired(content_type: str | None, wire: Wire, length: int | None = None) -> flask.Request:
    environ = EnvironBuilder(method="POST").get_environ()
    environ |= {"wsgi.input": wire, "wsgi.input_terminated": True}
    environ.pop("CONTENT_LENGTH", None)
    if content_type is not None:
        environ["CONTENT_TYPE"] = content_type
    if length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        environ["CONTENT_LENGTH"] = str(length)
    return flask.Request(environ)


def posted_by(prepared: requests.PreparedRequest) -> bytes:
    assert isinstance(prepared.body, bytes)
    return prepared.body


def taken(request: flask.Request, **more: Any) -> list[tuple[str, str | None, str, bytes]]:
    return [(p.name, p.filename, p.content_type, b"".join(p.blocks)) for p in parts(request, **more)]


# --- what is read


@pytest.mark.parametrize(("content_type", "body", "expected"), SENT.values(), ids=SENT)
def test_every_part_is_given_as_it_was_sent(content_type: str, body: bytes, expected: Any) -> None:
    assert taken(sent(content_type, body)) == expected


@pytest.mark.parametrize(("content_type", "body", "expected"), SENT.values(), ids=SENT)
def test_where_a_body_is_cut_makes_no_difference(content_type: str, body: bytes, expected: Any) -> None:
    for cut in range(1, len(body)):
        assert taken(sent(content_type, body[:cut], body[cut:])) == expected, cut
    assert taken(sent(content_type, *(bytes([each]) for each in body))) == expected


def test_what_requests_sends_is_read_with_the_files_in_each_order() -> None:
    files = {
        "template": ("/srv/bob/t.vm", b"", "application/json", {"Expires": "0"}),
        "file": ("../Bob's data.json", b"[]\r\n", "application/json", {"Expires": "0"}),
    }
    data = {"jobName": "Bob's", "merge": False}
    fields = [("jobName", None, "text/plain", b"Bob's"), ("merge", None, "text/plain", b"False")]
    wanted = {
        "template": ("template", "/srv/bob/t.vm", "application/json", b""),
        "file": ("file", "../Bob's data.json", "application/json", b"[]\r\n"),
    }
    for order in (["template", "file"], ["file", "template"]):
        prepared = requests.Request(
            "POST", "http://x/", data=data, files={name: files[name] for name in order}
        ).prepare()
        request = sent(prepared.headers["Content-Type"], posted_by(prepared))
        assert taken(request) == [*fields, *(wanted[name] for name in order)]


@pytest.mark.parametrize("content_type", [None, "text/plain", URLENCODED, "multipart/form-data"])
def test_no_body_is_an_empty_form(content_type: str | None) -> None:
    assert fields(sent(content_type)) == {}


@pytest.mark.parametrize("name", ["chrome", "urlencoded"])
def test_the_fields_of_a_form_are_text_by_their_names(name: str) -> None:
    content_type, body, expected = SENT[name]
    assert fields(sent(content_type, body)) == {each[0]: each[3].decode() for each in expected}


def test_a_part_that_nobody_read_is_passed_over() -> None:
    content_type, body, expected = SENT["chrome"]
    assert [part.name for part in parts(sent(content_type, body))] == [each[0] for each in expected]
    begun = parts(sent(content_type, body))
    assert next(begun).name == "jobName"
    file = next(begun)
    assert isinstance(file.blocks, Iterator)
    file.blocks.close()  # type: ignore[attr-defined]
    assert next(begun).name == "template"


def test_a_file_is_given_while_it_arrives() -> None:
    def pieces() -> Iterator[bytes]:
        yield CURL[: CURL.index(b"[{")]
        yield from [b"x" * BLOCK_BYTES] * 256
        yield CURL[CURL.index(b"}]") + 2 :]

    wire = Wire(pieces())
    form = parts(wired(SENT["curl"][0], wire))
    file = next(form)
    size = 0
    for block in file.blocks:
        size += len(block)
        assert len(block) <= BLOCK_BYTES + len(CURL)
        assert wire.read_bytes - size < 2 * BLOCK_BYTES + len(CURL), "what was read was not given on"
    assert size == 256 * BLOCK_BYTES
    assert next(form).text() == "Account"


# --- what is refused


def one_part(header: bytes = b'Content-Disposition: form-data; name="x"', body: bytes = b"y") -> bytes:
    return b"--b\r\n" + header + b"\r\n\r\n" + body + b"\r\n"


def many(count: int) -> bytes:
    parts = (one_part(b'Content-Disposition: form-data; name="x%d"' % n) for n in range(count))
    return b"".join(parts) + b"--b--"


REFUSED: dict[str, tuple[str, bytes, str, str]] = {
    "no boundary": ("multipart/form-data", b"x", "body", "has no boundary"),
    "long boundary": ("multipart/form-data; boundary=" + "b" * 71, b"x", "body", "has no boundary"),
    "other boundary": ("multipart/form-data; boundary=c", many(1), "body", "ends before its last boundary"),
    "no end": ("multipart/form-data; boundary=b", one_part(), "body", "ends before its last boundary"),
    "cut boundary": ("multipart/form-data; boundary=b", one_part() + b"--b-", "body", "ends before"),
    "behind a boundary": ("multipart/form-data; boundary=b", b"--bcd\r\n\r\n", "body", "has a boundary with"),
    "no header": ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--", "body", "has a part, the 1."),
    "no name": (
        "multipart/form-data; boundary=b",
        one_part(b"Content-Disposition: form-data") + b"--b--",
        "body",
        "has a part, the 1., whose Content-Disposition",
    ),
    "attachment": (
        "multipart/form-data; boundary=b",
        one_part() + one_part(b'Content-Disposition: attachment; name="x"') + b"--b--",
        "body",
        "has a part, the 2.",
    ),
    "base64": (
        "multipart/form-data; boundary=b",
        one_part(b'Content-Disposition: form-data; name="x"\r\nContent-Transfer-Encoding: Base64') + b"--b--",
        "x",
        "is encoded as base64",
    ),
    "long header": (
        "multipart/form-data; boundary=b",
        one_part(b"X: " + b"y" * MAX_HEADER_BYTES) + b"--b--",
        "body",
        f"has a part with a header of more than {MAX_HEADER_BYTES} bytes",
    ),
    "endless header": (
        "multipart/form-data; boundary=b",
        b"--b\r\nX: " + b"y" * (4 * MAX_HEADER_BYTES),
        "body",
        "has a part with a header of more than",
    ),
    "many parts": ("multipart/form-data; boundary=b", many(MAX_PARTS + 1), "body", "has more than 100 parts"),
    "many fields": (
        URLENCODED,
        b"&".join(b"x%d=" % n for n in range(MAX_PARTS + 1)),
        "body",
        "has more than",
    ),
    "twice": ("multipart/form-data; boundary=b", one_part() * 2 + b"--b--", "x", "is in the form twice"),
    "twice, urlencoded": (URLENCODED, b"x=1&x=1", "x", "is in the form twice"),
    "latin-1": (
        "multipart/form-data; boundary=b",
        one_part(body=b"Zo\xeb") + b"--b--",
        "x",
        "is not UTF-8 at byte 2",
    ),
    "latin-1, percent-encoded": (URLENCODED, b"x=Zo%EB", "body", "is not UTF-8"),
    "json": ("application/json", b"{}", "body", "must be a form, application/x-www-form-urlencoded or"),
    "no type": (None, b"x=1", "body", "must be a form"),  # type: ignore[dict-item]
}


@pytest.mark.slow
def test_a_form_of_a_mib_of_fields_takes_no_memory_for_them() -> None:
    script = """
import resource
from shared.errors import Invalid
from shared.http import forms
body = b"&=" * (forms.FORM_BYTES // 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(forms._urlencoded(body))
except Invalid as wrong:
    print(wrong, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said, _, memory = done.stdout.rpartition(" ")
    assert said == "body: has more than 100 fields"
    assert int(memory) < 8 * 1024, "KiB"


@pytest.mark.parametrize(("content_type", "body", "field", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_form_is_refused_in_a_sentence(
    content_type: str, body: bytes, field: str, message: str
) -> None:
    with pytest.raises(Invalid) as refused:
        fields(sent(content_type, body))
    [problem] = refused.value.problems
    assert (problem.field, problem.message[: len(message)]) == (field, message)


def test_as_many_parts_as_are_allowed_are_read() -> None:
    assert len(taken(sent("multipart/form-data; boundary=b", many(MAX_PARTS)))) == MAX_PARTS


def test_a_body_that_ends_before_its_length_is_refused() -> None:
    content_type, body, _ = SENT["curl"]
    environ = EnvironBuilder(method="POST", content_type=content_type, data=body[:-9]).get_environ()
    environ["CONTENT_LENGTH"] = str(len(body))
    with pytest.raises(Invalid, match=r"^body: ends too early"):
        taken(flask.Request(environ))


def test_a_long_field_is_refused_by_its_name() -> None:
    form = parts(sent("multipart/form-data; boundary=b", many(1)))
    with pytest.raises(Invalid, match=r"^x0: is larger than 0 bytes$"):
        next(form).text(max_bytes=0)


# --- what is too large


def test_a_body_of_exactly_the_limit_is_read() -> None:
    content_type, body, expected = SENT["curl"]
    assert taken(sent(content_type, body), max_bytes=len(body)) == expected
    assert taken(wired(content_type, Wire(iter([body])), len(body)), max_bytes=len(body)) == expected


def test_a_limit_of_the_server_it_runs_under_does_not_count() -> None:
    content_type, body, expected = SENT["curl"]
    app = flask.Flask("framework")
    app.config["MAX_CONTENT_LENGTH"] = 10
    with app.app_context():
        assert taken(sent(content_type, body)) == expected


def test_a_body_over_the_limit_is_refused_by_its_length_and_nothing_of_it_is_read() -> None:
    content_type, body, _ = SENT["curl"]
    wire = Wire(iter([body]))
    with pytest.raises(TooLarge, match=f"^the request's body is larger than {len(body)} bytes$"):
        taken(wired(content_type, wire, len(body) + 1), max_bytes=len(body))
    assert wire.read_bytes == 0


def test_a_body_without_a_length_is_counted_and_no_further_block_is_read() -> None:
    content_type, body, _ = SENT["curl"]
    wire = Wire(iter([body[:50], body[50:], b"more", b"more"]))
    with pytest.raises(TooLarge, match=f"^the request's body is larger than {len(body)} bytes$"):
        taken(wired(content_type, wire), max_bytes=len(body))
    assert wire.read_bytes == len(body) + 4


def test_an_urlencoded_form_is_never_larger_than_what_is_read_whole() -> None:
    wire = Wire(iter([b"x=" + b"y" * FORM_BYTES]))
    with pytest.raises(TooLarge, match=str(FORM_BYTES)):
        taken(wired(URLENCODED, wire))


# --- routes


def form_route(handler: Callable[..., Any], given: Any, **changes: Any) -> Routes:
    route: dict[str, Any] = {
        "method": "POST",
        "path": "/toy/boats",
        "handler": handler,
        "summary": "Build a boat",
        "scope": "boats",
        "body": Body(NewBoat, form=True, given=given),
        "answer": None,
    }
    return Routes(surface(), [Route(**{**route, **changes})])


def posted(content_type: str, wire: Wire, key: str | None = "boats") -> flask.Request:
    request = wired(content_type, wire)
    request.environ["PATH_INFO"] = "/toy/boats"
    if key:
        request.environ["HTTP_AUTHORIZATION"] = key
    return flask.Request(request.environ)


def test_a_route_reads_a_form_into_its_model_or_gives_it_as_text() -> None:
    yard = Yard()
    for given, expected in (
        ("model", NewBoat(name="Anna", length=7)),
        ("object", {"name": "Anna", "length": "7"}),
    ):

        def build(_: str, body: Any) -> Any:
            yard.build(body)

        answer = form_route(build, given).answer(posted(URLENCODED, Wire(iter([b"name=Anna&length=7"]))))
        assert answer.status_code == 200
        assert yard.calls.pop() == ((expected,), {})


def test_a_route_refuses_a_form_naming_the_field() -> None:
    def build(_: str, body: NewBoat) -> None: ...

    answer = form_route(build, "model").answer(posted(URLENCODED, Wire(iter([b"length=7"]))))
    assert answer.status_code == 400
    assert answer.get_json()["errors"] == [{"field": "name", "message": "is needed"}]


def test_a_route_gives_the_parts_while_they_arrive() -> None:
    seen: list[Part] = []

    def build(_: str, parts: Iterator[Part]) -> None:
        seen.extend(parts)

    content_type, body, expected = SENT["chrome"]
    answer = form_route(build, "parts").answer(posted(content_type, Wire(iter([body]))))
    assert (answer.status_code, [each.name for each in seen]) == (200, [each[0] for each in expected])


@pytest.mark.parametrize(("key", "status", "blocks"), [(None, 401, 0), ("ships", 403, 0), ("boats", 200, 1)])
def test_nothing_of_a_body_is_read_before_its_caller_is_known_and_may(
    key: str | None, status: int, blocks: int
) -> None:
    def build(_: str, parts: Iterator[Part]) -> None:
        next(parts)

    content_type, body, _ = SENT["chrome"]
    wire = Wire(iter([body[:300], body[300:]]))
    answer = form_route(build, "parts").answer(posted(content_type, wire, key))
    assert (answer.status_code, wire.read_bytes) == (status, 300 * blocks)


def test_a_body_over_a_routes_limit_answers_413() -> None:
    def build(_: str, body: Any) -> None: ...

    routes = form_route(build, "object", body=Body(NewBoat, max_bytes=10, form=True, given="object"))
    answer = routes.answer(posted(URLENCODED, Wire(iter([b"name=Annabella"]))))
    assert (answer.status_code, answer.get_json()["title"]) == (413, "The request is too large")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"body": Body(NewBoat, given="parts")}, "cannot be given 'parts'"),
        ({"body": Body(NewBoat, form=True, given="merge_patch")}, "cannot be given 'merge_patch'"),
        ({"scope": PUBLIC, "body": Body(NewBoat, form=True, given="parts")}, "is given parts and is PUBLIC"),
    ],
)
def test_a_form_that_cannot_be_read_so_does_not_start(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^POST /toy/boats {re.escape(problem)}"):
        form_route(print, "model", **changes)


def test_every_answer_of_a_surface_has_its_headers() -> None:
    routes = Routes(surface(headers={"Cache-Control": "no-store"}), toy(Yard()).routes[:-1])
    answers = [routes.answer(posted(URLENCODED, Wire(iter([])), key)) for key in (None, "boats")]
    assert [each.status_code for each in answers] == [401, 400]
    assert [each.headers["Cache-Control"] for each in answers] == ["no-store"] * 2


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URLENCODED, b"itemType=A&jobName=a%00b"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="jobName"\r\n\r\na\0b\r\n--x--\r\n',
        ),
    ],
)
def test_a_field_with_nul_is_refused(content_type: str, body: bytes) -> None:
    builder = EnvironBuilder(method="POST", data=body, content_type=content_type)
    with pytest.raises(Invalid) as caught:
        fields(flask.Request(builder.get_environ()))
    [problem] = caught.value.problems
    assert (problem.field, problem.message) == ("jobName", "holds a NUL character: remove it")
