"""`GET /v0.2/work-orders` and `GET /v1/sites`: what is found, also while others write, and who sees it."""

import base64
import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from infra.local.traffic import Fault
from shared.accounts.customers import Parameter, add_site
from shared.accounts.keys import create_key
from shared.http import paging
from shared.workorders import listing, store
from shared.workorders.stored import StoredWorkOrder
from tests.world import OTHER_SITE, SITE, THEIR_SITE, Answer, World


@pytest.fixture
def world(world: World) -> World:
    """As ever, but the key has a site of its own."""
    world.key = create_key(world.cloud.db, customer="acme", scopes=["batches", "exports"], site=SITE)
    return world


def make(world: World, *names: str, site: str = SITE) -> dict[str, str]:
    """Make work orders one after the other, each a second later; their ids by their names."""
    ids = {}
    for name in names:
        world.suite.clock.advance(timedelta(seconds=1))
        made = world.request("POST", f"/sites/{site}/v0.2/work-orders", {"name": name, "tags": [name]})
        assert made.status == 201, made
        ids[name] = made.body["id"]
    return ids


def change(world: World, id: str) -> str:
    """Change a work order a second later; when that was."""
    world.suite.clock.advance(timedelta(seconds=1))
    number = next(_NUMBERS)
    changed = world.request("PATCH", f"/v0.2/work-orders/{id}", {"metadata": {"n": number}})
    assert changed.status == 200, changed
    at: str = changed.body["update_date"]
    return at


_NUMBERS = itertools.count()


def url(path: str, **query: Any) -> str:
    return f"{path}?" + "&".join(f"{name}={quote(str(value))}" for name, value in query.items())


def page(world: World, **query: Any) -> Answer:
    answer = world.request("GET", url("/v0.2/work-orders", **query))
    assert answer.status == 200, answer
    return answer


def names(answer: Answer) -> list[str]:
    return [each["name"] for each in answer.body["work_orders"]]


def everything(world: World, **query: Any) -> list[str]:
    """The names on all pages."""
    found, token = [], None
    while True:
        answer = page(world, **query, **({"page_token": token} if token else {}))
        found += names(answer)
        token = answer.body["next_page_token"]
        if token is None:
            return found


def problem(answer: Answer) -> tuple[str, str]:
    assert answer.status == 400, answer
    [wrong] = answer.body["errors"]
    return wrong["field"], wrong["message"]


def fail(world: World, *ids: str) -> None:
    """Have the analyses of these failed, each a second later."""
    for id in ids:
        world.suite.clock.advance(timedelta(seconds=1))
        store.change(world.cloud, world.site, id, failed)


def failed(held: store.Held) -> StoredWorkOrder:
    return replace(held.stored, analysis="FAILED", failure="The analyser answered 500.")


def test_the_last_changed_work_order_is_listed_first(world: World) -> None:
    ids = make(world, "a", "b", "c")
    assert names(page(world)) == ["c", "b", "a"]
    at = change(world, ids["a"])
    answer = page(world)
    assert names(answer) == ["a", "c", "b"]
    shown = world.request("GET", f"/v0.2/work-orders/{ids['a']}").body
    assert answer.body["work_orders"][0] == {
        field: shown[field]
        for field in ("id", "name", "site_id", "create_date", "update_date", "tags", "analysis")
    }
    assert (answer.body["work_orders"][0]["update_date"], answer.body["next_page_token"]) == (at, None)


def test_a_deleted_work_order_is_not_listed(world: World) -> None:
    ids = make(world, "a", "b")
    assert world.request("DELETE", f"/v0.2/work-orders/{ids['a']}").status == 204
    assert names(page(world)) == ["b"]
    assert names(page(world, name="a")) == names(page(world, name_prefix="a")) == []
    make(world, "a")
    assert names(page(world)) == ["a", "b"]


def test_a_work_order_is_found_by_its_name(world: World) -> None:
    ids = make(world, "WO_1", "WO_10", "wo_1")
    answer = page(world, name="WO_1")
    assert [(each["id"], each["name"]) for each in answer.body["work_orders"]] == [(ids["WO_1"], "WO_1")]
    assert names(page(world, name="WO")) == []
    assert names(page(world, name="WO_1", name_prefix="WO_10")) == []
    assert names(page(world, name="WO_1", name_prefix="WO", analysis="DONE")) == ["WO_1"]
    assert names(page(world, name="WO_1", analysis="FAILED")) == []
    later = change(world, ids["WO_1"])
    assert names(page(world, name="WO_1", updated_since=later)) == ["WO_1"]
    assert names(page(world, name="WO_10", updated_since=later)) == []


@pytest.mark.parametrize("size", [1, 50])
def test_work_orders_are_found_by_the_beginning_of_their_names(world: World, size: int) -> None:
    make(world, "WO_2", "WO_10", "WO_1", "WO-1", "WP", "wo_1", "WO_", "W")
    assert everything(world, name_prefix="WO_", page_size=size) == ["WO_", "WO_1", "WO_10", "WO_2"]
    assert everything(world, name_prefix="WO_1", page_size=size) == ["WO_1", "WO_10"]
    assert everything(world, name_prefix="X", page_size=size) == []


def test_names_of_any_script_are_found_however_their_accents_are_written(world: World) -> None:
    for name in ("Zo\u00eb", "Zo\u00eb-2", "Zoe", "\U0001f6a7 1", "工事-7"):
        store.import_many(world.cloud, world.site, {name: lambda new: new})
    assert names(page(world, name="Zoe\u0308")) == ["Zo\u00eb"]
    assert names(page(world, name_prefix="Zoe\u0308")) == ["Zo\u00eb", "Zo\u00eb-2"]
    assert names(page(world, name_prefix="\U0001f6a7")) == ["\U0001f6a7 1"]
    assert names(page(world, name_prefix="工")) == ["工事-7"]


@pytest.mark.parametrize("size", [1, 50])
def test_what_changed_since_a_moment_is_found_with_that_moment(world: World, size: int) -> None:
    ids = make(world, "a", "b", "c", "d")
    at = change(world, ids["b"])
    make(world, "e")
    change(world, ids["a"])
    assert everything(world, updated_since=at, page_size=size) == ["a", "e", "b"]
    east = at.replace("T09:", "T11:").replace("Z", "+02:00")
    assert everything(world, updated_since=east, page_size=size) == ["a", "e", "b"]
    assert everything(world, updated_since=at, name_prefix="b", page_size=size) == ["b"]
    assert everything(world, updated_since="2026-11-22T08:00:00Z", page_size=size) == [
        "a",
        "e",
        "b",
        "d",
        "c",
    ]
    assert everything(world, updated_since="2027-01-01T00:00:00Z", page_size=size) == []


def test_an_offset_whose_plus_came_as_a_space_is_named(world: World) -> None:
    answer = world.request("GET", "/v0.2/work-orders?updated_since=2026-11-22T08:00:00+02:00")
    assert answer.status == 400
    assert "the + of +02:00 is %2B in a URL" in str(answer.body), answer.body


def test_a_change_counts_from_its_commit_not_from_its_earlier_stamp(world: World) -> None:
    make(world, "a")
    world.suite.traffic.arm("firestore.Commit", Fault("delay", seconds=50))
    made = world.request("POST", "/v0.2/work-orders", {"name": "b"})
    at = made.body["update_date"]
    found = world.cloud.db.document(f"work_orders/{made.body['id']}").get()
    assert found.update_time - found.get("update_date") >= timedelta(seconds=50)
    assert everything(world, updated_since=at) == ["b"]


@pytest.mark.parametrize("size", [1, 50])
def test_filters_are_combined(world: World, size: int) -> None:
    ids = make(world, "x1", "x2", "y1", "x3", "y2", "x4")
    fail(world, ids["x3"], ids["y1"])
    middle = change(world, ids["x2"])
    fail(world, ids["x1"])

    def found(**query: Any) -> list[str]:
        return everything(world, page_size=size, **query)

    assert found(analysis="FAILED") == ["x1", "y1", "x3"]
    assert found(analysis="DONE") == ["x2", "x4", "y2"]
    assert found(analysis="WAITING") == []
    assert found(analysis="FAILED", name_prefix="x") == ["x1", "x3"]
    assert found(analysis="FAILED", updated_since=middle) == ["x1"]
    assert found(name_prefix="x", updated_since=middle) == ["x1", "x2"]
    assert found(name_prefix="x", updated_since=middle, analysis="DONE") == ["x2"]
    assert page(world, analysis="FAILED").body["work_orders"][0]["failure"] == "The analyser answered 500."


@pytest.mark.parametrize("query", [{"updated_since": "2026-11-22T00:00:00Z"}, {"name_prefix": "w"}])
def test_nothing_is_lost_or_repeated_while_work_orders_change(world: World, query: dict[str, str]) -> None:
    ids = make(world, *(f"w{number}" for number in range(5)))
    before = everything(world, **query)
    found, token = [], None
    for step in range(3):
        answer = page(world, page_size=2, **query, **({"page_token": token} if token else {}))
        found += names(answer)
        token = answer.body["next_page_token"]
        # One that was listed, one that was not, new ones at both ends, and one that is deleted.
        change(world, ids[found[0]])
        left = [name for name in before if name not in found and name in ids]
        if left:
            change(world, ids[left[-1]])
            assert world.request("DELETE", f"/v0.2/work-orders/{ids.pop(left[0])}").status == 204
        make(world, f"w0{step}", f"wz{step}")
    assert (found, token) == (before, None)
    assert set(everything(world, **query)) - set(before) == {f"w{e}{s}" for e in "0z" for s in range(3)}


def test_a_page_that_looked_at_enough_is_short_and_the_next_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_LOOKED_AT", 3)
    monkeypatch.setattr(paging, "MAX_PAGE", 1)
    ids = make(world, *(f"w{number}" for number in range(8)))
    at = change(world, ids["w5"])
    change(world, ids["w6"])
    pages, token = [], None
    while True:
        more: dict[str, Any] = {"page_token": token} if token else {}
        answer = page(world, name_prefix="w", updated_since=at, page_size=1, **more)
        pages.append(names(answer))
        token = answer.body["next_page_token"]
        if token is None:
            break
    assert [] in pages, pages
    assert [name for each in pages for name in each] == ["w5", "w6"]


def test_a_second_round_of_a_page_loses_nothing_behind_its_last(world: World) -> None:
    ids = make(world, *(f"w{number}" for number in range(9)))
    at = change(world, ids["w2"])
    for number in range(4, 9):
        change(world, ids[f"w{number}"])
    expected = ["w2", "w4", "w5", "w6", "w7", "w8"]
    assert everything(world, name_prefix="w", updated_since=at, page_size=3) == expected


def test_a_token_is_good_for_its_own_list_for_55_minutes(world: World) -> None:
    make(world, "a", "b", "c")
    token = page(world, page_size=1).body["next_page_token"]

    def refused(**query: Any) -> str:
        field, message = problem(world.request("GET", url("/v0.2/work-orders", **query)))
        assert field == "page_token"
        return message

    other = "is of a list with other filters: send those of its first page"
    assert refused(page_token=token, analysis="DONE") == other
    assert refused(page_token=token, site_id=OTHER_SITE) == other
    assert refused(page_token=token, name="a") == "is of no list by `name`, which has one page"
    assert refused(page_token="~") == "is none of ours: begin again without it"
    assert refused(page_token=token[:8]) == "is none of ours: begin again without it"
    id, at, digest = base64.urlsafe_b64decode(token + "==").decode().split("@")

    def forged(*parts: str) -> str:
        return base64.urlsafe_b64encode("@".join(parts).encode()).decode()

    theirs = store.work_order_id(THEIR_SITE, "a")
    assert refused(page_token=forged(theirs, at, digest)) == "is none of this list: begin again without it"
    begun = "is of a list that was begun more than 55 minutes ago: begin again without it"
    assert refused(page_token=forged(id, str(int(at) + 10**9), digest)) == begun
    world.suite.clock.advance(timedelta(minutes=54))
    assert names(page(world, page_token=token, page_size=5)) == ["b", "a"]
    world.suite.clock.advance(timedelta(minutes=2))
    assert refused(page_token=token) == begun


def test_the_token_of_another_sites_work_order_is_refused(world: World) -> None:
    make(world, "a", "b")
    [other] = make(world, "a", site=OTHER_SITE).values()
    token = base64.urlsafe_b64decode(page(world, page_size=1).body["next_page_token"] + "==").decode()
    forged = "@".join([other, *token.split("@")[1:]]).encode()
    sent = base64.urlsafe_b64encode(forged).decode()
    answer = world.request("GET", url("/v0.2/work-orders", page_token=sent))
    assert problem(answer) == ("page_token", "is none of this list: begin again without it")


def test_a_list_is_of_one_site_of_the_caller(world: World) -> None:
    make(world, "ours")
    make(world, "other", site=OTHER_SITE)
    theirs = world.stranger()
    db = world.cloud.db
    theirs = create_key(db, customer="globex", scopes=["batches"], site=THEIR_SITE)
    headers = {"Authorization": f"Token {theirs}"}
    sent = {"name": "ours"}
    assert world.request("POST", "/v0.2/work-orders", sent, headers=headers).status == 201
    assert names(page(world)) == ["ours"]
    assert names(page(world, site_id=OTHER_SITE)) == ["other"]
    [mine] = page(world, name="ours").body["work_orders"]
    assert mine["site_id"] == SITE
    for query in ("", "name=ours&", "name_prefix=o&"):
        path = f"/v0.2/work-orders?{query}site_id={SITE}"
        assert world.request("GET", path, headers=headers).status == 404
    world.key = create_key(db, customer="acme", scopes=["batches"])
    assert problem(world.request("GET", "/v0.2/work-orders"))[0] == "site_id"
    world.key = create_key(db, customer="acme", scopes=["exports"], site=SITE)
    assert world.request("GET", "/v0.2/work-orders").status == 403


WRONG = [
    ("nam=WO_1", "nam", "there is no such query parameter: did you mean `name`?"),
    ("status=DONE", "status", None),
    ("analysis=done", "analysis", "must be DUE, WAITING, DONE or FAILED; got 'done'"),
    ("name=", "name", "string should have at least 1 character"),
    ("page_size=501", "page_size", "must be a number from 1 to 500; got '501'"),
    (
        "updated_since=yesterday",
        "updated_since",
        "must be a time such as 2026-11-23T00:00:00Z; got 'yesterday'",
    ),
    ("updated_since=2026-02-30T00:00:00Z", "updated_since", None),
    (
        "updated_since=2026-11-23T00:00:00",
        "updated_since",
        "must have an offset, as in 2026-11-23T00:00:00Z; the + of +02:00 is %2B in a URL",
    ),
    ("updated_since=1900-01-01T00:00:00Z", "updated_since", "must be between 1970 and 2200"),
    ("name=a&name=b", "name", "is given 2 times: give it once"),
]


@pytest.mark.parametrize(("query", "field", "message"), WRONG)
def test_a_wrong_filter_is_named(world: World, query: str, field: str, message: str | None) -> None:
    found = problem(world.request("GET", f"/v0.2/work-orders?{query}"))
    assert found == (field, found[1] if message is None else message)


def test_a_page_reads_no_records() -> None:
    assert not {"record", "images", "labels", "parameters"} & set(listing.LISTED)


# --- the list of sites


def test_the_sites_of_the_customer_are_listed_by_pages(world: World) -> None:
    db = world.cloud.db
    world.stranger()
    asked = (Parameter("kind", "string"), Parameter("note", required=False))
    add_site(db, id="Yard_9", customer="acme", name="Yard", parameters=asked, code_page="cp850")
    expected = sorted([SITE, OTHER_SITE, "Yard_9"])
    answer = world.request("GET", "/v1/sites")
    assert answer.status == 200, answer
    assert [each["id"] for each in answer.body["sites"]] == expected
    shown = {each["id"]: each for each in answer.body["sites"]}
    assert shown[SITE] == {
        "id": SITE,
        "name": "North",
        "task_groups": [{"name": "meter", "required": True}, {"name": "door", "required": False}],
        "parameters": [],
        "code_page": None,
    }
    assert shown["Yard_9"]["parameters"] == [
        {"name": "kind", "type": "string", "required": True},
        {"name": "note", "type": None, "required": False},
    ]
    assert shown["Yard_9"]["code_page"] == "cp850"
    found, token = [], None
    while True:
        more: dict[str, Any] = {"page_token": token} if token else {}
        paged = world.request("GET", url("/v1/sites", page_size=1, **more))
        found += [each["id"] for each in paged.body["sites"]]
        token = paged.body["next_page_token"]
        if token is None:
            break
    assert found == expected
    assert world.request("GET", "/v1/sites?name=North").status == 400
    forged = base64.urlsafe_b64encode(THEIR_SITE.encode()).decode()
    assert problem(world.request("GET", f"/v1/sites?page_token={forged}"))[0] == "page_token"
    world.key = create_key(db, customer="acme", scopes=["batches"])
    assert world.request("GET", "/v1/sites").status == 403


def test_a_site_added_in_between_moves_no_other(world: World) -> None:
    db = world.cloud.db
    for id in ("b", "d", "f"):
        add_site(db, id=id, customer="acme", name=id)
    first = world.request("GET", "/v1/sites?page_size=4").body
    for id in ("a", "c", "e"):
        add_site(db, id=id, customer="acme", name=id)
    second = world.request("GET", url("/v1/sites", page_token=first["next_page_token"])).body
    ids = [each["id"] for each in first["sites"] + second["sites"]]
    assert [id for id in ids if id not in ("a", "c", "e")] == sorted([SITE, OTHER_SITE, "b", "d", "f"])
    assert len(ids) == len(set(ids)), ids


# --- how many bytes a page has


@pytest.mark.parametrize("more", [0, 1])
def test_a_page_has_as_many_bytes_as_it_may_and_the_next_goes_on(
    world: World, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(make(world, "WO_0", "WO_1", "WO_2", "WO_3")) == 4
    query = world.cloud.db.collection("work_orders").select(listing.LISTED)
    size = max(paging._size_of(each.to_dict()) for each in query.stream())
    monkeypatch.setattr(paging, "PAGE_BYTES", 2 * size - more)
    first = page(world, page_size=3, name_prefix="WO_")
    assert len(names(first)) == 2 - more
    assert first.body["next_page_token"]
    assert everything(world, name_prefix="WO_", page_size=3) == ["WO_0", "WO_1", "WO_2", "WO_3"]
    assert sorted(everything(world, page_size=3)) == ["WO_0", "WO_1", "WO_2", "WO_3"]


def test_one_entry_that_is_larger_than_a_page_comes_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(make(world, "WO_0", "WO_1", "WO_2")) == 3
    monkeypatch.setattr(paging, "PAGE_BYTES", 1)
    assert everything(world, name_prefix="WO_", page_size=3) == ["WO_0", "WO_1", "WO_2"]
    exports = sorted(world.export(name=f"E{n}") for n in range(3))
    found, token = [], ""
    for _ in exports:
        answer = world.request("GET", f"/v1/exports?page_size=3{token}")
        [one] = answer.body["exports"]
        found.append(one["id"])
        token = f"&page_token={answer.body['next_page_token']}"
    assert (sorted(found), token) == (exports, "&page_token=None")
