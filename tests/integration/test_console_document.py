"""The OpenAPI document, by Schemathesis: whatever it allows is answered as it says, and nothing else is taken."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import analysts_calls
import console_world
import httpx
import hypothesis
import pytest
import pytest_asyncio
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, free_port, trunkline

EXAMPLES_MAX: Final = 20
"""Of each operation and kind: some seconds in all."""
PATHS: Final = ("/v1/calls", "/v1/calls/{call_id}", "/v1/search", "/v1/export")
"""All but the live calls, whose answer has no end."""

NOT_SAID: Final[list[schemathesis.CheckFunction]] = [positive_data_acceptance]
"""A schema cannot say that `from` is before `to`, that a day exists, or that a cursor was made by us."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def console_url(
    postgres_server: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The address of a console with the six calls, open to this machine."""
    database_url = await postgres_server.create_database("document", migrated_template)
    await console_world.store(database_url, analysts_calls.logs())
    port = free_port()
    environment = {"DATABASE_URL": database_url, "PORT": str(port), "NATS_URL": "nats://127.0.0.1:1"}
    environment |= {"CONSOLE_REQUESTS_PER_MINUTE": "100000", "CONSOLE_API_KEYS": console_world.KEYS}
    folder: Path = tmp_path_factory.mktemp("console")
    async with Process.start("console", trunkline("console"), folder, environment) as process:
        url = f"http://127.0.0.1:{port}"
        await process.wait_until_ready(f"{url}/readyz")
        yield url
    await postgres_server.drop_database("document")


@pytest.fixture
def document(console_url: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{console_url}/v1/openapi.json").json()
    return answer


def test_the_document_has_every_path(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {*PATHS, "/v1/live"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_as_the_document_says(
    console_url: str, document: dict[str, Any], path: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(document)[path]["GET"]
    headers = {"Authorization": f"Bearer {console_world.OFFICER}"}

    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=EXAMPLES_MAX,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=console_url, headers=headers, excluded_checks=NOT_SAID)

    ask()
