"""Every variable of the worker."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from trunkline_common.settings import CommonSettings
from trunkline_worker.agent import Agent, living_model
from trunkline_worker.events import AudioPath


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

    @field_validator("openai_realtime_model")
    @classmethod
    def _is_alive(cls, value: str) -> str:
        return living_model(value)

    def built_in_agent(self) -> Agent:
        """Return the agent that answers where no profile does, and whose settings are the profiles' defaults."""
        return Agent(model=self.openai_realtime_model, audio_path=self.audio_path)


class WorkerSettings(AgentSettings):
    """What `trunkline worker` reads from the environment."""

    openai_api_key: SecretStr = Field(description="key of the OpenAI project that pays for the calls")
    openai_realtime_url: str = Field(
        "wss://api.openai.com/v1/realtime", description="websocket of the Realtime API, without query"
    )
    openai_realtime_dialect: Literal["ga"] = Field("ga", description="shape of the Realtime events")
    resampler: Literal["polyphase", "soxr"] = Field(
        "polyphase", description="polyphase (2 ms of delay) or soxr (tens of ms)"
    )
    session_max_s: float = Field(
        3300,
        ge=10,
        le=3540,
        description="seconds after which a model session is replaced; OpenAI ends it at 3600",
    )
    worker_capacity: int = Field(100, ge=1, le=2000, description="calls that this process takes at most")
    worker_drain_s: float = Field(
        60, ge=1, le=3600, description="seconds that live calls get to end after SIGTERM"
    )
    host: str = Field("127.0.0.1", description="address of the health and metrics pages")
    metrics_port: int = Field(9101, ge=0, le=65535, description="port of the health and metrics pages")

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
