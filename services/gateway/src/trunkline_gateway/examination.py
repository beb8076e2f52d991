"""What `trunkline doctor` looks at for the gateway: settings, rights at NATS, the public address, Twilio."""

import asyncio

from trunkline_common import http_probe, subjects
from trunkline_common.doctor import Options, Sheet
from trunkline_common.http_probe import NoAnswerError
from trunkline_common.nats_examination import look_at_permissions
from trunkline_common.nats_probe import NOBODY
from trunkline_gateway import number_check
from trunkline_gateway.public_url import VOICE_PATH, PublicUrl
from trunkline_gateway.settings import GatewaySettings
from trunkline_gateway.twilio_account import TwilioAccount, TwilioError


async def examine(sheet: Sheet, options: Options) -> None:
    """Look at everything that a call needs of the gateway and of Twilio."""
    chosen = sheet.settings(GatewaySettings)
    if chosen is None:
        sheet.not_checked("PUBLIC_URL and Twilio", "the settings above are wrong")
        return
    if not chosen.auth_tokens:
        fix = "set TWILIO_AUTH_TOKEN (Twilio Console, Account info)"
        sheet.warning("signatures", "are not checked: whoever reaches this port can place calls", fix)
    await look_at_permissions(
        sheet,
        chosen,
        subscribe=[
            subjects.every_gateway_down(NOBODY),
            subjects.gateway_ping(NOBODY),
            subjects.EVERY_HEARTBEAT,
        ],
        publish=[
            subjects.worker_up(NOBODY, NOBODY),
            subjects.worker_ping(NOBODY),
            subjects.worker_assign(NOBODY),
            subjects.owner(NOBODY),
        ],
    )
    if options.offline:
        sheet.not_checked("PUBLIC_URL and Twilio", "--offline")
        return
    await asyncio.to_thread(_look_at_public_url, sheet, PublicUrl(chosen.public_url))
    await asyncio.to_thread(_look_at_twilio, sheet, chosen, options)


def _look_at_public_url(sheet: Sheet, public_url: PublicUrl) -> None:
    """Ask for what a gateway alone answers so: `/livez`, or, where only webhooks are led here, GET for the webhook."""
    fix = "let PUBLIC_URL lead to the gateway's port (load balancer, tunnel, DNS), with a certificate that all accept"
    try:
        answer = http_probe.get(public_url.http("/livez"))
        if answer.status == 200 and answer.body == b"alive\n":
            sheet.ok("PUBLIC_URL", f"{public_url.base} leads to a gateway")
            return
        webhook = http_probe.get(public_url.http(VOICE_PATH))
    except NoAnswerError as error:
        sheet.wrong("PUBLIC_URL", f"{public_url.base}: {error}", fix)
        return
    if webhook.status == 405 and webhook.headers.get("allow") == "POST":
        sheet.ok("PUBLIC_URL", f"{public_url.base} leads its webhooks to a gateway")
    else:
        detail = f"{public_url.base} answers, but not like a gateway (HTTP {answer.status}, {webhook.status} at /voice)"
        sheet.wrong("PUBLIC_URL", detail, fix)


def _look_at_twilio(sheet: Sheet, chosen: GatewaySettings, options: Options) -> None:
    sid = chosen.twilio_account_sid
    if not sid:
        sheet.not_checked("Twilio", "TWILIO_ACCOUNT_SID is not set, so Twilio cannot be asked")
        return
    if not chosen.may_use_rest:
        sheet.not_checked("Twilio", "neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY is set")
        return
    tokens = [TwilioAccount(chosen.twilio_api_url, sid, sid, token) for token in chosen.auth_tokens]
    refused = [place for place, account in enumerate(tokens, 1) if not _is_accepted(sheet, account, place)]
    if refused and len(refused) < len(tokens):
        which = ", ".join(str(place) for place in refused)
        detail = f"number {which} of {len(tokens)} in TWILIO_AUTH_TOKEN is not accepted (yet, or any more)"
        sheet.warning(
            "Twilio token", detail, "take it away once the rotation is over; the first one signs in"
        )
    elif refused:
        fix = "set TWILIO_AUTH_TOKEN and TWILIO_ACCOUNT_SID of one account (Twilio Console, Account info)"
        sheet.wrong("Twilio token", "not accepted: Twilio's calls would be refused as unsigned", fix)
    account = TwilioAccount(chosen.twilio_api_url, sid, *chosen.rest_credentials)
    _look_at_numbers(sheet, account, PublicUrl(chosen.public_url), options)


def _is_accepted(sheet: Sheet, account: TwilioAccount, place: int) -> bool:
    """Return False for a token that Twilio refuses; what else is to be said of the account is said."""
    try:
        told, skew_s = account.fetch()
    except TwilioError as error:
        if not error.refused:
            sheet.wrong("Twilio", f"{account.api_url}: {error}", "check TWILIO_API_URL and the way to it")
        return not error.refused
    if place > 1:
        return True
    if told.get("status") != "active":
        detail = f"the account is {told.get('status')}"
        sheet.wrong("Twilio account", detail, "see Twilio's Console: payments, or compliance")
    elif told.get("type") == "Trial":
        detail = "a trial: callers hear an announcement first, only verified numbers can be called"
        sheet.warning("Twilio account", detail, "upgrade it before the number is published")
    else:
        sheet.ok("Twilio account", "active, the auth token is accepted")
    sheet.clock("Twilio", skew_s)
    return True


def _look_at_numbers(sheet: Sheet, account: TwilioAccount, public_url: PublicUrl, options: Options) -> None:
    try:
        if options.numbers:
            found = [row for number in options.numbers for row in account.numbers(number)]
        else:
            found = account.numbers()
    except TwilioError as error:
        if error.refused:
            fix = "set TWILIO_API_KEY and TWILIO_API_SECRET of a key of this account, or neither"
            sheet.wrong("Twilio sign-in", str(error), fix)
        else:
            sheet.not_checked("numbers", str(error))
        return
    checks = [number_check.checked(row, public_url) for row in found]
    fix = f"in Twilio's Console set its voice webhook to {public_url.http(VOICE_PATH)}, POST"
    for check in checks:
        for why in check.wrong:
            sheet.wrong(f"number {check.shown}", why, fix)
        for why in check.unwise:
            sheet.warning(f"number {check.shown}", why, "see the number's voice settings in Twilio's Console")
        if check.leads_here and not check.unwise:
            sheet.ok(f"number {check.shown}", "leads here")
        if options.numbers and not check.leads_here and not check.wrong:
            sheet.wrong(f"number {check.shown}", "leads elsewhere", fix)
    for number in options.numbers:
        if not any(row.get("phone_number") == number for row in found):
            shown = number_check.masked(number)
            sheet.wrong(
                f"number {shown}", "is no number of this account", "check --number and TWILIO_ACCOUNT_SID"
            )
    if not options.numbers:
        _sum_up(sheet, checks, fix)


def _sum_up(sheet: Sheet, checks: list[number_check.NumberCheck], fix: str) -> None:
    elsewhere = sum(not check.leads_here and not check.wrong for check in checks)
    if not any(check.leads_here or check.wrong for check in checks):
        sheet.wrong("numbers", f"none of the account's {len(checks)} leads here", fix)
    elif elsewhere:
        sheet.ok("numbers", f"{elsewhere} more of the account lead elsewhere")
