"""One call as its page shows it: the API's answer, and when each limit was reached."""

from pydantic import BaseModel, ConfigDict

from trunkline_transcripts.console.answers import Call


class ReachedLimit(BaseModel):
    """A limit of the agent's profile that the call reached."""

    model_config = ConfigDict(from_attributes=True)

    limit_name: str
    at_ms: int | None


class ShownCall(Call):
    """Everything about a call."""

    limits: list[ReachedLimit]
