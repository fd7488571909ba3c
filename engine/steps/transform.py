"""Execute transform steps: a JMESPath query over the run's data, or a pass-through."""

from collections.abc import Callable
from functools import partial
from typing import Any

from domain.expressions.budget import Budget
from domain.expressions.jmespath_queries import apply_query
from domain.graphs.configs import TransformConfig
from engine.steps.contract import StepCall
from engine.steps.run_data import resolve_pass_through


def prepare_transform(call: StepCall, config: TransformConfig) -> Callable[[Budget], Any]:
    """Return work that returns the query's result, or the step's input if there is no query.

    It raises ExpressionFault, TooMuchWork.
    """
    if config.expression is None:
        return partial(_pass_through, resolve_pass_through(call.graph, call.run, call.node.id, call.data))
    return partial(apply_query, config.expression, call.data.to_expression_data())


def _pass_through(value: object, _budget: Budget) -> object:
    return value
