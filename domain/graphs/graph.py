"""The workflow graph: nodes of ten kinds and the edges between them, as sent, stored and run.

Structs ignore unknown fields, so that a stored graph can always be read; `graph_check` refuses them in requests.
"""

from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, field

from domain.graphs.configs import (
    NAME,
    ComposeConfig,
    DelayConfig,
    HttpConfig,
    HumanConfig,
    JsonSchema,
    MapConfig,
    PromptConfig,
    RepeatConfig,
    TransformConfig,
    WaitConfig,
    WorkflowConfig,
)

MOST_NODES = 500
MOST_EDGES = 2_000

NodeId = Annotated[str, Meta(pattern=NAME)]
TimeoutSeconds = Annotated[float, Meta(gt=0, le=30 * 86_400)]


class ErrorClass(StrEnum):
    """Class of an attempt's failure: the values of `retry_on`, recorded by `step.failed`."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    """The server could not be reached, or closed the connection."""
    CONTENT_REFUSED = "content_refused"
    BAD_REQUEST = "bad_request"
    AUTH = "auth"
    INVALID_OUTPUT = "invalid_output"
    """The answer did not meet the schema, also after its repairs."""
    EXPRESSION = "expression"
    """A condition, template or query could not be evaluated with the run's data."""
    DEADLINE = "deadline"
    CHILD_FAILED = "child_failed"
    """A run started by a map or workflow node failed."""
    TOO_MANY_RUNS = "too_many_runs"
    """The child runs of the step would exceed a bound of their family or of the workspace."""
    OWNER_LOST = "owner_lost"
    """The engine that had claimed the attempt is gone; the outcome of its work is unknown."""
    INTERNAL = "internal"
    """A bug in Callsheet, or in a provider's adapter."""


class Backoff(Struct, frozen=True, kw_only=True):
    """Wait before attempt n + 1: initial_seconds * factor ** (n - 1), at most max_seconds.

    `jitter` is the share of the wait that is random: with 0 the wait is exact, with 1 it is anything from 0 up to it.
    """

    initial_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 1.0
    factor: Annotated[float, Meta(ge=1, le=10)] = 2.0
    max_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.5


class Retry(Struct, frozen=True, kw_only=True):
    """Retry policy: the maximum number of attempts, with the first, and the errors retried. Absent: one attempt."""

    max_attempts: Annotated[int, Meta(ge=1, le=20)] = 3
    backoff: Backoff = Backoff()
    retry_on: Annotated[tuple[ErrorClass, ...], Meta(min_length=1, max_length=len(ErrorClass))] = (
        ErrorClass.RATE_LIMITED,
        ErrorClass.OVERLOADED,
        ErrorClass.TIMEOUT,
        ErrorClass.UNAVAILABLE,
    )


class FailRun(Struct, frozen=True, kw_only=True, tag_field="action", tag="fail"):
    """The run fails once the step has failed for good."""


class ContinueWith(Struct, frozen=True, kw_only=True, tag_field="action", tag="continue"):
    """The run continues as if the step had returned this output."""

    output: Any = None


class TakeFallback(Struct, frozen=True, kw_only=True, tag_field="action", tag="fallback"):
    """The edge from this node to `to` is taken when the step has failed for good, and only then.

    That edge has no `when`. After a failure the node's other edges are not taken; after a success this one is not.
    """

    to: NodeId


OnError: TypeAlias = FailRun | ContinueWith | TakeFallback


class NodeBase(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Fields of every node. `timeout_seconds` limits one attempt, `total_timeout_seconds` all with their waits."""

    id: NodeId
    name: Annotated[str, Meta(max_length=200)] = ""
    retry: Retry | None = None
    timeout_seconds: TimeoutSeconds | None = None
    total_timeout_seconds: TimeoutSeconds | None = None
    on_error: OnError = FailRun()


class PromptNode(NodeBase, frozen=True, kw_only=True, tag="prompt"):
    """Calls a model."""

    config: PromptConfig


class HumanNode(NodeBase, frozen=True, kw_only=True, tag="human"):
    """Waits for a person."""

    config: HumanConfig


class TransformNode(NodeBase, frozen=True, kw_only=True, tag="transform"):
    """Selects or reshapes data."""

    config: TransformConfig = TransformConfig()


class HttpNode(NodeBase, frozen=True, kw_only=True, tag="http"):
    """Sends an HTTP request."""

    config: HttpConfig


class DelayNode(NodeBase, frozen=True, kw_only=True, tag="delay"):
    """Waits for a time."""

    config: DelayConfig


class MapNode(NodeBase, frozen=True, kw_only=True, tag="map"):
    """Runs a workflow for each item of a list."""

    config: MapConfig


class WorkflowNode(NodeBase, frozen=True, kw_only=True, tag="workflow"):
    """Runs another workflow."""

    config: WorkflowConfig


class WaitNode(NodeBase, frozen=True, kw_only=True, tag="wait"):
    """Waits for a signal."""

    config: WaitConfig


class ComposeNode(NodeBase, frozen=True, kw_only=True, tag="compose"):
    """Renders text or JSON from a template."""

    config: ComposeConfig


class RepeatNode(NodeBase, frozen=True, kw_only=True, tag="repeat"):
    """Runs another workflow in rounds."""

    config: RepeatConfig


Node: TypeAlias = (
    PromptNode
    | HumanNode
    | TransformNode
    | HttpNode
    | DelayNode
    | MapNode
    | WorkflowNode
    | WaitNode
    | ComposeNode
    | RepeatNode
)


class Edge(Struct, frozen=True, kw_only=True):
    """An edge from one node to another, taken if `when` (CEL over `inputs` and `steps`) is true or absent."""

    source: NodeId = field(name="from")
    target: NodeId = field(name="to")
    when: Annotated[str, Meta(min_length=1, max_length=1_024)] | None = None


class Graph(Struct, frozen=True, kw_only=True):
    """A whole workflow. A node runs once its incoming edges are settled and one was taken; otherwise it is skipped.

    `input_schema` is what the inputs of a run must meet, and what expressions may expect of them.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    input_schema: JsonSchema | None = None


def get_node_kind(node: Node) -> str:
    """Return a node's kind as written on the wire: `prompt`, `human`, …."""
    return str(node.__struct_config__.tag)
