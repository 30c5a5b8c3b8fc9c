"""`/v0.2/work-orders` over HTTP: what is kept, what is refused and how it is said, and who sees what."""

import base64
import io
import json
import uuid
import zlib
from datetime import timedelta
from typing import Any

import pytest
from google.cloud import firestore
from PIL import Image as Picture
from pillow_heif import register_heif_opener

from infra.local.traffic import Fault
from shared.accounts.customers import Parameter, Site, add_site
from shared.accounts.keys import create_key
from shared.analysis import sent, steps
from shared.batches import work_orders
from shared.gcp.documents import IdRange, fields_of, server_time
from shared.window import Window
from shared.workorders import envelope, scan, store, stored
from tests.shared.analysis import analysers
from tests.shared.analysis.analysers import Asked, Reply, analysing, result, right
from tests.world import OTHER_SITE, SITE, THEIR_SITE, Answer, World, jpeg


@pytest.fixture
def world(world: World) -> World:
    """As ever, but our account may sign, the key has a site of its own, and analysers are on 127.0.0.1."""
    world.allow_loopback()
    world.suite.identity.allow_impersonation(world.account, world.account)
    world.key = create_key(world.cloud.db, customer="acme", scopes=["batches"], site=SITE)
    site_with(world, None)
    return world


def site_with(world: World, url: str | None) -> Site:
    """The site, which also asks for `kind` and may be given `floors`."""
    asked = (Parameter("kind", "string"), Parameter("floors", "number", required=False))
    return analysers.site_with(world, url, asked)


def create(world: World, **body: Any) -> str:
    answer = world.request("POST", "/v0.2/work-orders", {"name": "WO_1"} | body)
    assert answer.status == 201, answer
    id: str = answer.body["id"]
    return id


def data(content: bytes, kind: str = "jpg") -> dict[str, str]:
    return {"type": "image", "value": f"data:image/{kind};base64,{base64.b64encode(content).decode()}"}


def analyze(world: World, id: str, *inputs: Any, **more: Any) -> Answer:
    body = {"inputs": [{"name": name, "data": value} for name, value in inputs]} | more
    return world.request("POST", f"/v0.2/work-orders/{id}/analyze", body)


def photographs(answer: Answer) -> list[Any]:
    return [each for item in answer.body["work_items"] for each in item["input"]]


def problems(answer: Answer) -> list[tuple[str, str]]:
    assert answer.status == 400, answer
    return [(each["field"], each["message"]) for each in answer.body["errors"]]


# --- making, looking, changing, deleting


def test_a_work_order_is_made_and_shown_as_it_will_be_exported(world: World) -> None:
    body = {
        "name": "WO_1-a",
        "metadata": {"technician": "Zoë"},
        "tags": ["urgent"],
        "parameters": {"kind": "gas", "floors": 3},
    }
    made = world.request("POST", "/v0.2/work-orders", body)
    assert made.status == 201
    assert list(made.body) == [
        "id",
        "name",
        "site_id",
        "create_date",
        "update_date",
        "metadata",
        "progress_score",
        "work_items",
        "tags",
        "parameters",
        "analysis",
    ]
    assert made.body == body | {
        "id": store.work_order_id(SITE, "WO_1-a"),
        "site_id": SITE,
        "create_date": made.body["create_date"],
        "update_date": made.body["create_date"],
        "progress_score": 0.0,
        "work_items": [],
        "analysis": "DONE",
    }
    assert made.body["create_date"].startswith("2026-11-22T09:17:00.")
    assert made.body["create_date"].endswith("Z")
    fields = fields_of(world.cloud.db.document(f"work_orders/{made.body['id']}").get())
    assert json.loads(fields["record"])["metadata"] == body["metadata"]
    assert (fields["tags"], fields["parameters"]) == (b'["urgent"]', b'{"kind":"gas","floors":3}')
    shown = world.request("GET", f"/v0.2/work-orders/{made.body['id']}/")
    assert (shown.status, shown.body) == (200, made.body)


def test_a_name_alone_is_enough(world: World) -> None:
    made = world.request("POST", "/v0.2/work-orders", {"name": "WO_1"})
    assert (made.status, made.body["metadata"], made.body["tags"], made.body["parameters"]) == (
        201,
        {},
        [],
        {},
    )


def test_a_name_that_is_taken_is_a_conflict_that_names_its_work_order(world: World) -> None:
    id = create(world)
    again = world.request("POST", "/v0.2/work-orders", {"name": "WO_1"})
    assert again.status == 409
    assert again.body["detail"] == "the site already has a work order named 'WO_1': change that one"
    assert again.body["existing_id"] == id
    other = world.request("POST", f"/sites/{OTHER_SITE}/v0.2/work-orders", {"name": "WO_1"})
    assert (other.status, other.body["site_id"]) == (201, OTHER_SITE)


def nested(levels: int) -> dict[str, Any]:
    """Dictionaries and lists by turns inside each other, so many levels."""
    value: Any = {}
    for level in range(levels - 1, 0, -1):
        value = {"a": value} if level % 2 else [value]
    outermost: dict[str, Any] = value
    return outermost


NAME = "string should match pattern '^[A-Za-z0-9_-]{1,128}$'"

WRONG_BODIES: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("name", "is needed")]),
    ({"name": ""}, [("name", NAME)]),
    ({"name": "a b"}, [("name", NAME)]),
    ({"name": "a/../b"}, [("name", NAME)]),
    ({"name": "WO\n"}, [("name", NAME)]),
    ({"name": "Zoë"}, [("name", NAME)]),
    ({"name": "x" * 129}, [("name", NAME)]),
    ({"name": 7}, [("name", "input should be a valid string")]),
    (
        {"name": "a", "colour": 1, "metadata": [], "tags": [""]},
        [
            ("metadata", "input should be a valid dictionary"),
            ("tags[0]", "string should have at least 1 character"),
            ("colour", "there is no such field"),
        ],
    ),
    (
        {"name": "a", "tags": ["x"] * 101},
        [("tags", "list should have at most 100 items after validation, not 101")],
    ),
    ({"name": "a", "tags": ["x" * 129]}, [("tags[0]", "string should have at most 128 characters")]),
    ({"name": "a", "metadata": None}, [("metadata", "input should be a valid dictionary")]),
    (
        {"name": "a", "parameters": {"kind": 1}},
        [("parameters.kind", "'kind' should be a string, and is a number.")],
    ),
    (
        {"name": "a", "parameters": {"kind": 1, "floors": True}},
        [
            ("parameters.kind", "'kind' should be a string, and is a number."),
            ("parameters.floors", "'floors' should be a number, and is a boolean."),
        ],
    ),
    (
        {"name": "a", "parameters": {"note": "x" * 66_000}},
        [("parameters", "must have at most 65536 bytes, tags included")],
    ),
    (b"[]", [("body", "must be a JSON object")]),
    (b'{"name": "a", "metadata": {"n": NaN}}', [("body", "")]),
]


@pytest.mark.parametrize(("body", "expected"), WRONG_BODIES)
def test_every_wrong_field_is_named(world: World, body: Any, expected: list[tuple[str, str]]) -> None:
    found = problems(world.request("POST", "/v0.2/work-orders", body))
    assert [field for field, _ in found] == [field for field, _ in expected]
    for (_, message), (_, sentence) in zip(found, expected, strict=True):
        assert message == sentence or not sentence
    assert list(world.cloud.db.collection("work_orders").stream()) == []


@pytest.mark.parametrize("field", ["metadata", "parameters"])
def test_what_is_too_deep_to_be_written_again_is_refused(world: World, field: str) -> None:
    create(world, **{field: nested(64)})
    answer = world.request("POST", "/v0.2/work-orders", {"name": "WO_2", field: nested(65)})
    assert problems(answer) == [(field, "has more than 64 lists and dictionaries inside each other")]


LONG = 12345678901234567890123

NOT_EXACT = [
    (b'{"n": %d}' % LONG, ".n", f"{LONG} is too large to be stored exactly: write it as text, in quotes"),
    (
        b'{"n": [1, %d]}' % 2**64,
        ".n[1]",
        f"{2**64} is too large to be stored exactly: write it as text, in quotes",
    ),
    (b'{"n": 1e-400}', ".n", "1e-400 is beyond the range of a double: write it as text, in quotes"),
    (b'{"n": 1, "m": 2, "n": 1}', ".n", "stands twice in the same object: leave one out"),
    (b'{"n": {"a": 1, "a": 2}}', ".n.a", "stands twice in the same object: leave one out"),
    (rb'{"n": ["a\u0000b"]}', ".n[0]", r"holds a NUL character (\u0000): remove it"),
    (rb'{"n\u0000": 1}', r".n\u0000", r"holds a NUL character (\u0000): remove it"),
]
"""What an archive refuses of a dictionary, where it is, and how that is said."""


@pytest.mark.parametrize("door", ["create", "change", "parameters", "analyze"])
@pytest.mark.parametrize(("dictionary", "where", "sentence"), NOT_EXACT)
def test_what_cannot_be_kept_as_it_was_sent_is_not_taken_since_every_door(
    world: World, door: str, dictionary: bytes, where: str, sentence: str
) -> None:
    id = create(world)
    before = world.request("GET", f"/v0.2/work-orders/{id}").body
    method, path, body = {
        "create": ("POST", "", b'{"name": "WO_2", "metadata": %b}'),
        "change": ("PATCH", f"/{id}", b'{"metadata": %b}'),
        "parameters": ("PATCH", f"/{id}", b'{"parameters": %b}'),
        "analyze": ("POST", f"/{id}/analyze", b'{"inputs": [], "metadata": %b}'),
    }[door]
    field = "parameters" if door == "parameters" else "metadata"
    answer = world.request(method, f"/v0.2/work-orders{path}", body % dictionary)
    assert problems(answer) == [(f"{field}{where}", sentence)]
    assert world.request("GET", f"/v0.2/work-orders/{id}").body == before
    assert len(list(world.cloud.db.collection("work_orders").stream())) == 1


def test_corrections_and_results_are_kept_as_sent_or_refused(world: World) -> None:
    id = create(world)
    [photograph] = photographs(analyze(world, id, ("meter", data(jpeg("1")))))
    path = f"/v0.2/work-orders/{id}"
    answer = world.request("POST", f"{path}/results", {"results": [result(photograph["id"], 2**64 - 1)]})
    assert photographs(answer)[0]["job_conformity"][0]["analyzed_value"] == 2**64 - 1
    for method, asked, field, name in (
        ("POST", f"{path}/results", "results", "analyzed_value"),
        ("PATCH", path, "corrections", "corrected_value"),
    ):
        more = b'"input_id": "%b", "task_name": "reading"' % photograph["id"].encode()
        for value, where in (
            (b"%d" % 2**64, name),
            (b'1, "%b": 1' % name.encode(), name),
            (rb'"a\u0000"', name),
        ):
            body = b'{"%b": [{%b, "%b": %b}]}' % (field.encode(), more, name.encode(), value)
            [(wrong, _)] = problems(world.request(method, asked, body))
            assert wrong == f"{field}[0].{where}"
    box = result(photograph["id"], regions=[{"label": "x", "box": [0, 0, 1, 2**53 + 1]}])
    [(wrong, _)] = problems(world.request("POST", f"{path}/results", {"results": [box]}))
    assert wrong == "results[0].regions[0].box[3]"


def test_what_can_be_kept_is_kept_as_it_was_sent(world: World) -> None:
    metadata = {"most": 2**64 - 1, "least": -(2**63), "text": str(LONG), "small": 1e-7, "whole": 3.0}
    made = world.request("POST", "/v0.2/work-orders", {"name": "WO_1", "metadata": metadata})
    assert made.body["metadata"] == metadata
    record = world.imported()["WO_1"]
    assert {name: repr(value) for name, value in record["metadata"].items()} == {
        name: repr(value) for name, value in metadata.items()
    }


@pytest.mark.parametrize("path", ["/v0.2/work-orders", "/v0.2/batches", "/v1/exports"])
def test_a_byte_order_mark_is_passed_over_at_every_door(world: World, path: str) -> None:
    world.key = create_key(world.cloud.db, customer="acme", scopes=["batches", "exports"], site=SITE)
    bodies: dict[str, Any] = {
        "/v0.2/work-orders": {"name": "WO_1"},
        "/v0.2/batches": {"filename": "a.zip"},
        "/v1/exports": {
            "name": "Nightly",
            "site_ids": [SITE],
            "interval": "daily",
            "connector_type": "email",
            "connector_config": {"emails": ["ada@example.com"]},
        },
    }
    answer = world.request("POST", path, b"\xef\xbb\xbf" + json.dumps(bodies[path]).encode())
    assert answer.status == 201, answer


def test_a_body_is_bounded(world: World) -> None:
    body = {"name": "a", "metadata": {"note": "x" * 1024 * 1024}}
    assert problems(world.request("POST", "/v0.2/work-orders", body)) == [
        ("body", "is larger than 1048576 bytes")
    ]


def test_inputs_can_be_left_out(world: World) -> None:
    id = create(world)
    with_inputs = analyze(world, id, ("meter", data(jpeg("1")))).body
    for query, left_out in (("", False), ("?include_inputs=True", False), ("?include_inputs=false", True)):
        shown = world.request("GET", f"/v0.2/work-orders/{id}{query}")
        expected = json.loads(json.dumps(with_inputs))
        if left_out:
            for item in expected["work_items"]:
                assert item.pop("input")
        assert (shown.status, shown.body) == (200, expected), query
    answer = world.request("GET", f"/v0.2/work-orders/{id}?include_inputs=no")
    assert problems(answer) == [("include_inputs", "must be true or false; got 'no'")]


def test_a_change_is_merged_and_the_rest_stays(world: World) -> None:
    id = create(world, metadata={"a": 1}, tags=["x"], parameters={"kind": "gas"})
    path = f"/v0.2/work-orders/{id}"
    changed = world.request("PATCH", path, {"metadata": {"b": {"c": [1], "d": 2}}})
    assert (changed.status, changed.body["metadata"]) == (200, {"a": 1, "b": {"c": [1], "d": 2}})
    assert (changed.body["tags"], changed.body["parameters"]) == (["x"], {"kind": "gas"})
    assert changed.body["update_date"] > changed.body["create_date"]
    changed = world.request("PATCH", path, {"metadata": {"a": None, "b": {"c": [2], "none": None}}})
    assert changed.body["metadata"] == {"b": {"c": [2], "d": 2}}
    changed = world.request("PATCH", path, {"tags": ["y"], "parameters": {"floors": 2.5}})
    assert (changed.body["tags"], changed.body["parameters"]) == (["y"], {"kind": "gas", "floors": 2.5})
    changed = world.request("PATCH", path, {"parameters": {"kind": None}})
    assert changed.body["parameters"] == {"floors": 2.5}
    nothing = world.request("PATCH", path, {"metadata": {}, "parameters": {}})
    assert (nothing.status, nothing.body) == (200, changed.body)
    emptied = world.request("PATCH", path, {"metadata": None, "tags": None, "parameters": None})
    assert emptied.body == changed.body | {
        "metadata": {},
        "tags": [],
        "parameters": {},
        "update_date": emptied.body["update_date"],
    }


def test_two_changes_at_once_are_both_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    id = create(world, metadata={"a": 1})
    path = f"/v0.2/work-orders/{id}"
    change, others = stored.change, [{"metadata": {"b": 2}}]

    def overtaken(*given: Any, **named: Any) -> Any:
        after = change(*given, **named)
        if others:
            assert world.request("PATCH", path, others.pop()).status == 200
        return after

    monkeypatch.setattr(stored, "change", overtaken)
    assert world.request("PATCH", path, {"metadata": {"c": 3}}).status == 200
    assert world.request("GET", path).body["metadata"] == {"a": 1, "b": 2, "c": 3}


def test_metadata_does_not_grow_without_bound_by_merges(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "METADATA_BYTES", 40)
    id = create(world, metadata={"a": "x" * 20})
    path = f"/v0.2/work-orders/{id}"
    answer = world.request("PATCH", path, {"metadata": {"b": "y" * 20}})
    assert problems(answer) == [("metadata", "may have 40 bytes, merged with what is there")]
    assert world.request("PATCH", path, {"metadata": {"a": None, "b": "y" * 20}}).status == 200


def test_a_parameter_that_the_site_does_not_know_is_kept_and_warned_of(world: World) -> None:
    sent = {"name": "WO_1", "parameters": {"knid": "gas", "owner": 1, "floors": 2}}
    made = world.request("POST", "/v0.2/work-orders", sent)
    assert (made.status, made.body["parameters"]) == (201, sent["parameters"])
    assert made.body["warnings"] == [
        {
            "field": "parameters.knid",
            "message": "'knid' is none of the site's parameters. Did you mean 'kind'?",
        },
        {
            "field": "parameters.owner",
            "message": "'owner' is none of the site's parameters. They are kind, floors.",
        },
    ]
    path = f"/v0.2/work-orders/{made.body['id']}"
    assert "warnings" not in world.request("GET", path).body
    fixed = world.request("PATCH", path, {"parameters": {"knid": None, "kind": "gas"}}).body
    assert (fixed["parameters"], "warnings" in fixed) == ({"kind": "gas", "owner": 1, "floors": 2}, False)
    warned = world.request("PATCH", path, {"parameters": {"flors": 3}}).body["warnings"]
    assert [each["field"] for each in warned] == ["parameters.flors"]


def test_a_site_that_asks_for_no_parameters_warns_of_none(world: World) -> None:
    body = {"name": "WO_1", "parameters": {"anything": 1}}
    made = world.request("POST", f"/sites/{OTHER_SITE}/v0.2/work-orders", body)
    assert (made.status, "warnings" in made.body) == (201, False)


def test_a_change_is_refused_as_a_whole(world: World) -> None:
    id = create(world)
    path = f"/v0.2/work-orders/{id}"
    before = world.request("GET", path).body
    answer = world.request("PATCH", path, {"metadata": {"b": 2}, "name": "WO_2", "parameters": {"kind": 1}})
    assert problems(answer) == [("name", "there is no such field")]
    answer = world.request("PATCH", path, {"metadata": {"b": 2}, "parameters": {"kind": 1}})
    assert problems(answer) == [("parameters.kind", "'kind' should be a string, and is a number.")]
    correction = {"input_id": "none", "task_name": "reading", "corrected_value": 1}
    answer = world.request("PATCH", path, {"metadata": {"b": 2}, "corrections": [correction]})
    assert (answer.status, answer.body["detail"]) == (404, f"the work order {id} has no input none")
    assert world.request("GET", path).body == before


@pytest.mark.parametrize("value", ["12 kWh", 12, 12.5, False, None])
def test_a_correction_stands_beside_the_value_that_it_corrects(world: World, value: Any) -> None:
    id = create(world)
    [photograph] = photographs(analyze(world, id, ("meter", data(jpeg("1")))))
    results = {"results": [result(photograph["id"], 7)]}
    assert world.request("POST", f"/v0.2/work-orders/{id}/results", results).status == 200
    correction = {"input_id": photograph["id"], "task_name": "reading", "corrected_value": value}
    answer = world.request("PATCH", f"/v0.2/work-orders/{id}", {"corrections": [correction]})
    [corrected] = photographs(answer)[0]["job_conformity"]
    assert (corrected["analyzed_value"], corrected["corrected_value"]) == (7, value)
    assert type(corrected["corrected_value"]) is type(value)
    assert corrected["corrected_date"].startswith("2026-11-22T09:17:00.")


def test_a_correction_of_what_was_corrected_since_is_refused(world: World) -> None:
    id = create(world)
    [photograph] = photographs(analyze(world, id, ("meter", data(jpeg("1")))))
    path = f"/v0.2/work-orders/{id}"
    world.request("POST", f"{path}/results", {"results": [result(photograph["id"], 7)]})
    first, second = (
        {"input_id": photograph["id"], "task_name": "reading", "corrected_value": value, "seen_date": ""}
        for value in (8, 9)
    )
    assert world.request("PATCH", path, {"corrections": [first]}).status == 200
    refused = world.request("PATCH", path, {"corrections": [second]})
    assert refused.status == 409
    assert "'reading' was corrected by somebody else meanwhile" in refused.body["detail"]
    [held] = photographs(world.request("GET", path))[0]["job_conformity"]
    assert held["corrected_value"] == 8
    second["seen_date"] = held["corrected_date"]
    [held] = photographs(world.request("PATCH", path, {"corrections": [second]}))[0]["job_conformity"]
    assert held["corrected_value"] == 9


def test_the_sites_are_listed_here_too(world: World) -> None:
    world.stranger()
    answer = world.request("GET", "/v0.2/sites?page_size=1")
    assert [each["name"] for each in answer.body["sites"]] == ["North"]
    more = world.request("GET", f"/v0.2/sites?page_token={answer.body['next_page_token']}")
    assert [each["name"] for each in more.body["sites"]] == ["South"]
    assert more.body["next_page_token"] is None


def test_a_correction_of_an_unknown_task_or_kind_is_refused(world: World) -> None:
    id = create(world)
    [photograph] = photographs(analyze(world, id, ("meter", data(jpeg("1")))))
    correction = {"input_id": photograph["id"], "task_name": "none", "corrected_value": 1}
    path = f"/v0.2/work-orders/{id}"
    answer = world.request("PATCH", path, {"corrections": [correction]})
    assert answer.status == 404
    assert answer.body["detail"] == "the input has no result of the task 'none' to correct"
    correction["corrected_value"] = [1]
    answer = world.request("PATCH", path, {"corrections": [correction]})
    assert problems(answer) == [
        ("corrections[0].corrected_value", "must be a text, a number, true, false or null")
    ]


def test_a_deleted_work_order_is_gone(world: World) -> None:
    id = create(world)
    path = f"/v0.2/work-orders/{id}"
    deleted = world.request("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        answer = world.request(method, path, {} if method == "PATCH" else None)
        assert (answer.status, answer.body["detail"]) == (404, f"the site {SITE} has no work order {id}")
    assert create(world) == id, "its name can be used again"


# --- sites and keys


def test_a_work_order_is_looked_for_in_the_site_that_is_named(world: World) -> None:
    key = create_key(world.cloud.db, customer="acme", scopes=["batches"])
    answer = world.request("POST", "/v0.2/work-orders", {"name": "WO_1"}, key=key)
    assert problems(answer)[0][0] == "site_id"
    ways = [
        {"path": f"/sites/{SITE}/v0.2/work-orders", "key": key},
        {"path": f"/v0.2/work-orders?site_id={SITE}", "key": key},
        {"path": "/v0.2/work-orders", "key": key, "base_url": f"https://api.{SITE}.waybill.example"},
        {"path": "/v0.2/work-orders/", "key": world.key},
    ]
    for number, way in enumerate(ways):
        made = world.request("POST", body={"name": f"WO_{number}"}, **way)  # type: ignore[arg-type]
        assert (made.status, made.body["site_id"]) == (201, SITE), way
        elsewhere = world.request("GET", f"/sites/{OTHER_SITE}/v0.2/work-orders/{made.body['id']}", key=key)
        assert elsewhere.status == 404


def test_another_customer_sees_and_changes_nothing(world: World) -> None:
    world.onboard("globex", "globex")
    add_site(world.cloud.db, id=THEIR_SITE, customer="globex", name="Theirs", task_groups=("meter",))
    theirs = create_key(world.cloud.db, customer="globex", scopes=["batches"], site=THEIR_SITE)
    id = create(world)
    analyze(world, id, ("meter", data(jpeg("1"))))
    before = world.cloud.db.document(f"work_orders/{id}").get()
    body = {"inputs": [{"name": "meter", "data": data(jpeg("2"))}]}
    for site, detail in (
        ("", f"the site {THEIR_SITE} has no work order {id}"),
        (f"?site_id={SITE}", f"there is no site {SITE} of yours"),
    ):
        for method, path, sent_body in (
            ("GET", "", None),
            ("PATCH", "", {"metadata": {"mine": True}}),
            ("DELETE", "", None),
            ("POST", "/analyze", body),
            ("POST", "/results", {"results": []}),
        ):
            answer = world.request(method, f"/v0.2/work-orders/{id}{path}{site}", sent_body, key=theirs)
            assert (answer.status, answer.body["detail"]) == (404, detail), (method, path, site)
    assert world.request("GET", f"/v0.2/task-groups?site_id={SITE}", key=theirs).status == 404
    after = world.cloud.db.document(f"work_orders/{id}").get()
    assert (after.update_time, after.to_dict()) == (before.update_time, before.to_dict())


def test_who_may_not_is_told(world: World) -> None:
    headers = {"X-Nothing": "here"}
    answer = world.request("GET", "/v0.2/task-groups", headers=headers)
    assert (answer.status, answer.body["detail"]) == (401, "Authentication credentials not provided.")
    key = create_key(world.cloud.db, customer="acme", scopes=["exports"], site=SITE)
    answer = world.request("GET", "/v0.2/task-groups", key=key)
    assert (answer.status, "lacks the scope 'batches'" in answer.body["detail"]) == (403, True)


def test_the_sites_task_groups_and_parameters_are_told(world: World) -> None:
    answer = world.request("GET", "/v0.2/task-groups")
    assert (answer.status, answer.body) == (
        200,
        {
            "task_groups": [{"name": "meter", "required": True}, {"name": "door", "required": False}],
            "parameters": [
                {"name": "kind", "type": "string", "required": True},
                {"name": "floors", "type": "number", "required": False},
            ],
        },
    )


@pytest.mark.parametrize("id", ["none", "..", "d99db617"])
def test_what_is_no_id_is_nothing(world: World, id: str) -> None:
    assert world.request("GET", f"/v0.2/work-orders/{id}").status == 404


# --- analyze


def png(size: tuple[int, int] = (16, 16)) -> bytes:
    out = io.BytesIO()
    Picture.new("1", size).save(out, "PNG")
    return out.getvalue()


def test_photographs_are_added_and_checked(world: World) -> None:
    id = create(world)
    answer = analyze(
        world, id, ("meter", data(jpeg("1"))), ("door", data(png(), "jpg")), metadata={"floor": 3}
    )
    assert answer.status == 200
    assert [item["name"] for item in answer.body["work_items"]] == ["meter", "door"]
    first, second = photographs(answer)
    assert (first["file_extension"], second["file_extension"]) == ("jpg", "png")
    assert first["metadata"] == second["metadata"] == {"floor": 3}
    assert first["data_conformity"] == []
    assert second["data_conformity"] == [{"check": "resolution", "code": "LOW_RESOLUTION", "level": "error"}]
    assert answer.body["analysis"] == "DONE"
    stored = {each.name for each in world.suite.storage.list("waybill-local-images", f"acme/{SITE}/")}
    assert stored == {f"acme/{SITE}/{first['id']}.jpg", f"acme/{SITE}/{second['id']}.png"}
    content = world.suite.storage.read("waybill-local-images", f"acme/{SITE}/{first['id']}.jpg")
    assert content == jpeg("1")
    assert not world.suite.pubsub.outstanding()


def test_a_heic_is_added_as_it_came_whatever_its_client_calls_it(world: World) -> None:
    register_heif_opener()  # so that Pillow writes it
    out = io.BytesIO()
    Picture.new("RGB", (200, 100), (9, 99, 199)).save(out, "HEIF")
    answer = analyze(world, create(world), ("meter", data(out.getvalue(), "jpg")))
    [one] = photographs(answer)
    assert one["file_extension"] == "heic"
    assert [each["code"] for each in one["data_conformity"]] == ["LOW_RESOLUTION", "BLURRED"]
    stored = world.suite.storage.read("waybill-local-images", f"acme/{SITE}/{one['id']}.heic")
    assert stored == out.getvalue()


def test_a_photograph_sent_again_is_the_same_input(world: World) -> None:
    id = create(world)
    first = analyze(world, id, ("meter", data(jpeg("1"))))
    again = analyze(world, id, ("meter", data(jpeg("1"))))
    assert again.body == first.body
    assert len(photographs(analyze(world, id, ("meter", data(jpeg("2")))))) == 2


def test_a_photograph_is_fetched_from_its_url(world: World) -> None:
    id = create(world)
    with analysing(Reply(200, jpeg("1"))) as server:
        answer = analyze(world, id, ("meter", {"type": "image", "value": server.url}))
        assert [each.path for each in server.asked] == ["/secret-path?token=s3cr3t"]
        assert "x-waybill-signature" not in server.asked[0].headers
    [photograph] = photographs(answer)
    stored = world.suite.storage.read("waybill-local-images", f"acme/{SITE}/{photograph['id']}.jpg")
    assert stored == jpeg("1")
    assert photographs(analyze(world, id, ("meter", data(jpeg("1"))))) == [photograph]


def test_results_come_with_the_answer(world: World) -> None:
    id = create(world)
    with analysing(right) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(jpeg("1"))))
        assert len(server.asked) == 1
    [photograph] = photographs(answer)
    [found] = photograph["job_conformity"]
    assert (found["task_name"], found["analyzed_value"], answer.body["analysis"]) == ("reading", 7, "DONE")
    assert not world.suite.pubsub.outstanding()


def test_what_its_analyser_does_not_answer_at_once_comes_later(world: World) -> None:
    id = create(world)
    with analysing(Reply(503)) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(png())))
        [photograph] = photographs(answer)
        assert (answer.status, answer.body["analysis"], photograph["job_conformity"]) == (200, "DUE", [])
        assert photograph["data_conformity"] != []
        server.answers = right
        world.drain()
    shown = world.request("GET", f"/v0.2/work-orders/{id}")
    assert (shown.body["analysis"], len(photographs(shown)[0]["job_conformity"])) == ("DONE", 1)


def test_a_slow_analyser_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert work_orders.AT_ONCE.checks + work_orders.AT_ONCE.analyser <= 30
    monkeypatch.setattr(work_orders, "AT_ONCE", steps.Time(checks=10, analyser=0.2))
    id = create(world)
    with analysing(right) as server:

        def sleep(asked: Asked) -> Reply:
            server.over.wait(10)
            return right(asked)

        server.answers = sleep
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(jpeg("1"))))
    assert (answer.status, answer.body["analysis"], len(photographs(answer))) == (200, "DUE", 1)
    assert len(world.suite.pubsub.outstanding()) == 1


def test_a_photograph_is_in_even_if_nothing_of_its_analysis_works(world: World) -> None:
    id = create(world)
    world.suite.traffic.arm("storage.objects.get_media", Fault("error", status=403), times=3)
    answer = analyze(world, id, ("meter", data(jpeg("1"))))
    assert (answer.status, answer.body["analysis"], len(photographs(answer))) == (200, "DUE", 1)
    world.settle()
    assert world.request("GET", f"/v0.2/work-orders/{id}").body["analysis"] == "DONE"


def test_one_that_failed_is_analysed_again_on_request(world: World) -> None:
    id = create(world)
    with analysing(Reply(404)) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(jpeg("1"))))
        assert (answer.status, answer.body["analysis"]) == (200, "FAILED")
        assert answer.body["failure"].startswith("The site's analyser 127.0.0.1 answered 404. It must answer")
        shown = world.request("GET", f"/v0.2/work-orders/{id}")
        assert shown.body == answer.body
        server.answers = right
        answer = analyze(world, id)
        assert (answer.body["analysis"], "failure" in answer.body) == ("DONE", False)
        assert len(photographs(answer)[0]["job_conformity"]) == 1
        assert len(server.asked) == 2
        assert analyze(world, id).body == answer.body
        assert len(server.asked) == 2, "one that is done is not analysed again"


WRONG_INPUTS: list[tuple[Any, str, str]] = [
    (("roof", data(jpeg("1"))), "name", "'roof' is none of the site's task groups: meter, door"),
    (("meter", data(b"")), "data.value", "is empty"),
    (("meter", data(b"GIF89a")), "data.value", "is no JPEG, PNG, WEBP or HEIC image. It is a GIF image"),
    (
        ("meter", data(png((20_000, 20_000)))),
        "data.value",
        "has too many pixels: send a smaller one. It has 400,000,000; 100,000,000 are allowed",
    ),
    (
        ("meter", {"type": "image", "value": "data:image/jpg;base64,AA AA"}),
        "data.value",
        "is not base64 after",
    ),
    (("meter", data(b"\xff\xd8" + bytes(sent.PHOTOGRAPH_BYTES - 1))), "data.value", "is larger than 5000000"),
    (
        ("meter", {"type": "image", "value": "data:text/plain;base64,AAAA"}),
        "data.value",
        "could not be fetched. The URL must be like https://host/path",
    ),
    (
        ("meter", {"type": "image", "value": "file:///etc/passwd"}),
        "data.value",
        "could not be fetched. The URL must be like https://host/path",
    ),
    (
        ("meter", {"type": "image", "value": "http://169.254.169.254/computeMetadata/v1/token"}),
        "data.value",
        "could not be fetched. 169.254.169.254 may not be called: its address 169.254.169.254 is not on the",
    ),
]


@pytest.mark.parametrize(("wrong", "field", "sentence"), WRONG_INPUTS, ids=[each[2] for each in WRONG_INPUTS])
def test_an_input_that_is_wrong_is_named_and_nothing_is_added(
    world: World, wrong: Any, field: str, sentence: str
) -> None:
    id = create(world)
    [(named, message)] = problems(analyze(world, id, ("meter", data(jpeg("1"))), wrong))
    assert named == f"inputs[1].{field}"
    assert message.startswith(sentence)
    assert photographs(world.request("GET", f"/v0.2/work-orders/{id}")) == []
    assert list(world.suite.storage.list("waybill-local-images")) == []


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(404, b"s3cr3t"), "could not be fetched: it was answered 404, and redirects are not followed"),
        (Reply(302, headers={"Location": "http://127.0.0.1/"}), "could not be fetched: it was answered 302"),
        (Reply(200, b"s3cr3t"), "is no JPEG, PNG, WEBP or HEIC image"),
        (Reply(200), "is empty"),
        (Reply(200, b"x" * 65_536, endless=True), "is larger than 5000000 bytes"),
    ],
    ids=lambda value: value.status if isinstance(value, Reply) else "",
)
def test_a_url_that_gives_no_photograph_is_told(world: World, reply: Reply, sentence: str) -> None:
    id = create(world)
    with analysing(reply) as server:
        found = problems(analyze(world, id, ("meter", {"type": "image", "value": server.url})))
    assert server.sent < 12_000_000
    [(field, message)] = found
    assert (field, message.startswith(sentence)) == ("inputs[0].data.value", True), message
    assert "s3cr3t" not in message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inputs"),
        ({"inputs": [{"name": "meter", "data": data(b"x")}] * 6}, "inputs"),
        ({"inputs": [{"name": "meter", "data": {"type": "video", "value": ""}}]}, "inputs[0].data.type"),
        ({"inputs": [{"name": "meter"}]}, "inputs[0].data"),
        ({"inputs": [{"name": "meter", "data": {"type": "image", "value": 1}}]}, "inputs[0].data.value"),
        ({"inputs": [], "metadata": []}, "metadata"),
        ({"inputs": [], "colour": 1}, "colour"),
    ],
)
def test_a_body_that_is_wrong_is_told(world: World, body: Any, field: str) -> None:
    id = create(world)
    found = problems(world.request("POST", f"/v0.2/work-orders/{id}/analyze", body))
    assert [each[0] for each in found] == [field]


def test_nothing_is_fetched_for_a_work_order_that_is_not_there(world: World) -> None:
    with analysing(Reply(200, jpeg("1"))) as server:
        answer = analyze(world, str(uuid.UUID(int=4)), ("meter", {"type": "image", "value": server.url}))
        assert (answer.status, server.asked) == (404, [])


@pytest.mark.slow
def test_five_photographs_of_five_megabytes_fit(world: World) -> None:
    id = create(world)
    start = jpeg("1")
    large = [start + bytes(sent.PHOTOGRAPH_BYTES - len(start) - less) for less in range(5)]
    answer = analyze(world, id, *(("meter", data(content)) for content in large))
    assert answer.status == 200, answer
    assert len(photographs(answer)) == 5


# --- inputs without an image


def plain(type: str, value: Any) -> dict[str, Any]:
    return {"type": type, "value": value}


def test_texts_and_numbers_are_inputs_whose_value_is_in_their_metadata(world: World) -> None:
    """The command line of the original service sends every value as text, and metadata of texts."""
    id = create(world)
    inputs = [
        ("meter", plain("number", "12.50")),
        ("door", plain("text", "Nº 17, Zoë")),
        ("meter", data(jpeg("1"))),
    ]
    answer = analyze(world, id, *inputs, metadata={"floor": "3"})
    assert answer.status == 200, answer
    number, photograph, text = photographs(answer)
    assert (number["metadata"], text["metadata"]) == (
        {"floor": "3", "value": 12.5},
        {"floor": "3", "value": "Nº 17, Zoë"},
    )
    assert photograph["metadata"] == {"floor": "3"}
    for each in (number, text):
        assert (each["file_extension"], each["data_conformity"], each["job_conformity"]) == ("", [], [])
        assert uuid.UUID(each["id"]).version == 5
    assert [item["name"] for item in answer.body["work_items"]] == ["meter", "door"]
    assert world.request("GET", f"/v0.2/work-orders/{id}").body == answer.body
    assert [each.name for each in world.suite.storage.list("waybill-local-images")] == [
        f"acme/{SITE}/{photograph['id']}.jpg"
    ]
    assert analyze(world, id, *inputs, metadata={"floor": "3"}).body == answer.body, (
        "sent again it is the same"
    )


NUMBERS: list[tuple[Any, Any]] = [
    (7, 7),
    ("7", 7),
    ("-0.5", -0.5),
    ("1e3", 1000.0),
    (2**64 - 1, 2**64 - 1),
    (str(2**64 - 1), 2**64 - 1),
]


@pytest.mark.parametrize(("sent", "kept"), NUMBERS)
def test_a_number_is_kept_as_it_was_sent(world: World, sent: Any, kept: Any) -> None:
    [one] = photographs(analyze(world, create(world), ("meter", plain("number", sent))))
    assert repr(one["metadata"]["value"]) == repr(kept)


NO_VALUES: list[tuple[Any, str]] = [
    (plain("number", "twelve"), "must be a number, such as 12.5; got 'twelve'"),
    (plain("number", ""), "must be a number, such as 12.5; got ''"),
    (plain("number", " 7"), "must be a number, such as 12.5; got ' 7'"),
    (plain("number", "0x10"), "must be a number, such as 12.5; got '0x10'"),
    (plain("number", "NaN"), "must be a number, such as 12.5; got 'NaN'"),
    (plain("number", "٣"), "must be a number, such as 12.5; got '٣'"),
    (plain("number", str(LONG)), "cannot be stored exactly as a number: send it with the type text"),
    (plain("number", "1e400"), "cannot be stored exactly as a number: send it with the type text"),
    (plain("number", True), "must be a text or a number"),
    (plain("text", None), "must be a text or a number"),
    (plain("text", ["a"]), "must be a text or a number"),
    (plain("text", 7), "must be a text"),
    (plain("text", "x" * 10_001), "may have 10,000 characters"),
    (plain("image", 7), "must be a text: a URL, or a data: URI"),
]


@pytest.mark.parametrize(("wrong", "sentence"), NO_VALUES)
def test_a_value_that_its_type_cannot_have_is_named(world: World, wrong: Any, sentence: str) -> None:
    id = create(world)
    answer = analyze(world, id, ("meter", plain("text", "fine")), ("meter", wrong))
    assert problems(answer) == [("inputs[1].data.value", sentence)]
    assert photographs(world.request("GET", f"/v0.2/work-orders/{id}")) == []


def test_what_the_metadata_call_value_would_be_lost(world: World) -> None:
    id = create(world)
    answer = analyze(world, id, ("roof", plain("text", "a")), metadata={"value": 1})
    assert [field for field, _ in problems(answer)] == ["metadata.value", "inputs[0].name"]
    assert analyze(world, id, ("meter", data(jpeg("1"))), metadata={"value": 1}).status == 200


def test_a_text_counts_for_the_progress_and_for_how_many_inputs_there_may_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = create(world)
    answer = analyze(world, id, ("meter", plain("text", "a")))
    assert (answer.body["progress_score"], answer.body["analysis"]) == (1.0, "DONE")
    monkeypatch.setattr(stored, "MAX_INPUTS", 2)
    answer = analyze(world, id, ("meter", plain("text", "b")), ("meter", plain("text", "c")))
    assert problems(answer) == [("inputs", "a work order may have at most 2")]


def test_an_analyser_is_asked_about_photographs_alone_and_answers_for_them(world: World) -> None:
    id = create(world)
    with analysing(right) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", plain("number", 7)))
        assert (answer.body["analysis"], server.asked) == ("DONE", [])
        answer = analyze(world, id, ("meter", data(jpeg("1"))), ("door", plain("text", "a")))
        [asked] = server.asked
    assert answer.body["analysis"] == "DONE"
    assert [len(each["job_conformity"]) for each in photographs(answer)] == [0, 1, 0]
    assert len(asked.body["images"]) == 1
    assert len(photographs(Answer(200, asked.body["work_order"], {}))) == 3


def test_results_end_what_is_due_though_they_name_no_text(world: World) -> None:
    id = create(world)
    with analysing(Reply(503)) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(jpeg("1"))), ("door", plain("text", "a")))
    assert answer.body["analysis"] == "DUE"
    body = {"results": [result(photographs(answer)[0]["id"])]}
    answer = world.request("POST", f"/v0.2/work-orders/{id}/results", body)
    assert (answer.status, answer.body["analysis"]) == (200, "DONE")


# --- results that come later


def test_results_that_come_later_end_the_waiting(world: World) -> None:
    id = create(world)
    with analysing(Reply(202)) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(jpeg("1"))), ("door", data(jpeg("2"))))
    assert (answer.status, answer.body["analysis"]) == (200, "WAITING")
    first, second = (each["id"] for each in photographs(answer))
    body = {"results": [result(first, 1, hard=True), result("none", 2)], "model": "new"}
    answer = world.request("POST", f"/v0.2/work-orders/{id}/results", body)
    assert (answer.status, answer.body["analysis"]) == (200, "DONE")
    found = {each["id"]: each["job_conformity"] for each in photographs(answer)}
    assert [each["analyzed_value"] for each in found[first]] == [1]
    assert found[second] == []
    kept = store.look(world.cloud, world.site, id).stored
    assert kept.labels == {first: {"reading": {"hard": True}}}
    assert world.request("POST", f"/v0.2/work-orders/{id}/results", body).body == answer.body


def test_results_that_come_before_its_answer_end_the_waiting_too(world: World) -> None:
    id = create(world)

    def quick(asked: Asked) -> Reply:
        body = {"results": [result(each["id"]) for each in asked.body["images"]]}
        assert world.request("POST", f"/v0.2/work-orders/{id}/results", body).status == 200
        return Reply(202)

    with analysing(quick) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(jpeg("1"))))
    assert (answer.body["analysis"], len(photographs(answer)[0]["job_conformity"])) == ("DONE", 1)


def test_results_of_some_that_come_before_its_answer_leave_it_waiting_for_the_others(world: World) -> None:
    id = create(world)

    def quick(asked: Asked) -> Reply:
        body = {"results": [result(asked.body["images"][0]["id"])]}
        assert world.request("POST", f"/v0.2/work-orders/{id}/results", body).body["analysis"] == "DUE"
        return Reply(202)

    with analysing(quick) as server:
        site_with(world, server.url)
        answer = analyze(world, id, ("meter", data(jpeg("1"))), ("door", data(jpeg("2"))))
    assert answer.body["analysis"] == "WAITING"
    assert [len(each["job_conformity"]) for each in photographs(answer)] == [1, 0]


def test_results_do_not_end_what_is_due(world: World) -> None:
    id = create(world)
    world.suite.traffic.arm("storage.objects.get_media", Fault("error", status=403), times=1)
    [photograph] = photographs(analyze(world, id, ("meter", data(png()))))
    body = {"results": [result(photograph["id"])]}
    answer = world.request("POST", f"/v0.2/work-orders/{id}/results", body)
    assert (answer.body["analysis"], photographs(answer)[0]["data_conformity"]) == ("DUE", [])
    world.drain()
    shown = world.request("GET", f"/v0.2/work-orders/{id}")
    assert (shown.body["analysis"], len(photographs(shown)[0]["data_conformity"])) == ("DONE", 1)


def test_results_that_are_wrong_are_named_and_nothing_is_taken(world: World) -> None:
    id = create(world)
    [photograph] = photographs(analyze(world, id, ("meter", data(jpeg("1")))))
    good, bad = result(photograph["id"]), result(photograph["id"], [], confidence=2)
    answer = world.request("POST", f"/v0.2/work-orders/{id}/results", {"results": [good, bad]})
    assert problems(answer) == [
        ("results[1].analyzed_value", "must be a text, a number, true, false or null"),
        ("results[1].confidence", "input should be less than or equal to 1"),
    ]
    assert photographs(world.request("GET", f"/v0.2/work-orders/{id}"))[0]["job_conformity"] == []


@pytest.mark.parametrize(("size", "status"), [(8_000_000, 200), (8_400_000, 400)])
def test_results_are_as_large_as_an_answer_may_be(world: World, size: int, status: int) -> None:
    id = create(world)
    body = {"results": [], "padding": "x" * size}
    assert world.request("POST", f"/v0.2/work-orders/{id}/results", body).status == status


# --- messages


def test_a_change_of_parameters_is_analysed_and_other_changes_are_not(world: World) -> None:
    id = create(world, parameters={"kind": "gas"})
    path = f"/v0.2/work-orders/{id}"
    with analysing(right) as server:
        site_with(world, server.url)
        analyze(world, id, ("meter", data(jpeg("1"))))
        world.request("PATCH", path, {"metadata": {"a": 1}, "tags": ["x"]})
        assert world.suite.pubsub.outstanding() == []
        changed = world.request("PATCH", path, {"parameters": {"kind": "water"}})
        assert changed.body["analysis"] == "DUE"
        world.drain()
        assert [each.body["parameters"]["kind"] for each in server.asked] == ["gas", "water"]
    assert world.request("GET", path).body["analysis"] == "DONE"


def test_a_message_that_was_lost_is_published_when_the_change_is_sent_again(world: World) -> None:
    id = create(world, parameters={"kind": "gas"})
    path = f"/v0.2/work-orders/{id}"
    with analysing(right) as server:
        site_with(world, server.url)
        analyze(world, id, ("meter", data(jpeg("1"))))
        world.suite.traffic.arm("pubsub.Publish", Fault("error", status=7), times=1)
        change = {"parameters": {"kind": "water"}}
        assert world.request("PATCH", path, change).status == 500
        assert world.suite.pubsub.outstanding() == []
        assert world.request("PATCH", path, change).status == 200
        world.drain()
        assert len(server.asked) == 2


# --- how large a work order may be, by every door


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """A small limit on records: a test of the real one makes five MiB at every door."""
    monkeypatch.setattr(envelope, "RECORD_BYTES", 2_000)
    return 2_000


def record_of(world: World, id: str) -> bytes:
    fields = fields_of(world.cloud.db.document(f"work_orders/{id}").get())
    return envelope.unpack(fields["encoding"], fields["record"], lambda _: b"")


def fitting(world: World, **body: Any) -> str:
    """A work order whose record has just as many bytes as it may."""
    first = create(world, metadata={"a": ""}, **body)
    room = envelope.RECORD_BYTES - len(record_of(world, first))
    path = f"/v0.2/work-orders/{first}"
    assert world.request("PATCH", path, {"metadata": {"a": "x" * room}}).status == 200
    assert len(record_of(world, first)) == envelope.RECORD_BYTES
    return first


TOO_LARGE = "bytes as a record, and may have 2,000: send less metadata, fewer inputs or shorter results"


def test_a_work_order_that_is_made_too_large_is_refused(world: World, small: int) -> None:
    body = {"name": "WO_1", "metadata": {"a": "x" * small}}
    [(field, message)] = problems(world.request("POST", "/v0.2/work-orders", body))
    assert (field, message.endswith(TOO_LARGE)) == ("work_order", True)
    assert world.request("GET", f"/v0.2/work-orders/{store.work_order_id(SITE, 'WO_1')}").status == 404


def test_a_record_that_is_full_is_made_no_larger_by_any_door(world: World, small: int) -> None:
    id = fitting(world)
    path, before = f"/v0.2/work-orders/{id}", record_of(world, id)
    grown = [
        world.request("PATCH", path, {"metadata": {"b": 1}}),
        analyze(world, id, ("meter", {"type": "text", "value": "read"})),
        analyze(world, id, ("meter", data(jpeg("a")))),
    ]
    for answer in grown:
        [(field, message)] = problems(answer)
        assert (field, message.endswith(TOO_LARGE)) == ("work_order", True)
    assert record_of(world, id) == before
    assert world.request("PATCH", path, {"metadata": {"a": "less"}}).status == 200


def test_results_that_do_not_fit_into_the_record_are_refused(world: World, small: int) -> None:
    id = create(world, metadata={"a": "x" * 1_200})
    [photo] = photographs(analyze(world, id, ("meter", data(jpeg("a")))))
    told = {"results": [{**result(photo["id"]), "message": "x" * 900}]}
    answer = world.request("POST", f"/v0.2/work-orders/{id}/results", told)
    [(field, message)] = problems(answer)
    assert (field, message.endswith(TOO_LARGE)) == ("work_order", True)


def test_checks_that_do_not_fit_into_the_record_fail_the_analysis(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_one = analysers.photograph(3, side=100)
    id = create(world)
    with monkeypatch.context() as later:
        later.setattr(work_orders, "AT_ONCE", steps.Time(-1, 0))
        assert analyze(world, id, ("meter", data(small_one, "png"))).status == 200
    monkeypatch.setattr(envelope, "RECORD_BYTES", len(record_of(world, id)) + 10)
    world.drain()
    shown = world.request("GET", f"/v0.2/work-orders/{id}").body
    assert shown["analysis"] == "FAILED"
    assert "What the checks say of its photographs do not fit into the work order" in shown["failure"]
    assert not world.failures


def test_the_metadata_of_inputs_have_a_limit_of_their_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent, "METADATA_BYTES", len(b'{"a":"xx"}'))
    id = create(world)
    text = ("meter", {"type": "text", "value": "read"})
    assert analyze(world, id, text, metadata={"a": "xx"}).status == 200
    answer = analyze(world, id, text, metadata={"a": "xxx"})
    assert problems(answer) == [("metadata", "may have 10 bytes: each of the inputs gets a copy")]


def oversize(world: World, id: str) -> None:
    """Keep a record as code before there was a limit could: five hundred times as large as it is packed."""
    reference = world.cloud.db.document(f"work_orders/{id}")
    packed = zlib.compress(record_of(world, id) + b" " * envelope.RECORD_BYTES)
    reference.update({"encoding": "zlib", "record": packed, "update_date": firestore.SERVER_TIMESTAMP})


def test_an_oversized_record_is_not_read_and_can_be_deleted(world: World, small: int) -> None:
    id = create(world)
    oversize(world, id)
    path = f"/v0.2/work-orders/{id}"
    for method, at, body in (
        ("GET", path, None),
        ("PATCH", path, {"tags": ["a"]}),
        ("POST", f"{path}/analyze", {"inputs": []}),
        ("POST", f"{path}/results", {"results": []}),
    ):
        answer = world.request(method, at, body)
        assert (answer.status, answer.body["detail"]) == (
            409,
            "work_order: is kept with more than 2,000 bytes, and not read: delete it and make it anew",
        ), method
    assert [each["id"] for each in world.request("GET", "/v0.2/work-orders").body["work_orders"]] == [id]
    assert world.request("DELETE", path).status == 204
    assert create(world) == id


def test_an_oversized_record_costs_a_scan_itself_alone(
    world: World, small: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [create(world, name=f"WO_{n}") for n in range(3)]
    oversize(world, ids[1])
    now = server_time(world.cloud.db)
    first, before = now - timedelta(hours=1), now + timedelta(hours=1)
    window = Window(first, before)
    found = [each.id for each in scan.read(world.cloud, SITE, first, before, None, window, now)]
    assert sorted(found) == sorted([ids[0], ids[2]])
    standing = [each.id for each in scan.standing(world.cloud, SITE, IdRange("0", "g"), now)]
    assert sorted(standing) == sorted([ids[0], ids[2]])
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "is left out" in line]
    assert {(each["severity"], each["work_order"]) for each in logged} == {("ERROR", ids[1])}


# --- what an error says of a body in which much is wrong


def test_an_error_names_twenty_fields_and_counts_the_rest(world: World) -> None:
    body = {"name": "WO_1", **{f"{'x' * 500}{n}": n for n in range(1_500)}}
    answer = world.request("POST", "/v0.2/work-orders", body)
    assert answer.status == 400
    assert len(answer.body["errors"]) == 20
    assert answer.body["more_errors"] == 1_480
    assert answer.body["detail"].endswith("…") or answer.body["detail"].endswith("; and 1,480 more")
    assert len(json.dumps(answer.body)) < 20_000
    assert all(len(each["field"]) <= 200 for each in answer.body["errors"])


def test_a_long_value_is_cut_where_an_error_repeats_it(world: World) -> None:
    id = create(world)
    long = "x" * 100_000
    path = f"/v0.2/work-orders/{id}"
    inputs = [
        {"name": "meter", "data": {"type": kind, "value": long}} for kind in ("number", "image", "text")
    ]
    correction = {"input_id": long, "task_name": long, "corrected_value": long}
    for method, at, body in (
        *(("POST", f"{path}/analyze", {"inputs": [each]}) for each in inputs),
        ("POST", f"{path}/analyze", {"inputs": [{"name": long, "data": {"type": long, "value": [long]}}]}),
        ("POST", "/v0.2/work-orders", {"name": long}),
        ("PATCH", path, {"parameters": {"kind": 1, long: 1}}),
        ("PATCH", path, {"corrections": [correction]}),
    ):
        answer = world.request(method, at, body)
        assert answer.status == 400, (method, at, answer)
        assert len(json.dumps(answer.body)) < 3_000
