"""What a run took so far: its own calls of models, and those of the runs that its steps waited for."""

from functools import reduce

from domain.runs.facts import Usage
from domain.runs.run import Run
from domain.runs.steps import usages_of
from domain.runs.usage import Took, added


def took_by(run: Run) -> Took:
    """Return the sum over every call that was ever made for a run, with its children that have settled, and theirs."""
    own = [*run.earlier, *(usage for step in run.steps.values() for usage in usages_of(step))]
    return reduce(added, map(_took_by_call, own), run.children_took)


def _took_by_call(usage: Usage) -> Took:
    return Took(
        model_calls=1,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost_usd,
    )
