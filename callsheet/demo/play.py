"""Run one example over HTTP as a client would, and print its events as they arrive."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx2

from callsheet.demo.story import DemoConsole

HUMAN: Final = "human"
SIGNAL: Final = "signal"


class DemoFailed(Exception):  # noqa: N818  # the demo's own answer
    """The API returned an unexpected response."""


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """The result of an example."""

    run: Mapping[str, Any]
    milliseconds: Mapping[str, float]

    @property
    def is_completed(self) -> bool:
        """Return whether the run completed."""
        return self.run.get("status") == "completed"


class ExampleRunner:
    """Runs examples over HTTP."""

    def __init__(self, client: httpx2.AsyncClient, story: DemoConsole) -> None:
        """Create it from an authorised client."""
        self._client = client
        self._story = story

    async def run_example(self, example: Mapping[str, Any], inputs: Mapping[str, Any]) -> ExampleResult:
        """Create the project and its workflow, run it, decide as the reviewer, and print everything."""
        project, workflow = await self._create_resources(example)
        self._story.print_text(
            f"project  {project['id']}\nworkflow {workflow['id']} with {len(workflow['nodes'])} steps\n"
        )
        began = time.perf_counter()
        run = await self._post(f"/v1/workflows/{workflow['id']}:run", {"inputs": inputs})
        self._story.print_text(f"run      {run['id']}")
        waited, position = await self._follow_events(run["id"], example, began)
        run_ms = (time.perf_counter() - began) * 1_000
        ended = await self._get(f"/v1/runs/{run['id']}", position)
        self._story.print_text("")
        self._story.print_outputs(ended.get("outputs") or {})
        return ExampleResult(ended, {"run": run_ms, "review": waited})

    async def _create_resources(self, example: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Create the project, its assets, its sub-workflows and its workflow; return the project and the workflow."""
        project = await self._post("/v1/projects", example["project"])
        path = f"/v1/projects/{project['id']}"
        ids: dict[str, str] = {}
        for asset in example["assets"]:
            sent = {name: value for name, value in asset.items() if name != "name"}
            ids[f"asset:{asset['name']}"] = (await self._post(f"{path}/assets", sent))["id"]
        for name, inner in example.get("sub_workflows", {}).items():
            ids[f"workflow:{name}"] = (await self._post(f"{path}/workflows", replace_names(inner, ids)))["id"]
        return project, await self._post(f"{path}/workflows", replace_names(example["workflow"], ids))

    async def _follow_events(self, run_id: str, example: Mapping[str, Any], began: float) -> tuple[float, str]:
        """Follow the run's events to the last, answering the review and sending signals when they are waited for.

        Returns how long the answers took, in milliseconds, and the position of the last event.
        """
        review_ms = 0.0
        position = ""
        headers = {"accept": "text/event-stream"}
        async with self._client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers, timeout=None) as response:
            if response.is_error:
                raise DemoFailed(f"the events of the run: {response.status_code}")
            async for sent in httpx2.EventSource(response):
                if not sent.data or sent.event.startswith("delta"):  # the reconnection time, or a comment
                    continue
                event = cast("dict[str, Any]", sent.json())
                if "type" not in event:  # about the connection, not about the run
                    continue
                position = sent.id
                since_ms = (time.perf_counter() - began) * 1_000
                self._story.print_event(event, since_ms)
                if event["type"] == "step.waiting" and event["data"]["waiting_for"] == HUMAN:
                    answer: Mapping[str, Any] = example.get("review") or {}
                    await self._post(f"/v1/runs/{run_id}/steps/{event['data']['node']}:complete", answer)
                    review_ms += (time.perf_counter() - began) * 1_000 - since_ms
                elif event["type"] == "step.waiting" and event["data"]["waiting_for"] == SIGNAL:
                    name = event["data"]["signal"]
                    await self._post(f"/v1/runs/{run_id}:signal", {"name": name, "data": example["signals"][name]})
        return review_ms, position

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return _read_document(await self._client.post(path, json=body))

    async def _get(self, path: str, position: str) -> dict[str, Any]:
        """Read a resource at a position or later: read models lag the log a little."""
        return _read_document(await self._client.get(path, headers={"callsheet-min-position": position}))


def replace_names(workflow: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """Replace names in the example (`asset:<name>`, `workflow:<name>`) by the ids of the created resources."""
    text = json.dumps(workflow)
    for name, made in ids.items():
        text = text.replace(json.dumps(name), json.dumps(made))
    return cast("dict[str, Any]", json.loads(text))


def _read_document(response: httpx2.Response) -> dict[str, Any]:
    if response.is_error:
        raise DemoFailed(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
    return cast("dict[str, Any]", response.json())
