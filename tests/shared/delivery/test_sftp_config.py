"""What an SFTP export's config takes, what it says of what it does not, and that it keeps its secrets."""

import json
from typing import Any

import asyncssh
import pytest

from shared.delivery.base import TAIL_BYTES
from shared.delivery.sftp.config import MAX_PATH_BYTES, PRIVATE_KEY_LONGEST, Login, SftpConfig
from shared.errors import Invalid
from shared.http.bodies import read

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDqaWUcTLc0VrvPv7XsJhJrZq1c3H0e6dW7aDkhvYpPx"
PASSWORD = "s3cr3t p4ss"
PRIVATE_KEY = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
PEM = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_private_key("pkcs8-pem").decode()
PROTECTED = (
    asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", passphrase="x").decode()
)
OLD_KIND = asyncssh.generate_private_key("ssh-dss")


def body(**changes: Any) -> dict[str, Any]:
    """A config as it is sent; a value of None leaves a field out."""
    fields: dict[str, Any] = {
        "host": "sftp.example.com",
        "username": "waybill",
        "password": PASSWORD,
        "host_key": HOST_KEY,
        "path": "in/waybill",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def config(**changes: Any) -> SftpConfig:
    return read(SftpConfig, body(**changes))


def problems(**changes: Any) -> list[tuple[str, str]]:
    """What is wrong, as (field, sentence); no secret is in any of it."""
    with pytest.raises(Invalid) as error:
        config(**changes)
    cause = error.value.__cause__
    for secret in (PASSWORD, PRIVATE_KEY, PROTECTED):
        for line in secret.strip().splitlines()[:2]:
            if not line.startswith("-----"):
                assert line not in f"{error.value} {cause} {cause!r}"
    return [(problem.field, problem.message) for problem in error.value.problems]


def test_what_is_usual() -> None:
    made = config()
    assert (made.host, made.port, made.username, made.path) == (
        "sftp.example.com",
        22,
        "waybill",
        "in/waybill",
    )
    assert made.host_key == HOST_KEY
    assert made.export_images is False


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (HOST_KEY, HOST_KEY),
        (f"  {HOST_KEY}\n", HOST_KEY),
        (f"{HOST_KEY} root@sftp", HOST_KEY),
        (f"{HOST_KEY} a comment of several words", HOST_KEY),
        (f"sftp.example.com {HOST_KEY}", HOST_KEY),
        (f"[sftp.example.com]:2222,[10.0.0.1]:2222 {HOST_KEY}\n", HOST_KEY),
        (f"|1|aGFzaA==|aGFzaA== {HOST_KEY}", HOST_KEY),
    ],
)
def test_a_host_key_is_kept_without_what_stands_around_it(given: str, kept: str) -> None:
    assert config(host_key=given).host_key == kept


@pytest.mark.parametrize("kind", ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-rsa"])
def test_host_keys_of_other_kinds(kind: str) -> None:
    line = asyncssh.generate_private_key(kind).export_public_key().decode()
    assert config(host_key=line).host_key == line.strip()


@pytest.mark.parametrize(
    "host_key",
    [
        "",
        "ssh-ed25519",
        "AAAAC3NzaC1lZDI1NTE5AAAAIDqaWUcTLc0VrvPv7XsJhJrZq1c3H0e6dW7aDkhvYpPx",
        f"{HOST_KEY[:-8]}",
        "ssh-ed25519 é",
        HOST_KEY.replace("ssh-ed25519", "ssh-rsa"),
        f"{HOST_KEY}\n{HOST_KEY}",
        f"a b {HOST_KEY}",
        OLD_KIND.export_public_key().decode(),
        "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDzsUTD1WVJjcMGQ2Q",
        PRIVATE_KEY,
        "x" * 9_000,
    ],
)
def test_what_is_no_host_key(host_key: str) -> None:
    [(field, message)] = problems(host_key=host_key)
    assert field == "host_key"
    assert len(message) < 400


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sftp.example.com", "sftp.example.com"),
        ("sftp.example.com.", "sftp.example.com."),
        ("SFTP_1.example", "SFTP_1.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("93.184.216.34", "93.184.216.34"),
        ("2606:4700:0::1111", "2606:4700::1111"),
    ],
)
def test_hosts(given: str, kept: str) -> None:
    assert config(host=given).host == kept


@pytest.mark.parametrize(
    "host",
    [
        "",
        "sftp://sftp.example.com",
        "sftp.example.com/in",
        "sftp.example.com:22",
        "user@sftp.example.com",
        "[2606:4700::1111]",
        "bücher.example",
        "sftp example",
        "-oProxyCommand=x",
        "a..example",
        ".example",
        "sftp.example\n",
        f"{'a' * 64}.example",
        "a." * 130,
    ],
)
def test_what_is_no_host(host: str) -> None:
    [(field, _)] = problems(host=host)
    assert field == "host"


@pytest.mark.parametrize("port", [22, 1024, 2222, 65535])
def test_ports(port: int) -> None:
    assert config(port=port).port == port


@pytest.mark.parametrize("port", [-1, 0, 21, 25, 80, 443, 1023, 65536, "ssh"])
def test_ports_that_are_not_called(port: object) -> None:
    [(field, message)] = problems(port=port)
    assert (field, "22, or from 1024" in message or "integer" in message) == ("port", True)


@pytest.mark.parametrize("username", ["", "a\nb", "a\x00b", "\u0627\u0031a", "a" * 256])
def test_what_is_no_username(username: str) -> None:
    [(field, _)] = problems(username=username)
    assert field == "username"


@pytest.mark.parametrize(
    ("given", "kept", "place"),
    [
        ("", "", "f"),
        ("/", "/", "/f"),
        ("in", "in", "in/f"),
        ("in/", "in", "in/f"),
        ("/in/from waybill/é", "/in/from waybill/é", "/in/from waybill/é/f"),
        (".hidden/...", ".hidden/...", ".hidden/.../f"),
        ("a\\b", "a\\b", "a\\b/f"),
    ],
)
def test_paths(given: str, kept: str, place: str) -> None:
    made = config(path=given)
    assert (made.path, made.place("f")) == (kept, place)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("..", "a directory named . or .."),
        ("in/../../etc", "a directory named . or .."),
        ("./in", "a directory named . or .."),
        ("in//out", "two slashes"),
        ("//", "two slashes"),
        ("~/in", "begin with ~"),
        ("in\x00out", "control character"),
        ("in\rout", "control character"),
        ("in\nout", "control character"),
        ("a" * 256, "at most 255 bytes between two slashes"),
        ("é" * 128, "at most 255 bytes between two slashes"),
        ("a/" * 1_751, "at most 3500 bytes"),
    ],
)
def test_paths_that_are_not_taken(path: str, says: str) -> None:
    [(field, message)] = problems(path=path)
    assert field == "path"
    assert says in message


def test_the_longest_path_leaves_room_for_what_lands_below_it() -> None:
    path = ("a" * 99 + "/") * (MAX_PATH_BYTES // 100)
    made = config(path=path)
    assert len(made.place("x" * TAIL_BYTES).encode()) < 4096


@pytest.mark.parametrize("key", [PRIVATE_KEY, PRIVATE_KEY.replace("\n", "\r\n"), PRIVATE_KEY.strip(), PEM])
def test_a_private_key_in_place_of_a_password(key: str) -> None:
    made = config(password=None, private_key=key)
    assert Login.parse(made.sealed_value() or "") == Login(private_key=key)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "cannot be read"),
        ("not a key", "cannot be read"),
        (PRIVATE_KEY[:150], "cannot be read"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "cannot be read"),
        (HOST_KEY, "cannot be read"),
        (PROTECTED, "protected by a passphrase"),
        (OLD_KIND.export_private_key().decode(), "of the type ssh-dss, which is not supported"),
        (PRIVATE_KEY + "x" * PRIVATE_KEY_LONGEST, "at most 16384"),
    ],
)
def test_what_is_no_private_key(key: str, says: str) -> None:
    [(field, message)] = problems(password=None, private_key=key)
    assert field == "private_key"
    assert says in message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"password": None}, "is required, unless you give a private_key"),
        ({"private_key": PRIVATE_KEY}, "give one of the two"),
        ({"secret": "id"}, "must not be given together with a private_key"),
        ({"password": ""}, "at least 1"),
        ({"password": "x" * 1_025}, "at most 1024"),
    ],
)
def test_exactly_one_login(changes: dict[str, str | None], says: str) -> None:
    [(field, message)] = problems(**changes)
    assert field == "password"
    assert says in message


def test_the_stored_secret_is_a_login_too() -> None:
    made = config(password=None, secret="4f1c")
    assert (made.secret, made.sealed_value()) == ("4f1c", None)


def test_a_field_that_there_is_not() -> None:
    assert problems(known_hosts="x") == [("known_hosts", "there is no such field")]


@pytest.mark.parametrize("login", [{"password": PASSWORD}, {"private_key": PRIVATE_KEY, "password": None}])
def test_no_dump_and_no_text_holds_a_secret(login: dict[str, str | None]) -> None:
    made = config(**login)
    shown = f"{made!r} {made} {made.model_dump()} {made.model_dump_json()} {json.dumps(made.model_dump())}"
    for secret in (PASSWORD, *PRIVATE_KEY.splitlines()[1:-1]):
        assert secret not in shown
    assert {"password", "private_key"}.isdisjoint(made.model_dump())


def test_what_is_dumped_is_a_config_again_with_its_secret() -> None:
    made = config(port=2222, path="/in", export_images=True)
    again = SftpConfig.model_validate(made.model_dump() | {"secret": "4f1c"})
    assert again.model_dump() == made.model_dump() | {"secret": "4f1c"}


@pytest.mark.parametrize("password", [PASSWORD, 'quotes " and \\ and é', "{}"])
def test_a_login_is_read_back_as_it_was_given(password: str) -> None:
    assert Login.parse(config(password=password).sealed_value() or "") == Login(password=password)


@pytest.mark.parametrize(
    "value",
    ["", "s3cr3t", '"s3cr3t"', "{}", '{"password": 1}', '{"password": "s3cr3t", "private_key": "x"}', "[]"],
)
def test_what_is_no_stored_login(value: str) -> None:
    with pytest.raises(ValueError, match="neither an SFTP password nor a private key") as error:
        Login.parse(value)
    assert "s3cr3t" not in f"{error.value!r} {error.value.__cause__!r}"


def test_a_login_does_not_show_itself() -> None:
    assert repr(Login(password=PASSWORD)) == "Login()"
