"""Access tokens: whose they are, how long they are good, and what ends them."""

import base64
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from shared.accounts import tokens
from shared.accounts.keys import create_key, revoke_key
from shared.accounts.tokens import MAX_NAME, MAX_TOKEN, Issued, TokenCaller, community_of
from shared.errors import Forbidden, Invalid, Retry, Unauthenticated
from shared.gcp.clients import Cloud
from shared.settings import Keys, Settings
from tests.world import SITE, World

ONE, TWO = (bytes([n]) * 32 for n in (1, 2))

NOT_VALID = "^the access token is not valid: get a new one$"


LIFE = timedelta(hours=1)


def issue(cloud: Cloud, key: str, username: str, scope: str) -> Issued:
    return tokens.issue(cloud, key, needs="jobs", life=LIFE, username=username, community=community_of(scope))


def with_keys(world: World, **keys: bytes) -> Cloud:
    """The world's clients with these versions of WAYBILL_ACCESS_KEYS: v1=…, v2=…"""
    versions = Keys("WAYBILL_ACCESS_KEYS", {int(n[1:]): key for n, key in keys.items()})
    settings = Settings(world.cloud.settings.project, access_keys=versions)
    return replace(world.cloud, settings=settings)


@pytest.fixture
def cloud(world: World) -> Cloud:
    return with_keys(world, v1=ONE)


@pytest.fixture
def key(world: World) -> str:
    return create_key(world.cloud.db, customer="acme", scopes=["jobs"], site=SITE)


@pytest.fixture
def token(cloud: Cloud, key: str) -> str:
    return issue(cloud, key, "bob@acme.com", "community=plant deviceId=Bob's phone").token


def key_id(key: str) -> str:
    return key.split("_")[1]


def bearer(carried: str) -> str:
    return f"Bearer {carried}"


# --- what a token is


def test_a_token_calls_as_its_key_for_a_user_and_a_community(cloud: Cloud, key: str, token: str) -> None:
    assert tokens.authenticate(cloud, bearer(token)) == TokenCaller(
        customer="acme",
        key=key_id(key),
        scopes=frozenset({"jobs"}),
        site=SITE,
        username="bob@acme.com",
        community="plant",
    )


def test_a_token_without_a_community_has_its_customer(cloud: Cloud, key: str) -> None:
    issued = issue(cloud, key, "bob", "")
    assert tokens.authenticate(cloud, bearer(issued.token)).community == "acme"
    assert (issued.expires - issued.issued, issued.caller.key) == (LIFE, key_id(key))
    assert issued.token not in repr(issued)


def test_the_key_itself_calls_as_its_id(cloud: Cloud, key: str) -> None:
    for caller in (tokens.authenticate(cloud, bearer(key)), tokens.authenticate(cloud, "", key)):
        assert (caller.key, caller.username, caller.community) == (key_id(key), key_id(key), "acme")


def test_a_token_has_no_secret_in_it_and_is_not_stored(world: World, key: str, token: str) -> None:
    payload = token.split(".")[2]
    said = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert [said[0], *said[2:]] == [key_id(key), "bob@acme.com", "plant"]
    assert key.rpartition("_")[2] not in str(said)
    stored = [str(each.to_dict()) for each in world.cloud.db.collection("api_keys").stream()]
    assert not [each for each in stored if token.rpartition(".")[2] in each]


def test_the_longest_names_make_a_token_that_is_looked_at(cloud: Cloud, key: str) -> None:
    name = "\U0001f69a" * MAX_NAME
    token = issue(cloud, key, name, name).token
    assert len(token) <= MAX_TOKEN
    caller = tokens.authenticate(cloud, bearer(token))
    assert (caller.username, caller.community) == (name, name)


def test_a_longer_token_is_not_looked_at(cloud: Cloud, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKEN", len(token) - 1)
    with pytest.raises(Unauthenticated, match=NOT_VALID):
        tokens.authenticate(cloud, bearer(token))


# --- what ends it


def test_a_token_is_good_for_an_hour_by_firestores_time(world: World, cloud: Cloud, token: str) -> None:
    world.wait(LIFE - timedelta(seconds=1))
    assert tokens.authenticate(cloud, bearer(token)).username == "bob@acme.com"
    world.wait(timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match=r"^the access token has expired: get a new one$"):
        tokens.authenticate(cloud, bearer(token))


def test_a_revoked_key_ends_its_tokens_at_once_and_no_others(cloud: Cloud, key: str, token: str) -> None:
    other = issue(cloud, create_key(cloud.db, customer="acme", scopes=["jobs"]), "eve", "").token
    revoke_key(cloud.db, key_id(key))
    for carried in (token, key):
        with pytest.raises(Unauthenticated):
            tokens.authenticate(cloud, bearer(carried))
    assert tokens.authenticate(cloud, bearer(other)).username == "eve"


def test_a_key_that_is_gone_ends_its_tokens(cloud: Cloud, key: str, token: str) -> None:
    cloud.db.document(f"api_keys/{key_id(key)}").delete()
    with pytest.raises(Unauthenticated, match=r"^the key of the access token is revoked"):
        tokens.authenticate(cloud, bearer(token))


def test_a_token_may_do_what_its_key_may_do_now(cloud: Cloud, key: str, token: str) -> None:
    cloud.db.document(f"api_keys/{key_id(key)}").update({"scopes": ["exports"]})
    with pytest.raises(Forbidden):
        tokens.authenticate(cloud, bearer(token)).needs("jobs")


# --- what is no token


def test_a_token_of_which_one_character_is_another_is_none(cloud: Cloud, token: str) -> None:
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(Unauthenticated):
            tokens.authenticate(cloud, bearer(changed))


def test_a_payload_of_ones_own_is_not_believed(world: World, cloud: Cloud, token: str) -> None:
    world.onboard("globex", "globex")
    theirs = create_key(cloud.db, customer="globex", scopes=["jobs"])
    start, version, _, signature = token.split(".")
    payload = base64.urlsafe_b64encode(orjson.dumps([key_id(theirs), 2**40, "x", "y"])).decode()
    with pytest.raises(Unauthenticated, match=NOT_VALID):
        tokens.authenticate(cloud, bearer(".".join([start, version, payload.rstrip("="), signature])))


def test_a_token_reaches_its_own_customer_whatever_community_it_names(world: World, cloud: Cloud) -> None:
    world.onboard("globex", "globex")
    theirs = create_key(cloud.db, customer="globex", scopes=["jobs"])
    caller = tokens.authenticate(cloud, bearer(issue(cloud, theirs, "eve", "community=acme").token))
    assert (caller.customer, caller.community) == ("globex", "acme")


@pytest.mark.parametrize(
    "changed",
    [
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + "=",
        lambda token: token + ".A",
        lambda token: token.replace("wbt.1.", "wbt.01."),
        lambda token: token.replace("wbt.1.", "wbt.."),
        lambda token: token.replace("wbt.1.", "wbt.-1."),
        lambda _: "wbt.1..",
        lambda _: "wbt." + "1" * MAX_TOKEN,
        lambda _: "wbt.1." + "A" * MAX_TOKEN + "." + "A" * 43,
    ],
)
def test_what_is_not_written_as_a_token_is_none(cloud: Cloud, token: str, changed: object) -> None:
    assert callable(changed)
    with pytest.raises(Unauthenticated, match=NOT_VALID):
        tokens.authenticate(cloud, bearer(changed(token)))


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic Ym9iOng="])
def test_nothing_carried_is_said_so(cloud: Cloud, header: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^Authentication credentials not provided\.$"):
        tokens.authenticate(cloud, header)


# --- versions of the secret


def test_the_newest_version_signs_and_every_version_that_is_held_verifies(world: World, key: str) -> None:
    old, both = with_keys(world, v1=ONE), with_keys(world, v1=ONE, v2=TWO)
    before, after = (issue(each, key, "bob", "").token for each in (old, both))
    assert (before[:6], after[:6]) == ("wbt.1.", "wbt.2.")
    for token in (before, after):
        assert tokens.authenticate(both, bearer(token)).username == "bob"


def test_a_version_that_is_gone_ends_its_tokens(world: World, key: str, token: str) -> None:
    with pytest.raises(Unauthenticated, match=NOT_VALID):
        tokens.authenticate(with_keys(world, v2=TWO), bearer(token))


def test_a_version_with_another_secret_is_not_believed(world: World, token: str) -> None:
    with pytest.raises(Unauthenticated, match=NOT_VALID):
        tokens.authenticate(with_keys(world, v1=TWO), bearer(token))


def test_a_version_that_this_instance_does_not_have_yet_is_tried_again(world: World, key: str) -> None:
    token = issue(with_keys(world, v1=ONE, v2=TWO), key, "bob", "").token
    with pytest.raises(Retry, match="the newest version here is 1"):
        tokens.authenticate(with_keys(world, v1=ONE), bearer(token))


# --- what is refused a token


def test_a_key_without_the_scope_gets_no_token(cloud: Cloud) -> None:
    with pytest.raises(Forbidden, match="'jobs'"):
        issue(cloud, create_key(cloud.db, customer="acme", scopes=["exports"]), "bob", "")


def test_a_bad_key_gets_no_token(cloud: Cloud, key: str, token: str) -> None:
    revoked = create_key(cloud.db, customer="acme", scopes=["jobs"])
    revoke_key(cloud.db, key_id(revoked))
    for bad in ("", "hunter2", key[:-1], key[:-1] + ("A" if key[-1] != "A" else "B"), revoked, token):
        with pytest.raises(Unauthenticated, match=r"^the key is not valid"):
            issue(cloud, bad, "bob", "")


@pytest.mark.parametrize(
    ("username", "scope", "field"),
    [
        ("", "", "username"),
        ("x" * (MAX_NAME + 1), "", "username"),
        ("a\nb", "", "username"),
        ("bob", "x" * (MAX_NAME + 1), "scope"),
        ("bob", "community=a\x00b", "scope"),
    ],
)
def test_a_name_that_cannot_be_kept_is_refused(
    cloud: Cloud, key: str, username: str, scope: str, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        issue(cloud, key, username, scope)
    assert [problem.field for problem in refused.value.problems] == [field]


# --- scopes


@pytest.mark.parametrize(
    ("scope", "community"),
    [
        ("", None),
        ("   ", None),
        ("plant", "plant"),
        (" plant ", "plant"),
        ("community=plant", "plant"),
        ("community=", None),
        ("Community=plant", "plant"),
        ("community=plant deviceId=Bob's phone hardwareName=x y", "plant"),
        ("deviceId=Bob's phone community=plant hardwareName=x y", "plant"),
        ("deviceId=Bob's phone hardwareName=x y community=plant", "plant"),
        ("plant deviceId=Bob's phone hardwareName=x y", "plant"),
        ("deviceId=Bob's phone hardwareName=x y", None),
        ("deviceId=a=b community=plant", "plant"),
        ("hardwareName=MacBook Pro (16-inch, 2023) community=plant-1", "plant-1"),
        ("other community=plant", "plant"),
        ("community=plant offline_access", "plant"),
        ("community=a community=b", "b"),
        ("subcommunity=x", None),
    ],
)
def test_the_community_of_a_scope(scope: str, community: str | None) -> None:
    assert community_of(scope) == community
