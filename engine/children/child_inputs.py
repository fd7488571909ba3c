"""Check the inputs of a child against the `input_schema` of its workflow, as those of a caller are."""

from functools import partial
from typing import Final
from uuid import UUID

from commands.runs.start import find_schema_problems
from domain.expressions.budget import TooMuchWork
from domain.graphs.graph import ErrorClass
from domain.graphs.validation.json_schema import is_quick
from domain.runs.facts import StepError
from engine.steps.contract import build_failure
from engine.turns.context import EngineContext

PROBLEMS_MAX: Final = 10
"""How many problems a message names."""


async def find_input_error(
    context: EngineContext, workspace_id: UUID, workflow_id: UUID, version: int, inputs: object
) -> StepError | None:
    """Return why a workflow does not accept the inputs of a child; None if it does.

    Raises GraphMissing, Unavailable.
    """
    schema = (await context.graphs.load(workflow_id, version)).input_schema
    if schema is None:
        return None
    check = partial(find_schema_problems, schema, inputs, "")
    try:
        is_inline = is_quick(schema, inputs)
        problems = check() if is_inline else await context.executors.slow.run_in_worker(workspace_id, check)
    except TooMuchWork as fault:
        return build_failure(ErrorClass.BAD_REQUEST, fault.message).error
    if not problems:
        return None
    named = "; ".join(f"{problem.pointer or '/'}: {problem.message}" for problem in problems[:PROBLEMS_MAX])
    message = f"The inputs do not meet the input_schema of the workflow: {named}"
    return build_failure(ErrorClass.BAD_REQUEST, message).error
