"""Histories for hypothesis: any order of any facts of a noun, since folds take every one."""

from typing import Final, TypeVar
from uuid import UUID

from hypothesis import strategies as st

from domain.asset import (
    AssetArchived,
    AssetContentRevised,
    AssetCreated,
    AssetFact,
    AssetMetadataChanged,
    AssetRelabelled,
    AssetRestored,
    AssetType,
)
from domain.fact import Fact
from domain.graphs.graph import ErrorClass, Graph, TransformNode
from domain.payload import Payload
from domain.project import (
    MemberAdded,
    MemberRemoved,
    MemberRoleChanged,
    ProjectArchived,
    ProjectCreated,
    ProjectFact,
    ProjectRenamed,
    ProjectRestored,
    ProjectSettingsChanged,
    Role,
)
from domain.runs.facts import (
    Pins,
    RunCompleted,
    RunFact,
    RunFailed,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Usage,
    WaitFor,
)
from domain.workflow import (
    WorkflowArchived,
    WorkflowCreated,
    WorkflowFact,
    WorkflowGraphRevised,
    WorkflowRenamed,
    WorkflowRestored,
)
from tests.support.projections.given import NOW

F = TypeVar("F", bound=Fact)

WORKFLOW = UUID("0192f000-0000-7000-8000-00000000f10e")
ERROR = StepError(error_class=ErrorClass.TIMEOUT, message="too late")
USAGE = Usage(model="openai/gpt-5", input_tokens=7, output_tokens=3, latency_ms=12.5, cost_usd="0.001")

words = st.text("abcäö \"\\{},'", max_size=8)
nodes = st.sampled_from(["a", "b", "c"])
values = st.none() | st.booleans() | st.integers(-9, 9) | words
payloads = st.builds(Payload, value=st.dictionaries(words, values, max_size=3) | values)
transforms = st.builds(TransformNode, id=nodes, name=words)
graphs = st.builds(Graph, nodes=st.tuples(transforms))

project_facts: st.SearchStrategy[ProjectFact] = st.one_of(
    st.builds(ProjectCreated, name=words, owner=nodes),
    st.builds(ProjectRenamed, name=words),
    st.builds(ProjectArchived),
    st.builds(ProjectRestored),
    st.builds(ProjectSettingsChanged, settings=st.dictionaries(words, values, max_size=3)),
    st.builds(MemberAdded, user_id=nodes, role=st.sampled_from(Role)),
    st.builds(MemberRoleChanged, user_id=nodes, role=st.sampled_from(Role)),
    st.builds(MemberRemoved, user_id=nodes),
)
workflow_facts: st.SearchStrategy[WorkflowFact] = st.one_of(
    st.builds(WorkflowCreated, name=words, graph=graphs),
    st.builds(WorkflowRenamed, name=words),
    st.builds(WorkflowGraphRevised, version=st.integers(2, 9), graph=graphs),
    st.builds(WorkflowArchived),
    st.builds(WorkflowRestored),
)
asset_facts: st.SearchStrategy[AssetFact] = st.one_of(
    st.builds(
        AssetCreated,
        type=st.sampled_from(AssetType),
        label=words,
        metadata=st.dictionaries(words, values, max_size=3),
        content=payloads,
    ),
    st.builds(AssetRelabelled, label=words),
    st.builds(AssetMetadataChanged, metadata=st.dictionaries(words, values, max_size=3)),
    st.builds(AssetContentRevised, version=st.integers(2, 9), content=payloads),
    st.builds(AssetArchived),
    st.builds(AssetRestored),
)
run_starts = st.builds(
    RunStarted,
    workflow_id=st.just(WORKFLOW),
    workflow_version=st.integers(1, 9),
    inputs=payloads,
    pins=st.just(Pins(assets={WORKFLOW: 3})),
    started_at=st.just(NOW),
)
run_facts_by_kind: Final[dict[type[Fact], st.SearchStrategy[RunFact]]] = {
    StepStarted: st.builds(
        StepStarted,
        node=nodes,
        attempt=st.integers(1, 3),
        executor=words,
        epoch=st.integers(1, 3),
        started_at=st.just(NOW),
    ),
    StepCompleted: st.builds(
        StepCompleted,
        node=nodes,
        attempt=st.integers(1, 3),
        output=payloads,
        edges_taken=st.tuples(st.integers(0, 5)),
        usage=st.none() | st.just(USAGE),
        completed_at=st.just(NOW),
    ),
    StepFailed: st.builds(
        StepFailed,
        node=nodes,
        attempt=st.integers(1, 3),
        error=st.just(ERROR),
        retry_at=st.none() | st.just(NOW),
        failed_at=st.just(NOW),
    ),
    StepWaiting: st.builds(
        StepWaiting,
        node=nodes,
        attempt=st.integers(1, 3),
        waiting_for=st.sampled_from(WaitFor),
        shown=payloads,
        waiting_since=st.just(NOW),
    ),
    StepDecided: st.builds(
        StepDecided,
        node=nodes,
        outcome=words,
        data=payloads,
        decided_by=words,
        shown_hash=st.none() | words,
        decided_at=st.just(NOW),
    ),
    StepSkipped: st.builds(StepSkipped, node=nodes, reason=words),
    RunCompleted: st.builds(RunCompleted, output_nodes=st.tuples(nodes), completed_at=st.just(NOW)),
    RunFailed: st.builds(RunFailed, node=nodes, error=st.just(ERROR), failed_at=st.just(NOW)),
}
run_facts = st.one_of(*run_facts_by_kind.values())


@st.composite
def mix_streams(draw: st.DrawFn, first: st.SearchStrategy[F], others: st.SearchStrategy[F]) -> list[tuple[int, F]]:
    """Return facts of up to four streams, interleaved; each stream starts with `first`."""
    begun: set[int] = set()
    history: list[tuple[int, F]] = []
    for stream in draw(st.lists(st.integers(0, 3), min_size=1, max_size=25)):
        history.append((stream, draw(others if stream in begun else first)))
        begun.add(stream)
    return history


cuts = st.lists(st.integers(0, 25), max_size=4)
"""Where a history is cut into batches."""
