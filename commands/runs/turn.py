"""A turn of a run: commands decided in sequence, whose facts are appended in one transaction."""

from collections.abc import Iterable
from datetime import datetime

from commands.aggregates import RUN
from commands.repository import Streams
from commands.runs.steps import RefuseResult, StepCommand, decide
from domain.folded import Folded
from domain.runs.facts import RunFact
from domain.runs.run import Run, evolve
from store.errors import OutcomeUnknown
from store.log.records import Metadata, Repeated


class Turn:
    """Collects the facts of several commands, each decided on the state after the earlier ones."""

    __slots__ = ("facts", "now", "run")

    def __init__(self, run: Run, now: datetime) -> None:
        """Create a turn on the held state."""
        self.run = run
        self.now = now
        self.facts: list[RunFact] = []

    def decide(self, command: StepCommand) -> None:
        """Decide one more command; once the run has ended, only late results are recorded."""
        if self.run.has_ended and not isinstance(command, RefuseResult):
            return
        for fact in decide(command, self.run, self.now):
            self.facts.append(fact)
            self.run = evolve(self.run, fact)

    def add(self, facts: Iterable[RunFact]) -> None:
        """Add facts that a decider of callers' commands has returned, and fold them."""
        for fact in facts:
            self.facts.append(fact)
            self.run = evolve(self.run, fact)

    def refuse_before_end(self, command: RefuseResult) -> None:
        """Record late results before the end of the run in this turn: nothing may follow the fact that ends a run."""
        end = self.facts.pop()
        self.decide(command)
        self.facts.append(end)


async def append_turn(streams: Streams, held: Folded[Run], turn: Turn, metadata: Metadata) -> Folded[Run]:
    """Append the facts of a turn, with the held version as the expected one, and return the run after them.

    Raises Conflict if another writer changed the run; Unavailable, OutcomeUnknown, FactTooLarge.
    """
    if not turn.facts:
        return held
    appended = await streams.append(RUN, held, tuple(turn.facts), metadata, state=turn.run)
    if isinstance(appended, Repeated):
        raise OutcomeUnknown("a turn was answered as a repeat")
    return appended
