"""An event that this version cannot read, as a newer one may write: its run is refused, and all others work."""

import json

import httpx2
import psycopg

from callsheet.clock import utc_now
from callsheet.wiring.core import COMPONENTS
from domain.ids import to_uuid
from domain.runs.facts import RunCancelRequested
from store.log.codec import encode_fact
from store.postgres.migrations import migrate
from tests.gateway.conftest import SETTINGS
from tests.gateway.runs.test_events import waiting_run
from tests.support.gateway.event_streams import stream_run
from tests.support.gateway.given import PATIENCE_SECONDS, TRANSFORM_CHAIN, Caller, expect_problem, new_id, serving
from tests.support.waiting import eventually

APPEND: bytes = b"""
with head as (
    update log_head set position = position + 1 returning position
)
insert into events (notification_id, originator_version, recorded_at, originator_id, workspace_id, project_id,
                    state_format, topic, metadata, state)
select head.position, e.originator_version + 1, now(), e.originator_id, e.workspace_id, e.project_id,
       1, %s, e.metadata, %s
  from head, events e
 where e.originator_id = %s
 order by e.originator_version desc
 limit 1
"""
"""Append to a stream, as another process would."""

DREAMT = "run.dreamt", b'{"fact":"run.dreamt"}'
"""A fact that a newer version may write."""


async def append_foreign(database: str, run: str, topic: str, state: bytes) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(APPEND, [topic, state, to_uuid("run", run)])


async def test_a_run_with_an_event_of_a_newer_version_is_refused_and_the_rest_goes_on(database: str) -> None:
    await migrate(database, COMPONENTS)
    async with (
        serving(database, SETTINGS) as environment,
        httpx2.AsyncClient(base_url=environment.url, timeout=PATIENCE_SECONDS) as client,
    ):
        ada = Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
        grace = Caller(client=client, workspace_id=new_id(), user_id="usr_grace")
        run = await waiting_run(ada)
        path = f"/v1/runs/{run}"
        async with stream_run(ada, run) as events:
            await events.first("step.waiting")
            await append_foreign(database, run, *DREAMT)
            assert await events.rest() == [], "it ends in order"
        expect_problem(await ada.get(f"{path}/events"), 503, "event_unreadable")
        expect_problem(await ada.post(f"{path}:cancel", {}), 503, "event_unreadable")

        wanted = encode_fact(RunCancelRequested(requested_by="usr_ada", requested_at=utc_now()))
        await append_foreign(database, run, "run.cancel-requested", wanted)

        async def is_degraded() -> bool:
            found = json.dumps((await client.get("/readyz")).json())
            return (
                "parked in the projection runs: 1" in found
                and "1 runs were abandoned by the engine after a fault" in found
            )

        await eventually(is_degraded, what="readiness tells of the run and of the parked workspace")
        ended = await grace.ended_run(TRANSFORM_CHAIN, {"n": 1})
        assert ended["status"] == "completed", "another workspace goes on in every part"
