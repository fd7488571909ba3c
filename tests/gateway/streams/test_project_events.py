"""A project's events: pages and streams with filters, and no gap or repeat whatever the disconnects."""

import asyncio
import random
from typing import Any

import pytest

from gateway.streams import sources
from tests.support.gateway.event_streams import Event, open_stream
from tests.support.gateway.given import (
    TRANSFORM_CHAIN,
    Caller,
    Environment,
    expect_created,
    expect_problem,
    new_id,
)


async def read_pages(ada: Caller, path: str) -> list[dict[str, Any]]:
    """Return the items of every page."""
    found: list[dict[str, Any]] = []
    following: str | None = path
    while following is not None:
        answer = await ada.get(following)
        assert answer.status_code == 200, answer.text
        found.extend(answer.json()["items"])
        link = answer.headers.get("link")
        following = link.split(">")[0].removeprefix("<") if link is not None else None
    return found


async def run_twice(ada: Caller) -> dict[str, Any]:
    """Run two workflows of one project once each, beside another project; return the run of the first."""
    first = await ada.ended_run(TRANSFORM_CHAIN, {"n": 1})
    other = await ada.workflow(TRANSFORM_CHAIN, first["project_id"])
    await ada.post(f"/v1/workflows/{other['id']}:run", {"inputs": {}}, headers={"prefer": "wait=20"})
    await ada.ended_run(TRANSFORM_CHAIN, {})
    return first


async def test_pages_have_every_event_of_the_project_and_no_other(ada: Caller) -> None:
    run = await run_twice(ada)
    path = f"/v1/projects/{run['project_id']}/events"
    items = await read_pages(ada, f"{path}?limit=7")
    topics = [item["type"] for item in items]
    assert topics[0] == "project.created"
    assert topics.count("workflow.created") == 2
    assert topics.count("run.completed") == 2
    positions = [int(item["position"]) for item in items]
    assert positions == sorted(set(positions))
    of_run = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    assert [item for item in items if item in of_run] == of_run


async def test_events_are_filtered_by_topic_workflow_and_run(ada: Caller) -> None:
    run = await run_twice(ada)
    path = f"/v1/projects/{run['project_id']}/events"
    everything = await read_pages(ada, path)
    of_run = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    assert await read_pages(ada, f"{path}?run_id={run['id']}") == of_run
    completed = await read_pages(ada, f"{path}?topic=run.completed,workflow.created")
    assert completed == [item for item in everything if item["type"] in {"run.completed", "workflow.created"}]
    of_workflow = await read_pages(ada, f"{path}?workflow_id={run['workflow_id']}")
    assert [item["type"] for item in of_workflow] == ["workflow.created", *(item["type"] for item in of_run)]
    async with open_stream(ada, f"{path}?topic=run.started&workflow_id={run['workflow_id']}") as events:
        assert (await events.first("run.started")).data == of_run[0]


async def test_an_unknown_topic_is_refused_with_the_similar_one(ada: Caller) -> None:
    project = await ada.project()
    answer = await ada.get(f"/v1/projects/{project['id']}/events?topic=run.complete")
    assert "Did you mean `run.completed`?" in expect_problem(answer, 400, "malformed")["detail"]


async def test_a_project_of_another_workspace_has_no_stream(ada: Caller) -> None:
    project = await ada.project()
    async with open_stream(ada.to(new_id()), f"/v1/projects/{project['id']}/events") as events:
        expect_problem(events.response, 404, "project_not_found")


async def test_a_long_replay_by_the_history_equals_the_log(
    ada: Caller, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await run_twice(ada)
    path = f"/v1/projects/{run['project_id']}/events"
    by_log = await read_pages(ada, path)
    await environment.core.checkpoints.wait_for("history", ada.last.value, 20)
    monkeypatch.setattr(sources, "SCANNED_POSITIONS", 0)
    monkeypatch.setattr(sources, "PROJECT_PAGE_FACTS", 3)
    assert await read_pages(ada, path) == by_log
    workflow = await read_pages(ada, f"{path}?workflow_id={run['workflow_id']}")
    assert [item["type"] for item in workflow].count("run.started") == 1


async def join_streams(ada: Caller, readers: int, runs: int) -> None:
    """Check the law: what a client received, joined by position, equals the log."""
    project = await ada.project()
    workflow = await ada.workflow(TRANSFORM_CHAIN, project["id"])
    path = f"/v1/projects/{project['id']}/events"

    async def write() -> str:
        for number in range(runs):
            await ada.post(
                f"/v1/workflows/{workflow['id']}:run", {"inputs": {"n": number}}, headers={"prefer": "wait=20"}
            )
        body = {"type": "prompt", "label": "the last event"}
        expect_created(await ada.post(f"/v1/projects/{project['id']}/assets", body))
        return (await read_pages(ada, f"{path}?topic=asset.created"))[-1]["id"]

    writing = asyncio.create_task(write())
    async with asyncio.TaskGroup() as group:
        reading = [
            group.create_task(read_until(ada, path, writing, random.Random(seed)))  # noqa: S311  # repeatable
            for seed in range(readers)
        ]
    log = [(item["id"], item["type"]) for item in await read_pages(ada, path)]
    for seed, received in enumerate(task.result() for task in reading):
        assert [(event.id, event.topic) for event in received] == log, f"seed {seed}"


async def read_until(ada: Caller, path: str, writing: asyncio.Task[str], chances: random.Random) -> list[Event]:
    """Read with disconnects while events are written, until the last of them."""
    received: list[Event] = []
    while True:
        headers = {"last-event-id": received[-1].id} if received else {}
        wanted = chances.choice([1, 2, 5, 20])
        async with open_stream(ada, path, **headers) as events:
            async for event in events:
                received.append(event)
                wanted -= 1
                if event.topic == "asset.created" and event.id == await writing:
                    return received
                if wanted == 0:
                    break


async def test_what_clients_receive_over_disconnects_equals_the_log(ada: Caller) -> None:
    for _ in range(2):  # fifty at once exceed the queue for reads on a loaded machine, which is answered 503
        await join_streams(ada, readers=25, runs=5)


@pytest.mark.long
async def test_what_many_clients_receive_over_disconnects_equals_the_log(ada: Caller) -> None:
    for _ in range(20):
        await join_streams(ada, readers=50, runs=20)


async def test_a_stream_begins_at_a_time_or_a_position(ada: Caller) -> None:
    run = await run_twice(ada)
    path = f"/v1/projects/{run['project_id']}/events"
    everything = await read_pages(ada, path)
    middle = everything[len(everything) // 2]
    later = [item for item in everything if item["time"] >= middle["time"]]
    assert await read_pages(ada, f"{path}?from={middle['time']}") == later
    after = await read_pages(ada, f"{path}?from={middle['id']}")
    assert int(after[0]["position"]) > int(middle["position"])
    assert await read_pages(ada, f"{path}?from=1970-01-01T00:00:00Z") == everything
    assert await read_pages(ada, f"{path}?from=8999-01-01T00:00:00Z") == []
    answer = await ada.get(f"{path}?from=yesterday")
    assert "or an RFC 3339 time" in expect_problem(answer, 400, "malformed")["detail"]


async def test_the_past_is_shown_at_its_pace_and_then_the_stream_is_live(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {"n": 1})
    path = f"/v1/projects/{run['project_id']}/events"
    past = await read_pages(ada, path)
    async with open_stream(ada, f"{path}?speed=8") as events:
        shown: list[Event] = []
        async for event in events:
            shown.append(event)
            if len(shown) == len(past):
                await ada.post(f"/v1/projects/{run['project_id']}/assets", {"type": "prompt", "label": "Tone"})
            if event.topic == "asset.created":
                break
    assert [event.data for event in shown[:-1]] == past
    for wrong in ("0", "-1", "fast", "1e9"):
        expect_problem(await ada.get(f"{path}?speed={wrong}"), 400, "malformed")
