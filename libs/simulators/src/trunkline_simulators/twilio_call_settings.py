"""What one simulated call is to be like."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_faults import Faults
from trunkline_simulators.twilio_queues import Queues
from trunkline_simulators.twilio_webhooks import ConnectTo


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """What is special about a call that the REST API places."""

    call_sid: str
    ring_s: int = 60
    detection_callback: str | None = None  # None: machines are not detected


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """Everything about one call; the numbers of the default are reserved for fiction."""

    webhook: str  # the public URL of the number's webhook, as Twilio would be told
    auth_token: str = field(repr=False)
    account_sid: str
    conversation: Conversation
    caller: str = "+12025550123"
    called: str = "+12025550147"
    connect_to: ConnectTo | None = None
    fallback_url: str | None = None
    status_callback: str | None = None
    after_lost_stream: Literal["continue", "hang-up"] = "continue"
    notices_lost_stream_after_s: float | None = 0.0  # one that broke without a close frame; None: never
    faults: Faults = field(default_factory=Faults)
    seed: int = 0  # of the jitter; SIDs are always new
    record: Path | None = None  # the folder of the WAV and the trace
    callee: Callee = field(default_factory=Callee)  # of <Dial>, and of an outbound call
    outbound: Outbound | None = None  # then `caller` is the account's number, and `called` rings
    queues: Queues = field(default_factory=Queues)  # of <Enqueue>: one for all calls that wait together
    time_limit_s: float = 600.0  # for a call that nobody ends
    word_ms: int = 350  # how long a word of <Say> takes; it is not heard, for nobody speaks it
