"""The demo: a real creative workflow over HTTP against a real server, with its events as they happen."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import httpx2
from rich.console import Console
from rich.markup import escape

from callsheet.clock import utc_now
from callsheet.demo_server import ServerFailed, running_server
from callsheet.demo_story import Story
from callsheet.secrets import secret_of
from callsheet.settings import Settings
from domain.ids import from_uuid
from gateway.development_tokens import development_token

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "product-launch.json"
WORKSPACE: Final = UUID("01900000-0000-7000-8000-00000000de00")
"""Always the same, so that what the demo made can be looked at afterwards."""
REVIEWER: Final = "usr_demo"
LONGEST_SECONDS: Final = 600
ASSET_PREFIX: Final = "asset:"


class DemoFailed(Exception):  # noqa: N818  # the demo's own answer
    """The API answered what the demo did not expect."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the demo came to, for people and as JSON."""

    run: Mapping[str, Any]
    milliseconds: Mapping[str, float]

    @property
    def completed(self) -> bool:
        """Tell whether the run ended well."""
        return self.run.get("status") == "completed"


def run_demo(settings: Settings, *, as_json: bool) -> int:
    """Run the demo and give the exit code: 0 only if the run completed."""
    console = Console(stderr=as_json, highlight=False)
    try:
        told = asyncio.run(_demo(settings, Story(console)))
    except TimeoutError:
        console.print(f"[bold red]the demo failed:[/] it had not ended after {LONGEST_SECONDS} s")
        return 1
    except (DemoFailed, ServerFailed, httpx2.HTTPError) as fault:
        console.print(f"[bold red]the demo failed:[/] {escape(str(fault) or repr(fault))}")
        return 1
    if as_json:
        Console().print_json(json.dumps({"run": told.run, "milliseconds": told.milliseconds}))
    return 0 if told.completed else 1


async def _demo(settings: Settings, story: Story) -> Told:
    began = time.perf_counter()
    story.say("[bold]Callsheet demo[/]: a product launch, from a brief to the final copy\n")
    story.say("starting PostgreSQL, gateway, engine and projections ...")
    async with running_server(os.environ) as url, asyncio.timeout(LONGEST_SECONDS):
        booted = time.perf_counter()
        token = development_token(
            secret_of(settings).reveal().encode(),
            workspace_claim=settings.identity.workspace_claim,
            workspace_id=WORKSPACE,
            user_id=REVIEWER,
            now=utc_now(),
            lasts=timedelta(hours=1),
        )
        async with httpx2.AsyncClient(base_url=url, headers={"authorization": f"Bearer {token}"}) as client:
            told = await Demo(client, story, booted - began).play(json.loads(EXAMPLE.read_text()))
    _say_where_to_go(story, settings, told)
    return told


class Demo:
    """Plays the example over HTTP."""

    def __init__(self, client: httpx2.AsyncClient, story: Story, boot_seconds: float) -> None:
        """Take a client that is authorised."""
        self._client = client
        self._story = story
        self._boot_seconds = boot_seconds

    async def play(self, example: Mapping[str, Any]) -> Told:
        """Create the project and its workflow, run it, answer as the reviewer, and show everything."""
        project = await self._post("/v1/projects", example["project"])
        assets: dict[str, str] = {}
        for asset in example["assets"]:
            sent = {name: value for name, value in asset.items() if name != "name"}
            assets[asset["name"]] = (await self._post(f"/v1/projects/{project['id']}/assets", sent))["id"]
        workflow = await self._post(f"/v1/projects/{project['id']}/workflows", with_assets(example["workflow"], assets))
        self._story.say(f"project  {project['id']}\nworkflow {workflow['id']} with {len(workflow['nodes'])} steps\n")
        began = time.perf_counter()
        run = await self._post(f"/v1/workflows/{workflow['id']}:run", {"inputs": example["inputs"]})
        self._story.say(f"run      {run['id']}")
        waited, position = await self._tail(run["id"], example["review"], began)
        run_ms = (time.perf_counter() - began) * 1_000
        ended = await self._get(f"/v1/runs/{run['id']}", position)
        milliseconds = {"boot": self._boot_seconds * 1_000, "run": run_ms, "review": waited}
        self._story.say("")
        self._story.outputs(ended.get("outputs") or {})
        self._story.timings({name: f"{value:,.0f} ms" for name, value in milliseconds.items()})
        return Told(ended, milliseconds)

    async def _tail(self, run_id: str, review: Mapping[str, Any], began: float) -> tuple[float, str]:
        """Follow the run's events to the last, answering the review when it is asked for.

        Gives how long the answer took, in milliseconds, and the position of the last event.
        """
        review_ms = 0.0
        position = ""
        headers = {"accept": "text/event-stream"}
        async with self._client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers, timeout=None) as response:
            if response.is_error:
                raise DemoFailed(f"the events of the run: {response.status_code}")
            async for sent in httpx2.EventSource(response):
                if not sent.data or sent.event.startswith("delta"):  # the time before connecting anew, or words
                    continue
                event = cast("dict[str, Any]", sent.json())
                position = sent.id
                since_ms = (time.perf_counter() - began) * 1_000
                self._story.event(event, since_ms)
                if event["topic"] == "step.waiting":
                    await self._post(f"/v1/runs/{run_id}/steps/{event['data']['node']}:complete", review)
                    review_ms += (time.perf_counter() - began) * 1_000 - since_ms
        return review_ms, position

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return _document(await self._client.post(path, json=body))

    async def _get(self, path: str, position: str) -> dict[str, Any]:
        """Read something as it is at a position or later: read models follow the log by a moment."""
        return _document(await self._client.get(path, headers={"callsheet-min-position": position}))


def with_assets(workflow: Mapping[str, Any], assets: Mapping[str, str]) -> dict[str, Any]:
    """Put the ids of created assets in place of their names in the example (`asset:<name>`)."""
    text = json.dumps(workflow)
    for name, asset_id in assets.items():
        text = text.replace(json.dumps(ASSET_PREFIX + name), json.dumps(asset_id))
    return cast("dict[str, Any]", json.loads(text))


def _document(response: httpx2.Response) -> dict[str, Any]:
    if response.is_error:
        raise DemoFailed(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
    return cast("dict[str, Any]", response.json())


def _say_where_to_go(story: Story, settings: Settings, told: Told) -> None:
    if settings.model.api_key is None:
        story.say("[yellow]The model was scripted[/]: set OPENAI_API_KEY (and OPENAI_BASE_URL) for a real one.\n")
    story.say(
        "Where to go next\n"
        "  make dev                                   serve it yourself, and in another terminal:\n"
        f"  TOKEN=$(.venv/bin/callsheet token --workspace {from_uuid('ws', WORKSPACE)} --user {REVIEWER})\n"
        f'  curl -H "Authorization: Bearer $TOKEN" localhost:8000/v1/runs/{told.run["id"]}/events\n'
        "  docs/tour.md                               follow this run through the code"
    )
