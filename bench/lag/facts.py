"""The facts that `bench lag` appends: those of runs with three steps, in the appends that an engine would send."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from bench.runs.server import STEPS
from domain.fact import Fact
from domain.payload import Payload
from domain.runs.facts import Pins, RunCompleted, RunStarted, StepCompleted, StepStarted
from store.log.records import Actor, Append, Metadata

WORKSPACE: Final = uuid7()
PROJECT: Final = uuid7()
WORKFLOW: Final = uuid7()
METADATA: Final = Metadata(actor=Actor("engine", "bench"), correlation_id="0af7651916cd43dd8448eb211c80319c")
OUTPUT: Final = Payload(value={"text": "Three drafts, one voice: what the launch says, where, and to whom."})
FACTS_OF_A_RUN: Final = 2 + 2 * len(STEPS)


def appends_of_a_run() -> list[Append]:
    """Return the appends of one run: its start, each step's end with the next one's start, and its end."""
    now = datetime.now(UTC)
    steps = [
        (
            StepStarted(node=step, attempt=1, executor="bench", epoch=1, started_at=now),
            StepCompleted(node=step, attempt=1, output=OUTPUT, edges_taken=(0,), completed_at=now),
        )
        for step in STEPS
    ]
    started = RunStarted(
        workflow_id=WORKFLOW,
        workflow_version=1,
        inputs=Payload(value={"brief": "One page, two readers, three drafts."}),
        pins=Pins(),
        started_at=now,
    )
    ends = [done for _, done in steps]
    begins = [begun for begun, _ in steps]
    ended = RunCompleted(output_nodes=STEPS[-1:], completed_at=now)
    groups: list[tuple[Fact, ...]] = [
        (started,),
        (begins[0],),
        *zip(ends[:-1], begins[1:], strict=True),
        (ends[-1], ended),
    ]
    return _build_appends(uuid7(), groups)


def _build_appends(run_id: UUID, groups: list[tuple[Fact, ...]]) -> list[Append]:
    appends: list[Append] = []
    version = 0
    for facts in groups:
        appends.append(
            Append(
                stream_id=run_id,
                expected_version=version,
                workspace_id=WORKSPACE,
                project_id=PROJECT,
                facts=facts,
                metadata=METADATA,
            )
        )
        version += len(facts)
    return appends
