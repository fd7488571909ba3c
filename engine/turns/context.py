"""Shared context of the parts that drive runs in one engine, for as long as its membership lasts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from commands.repository import Streams
from engine.children.families import Families
from engine.cluster.owner import Owner
from engine.executors import Executors
from engine.turns.data_limit import RUN_DATA_BYTES
from engine.turns.graph_cache import GraphCache
from engine.turns.step_counts import StepCounts
from store.contents import ContentStore
from store.failpoint import FailPointHook, noop
from store.log.log import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContext:
    """The collaborators and limits of an engine. `owner` is the engine in its current epoch."""

    log: Log
    streams: Streams
    contents: ContentStore
    executors: Executors
    graphs: GraphCache
    families: Families
    owner: Owner
    clock: Callable[[], datetime]
    random: Random
    held_back_off_seconds: float = 60.0
    """Longest wait for a retry during which the run stays in memory; a longer one is left to the timers."""
    child_rest_seconds: float = 1.0
    """Seconds without the end of a child after which a parent is dropped from memory; the next end wakes it."""
    lost_attempts_in_a_row: int = 5
    """Maximum number of consecutive attempts lost with their engine; then the step fails."""
    run_data_bytes: int = RUN_DATA_BYTES
    """Limit of the inputs and outputs of one run, counting only what is stored beside the log."""
    public_url: str = ""
    """Under which callers reach the API, for `run.signal_url` in templates."""
    failpoint: FailPointHook = noop
    step_counts: StepCounts = field(default_factory=StepCounts)

    async def sleep_until(self, at: datetime) -> None:
        """Wait until the clock shows a time. It loops since the clock may run behind the event loop's own."""
        while (left := (at - self.clock()).total_seconds()) > 0:  # noqa: ASYNC110  # no event tells the time
            await asyncio.sleep(left)
