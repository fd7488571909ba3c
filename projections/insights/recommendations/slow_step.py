"""A step that has become slower than in the period before the window, which is as long as the window."""

from collections.abc import Iterator

from domain.graphs.graph import DelayNode, HumanNode
from projections.insights.recommendations.recommendation import (
    MICROSECOND,
    Recommendation,
    RuleInput,
    Severity,
    Thresholds,
    lasting,
)


def slow_step(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find steps whose median duration has grown by a factor and a minimum. Steps that wait by design are omitted."""
    for workflow_id, node_id, step in insights.steps():
        now, past = step.now.duration, step.past.duration
        if now is None or past is None or min(now.count, past.count) < at.slow_sample or step.now.human_wait:
            continue
        if isinstance(insights.node(workflow_id, node_id), HumanNode | DelayNode):
            continue
        median, before = now.quantile_us(0.5), past.quantile_us(0.5)
        if median < before * at.slow_factor or median - before < at.slow_least / MICROSECOND:
            continue
        yield Recommendation(
            code="slow_step",
            severity=Severity.WARNING,
            title=f"The step {node_id} has become slow",
            detail=f"Half of its attempts take {lasting(median)} or more; before it was {lasting(before)}.",
            evidence={
                "completed": now.count,
                "completed_before": past.count,
                "p50_ms": round(median / 1_000, 1),
                "p50_ms_before": round(before / 1_000, 1),
                "p95_ms": round(now.quantile_us(0.95) / 1_000, 1),
                "p95_ms_before": round(past.quantile_us(0.95) / 1_000, 1),
            },
            workflow_id=workflow_id,
            node_id=node_id,
            suggested_action="Find out what changed: the model, the prompt, the size of its inputs, or its server.",
        )
