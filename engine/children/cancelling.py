"""Requests that child runs be cancelled, since their parents do not wait for them any more."""

from contextlib import suppress
from typing import Final
from uuid import UUID

from commands.aggregates import RUN
from commands.runs.lifecycle import CancelRun, cancel_run
from commands.runs.turn import Turn, append_turn
from engine.turns.context import EngineContext
from store.errors import Conflict
from store.log.records import Metadata

PARENT_ENDED: Final = "the parent step does not wait for this run any more"


async def request_cancel(context: EngineContext, run_id: UUID, metadata: Metadata) -> bool:
    """Request the cancellation of a child run unless it has ended; return whether it exists. Raises Unavailable."""
    command = CancelRun(target_id=run_id, user_id=metadata.actor.id, reason=PARENT_ENDED)
    while True:
        child = await context.streams.reload(RUN, run_id)
        if child is None:
            return False
        if child.state.has_ended:
            return True
        turn = Turn(child.state, context.clock())
        turn.add(cancel_run(command, child.state, None, turn.now))
        with suppress(Conflict):
            await append_turn(context.streams, child, turn, metadata)
            return True
