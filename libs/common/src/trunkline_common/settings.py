"""Settings: environment variables into frozen, typed objects.

Every variable may also come from a file: `NAME_FILE` holds the path, the file holds the value (the way
Kubernetes and Docker hand out secrets). A missing or malformed variable stops the process before anything
starts, with one line that names it.
"""

import os
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trunkline_common import subjects

SECRET_FILE_BYTES_MAX: Final = 64 * 1024
"""A secret is a line or a key; a larger file is the wrong file."""


class SettingsError(Exception):
    """One or more variables are missing or wrong; the text has a line for each."""


class CommonSettings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS servers, comma-separated")
    nats_creds: str | None = Field(None, description="path of a NATS credentials file")
    trunkline_region: str = Field("local", description="where this process runs; audio stays inside a region")
    log_level: str = Field("info", description="debug, info, warning or error")

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


class _NamedFiles(PydanticBaseSettingsSource):
    """`NAME_FILE=/path` for every setting `NAME`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise SettingsError(f"{variable}: cannot read {path}: {error.strerror}") from error
        if len(content) > SECRET_FILE_BYTES_MAX:
            raise SettingsError(f"{variable}: {path} is larger than {SECRET_FILE_BYTES_MAX} bytes")
        try:
            return content.decode().strip(), field_name, False
        except UnicodeDecodeError:
            raise SettingsError(f"{variable}: {path} is not UTF-8 text") from None

    def __call__(self) -> dict[str, Any]:
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
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


def secrets(value: SecretStr) -> tuple[str, ...]:
    """Split a comma-separated secret, as used while one value replaces another."""
    return tuple(part.strip() for part in value.get_secret_value().split(",") if part.strip())


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
