"""Outcome of a step by the ends of its children, whichever engine gathers them, and however late."""

from uuid import UUID

from domain.graphs.configs import MapConfig
from domain.graphs.graph import ErrorClass, MapNode
from domain.ids import from_uuid
from domain.runs.facts import ItemOutcome, ItemResult, StepError
from engine.children.outcome import CANCELLED, compute_step_outcome
from engine.steps.contract import Failed
from tests.support.engine.simulator.simulated_results import NoContents, run_now

NOBODY = UUID(int=0)
EACH = MapNode(id="each", config=MapConfig(workflow_id=from_uuid("wf", NOBODY), items="inputs.list"))


def build_result(item: int, outcome: ItemOutcome, error: StepError) -> ItemResult:
    return ItemResult(item=item, run_id=UUID(int=item), outcome=outcome, error=error)


def test_a_map_names_the_item_that_failed_before_those_that_were_cancelled_because_of_it() -> None:
    """An engine that is lost before it records the failure leaves the other children cancelled."""
    refused = StepError(error_class=ErrorClass.EXPRESSION, message="no number")
    known = {
        0: build_result(0, ItemOutcome.CANCELLED, CANCELLED),
        1: build_result(1, ItemOutcome.FAILED, refused),
        2: build_result(2, ItemOutcome.CANCELLED, CANCELLED),
    }
    came_to = run_now(compute_step_outcome(EACH, 3, known, NoContents(), NOBODY))
    assert isinstance(came_to, Failed)
    assert came_to.error.message == "3 items failed; item 1 failed: no number"
