"""Play an example over HTTP: create what it needs, run it, decide its human steps, read the result.

The file of an example holds a `project`, its `assets` (named as `asset:<name>` where a graph needs their ids), perhaps
`sub_workflows` by name (named as `workflow:<name>`, and made in their order before the workflow), the `workflow`, the
`inputs` of a run, and the `review`: what a person answers at every step that waits for one,
or nothing where nobody does; `signals` has the data of each signal, sent when a step waits for it.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import msgspec

from tests.support.gateway.given import Caller, expect_created, sign_token

Json = dict[str, Any]
LONGEST_SECONDS: Final = 120
"""A run that is not done by then never will be."""
FOLDER: Final = Path(__file__).parents[3] / "examples"


def read_example(name: str) -> Json:
    """Return an example as stored in its file."""
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes())


def replace_names(value: Json, ids: dict[str, str]) -> Json:
    """Replace names by the ids of what was created."""
    text = json.dumps(value)
    for name, made in ids.items():
        text = text.replace(json.dumps(name), json.dumps(made))
    return cast("Json", json.loads(text))


async def play_example(caller: Caller, plan: Json, inputs: Json | None = None) -> Json:
    """Create an example, run it with its inputs or others, and return the run after its end."""
    project = expect_created(await caller.post("/v1/projects", plan["project"]))["id"]
    ids: dict[str, str] = {}
    for asset in plan["assets"]:
        sent = {field: value for field, value in asset.items() if field != "name"}
        made = expect_created(await caller.post(f"/v1/projects/{project}/assets", sent))
        ids[f"asset:{asset['name']}"] = made["id"]
    for name, workflow in plan.get("sub_workflows", {}).items():
        made = expect_created(await caller.post(f"/v1/projects/{project}/workflows", replace_names(workflow, ids)))
        ids[f"workflow:{name}"] = made["id"]
    workflow = expect_created(
        await caller.post(f"/v1/projects/{project}/workflows", replace_names(plan["workflow"], ids))
    )
    sent = {"inputs": plan["inputs"] if inputs is None else inputs}
    begun = await caller.post(f"/v1/workflows/{workflow['id']}:run", sent)
    assert begun.status_code == 202, begun.text
    run = begun.json()["id"]
    async with asyncio.timeout(LONGEST_SECONDS):
        position = await _follow_and_decide(caller, run, plan)
    ended = await caller.get(f"/v1/runs/{run}", headers={"callsheet-min-position": position})
    return ended.json()


async def _follow_and_decide(caller: Caller, run: str, plan: Json) -> str:
    """Follow a run to its last event and decide its human steps. Return the last position."""
    position = ""
    headers = {
        "authorization": f"Bearer {sign_token(caller.workspace_id, caller.user_id)}",
        "accept": "text/event-stream",
    }
    async with caller.client.stream("GET", f"/v1/runs/{run}/events", headers=headers) as answer:
        assert answer.status_code == 200
        async for sent in httpx2.EventSource(answer):
            if not sent.data or sent.event.startswith(
                "delta"
            ):  # the time to wait before connecting anew; a piece of a text
                continue
            position = sent.id
            event = cast("Json", sent.json())
            review = plan.get("review")
            if event["type"] == "step.waiting" and event["data"]["waiting_for"] == "signal":
                name = event["data"]["signal"]
                signal = {"name": name, "data": plan["signals"][name]}
                signalled = await caller.post(f"/v1/runs/{run}:signal", signal)
                assert signalled.status_code == 202, signalled.text
            asked = event["type"] == "step.waiting" and event["data"]["waiting_for"] == "human"
            if asked and review is not None:
                decided = await caller.post(f"/v1/runs/{run}/steps/{event['data']['node']}:complete", review)
                assert decided.status_code == 200, decided.text
    return position
