"""Customers' secrets: sealed, opened by nobody else, sealed anew with another key."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPIError

from infra.local.traffic import Fault
from shared.accounts import secrets
from shared.accounts.secrets import COLLECTION, NONCE_BYTES, VALUE_BYTES, Rotated
from shared.errors import CustomerMustAct, GiveUp, Retry, WaybillError
from shared.gcp.clients import Cloud
from shared.gcp.documents import Snapshot, change
from shared.settings import Keys, Settings
from tests.world import World

ONE, TWO, THREE = (bytes([n]) * 32 for n in (1, 2, 3))
VALUE = "hunter2-pässword"
TAG_BYTES = 16


def holding(**keys: bytes) -> Settings:
    """Settings with these keys: v1=…, v2=…"""
    versions = {int(name[1:]): key for name, key in keys.items()}
    return Settings("p", secret_keys=Keys("WAYBILL_SECRET_KEYS", versions))


def cloud_with(world: World, **keys: bytes) -> Cloud:
    return replace(world.cloud, settings=holding(**keys))


def keep(cloud: Cloud, id: str, value: str = VALUE, customer: str = "acme") -> None:
    cloud.db.document(secrets.path(id)).create(secrets.seal(cloud.settings, customer, id, value))


def rotate(cloud: Cloud) -> Rotated:
    return secrets.rotate(cloud, cloud.settings.secret_keys)


def kept(world: World) -> dict[str, dict[str, Any]]:
    return {each.id: each.to_dict() or {} for each in world.cloud.db.collection(COLLECTION).stream()}


def versions(world: World) -> dict[str, int]:
    return {id: fields["key_version"] for id, fields in kept(world).items()}


# --- keeping


def test_what_is_kept_is_given_back_and_cannot_be_read(world: World) -> None:
    cloud = cloud_with(world, v1=ONE, v10=TWO)
    keep(cloud, "s-1")
    [fields] = kept(world).values()
    assert sorted(fields) == ["created", "customer", "key_version", "sealed"]
    assert (fields["customer"], fields["key_version"]) == ("acme", 10), "the newest by its number"
    assert len(fields["sealed"]) == NONCE_BYTES + len(VALUE.encode()) + TAG_BYTES
    assert VALUE.encode()[:7] not in fields["sealed"]
    assert secrets.get(cloud, "acme", "s-1") == VALUE
    assert secrets.get(cloud_with(world, v10=TWO), "acme", "s-1") == VALUE


def test_the_same_value_is_sealed_otherwise_each_time() -> None:
    sealed = [secrets.seal(holding(v1=ONE), "acme", "s-1", VALUE)["sealed"] for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert sealed[0][:NONCE_BYTES] != sealed[1][:NONCE_BYTES]


@pytest.mark.parametrize("value", ["", "x" * VALUE_BYTES])
def test_any_value_within_the_bound_is_kept(world: World, value: str) -> None:
    cloud = cloud_with(world, v1=ONE)
    keep(cloud, "s-1", value)
    assert secrets.get(cloud, "acme", "s-1") == value


@pytest.mark.parametrize(
    ("settings", "value", "says"),
    [
        (holding(), VALUE, "WAYBILL_SECRET_KEYS is not set"),
        (holding(v1=ONE), "é" * (VALUE_BYTES // 2) + "x", "longer than 65536 bytes"),
    ],
)
def test_what_cannot_be_sealed_is_refused(settings: Settings, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        secrets.seal(settings, "acme", "s-1", value)
    assert value not in str(refused.value)
    assert "short'" not in str(refused.value)


# --- what does not open


Change = Callable[[dict[str, Any]], dict[str, Any]]


def flipped(fields: dict[str, Any], at: int) -> dict[str, Any]:
    sealed = bytearray(fields["sealed"])
    sealed[at] ^= 1
    return fields | {"sealed": bytes(sealed)}


@pytest.mark.parametrize(
    ("keys", "changing", "error", "says"),
    [
        ({"v1": ONE}, lambda fields: None, CustomerMustAct, "There is no stored secret s-1"),
        ({"v1": ONE}, lambda f: f | {"customer": "globex"}, CustomerMustAct, "There is no stored secret s-1"),
        (
            {"v2": TWO},
            lambda f: f,
            GiveUp,
            "encrypted with version 1 of WAYBILL_SECRET_KEYS, which is missing",
        ),
        ({}, lambda f: f, GiveUp, "encrypted with version 1 of WAYBILL_SECRET_KEYS, which is missing"),
        (
            {"v1": ONE},
            lambda f: f | {"key_version": 2},
            Retry,
            "but the newest version here is 1",
        ),
        ({"v1": TWO}, lambda f: f, GiveUp, "cannot be decrypted with version 1 of WAYBILL_SECRET_KEYS"),
        (
            {"v1": ONE, "v2": TWO},
            lambda f: f | {"key_version": 2},
            GiveUp,
            "cannot be decrypted with version 2",
        ),
        ({"v1": ONE}, lambda f: flipped(f, 0), GiveUp, "cannot be decrypted with version 1"),
        ({"v1": ONE}, lambda f: flipped(f, NONCE_BYTES), GiveUp, "cannot be decrypted with version 1"),
        ({"v1": ONE}, lambda f: flipped(f, -1), GiveUp, "cannot be decrypted with version 1"),
        (
            {"v1": ONE},
            lambda f: f | {"sealed": f["sealed"][:20]},
            GiveUp,
            "cannot be decrypted with version 1",
        ),
        ({"v1": ONE}, lambda f: f | {"sealed": b""}, GiveUp, "cannot be decrypted with version 1"),
    ],
)
def test_what_does_not_open_is_told_in_a_sentence(
    world: World, keys: dict[str, bytes], changing: Change, error: type[WaybillError], says: str
) -> None:
    keep(cloud_with(world, v1=ONE), "s-1")
    reference = world.cloud.db.document(secrets.path("s-1"))
    changed = changing(reference.get().to_dict() or {})
    reference.set(changed) if changed else reference.delete()
    with pytest.raises(error, match=says) as refused:
        secrets.get(cloud_with(world, **keys), "acme", "s-1")
    assert type(refused.value) is error
    told = str(refused.value) + getattr(refused.value, "next_action", "")
    assert "hunter2" not in told
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_sealed_value_opens_nothing_in_another_document_or_for_another_customer(world: World) -> None:
    cloud = cloud_with(world, v1=ONE)
    keep(cloud, "s-1")
    fields = kept(world)["s-1"]
    cloud.db.document(secrets.path("s-2")).create(fields)
    with pytest.raises(GiveUp, match="s-2 cannot be decrypted"):
        secrets.get(cloud, "acme", "s-2")
    cloud.db.document(secrets.path("s-1")).update({"customer": "globex"})
    with pytest.raises(GiveUp, match="s-1 cannot be decrypted"):
        secrets.get(cloud, "globex", "s-1")


# --- sealing anew


def test_all_are_sealed_anew_once_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "PAGE_DOCUMENTS", 3)
    old, both, new = (cloud_with(world, **k) for k in ({"v1": ONE}, {"v1": ONE, "v2": TWO}, {"v2": TWO}))
    for n in range(6):
        keep(old, f"s-{n}", f"{VALUE} {n}")
    keep(both, "s-6", f"{VALUE} 6")
    before = kept(world)
    assert rotate(both) == Rotated(both.settings.secret_keys, 2, {1: 6, 2: 1}, 6, 0, (), {1: 0, 2: 7})
    assert [secrets.get(new, "acme", f"s-{n}") for n in range(7)] == [f"{VALUE} {n}" for n in range(7)]
    after = kept(world)
    assert {id: after[id]["created"] for id in after} == {id: before[id]["created"] for id in before}
    assert after["s-6"] == before["s-6"]
    assert rotate(both) == Rotated(both.settings.secret_keys, 2, {2: 7}, 0, 0, (), {1: 0, 2: 7})
    assert kept(world) == after


def test_what_cannot_be_opened_stays_and_keeps_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "UNOPENED_TOLD", 3)
    keep(cloud_with(world, v1=ONE), "s-1")
    keep(cloud_with(world, v1=THREE), "s-2")  # that version was another key once
    keep(cloud_with(world, v2=TWO), "s-3", customer="globex")  # no longer held
    keep(cloud_with(world, v7=TWO), "s-4")  # newer than what is held
    keep(cloud_with(world, v3=ONE), "s-5")  # sealed with another newest
    keep(cloud_with(world, v1=ONE), "s-6")
    before = kept(world)
    done = rotate(cloud_with(world, v1=ONE, v3=THREE))
    assert (done.newest, done.sealed, done.unopened) == (3, 2, 4)
    assert done.found == {1: 3, 2: 1, 3: 1, 7: 1}
    assert done.left == {1: 1, 2: 1, 3: 3, 7: 1}
    assert [(each.id, each.customer) for each in done.told] == [
        *(("s-2", "acme"), ("s-3", "globex"), ("s-4", "acme"))
    ]
    for each, says in zip(
        done.told, ("restore the key", "add version 2 again", "version here is 3"), strict=True
    ):
        assert says in each.why
        assert "hunter2" not in each.why
    after = kept(world)
    assert {id for id in after if after[id] != before[id]} == {"s-1", "s-6"}


@pytest.mark.parametrize("action", ["reset_before", "reset_after"])
@pytest.mark.parametrize("nth", range(3))
def test_it_can_end_anywhere_and_be_done_again(world: World, action: Any, nth: int) -> None:
    old, both = cloud_with(world, v1=ONE), cloud_with(world, v1=ONE, v2=TWO)
    for n in range(3):
        keep(old, f"s-{n}")
    world.suite.traffic.arm("firestore.Commit", Fault("error", status=7), nth=nth + 1)
    with pytest.raises(GoogleAPIError):
        rotate(both)
    assert sorted(versions(world).values()) == [1] * (3 - nth) + [2] * nth
    # The client tries a broken connection again; where the first had taken effect, the second is no harm.
    world.suite.traffic.arm("firestore.Commit", Fault(action))
    rotate(both)
    done = rotate(both)
    assert (done.found, done.left) == ({2: 3}, {1: 0, 2: 3})
    assert [secrets.get(both, "acme", f"s-{n}") for n in range(3)] == [VALUE] * 3


@pytest.mark.parametrize("what", ["written", "deleted", "sealed anew"])
def test_who_writes_or_deletes_meanwhile_wins(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    old, both = cloud_with(world, v1=ONE), cloud_with(world, v1=ONE, v2=TWO)
    keep(old, "s-1")
    reference = world.cloud.db.document(secrets.path("s-1"))

    def overtaken(db: Any, snapshot: Snapshot, fields: dict[str, Any]) -> datetime | None:
        monkeypatch.setattr(secrets, "change", change)
        if what == "deleted":
            reference.delete()
        elif what == "written":
            reference.set(secrets.seal(old.settings, "acme", "s-1", "another"))
        else:
            assert rotate(both).sealed == 1
        return change(db, snapshot, fields)

    monkeypatch.setattr(secrets, "change", overtaken)
    done = rotate(both)
    left = {"written": {1: 1, 2: 0}, "deleted": {1: 0, 2: 0}, "sealed anew": {1: 0, 2: 1}}
    assert (done.sealed, done.left) == (0, left[what])
    if what == "deleted":
        assert kept(world) == {}
    else:
        assert secrets.get(both, "acme", "s-1") == (VALUE if what == "sealed anew" else "another")


def test_nothing_is_sealed_anew_without_a_key(world: World) -> None:
    with pytest.raises(ValueError, match="WAYBILL_SECRET_KEYS is not set"):
        rotate(cloud_with(world))
