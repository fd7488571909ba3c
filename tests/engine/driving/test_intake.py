"""Facts that an engine skips without decoding: none that it would act on."""

from typing import get_args

from domain.fact import Fact
from domain.runs.facts import RunFact
from engine.engine import OBSERVED
from projections.read_models.timers import read_due_at
from tests.domain.test_golden import HISTORIES, decode_line, read_lines


def test_no_fact_that_an_engine_passes_over_makes_a_step_due_or_ends_a_run() -> None:
    facts = [decode_line(line) for name in HISTORIES for line in read_lines(name)]
    passed_over = [fact for fact in facts if type(fact) not in OBSERVED]
    assert not [fact for fact in passed_over if read_due_at(fact) is not None or hasattr(fact, "parent")]
    known = {type(fact) for fact in passed_over}
    assert {fact_type for fact_type in get_args(RunFact) if fact_type not in OBSERVED} <= known, (
        "every kind has been looked at"
    )


def test_an_engine_hears_only_of_runs() -> None:
    assert set(OBSERVED) <= {fact_type for fact_type in get_args(RunFact) if issubclass(fact_type, Fact)}
