"""A call as a person likes to read it: one line for each thing that happens, and how it went."""

from __future__ import annotations

from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_trace import Event


class LiveReport:
    """Turns a trace's events into lines; marks and other traffic get none."""

    def __init__(self, name_calls: bool) -> None:
        self._name_calls = name_calls
        self._began_at_ns: dict[str, int] = {}

    def line(self, event: Event) -> str | None:
        """Return what to print for an event, if anything."""
        call_sid = event["call_sid"]
        began_at_ns = self._began_at_ns.setdefault(call_sid, event["at_ns"])
        told = _told(event)
        if told is None:
            return None
        name = f"{call_sid[:8]} " if self._name_calls else ""
        return f"{name}{(event['at_ns'] - began_at_ns) / 1e9:7.2f} s  {told}"


def _told(event: Event) -> str | None:
    match event:
        case {"event": "http", "path": path, "status": status}:
            return f"webhook {path} answered {status or event.get('error')}"
        case {"event": "twiml", "verb": verb}:
            rest = {
                key: value for key, value in event.items() if key in ("url", "text", "length_s", "numbers")
            }
            return f"<{verb}> {' '.join(str(value) for value in rest.values())}"
        case {"event": "stream-started", "stream_sid": stream_sid}:
            return f"stream {stream_sid[:8]} has started"
        case {"event": "caller-speaking", "text": text, "interrupting": interrupting}:
            return f"caller {'interrupts' if interrupting else 'says'}: {text}"
        case {"event": "agent-audible", "reply_ms": reply_ms}:
            return "agent is heard" + (f", {reply_ms} ms after the caller's last word" if reply_ms else "")
        case {"event": "agent-quiet", "yielded_ms": yielded_ms}:
            return "agent is quiet" + (f", {yielded_ms} ms after the interruption" if yielded_ms else "")
        case {"event": "clear-received", "dropped_bytes": dropped_bytes}:
            return f"server clears {dropped_bytes // 8} ms of audio that was not played"
        case {"event": "key-pressed", "digit": digit}:
            return f"caller presses {digit}"
        case {"event": "warning", "code": code, "detail": detail}:
            return f"warning {code}: {detail}"
        case {"event": "duplicate-ended", "error": error}:
            return f"duplicate websocket ended: {error or 'with the call'}"
        case {"event": "ended", "reason": reason}:
            return f"call ended: {reason}"
        case _:
            return None


def summary(result: CallResult) -> str:
    """Return a call's outcome as a few lines of text."""
    lines = [
        f"{result.call_sid}: {'clean' if result.clean else 'NOT CLEAN'}, {result.end_reason} after"
        f" {result.duration_ms / 1000:.1f} s; script {'finished' if result.script_finished else 'not finished'}",
        f"  streams {result.attaches}, audio {result.received_bytes // 8} ms received,"
        f" {result.played_bytes // 8} ms played, {result.cleared_bytes // 8} ms cleared",
        f"  marks {result.echoed_marks} played, {result.cleared_marks} cleared,"
        f" {result.unanswered_marks} unanswered; underruns {result.underruns},"
        f" partial frames {result.partial_frames}",
    ]
    measured = {
        "replies (ms)": result.reply_ms,
        "silent after interruption (ms)": result.yielded_ms,
        "re-attach gaps (ms)": result.reattach_gaps_ms,
    }
    lines += [f"  {name}: {', '.join(map(str, values))}" for name, values in measured.items() if values]
    lines += [f"  said to the caller: {text}" for text in result.said]
    lines += [f"  warning {warned.code}: {warned.detail}" for warned in result.warnings]
    lines += [f"  {name}: {path}" for name, path in _files(result)]
    return "\n".join(lines)


def _files(result: CallResult) -> list[tuple[str, str]]:
    files = {"heard": result.heard_wav, "trace": result.trace}
    return [(name, str(path)) for name, path in files.items() if path is not None]
