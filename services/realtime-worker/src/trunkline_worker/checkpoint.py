"""Pure: what the next owner of a call must know, from the call's log and from the last words of the owner before.

The event log holds what is finished; a checkpoint holds what is under way: turns that are not written yet, audio that
the caller still hears, what is owed. It is sent to the gateway, which keeps the newest and does not look into it. Where
both tell of the same, the log is right about turns that are written, and the checkpoint about everything later.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import msgspec

from trunkline_common.call_events import (
    AgentTurn,
    CallerTurn,
    CallEvent,
    DtmfReceived,
    ToolCalled,
    ToolReturned,
    TranscriptionUsage,
    TransferChanged,
    Usage,
)
from trunkline_worker.absence import DIALING
from trunkline_worker.agent_tools import TRANSFER_CALL
from trunkline_worker.conversation import AgentDraft, CallerDraft
from trunkline_worker.floor import Floor
from trunkline_worker.history import History, Remembered
from trunkline_worker.playback import InFlight
from trunkline_worker.response_gate import Request, Wish

VERSION: Final = 1

RECENT_ITEMS: Final = 6
"""Items of the conversation that every checkpoint repeats: the log may be some seconds behind."""

STATE_BYTES_MAX: Final = 48 * 1024
"""Below what a gateway keeps. A final checkpoint, with the whole conversation, is the largest."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call between two events; every part has a default, for owners of another release."""

    v: int = VERSION
    media_ms: int = 0
    """Media time of the call so far."""
    stream_shift_ms: float | None = None
    """From the stream's timestamps to media time; None: a new stream begins."""
    position: int = 0
    items: tuple[Remembered, ...] = ()
    """Of the conversation, in their order."""
    caller: tuple[CallerDraft, ...] = ()
    agent: tuple[AgentDraft, ...] = ()
    in_flight: tuple[InFlight, ...] = ()
    floor: Floor | None = None
    told_ms: int = 0
    """Media time at which the model last said anything."""
    in_session: bool = False
    """A model session served; otherwise its loss is accounted for already."""
    round_trip_ms: float = 0.0
    """To Twilio and back."""
    owed: Request | None = None
    departure: str = ""
    """Name of the tool by which the agent was about to leave the call."""
    keys: str = ""
    """Keys of the phone that the model was not told of yet."""
    greeted: bool = False
    agent_was_heard: bool = False
    interruptions: int = 0
    detours: int = 0
    """Transfers and rounds of DTMF that came back."""
    signs: int = 0
    """How often the caller has spoken or pressed a key."""
    refused_tools: int = 0
    responses_usd: float = 0.0
    transcriptions_usd: float = 0.0


class CheckpointError(ValueError):
    """The bytes are no checkpoint that this version can read."""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Checkpoint)


def encode(checkpoint: Checkpoint) -> bytes:
    """Return it as JSON; the oldest items are left out when it would be too large."""
    state = _encoder.encode(checkpoint)
    while len(state) > STATE_BYTES_MAX and checkpoint.items:
        items = checkpoint.items[1 + len(checkpoint.items) // 4 :]
        checkpoint = msgspec.structs.replace(checkpoint, items=items)
        state = _encoder.encode(checkpoint)
    return state


def decode(state: bytes) -> Checkpoint:
    """Return the checkpoint; raise `CheckpointError` when it is malformed or of a newer version."""
    try:
        checkpoint = _decoder.decode(state)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"no checkpoint: {error}") from error
    if checkpoint.v > VERSION:
        raise CheckpointError(f"checkpoint version {checkpoint.v}, this process reads {VERSION}")
    return checkpoint


def of_log(log: Iterable[CallEvent]) -> Checkpoint:
    """Return what a call's event log tells of it; its events may be of several owners."""
    history = History()
    media_ms = position = interruptions = keys = 0
    callers: set[str] = set()
    agent_was_heard = greeted = False
    responses_usd = transcriptions_usd = 0.0
    transfer: TransferChanged | None = None
    for event in log:
        match event:
            case CallerTurn():
                callers.add(event.item_id)
                if event.text is not None or event.item_id not in history:
                    history.take(event)
            case AgentTurn():
                history.take(event)
                greeted = True
                agent_was_heard = agent_was_heard or event.heard_ms > 0
                interruptions += event.interrupted
            case ToolCalled():
                history.tool_called(event.item_id, event.tool_call_id, event.name, event.arguments)
            case ToolReturned():
                history.tool_returned(event.tool_call_id, event.output)
            case DtmfReceived():
                keys += 1
            case TransferChanged():
                transfer = event
            case Usage(cost_usd=float(cost_usd)):
                responses_usd += cost_usd
            case TranscriptionUsage(cost_usd=float(cost_usd)):
                transcriptions_usd += cost_usd
        media_ms = max(media_ms, getattr(event, "end_ms", 0), getattr(event, "at_ms", 0))
        position = max(position, getattr(event, "position", 0))
    if transfer is not None and transfer.status == DIALING:
        history.note(
            f"{TRANSFER_CALL}: nobody could be reached at {transfer.target}. The caller is back with you."
        )
    items = history.items()
    return Checkpoint(
        media_ms=media_ms,
        position=position,
        items=items,
        owed=Request(Wish.ANSWER) if items and items[-1].speaker == "caller" else None,
        # Who was spoken with needs no greeting, though what the agent said was never written.
        greeted=greeted or bool(items),
        agent_was_heard=agent_was_heard,
        interruptions=interruptions,
        signs=len(callers) + keys,
        responses_usd=responses_usd,
        transcriptions_usd=transcriptions_usd,
    )


def joined(log: Checkpoint, told: Checkpoint | None) -> Checkpoint:
    """Return what log and checkpoint tell together."""
    if told is None:
        return log
    written = {item.item_id: item for item in log.items}
    heard = {item_id for item_id, item in written.items() if item.speaker == "agent"}
    items = written | {
        item.item_id: _better(written.get(item.item_id), item)
        for item in told.items
        if item.item_id not in heard
    }
    in_order = sorted(items.values(), key=lambda item: (item.position, item.speaker in {"note", "tool"}))
    return msgspec.structs.replace(
        told,
        media_ms=max(log.media_ms, told.media_ms),
        position=max(log.position, told.position),
        items=tuple(in_order),
        caller=tuple(draft for draft in told.caller if draft.item_id not in written),
        agent=tuple(draft for draft in told.agent if draft.item_id not in heard),
        in_flight=tuple(item for item in told.in_flight if item.item_id not in heard),
        greeted=log.greeted or told.greeted,
        interruptions=max(log.interruptions, told.interruptions),
        signs=max(log.signs, told.signs),
        responses_usd=max(log.responses_usd, told.responses_usd),
        transcriptions_usd=max(log.transcriptions_usd, told.transcriptions_usd),
    )


def _better(written: Remembered | None, told: Remembered) -> Remembered:
    """Return the one that knows more: the log may lack what is new, the checkpoint is not sent for every word."""
    if written is None:
        return told
    return replace(
        told,
        text=written.text if told.text is None else told.text,
        output=written.output if told.output is None else told.output,
    )
