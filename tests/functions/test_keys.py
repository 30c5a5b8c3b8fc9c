"""`/v1/keys`: a customer lists, makes and revokes its own keys, and sees when each was used last."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from infra.local.traffic import Fault
from shared.accounts import keys
from shared.accounts.keys import MAX_NAME, REVOKED_KEPT, SCOPES, create_key, signing_secret
from shared.accounts.limits import API_KEYS
from shared.gcp.documents import fields_of
from tests.subjects.letters import HOSTILE, LONG
from tests.world import SITE, THEIR_SITE, Answer, World


@pytest.fixture
def asks(world: World) -> Callable[..., Answer]:
    """Calls with a key of the customer's that has the scope, by default without any other header."""
    key = create_key(world.cloud.db, customer="acme", scopes=["keys", "batches"])

    def ask(method: str, path: str = "", body: Any = None, *, once: str = "", by: str = key) -> Answer:
        headers = {"Authorization": f"Token {by}"} | ({"Idempotency-Key": once} if once else {})
        return world.request(method, f"/v1/keys{path}", body, headers=headers)

    return ask


Asks = Callable[..., Answer]


def id_of(key: str) -> str:
    return key.split("_")[1]


def document(world: World, id: str) -> dict[str, Any]:
    return fields_of(world.cloud.db.document(f"api_keys/{id}").get())


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [each["id"] for each in answer.body["keys"]]


def test_a_key_is_shown_once_opens_what_it_is_for_and_is_revoked(world: World, asks: Asks) -> None:
    made = asks("POST", body={"scopes": ["batches"], "site": SITE, "name": "the van"})
    assert made.status == 201, made
    key = made.body.pop("key")
    assert made.body == {
        "id": id_of(key),
        "name": "the van",
        "scopes": ["batches"],
        "site": SITE,
        "created": made.body["created"],
        "revoked": False,
        "last_used": None,
    }
    assert world.request("GET", "/v0.2/work-orders", key=key).status == 200
    assert world.request("GET", "/v1/exports", key=key).status == 403
    assert asks("GET", by=key).status == 403, "only the scope `keys` opens this"
    shown = asks("GET", f"/{id_of(key)}").body
    assert shown == {**made.body, "last_used": shown["last_used"]}
    assert shown["last_used"] is not None
    listed = asks("GET")
    assert (key.split("_")[2] in str(listed.body), id_of(key) in ids(listed)) == (False, True)
    for _ in range(2):
        revoked = asks("POST", f"/{id_of(key)}:revoke")
        assert (revoked.status, revoked.body["revoked"]) == (200, True), revoked
    assert world.request("GET", "/v0.2/work-orders", key=key).status == 401
    assert [each["revoked"] for each in asks("GET").body["keys"] if each["id"] == id_of(key)] == [True]
    kept = document(world, id_of(key))["remove_after"] - world.suite.clock.now()
    assert abs(kept - REVOKED_KEPT) < timedelta(minutes=1)


def test_a_key_gives_only_scopes_that_it_has(world: World, asks: Asks) -> None:
    before = len(ids(asks("GET")))
    for scopes in (["exports"], ["batches", "jobs"], list(SCOPES), ["signing"]):
        answer = asks("POST", body={"scopes": scopes})
        assert answer.status == 403, (scopes, answer)
        lacking = next(each for each in scopes if each not in ("keys", "batches"))
        assert repr(lacking) in answer.body["detail"]
    assert len(ids(asks("GET"))) == before
    assert asks("POST", body={"scopes": ["keys", "batches"]}).status == 201


def test_a_key_that_signs_is_made_with_its_sealed_secret(world: World, asks: Asks) -> None:
    db, settings = world.cloud.db, world.cloud.settings
    by = create_key(db, customer="acme", scopes=["keys", "signing"], settings=settings)
    key = asks("POST", body={"scopes": ["signing"]}, by=by).body["key"]
    assert signing_secret(world.cloud, id_of(key))[1] == key.split("_", 2)[2]
    asks("POST", f"/{id_of(key)}:revoke")
    assert not db.document(f"secrets/key-{id_of(key)}").get().exists


def test_a_key_can_revoke_itself_and_then_opens_nothing(world: World, asks: Asks) -> None:
    key = asks("POST", body={"scopes": ["keys"]}).body["key"]
    assert asks("POST", f"/{id_of(key)}:revoke", by=key).status == 200
    assert asks("GET", by=key).status == 401


def test_another_customers_keys_are_not_listed_and_not_found(world: World, asks: Asks) -> None:
    world.stranger()
    theirs = create_key(world.cloud.db, customer="globex", scopes=["keys"])
    assert ids(asks("GET", by=theirs)).count(id_of(world.key)) == 0
    assert asks("POST", f"/{id_of(world.key)}:revoke", by=theirs).status == 404
    assert asks("GET", f"/{id_of(world.key)}", by=theirs).status == 404
    for none in ("0" * 16, "__aaaaaaaaaaaa__", "0" * 15 + "G", "0" * 15):
        assert asks("POST", f"/{none}:revoke").status == 404, none
        assert asks("GET", f"/{none}").status == 404, none
    assert not document(world, id_of(world.key))["revoked"]
    page = asks("GET", "?page_size=1", by=theirs).body
    assert asks("GET", f"?page_token={page['next_page_token'] or 'eA'}").status == 400
    answer = asks("POST", body={"scopes": ["keys"], "site": SITE}, by=theirs)
    assert (answer.status, answer.body["errors"][0]["field"]) == (400, "site"), answer


def test_a_request_sent_twice_makes_one_key_and_does_not_show_it_again(world: World, asks: Asks) -> None:
    body = {"scopes": ["batches"]}
    key = asks("POST", body=body, once="a").body["key"]
    count = len(ids(asks("GET")))
    again = asks("POST", body=body, once="a")
    assert (again.status, again.body["existing_id"]) == (409, id_of(key)), again
    assert key.split("_")[2] not in str(again.body)
    assert f"has made the key {id_of(key)} already" in again.body["detail"]
    other = asks("POST", body={"scopes": ["keys"]}, once="a")
    assert (other.status, other.body["existing_id"]) == (409, id_of(key)), other
    assert "was used for another request" in other.body["detail"]
    assert len(ids(asks("GET"))) == count
    assert asks("POST", body=body, once="b").status == 201
    world.stranger()
    theirs = create_key(world.cloud.db, customer="globex", scopes=["keys", "batches"])
    assert asks("POST", body=body, once="a", by=theirs).status == 201, "another customer's are its own"


def test_two_requests_that_overlap_make_one_key(
    world: World, asks: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, answers = keys.create_key, []

    def create_after_another(*args: Any, **more: Any) -> str:
        monkeypatch.setattr(keys, "create_key", create)
        answers.append(asks("POST", body={"scopes": ["batches"]}, once="a"))
        return create(*args, **more)

    monkeypatch.setattr(keys, "create_key", create_after_another)
    answers.append(asks("POST", body={"scopes": ["batches"]}, once="a"))
    assert [each.status for each in answers] == [201, 409], answers
    assert answers[1].body["existing_id"] == answers[0].body["id"]


def test_a_key_whose_commits_answer_was_lost_is_shown_all_the_same(world: World, asks: Asks) -> None:
    asks("GET")  # its use is noted
    world.suite.traffic.arm("firestore.Commit", Fault("reset_after"))
    made = asks("POST", body={"scopes": ["batches"]}, once="a")
    assert made.status == 201, made
    assert world.request("GET", f"/v0.2/work-orders?site_id={SITE}", key=made.body["key"]).status == 200


def test_names_are_kept_as_they_are_and_wrong_fields_are_named(world: World, asks: Asks) -> None:
    for name in ("<script>alert(1)</script>", "\u202eevil\u200f 🔑", LONG[:MAX_NAME]):
        assert asks("POST", body={"scopes": ["batches"], "name": name}).body["name"] == name
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["batches", "batches"]}, "scopes"),
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": ["batches"], "name": ""}, "name"),
        ({"scopes": ["batches"], "name": HOSTILE}, "name"),
        ({"scopes": ["batches"], "name": "x" * (MAX_NAME + 1)}, "name"),
        ({"scopes": ["batches"], "site": "nowhere"}, "site"),
        ({"scopes": ["batches"], "site": "a/b"}, "site"),
        ({"scopes": ["batches"], "site": THEIR_SITE}, "site"),
        ({"scopes": ["batches"], "key": "wb_"}, "key"),
    ]
    world.stranger()
    for body, field in wrong:
        answer = asks("POST", body=body)
        found = [each["field"] for each in (answer.body.get("errors") or [])]
        assert (answer.status, found) == (400, [field]), (body, answer)


def test_a_customer_has_at_most_so_many_keys_and_revoking_makes_room(world: World, asks: Asks) -> None:
    before = len(ids(asks("GET")))
    world.cloud.db.document("customers/acme").update({API_KEYS.name: before + 1})
    first = asks("POST", body={"scopes": ["batches"]})
    assert first.status == 201, first
    full = asks("POST", body={"scopes": ["batches"]})
    assert full.status == 409, full
    assert full.body["detail"].startswith(f"the limit api_keys is {before + 1} keys that are not revoked")
    asks("POST", f"/{first.body['id']}:revoke")
    assert asks("POST", body={"scopes": ["batches"]}).status == 201


def test_keys_come_in_pages_the_newest_first(world: World, asks: Asks) -> None:
    made = []
    for _ in range(3):
        world.wait(timedelta(seconds=1))
        made.append(asks("POST", body={"scopes": ["batches"]}).body["id"])
    first = asks("GET", "?page_size=2")
    rest = asks("GET", f"?page_size=50&page_token={first.body['next_page_token']}")
    assert ids(first) == made[:0:-1]
    assert (ids(rest)[0], rest.body["next_page_token"]) == (made[0], None)


# --- last use


def test_the_last_use_of_a_key_is_noted_once_an_hour(world: World, asks: Asks) -> None:
    key = create_key(world.cloud.db, customer="acme", scopes=["exports"])
    path = f"api_keys/{id_of(key)}"

    def noted() -> list[Any]:
        return world.suite.traffic.calls("firestore.Commit", path)

    def use() -> Any:
        assert world.request("GET", "/v1/exports", key=key).status == 200
        return document(world, id_of(key))["last_used"]

    world.suite.traffic.forget()
    first = use()
    assert abs(first - world.suite.clock.now()) < timedelta(seconds=5)
    world.wait(timedelta(minutes=59))
    assert (use(), use(), len(noted())) == (first, first, 1)
    world.wait(timedelta(minutes=1))
    second = use()
    assert (second - first >= timedelta(hours=1), len(noted())) == (True, 2)
    [listed] = [each for each in asks("GET").body["keys"] if each["id"] == id_of(key)]
    assert listed["last_used"] == f"{second:%Y-%m-%dT%H:%M:%S}.{second.microsecond // 1000:03}Z"


def new_key(world: World) -> tuple[str, str]:
    """A key that was never used, and the path of its document."""
    key = create_key(world.cloud.db, customer="acme", scopes=["exports"])
    return key, f"api_keys/{id_of(key)}"


def test_a_wrong_secret_is_no_use_of_a_key(world: World) -> None:
    key, _ = new_key(world)
    wrong = f"wb_{id_of(key)}_{'x' * 43}"
    assert world.request("GET", "/v1/exports", key=wrong).status == 401
    assert "last_used" not in document(world, id_of(key))


def test_a_request_goes_on_where_the_use_of_its_key_cannot_be_noted(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    key, path = new_key(world)
    down = Fault("error", status=grpc.StatusCode.UNAVAILABLE.value[0])
    world.suite.traffic.forget()
    world.suite.traffic.arm("firestore.Commit", down, times=1_000, resource=path)
    for _ in range(3):
        assert world.request("GET", "/v1/exports", key=key).status == 200
    assert len(world.suite.traffic.calls("firestore.Commit", path)) == 1, "it is not tried at each request"
    assert capsys.readouterr().out.count("the use of a key could not be noted") == 1
    world.suite.traffic.disarm()


def test_of_several_uses_at_once_one_is_noted_and_none_brings_a_key_back(world: World) -> None:
    reference = world.cloud.db.document(new_key(world)[1])
    as_both_read_it = reference.get()
    keys.note_use(world.cloud.db, as_both_read_it)
    noted = reference.get()
    keys.note_use(world.cloud.db, as_both_read_it)
    assert noted.get("last_used") == as_both_read_it.read_time
    assert reference.get().update_time == noted.update_time
    reference.delete()
    keys.note_use(world.cloud.db, as_both_read_it)
    assert not reference.get().exists
