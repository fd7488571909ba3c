"""Responses to commands on runs: 202 at once, or with `Prefer: wait=N` 200 once the run has ended."""

from typing import Any
from uuid import UUID

from commands.aggregates import RUN
from commands.command import Command
from commands.handler import Outcome
from domain.folded import Folded
from domain.payload import INLINE_BYTES, Payload
from domain.runs.run import Run
from gateway.deps import Deps
from gateway.http.payloads import fetch_contents
from gateway.operations.context import RequestContext
from gateway.operations.results import Result
from gateway.runs.bodies import RunBody, create_run_body, list_payloads
from gateway.runs.wait import follow_run
from store.contents import keep_encoded
from store.log.json_encoding import encode_shallow


async def execute_on_run(request: RequestContext[Any, Any], deps: Deps, command: Command[Run]) -> Result:
    """Execute a command whose target is a run; with `Prefer: wait=N` respond once the run has ended."""
    seconds = request.wait_seconds
    if not seconds:
        return await _respond(deps, await request.execute(command), waited_seconds=None)
    # Watched before the run starts, so that no fact of it is missed.
    with deps.drain.watch(command.target_id) as watch, request.hold(watch):
        outcome = await request.execute(command)
        if outcome.replayed:
            run = await _follow_replayed(request, deps, outcome.loaded, seconds)
        else:
            run = await follow_run(outcome.loaded, watch, deps.streams, seconds=seconds)
    return await _respond(deps, Outcome(loaded=run, replayed=outcome.replayed), waited_seconds=seconds)


async def _follow_replayed(
    request: RequestContext[Any, Any], deps: Deps, loaded: Folded[Run], seconds: float
) -> Folded[Run]:
    with deps.drain.watch(loaded.stream_id) as watch, request.hold(watch):
        current = await deps.streams.reload(RUN, loaded.stream_id)
        return await follow_run(current or loaded, watch, deps.streams, seconds=seconds)


async def _respond(deps: Deps, outcome: Outcome[Run], *, waited_seconds: float | None) -> Result:
    loaded = outcome.loaded
    body = await create_whole_run_body(deps, loaded)
    return Result.of_change(
        outcome,
        body,
        status=200 if loaded.state.has_ended and waited_seconds is not None else 202,
        location=f"/v1/runs/{body.id}",
        waited_seconds=waited_seconds,
    )


async def create_whole_run_body(deps: Deps, folded: Folded[Run]) -> RunBody:
    """Return a run with every value that it refers to."""
    contents = await fetch_contents(deps.contents, folded.workspace_id, list_payloads(folded.state))
    return create_run_body(folded, contents)


async def store_inputs(deps: Deps, workspace_id: UUID, inputs: dict[str, Any], raw_body: bytes) -> Payload:
    """Return inputs as facts hold them: inline if the body is small, otherwise as a reference."""
    if len(raw_body) <= INLINE_BYTES:
        return Payload(value=inputs)
    # A body is bounded and repeats nothing: it need not be measured, which took 0.1 s for 360,000 numbers.
    return await keep_encoded(deps.contents, workspace_id, encode_shallow(inputs))
