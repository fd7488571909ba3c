"""Laws of folding: any history that deciders can make, and facts in any order."""

import random
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from commands.aggregates import RUN, Noun
from commands.command import Command
from domain.fact import Fact, get_topic
from domain.runs.run import Run, RunStatus
from domain.runs.steps import BUSY, SETTLED, StepStatus, count_stored_bytes
from store.log.codec import PLAIN_JSON, decode_fact, encode_fact
from tests.support.domain.histories import decide_facts, fold, histories, history, runs

Histories = tuple[Noun[Any], list[Any]]


def stored_and_read(fact: Fact) -> Fact:
    return decode_fact(1, get_topic(type(fact)), PLAIN_JSON, None, encode_fact(fact))


def sum_bytes(run: Run) -> int:
    """Sum up again, by looking at every step."""
    return (run.inputs.bytes or 0) + sum(count_stored_bytes(step) for step in run.steps.values())


def count_steps(run: Run) -> tuple[int, int, int]:
    """Count again, by looking at every step."""
    of = [step.status for step in run.steps.values()]
    return sum(status in BUSY for status in of), of.count(StepStatus.WAITING), sum(status in SETTLED for status in of)


@given(histories)
def test_a_fold_goes_on_from_any_state_and_leaves_that_state_as_it_was(drawn: Histories) -> None:
    noun, commands = drawn
    facts, _ = history(noun, commands)
    states = [noun.initial]
    for fact in facts:
        states.append(noun.evolve(states[-1], fact))
    for count, state in enumerate(states):
        assert state == fold(noun, facts[:count])


@given(histories)
def test_every_fact_survives_being_stored(drawn: Histories) -> None:
    noun, commands = drawn
    facts, states = history(noun, commands)
    read = [stored_and_read(fact) for fact in facts]
    assert read == facts
    assert fold(noun, read) == states[-1]


@given(histories)
def test_a_fact_is_stored_under_its_own_topic(drawn: Histories) -> None:
    noun, commands = drawn
    for fact in history(noun, commands)[0]:
        assert msgspec.json.decode(encode_fact(fact))["fact"] == get_topic(type(fact))


@given(histories)
def test_the_same_intent_twice_gives_no_new_facts(drawn: Histories) -> None:
    noun, commands = drawn
    facts, states = history(noun, commands)
    for command, after in zip(commands, states[1:], strict=True):
        if isinstance(command, Command):
            assert decide_facts(cast("Command[Any]", command), after) == (), command
    twice, _ = history(noun, [command for command in commands for _ in range(2)])
    assert [get_topic(type(fact)) for fact in twice] == [get_topic(type(fact)) for fact in facts]


@given(histories, st.randoms(use_true_random=False))
def test_facts_in_any_order_fold_without_a_refusal(drawn: Histories, shuffled: random.Random) -> None:
    noun, commands = drawn
    facts, _ = history(noun, commands)
    shuffled.shuffle(facts)
    state = fold(noun, facts)
    assert type(state) is type(noun.initial)
    if isinstance(state, Run):
        assert (state.busy, state.waiting, state.settled) == count_steps(state)
        assert state.data_bytes == sum_bytes(state)


@given(runs)
def test_a_run_counts_its_steps_as_a_recount_does(commands: list[Any]) -> None:
    for run in history(RUN, commands)[1]:
        assert (run.busy, run.waiting, run.settled) == count_steps(run)


@given(runs)
def test_a_run_sums_up_what_it_holds_as_a_recount_does(commands: list[Any]) -> None:
    for run in history(RUN, commands)[1]:
        assert run.data_bytes == sum_bytes(run)


@given(runs)
def test_a_run_says_that_it_waits_only_when_nothing_moves_in_it(commands: list[Any]) -> None:
    for run in history(RUN, commands)[1]:
        busy, waiting, _ = count_steps(run)
        assert (run.status is RunStatus.WAITING) == (waiting > 0 and busy == 0 and not run.has_ended)
        assert (run.status is RunStatus.QUEUED) == (not run.steps and run.started_at is not None and not run.has_ended)


@given(runs)
def test_a_run_that_has_ended_stays_as_it_ended(commands: list[Any]) -> None:
    states = history(RUN, commands)[1]
    ended = [run for run in states if run.has_ended]
    assert states[len(states) - len(ended) :] == ended
    assert all(run == ended[0] for run in ended)


@given(runs)
def test_attempts_of_a_step_count_up_one_by_one(commands: list[Any]) -> None:
    attempts: dict[str, int] = {}
    for fact in history(RUN, commands)[0]:
        if get_topic(type(fact)) == "step.started":
            node, attempt = getattr(fact, "node", ""), getattr(fact, "attempt", 0)
            assert attempt == attempts.get(node, 0) + 1
            attempts[node] = attempt


@given(runs)
def test_a_step_settles_once(commands: list[Any]) -> None:
    settled: dict[str, Any] = {}
    for run in history(RUN, commands)[1]:
        for node, step in settled.items():
            assert run.steps[node] == step
        settled = {node: step for node, step in run.steps.items() if step.status in SETTLED}
