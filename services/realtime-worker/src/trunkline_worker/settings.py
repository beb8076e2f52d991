"""Every variable of the worker."""

import os
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from trunkline_common.settings import SECRET_FILE_BYTES_MAX, CommonSettings, EventLogSettings, SettingsError
from trunkline_worker.agent import Agent, living_model
from trunkline_worker.events import AudioPath
from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_profiles import SECRET_PREFIX, Secrets
from trunkline_worker.tool_rules import ToolRules

GA_ONLY_DOMAIN: Final = "api.openai.com"
"""Its regions' hosts end in it, too (eu.api.openai.com)."""


class AgentSettings(CommonSettings):
    """Which agents answer, and what applies to an agent that does not say otherwise."""

    trunkline_agents: Path | None = Field(
        None,
        description="folder of agent profiles (*.yaml); without it one built-in agent answers every number",
    )
    openai_realtime_model: str = Field("gpt-realtime-2.1", description="the speech-to-speech model")
    audio_path: AudioPath = Field(
        "pcm24k", description="pcm24k (transcoded, 24 kHz) or pcmu (G.711 straight through)"
    )

    tool_hosts: str = Field(
        "",
        description="hosts that the agents' tools may call, comma-separated: api.example.com,*.internal.example; "
        "only a host that is named literally may lie at a private address or speak plain http",
    )

    @field_validator("tool_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        ToolHosts.parse(value)
        return value

    @field_validator("openai_realtime_model")
    @classmethod
    def _is_alive(cls, value: str) -> str:
        return living_model(value)

    def built_in_agent(self) -> Agent:
        """Return the agent that answers where no profile does, and whose settings are the profiles' defaults."""
        return Agent(model=self.openai_realtime_model, audio_path=self.audio_path)

    def tool_rules(self, secrets: Secrets | None) -> ToolRules:
        """Return what the tools of a profile may do; without `secrets`, whether they exist is not asked."""
        return ToolRules(ToolHosts.parse(self.tool_hosts), secrets)


class ModelSettings(AgentSettings):
    """Where the model is and by whose leave it is reached: what `trunkline smoke` reads."""

    openai_api_key: SecretStr = Field(description="key of the OpenAI project that pays for the calls")
    openai_realtime_url: str = Field(
        "wss://api.openai.com/v1/realtime", description="websocket of the Realtime API, without query"
    )
    openai_realtime_dialect: Literal["ga", "beta"] = Field(
        "ga",
        description="shape of the Realtime events: ga, or beta for a compatible server of the older shape",
    )
    openai_auth_header: Literal["authorization", "api-key"] = Field(
        "authorization", description="where the key goes: authorization (Bearer) or api-key (Azure's keys)"
    )
    openai_org_id: str | None = Field(
        None, description="OpenAI organization that pays, if the key has several"
    )
    openai_project_id: str | None = Field(
        None, description="OpenAI project that pays, if the key has several"
    )
    resampler: Literal["polyphase", "soxr"] = Field(
        "polyphase", description="polyphase (2 ms of delay) or soxr (tens of ms)"
    )

    prices: Path | None = Field(None, description="price list (YAML); without it the one that comes along")

    @field_validator("openai_api_key")
    @classmethod
    def _is_set(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():
            raise ValueError("is empty")
        return value

    @field_validator("openai_realtime_url")
    @classmethod
    def _is_a_websocket(cls, value: str) -> str:
        if not value.startswith(("ws://", "wss://")):
            raise ValueError("must start with wss:// (or ws:// for a server on this machine)")
        return value.rstrip("/")

    @field_validator("openai_realtime_dialect")
    @classmethod
    def _is_spoken_there(cls, value: str, info: ValidationInfo) -> str:
        host = urlsplit(info.data.get("openai_realtime_url", "")).hostname or ""
        if value == "beta" and f".{host}".endswith(f".{GA_ONLY_DOMAIN}"):
            raise ValueError(f"{host} has not spoken beta since May 2026; use ga")
        return value


class WorkerSettings(ModelSettings, EventLogSettings):
    """What `trunkline worker` reads from the environment."""

    session_max_s: float = Field(
        3300,
        ge=10,
        le=3540,
        description="seconds after which a model session is replaced; OpenAI ends it at 3600",
    )
    model_connects_per_s: float = Field(
        50, gt=0, description="model sessions that all workers together open per second at most"
    )
    worker_capacity: int = Field(100, ge=1, le=2000, description="calls that this process takes at most")
    worker_drain_s: float = Field(
        60, ge=1, le=3600, description="seconds that live calls get to end after SIGTERM"
    )
    daily_budget_usd: float = Field(
        0,
        ge=0,
        allow_inf_nan=False,
        description="what all calls of a day (UTC) may cost together; then no new one is taken; 0: no limit",
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        description="OpenTelemetry collector (OTLP over HTTP) that gets each call as a trace: http://host:4318; "
        "needs trunkline-worker[otel]",
    )
    host: str = Field("127.0.0.1", description="address of the health and metrics pages")
    metrics_port: int = Field(9101, ge=0, le=65535, description="port of the health and metrics pages")

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _is_a_collector(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://, such as http://collector:4318")
        return value.rstrip("/") if value else None


def tool_secrets() -> Secrets:
    """Return the `TOOL_SECRET_…` variables, each also as `TOOL_SECRET_…_FILE`; read once, at the start.

    Raises `SettingsError` for a file that cannot be used.
    """
    values: dict[str, str] = {}
    for variable, value in sorted(os.environ.items()):
        if not variable.startswith(SECRET_PREFIX) or not value:
            continue
        name = variable.removesuffix("_FILE")
        if name == variable:
            values[name] = value
        else:
            values.setdefault(name, _content(variable, Path(value)))
    for name, value in values.items():
        # It becomes a header.
        if not value.isascii() or not value.isprintable():
            raise SettingsError(f"{name}: must be one line of printable ASCII")
    return values


def _content(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_BYTES_MAX + 1)
        if len(content) > SECRET_FILE_BYTES_MAX:
            raise SettingsError(f"{variable}: {path} is larger than {SECRET_FILE_BYTES_MAX} bytes")
        return content.decode().strip()
    except OSError as error:
        raise SettingsError(f"{variable}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}: {path} is not UTF-8 text") from None
