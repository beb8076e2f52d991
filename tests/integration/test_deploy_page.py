"""docs/deploy.md: the lines that it promises for bad input are those that the services print."""

from pathlib import Path

import pytest

from trunkline_common import settings
from trunkline_common.settings import CommonSettings, SettingsError
from trunkline_gateway.settings import GatewaySettings
from trunkline_transcripts.settings import TranscriptsSettings
from trunkline_worker.agent import Agent
from trunkline_worker.profile_files import ProfilesError, read_folder
from trunkline_worker.settings import WorkerSettings

PAGE = (Path(__file__).parent.parent.parent / "docs/deploy.md").read_text()
AGENT = Agent(model="gpt-realtime-2.1", audio_path="pcm24k")


@pytest.mark.parametrize(
    ("settings_type", "environment"),
    [
        (WorkerSettings, {"OPENAI_API_KEY_FILE": "/run/secrets/trunkline/openai-api-key"}),
        (GatewaySettings, {"HOST": "0.0.0.0", "PUBLIC_URL": "https://calls.example.com"}),
        (TranscriptsSettings, {"DATABASE_URL": "postgres://user:password@host/database"}),
    ],
)
def test_a_setting_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, settings_type: type[CommonSettings], environment: dict[str, str]
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as error:
        settings.load(settings_type)

    assert f"`{error.value}`" in PAGE


@pytest.mark.parametrize(
    "profile",
    ["name: desk\nnumbers: any\nvoise: marin\ninstructions: Answer.\n", None],
)
def test_a_folder_of_profiles_that_cannot_be_used(tmp_path: Path, profile: str | None) -> None:
    if profile:
        (tmp_path / "desk.yaml").write_text(profile)

    with pytest.raises(ProfilesError) as error:
        read_folder(tmp_path, AGENT)

    assert f"`{str(error.value).removeprefix(f'{tmp_path}: ')}`" in PAGE


def test_what_the_page_says_to_run_exists() -> None:
    root = Path(__file__).parent.parent.parent
    named = [word for word in PAGE.split() if word.startswith("deploy/k8s/")]

    assert named
    assert [word for word in named if not (root / word.strip("`.")).exists()] == []
