"""What `/v1` answers: each form, and what makes it."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, NotRequired, cast, get_args

from pydantic import Field
from typing_extensions import TypedDict

from shared.delivery.base import Step, Verdict, passed
from shared.delivery.connectors import CONNECTORS, Config
from shared.exports import audit, export, runs
from shared.exports import service as exports
from shared.exports.audit import Outcome
from shared.exports.config import ExportConfig
from shared.exports.delivering import first_files
from shared.exports.failed import Failed
from shared.exports.manifest import File
from shared.exports.schedules import INTERVALS
from shared.exports.steps import KIND
from shared.formats import FORMATS
from shared.formats.base import DateFormat
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of
from shared.http.bodies import LocalMoment, Moment, documented
from shared.moments import milliseconds
from shared.outbox import links, mails, service
from shared.sources import SOURCES
from shared.window import Window, local_second, utc_second

State = Annotated[str, Field(json_schema_extra={"enum": list(export.STATES)})]
"""What an export is doing."""

Outcomes = Annotated[str, Field(json_schema_extra={"enum": list(export.OUTCOMES)})]
"""How a run has ended that nobody cancelled."""

RunStatus = Annotated[
    str,
    Field(json_schema_extra={"enum": [runs.PENDING, runs.RUNNING, runs.DELIVERING, *runs.ENDED]}),
]
"""How far a run is."""

MailStatus = Annotated[str, Field(json_schema_extra={"enum": [mails.WAITING, mails.SENDING, *mails.ENDED]})]
"""How far a mail is."""

TO_DO, DOING, DONE = "TO_DO", "RUNNING", "DONE"
STEP_STATES = (TO_DO, DOING, DONE, runs.FAILED, runs.CANCELLED)
"""How far a step of a run can be."""

Count = Annotated[int, Field(json_schema_extra={"minimum": 0})]


@documented
class Suspended(TypedDict):
    """Why an export is suspended."""

    error: str | None
    """What went wrong."""
    next_action: str | None
    """What to do about it."""


@documented
class LastOutcome(TypedDict):
    """What came of the run of an export that ended last, but for those that were cancelled."""

    run_id: str
    """The run's id."""
    status: Outcomes
    """What came of it."""
    ended: Moment
    """When it ended."""


@documented
class ListedExport(TypedDict):
    """An export as a list shows it: its config, and how it stands."""

    id: str
    """Its id, a UUID."""
    name: str
    """Its name."""
    site_ids: list[str]
    """The sites whose data it exports."""
    export_type: str
    """What it exports."""
    file_format: str
    """The format of its files."""
    date_format: DateFormat
    """How dates are written."""
    bom: bool
    """Whether a CSV file begins with a byte order mark, for Excel."""
    split: bool
    """Whether each site has files of its own."""
    max_file_bytes: int
    """How large a file may grow before another begins."""
    interval: str
    """How often it runs."""
    timezone: str
    """The time zone of its days, weeks and months."""
    at: str
    """The time of day at which it runs."""
    start: Moment | None
    """Where its first window begins."""
    end: Moment | None
    """Where its last window ends."""
    notify: list[str]
    """Who is mailed when it fails."""
    connector_type: str
    """How its files are delivered."""
    connector_config: Config
    """Where its files are delivered."""
    version: int
    """How often its config was changed, plus one."""
    state: State
    """What it is doing."""
    account: str
    """The account that writes to the customer's bucket."""
    created: Moment
    """When it was made."""
    next_window_start: Moment
    """Where its next window begins."""
    next_due: Moment | None
    """When that window is exported; null where there is none."""
    suspended: Suspended | None
    """Why it is suspended, where it is."""
    last_outcome: LastOutcome | None
    """What came of its last run; null until one has completed or failed."""


@documented
class Bounds(TypedDict):
    """A window: from `start` until before `end`."""

    start: Moment
    """Where it begins."""
    end: Moment
    """Where it ends."""


@documented
class FailedWindows(TypedDict):
    """The windows of an export that failed, and that no run has exported since."""

    count: Count
    """How many there are."""
    since: Moment | None
    """When the oldest of them failed first; null where there is none."""
    oldest: Bounds | None
    """The oldest of them; null where there is none."""
    retrying: bool
    """Whether those that failed before `:retry-failed`, or before the export was resumed, are being retried:
    some of them may still count here."""


@documented
class NextWindow(TypedDict):
    """A window to come. Its times have the offset of the export's time zone."""

    start: LocalMoment
    """Where it begins."""
    end: LocalMoment
    """Where it ends."""
    due: LocalMoment
    """When it is exported."""


@documented
class Preview(TypedDict):
    """What an export with a config would do."""

    timezone: str
    """The time zone of its days, weeks and months."""
    next_windows: list[NextWindow]
    """The windows that would begin next, the first five; fewer where its schedule ends before."""


@documented
class Export(ListedExport):
    """An export: its config, and how it stands."""

    failed_windows: FailedWindows
    """Its windows that failed. `:retry-failed` exports them by the config as it is now."""
    waits_for: str | None
    """Why a window that is due has not begun, where a limit of the customer is reached; else null. It begins
    by itself."""
    next_windows: list[NextWindow]
    """The windows that begin next, the first five; fewer where its schedule ends before. A paused export
    leaves some out when it is resumed."""


@documented
class ResumedExport(Export):
    """An export that goes on."""

    left_out: Bounds | None
    """What is left out since the export was paused, as one window; null where nothing is. `:backfill`
    exports it; with `skip` once it is over."""


@documented
class ExportList(TypedDict):
    """A page of exports, the newest first."""

    exports: list[ListedExport]
    """The exports."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


@documented
class Version(TypedDict):
    """A version of an export's config."""

    version: int
    """Its number, from 1."""
    created: Moment
    """When it was made."""
    user: str
    """The id of the key that made it."""
    config: ExportConfig
    """The config."""


@documented
class History(TypedDict):
    """A page of the versions of an export's config, the newest first."""

    history: list[Version]
    """The versions."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


class Recipient(TypedDict):
    """Whom an export is mailed to."""

    address: str
    name: str


class MailNotSent(TypedDict):
    """A mail that was not sent."""

    address: str
    status: MailStatus
    reason: str | None


Run = TypedDict(
    "Run",
    {
        "scheduleFrequency": Annotated[str, Field(description="The export's interval; empty by hand.")],
        "sftpDetailsKey": Annotated[str | None, Field(description="The id of the stored SFTP login.")],
        "operations": Annotated[list[str], Field(description="How the files are delivered.")],
        "recipients": Annotated[list[Recipient], Field(description="Whom the files are mailed to.")],
        "description": Annotated[str, Field(description="What kind of event it is.")],
        "from": Annotated[str, Field(description="`Schedule`, or `Run` of a run by hand.")],
        "dataSource": Annotated[str, Field(description="What is exported.")],
        "user": Annotated[str, Field(description="The id of the key that asked for it.")],
        "timestamp": Annotated[Moment | None, Field(description="When it ended; null until then.")],
        "run_id": Annotated[str, Field(description="The run's id.")],
        "export_id": Annotated[str, Field(description="The export's id.")],
        "window": Annotated[Bounds, Field(description="The window that is exported.")],
        "status": Annotated[RunStatus, Field(description="How far it is.")],
        "rows": Annotated[Count, Field(description="How many rows its files have.")],
        "file_count": Annotated[Count, Field(description="How many files it delivers.")],
        "images": Annotated[Count, Field(description="How many images were delivered.")],
        "images_missing": Annotated[Count, Field(description="How many images are gone.")],
        "images_conflicting": Annotated[
            Count, Field(description="How many images were not delivered since their name was taken.")
        ],
        "images_not_delivered": Annotated[list[str], Field(description="The first of those images.")],
        "mails_sent": Annotated[Count, Field(description="How many mails were sent.")],
        "mails_not_sent": Annotated[list[MailNotSent], Field(description="The first that were not.")],
        "bytes": Annotated[Count, Field(description="How large its files are together.")],
        "duration_ms": Annotated[Count | None, Field(description="How long it took.")],
        "destination": Annotated[
            str | None,
            Field(description="Where its files are: `gs://` and a bucket, or an SFTP server; null by mail."),
        ],
        "files": Annotated[
            list[File],
            Field(
                description="The first files that are there, at most 100. Their names are of the destination."
            ),
        ],
        "manifest": Annotated[
            str | None,
            Field(description="The name of its manifest, which has all files; null until it is there."),
        ],
        "error": Annotated[str | None, Field(description="Why it failed.")],
        "next_action": Annotated[str | None, Field(description="What to do about it.")],
        "waits_for": NotRequired[
            Annotated[str, Field(description="What it waits for outside, where it cannot go on now.")]
        ],
        "waits_since": NotRequired[Annotated[Moment, Field(description="Since when it waits for that.")]],
    },
)
"""A run of an export: its event in the audit, and what it waits for."""


@documented
class RunStep(TypedDict):
    """A step of a run."""

    name: str
    """Its name."""
    status: Annotated[str, Field(json_schema_extra={"enum": list(STEP_STATES)})]
    """How far it is. A run that failed or was cancelled has ended at a step with that status."""
    began: Moment | None
    """When it began, for the last time where it was done again; null until then."""
    ended: Moment | None
    """When it ended; null until then."""
    duration_ms: Count | None
    """How long it took; null until it has ended."""
    waits_for: str | None
    """What it waits for outside, where it cannot go on now; else null."""


class ShownRun(Run):
    """A run of an export, with its steps."""

    steps: Annotated[
        list[RunStep],
        Field(description="Its steps, in order; no times of those that ended before Waybill kept them."),
    ]


@documented
class RunList(TypedDict):
    """A page of an export's runs, the newest first."""

    runs: list[Run]
    """The runs."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


@documented
class ExportedWindow(Bounds):
    """A window that a run has exported."""

    run_id: str
    """The run's id."""


@documented
class WindowList(TypedDict):
    """A page of the windows that are exported, in the order of their beginnings."""

    windows: list[ExportedWindow]
    """The windows. Those of backfills can lie over others."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


@documented
class Click(TypedDict):
    """One use of a link."""

    at: Moment
    """When it was used."""
    agent: str
    """The `User-Agent` of the program that used it."""
    file: str | None
    """The id of the file that was downloaded."""


@documented
class Link(TypedDict):
    """A link in a mail, which leads to files."""

    id: str
    """Its id."""
    created: Moment
    """When it was made."""
    expires: Moment
    """When it stops working."""
    revoked: bool
    """Whether it was withdrawn."""
    downloads: Count
    """How many files were downloaded with it."""
    clicks: list[Click]
    """When it was used, the newest last; only the last uses are kept."""


@documented
class Mail(TypedDict):
    """A mail to one address."""

    id: str
    """Its id."""
    kind: str
    """What it tells."""
    address: str
    """Who it is sent to."""
    status: MailStatus
    """How far it is."""
    reason: str | None
    """Why it was not sent."""
    next_action: str | None
    """What to do about it."""
    created: Moment
    """When it was made."""
    ended: Moment | None
    """When it was sent, or failed."""
    links: list[Link]
    """The links that it was sent with, the newest last."""


@documented
class MailList(TypedDict):
    """A page of a run's mails, the newest first."""

    mails: list[Mail]
    """The mails."""
    next_page_token: str | None
    """Asks for the next page; null on the last."""


@documented
class TestStep(TypedDict):
    """One step of a connection test."""

    name: str
    """Its name."""
    verdict: Verdict
    """What came of it. A step is skipped where one before it failed; with a warning the export may run."""
    sentence: str
    """What was found and what to do."""


@documented
class ConnectionTest(TypedDict):
    """What came of a connection test."""

    passed: bool
    """Whether the export may run."""
    steps: list[TestStep]
    """The steps, in order."""


@documented
class Options(TypedDict):
    """What an export can be made with."""

    export_types: list[str]
    """Values of `export_type`."""
    file_formats: list[str]
    """Values of `file_format`."""
    intervals: list[str]
    """Values of `interval`; N stands for a number."""
    connector_types: list[str]
    """Values of `connector_type`."""
    date_formats: list[str]
    """Values of `date_format`."""


def of_listed(shown: export.Export) -> ListedExport:
    """An export as it stands, in a list."""
    return cast(ListedExport, _export(shown))


def of_export(shown: export.Export, failed: Failed, waits_for: str | None) -> Export:
    """An export as it stands, its windows that failed, and why one that is due has not begun."""
    windows = {
        "count": failed.count,
        "since": milliseconds(failed.since) if failed.since else None,
        "oldest": audit.bounds(failed.oldest) if failed.oldest else None,
        "retrying": shown.retrying,
    }
    more = {"failed_windows": windows, "waits_for": waits_for}
    return cast(Export, {**_export(shown), **more, "next_windows": _next(exports.next_windows(shown))})


def of_preview(upcoming: exports.Upcoming) -> Preview:
    """What an export would do whose windows to come are these."""
    return {"timezone": upcoming.zone.key, "next_windows": _next(upcoming)}


def of_resumed(
    shown: export.Export, failed: Failed, waits_for: str | None, left_out: Window | None
) -> ResumedExport:
    """An export that goes on, and the window that it has left out."""
    left = {"left_out": audit.bounds(left_out) if left_out else None}
    return cast(ResumedExport, {**of_export(shown, failed, waits_for), **left})


def of_version(snapshot: Snapshot) -> Version:
    """A version of a config."""
    fields = fields_of(snapshot)
    version = {
        "version": fields["version"],
        "created": milliseconds(fields["created"]),
        "user": fields["user"],
        "config": ExportConfig.model_validate(fields["config"]).model_dump(mode="json"),
    }
    return cast(Version, version)


def of_run(cloud: Cloud, snapshot: Snapshot, *, with_files: bool = True) -> Run:
    """A run: its event, which is final once it has ended. Without its files none is read."""
    ended: dict[str, Any] | None = fields_of(snapshot).get("audit")
    if ended is not None:
        return cast(Run, audit.ordered(ended if with_files else {**ended, "files": []}))
    run = runs.from_snapshot(snapshot)
    event = audit.event(run, Outcome(run.state, first_files(cloud, run) if with_files else ()), None)
    waits = {"waits_for": run.waits_for, "waits_since": milliseconds(run.since)} if run.since else {}
    return cast(Run, event | waits)


def of_shown_run(cloud: Cloud, snapshot: Snapshot) -> ShownRun:
    """A run with its steps."""
    run = runs.from_snapshot(snapshot)
    names = [stage.name for stage in KIND.stages]
    at = names.index(run.stage) if run.stage in names else -1
    steps = [_step(run, name, number - at) for number, name in enumerate(names)]
    return cast(ShownRun, {**of_run(cloud, snapshot), "steps": steps})


def _step(run: runs.Run, name: str, behind: int) -> RunStep:
    """A step of a run that is so many steps behind the one that the run is at."""
    if behind > 0:
        return _told(name, TO_DO)
    here = {runs.COMPLETED: DONE, runs.PENDING: TO_DO}.get(run.state, run.state if run.ended else DOING)
    times = run.times.get(name, {})
    waits = run.waits_for if behind == 0 and run.since else None
    return _told(name, here if behind == 0 else DONE, times.get("began"), times.get("ended"), waits)


def _told(
    name: str,
    status: str,
    began: datetime | None = None,
    ended: datetime | None = None,
    waits_for: str | None = None,
) -> RunStep:
    lasted = round((ended - began).total_seconds() * 1000) if began and ended else None
    return {
        "name": name,
        "status": status,
        "began": milliseconds(began) if began else None,
        "ended": milliseconds(ended) if ended else None,
        "duration_ms": lasted,
        "waits_for": waits_for,
    }


def of_window(run: str, window: Window) -> ExportedWindow:
    """A window that a run has exported."""
    return {"run_id": run, "start": utc_second(window.start), "end": utc_second(window.end)}


def of_mail(shown: service.Shown) -> Mail:
    """A mail with its links."""
    mail = shown.mail
    return {
        "id": mail.id,
        "kind": mail.letter,
        "address": mail.address,
        "status": mail.state,
        "reason": mail.reason,
        "next_action": mail.next_action,
        "created": milliseconds(mail.created),
        "ended": milliseconds(mail.finished) if mail.finished else None,
        "links": [_link(link) for link in shown.links],
    }


def of_test(steps: list[Step]) -> ConnectionTest:
    """What came of a connection test."""
    return {"passed": passed(steps), "steps": [cast(TestStep, asdict(step)) for step in steps]}


def options() -> Options:
    """What an export can be made with."""
    return {
        "export_types": list(SOURCES),
        "file_formats": list(FORMATS),
        "intervals": list(INTERVALS),
        "connector_types": list(CONNECTORS),
        "date_formats": list(get_args(DateFormat)),
    }


def _next(upcoming: exports.Upcoming) -> list[NextWindow]:
    zone = upcoming.zone
    return [
        {
            "start": local_second(window.start, zone),
            "end": local_second(window.end, zone),
            "due": local_second(due, zone),
        }
        for window, due in upcoming.windows
    ]


def _export(shown: export.Export) -> dict[str, Any]:
    return {
        "id": shown.id,
        **shown.config.model_dump(mode="json"),
        "version": shown.version,
        "state": shown.state,
        "account": shown.account,
        "created": milliseconds(shown.created),
        "next_window_start": utc_second(shown.next_start),
        "next_due": utc_second(shown.next_due) if shown.next_due else None,
        "suspended": shown.suspended,
        "last_outcome": _last_outcome(shown.last) if shown.last else None,
    }


def _last_outcome(last: export.LastOutcome) -> LastOutcome:
    return {"run_id": last.run, "status": last.status, "ended": milliseconds(last.ended)}


def _link(link: links.Link) -> Link:
    return {
        "id": link.id,
        "created": milliseconds(link.created),
        "expires": milliseconds(link.expires),
        "revoked": link.revoked,
        "downloads": link.downloads,
        "clicks": [
            {"at": milliseconds(each.at), "agent": each.agent, "file": each.file} for each in link.clicks
        ],
    }
