"""`GET /v1/downloads/<token>`: where a mail's link leads. No key: the token is the secret.

One file is a redirect to a URL that is signed at each click; of several there is a page that lists them. HEAD
is not written down, and so is never told where a file is. The token is in no log and in no text of an error.
"""

import re

import flask

from shared import logs
from shared.errors import Retry
from shared.gcp.clients import Cloud, connect
from shared.gcp.documents import Snapshot, count, fields_of
from shared.gcp.objects import Stored
from shared.gcp.signing import signed_url
from shared.http.answers import Answer, Handler, html, redirect
from shared.outbox import links, pages
from shared.outbox.letters import one_line
from shared.outbox.links import Found, Link
from shared.outbox.pages import Listed

URL_SECONDS = 15 * 60
"""How long the URL works that a click leads to: long enough to begin a download, which then goes on."""

FILES_LISTED = 1_000
"""How many files a page names; it counts all."""

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": pages.POLICY,
}
"""Neither kept by anyone on the way, nor told to where it leads, nor found by a search."""

_FILE = re.compile("[A-Za-z0-9-]{1,100}")
"""What the ids of files' documents are made of."""

_ASK = "Ask whoever manages this export to send it again."


def _download(request: flask.Request, token: str) -> Answer:
    try:
        answer, status = _answer(request, connect(), token)
    except Retry as passing:
        logs.warning("a download is to be asked for again", reason=str(passing))
        answer, status = _says(503, "Not possible now", "Try again in a minute.")
    answer.headers.update(HEADERS)
    return answer, status


ROUTES: dict[tuple[str, str], Handler] = {("GET", "/v1/downloads/<token>"): _download}
"""To be answered by the function that serves `/v1`."""


def _answer(request: flask.Request, cloud: Cloud, token: str) -> tuple[flask.Response, int]:
    found = links.find(cloud, token)
    if found is None:
        return _says(404, "No such link", "See that it is whole, as it stands in the mail.", _ASK)
    with logs.bound(link=found.link.id, customer=found.link.customer):
        return _closed(found) or _open(request, cloud, found.link)


def _closed(found: Found) -> tuple[flask.Response, int] | None:
    if found.link.revoked:
        return _says(410, "This link was withdrawn", "It opens nothing any more.", _ASK)
    if found.expired:
        until = f"{found.link.expires:%Y-%m-%d %H:%M} UTC"
        return _says(410, "This link has expired", f"It was good for seven days, until {until}.", _ASK)
    return None


def _open(request: flask.Request, cloud: Cloud, link: Link) -> tuple[flask.Response, int]:
    folder = cloud.db.collection(link.files.folder)
    asked = request.args.get("file")
    if asked is not None:
        file = folder.document(asked).get() if _FILE.fullmatch(asked) else None
        return _hand_out(request, cloud, link, file)
    some = list(folder.order_by("name").limit(FILES_LISTED + 1).stream())
    if len(some) <= 1:
        return _hand_out(request, cloud, link, some[0] if some else None)
    _record(request, cloud, link, None)
    listed = [_listed(each) for each in some[:FILES_LISTED]]
    return html(pages.files(listed, count(folder) if len(some) > FILES_LISTED else len(some))), 200


def _hand_out(
    request: flask.Request, cloud: Cloud, link: Link, file: Snapshot | None
) -> tuple[flask.Response, int]:
    """Lead to a file; its document may be None, or of none."""
    fields = fields_of(file) if file is not None and file.exists else None
    stored = Stored(**fields["staged"]) if fields is not None else None
    if file is None or fields is None or stored is None or not _there(cloud, link, stored):
        _record(request, cloud, link, None)
        return _says(404, "No such file", "This file is not there, or not any more.", _ASK)
    if request.method == "HEAD":
        # A URL that is signed works for whoever then reads it, and nothing is written down of that.
        return flask.Response(), 200
    url = signed_url(
        cloud,
        stored.bucket,
        stored.name,
        seconds=URL_SECONDS,
        generation=stored.generation,
        file_name=fields["name"].rpartition("/")[2],
        account=link.files.account,
    )
    _record(request, cloud, link, file.id)
    return redirect(url), 302


def _there(cloud: Cloud, link: Link, stored: Stored) -> bool:
    return cloud.as_customer(link.files.account).stat(stored.bucket, stored.name) == stored


def _record(request: flask.Request, cloud: Cloud, link: Link, file: str | None) -> None:
    # Before the answer: what was handed out is written down.
    if request.method == "GET":
        agent = one_line(request.headers.get("User-Agent", ""), links.AGENT_LONGEST)
        links.record(cloud, link, agent, file)
        logs.info("a link was clicked", file=file)


def _listed(snapshot: Snapshot) -> Listed:
    fields = fields_of(snapshot)
    return Listed(snapshot.id, fields["name"], fields["rows"], fields["bytes"])


def _says(status: int, title: str, *sentences: str) -> tuple[flask.Response, int]:
    return html(pages.says(title, *sentences)), status
