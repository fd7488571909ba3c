"""Workflows: every command, every refusal, and the same intent twice."""

from uuid import UUID

import msgspec

from commands.workflow import (
    ChangeSources,
    ChangeWorkflow,
    CreateWorkflow,
    DuplicateWorkflow,
    DuplicationSources,
    NewWorkflow,
    to_json_graph,
)
from domain.graphs.graph import Graph
from domain.graphs.stored import StoredGraph, write_stored_graph
from domain.graphs.validation.check import LARGEST_GRAPH_BYTES, GraphUnacceptable, check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.workflow import (
    WorkflowArchived,
    WorkflowCreated,
    WorkflowGraphRevised,
    WorkflowNotActive,
    WorkflowRenamed,
    WorkflowRestored,
    WorkflowStatus,
)
from tests.domain.test_golden import find_losses
from tests.support.commands.scenario import given
from tests.support.graphs import KNOWN, PROMPT, Json, edge, graph, node, prompt

ID = UUID("0192f000-0000-7000-8000-0000000000c1")
SOURCE = UUID("0192f000-0000-7000-8000-0000000000c2")
PROJECT = UUID("0192f000-0000-7000-8000-0000000000a1")
NOTHING_KNOWN = KnownReferences()
CHANGE = ChangeSources(known=KNOWN)
NEW = NewWorkflow(project_id=PROJECT, known=NOTHING_KNOWN)
CHAIN = graph(node("a"), node("b"), edges=[edge("a", "b")])
FAULTY = graph(node("a"), node("a"), edges=[edge("a", "zz", when="1 +")])


def parse_graph(raw: Json) -> Graph:
    return msgspec.convert(raw, Graph)


def store_graph(raw: Json) -> StoredGraph:
    return write_stored_graph(parse_graph(raw))


CREATED = WorkflowCreated(name="Launch", graph=store_graph(CHAIN))


def create(raw: Json) -> CreateWorkflow:
    return CreateWorkflow(target_id=ID, project_id=PROJECT, name="Launch", graph=raw)


def change(**fields: object) -> ChangeWorkflow:
    return ChangeWorkflow(target_id=ID, **fields)  # pyright: ignore[reportArgumentType]  # each test names real fields


def test_a_workflow_begins_with_version_1_of_its_graph() -> None:
    given().when(create(CHAIN), NEW).then(CREATED).and_again_nothing()


def test_every_problem_of_a_graph_is_told_at_once() -> None:
    given().when(create(FAULTY), NEW).refuses(GraphUnacceptable, "/nodes/1/id", "/edges/0/to", "/edges/0/when")


def test_a_graph_may_name_what_its_project_has() -> None:
    raw = graph(prompt(asset_id=PROMPT, template=None))
    del raw["nodes"][0]["config"]["template"]
    given().when(create(raw), NewWorkflow(project_id=PROJECT, known=KNOWN)).then(
        WorkflowCreated(name="Launch", graph=store_graph(raw))
    )
    given().when(create(raw), NEW).refuses(GraphUnacceptable, "/nodes/0/config/asset_id")


def test_a_workflow_is_renamed_without_a_new_version() -> None:
    given(CREATED).when(change(name="Relaunch"), CHANGE).then(WorkflowRenamed(name="Relaunch")).and_again_nothing()


def test_another_graph_is_the_next_version() -> None:
    revised = WorkflowGraphRevised(version=2, graph=store_graph(graph(node("c"))))
    given(CREATED).when(change(graph=graph(node("c"))), CHANGE).then(revised).and_again_nothing()
    given(CREATED, revised).when(change(graph=CHAIN), CHANGE).then(
        WorkflowGraphRevised(version=3, graph=store_graph(CHAIN))
    )


def test_the_same_graph_is_no_new_version() -> None:
    given(CREATED).when(change(graph=CHAIN), CHANGE).then()


def test_new_nodes_alone_keep_the_edges() -> None:
    nodes = [node("a"), node("b", name="Second")]
    given(CREATED).when(change(graph={"nodes": nodes}), CHANGE).then(
        WorkflowGraphRevised(version=2, graph=store_graph({"nodes": nodes, "edges": CHAIN["edges"]}))
    )


def test_new_edges_alone_keep_the_nodes() -> None:
    edges = [edge("a", "b", when="inputs.go")]
    given(CREATED).when(change(graph={"edges": edges}), CHANGE).then(
        WorkflowGraphRevised(version=2, graph=store_graph({"nodes": CHAIN["nodes"], "edges": edges}))
    )


def test_nodes_that_leave_an_edge_dangling_are_refused() -> None:
    given(CREATED).when(change(graph={"nodes": [node("a")]}), CHANGE).refuses(GraphUnacceptable, "/edges/0/to")


def test_a_faulty_graph_changes_nothing() -> None:
    given(CREATED).when(change(name="Relaunch", graph=graph()), CHANGE).refuses(GraphUnacceptable, "/nodes")


def test_a_workflow_is_archived_once() -> None:
    given(CREATED).when(change(status=WorkflowStatus.ARCHIVED), CHANGE).then(WorkflowArchived()).and_again_nothing()


def test_an_archived_workflow_is_restored_once_and_changed_with_it() -> None:
    archived = (CREATED, WorkflowArchived())
    given(*archived).when(change(status=WorkflowStatus.ACTIVE), CHANGE).then(WorkflowRestored()).and_again_nothing()
    command = change(name="Relaunch", status=WorkflowStatus.ACTIVE)
    given(*archived).when(command, CHANGE).then(WorkflowRestored(), WorkflowRenamed(name="Relaunch"))


def test_an_archived_workflow_takes_no_change() -> None:
    for command in (
        change(name="Relaunch"),
        change(graph=graph(node("c"))),
        change(name="Relaunch", status=WorkflowStatus.ARCHIVED),
    ):
        given(CREATED, WorkflowArchived()).when(command, CHANGE).refuses(WorkflowNotActive)


def test_an_archived_workflow_may_be_told_what_it_is_already() -> None:
    command = change(name="Launch", graph=CHAIN, status=WorkflowStatus.ARCHIVED)
    given(CREATED, WorkflowArchived()).when(command, CHANGE).then()


def duplicate(name: str | None = None) -> DuplicateWorkflow:
    return DuplicateWorkflow(target_id=ID, source_id=SOURCE, name=name)


def source(raw: Json, known: KnownReferences = KNOWN) -> DuplicationSources:
    return DuplicationSources(project_id=PROJECT, known=known, name="Launch", version=4, graph=parse_graph(raw))


def test_a_copy_says_which_version_of_what_it_was_made_from() -> None:
    given().when(duplicate(), source(CHAIN)).then(
        WorkflowCreated(name="Launch (copy)", graph=store_graph(CHAIN), duplicated_from=SOURCE, duplicated_version=4)
    ).and_again_nothing()


def test_a_copy_may_have_a_name_of_its_own() -> None:
    given().when(duplicate("Spring"), source(CHAIN)).then(
        WorkflowCreated(name="Spring", graph=store_graph(CHAIN), duplicated_from=SOURCE, duplicated_version=4)
    )


def test_a_copy_is_refused_where_the_project_lacks_what_the_graph_names() -> None:
    raw = graph(prompt(asset_id=PROMPT))
    del raw["nodes"][0]["config"]["template"]
    given().when(duplicate(), source(raw, NOTHING_KNOWN)).refuses(GraphUnacceptable, "/nodes/0/config/asset_id")


def test_a_graph_is_returned_as_it_was_sent() -> None:
    returned = to_json_graph(parse_graph(CHAIN))
    assert find_losses(CHAIN, returned) == []
    assert check_graph(returned, NOTHING_KNOWN) == parse_graph(CHAIN)


def test_a_graph_that_its_defaults_make_too_large_is_refused_as_a_whole() -> None:
    config, retry = {"expression": f"'{'a' * 300}'"}, {"max_attempts": 5}
    raw = graph(*[node(f"n{number}", config=config, retry=retry) for number in range(500)])
    assert len(msgspec.json.encode(raw)) < LARGEST_GRAPH_BYTES
    given().when(create(raw), NEW).refuses(GraphUnacceptable, "")
