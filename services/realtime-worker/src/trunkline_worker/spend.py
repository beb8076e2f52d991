"""Pure: what one call has cost so far."""

import msgspec

from trunkline_common.call_events import TranscriptionUsage, Usage
from trunkline_worker.prices import PriceList


class Spend:
    """Prices each usage of a call and adds it up; what has no price is counted instead."""

    def __init__(self, prices: PriceList, model: str, transcription_model: str) -> None:
        self.responses_usd = 0.0
        self.transcriptions_usd = 0.0
        self.unpriced = 0
        """Responses and transcriptions without a price: the true total is higher."""
        self._prices = prices
        self._model = model
        self._transcription_model = transcription_model

    @property
    def total_usd(self) -> float:
        """Everything that has a price."""
        return self.responses_usd + self.transcriptions_usd

    def on_response(self, usage: Usage) -> Usage:
        """Return the response's usage with its model and cost."""
        usage = msgspec.structs.replace(usage, model=usage.model or self._model)
        cost_usd = self._prices.response_usd(usage)
        self.responses_usd += self._counted(cost_usd)
        return msgspec.structs.replace(usage, cost_usd=cost_usd, price_date=self._price_date(cost_usd))

    def on_transcription(self, usage: TranscriptionUsage) -> TranscriptionUsage:
        """Return the transcription's usage with its model and cost."""
        usage = msgspec.structs.replace(usage, model=usage.model or self._transcription_model)
        cost_usd = self._prices.transcription_usd(usage)
        self.transcriptions_usd += self._counted(cost_usd)
        return msgspec.structs.replace(usage, cost_usd=cost_usd, price_date=self._price_date(cost_usd))

    def _counted(self, cost_usd: float | None) -> float:
        if cost_usd is None:
            self.unpriced += 1
        return cost_usd or 0.0

    def _price_date(self, cost_usd: float | None) -> str:
        return "" if cost_usd is None else self._prices.date.isoformat()
