"""The list of rules, and the recommendations of all of them."""

from typing import Final

from projections.insights.recommendations.cost_hot_spot import cost_hot_spot
from projections.insights.recommendations.cut_answers import cut_answers
from projections.insights.recommendations.failing_step import failing_step
from projections.insights.recommendations.flaky_step import flaky_step
from projections.insights.recommendations.human_bottleneck import human_bottleneck
from projections.insights.recommendations.prompt_regression import prompt_regression
from projections.insights.recommendations.recommendation import Recommendation, Rule, RuleInput, Severity, Thresholds
from projections.insights.recommendations.slow_step import slow_step
from projections.insights.recommendations.unused_branch import unused_branch

RULES: Final[tuple[Rule, ...]] = (
    failing_step,
    prompt_regression,
    flaky_step,
    cut_answers,
    slow_step,
    human_bottleneck,
    cost_hot_spot,
    unused_branch,
)
RECOMMENDATIONS_MAX: Final = 50
"""Maximum number of recommendations in one response."""

_severities: Final = tuple(Severity)


def recommendations(insights: RuleInput, thresholds: Thresholds = Thresholds()) -> list[Recommendation]:  # noqa: B008  # frozen
    """Return the recommendations of all rules, the most severe first."""
    found = [recommendation for rule in RULES for recommendation in rule(insights, thresholds)]
    found.sort(key=lambda recommendation: _severities.index(recommendation.severity))
    return found[:RECOMMENDATIONS_MAX]
