"""The use cases of `/v1/exports`: make an export, look at it, edit it, withdraw its links. `deleting` deletes
it, `pausing` pauses and resumes, `by_hand` has what is asked of its runs."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore

from shared import audit_trail, logs
from shared.accounts import secrets
from shared.accounts.customers import get_customer, sites_of
from shared.accounts.keys import Caller
from shared.delivery.base import SECRET_FIELD, ConnectorConfig, Secret
from shared.errors import Conflict, FieldProblem, Invalid, NotFound
from shared.exports import names, room
from shared.exports.config import ExportConfig, parse
from shared.exports.export import ACTIVE, DELETED, PAUSED, SUSPENDED, Export, from_snapshot, next_fields
from shared.exports.schedules import Schedule
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, fields_of, server_time, transact
from shared.http.idempotency import Repeatable
from shared.http.matching import IfMatch
from shared.outbox import outside, withdrawing
from shared.patches import merged
from shared.window import Window

MAX_BACKLOG = 400
"""How many windows an export may begin with, all waiting."""

NO_WINDOW = "comes before the first window: it must be after `start` and creation"
"""What is said of an `end` that leaves nothing to export."""

NEXT_WINDOWS = 5
"""How many of the windows to come are shown of an export."""

VERSION_DIGITS = 6
"""How a version is called in the history, so that text sorts as numbers do."""


@dataclass(frozen=True)
class Upcoming:
    """Windows to come, in order, each with when it is due; and the zone by whose clocks they are told."""

    zone: ZoneInfo
    windows: tuple[tuple[Window, datetime], ...]


def create(cloud: Cloud, caller: Caller, body: dict[str, Any], repeatable: Repeatable) -> Export:
    """Make an export of the caller's customer; Invalid naming every field that is wrong, Conflict where the
    customer may have no more of them.

    One that the same request made already is returned as it is; Conflict where that request was another one.
    """
    id = str(uuid.UUID(hex=repeatable.id(cloud, caller.customer, 32), version=4))
    if repeatable.key:
        made = cloud.db.document(f"exports/{id}").get()
        if made.exists:
            repeatable.must_be(made.get("asked"), id)
            return owned(caller, id, made)
    config = _parsed(cloud, caller, body)
    room.check_export(cloud, caller.customer)
    customer = get_customer(cloud.db, caller.customer)
    outside.name(cloud, customer, config.addresses)
    config, sealed = _sealed(cloud, caller, config)
    now = server_time(cloud.db)
    schedule = config.schedule(now)
    _check_schedule(schedule, now)
    reference = cloud.db.document(f"exports/{id}")
    version = {"config": config.model_dump(mode="json"), "user": caller.key}
    batch = cloud.db.batch()
    batch.create(
        reference,
        {
            "customer": caller.customer,
            "account": customer.account,
            "version": 1,
            "created": now,
            "asked": repeatable.asked,
            **version,
            **next_fields(schedule, schedule.start),
        },
    )
    first = {**version, "customer": caller.customer, "version": 1, "created": now}
    batch.create(_version(reference, 1), first)
    for path, fields in sealed.items():
        batch.create(cloud.db.document(path), fields)
    audit_trail.note(cloud.db, batch, caller.customer, reference.path)
    try:
        batch.commit()
    except AlreadyExists:  # our own write, whose answer was lost, or one of the same key that was quicker
        repeatable.must_be(reference.get().get("asked"), id)
    return get(cloud, caller, id)


def preview(cloud: Cloud, caller: Caller, body: dict[str, Any]) -> Upcoming:
    """The windows that an export of this config would begin with, were it made now. Nothing is made, and no
    limit of the customer is looked at.

    Invalid naming every field that is wrong, as `create`.
    """
    config = _parsed(cloud, caller, body)
    now = server_time(cloud.db)
    schedule = config.schedule(now)
    _check_schedule(schedule, now)
    return upcoming(config, schedule, schedule.start)


def preview_edit(cloud: Cloud, caller: Caller, id: str, body: dict[str, Any]) -> Upcoming:
    """The windows that would begin next, were an export edited so now. Nothing is changed, and no limit of
    the customer is looked at.

    Invalid and Conflict as `edit`.
    """
    export = get(cloud, caller, id)
    config = parse(_merged(export.config, body))
    _check_sites(cloud, caller, config)
    _check_place(cloud, config)
    must_be_alive(export)
    _check_secret(body, export.config)
    return upcoming(config, *_after_edit(export, config, export.seen))


def next_windows(export: Export) -> Upcoming:
    """The windows that begin next of an export; none of one that is deleted."""
    if export.state == DELETED:
        return Upcoming(export.config.zone, ())
    return upcoming(export.config, export.schedule, export.next_start)


def upcoming(config: ExportConfig, schedule: Schedule, start: datetime) -> Upcoming:
    """The first NEXT_WINDOWS windows of a schedule from `start` on."""
    windows = islice(schedule.windows_from(start), NEXT_WINDOWS)
    return Upcoming(config.zone, tuple((window, schedule.due(window)) for window in windows))


def get(cloud: Cloud, caller: Caller, id: str) -> Export:
    """The caller's export of that id; NotFound where there is none, or it is another customer's."""
    return owned(caller, id, cloud.db.document(f"exports/{id}").get())


def edit(
    cloud: Cloud,
    caller: Caller,
    id: str,
    body: dict[str, Any],
    repeatable: Repeatable,
    if_match: IfMatch,
) -> Export:
    """Change some fields of an export's config (a JSON merge patch: null puts a field back to its default),
    which makes a new version. What has begun keeps the version that it was begun with; the next window begins
    where the last one ended, whatever changed. An edit that changes nothing makes no version.

    An edit that is sent again, with the key of the export's last one, changes nothing. Invalid naming every
    field that is wrong, Conflict where the export is deleted, or where the key was used for another edit;
    Outdated where the config is at another version than `if_match` names.
    """
    reference = cloud.db.document(f"exports/{id}")
    found = reference.get()
    export = owned(caller, id, found)
    if _is_done(found, repeatable):
        return export
    if_match.must_be(export.version, f"the export {id}")
    wanted = parse(_merged(export.config, body))
    _check_sites(cloud, caller, wanted)
    _check_place(cloud, wanted)
    must_be_alive(export)
    customer = get_customer(cloud.db, caller.customer)
    outside.name(cloud, customer, wanted.addresses, known=export.config.addresses)
    now = server_time(cloud.db)

    def change(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        export = owned(caller, id, snapshot)
        must_be_alive(export)
        if _is_done(snapshot, repeatable):
            return
        if_match.must_be(export.version, f"the export {id}")
        _check_secret(body, export.config)
        config, sealed = _sealed(cloud, caller, parse(_merged(export.config, body)), export.config)
        for path, fields in sealed.items():
            transaction.set(cloud.db.document(path), fields)
        if config == export.config:
            return
        schedule, start = _after_edit(export, config, now)
        kept = export.state if export.state in (PAUSED, SUSPENDED) else ACTIVE
        number = export.version + 1
        version = {"config": config.model_dump(mode="json"), "user": caller.key}
        asked = {"edited_with": repeatable.key, "edited_as": repeatable.asked}
        edited = {**version, "version": number, **asked, **next_fields(schedule, start, kept)}
        edited |= withdrawing.changed(fields_of(snapshot), export.config.recipients, config.recipients)
        if export.state == PAUSED and _rescheduled(export, config):
            # What lies back by the new schedule did not wait before the pause.
            edited["paused"] = firestore.DELETE_FIELD
        transaction.update(reference, edited)
        made = {
            **version,
            "customer": caller.customer,
            "version": number,
            "created": firestore.SERVER_TIMESTAMP,
        }
        transaction.create(_version(reference, number), made)
        audit_trail.note(cloud.db, transaction, caller.customer, reference.path)

    transact(cloud.db, change)
    return get(cloud, caller, id)


def must_be_alive(export: Export) -> None:
    """Conflict where the export is deleted."""
    if export.state == DELETED:
        raise Conflict(f"the export {export.id} was deleted: make a new one")


def revoke_links(cloud: Cloud, caller: Caller, id: str, recipient: str | None = None) -> Export:
    """Withdraw the links of an export that were mailed by now, or those of one recipient. Signed URLs that
    they have led to work until they expire."""
    reference = cloud.db.document(f"exports/{id}")

    def withdraw(transaction: firestore.Transaction) -> None:
        snapshot = reference.get(transaction=transaction)
        export = owned(caller, id, snapshot)
        audit_trail.note(cloud.db, transaction, caller.customer, reference.path)
        if recipient is None:
            transaction.update(reference, withdrawing.until_now())
        else:
            known = export.config.recipients
            transaction.update(reference, withdrawing.of_one(fields_of(snapshot), known, recipient))

    transact(cloud.db, withdraw)
    logs.info("links withdrawn", export=id, customer=caller.customer, by=caller.key)
    return get(cloud, caller, id)


def owned(caller: Caller, id: str, snapshot: Snapshot) -> Export:
    """The export in a snapshot; NotFound where there is none, or it is another customer's."""
    if not snapshot.exists or snapshot.get("customer") != caller.customer:
        raise NotFound(f"there is no export {id}")
    return from_snapshot(snapshot)


def _is_done(snapshot: Snapshot, repeatable: Repeatable) -> bool:
    """Whether the last edit of the export in a snapshot was this one; Conflict where it had the same key and
    was another."""
    fields = fields_of(snapshot)
    if repeatable.key is None or fields.get("edited_with") != repeatable.key:
        return False
    repeatable.must_be(fields["edited_as"], snapshot.id)
    return True


def _version(reference: Any, number: int) -> Any:
    return reference.collection("versions").document(f"{number:0{VERSION_DIGITS}}")


def _merged(config: ExportConfig, body: dict[str, Any]) -> dict[str, Any]:
    """The config as it was sent, with the changes in it (RFC 7396)."""
    old = config.model_dump(mode="json", exclude_none=True)
    place, secret = body.get("connector_config"), config.connector.secret
    if body.get("connector_type", config.connector_type) != config.connector_type:
        old.pop("connector_config")  # its fields are another connector's
    elif secret is not None and isinstance(place, dict):
        reached = old["connector_config"]
        moved = any(place.get(field, reached.get(field)) != reached.get(field) for field in secret.server)
        # Given anew, or to be given anew: what opens one server is not told to another.
        if moved or any(place.get(field) for field in secret.fields):
            reached.pop(SECRET_FIELD, None)
        if moved:  # nor where the request names it, as one does that sends back what it was shown
            kept = {name: value for name, value in place.items() if name != SECRET_FIELD}
            body = {**body, "connector_config": kept}
    return merged(old, body)


def _check_secret(body: dict[str, Any], config: ExportConfig | None) -> None:
    """Invalid where a request names a stored secret that is not its export's own: that could be anybody's."""
    place = body.get("connector_config")
    named = place.get(SECRET_FIELD) if isinstance(place, dict) else None
    if named is not None and (config is None or named != config.secret_id):
        raise Invalid.field(
            f"connector_config.{SECRET_FIELD}", "is set by Waybill: give a password or a private_key instead"
        )


def _sealed(
    cloud: Cloud, caller: Caller, config: ExportConfig, before: ExportConfig | None = None
) -> tuple[ExportConfig, dict[str, dict[str, Any]]]:
    """The config with the id of its secret in the secret's place, and what keeps that, by its path.

    Of the same server it has the same id as `before`: so what waits, with an older config, has it too.
    """
    place, secret = config.connector_config, config.connector.secret
    if secret is None or (value := secret.value(place)) is None:
        return config, {}
    known = None
    if before is not None and before.connector_type == config.connector_type:
        same = _server(secret, before.connector_config) == _server(secret, place)
        known = before.secret_id if same else None
    id = known or cloud.new_id()
    kept = place.model_copy(update={**dict.fromkeys(secret.fields), SECRET_FIELD: id})
    document = {secrets.path(id): secrets.seal(cloud.settings, caller.customer, id, value)}
    return config.model_copy(update={"connector_config": kept}), document


def _server(secret: Secret[Any], place: ConnectorConfig) -> tuple[Any, ...]:
    return tuple(getattr(place, field) for field in secret.server)


def _rescheduled(export: Export, config: ExportConfig) -> list[str]:
    """The fields of the schedule that an edit to this config changes."""
    return [name for name in ("start", "interval") if getattr(config, name) != getattr(export.config, name)]


def _after_edit(export: Export, config: ExportConfig, now: datetime) -> tuple[Schedule, datetime]:
    """The schedule after an edit, and where the next window begins by it; Invalid where what has begun would
    have to be another, or where too many windows would wait."""
    start = _start_after_edit(export, config)
    schedule = config.schedule(export.created)
    changed = _rescheduled(export, config)
    if changed and export.state != PAUSED:  # a paused one leaves out what lies back
        _check_backlog(schedule, start, now, changed[0])
    return schedule, start


def _start_after_edit(export: Export, config: ExportConfig) -> datetime:
    """Where the next window begins after an edit; Invalid where what has begun would have to be another."""
    problems = []
    if (config.interval == "once") != (export.config.interval == "once"):
        problems.append(FieldProblem("interval", "cannot change from or to `once`: make another export"))
    begun = export.next_start != export.schedule.start
    if config.start != export.config.start and begun:
        problems.append(FieldProblem("start", "cannot change any more: its first window has begun"))
    start = export.next_start if begun else config.schedule(export.created).start
    if config.end is not None and begun and config.end < start:
        at = names.stamp(start)
        problems.append(FieldProblem("end", f"must not lie before {at}, up to which windows have begun"))
    if not begun and config.schedule(export.created).window_from(start) is None:
        problems.append(FieldProblem("end", NO_WINDOW))
    if problems:
        raise Invalid(problems)
    return start


def _parsed(cloud: Cloud, caller: Caller, body: dict[str, Any]) -> ExportConfig:
    """The config of an export to be made; Invalid naming every field that is wrong."""
    _check_secret(body, None)
    config = parse(body)
    _check_sites(cloud, caller, config)
    _check_place(cloud, config)
    return config


def _check_sites(cloud: Cloud, caller: Caller, config: ExportConfig) -> None:
    known = sites_of(cloud.db, config.site_ids, caller.customer)
    problems = [
        FieldProblem(f"site_ids[{number}]", f"there is no site {site} of yours")
        for number, site in enumerate(config.site_ids)
        if site not in known
    ]
    if problems:
        raise Invalid(problems)


def _check_place(cloud: Cloud, config: ExportConfig) -> None:
    wrong = config.connector.check(cloud.settings, config.connector_config)
    problems = [FieldProblem(f"connector_config.{each.field}", each.message) for each in wrong]
    if problems:
        raise Invalid(problems)


def _check_schedule(schedule: Schedule, now: datetime) -> None:
    if schedule.window_from(schedule.start) is None:
        raise Invalid.field("end", NO_WINDOW)
    _check_backlog(schedule, schedule.start, now)


def _check_backlog(schedule: Schedule, start: datetime, now: datetime, field: str = "start") -> None:
    for _ in range(MAX_BACKLOG):
        window = schedule.window_from(start)
        if window is None or window.end > now:
            return
        start = window.end
    raise Invalid.field(
        field,
        f"leaves more than {MAX_BACKLOG} windows to catch up with: export the past with `once`, or with "
        ":backfill",
    )
