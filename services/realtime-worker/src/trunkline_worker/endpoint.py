"""Pure: where the model is reached and by whose leave, from the settings.

OpenAI: `wss://api.openai.com/v1/realtime?model=<model>` with `Authorization: Bearer`. Azure:
`wss://<resource>.openai.azure.com/openai/v1/realtime?model=<deployment>` with `api-key`, or a bearer token of Entra.
"""

from urllib.parse import urlencode, urlsplit, urlunsplit

from trunkline_worker.dialects import CODECS
from trunkline_worker.settings import ModelSettings


def realtime_url(settings: ModelSettings, model: str) -> str:
    """Return the address of a new session's websocket."""
    return f"{settings.openai_realtime_url}?{urlencode({'model': model})}"


def models_url(settings: ModelSettings) -> str:
    """Return the address of the list of models, beside that of the websocket."""
    parts = urlsplit(settings.openai_realtime_url)
    scheme = "https" if parts.scheme == "wss" else "http"
    return urlunsplit((scheme, parts.netloc, parts.path.removesuffix("/realtime") + "/models", "", ""))


def headers(settings: ModelSettings) -> dict[str, str]:
    """Return the headers of every request to the model's side; they hold the key."""
    key = settings.openai_api_key.get_secret_value().strip()
    allowed = {"authorization": ("Authorization", f"Bearer {key}"), "api-key": ("api-key", key)}
    sent = dict([allowed[settings.openai_auth_header]])
    if settings.openai_org_id:
        sent["OpenAI-Organization"] = settings.openai_org_id
    if settings.openai_project_id:
        sent["OpenAI-Project"] = settings.openai_project_id
    return sent | dict(CODECS[settings.openai_realtime_dialect].HEADERS)
