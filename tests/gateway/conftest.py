"""One server for all tests of the gateway; each test is in a workspace of its own."""

import asyncio
from collections.abc import AsyncGenerator, Generator

import httpx2
import pytest
from msgspec.structs import replace

from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS, Part
from domain.setting_types import Secret
from gateway.delivery.cors import CorsOrigins
from gateway.settings import HttpSettings, StreamSettings
from store.postgres.migrations import migrate
from tests.support.gateway.given import PATIENCE_SECONDS, Caller, Environment, new_id, serving
from tests.support.servers.postgres import PostgresForTests

SETTINGS = Settings(
    http=HttpSettings(
        body_bytes_max=128 * 1024,
        page_bytes_max=200 * 1024,
        json_depth_max=32,
        heartbeat_seconds=0.2,
        json_values_max=62_000,
        cors_origins=CorsOrigins("https://app.example.com, https://*.preview.example.com"),
        metrics_token=Secret("the token of the tests"),
    ),
    stream=StreamSettings(sockets_max=60, subscriptions_max=5, message_bytes_max=4 * 1024),
)


@pytest.fixture(scope="session")
def gateway_database(postgres_servers: dict[int, PostgresForTests]) -> Generator[str]:
    """A migrated database for all of these tests."""
    if 18 not in postgres_servers:
        postgres_servers[18] = PostgresForTests(18)
    server = postgres_servers[18]
    conninfo = server.lend_database(migrated=False)
    asyncio.run(migrate(conninfo, COMPONENTS))
    yield conninfo
    server.take_back(conninfo)


@pytest.fixture(scope="session")
async def environment(gateway_database: str) -> AsyncGenerator[Environment]:
    """The server that these tests share."""
    async with serving(gateway_database, SETTINGS) as found:
        yield found


@pytest.fixture
async def ada(environment: Environment) -> AsyncGenerator[Caller]:
    """A caller in a workspace that nobody else is in."""
    async with httpx2.AsyncClient(base_url=environment.url, timeout=PATIENCE_SECONDS) as client:
        yield Caller(client=client, workspace_id=new_id(), user_id="usr_ada")


@pytest.fixture(scope="session")
async def other_environment(gateway_database: str) -> AsyncGenerator[Environment]:
    """Another gateway over the same database; it learns of the changes of the first from the log alone."""
    async with serving(gateway_database, SETTINGS, process_parts=frozenset({Part.GATEWAY})) as found:
        yield found


@pytest.fixture
async def other_ada(ada: Caller, other_environment: Environment) -> AsyncGenerator[Caller]:
    """The same caller at the other gateway."""
    async with httpx2.AsyncClient(base_url=other_environment.url, timeout=PATIENCE_SECONDS) as client:
        yield replace(ada, client=client)
