"""Settings: environment variables into frozen, typed objects.

Every variable may also come from a file: `NAME_FILE` holds the path, the file holds the value (the way
Kubernetes and Docker hand out secrets). `NAME` wins when both are set, and empty means unset. A missing or malformed variable stops the process before anything
starts, with one line that names it.
"""

import os
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trunkline_common import subjects

SECRET_FILE_BYTES_MAX: Final = 64 * 1024
"""A secret is a line or a key; a larger file is the wrong file."""


_CREDENTIALS_MARKS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")


class SettingsError(Exception):
    """One or more variables are missing or wrong; the text has a line for each."""


class CommonSettings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    nats_url: str = Field(
        "nats://127.0.0.1:4222", repr=False, description="NATS servers, comma-separated: nats://host:port"
    )
    nats_creds: str | None = Field(None, repr=False, description="path of a NATS credentials file")
    trunkline_region: str = Field("local", description="where this process runs; audio stays inside a region")
    log_level: str = Field("info", description="debug, info, warning or error")

    @property
    def nats_address(self) -> str:
        """The NATS servers without user and password, to be shown to people."""
        return ",".join(without_credentials(url) for url in self.nats_url.split(","))

    @field_validator("nats_url")
    @classmethod
    def _names_nats_servers(cls, value: str) -> str:
        # nats-py finds a malformed address only when it connects. The reason never quotes the value: it may hold
        # a password.
        urls = [url.strip() for url in value.split(",") if url.strip()]
        if not urls or not all(_is_nats_url(url) for url in urls):
            raise ValueError("must be nats://host:port or tls://host:port, several separated by commas")
        return ",".join(urls)

    @field_validator("nats_creds")
    @classmethod
    def _names_a_credentials_file(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if any(mark in value for mark in _CREDENTIALS_MARKS):
            raise ValueError("holds credentials; it must be the path of the file that holds them")
        try:
            content = Path(value).read_bytes()
        except OSError as error:
            raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
        # nats-py would search a file without these lines for ever.
        if not all(mark.encode() in content for mark in _CREDENTIALS_MARKS):
            raise ValueError("names a file that holds no NATS credentials")
        return value

    @field_validator("trunkline_region")
    @classmethod
    def _may_stand_in_a_subject(cls, value: str) -> str:
        return subjects.token(value)

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("is none of debug, info, warning, error")
        return value.lower()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read explicit arguments, then the environment, then the files that the environment names."""
        return init_settings, env_settings, _NamedFiles(settings_cls)


class JetStreamSettings(CommonSettings):
    """What a service reads that keeps something in JetStream."""

    event_replicas: int = Field(
        1,
        ge=1,
        le=5,
        description="NATS servers that keep each event, or what else it keeps in JetStream; counts for whoever creates that",
    )


class EventLogSettings(JetStreamSettings):
    """What a service reads that may create the event log's stream."""

    event_log_gib: float = Field(
        1,
        gt=0,
        le=10_000,
        description="GiB of events that JetStream keeps on each of these servers, for three days; full, it refuses more",
    )


class _NamedFiles(PydanticBaseSettingsSource):
    """`NAME_FILE=/path` for every setting `NAME`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path or os.environ.get(field_name.upper()):
            return None, field_name, False
        try:
            with Path(path).open("rb") as file:
                content = file.read(SECRET_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise SettingsError(f"{variable}: cannot read {path}: {error.strerror}") from error
        if len(content) > SECRET_FILE_BYTES_MAX:
            raise SettingsError(f"{variable}: {path} is larger than {SECRET_FILE_BYTES_MAX} bytes")
        try:
            return content.decode().strip() or None, field_name, False
        except UnicodeDecodeError:
            raise SettingsError(f"{variable}: {path} is not UTF-8 text") from None

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, field in self.settings_cls.model_fields.items():
            try:
                values[name] = self.get_field_value(field, name)[0]
            except SettingsError as error:
                problems.append(str(error))
        if problems:
            raise SettingsError("\n".join(problems))
        return {name: value for name, value in values.items() if value is not None}


S = TypeVar("S", bound=CommonSettings)


def load(settings_type: type[S]) -> S:
    """Return the settings from the environment; raise `SettingsError` naming each wrong variable."""
    try:
        return settings_type()
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_explain(problem, settings_type) for problem in error.errors())
        ) from None


def variables(settings_type: type[CommonSettings]) -> str:
    """Return what `--help` says of the environment: each variable, its meaning with the unit, its default."""
    lines = ["\b", "Environment (each also as NAME_FILE, a file that holds the value):"]
    for name, field in settings_type.model_fields.items():
        default = "required" if field.is_required() else "not set" if field.default is None else field.default
        lines.append(f"  {name.upper()}: {field.description} [{default}]")
    return "\n".join(lines)


def secrets(value: SecretStr) -> tuple[str, ...]:
    """Split a comma-separated secret, as used while one value replaces another."""
    return tuple(part.strip() for part in value.get_secret_value().split(",") if part.strip())


def without_credentials(url: str) -> str:
    """Return a NATS address without user and password, to be shown to people."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _is_nats_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"nats", "tls"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port number, or no IPv6 address
        return False


def _explain(problem: Any, settings_type: type[CommonSettings]) -> str:
    field_name = str(problem["loc"][0]) if problem["loc"] else ""
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not field_name:
        return message
    field = settings_type.model_fields.get(field_name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    if problem["type"] == "missing":
        message = "is not set"
    return f"{field_name.upper()}: {message}{meaning}"
