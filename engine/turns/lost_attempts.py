"""Losing a run: how a driver sees that another engine has taken it, and what becomes of results that come too late."""

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

MOST_TRIES: Final = 10
TOO_LATE: Final = "the attempt had been given up: another engine has taken the run over"
ABORTED: Final = "the attempt was aborted, because its run has ended"
RUN_ENDED: Final = "the run had ended by another step"


class RunTaken(Exception):  # noqa: N818  # told to the engine, which lets the run go
    """Another engine has claimed a step of the run since it was read: the run is in its hand now."""

    def __init__(self, epoch: int) -> None:
        """Name the epoch of the engine that claimed."""
        super().__init__(f"the engine of epoch {epoch} has claimed a step")
        self.epoch = epoch


def claimed_since(before: Run, after: Run, epoch: int) -> int | None:
    """Give the epoch of another engine that has claimed a step between two states of a run."""
    for node, step in after.steps.items():
        if step.epoch in (0, epoch):  # 0: never claimed
            continue
        known = before.steps.get(node)
        if known is None or (known.epoch, known.attempt) != (step.epoch, step.attempt):
            return step.epoch
    return None


def late(before: Run, results: Iterable[tuple[str, Result]], reason: str = TOO_LATE) -> list[RefuseResult]:
    """Give how the results of attempts that were lost are refused: those that a model was paid for.

    One that is recorded is not told of again: an append whose outcome was unknown had taken effect.
    """
    return [
        RefuseResult(node=node, attempt=before.steps[node].attempt, reason=reason, usage=result.usage)
        for node, result in results
        if isinstance(result, Succeeded | Failed) and result.usage is not None and _is_news(before.steps.get(node))
    ]


def _is_news(step: Step | None) -> bool:
    """Tell whether nothing is recorded of what the last attempt of a step came to; its run may have ended since."""
    return step is not None and step.status not in SETTLED and step.retry_at is None


def lost_too_often(run: Run, epoch: int, most_in_a_row: int) -> list[tuple[str, Result]]:
    """Give the open attempts of engines that are gone which are not made again: so many in a row have been lost.

    Each was lost with its engine. It may be the step that ends them, and nothing else would keep it from the next.
    """
    said = (
        f"{most_in_a_row} attempts in a row were lost, each with the engine that made it: "
        "it may be this step that ends engines"
    )
    return [
        (node, build_failure(ErrorClass.OWNER_LOST, said))
        for node, step in run.steps.items()
        if step.status is StepStatus.RUNNING and step.epoch != epoch and step.lost_in_a_row + 1 >= most_in_a_row
    ]


async def refuse(
    streams: Streams, held: Folded[Run], late: list[RefuseResult], now: Callable[[], datetime], by: Metadata
) -> None:
    """Record results that came too late, whatever the run has come to; what cannot be recorded is said in the log."""
    tries = 0
    while late:
        turn = Turn(held.state, now())
        for one in late:
            turn.give(one)
        try:
            streams.keep(await append_turn(streams, held, turn, by))
        except (Conflict, Unavailable) as fault:
            tries += 1
            if tries >= MOST_TRIES:
                structlog.get_logger("engine").error("run.late_results_lost", run=str(held.stream_id), exc_info=fault)
                return
            held = await streams.reload(RUN, held.stream_id) or held
        else:
            return
