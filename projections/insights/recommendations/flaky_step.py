"""A step that completes, but often only after a retry."""

from collections.abc import Iterator

from projections.insights.recommendations.recommendation import (
    Recommendation,
    RuleInput,
    Severity,
    Thresholds,
    most,
    percent,
    share,
)


def flaky_step(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find steps of which a share of the completed needed more than one attempt."""
    for workflow_id, node_id, step in insights.steps():
        now = step.now
        recovered = share(now.recovered, now.completed)
        if now.completed < at.flaky_sample or recovered < at.flaky_share:
            continue
        error = most(now.errors)
        yield Recommendation(
            code="flaky_step",
            severity=Severity.WARNING,
            title=f"The step {node_id} often needs another attempt",
            detail=(
                f"{now.recovered} of {now.completed} completed only after a retry ({percent(recovered)}); the attempts "
                f"before failed most often with {error}."
            ),
            evidence={
                "completed": now.completed,
                "recovered": now.recovered,
                "recovered_share": round(recovered, 4),
                "retries": now.retries,
                "errors": dict(sorted(now.errors.items())),
            },
            workflow_id=workflow_id,
            node_id=node_id,
            suggested_action=f"Each retry costs time, and a model call money: find the cause of {error}.",
        )
