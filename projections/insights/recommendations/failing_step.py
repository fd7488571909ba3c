"""A step that fails permanently in a large share of its runs."""

from collections.abc import Iterator

from domain.graphs.graph import Retry
from projections.insights.recommendations.recommendation import (
    Recommendation,
    RuleInput,
    Severity,
    Thresholds,
    most,
    percent,
    share,
)


def failing_step(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find steps with a large share of permanent failures."""
    for workflow_id, node_id, step in insights.steps():
        now = step.now
        ended = now.completed + now.failed
        failed = share(now.failed, ended)
        if ended < at.failing_sample or failed < at.failing_share:
            continue
        error = most(now.errors)
        yield Recommendation(
            code="failing_step",
            severity=Severity.CRITICAL if failed >= at.failing_share_critical else Severity.WARNING,
            title=f"The step {node_id} fails often",
            detail=f"{now.failed} of {ended} failed for good ({percent(failed)}), most often with {error}.",
            evidence={
                "ended": ended,
                "failed": now.failed,
                "failed_share": round(failed, 4),
                "errors": dict(sorted(now.errors.items())),
            },
            workflow_id=workflow_id,
            node_id=node_id,
            suggested_action=f"Look at runs that failed here with {error}; {_suggest_fix(error)}.",
        )


def _suggest_fix(error: str) -> str:
    """Return advice for a class of errors: those that are not retried by default mostly fail again."""
    if error in Retry().retry_on:
        return "retry that class, or add a fallback"
    return "fix their common cause, because another attempt mostly fails too, or add a fallback"
