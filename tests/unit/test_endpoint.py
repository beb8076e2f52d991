"""Where the model is reached and by whose leave: OpenAI, Azure, a compatible server."""

from typing import Any

import pytest
from pydantic import SecretStr

from trunkline_common.settings import SettingsError, load
from trunkline_worker.endpoint import headers, models_url, realtime_url
from trunkline_worker.settings import ModelSettings

AZURE = "wss://desk.openai.azure.com/openai/v1/realtime"


def model_settings(**values: Any) -> ModelSettings:
    return ModelSettings(openai_api_key=SecretStr("sk-secret"), **values)


def test_openai_gets_a_bearer_key_and_nothing_of_beta() -> None:
    variables = model_settings()

    assert realtime_url(variables, "gpt-realtime-2.1") == (
        "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1"
    )
    assert headers(variables) == {"Authorization": "Bearer sk-secret"}


def test_a_key_of_several_projects_names_its_own() -> None:
    sent = headers(model_settings(openai_org_id="org-1", openai_project_id="proj_1"))

    assert (sent["OpenAI-Organization"], sent["OpenAI-Project"]) == ("org-1", "proj_1")


def test_azure_gets_its_own_header_and_the_deployment_as_the_model() -> None:
    variables = model_settings(openai_realtime_url=AZURE, openai_auth_header="api-key")

    assert realtime_url(variables, "front desk") == f"{AZURE}?model=front+desk"
    assert headers(variables) == {"api-key": "sk-secret"}
    assert models_url(variables) == "https://desk.openai.azure.com/openai/v1/models"


def test_a_compatible_server_of_the_older_shape_gets_the_beta_header() -> None:
    variables = model_settings(
        openai_realtime_url="ws://127.0.0.1:8081/v1/realtime", openai_realtime_dialect="beta"
    )

    assert headers(variables)["OpenAI-Beta"] == "realtime=v1"
    assert models_url(variables) == "http://127.0.0.1:8081/v1/models"


@pytest.mark.parametrize("host", ["api.openai.com", "eu.api.openai.com"])
def test_beta_at_openai_itself_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_REALTIME_URL", f"wss://{host}/v1/realtime")
    monkeypatch.setenv("OPENAI_REALTIME_DIALECT", "beta")

    with pytest.raises(SettingsError, match=r"OPENAI_REALTIME_DIALECT: .*use ga"):
        load(ModelSettings)
