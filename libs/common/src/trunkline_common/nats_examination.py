"""What `trunkline doctor` looks at in NATS: each server, JetStream, the stream of the event log, the clock."""

from datetime import datetime
from typing import Any, Final

from trunkline_common import subjects
from trunkline_common.bus import EVENT_BYTES_MAX, EVENT_STREAM_MAX_AGE_S
from trunkline_common.doctor import Options, Sheet
from trunkline_common.nats_probe import NOBODY, ForbiddenError, NatsProbe, RefusedError, UnreachedError
from trunkline_common.settings import CommonSettings, JetStreamSettings, without_credentials

OLDEST: Final = (2, 11)
"""The first one whose JetStream reads a call's log back in one answer."""

FULL_SHARE: Final = 0.8
"""A stream that is so full is told; full, it refuses events."""


async def examine(sheet: Sheet, options: Options) -> None:
    """Look at every server of NATS_URL, and through the first that answers at JetStream."""
    del options  # NATS is inside
    chosen = sheet.settings(JetStreamSettings)
    if chosen is None:
        sheet.not_checked("servers", "the settings above are wrong")
        return
    is_seen = False
    for server in chosen.nats_url.split(","):
        address = without_credentials(server)
        try:
            async with NatsProbe.connected(chosen, server) as probe:
                _look_at_server(sheet, address, probe.server_info)
                if not is_seen:
                    await _look_at_jetstream(sheet, chosen, probe)
                is_seen = True
        except UnreachedError as error:
            sheet.wrong("server", f"{address}: {error}", _fix_of_access(str(error)))
    if not is_seen:
        sheet.not_checked("JetStream", "no server was reached")


async def look_at_permissions(
    sheet: Sheet, settings: CommonSettings, *, subscribe: list[str], publish: list[str], event: bool = False
) -> None:
    """Note what of a service's subjects its user may not use; harmless ones only, see `nats_probe`."""
    for server in settings.nats_url.split(","):
        try:
            async with NatsProbe.connected(settings, server) as probe:
                denied = await probe.denied(subscribe=subscribe, publish=publish, event=event)
        except UnreachedError:
            continue
        except RefusedError as error:
            sheet.wrong("NATS rights", str(error), "see whether that NATS server is well")
            return
        if denied:
            fix = "give this service's NATS user the permissions of deploy/, or NATS_CREDS of the right user"
            sheet.wrong("NATS rights", f"may not {'; '.join(denied).replace(NOBODY, '*')}", fix)
        else:
            sheet.ok("NATS rights", f"{len(subscribe) + len(publish) + event} subjects tried")
        return
    sheet.not_checked("NATS rights", "no server was reached")


def _look_at_server(sheet: Sheet, address: str, info: dict[str, Any]) -> None:
    version = str(info.get("version", "?"))
    if _release(version) < OLDEST:
        wanted = ".".join(str(part) for part in OLDEST)
        sheet.wrong("server", f"{address}: nats-server {version}", f"upgrade it to {wanted} or newer")
    elif int(info.get("max_payload", 0)) < EVENT_BYTES_MAX:
        detail = f"{address}: max_payload is {info.get('max_payload')} bytes"
        sheet.wrong("server", detail, f"set max_payload of nats-server to {EVENT_BYTES_MAX} or more")
    else:
        sheet.ok("server", f"{address}: nats-server {version}")


async def _look_at_jetstream(sheet: Sheet, chosen: JetStreamSettings, probe: NatsProbe) -> None:
    try:
        await probe.jetstream("INFO")
    except RefusedError as error:
        if not probe.server_info.get("jetstream"):
            sheet.wrong("JetStream", "is off", "start nats-server with -js, or a jetstream block and a store")
            return
        if not isinstance(error, ForbiddenError):
            fix = "see that most NATS servers are up and have a meta leader (/healthz, /jsz)"
            sheet.wrong("JetStream", f"is on, and does not serve us: {error}", fix)
            return
        sheet.ok("JetStream", "on; this user may not ask for the account's limits, which no service does")
    else:
        sheet.ok("JetStream", "on")
    try:
        stream = await probe.jetstream(f"STREAM.INFO.{subjects.EVENT_STREAM}")
    except ForbiddenError as error:
        # A gateway has nothing to do with the stream; whoever has is told by its own part of the report.
        sheet.not_checked("stream EV", str(error))
        return
    except RefusedError as error:
        if "not found" in str(error):
            fix = "nothing to do before the first start: a worker, or transcripts, creates it"
            sheet.warning("stream EV", "does not exist yet", fix)
        else:
            sheet.wrong(
                "stream EV",
                str(error),
                "see that most NATS servers are up and have a meta leader (/healthz, /jsz)",
            )
        return
    _look_at_stream(sheet, chosen, stream)
    sheet.clock("NATS", _skew_s(stream.get("ts")))


def _look_at_stream(sheet: Sheet, chosen: JetStreamSettings, stream: dict[str, Any]) -> None:
    config, state = stream["config"], stream["state"]
    replicas, bytes_max = config["num_replicas"], config.get("max_bytes", -1)
    name = subjects.EVENT_STREAM
    has_all = subjects.EVERY_EVENT in config.get("subjects", [])
    if not has_all:
        fix = f"nats stream edit {name} --subjects '{subjects.EVERY_EVENT}'"
        sheet.wrong("stream EV", f"does not hold {subjects.EVERY_EVENT}", fix)
    if replicas < chosen.event_replicas:
        detail = f"keeps each event on {replicas} server(s), EVENT_REPLICAS asks for {chosen.event_replicas}"
        sheet.wrong("stream EV", detail, f"nats stream edit {name} --replicas {chosen.event_replicas}")
    if 0 <= config.get("max_msg_size", -1) < EVENT_BYTES_MAX:
        fix = f"nats stream edit {name} --max-msg-size {EVENT_BYTES_MAX}"
        sheet.wrong("stream EV", f"refuses events above {config['max_msg_size']} bytes", fix)
    if 0 < config.get("max_age", 0) < EVENT_STREAM_MAX_AGE_S * 10**9:
        hours = EVENT_STREAM_MAX_AGE_S // 3600
        detail = f"forgets events after {config['max_age'] / 3.6e12:.1f} h"
        sheet.warning("stream EV", detail, f"nats stream edit {name} --max-age {hours}h")
    if config.get("discard") != "new":
        detail = "drops the oldest events when it is full, read or not"
        sheet.warning("stream EV", detail, f"nats stream edit {name} --discard new")
    if bytes_max > 0 and state["bytes"] > FULL_SHARE * bytes_max:
        detail = f"is {100 * state['bytes'] / bytes_max:.0f} % full; then events are refused"
        sheet.warning("stream EV", detail, f"nats stream edit {name} --max-bytes <more>")
    if not any(finding.subject == "stream EV" for finding in sheet.findings):
        sheet.ok("stream EV", f"{state['messages']} events, each on {replicas} server(s)")


def _fix_of_access(why: str) -> str:
    if "credentials" in why:
        return "check NATS_CREDS, or the user and password in NATS_URL"
    return "check NATS_URL, that nats-server runs there, and that network policies let this pod reach it"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2] if part.isdecimal())


def _skew_s(told: Any) -> float | None:
    try:
        at = datetime.fromisoformat(str(told)[:19] + "+00:00")
    except ValueError:
        return None
    return at.timestamp() + 0.5 - datetime.now(at.tzinfo).timestamp()
