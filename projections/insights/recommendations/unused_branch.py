"""A branch that no run ever takes."""

from collections.abc import Iterator

from projections.insights.recommendations.recommendation import Recommendation, RuleInput, Severity, Thresholds


def unused_branch(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find edges with a condition that never held, in the newest version of a workflow, after many chances."""
    for workflow_id, (version, graph) in insights.graphs.items():
        workflow = insights.figures.workflows.get(workflow_id)
        if workflow is None:
            continue
        for place, edge in enumerate(graph.edges):
            step = workflow.steps.get(edge.source)
            measures = None if step is None else step.by_version.get(version)
            if edge.when is None or measures is None or measures.completed < at.unused_sample:
                continue
            if measures.edges.get(place, 0) > 0:
                continue
            yield Recommendation(
                code="unused_branch",
                severity=Severity.INFO,
                title=f"No run goes from {edge.source} to {edge.target}",
                detail=f"{edge.source} completed {measures.completed} times, and `{edge.when}` was never true.",
                evidence={
                    "from": edge.source,
                    "to": edge.target,
                    "when": edge.when,
                    "workflow_version": version,
                    "completed": measures.completed,
                    "taken": 0,
                },
                workflow_id=workflow_id,
                node_id=edge.target,
                suggested_action="Check the condition: if it is right and never true, remove the branch.",
            )
