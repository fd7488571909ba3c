"""A step that costs most of what all steps cost together."""

from collections.abc import Iterator

from projections.insights.recommendations.recommendation import (
    Recommendation,
    Seen,
    Severity,
    Thresholds,
    percent,
    share,
)
from projections.read_models.run_timeline import usd_of


def cost_hot_spot(seen: Seen, at: Thresholds) -> Iterator[Recommendation]:
    """Find the step with a large share of a cost worth talking of; where no other costs anything it says nothing."""
    total = seen.figures.steps.cost_pico
    costing = [one for one in seen.steps() if one[2].now.cost_pico > 0]
    if total < at.cost_least_pico or len(costing) < 2:  # noqa: PLR2004  # one and others
        return
    for workflow_id, node_id, step in costing:
        now = step.now
        part = share(now.cost_pico, total)
        if now.calls < at.cost_sample or part < at.cost_share:
            continue
        each = usd_of(now.cost_pico // now.calls)
        yield Recommendation(
            code="cost_hot_spot",
            severity=Severity.INFO,
            title=f"The step {node_id} makes most of the cost",
            detail=f"{usd_of(now.cost_pico)} of {usd_of(total)} USD ({percent(part)}), by {now.calls} calls.",
            evidence={
                "cost_usd": usd_of(now.cost_pico),
                "total_cost_usd": usd_of(total),
                "share": round(part, 4),
                "calls": now.calls,
                "cost_usd_per_call": each,
                "input_tokens": now.input_tokens,
                "output_tokens": now.output_tokens,
            },
            workflow_id=workflow_id,
            node_id=node_id,
            suggested_action="Try a smaller model or a shorter prompt here first: nowhere else does it save as much.",
        )
