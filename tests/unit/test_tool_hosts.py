"""Which hosts a tool may call, and which addresses they must not lie at."""

import pytest

from trunkline_worker.tool_hosts import ToolHosts, is_public

HOSTS = ToolHosts.parse(" api.example.com, *.Internal.example ,10.0.0.7,,localhost")


@pytest.mark.parametrize("host", ["api.example.com", "API.EXAMPLE.COM", "a.internal.example", "10.0.0.7"])
def test_listed_hosts_may_be_called(host: str) -> None:
    assert HOSTS.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "x.api.example.com",
        "internal.example",
        "xinternal.example",
        "api.example.com.",
        "10.0.0.70",
        "",
    ],
)
def test_other_hosts_may_not(host: str) -> None:
    assert not HOSTS.allows(host)


def test_only_a_literal_entry_names_a_host() -> None:
    assert HOSTS.names("localhost")
    assert not HOSTS.names("a.internal.example")


@pytest.mark.parametrize(
    "entry", ["*", "*.com", "https://a.example", "a.example:80", "a.example/x", "a..b", "a_b.c"]
)
def test_what_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is neither a host nor"):
        ToolHosts.parse(f"a.example,{entry}")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", ["fec0::1", "::127.0.0.1", "5f00::1", "64:ff9b::7f00:1", "2002:7f00:1::"])
def test_addresses_that_are_given_out_to_nobody_are_not(address: str) -> None:
    assert not is_public(address)
