"""What the drivers of one engine share, and the points of their work where a crash would matter."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from random import Random

from commands.repository import Streams
from engine.executors import Executors
from engine.turns.data_limit import RUN_DATA_BYTES
from engine.turns.step_counts import StepTally
from engine.turns.turn_builder import Owner
from store.contents import ContentStore
from store.log.log import Log


class Point(StrEnum):
    """A point of the engine's work, named for what a crash there would leave behind."""

    UNCLAIMED = "step.unclaimed"
    """Steps are due, and nobody has claimed them."""
    CLAIMED = "step.claimed"
    """A step is claimed, and its call not made."""
    AT_ONCE = "step.at_once"
    """An immediate step is about to be done, and of a run that has just begun nothing may be in the log by then."""
    CALLED = "step.called"
    """A step's call is made, and its result not recorded."""
    RECORDED = "step.recorded"
    """Results are recorded with the claims that follow from them, and nothing is under way for these."""
    TIMER_DUE = "timer.due"
    """The time of a step has come, and its run has not been told."""
    RUN_ENDING = "run.ending"
    """A run is about to end, and its children have not been asked to."""
    RUN_UNENDED = "run.unended"
    """The children of a run that is about to end have been asked to, and its own end is not recorded."""
    RUN_ENDED = "run.ended"
    """The end of a run is recorded, and nobody has been told."""


Reached = Callable[[str], None]
"""Is told of each point where a crash would matter: in tests, to crash there."""


def go_on(_name: str) -> None:
    """Go on: only tests stop an engine at a point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the drivers of one engine share."""

    log: Log
    streams: Streams
    contents: ContentStore
    executors: Executors
    owner: Owner
    clock: Callable[[], datetime]
    random: Random
    held_back_off_seconds: float = 60.0
    """A longer wait for the next attempt is left to the timers: the run need not be held meanwhile."""
    child_rest_seconds: float = 1.0
    """A parent that hears of no child's end for so long need not be held either."""
    lost_attempts_in_a_row: int = 5
    """So many attempts of a step that are lost in a row, each with its engine, are the last."""
    run_data_bytes: int = RUN_DATA_BYTES
    """What the inputs and the outputs of one run may come to, as far as they are kept beside the log."""
    reached: Reached = go_on
    tally: StepTally = field(default_factory=StepTally)

    async def until(self, at: datetime) -> None:
        """Wait until the clock shows a time. It may run behind the loop's own, so one sleep could be too short."""
        while (left := (at - self.clock()).total_seconds()) > 0:  # noqa: ASYNC110  # no event tells the time
            await asyncio.sleep(left)
