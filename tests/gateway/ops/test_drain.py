"""A gateway that is told to stop: every request is answered, and says that the connection ends."""

import asyncio

import httpx2

from tests.gateway.conftest import SETTINGS
from tests.support.gateway.given import HUMAN, PATIENCE_SECONDS, Caller, expect_problem, new_id, serving
from tests.support.waiting import eventually


async def test_answers_close_their_connection_while_the_process_drains(gateway_database: str) -> None:
    async with (
        serving(gateway_database, SETTINGS) as environment,
        httpx2.AsyncClient(base_url=environment.url, timeout=PATIENCE_SECONDS) as client,
    ):
        ada = Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
        workflow = await ada.workflow(HUMAN)
        assert "connection" not in (await ada.get("/v1/projects")).headers
        waiting = asyncio.create_task(
            ada.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "wait=20"})
        )

        async def is_watched() -> bool:
            return environment.drain.watching > 0

        await eventually(is_watched, what="the request waits for its run")
        environment.drain.begin()
        answered = await waiting
        assert (answered.status_code, answered.headers["connection"]) == (202, "close")
        ready = await client.get("/readyz")
        expect_problem(ready, 503, "draining")
        assert ready.headers["connection"] == "close"
        listed = await ada.get("/v1/projects")
        assert (listed.status_code, listed.headers["connection"]) == (200, "close")
