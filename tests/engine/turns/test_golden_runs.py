"""The corpus of golden runs: an old run folds as it always did, and what is due in it and kept of it is the same.

A history is never edited. Where one of these tests fails, a change of the fold or of the schedule would alter runs that
are under way: make it for new facts only.
"""

import msgspec
import pytest
from msgspec.structs import replace

from domain.fact import get_topic
from domain.graphs.graph import Graph, get_node_kind
from domain.runs.facts import RunFact, StepWaiting, WaitFor
from domain.runs.run import Run, RunStatus, evolve
from engine.turns.schedule import list_overdue_steps
from store.log.codec import TOPICS, encode_fact
from tests.domain.test_golden import find_losses
from tests.support.engine.golden.histories import ALL, compute_due, compute_kept, load_history, read_facts
from tests.support.engine.simulator.laws import check_starts

NAMES = pytest.mark.parametrize("name", ALL)
KINDS = {"wait", "compose", "repeat", "prompt", "human", "transform", "http", "delay", "map", "workflow"}


def fold_facts(facts: list[RunFact]) -> Run:
    run = Run()
    for fact in facts:
        run = evolve(run, fact)
    return run


@NAMES
def test_an_old_run_folds_to_what_it_always_folded_to(name: str) -> None:
    history = load_history(name)
    state = msgspec.json.decode(msgspec.json.encode(fold_facts(read_facts(history))))
    assert find_losses(history.state, state) == []


@NAMES
def test_the_same_is_due_after_each_fact_of_an_old_run(name: str) -> None:
    history = load_history(name)
    facts = read_facts(history)
    for place, (was, now) in enumerate(zip(history.due, compute_due(history.graphs, facts), strict=True)):
        assert now == was, f"after fact {place}, {facts[place]}"


@NAMES
def test_the_same_is_kept_of_an_old_run(name: str) -> None:
    history = load_history(name)
    kept = compute_kept(history.graphs, fold_facts(read_facts(history)))
    if history.kept.items_by_retry is None:
        kept = replace(kept, items_by_retry=None)
    if history.kept.outputs_by_retry is None:
        assert not kept.outputs_by_retry, "an old fact says nothing of what a step gave"
        kept = replace(kept, outputs_by_retry=None)
    assert kept == history.kept


@NAMES
def test_the_facts_of_an_old_run_would_be_stored_the_same_today(name: str) -> None:
    history = load_history(name)
    for fact, raw in zip(read_facts(history), history.facts, strict=True):
        assert encode_fact(fact) == msgspec.json.encode(raw)


@NAMES
def test_what_began_or_was_skipped_in_an_old_run_was_due(name: str) -> None:
    history = load_history(name)
    run, facts = Run(), read_facts(history)
    for place, fact in enumerate(facts):
        if get_topic(type(fact)) == "step.skipped" and run.forked_from is None:
            assert run.steps, "an entry is never skipped"
        if get_topic(type(fact)) == "step.started" and getattr(fact, "attempt", 0) == 1:
            due = history.due[place - 1]
            known = {*due.start, *due.next_start}
            assert getattr(fact, "node", "") in known, f"after fact {place - 1}"
        run = evolve(run, fact)


def test_the_corpus_has_every_kind_of_step_and_every_fact_of_a_run() -> None:
    histories = [load_history(name) for name in ALL]
    graphs = [msgspec.convert(raw, Graph) for history in histories for raw in history.graphs.values()]
    assert {get_node_kind(node) for graph in graphs for node in graph.nodes} == KINDS
    seen = {fact["fact"] for history in histories for fact in history.facts}
    assert seen == {topic for topic in TOPICS if topic.startswith(("run.", "step."))}
    ends = {fold_facts(read_facts(history)).status for history in histories}
    assert ends == {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.WAITING}
    waits = {f.waiting_for for history in histories for f in read_facts(history) if isinstance(f, StepWaiting)}
    assert waits == set(WaitFor)


def test_a_timer_of_an_old_run_is_due_at_its_time_and_not_before() -> None:
    for history in map(load_history, ALL):
        run = Run()
        for fact, due in zip(read_facts(history), history.due, strict=True):
            run = evolve(run, fact)
            for node, at in due.timers.items():
                assert run.has_ended or node in list_overdue_steps(run, at)
                assert node not in list_overdue_steps(run, at.replace(year=at.year - 1))


def test_the_histories_keep_the_laws() -> None:
    for history in map(load_history, ALL):
        facts = read_facts(history)
        begins = max((place for place, fact in enumerate(history.facts) if fact["fact"] == "run.retried"), default=0)
        check_starts(facts[begins:], {})
