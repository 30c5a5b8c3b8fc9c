"""`/v1` over HTTP: the routes of exports, their runs and their mails; `service`, `pausing` and `by_hand` do
the work."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.accounts import api as accounts
from shared.accounts import callers, keys_api
from shared.accounts.callers import Call
from shared.cutting import shown
from shared.delivery.connectors import CONNECTORS
from shared.errors import Conflict, Invalid
from shared.exports import (
    answers,
    by_hand,
    deleting,
    exported,
    failed,
    mailing,
    overview,
    pausing,
    retrying,
    room,
    runs,
    service,
)
from shared.exports.config import MOMENT, ExportConfig
from shared.exports.export import LISTED, OUTCOMES, STATES, Export, from_snapshot
from shared.gcp.documents import Snapshot
from shared.gcp.unreadable import readable
from shared.http.bodies import Address, OneOf, SentMoment
from shared.http.errors import PROBLEM_DETAILS
from shared.http.idempotency import Repeatable
from shared.http.matching import IfMatch, etag
from shared.http.paging import Page, page
from shared.http.routes import Body, Route, Routes, Surface
from shared.outbox import api as downloads
from shared.outbox import service as mailed
from shared.sources import SOURCES

SCOPE = "exports"


def _true_or_false(value: str) -> bool:
    if (text := value.lower()) not in ("true", "false"):
        raise ValueError(f"must be true or false; got {shown(value)}")
    return text == "true"


class ExportsPage(Page):
    """Which exports are listed."""

    state: Annotated[str, OneOf(("all", *STATES))] | None = Field(
        default=None,
        description="The state of the exports that are listed, or `all`. Unless it is given, those are left "
        "out that have ended or were deleted.",
    )
    connector_type: Annotated[str, OneOf(tuple(CONNECTORS))] | None = Field(
        default=None, description="How the files of the exports are delivered that are listed."
    )
    export_type: Annotated[str, OneOf(tuple(SOURCES))] | None = Field(
        default=None, description="What the exports export that are listed."
    )
    outcome: Annotated[str, OneOf(OUTCOMES)] | None = Field(
        default=None, description="How the last run ended of the exports that are listed (`last_outcome`)."
    )


class RunsPage(Page):
    """Which runs are listed."""

    status: Annotated[str, OneOf(runs.STATES)] | None = Field(
        default=None, description="The status of the runs that are listed."
    )
    files: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        default=True,
        description="Whether each run names its first files. Without them a page is small, and read at once.",
    )


class WindowsPage(Page):
    """Of which time the windows are listed."""

    since: SentMoment = Field(description="From when on.")
    before: SentMoment = Field(description="Until when; what begins then is not listed.")


class Resume(BaseModel):
    """With which window a paused export goes on."""

    skip: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        default=False,
        description="Whether a paused export leaves out its open window, too, and goes on with the one that "
        "begins next.",
    )


class RevokeLinks(BaseModel):
    """Whose links are withdrawn."""

    model_config = ConfigDict(extra="forbid")

    recipient: Address | None = Field(
        default=None, description="The address whose links are withdrawn; those of all where it is not given."
    )


class Backfill(BaseModel):
    """A window of the past, in whole minutes."""

    model_config = ConfigDict(extra="forbid")

    start: str = Field(description=f"Where it begins. {MOMENT}")
    end: str = Field(description=f"Where it ends. {MOMENT}")


def _create_export(call: Call, body: dict[str, Any], once: Repeatable) -> answers.Export:
    return _shown(call, service.create(call.cloud, call.caller, body, once))


def _preview_export(call: Call, body: dict[str, Any]) -> answers.Preview:
    return answers.of_preview(service.preview(call.cloud, call.caller, body))


def _preview_edit(call: Call, export: UUID, body: dict[str, Any]) -> answers.Preview:
    return answers.of_preview(service.preview_edit(call.cloud, call.caller, str(export), body))


def _list_exports(call: Call, query: ExportsPage) -> answers.ExportList:
    states = LISTED if query.state is None else STATES if query.state == "all" else (query.state,)
    collection = call.cloud.db.collection("exports")
    listed: Any = collection.where(filter=FieldFilter("customer", "==", call.caller.customer))
    listed = listed.where(filter=FieldFilter("state", "in", list(states)))
    # Each combination of these has an index in infra/firestore.indexes.json, so no document is read in vain.
    for field, wanted in (
        ("config.connector_type", query.connector_type),
        ("config.export_type", query.export_type),
        ("last_outcome.status", query.outcome),
    ):
        if wanted is not None:
            listed = listed.where(filter=FieldFilter(field, "==", wanted))
    newest = listed.order_by("created", direction=firestore.Query.DESCENDING)
    found, token = page(query, newest, collection, call.caller.customer)
    exports = list(readable(call.cloud.db, found, lambda each: answers.of_listed(from_snapshot(each))))
    return {"exports": exports, "next_page_token": token}


def _show_options(_: Call) -> answers.Options:
    return answers.options()


def _get_export(call: Call, export: UUID) -> tuple[answers.Export, dict[str, str]]:
    return _with_etag(call, service.get(call.cloud, call.caller, str(export)))


def _edit_export(
    call: Call, export: UUID, body: dict[str, Any], once: Repeatable, if_match: IfMatch
) -> tuple[answers.Export, dict[str, str]]:
    edited = service.edit(call.cloud, call.caller, str(export), body, once, if_match)
    return _with_etag(call, edited)


def _delete_export(call: Call, export: UUID) -> None:
    deleting.delete(call.cloud, call.caller, str(export))


def _list_versions(call: Call, export: UUID, query: Page) -> answers.History:
    found_export = service.get(call.cloud, call.caller, str(export))
    collection = call.cloud.db.collection(f"{found_export.path}/versions")
    newest = collection.order_by("version", direction=firestore.Query.DESCENDING)
    found, token = page(query, newest, collection, call.caller.customer)
    return {"history": list(readable(call.cloud.db, found, answers.of_version)), "next_page_token": token}


def _revoke_export_links(call: Call, export: UUID, body: RevokeLinks) -> answers.Export:
    return _shown(call, service.revoke_links(call.cloud, call.caller, str(export), body.recipient))


def _pause_export(call: Call, export: UUID) -> answers.Export:
    return _shown(call, pausing.pause(call.cloud, call.caller, str(export)))


def _resume_export(call: Call, export: UUID, query: Resume) -> answers.ResumedExport:
    resumed, left_out = pausing.resume(call.cloud, call.caller, str(export), query.skip)
    return answers.of_resumed(
        resumed, failed.summary(call.cloud, resumed.id), room.held(call.cloud, resumed), left_out
    )


def _retry_failed(call: Call, export: UUID, once: Repeatable) -> answers.Export:
    return _shown(call, retrying.retry_failed(call.cloud, call.caller, str(export), once))


def _test_export(call: Call, export: UUID) -> answers.ConnectionTest:
    found = service.get(call.cloud, call.caller, str(export))
    service.must_be_alive(found)
    return answers.of_test(pausing.test(call.cloud, call.caller, found))


def _run_export(call: Call, export: UUID, once: Repeatable) -> answers.Run:
    return _run(call, by_hand.run_now(call.cloud, call.caller, str(export), once))


def _backfill_export(call: Call, export: UUID, body: dict[str, Any], once: Repeatable) -> answers.Run:
    return _run(call, by_hand.backfill(call.cloud, call.caller, str(export), body, once))


def _list_windows(call: Call, export: UUID, query: WindowsPage) -> answers.WindowList:
    found = service.get(call.cloud, call.caller, str(export))
    if query.before <= query.since:
        raise Invalid.field("before", "must come after `since`")
    windows, token = exported.windows(call.cloud, found, query.since, query.before, query)
    return {"windows": [answers.of_window(*each) for each in windows], "next_page_token": token}


def _list_runs(call: Call, export: UUID, query: RunsPage) -> answers.RunList:
    found_export = service.get(call.cloud, call.caller, str(export))
    collection = call.cloud.db.collection(f"{found_export.path}/runs")
    listed: Any = collection
    if query.status is not None:
        listed = listed.where(filter=FieldFilter("state", "==", query.status))
    newest = listed.order_by("due", direction=firestore.Query.DESCENDING)
    found, token = page(query, newest, collection, call.caller.customer)
    shown = readable(call.cloud.db, found, partial(answers.of_run, call.cloud, with_files=query.files))
    return {"runs": list(shown), "next_page_token": token}


def _get_run(call: Call, export: UUID, run: str) -> answers.ShownRun:
    return answers.of_shown_run(call.cloud, _found(call, export, run))


def _cancel_run(call: Call, export: UUID, run: str) -> answers.Run:
    return _run(call, by_hand.cancel(call.cloud, call.caller, str(export), run))


def _retry_run(call: Call, export: UUID, run: str, once: Repeatable) -> answers.Run:
    return _run(call, by_hand.retry(call.cloud, call.caller, str(export), run, once))


def _list_mails(call: Call, export: UUID, run: str, query: Page) -> answers.MailList:
    owner = _found(call, export, run).reference
    newest = mailed.newest(call.cloud, owner.path)
    found, token = page(query, newest, owner.collection("mails"), call.caller.customer)
    listed = [answers.of_mail(each) for each in mailed.shown(call.cloud, found)]
    return {"mails": listed, "next_page_token": token}


def _revoke_links(call: Call, export: UUID, run: str, mail: str) -> answers.Mail:
    owner = _found(call, export, run).reference.path
    return answers.of_mail(mailed.revoke(call.cloud, owner, mail))


def _resend_mail(call: Call, export: UUID, run: str, mail: str) -> answers.Mail:
    service.must_be_alive(service.get(call.cloud, call.caller, str(export)))
    found = runs.from_snapshot(_found(call, export, run))
    if (
        found.state == runs.FAILED
        and mailed.find(call.cloud, found.path, mail).letter == mailing.DELIVERY_LETTER
    ):
        raise Conflict(f"the run {run} has failed: retry it, which sends what was refused")
    return answers.of_mail(mailed.resend(call.cloud, found.path, mail))


SURFACE = Surface(
    prefix="/v1",
    title="Waybill: exports",
    version="1",
    description="Exports of work orders on a schedule or on demand, their runs and the audit.",
    who=callers.who,
    known=callers.known,
    keys=callers.KEYS,
    challenge=callers.CHALLENGE,
    errors=PROBLEM_DETAILS,
    strict=True,
)

_ETAG = {"ETag": "The version of its config. An edit with it in `If-Match` changes no other one."}
_EXPORT = "/v1/exports/<uuid:export>"
_RUN = f"{_EXPORT}/runs/<string(minlength=10,maxlength=33):run>"
_MAIL = f"{_RUN}/mails/<string(length=32):mail>"

ROUTES = Routes(
    SURFACE,
    [
        Route(
            method="POST",
            path="/v1/exports",
            handler=_create_export,
            summary="Make an export",
            scope=SCOPE,
            body=Body(ExportConfig, given="object"),
            repeatable=True,
            answer=answers.Export,
            status=201,
        ),
        Route(
            method="POST",
            path="/v1/exports:preview",
            handler=_preview_export,
            summary="Check a config, and show the windows that its export would begin with; nothing is made",
            scope=SCOPE,
            body=Body(ExportConfig, given="object"),
            answer=answers.Preview,
        ),
        Route(
            method="GET",
            path="/v1/exports",
            handler=_list_exports,
            summary="List exports, the newest first",
            scope=SCOPE,
            query=ExportsPage,
            answer=answers.ExportList,
        ),
        Route(
            method="GET",
            path="/v1/options",
            handler=_show_options,
            summary="Show what an export can be made with",
            scope=SCOPE,
            answer=answers.Options,
        ),
        Route(
            method="GET",
            path=_EXPORT,
            handler=_get_export,
            summary="Show an export",
            scope=SCOPE,
            answer=answers.Export,
            headers=_ETAG,
        ),
        Route(
            method="PATCH",
            path=_EXPORT,
            handler=_edit_export,
            summary="Change an export's config, which makes a new version of it",
            scope=SCOPE,
            body=Body(ExportConfig, given="merge_patch"),
            repeatable=True,
            conditional=True,
            answer=answers.Export,
            headers=_ETAG,
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:preview",
            handler=_preview_edit,
            summary="Check an edit, and show the windows that would begin next; nothing is changed",
            scope=SCOPE,
            body=Body(ExportConfig, given="merge_patch"),
            answer=answers.Preview,
            refusals=(409,),
        ),
        Route(
            method="DELETE",
            path=_EXPORT,
            handler=_delete_export,
            summary="Delete an export; its history stays",
            scope=SCOPE,
            answer=None,
            status=204,
            refusals=(409,),
        ),
        Route(
            method="GET",
            path=f"{_EXPORT}/history",
            handler=_list_versions,
            summary="List the versions of an export's config, the newest first",
            scope=SCOPE,
            query=Page,
            answer=answers.History,
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:pause",
            handler=_pause_export,
            summary="Begin no window from now on",
            scope=SCOPE,
            answer=answers.Export,
            refusals=(409,),
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:resume",
            handler=_resume_export,
            summary="Have an export go on that was paused or suspended",
            scope=SCOPE,
            query=Resume,
            answer=answers.ResumedExport,
            refusals=(409,),
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:run",
            handler=_run_export,
            summary="Export the open window now, up to the last whole minute",
            scope=SCOPE,
            repeatable=True,
            answer=answers.Run,
            status=201,
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:backfill",
            handler=_backfill_export,
            summary="Export a window of the past",
            scope=SCOPE,
            body=Body(Backfill, given="object"),
            repeatable=True,
            answer=answers.Run,
            status=201,
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:test",
            handler=_test_export,
            summary="Test the connection; a suspended export goes on where the test passes",
            scope=SCOPE,
            answer=answers.ConnectionTest,
            refusals=(409,),
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:retry-failed",
            handler=_retry_failed,
            summary="Export every window again that failed, by the config as it is now",
            scope=SCOPE,
            repeatable=True,
            answer=answers.Export,
        ),
        Route(
            method="POST",
            path=f"{_EXPORT}:revoke-links",
            handler=_revoke_export_links,
            summary="Withdraw the links of an export, or those of one recipient",
            scope=SCOPE,
            body=Body(RevokeLinks),
            answer=answers.Export,
        ),
        Route(
            method="GET",
            path=f"{_EXPORT}/runs",
            handler=_list_runs,
            summary="List an export's runs, the newest first",
            scope=SCOPE,
            query=RunsPage,
            answer=answers.RunList,
        ),
        Route(
            method="GET",
            path=f"{_EXPORT}/windows",
            handler=_list_windows,
            summary="List the windows of some time that are exported, in their order",
            scope=SCOPE,
            query=WindowsPage,
            answer=answers.WindowList,
        ),
        Route(
            method="GET",
            path=_RUN,
            handler=_get_run,
            summary="Show a run",
            scope=SCOPE,
            answer=answers.ShownRun,
        ),
        Route(
            method="POST",
            path=f"{_RUN}:cancel",
            handler=_cancel_run,
            summary="Cancel a run that has not begun to deliver",
            scope=SCOPE,
            answer=answers.Run,
            refusals=(409,),
        ),
        Route(
            method="POST",
            path=f"{_RUN}:retry",
            handler=_retry_run,
            summary="Retry a run that failed",
            scope=SCOPE,
            repeatable=True,
            answer=answers.Run,
        ),
        Route(
            method="GET",
            path=f"{_RUN}/mails",
            handler=_list_mails,
            summary="List a run's mails, the newest first",
            scope=SCOPE,
            query=Page,
            answer=answers.MailList,
        ),
        Route(
            method="POST",
            path=f"{_MAIL}:revoke",
            handler=_revoke_links,
            summary="Withdraw the links of a mail",
            scope=SCOPE,
            answer=answers.Mail,
            refusals=(409,),
        ),
        Route(
            method="POST",
            path=f"{_MAIL}:resend",
            handler=_resend_mail,
            summary="Send a mail once more",
            scope=SCOPE,
            answer=answers.Mail,
            refusals=(409,),
        ),
        *overview.ROUTES,
        *accounts.ROUTES,
        *keys_api.ROUTES,
        *downloads.ROUTES,
    ],
)

DOWNLOADS = Routes(ROUTES.surface, downloads.ROUTES)
"""What the function `downloads` answers. ROUTES has it, too, for the description of `/v1`."""


def _shown(call: Call, export: Export) -> answers.Export:
    return answers.of_export(export, failed.summary(call.cloud, export.id), room.held(call.cloud, export))


def _with_etag(call: Call, export: Export) -> tuple[answers.Export, dict[str, str]]:
    return _shown(call, export), {"ETag": etag(export.version)}


def _found(call: Call, export: UUID, run: str) -> Snapshot:
    return by_hand.get_run(call.cloud, call.caller, str(export), run)


def _run(call: Call, run: runs.Run) -> answers.Run:
    return answers.of_run(call.cloud, call.cloud.db.document(run.path).get())
