"""What the caller heard must be what the model believes, and what is written: see `Heard`."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from trunkline_common.call_events import AgentTurn
from trunkline_worker.beliefs import TRUNCATE_MARGIN_MS
from trunkline_worker.playing_item import MARK_EVERY_MS

if TYPE_CHECKING:
    from call_world.world import World

RECKONED_MS = 80
"""A new owner is told by the gateway's clock how much is unplayed, and does not know where the marks lie."""


class Heard:
    """The agent's audio of one call: what came from the model, and what of it reached the caller."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.received_bytes: Counter[str] = Counter()
        self.response_items: defaultdict[str, set[str]] = defaultdict(set)
        self.cut_by_line: set[str] = set()
        self.bytes_per_ms = 48 if world.agent.audio_path == "pcm24k" else 8

    def truncated(self, item_id: str, audio_end_ms: int) -> None:
        """Check what the model is told was heard."""
        assert self._world.session is not None
        item = self._world.session.items[item_id]
        assert item.role == "assistant"
        assert not item.truncated
        received_ms = self.received_bytes[item_id] / self.bytes_per_ms
        assert 0 < audio_end_ms <= received_ms - TRUNCATE_MARGIN_MS
        self.check(item_id, audio_end_ms)

    def deleted(self, item_id: str, ignored: set[str]) -> None:
        """Check that an item which the model is to forget was not heard."""
        world = self._world
        assert world.session is not None
        if item_id in ignored:
            return
        assert world.session.items[item_id].role == "assistant"
        if world.session.items[item_id].is_text:
            # To be told anew, as far as it was heard.
            return
        if world.line.delays_were_even:
            # Of what is shorter than the margin, less than the margin was heard.
            heard_ms = world.line.heard_ms(item_id)
            allowed_ms = TRUNCATE_MARGIN_MS + self._world.line.behind_ms
            assert heard_ms <= allowed_ms, f"{heard_ms} ms were heard"

    def written(self, turn: AgentTurn) -> None:
        """Check an agent's turn that is written."""
        self.check(turn.item_id, turn.heard_ms)
        line = self._world.line
        if (
            turn.interrupted
            and line.delays_were_even
            and turn.item_id not in self.cut_by_line
            and self._world.call.state.value == "talking"
        ):
            behind_ms = min(line.heard_ms(turn.item_id), turn.generated_ms) - turn.heard_ms
            reckoned_ms = RECKONED_MS if self._world.owners and self._world.owners.changes else 0
            allowed_ms = self._world.line.behind_ms + reckoned_ms
            assert behind_ms <= allowed_ms, f"the caller heard {behind_ms} ms more"

    def check(self, item_id: str, claimed_ms: float) -> None:
        """Nothing may be taken as heard that was not, but for what jitter leaves open.

        When the line breaks, the clock runs on until the next mark, or until the worker is told.
        """
        line = self._world.line
        ahead_ms = claimed_ms - line.heard_ms(item_id)
        allowed_ms = self._world.line.jitter_ms
        if item_id in self.cut_by_line or not line.is_up:
            allowed_ms += MARK_EVERY_MS + 2_000 * line.one_way_s
        assert ahead_ms <= allowed_ms, f"{ahead_ms} ms of {item_id} were not heard"

    def beliefs(self, response_id: str) -> None:
        """What the model believes it said in a cancelled answer must be what the caller heard.

        What a broken line cut was checked when it was cut.
        """
        world = self._world
        if not world.line.delays_were_even:
            return
        assert world.session is not None
        if not world.session.alive:
            return
        for item_id in (self.response_items[response_id] & world.session.items.keys()) - self.cut_by_line:
            unheard_ms = self.received_bytes[item_id] / self.bytes_per_ms - world.line.heard_ms(item_id)
            known = world.session.items[item_id].truncated
            allowed_ms = TRUNCATE_MARGIN_MS + self._world.line.jitter_ms
            assert known or unheard_ms <= allowed_ms, f"{item_id} was not heard"
