"""`GET /v1/downloads/<token>`: where a mail's link leads. No key: the token is the secret.

For one file the answer is a redirect to a URL that is signed at each click; for several it is a page that
lists them. HEAD is not recorded, so its answer never says where a file is. The token is in no log and in no
error.
"""

import math
import re
from datetime import datetime

import flask
from pydantic import BaseModel, Field

from shared import logs
from shared.accounts import strangers
from shared.errors import Retry, TooMany, Unauthenticated
from shared.gcp.clients import Cloud, connect
from shared.gcp.documents import Snapshot, count, fields_of
from shared.gcp.objects import Stored
from shared.gcp.signing import signed_url
from shared.http.routes import PUBLIC, Media, Route
from shared.outbox import links, pages
from shared.outbox.links import Found, Link
from shared.outbox.pages import Listed
from shared.outbox.rendering import one_line

URL_SECONDS = 15 * 60
"""How long the URL works that a click leads to: long enough to begin a download, which then goes on."""

MAX_FILES_LISTED = 1_000
"""How many files a page names; it counts all."""

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": pages.POLICY,
}
"""So that no proxy stores it, no other server sees its URL, and no search engine finds it."""

_FILE = re.compile("[A-Za-z0-9-]{1,100}")
"""The ids of the documents of files."""

_ASK = {
    "export": "Ask whoever manages this export to send it again.",
    "batch": "Ask whoever sent this archive for the list of its errors.",
    "job": "Ask whoever made this job for its files.",
}
"""What helps whoever has a link that leads to no file, by what its files are of."""


class WhichFile(BaseModel):
    """Which of a link's files is requested."""

    file: str | None = Field(default=None, description="The id of the file, as the page of the link has it.")


def _download(request: flask.Request, token: str, query: WhichFile) -> flask.Response:
    try:
        answer = _answer(request, connect(), token, query.file)
    except TooMany as slowed:
        answer = _says(429, "Busy", "Too many links that do not exist", "Try again in a minute.")
        answer.headers["Retry-After"] = str(math.ceil(slowed.seconds or 60))
    except Retry as passing:
        logs.warning("a download is to be tried again", about=passing, reason=str(passing))
        answer = _says(503, "Busy", "Not possible now", "Try again in a minute.")
    except Exception as error:
        # The route alone: the path holds the token.
        logs.error("a request failed", exception=error, route=ROUTES[0].path)
        answer = _says(500, "Failed", "Something failed on our side", "Try again in a few minutes.")
    answer.headers.update(HEADERS)
    return answer


_SAYS = Media(("text/html",), "A page that says why there is no file.")

ROUTES = [
    Route(
        method="GET",
        path="/v1/downloads/<token>",
        handler=_download,
        summary="Download what a mail's link leads to",
        scope=PUBLIC,
        query=WhichFile,
        answer=Media(("text/html",), "A page that lists the files."),
        answers={302: None, 404: _SAYS, 410: _SAYS, 429: _SAYS, 500: _SAYS, 503: _SAYS},
    )
]
"""To be answered by the function `downloads`, which is nothing else's."""


def _answer(request: flask.Request, cloud: Cloud, token: str, file: str | None) -> flask.Response:
    try:
        found = strangers.check(request, "link", token, lambda: _found(cloud, token))
    except Unauthenticated:
        whole = "See that it is whole, as it stands in the mail. If it is, ask whoever sent you the mail."
        return _says(404, "Unknown", "No such link", whole)
    with logs.bound(link=found.link.id, customer=found.link.customer):
        return _closed(found) or _open(request, cloud, found.link, file)


def _found(cloud: Cloud, token: str) -> Found:
    """The link of a token; Unauthenticated where there is none."""
    found = links.find(cloud, token)
    if found is None:
        raise Unauthenticated("there is no such link")
    return found


def _closed(found: Found) -> flask.Response | None:
    link = found.link
    ask = _ASK[link.about.what]
    if link.revoked:
        nothing = f"It opens nothing any more. {ask}"
        return _says(410, "Withdrawn", "This link was withdrawn", nothing, link=link)
    if found.expired:
        good = f"It was good for seven days. {ask}"
        return _says(410, "Expired", "This link has expired", good, link=link, ended=link.expires)
    return None


def _open(request: flask.Request, cloud: Cloud, link: Link, asked: str | None) -> flask.Response:
    folder = cloud.db.collection(link.files.folder)
    if asked is not None:
        file = folder.document(asked).get() if _FILE.fullmatch(asked) else None
        return _hand_out(request, cloud, link, file)
    some = list(folder.order_by("name").limit(MAX_FILES_LISTED + 1).stream())
    if len(some) <= 1:
        return _hand_out(request, cloud, link, some[0] if some else None)
    _record(request, cloud, link, None)
    listed = [_listed(each) for each in some[:MAX_FILES_LISTED]]
    number = count(folder) if len(some) > MAX_FILES_LISTED else len(some)
    return _html(pages.files(link.about, link.expires, listed, number))


def _hand_out(request: flask.Request, cloud: Cloud, link: Link, file: Snapshot | None) -> flask.Response:
    """Lead to a file; its document may be None, or of none."""
    fields = fields_of(file) if file is not None and file.exists else None
    stored = Stored(**fields["staged"]) if fields is not None else None
    if file is None or fields is None or stored is None or not _there(cloud, link, stored):
        _record(request, cloud, link, None)
        gone = f"This file is not there, or not any more. {_ASK[link.about.what]}"
        return _says(404, "Unknown", "No such file", gone, link=link)
    if request.method == "HEAD":
        # A URL that is signed works for whoever then reads it, and nothing is written down of that.
        return flask.Response()
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
    return flask.Response(status=302, headers={"Location": url})


def _there(cloud: Cloud, link: Link, stored: Stored) -> bool:
    return cloud.as_customer(link.files.account).stat(stored.bucket, stored.name) == stored


def _record(request: flask.Request, cloud: Cloud, link: Link, file: str | None) -> None:
    # Before the answer: what was handed out is written down.
    if request.method == "GET":
        agent = one_line(request.headers.get("User-Agent", ""), links.MAX_AGENT)
        links.record(cloud, link, agent, file)
        logs.info("a link was clicked", file=file)


def _listed(snapshot: Snapshot) -> Listed:
    fields = fields_of(snapshot)
    return Listed(snapshot.id, fields["name"], fields["rows"], fields["bytes"])


def _says(
    status: int, word: str, title: str, sentence: str, link: Link | None = None, ended: datetime | None = None
) -> flask.Response:
    tone = pages.WARNING if status in (429, 503) else pages.FAILURE
    about = link.about if link else None
    return _html(pages.says(tone, word, title, sentence, about=about, ended=ended), status)


def _html(text: str, status: int = 200) -> flask.Response:
    return flask.Response(text, status, content_type="text/html; charset=utf-8")
