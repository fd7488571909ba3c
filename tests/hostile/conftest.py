"""One server with small bounds for all hostile tests; each test is in a workspace of its own."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import Final

import httpx2
import pytest

from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS
from gateway.settings import HttpSettings
from store.postgres.migrations import migrate
from store.settings import RunSettings
from tests.support.gateway.given import PATIENCE_SECONDS, Caller, Environment, new_id, serving
from tests.support.servers.postgres import PostgresForTests

SETTINGS: Final = Settings(
    http=HttpSettings(
        heartbeat_seconds=0.2,
        unread_seconds_max=1,
        unread_bytes_per_credential_max=20_000_000,
        unread_bytes_per_workspace_max=40_000_000,
        streams_per_credential_max=5,
    ),
    runs=RunSettings(
        descendants=12, descendants_under_way=8, depth=2, workspace_under_way=20, workspace_begun_a_minute=40
    ),
)


@pytest.fixture(scope="session")
def hostile_database(postgres_servers: dict[int, PostgresForTests]) -> Generator[str]:
    """A migrated database for all of these tests."""
    if 18 not in postgres_servers:
        postgres_servers[18] = PostgresForTests(18)
    server = postgres_servers[18]
    conninfo = server.lend_database(migrated=False)
    asyncio.run(migrate(conninfo, COMPONENTS))
    yield conninfo
    server.take_back(conninfo)


@pytest.fixture(scope="session")
async def hostile_environment(hostile_database: str) -> AsyncGenerator[Environment]:
    """The server that these tests share."""
    async with serving(hostile_database, SETTINGS) as found:
        yield found


@pytest.fixture
async def mallory(hostile_environment: Environment) -> AsyncGenerator[Caller]:
    """A caller who goes to the bounds, in a workspace of their own."""
    async with httpx2.AsyncClient(base_url=hostile_environment.url, timeout=PATIENCE_SECONDS) as client:
        yield Caller(client=client, workspace_id=new_id(), user_id="usr_ada")


@pytest.fixture
async def neighbour(hostile_environment: Environment) -> AsyncGenerator[Caller]:
    """A caller of another workspace."""
    async with httpx2.AsyncClient(base_url=hostile_environment.url, timeout=PATIENCE_SECONDS) as client:
        yield Caller(client=client, workspace_id=new_id(), user_id="usr_bob")
