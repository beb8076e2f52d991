"""Pure: which hosts tools may call, the setting `TOOL_HOSTS`, and which addresses they may be found at."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, Self

_HOST: Final = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out (IANA); what else counts as global is reserved, or site-local of old."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class ToolHosts:
    """An allow-list: `api.example.com` is that host alone, `*.example.com` every host below it.

    A host that is listed literally is trusted further: it may lie at a private address and speak plain HTTP, as
    a service of one's own cluster does.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = tuple(hosts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the list in a comma-separated text; raise `ValueError` for what is no host."""
        hosts = [part.strip().lower() for part in text.split(",") if part.strip()]
        for host in hosts:
            if not _is_host(host):
                raise ValueError(
                    f"{host} is neither a host nor *.domain; write no scheme, port or path, and no * alone"
                )
        return cls(hosts)

    def __str__(self) -> str:
        return ", ".join(self._hosts) or "none"

    def allows(self, host: str) -> bool:
        """Return whether tools may call this host."""
        host = host.lower()
        return self.names(host) or any(
            entry.startswith("*.") and host.endswith(entry[1:]) for entry in self._hosts
        )

    def names(self, host: str) -> bool:
        """Return whether this very host is listed."""
        return host.lower() in self._hosts


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the open internet: not loopback, private, link-local, shared, …

    An IPv6 address that stands for an IPv4 address is judged by that one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
        elif ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # `*.com` would allow half the internet by a slip.
        return bool(_HOST.fullmatch(text)) and (not text.startswith("*.") or text.count(".") >= 2)
    return True
