"""The suite as a whole: its project, its control, its commands, and what survives a SIGKILL."""

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web
from google.api_core.exceptions import Forbidden
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, storage
from google.oauth2.credentials import Credentials

from infra.bundle import Bundle
from infra.local import secrets
from infra.local.__main__ import main
from infra.local.clock import SuiteClock, machine_time
from infra.local.firestore import FirestoreService
from infra.local.http_server import HttpServer
from infra.local.identity import Identity
from infra.local.processes import REPOSITORY
from infra.local.project import make_customer_account, make_customer_bucket, make_project
from infra.local.pubsub import Delivery, PubSubService
from infra.local.storage import StorageService
from infra.local.suite import Emulators, Ports, PortTaken, StateInUse, Suite
from infra.local.traffic import Fault, Traffic
from tests.infra.local.standin import alive, checkout, notes, until

START = datetime(2026, 11, 23, 2, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "checkout")


@pytest.fixture
def services(root: Path, tmp_path: Path) -> Iterator[Suite]:
    """The services alone, on a clock that stands still."""
    with Suite(
        state=tmp_path / "state", clock=SuiteClock(frozen_at=START), run_functions=False, root=root
    ) as suite:
        yield suite


def ask(suite: Suite, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    answer = requests.request(
        method,
        f"{suite.control_url}/_suite/{path}",
        data=None if body is None else json.dumps(body),
        timeout=10,
    )
    return answer.status_code, answer.json()


# The project


def test_the_environment_leads_google_clients_to_the_suite(services: Suite) -> None:
    env = services.env("pack-account")
    account = "pack-account@waybill-local.iam.gserviceaccount.com"
    http = env["STORAGE_EMULATOR_HOST"].removeprefix("http://")
    assert env == {
        "GOOGLE_CLOUD_PROJECT": "waybill-local",
        "STORAGE_EMULATOR_HOST": f"http://{http}",
        "FIRESTORE_EMULATOR_HOST": env["FIRESTORE_EMULATOR_HOST"],
        "PUBSUB_EMULATOR_HOST": env["PUBSUB_EMULATOR_HOST"],
        "IAM_CREDENTIALS_URL": f"http://{http}",
        "GCE_METADATA_HOST": f"{http}/as/{account}",
        "GCE_METADATA_IP": f"{http}/as/{account}",
        "WAYBILL_SENDGRID_URL": f"http://{http}/sendgrid",
        "WAYBILL_MAIL_FROM": "waybill@waybill.example",
        "WAYBILL_URL": "http://waybill.example",
        "WAYBILL_SCHEDULER_HOST": env["WAYBILL_SCHEDULER_HOST"],
        "GOOGLE_CLOUD_REGION": "europe-west1",
        "DESK_KEYS": env["DESK_KEYS"],
        "PACK_KEYS": env["PACK_KEYS"],
    }
    for host in (
        http,
        env["FIRESTORE_EMULATOR_HOST"],
        env["PUBSUB_EMULATOR_HOST"],
        env["WAYBILL_SCHEDULER_HOST"],
    ):
        name, _, port = host.partition(":")
        socket.create_connection((name, int(port)), timeout=10).close()
    token = requests.get(
        f"http://{env['GCE_METADATA_HOST']}/computeMetadata/v1/instance/service-accounts/default/token",
        headers={"Metadata-Flavor": "Google"},
        timeout=10,
    ).json()
    assert services.identity.principal(f"Bearer {token['access_token']}") == account


def test_the_project_has_what_the_bundle_lists(services: Suite) -> None:
    names = {f"projects/p2/topics/{name}" for name in ("pack", "slow", "tick", "undelivered")}
    assert make_project(services, "p2") == "p2"
    assert all(services.pubsub.has_topic(name) for name in names)
    assert not services.pubsub.has_topic("projects/p2/topics/desk"), "an HTTP function has no topic"
    pack = services.pubsub.subscription("projects/p2/subscriptions/eventarc-pack")
    slow = services.pubsub.subscription("projects/p2/subscriptions/eventarc-slow")
    assert pack is not None
    assert slow is not None
    assert (pack.topic, pack.ack_deadline, pack.min_backoff, pack.max_backoff) == (
        "projects/p2/topics/pack",
        20,
        10,
        600,
    )
    assert (pack.attempts, pack.dead_letter_topic) == (5, "projects/p2/topics/undelivered")
    assert (slow.attempts, slow.dead_letter_topic) == (None, None)
    services.storage.put("p2-goods", "x", b"1")
    make_project(services, "p2")
    assert services.storage.read("p2-goods", "x") == b"1", "made once more it keeps what it has"


def test_secrets_are_random_kept_and_given_to_who_lists_them(root: Path, tmp_path: Path) -> None:
    seen = []
    for state in ("one", "one", "two"):
        with Suite(state=tmp_path / state, run_functions=False, root=root) as suite:
            env = suite.env()
            seen.append((env["DESK_KEYS"], env["PACK_KEYS"]))
            for function in suite.bundle.functions.values():
                given = suite._function_env(function)
                assert {name for name in given if name.endswith("_KEYS")} == set(function.secrets)
                assert all(given[name] == env[name] for name in function.secrets)
    assert seen[0] == seen[1]
    assert len({*seen[0], *seen[2]}) == 4
    for value in seen[0]:
        version, _, key = value.partition(":")
        assert (version, len(base64.urlsafe_b64decode(key))) == ("1", 32)
    assert (tmp_path / "one" / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_comes_later_leaves_the_others(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    first = secrets.kept(file, ["ONE"])
    both = secrets.kept(file, ["TWO", "ONE"])
    assert both["ONE"] == first["ONE"]
    assert secrets.kept(file, ["TWO"]) == {"TWO": both["TWO"]}


def test_only_an_account_that_signs_may_sign_as_itself(services: Suite) -> None:
    for account, status in (("pack-account", 200), ("desk-account", 403)):
        email = f"{account}@waybill-local.iam.gserviceaccount.com"
        answer = requests.post(
            f"{services.control_url}/v1/projects/-/serviceAccounts/{email}:signBlob",
            headers={"Authorization": f"Bearer {services.identity.mint(email)}"},
            json={"payload": "eA=="},
            timeout=10,
        )
        assert answer.status_code == status, account


def test_an_event_without_retry_is_delivered_once(services: Suite) -> None:
    tick = services.bundle.functions["tick"]
    once = tick.model_copy(update={"retry": False})
    services.bundle = services.bundle.model_copy(update={"functions": {"tick": once}})
    make_project(services, "p3")
    subscription = services.pubsub.subscription("projects/p3/subscriptions/eventarc-tick")
    assert subscription is not None
    assert (subscription.attempts, subscription.dead_letter_topic) == (1, None)


def client(services: Suite, email: str) -> storage.Client:
    credentials = Credentials(token=services.identity.mint(email))
    return storage.Client(
        project="p", credentials=credentials, client_options={"api_endpoint": services.control_url}
    )


def test_a_customers_account_reads_its_own_folder_and_writes_its_own_bucket(services: Suite) -> None:
    acme = make_customer_account(services, "cust-acme", "acme")
    rival = make_customer_account(services, "cust-rival", "rival")
    assert acme == "customer-acme-data-export@waybill-local.iam.gserviceaccount.com"
    assert make_customer_account(services, "cust-acme", "acme") == acme
    make_customer_bucket(services, "acme-out", acme)
    for customer in ("cust-acme", "cust-rival"):
        services.storage.put("waybill-local-goods", f"{customer}/x", customer.encode())
    ours = client(services, acme)
    goods, out = ours.bucket("waybill-local-goods"), ours.bucket("acme-out")
    assert goods.blob("cust-acme/x").download_as_bytes() == b"cust-acme"
    with pytest.raises(Forbidden):
        goods.blob("cust-rival/x").download_as_bytes()
    out.blob("new").upload_from_string(b"1", if_generation_match=0)
    with pytest.raises(Forbidden):
        out.blob("new").upload_from_string(b"2")
    with pytest.raises(Forbidden):
        client(services, rival).bucket("acme-out").blob("new").download_as_bytes()
    for account, may in (("pack-account", True), ("desk-account", False)):
        caller = f"{account}@waybill-local.iam.gserviceaccount.com"
        answer = requests.post(
            f"{services.control_url}/v1/projects/-/serviceAccounts/{acme}:generateAccessToken",
            headers={"Authorization": f"Bearer {services.identity.mint(caller)}"},
            json={"scope": ["https://www.googleapis.com/auth/cloud-platform"]},
            timeout=10,
        )
        assert answer.status_code == (200 if may else 403)


@pytest.mark.parametrize("slug", ["", "tencharsxx", "Acme", "a_b", "-acme", "acme-", "a.b"])
def test_refuses_a_slug_that_makes_no_account(services: Suite, slug: str) -> None:
    with pytest.raises(ValueError, match="slug"):
        make_customer_account(services, "c", slug)


def test_the_checkout_itself_can_be_made(tmp_path: Path) -> None:
    with Suite(state=tmp_path, clock=SuiteClock(frozen_at=START), run_functions=False) as suite:
        for name in Bundle.load().functions.values():
            if name.topic:
                assert suite.pubsub.has_topic(f"projects/waybill-local/topics/{name.topic}")


# The clock, the tick and the control


def test_a_tick_is_published_at_the_time_it_is_given(services: Suite) -> None:
    at = START + timedelta(days=1)
    services.tick(at)
    got: list[Delivery] = []

    def push(delivery: Delivery) -> bool:
        got.append(delivery)
        return True

    assert services.pubsub.deliver_due(push) == 1
    assert [(d.function, d.data, d.publish_time) for d in got] == [("tick", b"{}", at)]
    with pytest.raises(ValueError, match="never goes back"):
        services.tick(START)
    assert services.pubsub.deliver_due(push) == 0, "a tick that was refused did not tick"


def test_control_of_the_clock(services: Suite) -> None:
    status, told = ask(services, "GET", "clock")
    assert (status, told["now"][:19]) == (200, "2026-11-23T02:00:00")
    status, told = ask(services, "PUT", "clock", {"now": "2026-11-24T03:00:00+01:00"})
    assert (status, told["now"][:19]) == (200, "2026-11-24T02:00:00")
    assert ask(services, "PUT", "clock", {"now": "2026-11-23T02:00:00Z"})[0] == 409
    assert services.pubsub.outstanding() == []
    status, told = ask(services, "POST", "tick", {"at": "2026-11-25T02:00:00Z"})
    assert (status, told["now"][:19]) == (200, "2026-11-25T02:00:00")
    assert ask(services, "POST", "tick")[0] == 200
    assert ask(services, "POST", "tick", {"at": "2026-11-23T02:00:00Z"})[0] == 409
    status, told = ask(services, "GET", "outstanding")
    ticks = [each["publish_time"][:19] for each in told["outstanding"]]
    assert (status, ticks, told["undelivered"]) == (200, ["2026-11-25T02:00:00"] * 2, [])


def test_control_of_faults_and_the_journal(services: Suite) -> None:
    asked = {
        "kind": "pubsub.push",
        "action": "delay",
        "seconds": 0.5,
        "nth": 2,
        "times": 1,
        "resource": "pack",
    }
    assert ask(services, "POST", "faults", asked) == (200, {})
    assert services.traffic.enter("pubsub.push", "pack") is None
    assert services.traffic.enter("pubsub.push", "tick") is None
    assert services.traffic.enter("pubsub.push", "pack") == Fault("delay", seconds=0.5)
    assert ask(services, "POST", "faults", {"kind": "x", "action": "error", "status": 429}) == (200, {})
    assert ask(services, "DELETE", "faults") == (200, {})
    assert services.traffic.enter("x") is None
    _, told = ask(services, "GET", "calls?kind=pubsub.&resource=pack")
    assert told == {"calls": [{"kind": "pubsub.push", "resource": "pack", "principal": ""}] * 2}


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("PUT", "clock", {}, "now: say which time"),
        ("PUT", "clock", {"now": "tomorrow"}, "now: 'tomorrow' is no time"),
        ("PUT", "clock", {"now": "2026-11-24T02:00:00"}, "now: '2026-11-24T02:00:00' lacks its zone"),
        ("PUT", "clock", {"now": 5}, "now: 5 is of the wrong type"),
        ("POST", "tick", {"time": "2026-11-24T02:00:00Z"}, "time: unknown"),
        ("POST", "tick", [], "the body is no JSON object"),
        ("PUT", "suppressions", {"list": "bounces"}, "address: say whose"),
        ("PUT", "suppressions", {"address": "a@b.example", "list": "blocks"}, "list: one of bounces, unsub"),
        ("DELETE", "suppressions", {"address": "a@b.example"}, "list: one of bounces, unsubscribes"),
        ("POST", "faults", {"action": "error"}, "kind: name the calls"),
        ("POST", "faults", {"kind": "x", "action": "explode"}, "action: one of error, reset_before"),
        ("POST", "faults", {"kind": "x", "action": "error", "nth": 0}, "nth: at least 1"),
        ("POST", "faults", {"kind": "x", "action": "error", "times": True}, "times: True is of the wrong"),
    ],
)
def test_control_names_the_field_that_is_wrong(
    services: Suite, method: str, path: str, body: Any, says: str
) -> None:
    status, told = ask(services, method, path, body)
    assert status == 400
    assert told["error"]["message"].startswith(says)


# Starting, stopping, and other people's servers


def test_a_second_suite_on_the_same_state_is_refused(services: Suite, root: Path) -> None:
    with pytest.raises(StateInUse, match="already runs"):
        Suite(state=services.state, root=root)


def test_a_taken_port_is_named_and_the_state_is_free_again(root: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        suite = Suite(state=tmp_path / "state", ports=Ports(firestore=port), root=root)
        with pytest.raises(PortTaken) as refused:
            suite.start()
        assert (refused.value.service, refused.value.port) == ("firestore", port)
    Suite(state=tmp_path / "state", root=root).stop()


def test_stopping_leaves_no_port_open_and_the_state_whole(root: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Suite(state=state, run_functions=False, root=root) as first:
        env = first.env()
        first.move_clock(machine_time() + timedelta(days=3))
        first.tick()
        first.storage.put("waybill-local-goods", "x", b"1")
        put_document(env["FIRESTORE_EMULATOR_HOST"], "sites/a", {"name": "North"})
    for key in ("IAM_CREDENTIALS_URL", "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(env[key].rpartition(":")[2])), timeout=10)
    with Suite(state=state, run_functions=False, root=root) as second:
        assert second.clock.now() > machine_time() + timedelta(days=2)
        assert [each.topic for each in second.pubsub.outstanding()] == ["projects/waybill-local/topics/tick"]
        assert second.storage.read("waybill-local-goods", "x") == b"1"
        assert get_document(second.env()["FIRESTORE_EMULATOR_HOST"], "sites/a") == {"name": "North"}


def document(host: str, path: str) -> tuple[firestore.Client, Any]:
    os.environ["FIRESTORE_EMULATOR_HOST"] = host
    try:
        client = firestore.Client(project="waybill-local", credentials=AnonymousCredentials())
        return client, client.document(path)
    finally:
        del os.environ["FIRESTORE_EMULATOR_HOST"]


def put_document(host: str, path: str, content: dict[str, Any]) -> None:
    client, reference = document(host, path)
    reference.set(content, retry=None, timeout=10)
    client.close()


def get_document(host: str, path: str) -> Any:
    client, reference = document(host, path)
    content = reference.get(retry=None, timeout=10).to_dict()
    client.close()
    return content


def test_servers_of_the_user_are_used_instead_of_ours(root: Path, tmp_path: Path) -> None:
    pushed: list[Delivery] = []

    def push(delivery: Delivery) -> bool:
        pushed.append(delivery)
        return len(pushed) > 1

    clock = SuiteClock(frozen_at=START)
    theirs = PubSubService(clock=clock, traffic=Traffic(), file=None)
    emulators = Emulators(pubsub=f"127.0.0.1:{theirs.start()}", firestore="127.0.0.1:1", storage="")
    with Suite(
        state=tmp_path / "state",
        clock=clock,
        root=root,
        emulators=emulators,
        push=push,
    ) as suite:
        make_project(suite)
        env = suite.env()
        assert (env["PUBSUB_EMULATOR_HOST"], env["FIRESTORE_EMULATOR_HOST"]) == (
            emulators.pubsub,
            "127.0.0.1:1",
        )
        subscription = theirs.subscription("projects/waybill-local/subscriptions/eventarc-tick")
        assert subscription is not None
        assert subscription.endpoint == f"{suite.control_url}/_suite/push/tick"
        suite.tick()

        def their_push(delivery: Delivery) -> bool:
            message = {
                "data": "e30=",
                "messageId": delivery.message_id,
                "publishTime": delivery.publish_time.isoformat(),
                "attributes": {"a": "b"},
            }
            body = {"message": message, "subscription": delivery.subscription}
            return requests.post(subscription.endpoint, json=body, timeout=10).status_code == 200

        assert theirs.deliver_due(their_push) == 1
        assert len(theirs.outstanding()) == 1, "what the function did not acknowledge is not acknowledged"
        clock.advance(timedelta(seconds=10))
        assert theirs.deliver_due(their_push) == 1
        assert theirs.outstanding() == []
        assert suite.pubsub.outstanding() == []
    assert {(d.function, d.data, d.attributes["a"], d.publish_time) for d in pushed} == {
        ("tick", b"{}", "b", START)
    }
    theirs.stop()


def test_buckets_are_made_on_a_storage_server_of_the_user(
    services: Suite, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(storage.Client, "create_bucket", lambda _, name, **settings: made.append(name))
    emulators = Emulators(storage="http://127.0.0.1:1")
    with Suite(state=tmp_path / "other", run_functions=False, root=root, emulators=emulators) as suite:
        assert suite.env()["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"
        make_customer_bucket(suite, "acme-out", make_customer_account(suite, "c", "acme"))
    assert made == ["waybill-local-goods", "waybill-local-arrivals", "acme-out"]


@pytest.mark.parametrize("service", ["firestore", "pubsub"])
def test_a_port_that_is_not_used_may_be_taken(root: Path, tmp_path: Path, service: str) -> None:
    """A server of the user's own often listens where ours would."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        theirs = PubSubService(clock=SuiteClock(), traffic=Traffic(), file=None)
        host = f"127.0.0.1:{theirs.start()}" if service == "pubsub" else f"127.0.0.1:{port}"
        with Suite(
            state=tmp_path / "state",
            root=root,
            run_functions=False,
            ports=Ports(**{service: port}),
            emulators=Emulators(**{service: host}),
        ) as suite:
            assert suite.env()[f"{service.upper()}_EMULATOR_HOST"] == host
        theirs.stop()


def test_a_door_that_is_not_opened_may_be_taken(root: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = Ports(front_door=taken.getsockname()[1])
        Suite(state=tmp_path / "state", root=root, run_functions=False, ports=ports).start()


def test_ticks_by_itself_at_whole_minutes(root: Path, tmp_path: Path) -> None:
    clock = SuiteClock()
    with Suite(state=tmp_path / "state", clock=clock, run_functions=False, root=root) as suite:
        suite.tick_each_minute()
        minute = clock.now().replace(second=0, microsecond=0) + timedelta(days=1)
        suite.move_clock(minute - timedelta(seconds=0.2))
        until(lambda: bool(suite.pubsub.outstanding()), "a tick")
        [tick] = suite.pubsub.outstanding()
        assert minute <= tick.publish_time < minute + timedelta(seconds=30)


# Commands


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"WAYBILL_PORT": "door"}, "WAYBILL_PORT=door is no port"),
        ({"WAYBILL_PUBSUB_PORT": "70000"}, "WAYBILL_PUBSUB_PORT=70000 is no port"),
    ],
)
def test_up_refuses_what_is_no_port(
    environment: dict[str, str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["--state", str(tmp_path), "up"]) == 1
    assert capsys.readouterr().err.startswith(says)


@pytest.fixture
def mute() -> Iterator[int]:
    """A port where something takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    "variable", ["FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"]
)
@pytest.mark.parametrize("dead", [True, False])
def test_up_says_at_once_that_a_server_of_the_user_does_not_answer(
    variable: str,
    dead: bool,
    mute: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("infra.local.__main__.ANSWER_SECONDS", 0.5)
    host = "127.0.0.1:9" if dead else f"127.0.0.1:{mute}"
    monkeypatch.setenv(variable, host)
    began = machine_time()
    assert main(["--state", str(tmp_path), "up"]) == 1
    assert machine_time() - began < timedelta(seconds=5)
    told = capsys.readouterr().err
    assert told.startswith(f"{variable} is set to ")
    assert host in told
    assert "no server answers there" in told


@pytest.mark.parametrize(
    ("variable", "host"),
    [
        ("FIRESTORE_EMULATOR_HOST", "localhost"),
        ("FIRESTORE_EMULATOR_HOST", "http://localhost:8080"),
        ("PUBSUB_EMULATOR_HOST", "localhost:port"),
        ("STORAGE_EMULATOR_HOST", "file:///tmp"),
        ("STORAGE_EMULATOR_HOST", "localhost:port"),
    ],
)
def test_up_refuses_what_is_no_server(
    variable: str,
    host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, host)
    assert main(["--state", str(tmp_path), "up"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{variable}=")
    assert "is no server: it must be " in told


def test_tick_without_a_suite_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state", str(tmp_path), "tick"]) == 1
    (tmp_path / "env").write_text("IAM_CREDENTIALS_URL=http://127.0.0.1:9\n")
    assert main(["--state", str(tmp_path), "tick"]) == 1
    assert capsys.readouterr().err.count("No suite is running") == 2


def test_tick_moves_the_clock_of_the_running_suite(
    services: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    (services.state / "env").write_text("".join(f"{key}={value}\n" for key, value in services.env().items()))
    assert main(["--state", str(services.state), "tick", "2026-11-24T02:00:00Z"]) == 0
    assert "2026-11-24T02:00:00" in capsys.readouterr().out
    assert [each.publish_time.day for each in services.pubsub.outstanding()] == [24]
    assert main(["--state", str(services.state), "tick", "2026-11-23T02:00:00Z"]) == 1
    assert "never goes back" in capsys.readouterr().err


# Other customers


CUSTOMER = {"id": "acme-corp", "slug": "acme", "bucket": "acme-bi"}


def test_a_customer_gets_an_account_and_a_bucket(services: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    (services.state / "env").write_text("".join(f"{key}={value}\n" for key, value in services.env().items()))
    account = "customer-acme-data-export@waybill-local.iam.gserviceaccount.com"
    for _ in range(2):
        assert main(["--state", str(services.state), "customer", *CUSTOMER.values()]) == 0
        assert capsys.readouterr().out == f"The account {account} may write to gs://acme-bi.\n"
    client(services, account).bucket("acme-bi").blob("new").upload_from_string(b"1", if_generation_match=0)
    services.storage.put("waybill-local-goods", "acme-corp/x", b"theirs")
    assert client(services, account).bucket("waybill-local-goods").blob("acme-corp/x").exists()
    assert main(["--state", str(services.state), "ls", "gs://acme-bi"]) == 0
    assert "gs://acme-bi/new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"slug": "far-too-long"}, "slug: a customer's slug is 1 to 9"),
        ({"slug": ""}, "slug: missing"),
        ({"id": "a/b"}, "id: 'a/b' must not hold a slash"),
        ({"bucket": "gs://acme-bi"}, "bucket: 3 to 63 lower-case"),
        ({"bucket": "Acme"}, "bucket: 3 to 63 lower-case"),
        ({"bucket": "waybill-local-goods"}, "bucket: waybill-local-goods is one of ours"),
    ],
)
def test_a_customer_that_cannot_be_is_told_in_a_sentence(
    services: Suite, capsys: pytest.CaptureFixture[str], change: dict[str, str], says: str
) -> None:
    state = ["--state", str(services.state)]
    assert main([*state, "customer", *CUSTOMER.values()]) == 1
    assert "No suite is running" in capsys.readouterr().err
    (services.state / "env").write_text("".join(f"{key}={value}\n" for key, value in services.env().items()))
    assert main([*state, "customer", *(CUSTOMER | change).values()]) == 1
    assert capsys.readouterr().err.startswith(f"Nothing is made: {says}")


# Looking into buckets


NAMES = ("first/a.csv", "first/d\u00e9p\u00f4t/#?%2F.jpg", "second/b.csv")


@pytest.fixture
def filled(services: Suite) -> Suite:
    services.storage.create_bucket("customers-bucket")
    services.storage.grant("customers-bucket", "allUsers", "roles/storage.objectViewer")
    for name in NAMES:
        services.storage.put("customers-bucket", name, name.encode())
    env = {**services.env(), "WAYBILL_CUSTOMER_BUCKET": "customers-bucket"}
    (services.state / "env").write_text("".join(f"{key}={value}\n" for key, value in env.items()))
    return services


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ([], NAMES),
        (["gs://customers-bucket"], NAMES),
        (["customers-bucket/first/"], NAMES[:2]),
        (["gs://customers-bucket/nothing"], ()),
    ],
)
def test_a_bucket_is_listed_and_fetched(
    filled: Suite,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    place: list[str],
    names: tuple[str, ...],
) -> None:
    state = ["--state", str(filled.state)]
    assert main([*state, "ls", *place]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == [f"gs://customers-bucket/{name}" for name in names]
    assert [int(line.split()[0]) for line in lines] == [len(name.encode()) for name in names]
    assert total.startswith(f"{len(names)} objects, {sum(len(name.encode()) for name in names)} bytes in ")
    for _ in range(2):
        assert main([*state, "get", *(place or [""]), str(tmp_path / "to")]) == 0
    fetched = [each for each in (tmp_path / "to").rglob("*") if each.is_file()]
    assert {str(each.relative_to(tmp_path / "to")): each.read_text() for each in fetched} == {
        name: name for name in names
    }


def test_more_than_a_page_is_listed(filled: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1001):
        filled.storage.put("customers-bucket", f"many/{number:04}", b"")
    assert main(["--state", str(filled.state), "ls", "customers-bucket/many/"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1002


def test_names_that_are_no_files_stay_and_the_others_come(
    filled: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("../out", "/root", "a//b", "first/a.csv/below", "\x1b[31m/../x", "folder/"):
        filled.storage.put("customers-bucket", name, b"")
    assert main(["--state", str(filled.state), "get", "", str(tmp_path / "deep" / "to")]) == 1
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 5
    assert "../out is no name for a file" in told.err
    assert "\x1b" not in told.err
    fetched = {
        str(each.relative_to(tmp_path / "deep")) for each in (tmp_path / "deep").rglob("*") if each.is_file()
    }
    assert fetched == {f"to/{name}" for name in NAMES}


@pytest.mark.parametrize("command", ["ls", "get"])
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("gs://nowhere", "there is no bucket nowhere"),
        ("gs://waybill-local-goods", "is not open to everyone"),
        ("s3://customers-bucket", "names no bucket"),
        ("gs:///first", "names no bucket"),
    ],
)
def test_a_place_that_cannot_be_looked_into_is_told_in_a_sentence(
    filled: Suite, capsys: pytest.CaptureFixture[str], command: str, place: str, says: str
) -> None:
    assert main(["--state", str(filled.state), command, place]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["ls", "get"])
def test_nothing_is_looked_into_without_a_suite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(["--state", str(tmp_path), command]) == 1
    (tmp_path / "env").write_text("STORAGE_EMULATOR_HOST=http://127.0.0.1:9\nWAYBILL_CUSTOMER_BUCKET=b\n")
    assert main(["--state", str(tmp_path), command]) == 1
    told = capsys.readouterr().err
    assert "No suite is running" in told
    assert "cannot be reached" in told


@pytest.mark.slow
def test_make_lists_and_fetches(filled: Suite, tmp_path: Path) -> None:
    """The words of the Makefile, with its virtual environment taken for this one."""

    def make(*words: str) -> str:
        lines = (
            subprocess.run(
                ["make", "--no-print-directory", "--dry-run", "INSTALLED=Makefile", *words],
                cwd=REPOSITORY,
                env={name: os.environ[name] for name in os.environ if not name.startswith("MAKE")},
                capture_output=True,
                text=True,
                check=True,
            )
            .stdout.replace(".venv/bin/python", sys.executable)
            .replace("infra.local", f"infra.local --state {filled.state}")
        )
        return subprocess.run(
            ["sh", "-c", lines], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout

    assert make("ls").endswith("3 objects, 46 bytes in gs://customers-bucket/\n")
    assert "2 objects" in make("ls", "PLACE=gs://customers-bucket/first")
    assert "3 files" in make("get", f"TO={tmp_path / 'a folder'}")
    assert "1 file from" in make("get", "PLACE=gs://customers-bucket/second", f"TO={tmp_path / 'second'}")
    assert (tmp_path / "second" / "second" / "b.csv").read_text() == "second/b.csv"


# Whole, with real processes


_numbers = itertools.count()


class Up:
    """`python -m infra.local up` in a process of its own."""

    def __init__(self, root: Path, state: Path, **environment: str) -> None:
        self.state = state
        self._output = state.with_name(f"output-{next(_numbers)}")
        ports = dict.fromkeys(
            (
                "WAYBILL_PORT",
                "WAYBILL_HTTP_PORT",
                "WAYBILL_FIRESTORE_PORT",
                "WAYBILL_PUBSUB_PORT",
                "WAYBILL_SCHEDULER_PORT",
            ),
            "0",
        )
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra.local", "--state", str(state), "--root", str(root), "up"],
            cwd=REPOSITORY,
            env={**inherited, **ports, **environment},
            stdout=self._output.open("w"),
            stderr=subprocess.STDOUT,
        )

    def ready(self) -> dict[str, str]:
        until(lambda: "The suite is up" in self.output() or self.process.poll() is not None, "the suite up")
        assert self.process.poll() is None, self.output()
        env = self.state / "env"
        assert env.stat().st_mode & 0o777 == 0o600, "a key is in it"
        return dict(line.split("=", 1) for line in env.read_text().splitlines())

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def output(self) -> str:
        return self._output.read_text()


@pytest.fixture
def up(root: Path, tmp_path: Path) -> Iterator[Callable[..., Up]]:
    begun: list[Up] = []

    def start(state: Path = tmp_path / "state", *, root: Path = root, **environment: str) -> Up:
        begun.append(Up(root, state, **environment))
        return begun[-1]

    yield start
    for each in begun:
        each.end(signal.SIGKILL)


class Anybody(Identity):
    """Takes every caller for nobody in particular, as emulators do."""

    def principal(self, authorization: str | None) -> str:
        return ""


class Theirs:
    """Servers of a user's own: the suite's parts, on ports of their own, where nobody has an identity."""

    def __init__(self, directory: Path) -> None:
        clock, traffic = SuiteClock(), Traffic()
        self.firestore = FirestoreService(
            clock=clock, traffic=traffic, file=None, indexes=REPOSITORY / "infra" / "firestore.indexes.json"
        )
        self.pubsub = PubSubService(clock=clock, traffic=traffic, file=None)
        self.storage = StorageService(
            clock=clock,
            traffic=traffic,
            identity=Anybody(traffic=traffic, file=directory / "identity.json"),
            directory=directory / "storage",
        )
        app = web.Application()
        app.router.add_get("/storage/v1/b", self._list)
        app.router.add_post("/storage/v1/b", self._create)
        app.add_routes(self.storage.routes())
        self._http = HttpServer(app)
        self.buckets: list[str] = []
        self.hosts = {
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{self.firestore.start()}",
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{self.pubsub.start()}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self._http.start()}",
        }

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"items": [{"name": name} for name in self.buckets]})

    async def _create(self, request: web.Request) -> web.Response:
        name = (await request.json())["name"]
        if name in self.buckets:
            return web.json_response({"error": {"code": 409, "message": "it exists"}}, status=409)
        self.buckets.append(name)
        self.storage.create_bucket(name)
        self.storage.grant(name, "allUsers", "roles/storage.admin")
        return web.json_response({"kind": "storage#bucket", "name": name})

    def stop(self) -> None:
        self._http.stop()
        self.storage.close()
        self.firestore.stop()
        self.pubsub.stop()


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Callable[[], Theirs]]:
    made: list[Theirs] = []

    def make() -> Theirs:
        made.append(Theirs(tmp_path / f"theirs-{len(made)}"))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def exports(env: dict[str, str]) -> int:
    """The status with which the customer's list of exports is answered, by a function in its own process."""
    headers = {"Authorization": f"Token {env['WAYBILL_API_KEY']}"}
    return requests.get(f"{env['WAYBILL_URL']}/v1/exports", headers=headers, timeout=60).status_code


EACH = ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [[each] for each in EACH] + [list(EACH)], ids=lambda each: "+".join(each)
)
def test_up_with_servers_of_the_user(
    up: Callable[..., Up], theirs: Callable[[], Theirs], tmp_path: Path, variables: list[str]
) -> None:
    """Each documented mode by its command, in this checkout. The second time the servers know nothing of the
    customer whom the state remembers."""
    for _ in range(2):
        servers = theirs()
        suite = up(tmp_path / "state", root=REPOSITORY, **{each: servers.hosts[each] for each in variables})
        env = suite.ready()
        for each in EACH:
            assert (env[each] == servers.hosts[each]) is (each in variables), each
        assert exports(env) == 200
        if "STORAGE_EMULATOR_HOST" in variables:
            assert "demo-telecom-bi" in servers.buckets
            assert "waybill-local-uploads" in servers.buckets
        if "PUBSUB_EMULATOR_HOST" in variables:
            assert servers.pubsub.has_topic("projects/waybill-local/topics/tick")
        assert main(["--state", str(suite.state), "ls"]) == 0
        assert suite.end(signal.SIGTERM) == 0, suite.output()


@pytest.mark.slow
def test_up_in_a_shell_that_read_what_another_up_wrote(up: Callable[..., Up], tmp_path: Path) -> None:
    first = up(tmp_path / "state", root=REPOSITORY)
    env = first.ready()
    # Beside the first one, on a state of its own.
    beside = up(tmp_path / "beside", root=REPOSITORY, **env)
    other = beside.ready()
    for each in EACH:
        assert other[each] != env[each], "its own servers, not the first one's"
    assert exports(other) == 200
    assert beside.end(signal.SIGTERM) == 0, beside.output()
    # On the same state, while it runs and after it.
    second = up(tmp_path / "state", root=REPOSITORY, **env)
    assert second.process.wait(30) == 1
    assert "already runs" in second.output()
    assert "Traceback" not in second.output()
    assert first.end(signal.SIGTERM) == 0
    again = up(tmp_path / "state", root=REPOSITORY, **env)
    assert exports(again.ready()) == 200
    assert again.end(signal.SIGTERM) == 0, again.output()


@pytest.mark.slow
def test_another_customer_by_the_operators_recipe(up: Callable[..., Up], tmp_path: Path) -> None:
    """Word for word what docs/operators/ says, in a shell that read `.local/env`."""
    suite = up(tmp_path / "state", root=REPOSITORY)
    env = {**suite.ready(), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=REPOSITORY,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    site = "5f3c1f0e-8a52-4c53-9d2b-0b7d3b1f3a11"
    made = run("infra.local", "--state", str(suite.state), "customer", "acme-corp", "acme", "acme-bi")
    told = run("infra", "add-customer", "acme-corp", "--slug", "acme", "--name", "Acme")
    assert made.split()[2] in told, "the account that Waybill goes by is the one that was made"
    run("infra", "add-site", site, "--customer", "acme-corp", "--name", "South", "--task-group", "meter")
    key = run("infra", "add-key", "--customer", "acme-corp", "--scope", "exports").splitlines()[1]
    steps = run("infra", "check-bucket", "gs://acme-bi/first", "--customer", "acme-corp")
    assert "failed" not in steps
    assert exports({**env, "WAYBILL_API_KEY": key}) == 200


def publish(env: dict[str, str], topic: str, **asked: str) -> None:
    """Publish through Google's client, in a process of its own: it reads the variables when imported."""
    code = (
        "import sys; from google.cloud import pubsub_v1; p = pubsub_v1.PublisherClient();"
        "p.publish(sys.argv[1], sys.argv[2].encode()).result(timeout=20)"
    )
    subprocess.run(
        [sys.executable, "-c", code, f"projects/waybill-local/topics/{topic}", json.dumps(asked)],
        check=True,
        env={**os.environ, **env},
        timeout=60,
    )


@pytest.mark.slow
def test_up_runs_functions_and_stops_cleanly(up: Callable[..., Up], tmp_path: Path) -> None:
    note = tmp_path / "note"
    running = up()
    env = running.ready()
    assert set(env) >= {"WAYBILL_URL", "WAYBILL_OUTBOX", "GOOGLE_CLOUD_PROJECT", "PUBSUB_EMULATOR_HOST"}
    told = requests.get(f"{env['WAYBILL_URL']}/desk/a%2Fb?q=1", timeout=30).json()
    assert (told["env"]["DESK_KEYS"], "PACK_KEYS" in told["env"]) == (env["DESK_KEYS"], False)
    assert told["env"]["WAYBILL_URL"] == env["WAYBILL_URL"]
    assert told["env"]["GCE_METADATA_HOST"].endswith("/as/desk-account@waybill-local.iam.gserviceaccount.com")
    assert requests.get(f"{env['WAYBILL_URL']}/broken", timeout=30).status_code == 502
    publish(env, "pack", note=str(note))
    until(lambda: len(notes(note)) == 1, "the message delivered")
    control = f"{env['IAM_CREDENTIALS_URL']}/_suite"
    until(lambda: requests.get(f"{control}/outstanding", timeout=10).json()["outstanding"] == [], "all done")
    second = up()
    assert second.process.wait(30) == 1
    assert second.output().startswith("a suite already runs on the state in")
    assert running.end(signal.SIGTERM) == 0, running.output()
    assert f"WAYBILL_URL={env['WAYBILL_URL']}\n" in running.output()
    assert not (tmp_path / "state" / "env").exists()
    pids = (told["pid"], told["parent"], *notes(note)[0][:2])
    until(lambda: not any(map(alive, pids)), "no process left")


@pytest.mark.slow
def test_up_names_the_variable_of_a_taken_port(up: Callable[..., Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = up(WAYBILL_FIRESTORE_PORT=port)
        assert refused.process.wait(30) == 1
    assert refused.output() == (f"Port {port} is taken: set WAYBILL_FIRESTORE_PORT to a port that is free.\n")


@pytest.mark.slow
def test_a_killed_suite_leaves_no_process_and_its_state_is_whole(
    up: Callable[..., Up], tmp_path: Path
) -> None:
    note, gate = tmp_path / "note", tmp_path / "gate"
    os.mkfifo(gate)
    first = up()
    env = first.ready()
    told = requests.get(f"{env['WAYBILL_URL']}/desk", timeout=30).json()
    put_document(env["FIRESTORE_EMULATOR_HOST"], "sites/a", {"name": "North"})
    publish(env, "pack", note=str(note), gate=str(gate))
    until(lambda: len(notes(note)) == 1, "the function at work")
    publish(env, "pack", note=str(note))
    first.end(signal.SIGKILL)
    pids = [told["pid"], told["parent"], *notes(note)[0][:2]]
    until(lambda: not any(alive(pid) for pid in pids), "no process left")
    second = up()
    env = second.ready()
    # What was under way and what had not begun are both delivered, in that order; the gate is still shut.
    until(lambda: len(notes(note)) == 2, "the message delivered again")
    assert notes(note)[0][2] == notes(note)[1][2]
    with gate.open("w"):
        pass
    until(lambda: len(notes(note)) == 3, "the other one delivered")
    assert get_document(env["FIRESTORE_EMULATOR_HOST"], "sites/a") == {"name": "North"}
    assert second.end(signal.SIGTERM) == 0


@pytest.mark.slow
def test_a_user_of_the_suite_kills_a_function_and_its_message_comes_again(root: Path, tmp_path: Path) -> None:
    note, gate = tmp_path / "note", tmp_path / "gate"
    os.mkfifo(gate)
    with Suite(state=tmp_path / "state", root=root) as suite:
        asked = json.dumps({"note": str(note), "gate": str(gate)}).encode()
        suite.pubsub.publish("projects/waybill-local/topics/pack", asked)
        until(lambda: len(notes(note)) == 1, "the function at work")
        suite.processes.kill("pack")
        until(lambda: any(each.outcome for each in suite.pubsub.outstanding()), "the push failed")
        [waiting] = suite.pubsub.outstanding()
        assert waiting.due is not None
        suite.move_clock(waiting.due)
        until(lambda: len(notes(note)) == 2, "the message delivered again")
        with gate.open("w"):
            pass
        until(lambda: not suite.pubsub.outstanding(), "all done")
        assert [start.function for start in suite.processes.starts] == ["pack", "pack"]
    until(lambda: not any(alive(pid) for line in notes(note) for pid in line[:2]), "no process left")


def test_identity_of_the_suite_is_kept(services: Suite) -> None:
    email = "pack-account@waybill-local.iam.gserviceaccount.com"
    token = services.identity.mint(email)
    again = Identity(traffic=Traffic(), file=services.state / "identity.json")
    assert again.principal(f"Bearer {token}") == email
