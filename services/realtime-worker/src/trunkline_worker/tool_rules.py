"""Pure: what the worker's settings allow the tools of a profile, and what of a profile they do not allow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_profiles import HttpToolProfile, McpToolProfile, Secrets, host_of, secrets_of

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ToolRules:
    """The hosts that tools may call, and the secrets that they may send there."""

    hosts: ToolHosts = field(default_factory=ToolHosts)
    secrets: Secrets | None = field(default=None, repr=False)
    """None where profiles are only checked, on a machine that has no secrets."""

    def problems(self, tools: Iterable[HttpToolProfile | McpToolProfile]) -> Iterator[tuple[Place, str]]:
        """Return what the tools of a profile may not do: the field's place in the profile and the reason."""
        for index, tool in enumerate(tools):
            name, scheme, host = host_of(tool)
            if not self.hosts.allows(host):
                yield (
                    ("tools", index, name),
                    f"the host {host} is not allowed; TOOL_HOSTS allows {self.hosts}",
                )
            elif scheme == "http" and not self.hosts.names(host):
                yield (
                    ("tools", index, name),
                    f"must be https://; plain http:// only for a host that TOOL_HOSTS names literally ({self.hosts})",
                )
            for of, secret in secrets_of(tool):
                if self.secrets is not None and secret not in self.secrets:
                    yield ("tools", index, of), f"the worker has no {secret}; set it, or {secret}_FILE"
