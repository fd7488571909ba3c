"""Lost attempts: how a driver notices that another engine has its run, and what becomes of results that are late."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import structlog

from commands.aggregates import RUN
from commands.repository import Streams
from commands.runs.steps import RefuseResult
from commands.runs.turn import Turn, append_turn
from domain.folded import Folded
from domain.graphs.graph import ErrorClass
from domain.runs.run import Run
from domain.runs.steps import SETTLED, Step, StepStatus
from engine.steps.contract import Failed, Result, Succeeded, build_failure
from store.errors import Conflict, Unavailable
from store.log.records import Metadata

TRIES_MAX: Final = 10
TOO_LATE: Final = "the attempt had been given up: another engine has taken the run over"
ABORTED: Final = "the attempt was aborted, because its run has ended"
RUN_ENDED: Final = "the run had ended by another step"


class RunTaken(Exception):  # noqa: N818  # makes the engine release the run
    """Another engine has claimed a step of the run since it was read, so the run is driven there now."""

    def __init__(self, epoch: int) -> None:
        """Create it with the epoch of the engine that claimed."""
        super().__init__(f"the engine of epoch {epoch} has claimed a step")
        self.epoch = epoch


def find_new_claim(before: Run, after: Run, epoch: int) -> int | None:
    """Return the epoch of another engine that claimed a step between two states of a run, or None."""
    for node, step in after.steps.items():
        if step.epoch in (0, epoch):  # 0: never claimed
            continue
        known = before.steps.get(node)
        if known is None or (known.epoch, known.attempt) != (step.epoch, step.attempt):
            return step.epoch
    return None


def build_refusals(before: Run, results: Iterable[tuple[str, Result]], reason: str = TOO_LATE) -> list[RefuseResult]:
    """Return the refusals of results of lost attempts that have usage, so that it is accounted for.

    A result that is recorded is not refused: an append whose outcome was unknown had taken effect.
    """
    return [
        RefuseResult(node=node, attempt=before.steps[node].attempt, reason=reason, usage=result.usage)
        for node, result in results
        if isinstance(result, Succeeded | Failed) and result.usage is not None and _is_open(before.steps.get(node))
    ]


def _is_open(step: Step | None) -> bool:
    """Return whether no result of a step's last attempt is recorded; its run may have ended since."""
    return step is not None and step.status not in SETTLED and step.retry_at is None


def fail_repeatedly_lost(run: Run, epoch: int, limit: int) -> list[tuple[str, Result]]:
    """Return failures for the open attempts of engines that are gone, once `limit` attempts in a row were lost.

    The step may be what kills the engines, and nothing else would keep it from killing the next one.
    """
    message = (
        f"{limit} attempts in a row were lost together with the engine that made them; the step itself may be what "
        "ends the engine process."
    )
    return [
        (node, build_failure(ErrorClass.OWNER_LOST, message))
        for node, step in run.steps.items()
        if step.status is StepStatus.RUNNING and step.epoch != epoch and step.lost_in_a_row + 1 >= limit
    ]


async def append_refusals(
    streams: Streams,
    held: Folded[Run],
    refusals: list[RefuseResult],
    now: Callable[[], datetime],
    metadata: Metadata,
) -> None:
    """Append refusals whatever state the run is in; after `TRIES_MAX` failures they go to the process log only."""
    tries = 0
    while refusals:
        turn = Turn(held.state, now())
        for refusal in refusals:
            turn.decide(refusal)
        try:
            streams.keep(await append_turn(streams, held, turn, metadata))
        except (Conflict, Unavailable) as fault:
            tries += 1
            if tries >= TRIES_MAX:
                structlog.get_logger("engine").error("run.late_results_lost", run=str(held.stream_id), exc_info=fault)
                return
            held = await streams.reload(RUN, held.stream_id) or held
        else:
            return
