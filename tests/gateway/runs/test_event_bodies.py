"""A run's facts as they are sent: ids as callers know them, and contents beside the references to them."""

import msgspec

from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import ItemOutcome, ItemResult, StepItemsSettled, UsageTotals
from gateway.runs.event_bodies import create_event_body, list_payloads
from store.log.identity import create_identity
from store.log.records import Recorded
from tests.support.commands.scenario import NOW
from tests.support.gateway.given import new_id
from tests.support.store.given import METADATA, WORKSPACE


def test_the_results_of_children_are_told_with_their_runs_and_values() -> None:
    child = new_id()
    kept = Payload(ref="sha256:00", bytes=9, media_type="application/json")
    took = UsageTotals(model_calls=2, input_tokens=5, output_tokens=7, cost_usd="0.25")
    result = ItemResult(item=2, run_id=child, outcome=ItemOutcome.COMPLETED, output=kept, took=took)
    fact = StepItemsSettled(node="each", attempt=1, items=(result,), settled_at=NOW)
    recorded = Recorded(
        position=7,
        stream_id=new_id(),
        version=3,
        workspace_id=WORKSPACE,
        project_id=None,
        recorded_at=NOW,
        fact=fact,
        metadata=METADATA,
    )
    assert kept in list(list_payloads(fact))
    event = create_event_body(create_identity(new_id()), recorded, {"sha256:00": {"n": 1}})
    assert (event.type, event.position, event.streamversion) == ("step.items-settled", "7", 3)
    assert msgspec.json.decode(msgspec.json.encode(event.data))["items"] == [
        {
            "item": 2,
            "run_id": from_uuid("run", child),
            "outcome": "completed",
            "output": {"$ref": "sha256:00", "bytes": 9, "media_type": "application/json", "value": {"n": 1}},
            "took": {"model_calls": 2, "input_tokens": 5, "output_tokens": 7, "cost_usd": "0.25"},
        }
    ]
