"""`trunkline doctor` beside real servers and the simulators: all well, and each kind of wrong told as such."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest
from gateway_driver import ACCOUNT_SID, AUTH_TOKEN, Gateway
from nats.js.api import StreamConfig

from trunkline_common import nats_examination
from trunkline_common.doctor import Options, Sheet
from trunkline_gateway import examination as gateway_examination
from trunkline_gateway.public_url import RETRIES
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, free_port, trunkline
from trunkline_simulators.openai_server import ServerOptions, run_server
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_rest import RestServer, RestSettings
from trunkline_simulators.twilio_rest_calls import Account
from trunkline_simulators.twilio_rest_numbers import AccountState, PhoneNumber
from trunkline_transcripts import examination as transcripts
from trunkline_worker import examination as worker

pytest_plugins = ["gateway_fixtures"]

LINE = "+12025550147"
FALLBACK = "https://handler.example.com/twiml"

Told = dict[str, tuple[str, str]]
"""By subject: level and detail of the last finding."""

SetEnvironment = Callable[..., None]


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch) -> SetEnvironment:
    """Set the variables that are given, as a pod's environment does."""

    def set_them(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_them


async def examined(examine: Any, options: Options | None = None) -> Told:
    sheet = Sheet("part")
    await examine(sheet, options or Options())
    return {each.subject: (each.level.value, each.detail) for each in sheet.findings}


@asynccontextmanager
async def twilio(*numbers: PhoneNumber, users: dict[str, str] | None = None) -> AsyncIterator[RestServer]:
    call = CallSettings(
        webhook="", auth_token=AUTH_TOKEN, account_sid=ACCOUNT_SID, conversation=Conversation("is silent", ())
    )
    account = Account(ACCOUNT_SID, AUTH_TOKEN, users or {})
    async with RestServer(RestSettings(account, call, phone_numbers=numbers)).running() as server:
        yield server


def number(base: str, **changes: Any) -> PhoneNumber:
    there = PhoneNumber(LINE, f"{base}/voice#{RETRIES}", "POST", FALLBACK, f"{base}/voice/status")
    return replace(there, **changes)


async def test_all_is_well_where_everything_is(
    nats_server: NatsServer, gateway: Gateway, migrated_database_url: str, tmp_path: Path
) -> None:
    async with twilio(number(gateway.url)) as rest, run_server(ServerOptions()) as model:
        environment = {
            "NATS_URL": nats_server.url,
            "DATABASE_URL": migrated_database_url,
            "PUBLIC_URL": gateway.url,
            "TWILIO_API_URL": f"http://127.0.0.1:{rest.port}",
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "OPENAI_API_KEY": "test",
            "OPENAI_REALTIME_URL": model.url,
        }
        command = trunkline("doctor", "--json")
        async with Process.start("doctor", command, tmp_path, environment) as process:
            code = await process.exited()
    report = json.loads(process.log_path.read_text())

    unwell = {
        (each["part"], each["subject"]): each["level"] for each in report["findings"] if each["level"] != "ok"
    }
    assert unwell == {
        # Before the first start nothing has made them.
        ("nats", "stream EV"): "warning",
        ("transcripts", "consumer"): "warning",
        ("transcripts", "role"): "warning",  # the tests' user is a superuser
        ("worker", "model gpt-realtime-whisper"): "not checked",  # the simulator lists what talks
    }
    assert code == report["exit_code"] == 1
    shown = process.log_path.read_text()
    assert AUTH_TOKEN not in shown
    assert LINE not in shown


async def test_a_part_can_be_chosen_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    async with Process.start("doctor", trunkline("doctor", "nurse"), tmp_path) as process:
        code = await process.exited()

    assert code == 2
    assert "nurse: not installed here; there are gateway, nats, transcripts, worker" in (
        process.log_path.read_text()
    )


class TestNats:
    async def test_a_server_that_is_not_there_is_wrong(
        self, nats_server: NatsServer, set_environment: SetEnvironment
    ) -> None:
        nobody = f"nats://user:secret@127.0.0.1:{free_port()}"
        set_environment(NATS_URL=f"{nobody},{nats_server.url}")
        sheet = Sheet("nats")

        await nats_examination.examine(sheet, Options())

        servers = [(each.level, each.detail) for each in sheet.findings if each.subject == "server"]
        assert [level for level, _ in servers] == ["wrong", "ok"]
        assert "Connect call failed" in servers[0][1]
        assert "secret" not in servers[0][1]

    async def test_a_stream_unlike_ours_is_told_with_the_command_that_mends_it(
        self, nats_server: NatsServer, set_environment: SetEnvironment
    ) -> None:
        async with await nats.connect(nats_server.url) as client:
            await client.jetstream().add_stream(StreamConfig("EV", subjects=["ev.v1.>"], max_msg_size=1024))
        set_environment(NATS_URL=nats_server.url, EVENT_REPLICAS="3")
        sheet = Sheet("nats")

        await nats_examination.examine(sheet, Options())

        stream = [each for each in sheet.findings if each.subject == "stream EV"]
        assert [(each.level, each.fix) for each in stream] == [
            ("wrong", "nats stream edit EV --replicas 3"),
            ("wrong", "nats stream edit EV --max-msg-size 262144"),
            ("warning", "nats stream edit EV --discard new"),
        ]
        assert sheet.findings[-1].subject == "clock"
        assert sheet.findings[-1].level == "ok"

    async def test_without_jetstream_nothing_is_stored(
        self, tmp_path: Path, set_environment: SetEnvironment
    ) -> None:
        async with NatsServer.start(tmp_path, extra_settings="jetstream: disabled") as server:
            set_environment(NATS_URL=server.url)
            told = await examined(nats_examination.examine)

        assert told["JetStream"] == ("wrong", "is off")

    async def test_wrong_credentials_are_told_as_such(
        self, tmp_path: Path, set_environment: SetEnvironment
    ) -> None:
        users = "authorization { user: worker, password: right }"
        async with NatsServer.start(tmp_path, extra_settings=users) as server:
            set_environment(NATS_URL=server.url.replace("//", "//worker:wrong@"))
            told = await examined(nats_examination.examine)

        assert told["server"][0] == "wrong"
        assert told["server"][1].endswith("refuses our credentials")
        assert told["JetStream"] == ("not checked", "no server was reached")

    async def test_missing_rights_are_named_and_the_probe_stores_nothing(
        self, tmp_path: Path, set_environment: SetEnvironment
    ) -> None:
        inbox = '"_INBOX.worker.>"'
        users = f"""authorization {{ users: [
            {{user: boss, password: p}},
            {{user: all, password: p, permissions: {{subscribe: ["rt.v1.w.>", "call.v1.>", {inbox}]}}}},
            {{user: few, password: p, permissions: {{
                publish: {{deny: ["ev.v1.>"]}}, subscribe: ["rt.v1.w.>", {inbox}]}}}}
        ]}}"""
        async with NatsServer.start(tmp_path, extra_settings=users) as server:
            set_environment(NATS_URL=server.url.replace("//", "//all:p@"), OPENAI_API_KEY="test")
            async with await nats.connect(server.url.replace("//", "//boss:p@")) as client:
                jetstream = client.jetstream()
                await jetstream.add_stream(StreamConfig("EV", subjects=["ev.v1.>"]))
                stream = await examined(nats_examination.examine)
                allowed = await examined(worker.examine, Options(offline=True))
                set_environment(NATS_URL=server.url.replace("//", "//few:p@"))
                denied = await examined(worker.examine, Options(offline=True))
                stored = (await jetstream.stream_info("EV")).state.messages

        assert stream["clock"][0] == "ok", "answers come to the inboxes of the worker's own"
        assert allowed["NATS rights"][0] == "ok"
        assert denied["NATS rights"] == (
            "wrong",
            "may not subscribe to call.v1.*.own; subscribe to call.v1.by.*; publish to ev.v1.*.probe",
        )
        assert stored == 0


class TestTheGateway:
    @pytest.fixture(autouse=True)
    def settings(self, gateway: Gateway, set_environment: SetEnvironment) -> None:
        set_environment(
            NATS_URL="nats://127.0.0.1:1",
            PUBLIC_URL=gateway.url,
            TWILIO_ACCOUNT_SID=ACCOUNT_SID,
            TWILIO_AUTH_TOKEN=AUTH_TOKEN,
        )

    async def test_a_number_that_does_not_arrive_is_wrong(
        self, gateway: Gateway, set_environment: SetEnvironment
    ) -> None:
        numbers = [
            number(gateway.url, voice_method="GET"),
            PhoneNumber("+12025550199", "https://elsewhere.example.com/voice"),
        ]
        async with twilio(*numbers) as rest:
            set_environment(TWILIO_API_URL=f"http://127.0.0.1:{rest.port}")
            told = await examined(gateway_examination.examine)
            asked_for = await examined(
                gateway_examination.examine, Options(numbers=("+12025550199", "+12025550111"))
            )

        assert told["PUBLIC_URL"][0] == told["Twilio account"][0] == told["clock"][0] == "ok"
        assert told["number …0147"] == ("wrong", "its voice webhook is asked by GET, not by POST")
        assert told["numbers"] == ("ok", "1 more of the account lead elsewhere")
        assert asked_for["number …0199"] == ("wrong", "leads elsewhere")
        assert asked_for["number …0111"] == ("wrong", "is no number of this account")

    async def test_an_account_without_a_number_that_leads_here_is_wrong(
        self, set_environment: SetEnvironment
    ) -> None:
        async with twilio(PhoneNumber(LINE)) as rest:
            rest.settings = replace(rest.settings, state=AccountState("suspended"))
            set_environment(TWILIO_API_URL=f"http://127.0.0.1:{rest.port}")
            told = await examined(gateway_examination.examine)

        assert told["Twilio account"] == ("wrong", "the account is suspended")
        assert told["numbers"] == ("wrong", "none of the account's 1 leads here")

    async def test_refused_credentials_are_told_apart(
        self, gateway: Gateway, set_environment: SetEnvironment
    ) -> None:
        async with twilio(number(gateway.url), users={"SK1": "right"}) as rest:
            set_environment(
                TWILIO_API_URL=f"http://127.0.0.1:{rest.port}",
                TWILIO_AUTH_TOKEN=f"the-next-one,{AUTH_TOKEN}",
                TWILIO_API_KEY="SK1",
                TWILIO_API_SECRET="right",
            )
            rotating = await examined(gateway_examination.examine)
            set_environment(TWILIO_AUTH_TOKEN="another", TWILIO_API_SECRET="wrong")
            refused = await examined(gateway_examination.examine)

        assert rotating["Twilio token"][0] == "warning"
        assert rotating["Twilio token"][1].startswith("number 1 of 2 in TWILIO_AUTH_TOKEN is not accepted")
        assert rotating["number …0147"] == ("ok", "leads here")
        assert refused["Twilio token"][0] == "wrong"
        assert refused["Twilio sign-in"] == ("wrong", "not accepted (error 20003)")

    async def test_twilio_out_of_reach_and_a_public_address_of_somebody_else_are_wrong(
        self, set_environment: SetEnvironment
    ) -> None:
        nobody = f"http://127.0.0.1:{free_port()}"
        async with twilio() as rest:
            set_environment(PUBLIC_URL=f"http://127.0.0.1:{rest.port}", TWILIO_API_URL=nobody)
            told = await examined(gateway_examination.examine)

        assert told["PUBLIC_URL"][0] == "wrong"
        assert "answers, but not like a gateway (HTTP 401, 401 at /voice)" in told["PUBLIC_URL"][1]
        assert told["Twilio"] == ("wrong", f"{nobody}: no answer: Connection refused")

    async def test_offline_nobody_outside_is_asked(self) -> None:
        told = await examined(gateway_examination.examine, Options(offline=True))

        assert told["PUBLIC_URL and Twilio"] == ("not checked", "--offline")

    async def test_what_is_not_configured_is_not_checked(self, set_environment: SetEnvironment) -> None:
        set_environment(TWILIO_ACCOUNT_SID="", TWILIO_AUTH_TOKEN="")

        told = await examined(gateway_examination.examine)

        assert told["signatures"][0] == "warning"
        assert told["Twilio"] == ("not checked", "TWILIO_ACCOUNT_SID is not set, so Twilio cannot be asked")


class TestTheWorker:
    async def test_a_refused_key_a_model_that_ends_and_one_that_is_not_there(
        self, nats_server: NatsServer, set_environment: SetEnvironment
    ) -> None:
        async with run_server(ServerOptions(api_key="right")) as model:
            set_environment(NATS_URL=nats_server.url, OPENAI_REALTIME_URL=model.url, OPENAI_API_KEY="wrong")
            refused = await examined(worker.examine)
            set_environment(OPENAI_API_KEY="right", OPENAI_REALTIME_MODEL="gpt-realtime")
            ending = await examined(worker.examine)

        assert refused["model"][0] == "wrong"
        assert "check OPENAI_API_KEY" in refused["model"][1]
        assert ending["model access"][0] == ending["clock"][0] == "ok"
        assert ending["model gpt-realtime"] == ("warning", "ends on 2027-01-20")

    async def test_wrong_profiles_and_models_without_a_price_are_told(
        self, tmp_path: Path, nats_server: NatsServer, set_environment: SetEnvironment
    ) -> None:
        (tmp_path / "desk.yaml").write_text("name: desk\nmodel: my-deployment\n")
        set_environment(NATS_URL=nats_server.url, OPENAI_API_KEY="test", TRUNKLINE_AGENTS=str(tmp_path))
        broken = await examined(worker.examine, Options(offline=True))
        (tmp_path / "desk.yaml").write_text(
            'name: desk\nnumbers: any\ninstructions: "Be brief."\nmodel: my-deployment\n'
        )
        unpriced = await examined(worker.examine, Options(offline=True))

        assert broken["agents"][0] == "wrong"
        assert broken["agents"][1].startswith("desk.yaml:1: ")
        assert unpriced["agents"] == ("ok", "1 profiles: desk")
        assert unpriced["prices"] == ("warning", "none for my-deployment: calls show no cost")


class TestTranscripts:
    async def test_a_database_without_tables_and_one_that_is_not_there(
        self, database_url: str, set_environment: SetEnvironment, tmp_path: Path
    ) -> None:
        set_environment(NATS_URL="nats://127.0.0.1:1", DATABASE_URL=database_url)
        empty = await examined(transcripts.examine)
        set_environment(DATABASE_URL=f"postgresql+asyncpg://u:secret@/calls?host={tmp_path}")
        gone = await examined(transcripts.examine)

        assert empty["Postgres"][0] == empty["clock"][0] == "ok"
        assert empty["tables"][0] == "wrong"
        assert "has no tables yet" in empty["tables"][1]
        assert gone["Postgres"][0] == "wrong"
        assert "secret" not in gone["Postgres"][1]

    async def test_missing_rights_and_months_are_named(
        self, migrated_database_url: str, set_environment: SetEnvironment
    ) -> None:
        plain = migrated_database_url.replace("+asyncpg", "")
        connection = await asyncpg.connect(plain)
        try:
            await connection.execute("create role reader login")
            await connection.execute("grant select on all tables in schema public to reader")
            month = await connection.fetchval("select to_char(now() at time zone 'UTC', '_YYYY_MM')")
            await connection.execute(f"drop table turns{month}")
            set_environment(
                NATS_URL="nats://127.0.0.1:1",
                DATABASE_URL=migrated_database_url.replace("postgres@", "reader@"),
            )
            told = await examined(transcripts.examine)
        finally:
            await connection.execute("drop owned by reader; drop role reader")
            await connection.close()

        assert told["role"][0] == "wrong"
        assert "insert calls; update calls" in told["role"][1]
        assert told["months"] == (
            "warning",
            f"no partition for turns{month}: rows go into the default ones",
        )
