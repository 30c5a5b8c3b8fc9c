"""Wrong keys, tokens and links, on every surface: counted by address, slowed, and logged without a secret."""

import json
from hashlib import sha256
from typing import Any

import flask
import pytest

from shared import logs
from shared.accounts import strangers
from shared.accounts.keys import create_key, revoke_key
from shared.accounts.strangers import KNOWN_KEPT, WRONG, check, id_of
from shared.errors import TooMany, Unauthenticated
from shared.http.origin import address_of
from shared.http.rates import Rate, Rates
from tests.world import SITE, Answer, World, environ

WRONG_ID = "0123456789abcdef"

FEW = Rate(WRONG.per_second, burst=3)

ADDRESS = "203.0.113.7"


def secret(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()[:43]


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which wrong ones are counted: it stands, until a test moves it."""
    now = [100.0]
    monkeypatch.setattr(strangers, "_wrong", Rates(10, lambda: now[0]))
    return now


@pytest.fixture
def few(still: list[float], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many wrong ones are looked at here: fewer, so that it is quick."""
    monkeypatch.setattr(strangers, "WRONG", FEW)
    return int(FEW.burst)


def signed(key: str) -> dict[str, str]:
    parts = f"Access={key}, SignedHeaders=host;x-sdk-date, Signature={'0' * 64}"
    return {"Authorization": f"SDK-HMAC-SHA256 {parts}", "X-Sdk-Date": "20261128T210141Z"}


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def send(world: World, door: str, key: str, address: str = ADDRESS) -> Answer:
    """Ask at one of the doors with this key."""
    via = {"X-Forwarded-For": f"198.51.100.1,{address},192.0.2.1"}
    token = {"Authorization": f"Token {key}"}
    user = {"name": "bob", "password": key}
    match door:
        case "exports":
            return world.request("GET", "/v1/exports", headers=token | via)
        case "batches":
            return world.request("GET", f"/v0.2/batches?site_id={SITE}", headers={"X-Auth-Token": key} | via)
        case "jobs":
            headers = {"Authorization": f"Bearer {key}"} | via
            return world.request("GET", "/ls/api/oauth2/validate", headers=headers)
        case "datasets":
            return world.request("GET", "/v2/acme/datasets", headers={"X-Auth-Token": key} | via)
        case "signature":
            return world.request("GET", "/v2/acme/datasets", headers=signed(key.split("_")[1]) | via)
        case "token":
            form = f"grant_type=password&username=bob&password={key}".encode()
            return world.request("POST", "/ls/api/oauth2/token", form, headers=FORM | via)
        case "login":
            body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
            return world.request("POST", "/v3/auth/tokens", body, headers=via)
        case "projects":
            return world.request("GET", "/v3/projects", headers={"X-Auth-Token": key} | via)
    assert door == "link"
    return world.request("GET", f"/v1/downloads/{key}", headers={"User-Agent": "x"} | via)


DOORS = {
    **dict.fromkeys(("exports", "batches", "jobs", "datasets", "projects", "signature", "login"), 401),
    "token": 400,
    "link": 404,
}
"""The doors that something secret opens, and what each says of a wrong one."""


@pytest.mark.parametrize(("door", "refusal"), DOORS.items(), ids=DOORS)
def test_wrong_ones_of_an_address_are_slowed_before_anything_is_read(
    world: World, few: int, capsys: pytest.CaptureFixture[str], door: str, refusal: int
) -> None:
    logs.configure()
    id = WRONG_ID * 2 if door == "link" else WRONG_ID
    form = f"{id}_{{}}" if door == "link" else f"wb_{id}_{{}}"
    sent = [form.format(secret(number)) for number in range(few + 2)]
    assert [send(world, door, key).status for key in sent[:few]] == [refusal] * few
    reads = len(world.suite.traffic.calls("firestore."))
    for key in sent[few:]:
        answer = send(world, door, key)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5"), answer
    assert len(world.suite.traffic.calls("firestore.")) == reads, "a slowed one was looked up"
    logged = capsys.readouterr().out
    assert not [key for number, key in enumerate(sent) if secret(number) in logged]
    lines = [json.loads(line) for line in logged.splitlines() if "was refused" in line]
    assert [(each["id"], each["address"]) for each in lines] == [(id, ADDRESS)] * few
    assert [each["slowed"] for each in lines] == [False] * (few - 1) + [True]
    assert send(world, door, sent[0], address="203.0.113.8").status == refusal, "another address"


def test_a_right_key_of_a_slowed_address_passes_if_it_was_known_lately(world: World, few: int) -> None:
    other = create_key(world.cloud.db, customer="acme", scopes=["exports"])
    assert send(world, "exports", world.key).status == 200
    for number in range(few):
        assert send(world, "exports", f"wb_{WRONG_ID}_{secret(number)}").status == 401
    assert send(world, "exports", other).status == 429, "nobody knows yet that it is right"
    assert [send(world, "exports", world.key).status for _ in range(3)] == [200] * 3
    assert send(world, "batches", world.key).status == 200
    changed = world.key[:-1] + ("A" if world.key[-1] != "A" else "B")
    assert send(world, "exports", changed).status == 429, "its id alone opens nothing"
    assert send(world, "exports", other, address="203.0.113.8").status == 200
    revoke_key(world.cloud.db, world.key.split("_")[1])
    assert [send(world, "exports", world.key).status for _ in range(2)] == [401, 429]


def test_a_request_without_a_key_is_not_counted(world: World, few: int) -> None:
    via = {"X-Forwarded-For": f"{ADDRESS},192.0.2.1", "Accept": "*/*"}
    for _ in range(few + 2):
        assert world.request("GET", "/v1/exports", headers=via).status == 401
    assert send(world, "exports", world.key).status == 200


def test_wrong_ones_come_through_again_as_time_goes_by(still: list[float]) -> None:
    request, asked = flask.Request(environ("/")), []

    def wrong() -> None:
        asked.append(still[0])
        raise Unauthenticated("no")

    def times(refusal: type[Exception], count: int) -> None:
        for _ in range(count):
            with pytest.raises(refusal):
                check(request, "key", f"wb_{WRONG_ID}_{secret(0)}", wrong)

    times(Unauthenticated, int(WRONG.burst))
    times(TooMany, 3)
    still[0] += 5
    times(Unauthenticated, 1)
    times(TooMany, 1)
    assert len(asked) == int(WRONG.burst) + 1


def test_no_more_right_ones_are_remembered_than_said() -> None:
    strangers.forget()
    request: Any = flask.Request(environ("/"))
    for number in range(KNOWN_KEPT + 10):
        strangers._known.add(str(number))
    assert len(strangers._known._at) == KNOWN_KEPT
    assert not strangers._known.has("9")
    assert strangers._known.has(str(KNOWN_KEPT))
    assert check(request, "key", "k", lambda: 1) == 1
    strangers.forget()


ADDRESSES: dict[str, tuple[str | None, str]] = {
    "the load balancer's": ("203.0.113.7,192.0.2.1", "203.0.113.7"),
    "behind what a client says": ("1.1.1.1, 2.2.2.2 , 203.0.113.7,192.0.2.1", "203.0.113.7"),
    "words of a client": ("unknown, <script>,203.0.113.7, 192.0.2.1", "203.0.113.7"),
    "a single one": ("203.0.113.7", "203.0.113.7"),
    "none": (None, "192.0.2.200"),
    "an empty one": (" , ", "192.0.2.200"),
    "of IPv6 the network": ("2001:db8:1:2:3:4:5:6,2600:1901::1", "2001:db8:1:2::/64"),
    "of IPv6 the same network": ("2001:db8:1:2:ffff::,2600:1901::1", "2001:db8:1:2::/64"),
    "IPv4 in IPv6": ("::ffff:203.0.113.7,192.0.2.1", "203.0.113.7"),
    "no address": (f"{'x' * 100},192.0.2.1", "x" * 64),
}


@pytest.mark.parametrize(("said", "address"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_the_one_that_the_load_balancer_saw(said: str | None, address: str) -> None:
    headers = {"X-Forwarded-For": said} if said is not None else {}
    made = environ("/", headers=list(headers.items()), environ_base={"REMOTE_ADDR": "192.0.2.200"})
    assert address_of(flask.Request(made)) == address


@pytest.mark.parametrize(
    ("carried", "id"),
    [
        (f"wb_{WRONG_ID}_secret", WRONG_ID),
        (f"wb_{WRONG_ID}", WRONG_ID),
        (WRONG_ID, WRONG_ID),
        (f"{WRONG_ID * 2}_secret\n", WRONG_ID * 2),
        (f"{WRONG_ID}secret", None),
        ("wbt.1.payload.signature", None),
        ("secret", None),
        ("", None),
    ],
)
def test_of_what_was_refused_only_its_id_is_named(carried: str, id: str | None) -> None:
    assert id_of(carried) == id
