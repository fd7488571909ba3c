"""The demo: real creative workflows over HTTP against a real server, with their events as they happen."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx2
from rich.console import Console
from rich.markup import escape

from callsheet.clock import utc_now
from callsheet.demo.play import Demo, DemoFailed, Told
from callsheet.demo.server import ServerFailed, running_server
from callsheet.demo.story import Story
from callsheet.demo.website import allowing, called, running_website
from callsheet.secrets import secret_of
from callsheet.settings.load import Settings
from domain.ids import from_uuid
from gateway.identity.development_tokens import sign_development_token

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FIRST: Final = "product-launch"
WORKSPACE: Final = UUID("01900000-0000-7000-8000-00000000de00")
"""Always the same, so that what the demo made can be looked at afterwards."""
REVIEWER: Final = "usr_demo"
LONGEST_SECONDS: Final = 600
PUBLISHED_IN_SECONDS: Final = 1.0
"""How long the example that waits for an hour waits here."""

Tales = dict[str, Told]
"""What each example came to, by the name of its file."""


def run_demo(settings: Settings, *, as_json: bool, every: bool = False) -> int:
    """Run the demo, or every example, and give the exit code: 0 only if all runs completed."""
    console = Console(stderr=as_json, highlight=False)
    try:
        tales = asyncio.run(_demo(settings, Story(console), names() if every else [FIRST]))
    except TimeoutError:
        console.print(f"[bold red]the demo failed:[/] it had not ended after {LONGEST_SECONDS} s")
        return 1
    except (DemoFailed, ServerFailed, httpx2.HTTPError) as fault:
        console.print(f"[bold red]the demo failed:[/] {escape(str(fault) or repr(fault))}")
        return 1
    if as_json:
        Console().print_json(json.dumps(_as_json(tales, every=every)))
    return 0 if all(told.completed for told in tales.values()) else 1


def names() -> list[str]:
    """Give the names of all examples, the first one first."""
    return sorted((path.stem for path in EXAMPLES.glob("*.json")), key=lambda name: (name != FIRST, name))


def _as_json(tales: Tales, *, every: bool) -> dict[str, Any]:
    told = {name: {"run": one.run, "milliseconds": one.milliseconds} for name, one in tales.items()}
    return {"examples": told} if every else told[FIRST]


async def _demo(settings: Settings, story: Story, names: list[str]) -> Tales:
    began = time.perf_counter()
    story.say("[bold]Callsheet demo[/]: starting PostgreSQL, gateway, engine and projections ...")
    tales: Tales = {}
    async with (
        running_website() as website,
        running_server(allowing(os.environ, website)) as url,
        asyncio.timeout(LONGEST_SECONDS),
        httpx2.AsyncClient(base_url=url, headers={"authorization": f"Bearer {_token(settings)}"}) as client,
    ):
        boot = {"boot": (time.perf_counter() - began) * 1_000}
        for name in names:
            example = json.loads((EXAMPLES / f"{name}.json").read_text())
            story.chapter(example["project"]["name"], f"examples/{name}.json")
            told = await Demo(client, story).play(example, _inputs(example["inputs"], website))
            tales[name] = Told(told.run, {**boot, **told.milliseconds})
            boot = {}
            story.timings({part: f"{value:,.0f} ms" for part, value in tales[name].milliseconds.items()})
    _say_where_to_go(story, settings, tales)
    return tales


def _inputs(inputs: Mapping[str, Any], website: str) -> dict[str, Any]:
    """Give the inputs of an example, with the website that is there now and an hour that comes soon."""
    soon = (utc_now() + timedelta(seconds=PUBLISHED_IN_SECONDS)).isoformat().replace("+00:00", "Z")
    return {**called(inputs, website), **({"publish_at": soon} if "publish_at" in inputs else {})}


def _token(settings: Settings) -> str:
    return sign_development_token(
        secret_of(settings).reveal().encode(),
        workspace_claim=settings.identity.workspace_claim,
        workspace_id=WORKSPACE,
        user_id=REVIEWER,
        now=utc_now(),
        lasts=timedelta(hours=1),
    )


def was_scripted(run: Mapping[str, Any]) -> bool:
    """Tell whether the scripted provider answered a step of a run, whatever this process would have asked."""
    usages: list[Mapping[str, Any]] = [step.get("usage") or {} for step in run["steps"].values()]
    return any(str(usage.get("model")).startswith("scripted/") for usage in usages)


def why_scripted(*, has_key: bool) -> str:
    """Say what to do for a real model. Every engine of the log takes runs, and asks with the key that it has itself."""
    if has_key:
        return "an engine without your key took the run, perhaps that of a `make dev` in this directory: stop it first"
    return "set OPENAI_API_KEY (and OPENAI_BASE_URL) for a real one"


def _say_where_to_go(story: Story, settings: Settings, tales: Tales) -> None:
    if any(was_scripted(told.run) for told in tales.values()):
        story.say(f"[yellow]The model was scripted[/]: {why_scripted(has_key=settings.model.api_key is not None)}.\n")
    run = next(iter(tales.values())).run
    more = "" if len(tales) > 1 else "  make demo ARGS=--all                       play every example\n"
    story.say(
        f"Where to go next\n{more}"
        "  make dev                                   serve it yourself, and in another terminal:\n"
        f"  TOKEN=$(.venv/bin/callsheet token --workspace {from_uuid('ws', WORKSPACE)} --user {REVIEWER})\n"
        f'  curl -H "Authorization: Bearer $TOKEN" localhost:8000/v1/runs/{run["id"]}/events\n'
        "  docs/tour.md                               follow this run through the code"
    )
