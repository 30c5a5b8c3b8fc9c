"""A small analyser, as a customer could write one: it measures how bright photographs are, and finds patches
of one colour in them.

`python -m infra.local.example_analyser --port 8090` serves it on 127.0.0.1; the site's secret comes in the
variable ANALYSER_SECRET. It shares no code with Waybill: what it knows of it are its request, its signature
and the form of its answer.
"""

import argparse
import hashlib
import hmac
import io
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from PIL import Image, ImageStat

from infra.local.clock import machine_time

Box = tuple[int, int, int, int]
"""Left, top, width and height, in pixels."""

OLDEST_SECONDS = 300
"""How old a signed request may be: whoever recorded one cannot send it again later."""

REQUEST_BYTES = 32 * 1024 * 1024
"""How large a request may be."""

FETCH_SECONDS = 20
"""How long a photograph may take to come."""

POLL_SECONDS = 0.05
"""How often the server looks whether it is to end."""

DARK, BRIGHT = 30, 235
"""Between these a photograph is bright enough, and not too bright; 255 is white."""

CELL = 8
"""Patches are found in cells of so many pixels each way."""

COLOURS = (
    ("red", 14),
    ("orange", 30),
    ("yellow", 48),
    ("green", 120),
    ("blue", 185),
    ("purple", 232),
    ("red", 256),
)
"""The names of hues, each with the hue at which it ends, of 256."""

SATURATED, LIT = 150, 70
"""From this saturation and brightness on, of 256, a cell has a colour."""

PATCH_CELLS = 36
"""How many cells a patch has at least."""

MAX_PATCHES = 3
"""How many patches of a photograph are reported: the largest ones."""

_SIGNATURE = re.compile(r"t=([0-9]{1,12})((?:,v1=[0-9a-f]{64})+)")


def serve(port: int, secret: str) -> tuple[ThreadingHTTPServer, str]:
    """Begin to serve on 127.0.0.1; port 0 takes any free one. Returns the server and its URL.

    `server.shutdown()` and `server.server_close()` end it. OSError where the port is taken.
    """

    class Analyser(_Analyser):
        key = secret

    server = ThreadingHTTPServer(("127.0.0.1", port), Analyser)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}/analyse"


def signed(secret: str, header: str, body: bytes, now: int) -> bool:
    """Whether whoever sent `body` knows the secret, and sent it lately; `now` is in seconds since 1970.

    There can be several signatures, each with a secret of its own: one that is right is enough.
    """
    found = _SIGNATURE.fullmatch(header)
    if not found or abs(now - int(found[1])) > OLDEST_SECONDS:
        return False
    expected = hmac.new(secret.encode(), found[1].encode() + b"." + body, hashlib.sha256).hexdigest()
    matching = [hmac.compare_digest(expected, each) for each in found[2].split(",v1=")[1:]]
    return any(matching)


def analyse(id: str, content: bytes) -> list[dict[str, Any]]:
    """The results of one photograph; OSError where it cannot be read."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    mean = ImageStat.Stat(picture.convert("L")).mean[0]
    bright_enough = DARK <= mean <= BRIGHT
    about = {"input_id": id, "labeler": "example-analyser"}
    brightness = {
        **about,
        "task_name": "brightness",
        "analyzed_value": round(mean, 1),
        "message": None if bright_enough else "Too dark or too bright: take it again.",
        "is_conformity_validated": bright_enough,
        "confidence": 1.0,
    }
    found = patches(picture)
    if not found:
        return [brightness]
    colour, (_, _, width, height), cells = found[0]
    objects = {
        **about,
        "task_name": "object",
        "analyzed_value": colour,
        "message": None,
        "is_conformity_validated": True,
        "confidence": min(1.0, round(cells * CELL**2 / (width * height), 2)),
        "regions": [{"label": name, "box": list(box)} for name, box, _ in found],
    }
    return [brightness, objects]


def patches(picture: Image.Image) -> list[tuple[str, Box, int]]:
    """The patches of one colour in a photograph, the largest first: the colour, the box around the patch, and
    how many cells it has."""
    small = picture.reduce(CELL).convert("HSV")
    across, content = small.width, small.tobytes()
    colours = {}
    for at in range(across * small.height):
        hue, saturation, value = content[3 * at : 3 * at + 3]
        if saturation >= SATURATED and value >= LIT:
            colours[at] = next(name for name, end in COLOURS if hue < end)
    found = []
    while colours:
        first = min(colours)
        name, cells, reached = colours.pop(first), [], [first]
        while reached:
            at = reached.pop()
            cells.append(at)
            left, right = at % across > 0, at % across < across - 1
            for beside in (at - across, at + across, *[at - 1] * left, *[at + 1] * right):
                if colours.get(beside) == name:
                    del colours[beside]
                    reached.append(beside)
        if len(cells) >= PATCH_CELLS:
            found.append((name, _around(cells, across, picture), len(cells)))
    return sorted(found, key=lambda patch: -patch[2])[:MAX_PATCHES]


def _around(cells: list[int], across: int, picture: Image.Image) -> Box:
    columns, rows = [at % across for at in cells], [at // across for at in cells]
    left, top = min(columns) * CELL, min(rows) * CELL
    right = min((max(columns) + 1) * CELL, picture.width)
    bottom = min((max(rows) + 1) * CELL, picture.height)
    return left, top, right - left, bottom - top


class _Analyser(BaseHTTPRequestHandler):
    key = ""
    timeout = 30

    def do_POST(self) -> None:
        """Answer one request of Waybill's."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= REQUEST_BYTES:
            self._answer(400, {"detail": "a body is needed, and not too large a one"})
            return
        body = self.rfile.read(length)
        now = int(machine_time().timestamp())
        if not signed(self.key, self.headers.get("X-Waybill-Signature", ""), body, now):
            self._answer(401, {"detail": "the signature is wrong, or too old"})
            return
        results = []
        for image in json.loads(body)["images"]:
            answer = requests.get(image["url"], timeout=FETCH_SECONDS)
            if answer.status_code != requests.codes.ok:
                self._answer(503, {"detail": "a photograph could not be fetched"})
                return
            try:
                results += analyse(image["id"], answer.content)
            except OSError:
                continue  # no picture: nothing is said of it
        self._answer(200, {"results": results})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: there are URLs in what is asked."""

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve until interrupted."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--port", type=int, default=8090, help="where on 127.0.0.1 (default 8090)")
    port = arguments.parse_args().port
    server, url = serve(port, os.environ["ANALYSER_SECRET"])
    print(f"The example analyser answers at {url}. Ctrl-C ends it.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
