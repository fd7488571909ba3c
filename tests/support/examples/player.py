"""An example played over HTTP, as a client would: made with what it needs, run, answered, read at its end.

The file of an example holds a `project`, its `assets` (named as `asset:<name>` where a graph needs their ids), perhaps
`sub_workflows` by name (named as `workflow:<name>`, and made in their order before the workflow), the `workflow`, the
`inputs` of a run, and the `review`: what a person answers at every step that waits for one,
or nothing where nobody does.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import msgspec

from tests.support.gateway.given import Caller, created, token_of

Json = dict[str, Any]
LONGEST_SECONDS: Final = 120
"""A run that is not done by then never will be."""
FOLDER: Final = Path(__file__).parents[3] / "examples"


def example(name: str) -> Json:
    """Give an example as its file has it."""
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes())


def with_ids(value: Json, ids: dict[str, str]) -> Json:
    """Put the ids of what was made in place of their names."""
    text = json.dumps(value)
    for name, made in ids.items():
        text = text.replace(json.dumps(name), json.dumps(made))
    return cast("Json", json.loads(text))


async def play(caller: Caller, told: Json, inputs: Json | None = None) -> Json:
    """Make an example, run it with its inputs or others, and give the run once it has ended."""
    project = created(await caller.post("/v1/projects", told["project"]))["id"]
    ids: dict[str, str] = {}
    for asset in told["assets"]:
        sent = {field: value for field, value in asset.items() if field != "name"}
        made = created(await caller.post(f"/v1/projects/{project}/assets", sent))
        ids[f"asset:{asset['name']}"] = made["id"]
    for name, workflow in told.get("sub_workflows", {}).items():
        made = created(await caller.post(f"/v1/projects/{project}/workflows", with_ids(workflow, ids)))
        ids[f"workflow:{name}"] = made["id"]
    workflow = created(await caller.post(f"/v1/projects/{project}/workflows", with_ids(told["workflow"], ids)))
    sent = {"inputs": told["inputs"] if inputs is None else inputs}
    begun = await caller.post(f"/v1/workflows/{workflow['id']}:run", sent)
    assert begun.status_code == 202, begun.text
    run = begun.json()["id"]
    async with asyncio.timeout(LONGEST_SECONDS):
        position = await _followed(caller, run, told.get("review"))
    ended = await caller.get(f"/v1/runs/{run}", headers={"callsheet-min-position": position})
    return ended.json()


async def _followed(caller: Caller, run: str, review: Json | None) -> str:
    """Follow a run to its last event, deciding what waits for a person; gives the last position."""
    position = ""
    headers = {
        "authorization": f"Bearer {token_of(caller.workspace_id, caller.user_id)}",
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
            asked = event["topic"] == "step.waiting" and event["data"]["waiting_for"] == "human"
            if asked and review is not None:
                decided = await caller.post(f"/v1/runs/{run}/steps/{event['data']['node']}:complete", review)
                assert decided.status_code == 200, decided.text
    return position
