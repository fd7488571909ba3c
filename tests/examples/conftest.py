"""One server for all examples; each is played in a workspace of its own."""

from collections.abc import AsyncGenerator

import httpx2
import pytest

from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS
from engine.egress.allow_list import AllowList
from engine.settings import OutgoingSettings
from store.postgres.migrations import migrate
from tests.support.gateway.given import PATIENCE_SECONDS, Caller, new_id, serving

SETTINGS = Settings(outgoing=OutgoingSettings(allowed=AllowList("127.0.0.1")))
"""The website that an example calls stands on this machine."""


@pytest.fixture
async def ada(empty_database: str) -> AsyncGenerator[Caller]:
    """A caller of a server of her own, whose models are scripted."""
    await migrate(empty_database, COMPONENTS)
    async with (
        serving(empty_database, SETTINGS) as served,
        httpx2.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS) as client,
    ):
        yield Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
