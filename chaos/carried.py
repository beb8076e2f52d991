"""Pure: which lines of a caller reached nobody, because a fault had taken the stream that was to carry them.

While Twilio has no stream for a call, what the caller says goes nowhere, by Twilio's design: no server can ask for it
later. A line is *cut* when one of its words falls between such a fault and the `start` of the call's next stream. It
counts from the fault on, not from when Twilio noticed, for what it sends meanwhile goes into a socket that nobody
reads.

* Of a turn whose line was cut it is not judged whether the line was understood and stored and its answer heard, nor how
  long the answer took. Everything else is: that nothing is stored or heard twice or too late, and all other turns.
* Only faults that take streams away (`Fault.takes_streams`) excuse anything, and only a line that they cut. A stream
  that our own side ended, in a drain too, excuses nothing; nor does a call that never got a stream again.
* How many lines were cut, and how long calls were without a stream, stands in the report beside what was lost.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from chaos import hearing
from chaos.evidence import Call, Said, Span, Strike, Unheard

LOST_WITHIN_MS: Final = 5_000
"""After a fault is healed: a stream that ends later ended for another reason."""


def streamless(started_ms: Sequence[int], ended_ms: Sequence[int]) -> list[Span]:
    """Return when a call was between two streams, by when its streams started and ended, in the order of time.

    A stream that never got as far as its `start` has only an end.
    """
    spans = []
    for earlier, later in itertools.pairwise(started_ms):
        ends = [end for end in ended_ms if earlier <= end <= later]
        if ends:
            spans.append(Span(ends[0], later))
    return spans


def unheard(spans: Sequence[Span], strikes: Sequence[Strike], answered_ns: int) -> Iterator[Unheard]:
    """Yield when what the caller said reached nobody, by when the call had no stream and the strikes on it."""
    for strike in strikes:
        at_ms = (strike.at_ns - answered_ns) // 1_000_000
        until_ms = (strike.healed_ns - answered_ns) // 1_000_000 + LOST_WITHIN_MS
        lost = [span for span in spans if at_ms <= span.from_ms <= until_ms]
        if strike.takes_streams and lost:
            yield Unheard(at_ms, lost[0].to_ms, strike.number)


def cut_by(call: Call, said: Said) -> int | None:
    """Return the number of the strike that cut this line; None: all of its words were carried."""
    first, last = hearing.loud_ms(said.line)
    for each in call.unheard:
        if each.from_ms < said.from_ms + last and said.from_ms + first < each.to_ms:
            return each.strike
    return None
