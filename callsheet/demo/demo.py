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

from callsheet.clock import utc_now
from callsheet.demo.play import DemoFailed, ExampleResult, ExampleRunner
from callsheet.demo.server import ServerFailed, start_server
from callsheet.demo.story import DemoConsole, escape
from callsheet.demo.website import allow_outgoing, replace_webhook_url, start_website
from callsheet.development_secret import load_signing_secret
from callsheet.settings.load import Settings
from domain.ids import from_uuid
from gateway.identity.development_tokens import sign_development_token

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FIRST: Final = "product-launch"
WORKSPACE: Final = UUID("01900000-0000-7000-8000-00000000de00")
"""The workspace of every demo, so that its results can be inspected afterwards."""
REVIEWER: Final = "usr_demo"
LONGEST_SECONDS: Final = 600
REQUEST_SECONDS_MAX: Final = 90
"""The first graph with a pattern starts a worker process, which may take a minute on a machine that is busy."""
PUBLISHED_IN_SECONDS: Final = 1.0
"""Offset from now of the time in the example with a timer."""

ExampleResults = dict[str, ExampleResult]
"""The result of each example, by the name of its file."""


def run_demo(settings: Settings, *, as_json: bool, every: bool = False) -> int:
    """Run the demo, or every example; return the exit code: 0 only if all runs completed."""
    console = Console(stderr=as_json, highlight=False)
    try:
        results = asyncio.run(_run_examples(settings, DemoConsole(console), list_examples() if every else [FIRST]))
    except TimeoutError:
        console.print(f"[bold red]the demo failed:[/] no result after {LONGEST_SECONDS} s")
        return 1
    except (DemoFailed, ServerFailed, httpx2.HTTPError) as fault:
        console.print(f"[bold red]the demo failed:[/] {escape(str(fault) or repr(fault))}")
        return 1
    if as_json:
        Console().print_json(json.dumps(_to_wire(results, every=every)))
    return 0 if all(result.is_completed for result in results.values()) else 1


def list_examples() -> list[str]:
    """Return the names of all examples, starting with FIRST."""
    return sorted((path.stem for path in EXAMPLES.glob("*.json")), key=lambda name: (name != FIRST, name))


def _to_wire(results: ExampleResults, *, every: bool) -> dict[str, Any]:
    result = {name: {"run": result.run, "milliseconds": result.milliseconds} for name, result in results.items()}
    return {"examples": result} if every else result[FIRST]


async def _run_examples(settings: Settings, story: DemoConsole, names: list[str]) -> ExampleResults:
    began = time.perf_counter()
    story.print_text("[bold]Callsheet demo[/]: starting PostgreSQL, gateway, engine and projections ...")
    results: ExampleResults = {}
    async with (
        start_website() as website,
        start_server(allow_outgoing(os.environ, website)) as url,
        asyncio.timeout(LONGEST_SECONDS),
        httpx2.AsyncClient(base_url=url, headers=_authorise(settings), timeout=REQUEST_SECONDS_MAX) as client,
    ):
        boot = {"boot": (time.perf_counter() - began) * 1_000}
        for name in names:
            example = json.loads((EXAMPLES / f"{name}.json").read_text())
            story.print_heading(example["project"]["name"], f"examples/{name}.json")
            result = await ExampleRunner(client, story).run_example(
                example, _prepare_inputs(example["inputs"], website)
            )
            results[name] = ExampleResult(result.run, {**boot, **result.milliseconds})
            boot = {}
            story.timings({part: f"{value:,.0f} ms" for part, value in results[name].milliseconds.items()})
    _print_next_steps(story, settings, results)
    return results


def _prepare_inputs(inputs: Mapping[str, Any], website: str) -> dict[str, Any]:
    """Return the inputs of an example with the address of the local website and a time one second ahead."""
    soon = (utc_now() + timedelta(seconds=PUBLISHED_IN_SECONDS)).isoformat().replace("+00:00", "Z")
    return {**replace_webhook_url(inputs, website), **({"publish_at": soon} if "publish_at" in inputs else {})}


def _authorise(settings: Settings) -> dict[str, str]:
    token = sign_development_token(
        load_signing_secret(settings).reveal().encode(),
        workspace_claim=settings.identity.workspace_claim,
        workspace_id=WORKSPACE,
        user_id=REVIEWER,
        now=utc_now(),
        lasts=timedelta(hours=1),
    )
    return {"authorization": f"Bearer {token}"}


def has_scripted_step(run: Mapping[str, Any]) -> bool:
    """Check whether the scripted provider answered a step of the run, which any engine may have executed."""
    usages: list[Mapping[str, Any]] = [step.get("usage") or {} for step in run["steps"].values()]
    return any(str(usage.get("model")).startswith("scripted/") for usage in usages)


def explain_scripted_model(*, has_key: bool) -> str:
    """Return how to get a real model. Every engine on the log executes runs, with its own API key."""
    if has_key:
        return (
            "an engine without your key executed the run, perhaps one of a `make dev` in this directory: stop it first"
        )
    return "set OPENAI_API_KEY (and OPENAI_BASE_URL) for a real one"


def _print_next_steps(story: DemoConsole, settings: Settings, results: ExampleResults) -> None:
    if any(has_scripted_step(result.run) for result in results.values()):
        story.print_text(
            f"[yellow]The model was scripted[/]: "
            f"{explain_scripted_model(has_key=settings.model.api_key is not None)}.\n"
        )
    run = next(iter(results.values())).run
    more = "" if len(results) > 1 else "  make demo ARGS=--all                       play every example\n"
    story.print_text(
        f"Where to go next\n{more}"
        "  make dev                                   serve it yourself, and in another terminal:\n"
        f"  TOKEN=$(.venv/bin/callsheet token --workspace {from_uuid('ws', WORKSPACE)} --user {REVIEWER})\n"
        f'  curl -H "Authorization: Bearer $TOKEN" localhost:8000/v1/runs/{run["id"]}/events\n'
        "  docs/tour.md                               follow this run through the code"
    )
