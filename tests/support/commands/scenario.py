"""`given(facts).when(command).then(facts)` or `.refuses(Refusal)`: one decision, without I/O."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

import pytest

from commands.aggregates import ASSET, PROJECT, RUN, WORKFLOW, Noun
from commands.command import Command, Decider
from commands.registry import DECIDERS
from commands.runs.steps import StepCommand
from commands.runs.turn import Turn
from domain.fact import Fact, get_topic
from domain.refusal import Refusal
from domain.runs.run import Run

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_NOUNS: Final = {"project": PROJECT, "workflow": WORKFLOW, "asset": ASSET, "run": RUN, "step": RUN}


def find_noun(fact: Fact) -> Noun[Any]:
    """Return the noun whose stream holds a fact."""
    return _NOUNS[get_topic(type(fact)).partition(".")[0]]


def fold_state(noun: Noun[Any], *facts: Fact) -> Any:  # noqa: ANN401  # the state of whichever noun
    """Return the state after facts."""
    state = noun.initial
    for fact in facts:
        state = noun.evolve(state, fact)
    return state


class Given:
    """The facts of one stream, and the command that is decided on them."""

    def __init__(self, *facts: Fact) -> None:
        """Start with the facts of one stream."""
        self._facts = facts
        self._decide: Callable[[], tuple[Fact, ...]] | None = None
        self._again: Callable[[tuple[Fact, ...]], tuple[Fact, ...]] | None = None

    def when(self, command: Command[Any], gathered: object = None) -> Self:
        """Decide this command, against what was gathered from other streams."""
        decider = cast("Decider[Any, Any, Any]", DECIDERS[type(command)])

        def decide(more: tuple[Fact, ...] = ()) -> tuple[Fact, ...]:
            return decider.decide(command, fold_state(decider.noun, *self._facts, *more), gathered, NOW)

        self._decide, self._again = decide, decide
        return self

    def when_engine_decides(self, *commands: StepCommand) -> Self:
        """Decide these commands of an engine in one turn."""

        def decide(more: tuple[Fact, ...] = ()) -> tuple[Fact, ...]:
            run: Run = fold_state(RUN, *self._facts, *more)
            turn = Turn(run, NOW)
            for command in commands:
                turn.decide(command)
            return tuple(turn.facts)

        self._decide, self._again = decide, decide
        return self

    def then(self, *facts: Fact) -> "Given":
        """Assert the facts of the decision: all of them, in order."""
        assert self._decide is not None
        assert self._decide() == facts
        return self

    def and_again_nothing(self) -> None:
        """Assert that the same intent once more adds no facts."""
        assert self._decide is not None
        assert self._again is not None
        assert self._again(self._decide()) == ()

    def refuses(self, refusal: type[Refusal], *pointers: str) -> Refusal:
        """Assert that the command is refused, with problems at these JSON pointers; return the refusal."""
        assert self._decide is not None
        with pytest.raises(refusal) as caught:
            self._decide()
        assert [problem.pointer for problem in caught.value.problems] == list(pointers)
        return caught.value


def given(*facts: Fact) -> Given:
    """Start a scenario on the facts of one stream."""
    return Given(*facts)
