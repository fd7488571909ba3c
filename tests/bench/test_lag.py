"""The lag of the bench: a fact is readable when a look finds its projection at it or past it."""

from bench.lag.facts import FACTS_OF_A_RUN, appends_of_a_run
from bench.lag.readable import Watched
from commands.aggregates import RUN


def test_a_fact_is_readable_from_the_first_look_that_finds_its_projection_there() -> None:
    watched = Watched()
    for position, at in ((0, 1.0), (3, 2.0), (3, 3.0), (8, 4.0)):
        watched.record_checkpoint("runs", position, at)
    assert [watched.readable_at("runs", position) for position in (1, 3, 4, 8)] == [2.0, 2.0, 4.0, 4.0]
    assert watched.stands("runs") == 8


def test_a_run_of_the_bench_is_one_that_an_engine_could_have_driven() -> None:
    appends = appends_of_a_run()
    facts = [fact for append in appends for fact in append.facts]
    assert len(facts) == FACTS_OF_A_RUN
    state = RUN.initial
    for fact in facts:
        state = RUN.evolve(state, fact)
    assert state.has_ended
