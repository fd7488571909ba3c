"""A turn of a run: commands decided one after the other, whose facts are appended together or not at all."""

from datetime import datetime

from commands.runs.steps import RefuseResult, StepCommand, decide
from domain.runs.facts import RunFact
from domain.runs.run import Run, evolve


class Turn:
    """Gathers the facts of several commands, each decided on what the earlier ones came to."""

    __slots__ = ("facts", "now", "run")

    def __init__(self, run: Run, now: datetime) -> None:
        """Begin a turn on the state that is held."""
        self.run = run
        self.now = now
        self.facts: list[RunFact] = []

    def give(self, command: StepCommand) -> None:
        """Decide one more command; once the run has ended none has any effect, except to refuse what came too late."""
        if self.run.ended and not isinstance(command, RefuseResult):
            return
        for fact in decide(command, self.run, self.now):
            self.facts.append(fact)
            self.run = evolve(self.run, fact)

    def give_before_the_end(self, command: RefuseResult) -> None:
        """Refuse what comes too late for the end that this turn is: who follows a run hears nothing behind its end."""
        end = self.facts.pop()
        self.give(command)
        self.facts.append(end)
