"""Pure: a talk goes on at another owner of the call, as if only its model session had been lost.

What the owner knows is taken down (`taken`); the next one restores it (`resume`) and does what follows the loss of a
session: what Twilio holds plays on, an answer that broke off goes on, a turn that was not answered is heard again.
"""

from typing import Final

import msgspec

from trunkline_common.frames import CALLER_KEPT_MS_MAX
from trunkline_worker.checkpoint import RECENT_ITEMS, Checkpoint
from trunkline_worker.commands import Command
from trunkline_worker.dialogue import Dialogue
from trunkline_worker.events import Owned
from trunkline_worker.response_gate import Request, Wish

STILL_THERE: Final = (
    "The line broke for a while and is open again. In one short sentence tell the caller that you are still there, "
    "and go on where you were."
)


def taken(dialogue: Dialogue, of_call: Checkpoint, items_max: int | None = RECENT_ITEMS) -> Checkpoint:
    """Return the talk as it is now."""
    caller, agent = dialogue.conversation.drafts()
    items = dialogue.conversation.history.items()
    return msgspec.structs.replace(
        of_call,
        media_ms=dialogue.media_ms,
        stream_shift_ms=dialogue.uplink.stream_shift_ms,
        position=dialogue.conversation.position,
        items=items if items_max is None else items[-items_max:],
        caller=tuple(caller),
        agent=tuple(agent),
        in_flight=tuple(dialogue.playback.in_flight()),
        floor=dialogue.floor,
        told_ms=dialogue.uplink.told_ms,
        in_session=dialogue.in_session,
        round_trip_ms=dialogue.playback.round_trip_ms,
        owed=dialogue.gate.owed(),
        departure=dialogue.actions.departing,
        keys=dialogue.actions.keys,
        agent_was_heard=dialogue.agent_was_heard,
        interruptions=dialogue.interruptions,
        refused_tools=dialogue.actions.refused_tools,
        responses_usd=dialogue.spend.responses_usd,
        transcriptions_usd=dialogue.spend.transcriptions_usd,
    )


def resume(dialogue: Dialogue, known: Checkpoint, owned: Owned | None, now: float) -> list[Command]:
    """Restore what was known into a talk that has not begun; a model session may be opened after that.

    Without `owned` a new stream is to come, and what Twilio held of the one before is gone.
    """
    if owned is None and known.owed is None:
        known = msgspec.structs.replace(known, owed=Request(Wish.CONTINUE, STILL_THERE))
    dialogue.conversation.history.restore(known.items)
    dialogue.conversation.restore(known.position, list(known.caller), list(known.agent), now)
    if owned is not None:
        dialogue.playback.round_trip_ms = known.round_trip_ms
        marks = (owned.mark_sent, owned.mark_played)
        dialogue.playback.restore(owned.generation, list(known.in_flight), *marks, owned.unplayed_ms, now)
    dialogue.gate.restore(known.owed)
    dialogue.spend.responses_usd = known.responses_usd
    dialogue.spend.transcriptions_usd = known.transcriptions_usd
    dialogue.interruptions = known.interruptions
    dialogue.agent_was_heard = known.agent_was_heard or (
        owned is not None and owned.mark_played.startswith(f"{owned.generation}:")
    )
    if known.floor is not None:
        dialogue.floor = known.floor
    dialogue.uplink.told_ms = known.told_ms
    dialogue.uplink.restore(known.media_ms, known.stream_shift_ms)
    hear_again_ms = dialogue.floor.hear_again_ms
    closed = dialogue.session_closed(now)
    if not known.in_session and hear_again_ms is not None:
        # The session was lost before, and more was owed then.
        dialogue.floor.hear_again_ms = hear_again_ms
    if owned is not None:
        dialogue.uplink.sent_until(dialogue.floor.hear_again_ms or 0)
    return [*closed, *dialogue.actions.resume(known.departure, known.keys, known.refused_tools, now)]


def outline(dialogue: Dialogue) -> object:
    """Return what, when it changes, the next owner must know at once."""
    floor, conversation = dialogue.floor, dialogue.conversation
    caller, agent = conversation.drafts()
    return (
        conversation.position,
        [(draft.item_id, draft.end_ms) for draft in caller],
        [(draft.item_id, draft.started, draft.text_final) for draft in agent],
        [(item.item_id, item.complete) for item in dialogue.playback.in_flight()],
        conversation.history.version,
        (floor.speaking_item, floor.unanswered_item, floor.owes, floor.hear_again_ms),
        (
            dialogue.in_session,
            dialogue.gate.owed(),
            dialogue.actions.departing,
            dialogue.actions.keys,
            dialogue.playback.generation,
        ),
    )


def needed_from_ms(dialogue: Dialogue, checkpoint: Checkpoint) -> int:
    """Return from where on the next owner needs the caller's audio, by the stream's timestamps."""
    if checkpoint.in_session:
        since_ms = dialogue.owed(broke_off=False, told_ms=checkpoint.told_ms).hear_again_ms
    else:
        # Without any session so far, nothing was ever taken.
        since_ms = dialogue.floor.hear_again_ms or 0
    wordless = [draft.start_ms for draft in checkpoint.caller if draft.text is None]
    since_ms = max(min(since_ms, *wordless, checkpoint.media_ms), checkpoint.media_ms - CALLER_KEPT_MS_MAX)
    return max(round(since_ms - dialogue.uplink.stream_shift_ms), 0)
