"""All rules, and what they say together."""

from typing import Final

from projections.insights.recommendations.cost_hot_spot import cost_hot_spot
from projections.insights.recommendations.failing_step import failing_step
from projections.insights.recommendations.flaky_step import flaky_step
from projections.insights.recommendations.human_bottleneck import human_bottleneck
from projections.insights.recommendations.prompt_regression import prompt_regression
from projections.insights.recommendations.recommendation import Recommendation, Rule, Seen, Severity, Thresholds
from projections.insights.recommendations.slow_step import slow_step
from projections.insights.recommendations.unused_branch import unused_branch

RULES: Final[tuple[Rule, ...]] = (
    failing_step,
    prompt_regression,
    flaky_step,
    slow_step,
    human_bottleneck,
    cost_hot_spot,
    unused_branch,
)
MOST: Final = 50
"""How many recommendations one answer has: more than that nobody reads."""

_severities: Final = tuple(Severity)


def recommendations(seen: Seen, thresholds: Thresholds = Thresholds()) -> list[Recommendation]:  # noqa: B008  # frozen
    """Give what all rules find, what matters most first."""
    found = [one for rule in RULES for one in rule(seen, thresholds)]
    found.sort(key=lambda one: _severities.index(one.severity))
    return found[:MOST]
