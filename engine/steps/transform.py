"""Execute transform steps: a JMESPath query over the run's data, or a pass-through."""

from typing import Any

from domain.expressions.budget import Budget
from domain.expressions.jmespath_queries import compile_query
from domain.graphs.configs import TransformConfig
from engine.steps.contract import StepCall
from engine.steps.run_data import resolve_pass_through


def transform(call: StepCall, config: TransformConfig, budget: Budget) -> Any:  # noqa: ANN401  # JSON of any shape
    """Return the query's result, or the step's input if there is no query. Raises ExpressionFault, TooMuchWork."""
    if config.expression is None:
        return resolve_pass_through(call.graph, call.run, call.node.id, call.data)
    return compile_query(config.expression).apply(call.data.to_expression_data(), budget)
