"""The inline steps of a new run: executed in the turn that claims them, with those that follow, in one append.

Nothing of it is in the log before. An engine that is lost meanwhile leaves a run that has only started, and the next
engine claims each step before it executes it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from domain.runs.run import Run
from engine.steps.contract import Result
from engine.turns.turn_builder import TurnBuilder

INLINE_STEPS_MAX: Final = 10
"""Maximum steps executed inline in the first turn."""
INLINE_TIME_MAX: Final = timedelta(milliseconds=3)
"""Time budget for inline steps; the event loop is blocked while they run."""


def run_inline_steps(
    builder: TurnBuilder, run_inline: Callable[[Run, str], Result | None], clock: Callable[[], datetime]
) -> None:
    """Execute the claimed steps of a first turn that are inline, then those that become due, within both limits.

    `run_inline` returns None for a step that cannot run inline. Each step is tried once: finding out that a step is
    too much work takes as long as a step that is not.
    """
    until = builder.turn.now + INLINE_TIME_MAX
    steps, attempts, claimed = 0, 0, builder.started
    while claimed and not builder.turn.run.has_ended:
        results: dict[str, Result] = {}
        for node in claimed:
            if (steps and steps + len(results) >= INLINE_STEPS_MAX) or (attempts and clock() >= until):
                break
            attempts += 1
            result = run_inline(builder.turn.run, node)
            if result is not None:
                results[node] = result
        if not results:
            return
        steps += len(results)
        builder.started = [node for node in builder.started if node not in results]
        left = len(builder.started)
        builder.turn.now = clock()
        builder.schedule_after(builder.settle(results.items()))
        claimed = builder.started[left:]
