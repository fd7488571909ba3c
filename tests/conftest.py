"""Fixtures and settings of every test; the servers are in tests/support/servers."""

import pytest
from hypothesis import HealthCheck, settings

# On a busy machine an example may take over 200 ms, or its data long to draw, and Hypothesis fails the test by chance.
# A law states what holds, never how fast.
settings.register_profile("laws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")

pytest_plugins = ["tests.support.servers.postgres", "tests.support.servers.nats"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run `async def` tests on asyncio, all on one loop, so that fixtures of a session may be async too."""
    return "asyncio"
