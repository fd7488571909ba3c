"""A run's events: pages, and streams that replay, follow, resume and end."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx2
import pytest
from psycopg import AsyncConnection

from bus.cloudevents import encode_envelope
from callsheet.operate.tail import build_output
from domain.ids import to_uuid
from domain.payload import INLINE_BYTES
from gateway.http.replies import PIECE_BYTES
from gateway.http.unread import CallerUnread
from gateway.operations.endpoint import NOBODY
from gateway.streams.sources import RunFacts
from gateway.streams.sse import EventStream
from gateway.streams.tail import Batch, LogTail
from store.log.queries import LogFilter
from store.log.raw_reads import read_raw_page
from store.log.records import Recorded
from tests.gateway.conftest import SETTINGS
from tests.support.gateway.event_streams import stream_run
from tests.support.gateway.given import (
    HUMAN,
    PATIENCE_SECONDS,
    TRANSFORM_CHAIN,
    Caller,
    Environment,
    expect_problem,
    new_id,
    serving,
)
from tests.support.waiting import eventually

CHAIN_TOPICS = ["run.started", *["step.started", "step.completed"] * 3, "run.completed"]


async def waiting_run(ada: Caller) -> str:
    workflow = await ada.workflow(HUMAN)
    run_id: str = (await ada.post(f"/v1/workflows/{workflow['id']}:run", {})).json()["id"]

    async def waits() -> bool:  # while engines get to know of each other a run may be taken up some seconds late
        events = (await ada.get(f"/v1/runs/{run_id}/events")).json()["items"]
        return any(event["type"] == "step.waiting" for event in events)

    await eventually(waits, what="the run waits for its reviewer")
    return run_id


async def decide(ada: Caller, run_id: str) -> None:
    answer = await ada.post(f"/v1/runs/{run_id}/steps/review:complete", {"outcome": "approve", "data": {"note": "x"}})
    assert answer.status_code == 200, answer.text


async def test_the_events_of_an_ended_run_come_in_pages(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {"topic": "tea"})
    events: list[dict[str, Any]] = []
    path: str | None = f"/v1/runs/{run['id']}/events?limit=3"
    while path is not None:
        answer = await ada.get(path)
        events.extend(answer.json()["items"])
        link = answer.headers.get("link")
        path = link.split(">")[0].removeprefix("<") if link is not None else None
    assert len(events) == sum(1 for _ in CHAIN_TOPICS)
    assert {event["type"] for event in events} == set(CHAIN_TOPICS)
    assert [event["streamversion"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["data"]["inputs"] == {"value": {"topic": "tea"}}
    assert events[0]["data"]["workflow_id"] == run["workflow_id"]
    assert (events[0]["actorkind"], events[0]["actorid"]) == ("user", "usr_ada")
    completed = [event["data"] for event in events if event["type"] == "step.completed"]
    assert completed[-1]["output"] == {"value": {"topic": "tea"}}
    after = await ada.get(f"/v1/runs/{run['id']}/events?after={events[-2]['id']}")
    assert after.json() == {"items": events[-1:], "next_cursor": None}


async def test_an_event_is_the_same_over_http_on_nats_and_in_the_output_of_the_cli(
    ada: Caller, environment: Environment, gateway_database: str
) -> None:
    inner = await ada.workflow(TRANSFORM_CHAIN)
    project = inner["project_id"]
    each = {"id": "each", "kind": "map", "config": {"workflow_id": inner["id"], "items": "inputs.list"}}
    outer = await ada.workflow({"nodes": [each]}, project)
    body = {"inputs": {"list": [{"topic": "t" * INLINE_BYTES}]}}
    answer = await ada.post(f"/v1/workflows/{outer['id']}:run", body, headers={"prefer": "wait=20"})
    assert answer.json()["status"] == "completed", answer.text
    shown: dict[str, dict[str, Any]] = {}
    async with stream_run(ada, answer.json()["id"]) as events:
        streamed = {event.id: event.data for event in await events.rest()}
    path: str | None = f"/v1/projects/{project}/events?limit=200"
    while path is not None:
        page = await ada.get(path)
        shown.update((item["id"], item) for item in page.json()["items"])
        path = page.headers["link"].split(">")[0].removeprefix("<") if "link" in page.headers else None
    assert {event_id: shown[event_id] for event_id in streamed} == streamed
    log = environment.core.log
    async with await AsyncConnection[tuple[Any, ...]].connect(gateway_database, autocommit=True) as connection:
        head, _ = await log.head()
        only = LogFilter(project_id=to_uuid("prj", project))
        stored, _ = await read_raw_page(connection, after=0, head=head, limit=1_000, only=only)
        printed = [await build_output(connection, log.identity, row, contents=True) for row in stored]
    assert [shown[event["id"]] for event in printed] == printed
    for row, event in zip(stored, printed, strict=True):
        published = json.loads(encode_envelope(log.identity, row))
        assert published.keys() == event.keys()
        if "$ref" not in json.dumps(event):
            assert published == event
    ids = [event["data"]["items"][0]["run_id"] for event in printed if event["type"] == "step.items-settled"]
    assert ids[0].startswith("run_")


async def test_a_page_of_events_holds_so_many_bytes_of_contents_and_one_event_at_least(ada: Caller) -> None:
    for size, pages in ((60 * 1024, 2), (120 * 1024, 4)):
        run = await ada.ended_run(TRANSFORM_CHAIN, {"topic": "t" * size})
        events: list[dict[str, Any]] = []
        cursor, asked = "", 0
        while asked == 0 or cursor:
            page = (await ada.get(f"/v1/runs/{run['id']}/events?limit=200{cursor}")).json()
            events.extend(page["items"])
            contents = [event for event in page["items"] if len(json.dumps(event)) > size]
            assert page["items"]
            assert len(contents) * size <= max(SETTINGS.http.page_bytes_max, size)
            cursor, asked = page["next_cursor"] and f"&cursor={page['next_cursor']}", asked + 1
        assert [event["streamversion"] for event in events] == list(range(1, len(CHAIN_TOPICS) + 1))
        assert asked >= pages


async def test_a_stream_replays_an_ended_run_and_ends(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    pages = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    async with stream_run(ada, run["id"]) as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        replayed = await events.rest()
    assert [event.data for event in replayed] == pages
    assert [event.id for event in replayed] == [page["id"] for page in pages]
    assert [event.topic for event in replayed] == [page["type"] for page in pages]


async def test_a_stream_follows_a_run_until_it_ends(ada: Caller) -> None:
    run_id = await waiting_run(ada)
    async with stream_run(ada, run_id) as events:
        seen: list[str] = []
        async for event in events:
            seen.append(event.topic)
            if event.topic == "step.waiting":
                await decide(ada, run_id)
    assert seen[0] == "run.started"
    assert seen[-1] == "run.completed"
    assert len(seen) == len((await ada.get(f"/v1/runs/{run_id}/events")).json()["items"])


async def test_a_stream_resumes_after_the_last_event_that_was_seen(ada: Caller) -> None:
    run_id = await waiting_run(ada)
    async with stream_run(ada, run_id) as events:
        event = await events.first("step.waiting")
    await decide(ada, run_id)
    async with stream_run(ada, run_id, **{"last-event-id": event.id}) as resumed:
        rest = [later.topic for later in await resumed.rest()]
    assert rest[0] == "step.decided"
    assert rest[-1] == "run.completed"
    async with stream_run(ada, run_id, f"?after={event.data['position']}") as resumed:
        assert [later.topic for later in await resumed.rest()] == rest


async def test_a_resume_with_nothing_left_of_an_ended_run_is_told_not_to_come_back(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    last = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"][-1]["id"]
    async with stream_run(ada, run["id"], **{"last-event-id": last}) as events:
        assert events.response.status_code == 204


async def test_a_cursor_of_another_log_gets_a_clear_reset(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    problem = await ada.get(f"/v1/runs/{run['id']}/events?after=0123456789ab-7")
    expect_problem(problem, 410, "cursor_reset")
    everything = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    begin = f"{everything[0]['id'].partition('-')[0]}-0"
    assert problem.headers["callsheet-reset-position"] == begin
    async with stream_run(ada, run["id"], **{"last-event-id": "0123456789ab-7"}) as events:
        assert events.response.headers["callsheet-reset-position"] == begin
        assert (await events.first("reset")).data == {"position": begin}
        assert [event.id for event in await events.rest()] == [event["id"] for event in everything]
    async with stream_run(ada, run["id"], **{"last-event-id": "nonsense"}) as events:
        expect_problem(events.response, 400, "malformed")


async def test_a_position_that_the_log_has_not_come_to_is_of_a_log_that_was_restored(ada: Caller) -> None:
    run_id = await waiting_run(ada)
    last = (await ada.get(f"/v1/runs/{run_id}/events")).json()["items"][-1]["id"]
    mark, _, position = last.partition("-")
    ahead = f"{mark}-{int(position) + 1_000_000}"
    async with stream_run(ada, run_id, **{"last-event-id": ahead}) as events:
        assert (await events.first("reset")).data["position"] == events.response.headers["callsheet-reset-position"]
    expect_problem(await ada.get(f"/v1/runs/{run_id}/events?after={ahead}"), 410, "cursor_reset")
    await ada.project()  # the log is past this run now, and its own end is no reset
    assert (await ada.get(f"/v1/runs/{run_id}/events?after={int(position) + 1}")).json()["items"] == []


async def test_an_idle_stream_shows_that_it_lives(ada: Caller) -> None:
    run_id = await waiting_run(ada)
    async with stream_run(ada, run_id) as events:
        reading = asyncio.create_task(events.rest())

        async def has_heartbeats() -> bool:
            return events.comments >= 2

        await eventually(has_heartbeats, what="two heartbeats")
        await decide(ada, run_id)
        assert (await reading)[-1].topic == "run.completed"


async def test_a_caller_who_hangs_up_leaves_nothing_behind(ada: Caller, environment: Environment) -> None:
    run_id = await waiting_run(ada)
    async with stream_run(ada, run_id) as events:
        await events.first("step.waiting")
        assert environment.drain.watching > 0

    async def nobody_watches() -> bool:
        return environment.drain.watching == 0

    await eventually(nobody_watches, what="the stream is given up")


async def test_a_caller_is_written_no_more_at_once_than_a_piece_and_one_fact(
    ada: Caller, environment: Environment
) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    sent: list[bytes] = []

    async def send(message: Any) -> None:  # noqa: ANN401  # ASGI
        sent.append(message.get("body", b""))

    async def write(_fact: Recorded) -> bytes:
        return b"x" * (PIECE_BYTES - 1)

    core = environment.core
    run_id: UUID = to_uuid("run", run["id"])

    async def is_over(_batch: Batch) -> bool:
        return True

    source = RunFacts(core.feed, core.log, environment.drain, run_id)
    tail = LogTail(source, after=0, heartbeat_seconds=PATIENCE_SECONDS)
    unread = CallerUnread(environment.gateway.unread, NOBODY)
    stream = EventStream(tail, write, unread, retry_ms=1_000, is_over=is_over)
    await stream.deliver(asyncio.Event().wait, send)  # pyright: ignore[reportArgumentType]  # a caller who says nothing
    whole = len(CHAIN_TOPICS) * (PIECE_BYTES - 1)
    assert sum(map(len, sent)) >= whole
    assert max(map(len, sent)) < 2 * PIECE_BYTES


@pytest.mark.parametrize("callers", [20])
async def test_many_streams_of_one_run_see_the_same(ada: Caller, callers: int) -> None:
    run_id = await waiting_run(ada)

    async def all_events() -> list[str]:
        async with stream_run(ada, run_id) as events:
            return [event.id for event in await events.rest()]

    reading = [asyncio.create_task(all_events()) for _ in range(callers)]
    await asyncio.sleep(0)
    await decide(ada, run_id)
    seen = await asyncio.gather(*reading)
    assert all(ids == seen[0] for ids in seen)


async def test_streams_and_waits_end_at_once_when_the_process_stops(gateway_database: str) -> None:
    async with serving(gateway_database, SETTINGS) as own, httpx2.AsyncClient(base_url=own.url, timeout=30) as client:
        ada = Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
        run_id = await waiting_run(ada)
        workflow = await ada.workflow(HUMAN)
        waiting = asyncio.create_task(
            ada.post(f"/v1/workflows/{workflow['id']}:run", {}, headers={"prefer": "wait=60"})
        )
        async with stream_run(ada, run_id) as events:
            await events.first("step.waiting")

            async def both_watch() -> bool:
                return own.drain.watching == 2

            await eventually(both_watch, what="both requests wait")
            async with asyncio.timeout(PATIENCE_SECONDS):
                own.drain.begin()
                own.server.should_exit = True
                assert await events.rest() == []
                answer = await waiting
            ((name, closing),) = events.hints
            assert (name, closing["reason"]) == ("closing", "draining")
            assert 500 <= closing["retry_ms"] <= 1_500
        assert answer.status_code == 202


async def test_health_needs_no_token_and_readiness_ends_with_draining(gateway_database: str, ada: Caller) -> None:
    assert (await ada.client.get("/healthz")).json() == {"status": "ok"}
    assert (await ada.client.get("/readyz")).json() == {"status": "ready"}
    async with serving(gateway_database, SETTINGS) as own, httpx2.AsyncClient(base_url=own.url) as client:
        own.drain.begin()
        expect_problem(await client.get("/readyz"), 503, "draining")


async def test_the_openapi_document_shows_paths_as_callers_write_them(ada: Caller) -> None:
    paths = (await ada.client.get("/v1/openapi.json")).json()["paths"]
    assert "post" in paths["/v1/workflows/{workflowId}:run"]
    assert "post" in paths["/v1/runs/{runId}/steps/{nodeId}:complete"]
    assert not any("/:" in path for path in paths)
    operations = [operation for path in paths.values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
