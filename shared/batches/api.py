"""`/v0.2` over HTTP: the routes of batches; `service` does the work. Those of work orders are in
`work_orders`."""

from pathlib import Path
from typing import Annotated, cast
from uuid import UUID

import flask
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from pydantic import BaseModel, BeforeValidator, Field

from shared.batches import answers, errors_file, service, work_orders
from shared.batches import batch as batches
from shared.batches.batch import ENDED, UNDER_WAY, WAITING_FOR_UPLOAD, Batch
from shared.batches.caller import SCOPE, SURFACE, SiteCall
from shared.batches.problems import PROBLEM_TYPES
from shared.batches.service import NewBatch
from shared.errors import Invalid, NotFound
from shared.gcp.documents import Snapshot
from shared.gcp.unreadable import readable
from shared.http.bodies import OneOf
from shared.http.idempotency import Repeatable
from shared.http.paging import Page, page
from shared.http.routes import PUBLIC, Body, Media, Route, Routes

CLIENT = Path(__file__).parent / "client" / "upload.py"
"""The client that customers may use: one file."""


class ErrorsFile(BaseModel):
    """How the errors file is asked for."""

    format: Annotated[str, OneOf(("jsonl", "csv"))] = Field(
        default="jsonl", description="The format of the file."
    )


class BatchesPage(Page):
    """Which batches are listed."""

    status: Annotated[str, OneOf((WAITING_FOR_UPLOAD, *UNDER_WAY, *ENDED))] | None = Field(
        default=None, description="Those with this status."
    )
    all_sites: Annotated[str, BeforeValidator(str.lower), OneOf(("true", "false"))] = Field(
        default="false", description="Whether those of all sites are listed; the call then names none."
    )


class ErrorsPage(Page):
    """Which errors of a batch are listed: those that every filter holds for."""

    code: Annotated[str, OneOf(tuple(PROBLEM_TYPES))] | None = Field(
        default=None, description="Those with this code."
    )
    level: Annotated[str, OneOf(("error", "warning"))] | None = Field(
        default=None, description="Those of this level."
    )
    work_order_prefix: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="Those of work orders whose folder's name begins so."
    )


def _create_batch(call: SiteCall, body: NewBatch, once: Repeatable) -> answers.Batch:
    return _shown(call, service.create(call.cloud, call.caller, call.site(), body, once))


def _get_batch(call: SiteCall, batch: UUID) -> answers.Batch:
    return _shown(call, _batch(call, batch))


def _shown(call: SiteCall, batch: Batch) -> answers.Batch:
    return answers.batch(batch, batches.progress(call.cloud, batch))


def _list_batches(call: SiteCall, query: BatchesPage) -> answers.BatchList:
    collection = call.cloud.db.collection("batches")
    if query.all_sites == "false":
        found = collection.where(filter=FieldFilter("site_id", "==", call.site().id))
    elif call.named is None:
        found = collection.where(filter=FieldFilter("customer", "==", call.caller.customer))
    else:
        raise Invalid.field("all_sites", "cannot be true in a call that names a site: leave one of them out")
    if query.status is not None:
        found = found.where(filter=FieldFilter("state", "==", query.status))
    newest = found.order_by("created", direction=firestore.Query.DESCENDING)
    some, token = page(query, newest, collection, call.caller.customer)

    def shown(snapshot: Snapshot) -> answers.Batch:
        # Their slices are not read: each batch may have thousands.
        batch = batches.from_snapshot(snapshot)
        return answers.batch(batch, batch.reached)

    return {"batches": list(readable(call.cloud.db, some, shown)), "next_page_token": token}


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


def _list_errors(call: SiteCall, batch: UUID, query: ErrorsPage) -> answers.BatchErrors:
    wanted = errors_file.Wanted(query.code, query.level, query.work_order_prefix)
    found, token = errors_file.page(
        call.cloud, _batch(call, batch), wanted, query.page_size, query.page_token
    )
    return {"errors": [cast(answers.BatchErrorLine, each) for each in found], "next_page_token": token}


def _get_failed_folders(call: SiteCall, batch: UUID) -> flask.Response:
    names = errors_file.failed_folders(call.cloud, _batch(call, batch))
    answer = flask.Response(names, content_type="text/plain; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{batch}-failed-folders.txt"'
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
            repeatable=True,
        ),
        Route(
            method="GET",
            path="/v0.2/batches",
            handler=_list_batches,
            summary="List the batches of a site, or of all, the newest first",
            scope=SCOPE,
            query=BatchesPage,
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
        Route(
            method="GET",
            path="/v0.2/batches/<uuid:batch>/errors/list",
            handler=_list_errors,
            summary="List the errors of a batch, page by page",
            scope=SCOPE,
            query=ErrorsPage,
            strict=True,
            answer=answers.BatchErrors,
        ),
        Route(
            method="GET",
            path="/v0.2/batches/<uuid:batch>/failed-folders",
            handler=_get_failed_folders,
            summary="Download the names of the folders that were not imported, one a line",
            scope=SCOPE,
            answer=Media(("text/plain",), "The names, one a line."),
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
