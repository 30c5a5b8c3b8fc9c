"""A small analyser, as a customer could write one: it measures how bright photographs are.

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


def measure(id: str, content: bytes) -> dict[str, Any]:
    """The result of one photograph; OSError where it cannot be read."""
    picture = Image.open(io.BytesIO(content))
    mean = ImageStat.Stat(picture.convert("L")).mean[0]
    bright_enough = DARK <= mean <= BRIGHT
    return {
        "input_id": id,
        "task_name": "brightness",
        "analyzed_value": round(mean, 1),
        "message": None if bright_enough else "Too dark or too bright: take it again.",
        "is_conformity_validated": bright_enough,
        "confidence": 1.0,
        "regions": [{"label": "measured", "box": [0, 0, picture.width, picture.height]}],
        "labeler": "example-analyser",
    }


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
                results.append(measure(image["id"], answer.content))
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
