"""Readiness lists degraded parts of a process that still serves."""

import httpx2
import psycopg

from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS
from store.postgres.migrations import migrate
from tests.support.gateway.given import PATIENCE_SECONDS, Caller, after_write, new_id, serving
from tests.support.waiting import eventually

NO_POISON = "alter table projects add constraint no_poison check (name <> 'poison')"
"""Makes one project a row that cannot be written, as a bug in a projection would."""


async def test_a_workspace_that_is_parked_is_said_and_the_others_are_served(database: str) -> None:
    await migrate(database, COMPONENTS)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(NO_POISON)
    async with (
        serving(database, Settings()) as environment,
        httpx2.AsyncClient(base_url=environment.url, timeout=PATIENCE_SECONDS) as client,
    ):
        ada = Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        poisoned = await ada.post("/v1/projects", {"name": "poison"})
        assert poisoned.status_code == 201

        async def is_degraded() -> bool:
            return "degraded" in (await client.get("/readyz")).json()

        await eventually(is_degraded, what="readiness says that a workspace is parked")
        answer = await client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() == {"status": "ready", "degraded": ["workspaces parked in the projection projects: 1"]}
        assert (await ada.post("/v1/projects", {"name": "another"})).status_code == 201
        refused = await ada.get("/v1/projects", after_write(poisoned))
        assert (refused.status_code, refused.json()["code"]) == (503, "projection_parked")
        grace = Caller(client=client, workspace_id=new_id(), user_id="usr_grace")
        hers = await grace.post("/v1/projects", {"name": "hers"})
        read = await grace.get("/v1/projects", after_write(hers))
        assert [item["name"] for item in read.json()["items"]] == ["hers"]
