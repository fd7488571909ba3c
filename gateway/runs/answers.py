"""Answers to commands that set a run going: at once with 202, or with `Prefer: wait=N` once the run has ended."""

from typing import Any

from commands.aggregates import RUN
from commands.command import Command
from commands.handler import Outcome
from domain.folded import Folded
from domain.payload import INLINE_BYTES, Payload
from domain.runs.run import Run
from gateway.deps import Deps
from gateway.endpoint import Door, Entry, location, written
from gateway.http.payloads import resolved
from gateway.http.preferences import wait_seconds
from gateway.http.replies import Header, Reply
from gateway.runs.bodies import RunBody, payloads_of, run_body
from gateway.runs.wait import followed
from store.contents import keep


class RunAnswers:
    """Executes what sets a run going, and writes runs; the routes of runs share one."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make them of what the gateway is built from."""
        self._deps = deps
        self._door = door
        self._wait_seconds_max = deps.settings.prefer_wait_seconds_max

    async def execute(self, entry: Entry, command: Command[Run], raw: bytes) -> Reply:
        """Execute a command that a run is the target of; with `Prefer: wait=N` hold the answer until the run ends."""
        seconds = wait_seconds(entry.headers.get(b"prefer"), seconds_max=self._wait_seconds_max)
        if not seconds:
            return await self._answer(entry, await self._door.execute(entry, command, raw))
        # Watched from before it begins: so nothing of the run can be missed.
        with self._deps.drain.watch(command.target_id) as watch:
            outcome = await self._door.execute(entry, command, raw)
            if outcome.replayed:
                outcome = Outcome(loaded=await self._followed_again(outcome.loaded, seconds), replayed=True)
            else:
                outcome = Outcome(loaded=await followed(outcome.loaded, watch, self._deps.streams, seconds=seconds))
        return await self._answer(entry, outcome, (b"preference-applied", b"wait=%d" % seconds))

    async def kept(self, entry: Entry, value: dict[str, Any], raw: bytes) -> Payload:
        """Give inputs as facts hold them; those of a small body stand in the fact itself."""
        if len(raw) <= INLINE_BYTES:
            return Payload(value=value)
        return await keep(self._deps.contents, entry.workspace_id, value)

    async def whole(self, entry: Entry, folded: Folded[Run]) -> RunBody:
        """Return a run as JSON shows it, with the contents that it refers to."""
        known = await resolved(self._deps.contents, entry.workspace_id, payloads_of(folded.state))
        return run_body(folded, known)

    async def _followed_again(self, loaded: Folded[Run], seconds: float) -> Folded[Run]:
        with self._deps.drain.watch(loaded.stream_id) as watch:
            now = await self._deps.streams.reload(RUN, loaded.stream_id)
            return await followed(now or loaded, watch, self._deps.streams, seconds=seconds)

    async def _answer(self, entry: Entry, outcome: Outcome[Run], *more: Header) -> Reply:
        loaded: Folded[Run] = outcome.loaded
        body = await self.whole(entry, loaded)
        status = 200 if loaded.state.ended and more else 202
        return written(status, outcome, body, location(f"/v1/runs/{body.id}"), *more)
