"""What mail needs to be told, read from the environment."""

import pytest

from shared.settings import Settings

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
