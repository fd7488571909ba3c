"""A step with most of the cost of all steps."""

from collections.abc import Iterator

from projections.insights.recommendations.recommendation import (
    Recommendation,
    RuleInput,
    Severity,
    Thresholds,
    percent,
    share,
)
from projections.timelines.run_timeline import format_pico_as_usd


def cost_hot_spot(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find the step with a large share of a cost above the minimum; silent if no other step costs anything."""
    total = insights.figures.steps.cost_pico
    costing = [found for found in insights.steps() if found[2].now.cost_pico > 0]
    if total < at.cost_least_pico or len(costing) < 2:  # noqa: PLR2004  # one and others
        return
    for workflow_id, node_id, step in costing:
        now = step.now
        part = share(now.cost_pico, total)
        if now.calls < at.cost_sample or part < at.cost_share:
            continue
        cost_usd, total_usd = format_pico_as_usd(now.cost_pico), format_pico_as_usd(total)
        yield Recommendation(
            code="cost_hot_spot",
            severity=Severity.INFO,
            title=f"The step {node_id} causes most of the cost",
            detail=f"{cost_usd} of {total_usd} USD ({percent(part)}), by {now.calls} calls.",
            evidence={
                "cost_usd": cost_usd,
                "total_cost_usd": total_usd,
                "share": round(part, 4),
                "calls": now.calls,
                "cost_usd_per_call": format_pico_as_usd(now.cost_pico // now.calls),
                "input_tokens": now.input_tokens,
                "output_tokens": now.output_tokens,
            },
            workflow_id=workflow_id,
            node_id=node_id,
            suggested_action="Try a smaller model or a shorter prompt here first: it saves the most.",
        )
