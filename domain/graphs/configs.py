"""Configuration of nodes: one config struct for each kind of node.

Three languages appear in configs, each marked by the type of its field. A *template* is Liquid, a *query* is JMESPath,
and both see the run's data: `inputs` (what the run was started with) and `steps` (by node id, of the nodes before this
one). Bounds are part of the types, so that requests are validated and the contracts generated from one place.

The defaults here are those of stored graphs that lack the field, so they never change (`domain/graphs/stored.py`).
"""

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

TemplateText = Annotated[str, Meta(max_length=65_536)]
QueryText = Annotated[str, Meta(min_length=1, max_length=4_096)]
NAME = r"^[a-z][a-z0-9_]{0,62}$(?!\n)"
"""Pattern of node ids, variables and outcomes; the look-ahead, because `$` also matches before a final line feed."""
VariableName = Annotated[str, Meta(pattern=NAME)]
Picks = Annotated[dict[VariableName, QueryText], Meta(max_length=100)]
"""Named values, each selected by a query from the run's data."""
JsonSchema = dict[str, Any]
"""A JSON Schema, draft 2020-12 unless `$schema` says otherwise; references within itself only."""

AssetId = Annotated[str, Meta(max_length=40)]
WorkflowId = Annotated[str, Meta(max_length=40)]
Outcome = Annotated[str, Meta(pattern=NAME)]
Role = Literal["owner", "editor", "reviewer"]

LONGEST_WAIT_SECONDS = 366 * 86_400
WaitSeconds = Annotated[float, Meta(gt=0, le=LONGEST_WAIT_SECONDS)]


class ModelParameters(Struct, frozen=True, kw_only=True):
    """Parameters of a model call; the provider's default applies to those that are absent."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=8)] = ()
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


def list_set_parameters(parameters: ModelParameters) -> dict[str, Any]:
    """Return the parameters that a node sets, by name."""
    found: dict[str, Any] = msgspec.to_builtins(parameters)
    return {name: value for name, value in found.items() if value is not None and value not in ((), [])}


class TextOutput(Struct, frozen=True, kw_only=True, tag_field="format", tag="text"):
    """The step's output is the text that the model wrote."""


class JsonOutput(Struct, frozen=True, kw_only=True, tag_field="format", tag="json"):
    """The step's output is JSON that meets a schema; the model may repair an invalid answer `repair_attempts` times."""

    schema: JsonSchema
    repair_attempts: Annotated[int, Meta(ge=0, le=5)] = 2


class TextPart(Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A text in a message: a template."""

    text: TemplateText


class ImagePart(Struct, frozen=True, kw_only=True, tag_field="type", tag="image"):
    """An image in a message: its `url`, a kept `content`, or an asset; exactly one of them is given.

    The model's server fetches a `url`, unless it is a `data:` URL. It and `content` are templates; `content` renders to
    a reference such as `sha256:…`. `asset_id` names a media asset of the project, whose newest file the run pins.
    """

    url: TemplateText | None = None
    content: TemplateText | None = None
    asset_id: AssetId | None = None


class FilePart(Struct, frozen=True, kw_only=True, tag_field="type", tag="file"):
    """A file in a message, such as a PDF; given like an image. `name` is a template too."""

    url: TemplateText | None = None
    content: TemplateText | None = None
    name: TemplateText | None = None
    asset_id: AssetId | None = None


Part = TextPart | ImagePart | FilePart


class Message(Struct, frozen=True, kw_only=True):
    """One turn of a conversation: a `template`, or `parts`; exactly one of the two."""

    role: Literal["system", "user", "assistant"] = "user"
    template: TemplateText | None = None
    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=50)] | None = None


class PromptConfig(Struct, frozen=True, kw_only=True):
    """Ask a model. Exactly one of `asset_id` (a prompt asset), `template` and `messages` says what is asked.

    Templates see `inputs`, `steps` and `variables`; by `variables` a prompt asset is used without knowing node ids.
    `on_truncated` says what becomes of an answer that a limit cut: absent, a text is kept, and JSON always fails.
    """

    model: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}/\S{1,200}$(?!\n)")]
    asset_id: AssetId | None = None
    template: TemplateText | None = None
    system: TemplateText | None = None
    variables: Picks = {}
    parameters: ModelParameters = ModelParameters()
    output: TextOutput | JsonOutput = TextOutput()
    on_truncated: Literal["fail", "keep"] | None = None
    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=100)] | None = None


class Assignee(Struct, frozen=True, kw_only=True):
    """Assignee of a human step: one user, or all team members of the project with a role. Exactly one is set."""

    user: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    role: Role | None = None


class FailAtDeadline(Struct, frozen=True, kw_only=True, tag_field="action", tag="fail"):
    """The step fails with the class `deadline`; the node's `on_error` then applies."""


class DecideAtDeadline(Struct, frozen=True, kw_only=True, tag_field="action", tag="decide"):
    """The step is decided by the system with this outcome and data."""

    outcome: Outcome
    data: dict[str, Any] = {}


class LocalTime(Struct, frozen=True, kw_only=True):
    """A time of day in a time zone (a name of the IANA database), the next one after the wait begins.

    `day` says on which days: `any`, one of Monday to Friday (`working`), or one of these after today
    (`next_working`). `holidays` are left out. A time that the change to summer time skips is as much later as the clock
    moves; of one that occurs twice it is the first.
    """

    time: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)")]
    timezone: Annotated[str, Meta(min_length=1, max_length=100)]
    day: Literal["any", "working", "next_working"] = "any"
    holidays: Annotated[tuple[date, ...], Meta(max_length=366)] = ()


class Deadline(Struct, frozen=True, kw_only=True):
    """Deadline of a person, in seconds from the start of the wait or until a time, and what happens then.

    Exactly one of `after_seconds` and `at` is given.
    """

    after_seconds: WaitSeconds | None = None
    at: LocalTime | None = None
    then: FailAtDeadline | DecideAtDeadline = FailAtDeadline()


class HumanConfig(Struct, frozen=True, kw_only=True):
    """Wait for a person's decision. The output is `{outcome, data, comment}`.

    `instructions` is a template; `shows` selects what the person is shown (its hash is recorded with the decision);
    `form` is the JSON Schema that the decision's `data` must meet, any object if it is absent.
    """

    assignees: Annotated[tuple[Assignee, ...], Meta(min_length=1, max_length=50)]
    outcomes: Annotated[tuple[Outcome, ...], Meta(min_length=1, max_length=20)] = ("approve", "reject")
    instructions: TemplateText | None = None
    shows: Picks = {}
    form: JsonSchema | None = None
    deadline: Deadline | None = None


class ContinueAtDeadline(Struct, frozen=True, kw_only=True, tag_field="action", tag="continue"):
    """The step completes without a signal, with this as its `data`."""

    data: Any = None


class SignalDeadline(Struct, frozen=True, kw_only=True):
    """Time that a step waits for a signal, and what happens then. Exactly one of `after_seconds` and `at` is given."""

    after_seconds: WaitSeconds | None = None
    at: LocalTime | None = None
    then: FailAtDeadline | ContinueAtDeadline = FailAtDeadline()


class WaitConfig(Struct, frozen=True, kw_only=True):
    """Wait for a signal from outside, `POST /v1/runs/{runId}:signal`. The output is `{received, data}`.

    A signal that comes before the step waits is kept for it. `schema` is the JSON Schema that its data must meet.
    """

    signal: Annotated[str, Meta(pattern=NAME)]
    schema: JsonSchema | None = None
    deadline: SignalDeadline | None = None


class ComposeConfig(Struct, frozen=True, kw_only=True):
    """Render a text from a template without a call; with `format: "json"` the output is the JSON that the text is.

    The template sees `inputs`, `steps`, `run` and `variables`.
    """

    template: TemplateText
    variables: Picks = {}
    format: Literal["text", "json"] = "text"


class TransformConfig(Struct, frozen=True, kw_only=True):
    """Select or reshape data with a query. Without one the step returns its data unchanged.

    Its data are the output of the step whose edge to this node was taken; of several such steps, an object of their
    outputs by node id; at an entry of the graph, the run's inputs.
    """

    expression: QueryText | None = None


class HttpConfig(Struct, frozen=True, kw_only=True):
    """Send an HTTP request. `url`, each header's value and `body` are templates.

    Templates see `inputs`, `steps` and `secrets` (named in the operator's settings, never recorded). The output is
    `{status, headers, body}`, with `body` parsed where the answer is JSON.
    """

    url: Annotated[str, Meta(min_length=1, max_length=8_192)]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$(?!\n)")],
            Annotated[str, Meta(max_length=8_192)],
        ],
        Meta(max_length=50),
    ] = {}
    body: TemplateText | None = None
    most_response_bytes: Annotated[int, Meta(ge=1, le=10_000_000)] = 1_000_000


class DelayConfig(Struct, frozen=True, kw_only=True):
    """Wait: for `seconds`, `until` a time (a template that renders RFC 3339), or until a local time: exactly one."""

    seconds: WaitSeconds | None = None
    at: LocalTime | None = None
    until: Annotated[str, Meta(min_length=1, max_length=4_096)] | None = None


class MapConfig(Struct, frozen=True, kw_only=True):
    """Run a workflow for each item of a list; the output is the list of results in the order of the items.

    The items come from a query (`items`) or a dataset asset (`dataset_id`), exactly one of them. `inputs` picks what
    each run starts with from `inputs`, `steps`, `item` and `index` (from 0); where it is empty each run gets
    `{item, index}`. With `on_item_failure: "continue"` a failed item's result is `{error}`, and the step fails once
    more than `most_failed_items` have failed; with `"fail"` it fails at the first and the rest is cancelled.
    """

    workflow_id: WorkflowId
    items: QueryText | None = None
    dataset_id: AssetId | None = None
    inputs: Picks = {}
    concurrency: Annotated[int, Meta(ge=1, le=100)] = 10
    most_items: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    on_item_failure: Literal["fail", "continue"] = "fail"
    most_failed_items: Annotated[int, Meta(ge=0, le=10_000)] | None = None


class WorkflowConfig(Struct, frozen=True, kw_only=True):
    """Run another workflow as one step; the output is that run's outputs.

    `inputs` selects its inputs; if it is empty the data passes through as in a transform without expression.
    """

    workflow_id: WorkflowId
    inputs: Picks = {}


class RepeatConfig(Struct, frozen=True, kw_only=True):
    """Run another workflow in rounds until a condition holds, `most_rounds` times at most; the last outputs are given.

    Each round is a run that starts with the fields of `inputs`, picked when the step begins, and with `round` (from 0)
    and `last`, the outputs of the round before by node (null in the first). `until` is a condition over a round:
    `steps` are its outputs by node, `inputs` is `{round}`. With `on_limit: "continue"` the last outputs are given also
    where the condition never held.
    """

    workflow_id: WorkflowId
    until: Annotated[str, Meta(min_length=1, max_length=1_024)]
    most_rounds: Annotated[int, Meta(ge=1, le=100)]
    inputs: Picks = {}
    on_limit: Literal["fail", "continue"] = "fail"
