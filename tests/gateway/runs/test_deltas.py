"""Deltas on the stream of a run: events without an id, between the facts."""

import json

from bus.deltas import MOST_UNTAKEN
from domain.ids import to_uuid
from tests.gateway.runs.test_events import decide, waiting_run
from tests.support.gateway.given import Caller, Environment, sign_token


async def read_lines(ada: Caller, environment: Environment, *texts: str) -> list[str]:
    """Follow a run that waits, tell deltas of it in one go, let it end, and give every line from then on."""
    run_id = await waiting_run(ada)
    lines: list[str] = []
    headers = {"authorization": f"Bearer {sign_token(ada.workspace_id, ada.user_id)}", "accept": "text/event-stream"}
    async with ada.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
        found = False
        async for line in response.aiter_lines():
            lines += [line] if found else []
            if not found and line.startswith("event: step.waiting"):
                found = True
                write = environment.core.bus.deltas.sender(to_uuid("run", run_id), node="draft", attempt=1)
                for text in texts:
                    write(text)
                environment.core.bus.deltas.end_texts(to_uuid("run", run_id), node="draft", attempt=1)
                await decide(ada, run_id)
    return lines


async def test_deltas_come_without_an_id_before_the_facts_that_follow(ada: Caller, environment: Environment) -> None:
    lines = await read_lines(ada, environment, "Half", " of")
    place = lines.index("event: delta")
    assert lines[place - 1] == "", "no id stands before it"
    assert json.loads(lines[place + 1].removeprefix("data: ")) == {
        "node": "draft",
        "attempt": 1,
        "call": 1,
        "offset": 0,
        "text": "Half",
    }
    assert json.loads(lines[place + 4].removeprefix("data: "))["text"] == " of"
    assert lines.index("event: run.completed") > place


async def test_a_follower_that_is_too_slow_is_told_how_many_it_missed(ada: Caller, environment: Environment) -> None:
    lines = await read_lines(ada, environment, *["word"] * (MOST_UNTAKEN + 2))
    place = lines.index("event: deltas-dropped")
    assert json.loads(lines[place + 1].removeprefix("data: ")) == {"count": 2}
