"""A failure after a command was accepted is not called "unavailable": a caller without a key would send it twice."""

import asyncio

import httpx2
import psycopg

from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS
from store.postgres.migrations import migrate
from store.settings import StoreSettings
from tests.support.gateway.given import Caller, expect_problem, new_id, serving

UNREADABLE_AFTER_START = """
create function hide_contents() returns trigger language plpgsql as $$ begin
    alter table contents rename to hidden_contents;
    create view contents as select c.* from hidden_contents c, pg_sleep(60);
    return null;
end $$;
create trigger hide after insert on events for each row when (new.topic = 'run.started')
    execute function hide_contents();
"""
"""From the commit of a run's start no content can be read in time."""
STARTED = "select count(*) from events where topic = 'run.started'"
GRAPH = {"nodes": [{"id": "a", "kind": "delay", "config": {"seconds": 600}}], "edges": []}


async def test_a_run_whose_contents_cannot_be_read_after_its_start_has_an_unknown_outcome(database: str) -> None:
    await asyncio.to_thread(lambda: asyncio.run(migrate(database, COMPONENTS)))
    settings = Settings(store=StoreSettings(statement_timeout_ms=500))
    async with (
        serving(database, settings) as environment,
        httpx2.AsyncClient(base_url=environment.url, timeout=60) as client,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as other,
    ):
        ada = Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
        workflow = await ada.workflow(GRAPH)
        await other.execute(UNREADABLE_AFTER_START)
        answer = await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {"text": "x" * 100_000}})
        problem = expect_problem(answer, 503, "outcome_unknown")
        row = await (await other.execute(STARTED)).fetchone()
    assert "was accepted" in problem["detail"]
    assert row == (1,)
