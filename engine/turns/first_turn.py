"""The first steps of a run that has just begun: those that are immediate are done in the very turn that claims them.

So are the immediate ones that follow, in the same append. Nothing of it is in the log before: an engine that is lost
meanwhile leaves a run that has only begun, and the next one claims before it does anything.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from domain.runs.run import Run
from engine.steps.contract import Result
from engine.turns.turn_builder import Progress

MOST_AT_ONCE: Final = 10
"""After so many steps those that follow have turns of their own."""
LONGEST_AT_ONCE: Final = timedelta(milliseconds=3)
"""After so long all that is left has: nobody else has one meanwhile."""


def do_at_once(progress: Progress, attempt: Callable[[Run, str], Result | None], clock: Callable[[], datetime]) -> None:
    """Carry a first turn on from what it has started; `attempt` gives None for a step that is not done at once.

    Each is attempted once: to find out that a step is too much work takes as long as one that is not.
    """
    until = progress.turn.now + LONGEST_AT_ONCE
    steps, attempts, new = 0, 0, progress.started
    while new and not progress.turn.run.ended:
        done: dict[str, Result] = {}
        for node in new:
            if (steps and steps + len(done) >= MOST_AT_ONCE) or (attempts and clock() >= until):
                break
            attempts += 1
            result = attempt(progress.turn.run, node)
            if result is not None:
                done[node] = result
        if not done:
            return
        steps += len(done)
        progress.started = [node for node in progress.started if node not in done]
        left = len(progress.started)
        progress.turn.now = clock()
        progress.onward(progress.settle(done.items()))
        new = progress.started[left:]
