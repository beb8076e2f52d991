from pathlib import Path

import pytest

from trunkline_common import settings
from trunkline_common.settings import SettingsError
from trunkline_gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GatewaySettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> GatewaySettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return settings.load(GatewaySettings)


def test_only_the_public_address_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, PUBLIC_URL="https://calls.example.com/")

    assert (loaded.host, loaded.port) == ("127.0.0.1", 8080)
    assert loaded.public_url == "https://calls.example.com"
    assert loaded.auth_tokens == ()


def test_auth_tokens_come_from_a_file_and_may_be_several(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "twilio").write_text("new, old\n")
    loaded = load(
        monkeypatch,
        PUBLIC_URL="https://calls.example.com",
        HOST="0.0.0.0",
        TWILIO_AUTH_TOKEN_FILE=str(tmp_path / "twilio"),
    )

    assert loaded.auth_tokens == ("new", "old")
    assert "old" not in repr(loaded)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "PUBLIC_URL: is not set"),
        ({"PUBLIC_URL": "calls.example.com"}, "PUBLIC_URL: is no http"),
        ({"PUBLIC_URL": "http://calls.example.com"}, "PUBLIC_URL: must be https"),
        ({"PUBLIC_URL": "https://calls.example.com", "PORT": "70000"}, "PORT: "),
        ({"PUBLIC_URL": "https://calls.example.com", "HOST": "0.0.0.0"}, "TWILIO_AUTH_TOKEN: is not set"),
        (
            {"PUBLIC_URL": "https://calls.example.com", "HOST": "::", "TWILIO_AUTH_TOKEN": " , "},
            "TWILIO_AUTH_TOKEN: is not set",
        ),
        ({"PUBLIC_URL": "https://calls.example.com", "GATEWAY_STREAMS_MAX": "0"}, "GATEWAY_STREAMS_MAX: "),
        (
            {"PUBLIC_URL": "https://calls.example.com", "GATEWAY_SAY_LANGUAGE": "<b>"},
            "GATEWAY_SAY_LANGUAGE: ",
        ),
        ({"PUBLIC_URL": "https://calls.example.com", "API_KEYS": "short"}, "API_KEYS: holds a key of less"),
        (
            {"PUBLIC_URL": "https://calls.example.com", "API_KEYS": "k" * 16},
            "TWILIO_ACCOUNT_SID: is not set",
        ),
        (
            {"PUBLIC_URL": "https://calls.example.com", "API_KEYS": "k" * 16, "TWILIO_ACCOUNT_SID": "AC1"},
            "TWILIO_AUTH_TOKEN: is not set",
        ),
        (
            {
                "PUBLIC_URL": "https://calls.example.com",
                "API_KEYS": "k" * 16,
                "TWILIO_ACCOUNT_SID": "AC1",
                "TWILIO_API_KEY": "SK1",
            },
            "TWILIO_API_SECRET: is not set",
        ),
        (
            {"PUBLIC_URL": "https://calls.example.com", "OUTBOUND_ALLOWED": "1202"},
            "OUTBOUND_ALLOWED: must be",
        ),
        (
            {"PUBLIC_URL": "https://calls.example.com", "TWILIO_API_URL": "http://api.twilio.com"},
            "TWILIO_API_URL: must be https",
        ),
        ({"PUBLIC_URL": "https://calls.example.com", "CALLS_PER_CALLER": "-1"}, "CALLS_PER_CALLER: "),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, **environment)

    assert str(error.value).startswith(complaint)
    assert "\n" not in str(error.value)


def test_outbound_calls_sign_in_with_the_api_key_or_the_first_auth_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = {
        "PUBLIC_URL": "https://calls.example.com",
        "API_KEYS": "first-key-of-somebody, second-key-of-somebody",
        "OUTBOUND_ALLOWED": "+1202, +31",
        "TWILIO_ACCOUNT_SID": "AC1",
        "TWILIO_AUTH_TOKEN": "new,old",
    }

    by_token = load(monkeypatch, **environment)
    by_key = load(monkeypatch, **environment, TWILIO_API_KEY="SK1", TWILIO_API_SECRET="hush")

    assert by_token.outbound_keys == ("first-key-of-somebody", "second-key-of-somebody")
    assert by_token.outbound_prefixes == ("+1202", "+31")
    assert by_token.rest_credentials == ("AC1", "new")
    assert by_key.rest_credentials == ("SK1", "hush")
    assert "hush" not in repr(by_key)


def test_the_help_lists_every_variable() -> None:
    lines = settings.variables(GatewaySettings).splitlines()

    assert len(lines) == 2 + len(GatewaySettings.model_fields)
    assert "  PUBLIC_URL: the base address as Twilio sees it, https://… [required]" in lines
