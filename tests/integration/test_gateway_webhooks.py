"""Twilio's webhooks at a real gateway process."""

import asyncio

import pytest
from gateway_driver import ACCOUNT_SID, PUBLIC_URL, Gateway, call_fields, http_client, new_call_id, sign
from played_worker import Worker

from trunkline_common.control import NextStep
from trunkline_common.frames import Fence

pytest_plugins = ["gateway_fixtures"]


def reattach_url(attach: int) -> str:
    return f"{PUBLIC_URL}/voice/reattach?attach={attach}&started=1700000000000"


async def test_no_worker_means_full_and_is_said_at_once(gateway: Gateway) -> None:
    twiml = await gateway.voice(new_call_id())

    assert twiml.verbs == ["Say", "Hangup"]
    assert "busy" in twiml.sentence


async def test_workers_that_refuse_lead_to_the_fallback_after_three_tries(
    gateway: Gateway, worker: Worker
) -> None:
    worker.taking = False

    twiml = await gateway.voice(new_call_id())

    assert "sorry" in twiml.sentence
    assert [request.fence for request in worker.assigned] == [Fence(1, 1), Fence(1, 2), Fence(1, 3)]


async def test_a_hung_worker_is_not_waited_for(gateway: Gateway, worker: Worker) -> None:
    worker.silent = True

    twiml = await gateway.voice(new_call_id())

    assert twiml.verbs == ["Say", "Hangup"]
    assert len(worker.assigned) == 3


async def test_a_repeated_webhook_finds_the_worker_that_has_the_call(
    gateway: Gateway, worker: Worker
) -> None:
    call_id = new_call_id()

    twimls = [await gateway.voice(call_id) for _ in range(3)]

    assert [twiml.verbs for twiml in twimls] == [["Connect", "Redirect"]] * 3
    assert len(worker.assigned) == 1


async def test_webhooks_at_the_same_moment_are_all_answered(gateway: Gateway, worker: Worker) -> None:
    call_ids = [new_call_id() for _ in range(10)]

    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(gateway.voice(call_id)) for call_id in call_ids]

    # On a busy machine an offer may go unanswered for too long: then the caller is told.
    verbs = {tuple(answer.result().verbs) for answer in answers}
    assert ("Connect", "Redirect") in verbs
    assert verbs <= {("Connect", "Redirect"), ("Say", "Hangup")}
    assert {request.call_id for request in worker.assigned} == set(call_ids)


async def test_a_call_whose_owner_is_gone_gets_another_worker(gateway: Gateway, worker: Worker) -> None:
    twiml = await gateway.reattach(new_call_id(), reattach_url(3), CallStatus="in-progress")

    assert twiml.verbs == ["Connect", "Redirect"]
    (assigned,) = worker.assigned
    assert (assigned.fence, assigned.started_at_ms) == (Fence(3, 1), 1_700_000_000_000)


async def test_a_call_that_loses_its_stream_again_and_again_ends(gateway: Gateway, worker: Worker) -> None:
    twiml = await gateway.reattach(new_call_id(), reattach_url(6), CallStatus="in-progress")

    assert twiml.verbs == ["Say", "Hangup"]
    assert worker.assigned == []


async def test_an_owner_that_saw_more_streams_than_twilio_tells_is_believed(
    gateway: Gateway, worker: Worker
) -> None:
    call_id = new_call_id()
    await gateway.voice(call_id)
    worker.fences[call_id], worker.states[call_id] = Fence(3, 1), "active"

    twiml = await gateway.reattach(call_id, reattach_url(2))

    assert "attach=5&" in twiml.action, "this stream is the fourth"


async def test_a_call_that_is_over_is_told_so_by_its_owner(gateway: Gateway, worker: Worker) -> None:
    call_id = new_call_id()
    await gateway.voice(call_id)
    worker.states[call_id], worker.next = "ended", NextStep.FALLBACK

    assert (await gateway.reattach(call_id, reattach_url(2))).verbs == ["Say", "Hangup"]


@pytest.mark.parametrize(
    "path",
    [
        *("/voice", "/voice/reattach", "/voice/dialed", "/voice/wait", "/voice/waited", "/voice/overflowed"),
        *("/voice/machine", "/voice/status"),
    ],
)
@pytest.mark.parametrize(
    ("signature", "reason"),
    [(None, "missing-signature"), ("", "missing-signature"), ("wrong", "bad-signature")],
)
async def test_what_twilio_did_not_sign_is_refused(
    gateway: Gateway, worker: Worker, path: str, signature: str | None, reason: str
) -> None:
    before = await gateway.rejected(reason)

    response = await gateway.post(path, call_fields(new_call_id()), signature=signature)

    assert response.status_code == 403
    assert response.text.startswith(reason)
    assert await gateway.rejected(reason) == before + 1
    assert worker.assigned == []


async def test_the_host_header_decides_nothing(gateway: Gateway) -> None:
    fields = call_fields(new_call_id())
    async with http_client() as client:
        for host in ("evil.example.com", "evil.example.com/voice/status?x="):
            forged = await client.post(
                f"{gateway.url}/voice",
                data=fields,
                headers={"Host": host, "X-Twilio-Signature": sign("https://evil.example.com/voice", fields)},
            )
            signed = await client.post(
                f"{gateway.url}/voice",
                data=fields,
                headers={"Host": host, "X-Twilio-Signature": sign(f"{PUBLIC_URL}/voice", fields)},
            )
            assert (forged.status_code, signed.status_code) == (403, 200)


async def test_another_account_is_refused(gateway: Gateway) -> None:
    before = await gateway.rejected("wrong-account")

    response = await gateway.post("/voice", call_fields(new_call_id()) | {"AccountSid": "AC" + "1" * 32})

    assert response.status_code == 403
    assert await gateway.rejected("wrong-account") == before + 1


@pytest.mark.parametrize(
    ("path", "query", "changes"),
    [
        ("/voice", "", {"CallSid": ""}),
        ("/voice", "", {"CallSid": "CA.>*"}),
        ("/voice", "", {"CallSid": "C" * 65}),
        ("/voice/reattach", "", {}),
        ("/voice/reattach", "attach=two&started=1", {}),
        ("/voice/reattach", "attach=1&started=1", {}),
        ("/voice/reattach", "attach=2&started=-1", {}),
        ("/voice/reattach", "attach=2&detours=-1&started=1", {}),
        ("/voice/dialed", "attach=1&started=1", {}),
        ("/voice/machine", "", {"CallSid": "CA.>*"}),
    ],
)
async def test_a_signed_request_that_makes_no_sense(
    gateway: Gateway, path: str, query: str, changes: dict[str, str]
) -> None:
    before = await gateway.rejected("bad-request")

    response = await gateway.post(path, call_fields(new_call_id()) | changes, query=query)

    assert response.status_code == 400
    assert response.text.startswith("bad-request")
    assert await gateway.rejected("bad-request") == before + 1


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded"),
        (b"&" * 5_000, "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data"),
        (b"\xff\xfe=%ff", "application/x-www-form-urlencoded"),
    ],
)
async def test_bodies_that_are_no_form_of_twilios(
    gateway: Gateway, content: bytes, content_type: str
) -> None:
    async with http_client() as client:
        response = await client.post(
            f"{gateway.url}/voice",
            content=content,
            headers={"Content-Type": content_type, "X-Twilio-Signature": "x"},
        )

    assert response.status_code in {400, 403, 413}


async def test_other_paths_and_methods_do_not_exist(gateway: Gateway) -> None:
    assert (await gateway.get("/voice")).status_code == 405
    for path in ("/", "/voice/", "/docs", "/openapi.json", "/media-stream"):
        assert (await gateway.get(path)).status_code == 404


async def test_a_handshake_that_twilio_reports_as_failed_is_counted_and_logged(gateway: Gateway) -> None:
    call_id = new_call_id()
    fields = {
        "AccountSid": ACCOUNT_SID,
        "CallSid": call_id,
        "StreamSid": "MZ" + "a" * 32,
        "StreamEvent": "stream-error",
        "StreamError": "31920",
    }

    response = await gateway.post("/voice/status", fields)

    assert response.status_code == 204
    assert await gateway.metric("trunkline_gateway_stream_callbacks_total", event="stream-error") >= 1
    line = await gateway.process.wait_for_line(f".*{call_id}.*stream-error-reported.*")
    assert "31920" in line.group()
