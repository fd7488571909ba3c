"""What every test may ask for: see the modules of tests/fixtures."""

import pytest

pytest_plugins = ["tests.support.servers.postgres", "tests.support.servers.nats"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run `async def` tests on asyncio, all on one loop, so that fixtures of a session may be async too."""
    return "asyncio"
