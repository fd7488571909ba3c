"""A step whose model is often cut off by a limit, so that the end of its answer is missing."""

from collections.abc import Iterator

from projections.insights.recommendations.recommendation import (
    Recommendation,
    RuleInput,
    Severity,
    Thresholds,
    percent,
    share,
)


def cut_answers(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find steps of which a share of the model's answers was cut."""
    for workflow_id, node_id, step in insights.steps():
        now = step.now
        cut = share(now.truncated, now.calls)
        if now.calls < at.cut_sample or cut < at.cut_share:
            continue
        yield Recommendation(
            code="cut_answers",
            severity=Severity.WARNING,
            title=f"Answers of the step {node_id} are often cut",
            detail=f"{now.truncated} of {now.calls} answers of its model ({percent(cut)}) ended at a limit of tokens.",
            evidence={"calls": now.calls, "truncated": now.truncated, "truncated_share": round(cut, 4)},
            workflow_id=workflow_id,
            node_id=node_id,
            suggested_action="Raise max_output_tokens, ask for shorter answers, or shorten the prompt.",
        )
