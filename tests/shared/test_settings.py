"""What mail needs to be told, and keys, read from the environment."""

import base64

import pytest

from shared.settings import KEY_BYTES, Settings

PROJECT = {"GOOGLE_CLOUD_PROJECT": "p"}


@pytest.mark.parametrize(
    ("variable", "said", "field", "read"),
    [
        ("WAYBILL_SENDGRID_KEY", "SG.a.b\n", "sendgrid_key", "SG.a.b"),
        (
            "WAYBILL_SENDGRID_URL",
            "http://127.0.0.1:1/sendgrid/",
            "sendgrid_url",
            "http://127.0.0.1:1/sendgrid",
        ),
        ("WAYBILL_SENDGRID_URL", "", "sendgrid_url", "https://api.sendgrid.com"),
        ("WAYBILL_MAIL_FROM", "waybill@acme.example", "mail_from", "waybill@acme.example"),
        ("WAYBILL_URL", "https://api.acme.example/", "url", "https://api.acme.example"),
        ("WAYBILL_REGION", "eu-de", "region", "eu-de"),
        ("WAYBILL_REGION", "", "region", "RegionOne"),
    ],
)
def test_reads(variable: str, said: str, field: str, read: str) -> None:
    assert getattr(Settings.from_env({**PROJECT, variable: said}), field) == read


def test_without_mail() -> None:
    settings = Settings.from_env(PROJECT)
    read = (settings.sendgrid_key, settings.sendgrid_url, settings.mail_from, settings.url)
    assert read == ("", "https://api.sendgrid.com", "", "")


def test_the_key_is_not_shown_and_tells_settings_apart() -> None:
    ours = Settings.from_env({**PROJECT, "WAYBILL_SENDGRID_KEY": "SG.a.b"})
    assert "SG.a.b" not in repr(ours)
    assert ours != Settings.from_env(PROJECT), "clients are kept by their settings"
    assert len({ours, Settings.from_env(PROJECT)}) == 2


KEYS = {
    "WAYBILL_SECRET_KEYS": "secret_keys",
    "WAYBILL_ACCESS_KEYS": "access_keys",
    "WAYBILL_LINK_KEYS": "link_keys",
    "WAYBILL_CONSOLE_KEYS": "console_keys",
    "WAYBILL_ANALYSER_KEYS": "analyser_keys",
}


def key(n: int, length: int = KEY_BYTES) -> str:
    return f"{n}:{base64.urlsafe_b64encode(bytes([n]) * length).decode()}"


@pytest.mark.parametrize("variable", KEYS)
def test_each_use_has_keys_of_its_own(variable: str) -> None:
    settings = Settings.from_env({**PROJECT, variable: f"{key(1)},{key(2)}\n"})
    for each, field in KEYS.items():
        held = getattr(settings, field)
        assert held.variable == each
        assert sorted(held.versions) == ([1, 2] if each == variable else [])
    assert getattr(settings, KEYS[variable]).newest() == 2
    for field in KEYS.values():
        if field != KEYS[variable]:
            with pytest.raises(ValueError, match="is not set"):
                getattr(settings, field).newest()
    assert "AQEB" not in repr(settings)


@pytest.mark.parametrize("variable", [*KEYS, "WAYBILL_SENDGRID_KEY"])
@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_secret_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{variable} is set and empty: add a version with a value"):
        Settings.from_env({**PROJECT, variable: value})


@pytest.mark.parametrize("variable", KEYS)
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (",", "holds no key"),
        ("1:", "version 1 of .* is 0 bytes long: it must be 32 random bytes"),
        ("1:!!!!", "version 1 of .* is 0 bytes long"),
        (key(1, KEY_BYTES - 1), "version 1 of .* is 31 bytes long"),
        (f"{key(2)},{key(1, 16)}", "version 1 of .* is 16 bytes long"),
        ("AQEBAQ", "must be <version>:<base64url>"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(variable: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        Settings.from_env({**PROJECT, variable: value})
    assert variable in str(refused.value)
    for each in value.split(","):
        encoded = each.partition(":")[2]
        assert not encoded or encoded not in str(refused.value)
