"""A human step at which runs spend most of their time."""

from collections.abc import Iterator

from projections.insights.recommendations.recommendation import (
    MICROSECOND,
    Recommendation,
    RuleInput,
    Severity,
    Thresholds,
    lasting,
    percent,
)


def human_bottleneck(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find human steps with a long median wait that is a large part of the mean duration of their runs."""
    for workflow_id, node_id, step in insights.steps():
        wait, runs = step.now.human_wait, insights.figures.workflows[workflow_id].runs.duration
        if wait is None or runs is None or wait.count < at.human_sample:
            continue
        median = wait.quantile_us(0.5)
        part = min(1.0, (wait.sum_us / wait.count) / (runs.sum_us / runs.count))
        if median < at.human_wait / MICROSECOND or part < at.human_share:
            continue
        yield Recommendation(
            code="human_bottleneck",
            severity=Severity.WARNING,
            title=f"Runs wait for people at {node_id}",
            detail=f"Half of the decisions take {lasting(median)} or more: {percent(part)} of the duration of a run.",
            evidence={
                "decided": step.now.decided,
                "expired": step.now.expired,
                "wait_p50_ms": round(median / 1_000, 1),
                "wait_p95_ms": round(wait.quantile_us(0.95) / 1_000, 1),
                "share_of_run": round(part, 4),
            },
            workflow_id=workflow_id,
            node_id=node_id,
            suggested_action="Ask more people, or a role; set a deadline with an outcome; or ask less often.",
        )
