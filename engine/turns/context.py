"""What the drivers of one engine share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from commands.repository import Streams
from engine.cluster.owner import Owner
from engine.executors import Executors
from engine.turns.data_limit import RUN_DATA_BYTES
from engine.turns.step_counts import StepTally
from store.contents import ContentStore
from store.failpoint import FailPointHook, noop
from store.log.log import Log


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
    failpoint: FailPointHook = noop
    tally: StepTally = field(default_factory=StepTally)

    async def until(self, at: datetime) -> None:
        """Wait until the clock shows a time. It may run behind the loop's own, so one sleep could be too short."""
        while (left := (at - self.clock()).total_seconds()) > 0:  # noqa: ASYNC110  # no event tells the time
            await asyncio.sleep(left)
