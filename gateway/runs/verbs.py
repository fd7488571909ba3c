"""The verbs of runs over HTTP: `:cancel`, `:retry`, `:fork`."""

from typing import Annotated, Any, Final

from litestar import post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from commands.runs.lifecycle import CancelRun, ForkRun, RetryRun
from domain.runs.refusals import RunNotFound
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door
from gateway.http.bodies import Shape
from gateway.http.replies import Reply
from gateway.runs.answers import RunAnswers


class Cancel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a run is cancelled, if somebody cares to say."""

    reason: Annotated[str, Meta(max_length=10_000)] | None = None


class Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run goes on: on the graph that it is pinned to, or on the newest."""

    newest_graph: bool = False


class Fork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a new run begins in an old one, with which inputs (absent: the same), on which graph."""

    node: Annotated[str, Meta(min_length=1, max_length=63)]
    inputs: dict[str, Any] | None = None
    newest_graph: bool = False


CANCEL: Final = Shape(Cancel, optional=True)
RETRY: Final = Shape(Retry, optional=True)
FORK: Final = Shape(Fork)


class RunVerbs:
    """The routes that end a run, go on with it, or begin another in the middle of it."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make them of what the gateway is built from."""
        self._deps = deps
        self._door = door
        self._answers = RunAnswers(deps, door)

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the routes."""
        return [
            post("/v1/runs/{runId:str}/:cancel", operation_id="cancelRun", status_code=202)(self.cancel),
            post("/v1/runs/{runId:str}/:retry", operation_id="retryRun", status_code=202)(self.retry),
            post("/v1/runs/{runId:str}/:fork", operation_id="forkRun", status_code=202)(self.fork),
        ]

    async def cancel(self, request: AnyRequest) -> Reply:
        """Ask for a run to end; what it has under way is aborted. A run that was cancelled already stays so."""
        entry = self._door.enter(request, "runs:write")
        run_id = entry.id("run", "runId", RunNotFound)
        sent, raw = await self._door.read(entry, CANCEL)
        command = CancelRun(target_id=run_id, user_id=entry.caller.actor.id, reason=sent.reason)
        return await self._answers.execute(entry, command, raw)

    async def retry(self, request: AnyRequest) -> Reply:
        """Go on with a run that failed or was cancelled; what it has done is kept, and paid for once."""
        entry = self._door.enter(request, "runs:write")
        run_id = entry.id("run", "runId", RunNotFound)
        sent, raw = await self._door.read(entry, RETRY)
        command = RetryRun(target_id=run_id, user_id=entry.caller.actor.id, newest_graph=sent.newest_graph)
        return await self._answers.execute(entry, command, raw)

    async def fork(self, request: AnyRequest) -> Reply:
        """Begin a run at a step of another; what that one did before the step is taken over."""
        entry = self._door.enter(request, "runs:write")
        run_id = entry.id("run", "runId", RunNotFound)
        sent, raw = await self._door.read(entry, FORK)
        command = ForkRun(
            target_id=self._deps.make_id(),
            source_id=run_id,
            node=sent.node,
            inputs=None if sent.inputs is None else await self._answers.kept(entry, sent.inputs, raw),
            newest_graph=sent.newest_graph,
        )
        return await self._answers.execute(entry, command, raw)
