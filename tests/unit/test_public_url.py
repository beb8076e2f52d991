import pytest

from trunkline_gateway.public_url import PublicUrl, is_loopback


def test_webhooks_lie_below_the_base() -> None:
    public_url = PublicUrl("https://calls.example.com/phone/")

    assert public_url.http("/voice") == "https://calls.example.com/phone/voice"
    assert public_url.http("/voice", "b=1&a=%20") == "https://calls.example.com/phone/voice?b=1&a=%20"
    assert public_url.stream == "wss://calls.example.com/phone/media-stream"


def test_the_stream_may_be_signed_with_a_slash_or_with_the_port() -> None:
    assert set(PublicUrl("https://calls.example.com").stream_variants()) == {
        "wss://calls.example.com/media-stream",
        "wss://calls.example.com/media-stream/",
        "wss://calls.example.com:443/media-stream",
        "wss://calls.example.com:443/media-stream/",
    }


def test_twilio_may_drop_a_port_of_its_own_choice() -> None:
    variants = PublicUrl("https://calls.example.com:8443").stream_variants()

    assert "wss://calls.example.com:8443/media-stream" in variants
    assert "wss://calls.example.com/media-stream" in variants


def test_plain_http_is_for_this_machine_only() -> None:
    assert PublicUrl("http://127.0.0.1:8080").stream == "ws://127.0.0.1:8080/media-stream"
    assert "ws://[::1]:8080/media-stream/" in PublicUrl("http://[::1]:8080").stream_variants()
    with pytest.raises(ValueError, match="must be https"):
        PublicUrl("http://calls.example.com")


@pytest.mark.parametrize(
    "base",
    [
        "",
        "calls.example.com",
        "ftp://calls.example.com",
        "https://",
        "https://calls.example.com:port",
        "https://calls.example.com?a=1",
        "https://calls.example.com#a",
        "https://user:secret@calls.example.com",
    ],
)
def test_addresses_that_twilio_could_not_call(base: str) -> None:
    with pytest.raises(ValueError):
        PublicUrl(base)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "calls.example.com")))
