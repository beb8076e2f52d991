"""The users of NATS as a cluster gets them: read from the chart's values, with passwords of the tests."""

import json
import re
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

VALUES: Final = Path(__file__).parent.parent / "deploy/k8s/nats/values.yaml"


def merged() -> dict[str, Any]:
    """Return the nats-server configuration that the values add to the chart's own."""
    configuration: dict[str, Any] = YAML(typ="safe", pure=True).load(VALUES)["config"]["merge"]
    return configuration


def users() -> dict[str, dict[str, Any]]:
    """Return each service's user, by its name; who has no permissions listed may do all, and is for people."""
    return {
        user["user"]: user for user in merged()["accounts"]["TRUNKLINE"]["users"] if "permissions" in user
    }


def server_settings() -> str:
    """Return the accounts for `NatsServer.start(extra_settings=…)`; each user's password is its name."""
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in merged().items())
    # The chart turns "<< $NAME >>" into a variable that nats-server reads from its environment.
    return re.sub(r'"<< \$([A-Z]+)_PASSWORD >>"', lambda found: f'"{found[1].lower()}"', lines)


def url_of(user: str, server_url: str) -> str:
    """Return a server's address as this user has it in NATS_URL."""
    return server_url.replace("//", f"//{user}:{user}@")
