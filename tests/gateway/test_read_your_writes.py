"""A read of one resource has every write that was answered before it, however far the projections are."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2
import psycopg
import pytest
from msgspec.structs import replace

from callsheet.wiring.core import Part
from tests.gateway.conftest import SETTINGS
from tests.gateway.test_tasks import REVIEW_BY_ADA, becomes, inbox, start_run
from tests.support.gateway.given import (
    PATIENCE_SECONDS,
    Caller,
    Environment,
    LastPosition,
    expect_problem,
    new_id,
    serving,
)

NO_POSITION = {"callsheet-min-position": "0"}
TABLES = "projects, workflows, workflow_versions, assets, asset_versions, runs, tasks"


@asynccontextmanager
async def projections_held(conninfo: str) -> AsyncGenerator[None]:
    """Block writes to the read models for the length of a block; reads go on."""
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        await connection.execute(f"lock table {TABLES} in exclusive mode".encode())
        yield
        await connection.rollback()


@pytest.fixture(scope="module")
async def other_process(gateway_database: str, environment: Environment) -> AsyncGenerator[Environment]:
    """A second gateway of the same log, as another process would be: it shares no cache with the first."""
    assert environment
    async with serving(gateway_database, SETTINGS, process_parts=frozenset({Part.GATEWAY})) as found:
        yield found


async def test_each_resource_can_be_read_at_once_in_this_process_and_in_another(
    ada: Caller, gateway_database: str, other_process: Environment
) -> None:
    async with (
        projections_held(gateway_database),
        httpx2.AsyncClient(base_url=other_process.url, timeout=PATIENCE_SECONDS) as client,
    ):
        workflow = await ada.workflow(REVIEW_BY_ADA)
        project = workflow["project_id"]
        asset = await ada.post(f"/v1/projects/{project}/assets", {"type": "prompt", "label": "x", "content": "y"})
        run = await ada.post(f"/v1/workflows/{workflow['id']}:run", {})
        assert run.status_code == 202
        written = {
            f"/v1/projects/{project}": "id",
            f"/v1/workflows/{workflow['id']}": "id",
            f"/v1/assets/{asset.json()['id']}": "id",
            f"/v1/runs/{run.json()['id']}": "id",
            f"/v1/runs/{run.json()['id']}/events": "items",
            f"/v1/projects/{project}/workflows": "items",
            f"/v1/projects/{project}/assets": "items",
            f"/v1/projects/{project}/runs": "items",
            f"/v1/projects/{project}/insights": "id",
            f"/v1/workflows/{workflow['id']}/runs": "items",
        }
        elsewhere = replace(ada, client=client, last=LastPosition())
        for path, field in written.items():
            for caller in (ada, elsewhere):
                answer = await caller.get(path, headers=NO_POSITION)
                assert answer.status_code == 200, f"{path}: {answer.text}"
                assert field in answer.json()
                assert answer.headers["callsheet-position"].isdecimal(), path
            stranger = await elsewhere.to(new_id()).get(path, headers=NO_POSITION)
            assert stranger.status_code == 404, path


async def test_a_change_is_seen_at_once_in_this_process_and_in_another(
    ada: Caller, gateway_database: str, other_process: Environment
) -> None:
    project = await ada.project()
    path = f"/v1/projects/{project['id']}"
    async with (
        projections_held(gateway_database),
        httpx2.AsyncClient(base_url=other_process.url, timeout=PATIENCE_SECONDS) as client,
    ):
        elsewhere = replace(ada, client=client, last=LastPosition())
        assert (await elsewhere.get(path, headers=NO_POSITION)).json()["name"] == "Spring"
        changed = await ada.patch(path, {"name": "Summer"})
        for caller in (ada, elsewhere):
            answer = await caller.get(path, headers=NO_POSITION)
            assert (answer.json()["name"], answer.headers["etag"]) == ("Summer", changed.headers["etag"])


async def test_a_list_says_how_far_it_is(ada: Caller, gateway_database: str) -> None:
    await ada.project()
    await ada.get("/v1/projects")  # waits for the project
    async with projections_held(gateway_database):
        written = await ada.post("/v1/projects", {"name": "Autumn"})
        late = await ada.get("/v1/projects", headers=NO_POSITION)
        assert [found["name"] for found in late.json()["items"]] == ["Spring"]
        assert int(late.headers["callsheet-position"]) < int(written.headers["callsheet-position"])
    current = await ada.get("/v1/projects")
    assert [found["name"] for found in current.json()["items"]] == ["Autumn", "Spring"]
    assert int(current.headers["callsheet-position"]) >= int(written.headers["callsheet-position"])


async def test_a_decided_task_is_not_in_the_inbox_however_late_the_read_model_is(
    ada: Caller, gateway_database: str
) -> None:
    workflow = await ada.workflow(REVIEW_BY_ADA)
    decided = (await start_run(ada, workflow)).json()["id"]
    cancelled = (await start_run(ada, workflow)).json()["id"]
    await start_run(ada, workflow)
    await becomes(ada, ["review"] * 3)
    async with projections_held(gateway_database):
        answer = await ada.post(
            f"/v1/runs/{decided}/steps/review:complete", {"outcome": "approve", "data": {"note": "good"}}
        )
        assert answer.status_code == 200, answer.text
        assert len((await ada.get("/v1/tasks", headers=NO_POSITION)).json()["items"]) == 2
        assert (await ada.post(f"/v1/runs/{cancelled}:cancel", {}, headers={"prefer": "wait=10"})).status_code == 200
        assert len((await ada.get("/v1/tasks", headers=NO_POSITION)).json()["items"]) == 1
    assert await inbox(ada) == ["review"]


async def test_what_does_not_exist_is_still_missing(ada: Caller) -> None:
    for noun, prefix in (("projects", "prj"), ("workflows", "wf"), ("assets", "ast"), ("runs", "run")):
        answer = await ada.get(f"/v1/{noun}/{prefix}_01h455vb4pex5vsknk084sn02q")
        expect_problem(answer, 404, f"{noun.removesuffix('s')}_not_found")
