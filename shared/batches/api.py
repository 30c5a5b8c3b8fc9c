"""`/v0.2` over HTTP: the routes of batches; `service` does the work. Those of work orders are in
`work_orders`."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import flask
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from pydantic import BaseModel, Field

from shared.batches import answers, errors_file, service, work_orders
from shared.batches import batch as batches
from shared.batches.batch import Batch
from shared.batches.caller import SCOPE, SURFACE, SiteCall
from shared.batches.service import NewBatch
from shared.errors import NotFound
from shared.gcp.documents import Snapshot
from shared.gcp.unreadable import readable
from shared.http.bodies import OneOf
from shared.http.paging import Page, page
from shared.http.routes import PUBLIC, Body, Media, Route, Routes

CLIENT = Path(__file__).parent / "client" / "upload.py"
"""The client that customers may use: one file."""


class ErrorsFile(BaseModel):
    """How the errors file is asked for."""

    format: Annotated[str, OneOf(("jsonl", "csv"))] = Field(
        default="jsonl", description="The format of the file."
    )


def _create_batch(call: SiteCall, body: NewBatch) -> answers.Batch:
    return answers.batch(call.cloud, service.create(call.cloud, call.caller, call.site(), body))


def _get_batch(call: SiteCall, batch: UUID) -> answers.Batch:
    return answers.batch(call.cloud, _batch(call, batch))


def _list_batches(call: SiteCall, query: Page) -> answers.BatchList:
    collection = call.cloud.db.collection("batches")
    newest = collection.where(filter=FieldFilter("site_id", "==", call.site().id)).order_by(
        "created", direction=firestore.Query.DESCENDING
    )
    found, token = page(query, newest, collection, call.caller.customer)

    def shown(snapshot: Snapshot) -> answers.Batch:
        return answers.batch(call.cloud, batches.from_snapshot(snapshot))

    return {"batches": list(readable(call.cloud.db, found, shown)), "next_page_token": token}


def _cancel_batch(call: SiteCall, batch: UUID) -> None:
    service.cancel(call.cloud, _batch(call, batch))


def _get_errors(call: SiteCall, batch: UUID, query: ErrorsFile) -> flask.Response:
    pieces = errors_file.lines(call.cloud, _batch(call, batch))
    as_csv = query.format == "csv"
    answer = flask.Response(
        errors_file.as_csv(pieces) if as_csv else pieces,
        content_type="text/csv; charset=utf-8" if as_csv else "application/x-ndjson",
    )
    answer.headers["Content-Disposition"] = f'attachment; filename="{batch}-errors.{query.format}"'
    return answer


def _get_client(_: flask.Request) -> flask.Response:
    return flask.Response(CLIENT.read_bytes(), content_type="text/x-python; charset=utf-8")


ROUTES = Routes(
    SURFACE,
    [
        Route(
            method="POST",
            path="/v0.2/batches",
            handler=_create_batch,
            summary="Make a batch, and the URL that its archive is to be uploaded to",
            scope=SCOPE,
            body=Body(
                NewBatch, hint="An archive is not sent here: PUT it to the `upload_url` of the answer."
            ),
            answer=answers.Batch,
            status=201,
        ),
        Route(
            method="GET",
            path="/v0.2/batches",
            handler=_list_batches,
            summary="List the batches of a site, the newest first",
            scope=SCOPE,
            query=Page,
            strict=True,
            answer=answers.BatchList,
        ),
        Route(
            method="GET",
            path="/v0.2/batches/upload.py",
            handler=_get_client,
            summary="Download a program that uploads batches",
            scope=PUBLIC,
            answer=Media(("text/x-python",), "The program, one file."),
        ),
        Route(
            method="GET",
            path="/v0.2/batches/<uuid:batch>",
            handler=_get_batch,
            summary="Show a batch",
            scope=SCOPE,
            answer=answers.Batch,
        ),
        Route(
            method="DELETE",
            path="/v0.2/batches/<uuid:batch>",
            handler=_cancel_batch,
            summary="Cancel what of a batch has not been imported",
            scope=SCOPE,
            answer=None,
            status=204,
        ),
        Route(
            method="GET",
            path="/v0.2/batches/<uuid:batch>/errors",
            handler=_get_errors,
            summary="Download the errors of a batch, one line each",
            scope=SCOPE,
            query=ErrorsFile,
            strict=True,
            answer=Media(("application/x-ndjson", "text/csv"), "The errors, one line each."),
        ),
        *work_orders.ROUTES,
    ],
)


def _batch(call: SiteCall, id: UUID) -> Batch:
    """The caller's batch of that id; NotFound where the request names a site that is not the batch's."""
    found = service.get(call.cloud, call.caller, str(id))
    if call.named not in (None, found.site):
        raise NotFound(f"there is no batch {id} of the site {call.named}")
    return found
