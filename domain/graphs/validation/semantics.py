"""Checks of a single well-formed node: contradictions, invalid schemas, ids that do not exist."""

from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import assert_never
from uuid import UUID

from msgspec import Struct

from domain.expressions.cel import compile_condition
from domain.expressions.common import ExpressionFault, shorten
from domain.graphs.configs import (
    LONGEST_WAIT_SECONDS,
    Deadline,
    DecideAtDeadline,
    HttpConfig,
    HumanConfig,
    JsonOutput,
    JsonSchema,
    LocalTime,
    MapConfig,
    Message,
    PromptConfig,
    RepeatConfig,
    SignalDeadline,
    TextPart,
    WaitConfig,
)
from domain.graphs.graph import (
    ComposeNode,
    DelayNode,
    HttpNode,
    HumanNode,
    MapNode,
    Node,
    PromptNode,
    RepeatNode,
    TransformNode,
    WaitNode,
    WorkflowNode,
)
from domain.graphs.references import Reference, iterate_references
from domain.graphs.validation.json_schema import find_schema_faults
from domain.graphs.validation.shape import Fault
from domain.ids import to_uuid
from domain.local_time import is_time_zone
from domain.names import normalize_user_id
from domain.suggestions import format_names


class KnownReferences(Struct, frozen=True, kw_only=True):
    """The assets (with their types) and workflows that a graph names and that exist in its project."""

    assets: Mapping[UUID, str] = {}
    workflows: AbstractSet[UUID] = frozenset()


def find_node_faults(node: Node, known: KnownReferences) -> Iterator[Fault]:
    """Return the problems of one node that do not depend on other nodes."""
    yield from _policy_faults(node)
    yield from _config_faults(node)
    for named in iterate_references(node):
        message = _missing(named, known)
        if message is not None:
            yield Fault(("config", *named.path), message)


def _missing(named: Reference, known: KnownReferences) -> str | None:
    try:
        uuid = to_uuid(named.prefix, named.text)
    except ValueError as fault:
        return str(fault)
    if named.prefix == "wf":
        return None if uuid in known.workflows else f"There is no workflow {named.text} in this project"
    asset_type = known.assets.get(uuid)
    if asset_type is None:
        return f"There is no asset {named.text} in this project"
    return None if asset_type == named.asset_type else f"Expected an asset of type {named.asset_type}, got {asset_type}"


def _policy_faults(node: Node) -> Iterator[Fault]:
    if (node.timeout_seconds or 0) > (node.total_timeout_seconds or LONGEST_WAIT_SECONDS):
        yield Fault(("total_timeout_seconds",), "Must not be shorter than timeout_seconds")
    if node.retry is not None and node.retry.backoff.initial_seconds > node.retry.backoff.max_seconds:
        yield Fault(("retry", "backoff", "max_seconds"), "Must not be shorter than initial_seconds")


def _config_faults(node: Node) -> Iterator[Fault]:
    match node:
        case PromptNode(config=config):
            yield from _prompt_faults(config)
        case HumanNode(config=config):
            yield from _human_faults(config)
        case DelayNode(config=config):
            yield from _exactly_one(seconds=config.seconds, until=config.until, at=config.at)
            yield from _local_time_faults(config.at, "at")
        case MapNode(config=config):
            yield from _map_faults(config)
        case HttpNode(config=config):
            yield from _http_faults(config)
        case WaitNode(config=config):
            yield from _wait_faults(config)
        case RepeatNode(config=config):
            yield from _repeat_faults(config)
        case TransformNode() | WorkflowNode() | ComposeNode():
            return
        case _:
            assert_never(node)


def _prompt_faults(config: PromptConfig) -> Iterator[Fault]:
    yield from _exactly_one(asset_id=config.asset_id, template=config.template, messages=config.messages)
    yield from _message_faults(config.messages or ())
    if isinstance(config.output, JsonOutput):
        yield from _schema_faults(config.output.schema, "config", "output", "schema")
        if config.on_truncated == "keep":
            yield Fault(("config", "on_truncated"), "Must be fail with the format json: cut JSON is no JSON")


def _human_faults(config: HumanConfig) -> Iterator[Fault]:
    for index, assignee in enumerate(config.assignees):
        if (assignee.user is None) == (assignee.role is None):
            yield Fault(("config", "assignees", index), "Must have exactly one of user and role")
        elif assignee.user is not None:
            yield from _user_faults(assignee.user, index)
    repeated = [outcome for outcome, count in Counter(config.outcomes).items() if count > 1]
    if repeated:
        yield Fault(("config", "outcomes"), f"Outcomes must be unique; listed twice: {format_names(repeated)}")
    if config.form is not None:
        yield from _schema_faults(config.form, "config", "form")
    yield from _deadline_faults(config.deadline)
    then = config.deadline.then if config.deadline is not None else None
    if isinstance(then, DecideAtDeadline) and then.outcome not in config.outcomes:
        message = f"Unknown outcome '{shorten(then.outcome)}'. Supported: {format_names(config.outcomes)}"
        yield Fault(("config", "deadline", "then", "outcome"), message)


def _user_faults(user_id: str, index: int) -> Iterator[Fault]:
    try:
        if normalize_user_id(user_id) != user_id:
            yield Fault(("config", "assignees", index, "user"), "Must be in the Unicode normalization form NFC")
    except ValueError as fault:
        yield Fault(("config", "assignees", index, "user"), f"The id of a user {fault}")


def _deadline_faults(deadline: Deadline | SignalDeadline | None) -> Iterator[Fault]:
    if deadline is None:
        return
    for fault in _exactly_one(after_seconds=deadline.after_seconds, at=deadline.at):
        yield Fault(("config", "deadline", *fault.path[1:]), fault.message)
    yield from _local_time_faults(deadline.at, "deadline", "at")


def _local_time_faults(at: LocalTime | None, *path: str) -> Iterator[Fault]:
    if at is not None and not is_time_zone(at.timezone):
        message = f"Unknown time zone '{shorten(at.timezone)}'. Use a name of the IANA database, such as Europe/Berlin"
        yield Fault(("config", *path, "timezone"), message)


def _wait_faults(config: WaitConfig) -> Iterator[Fault]:
    if config.schema is not None:
        yield from _schema_faults(config.schema, "config", "schema")
    yield from _deadline_faults(config.deadline)


def _repeat_faults(config: RepeatConfig) -> Iterator[Fault]:
    try:
        compile_condition(config.until)
    except ExpressionFault as fault:
        yield Fault(("config", "until"), fault.message)


def _map_faults(config: MapConfig) -> Iterator[Fault]:
    yield from _exactly_one(items=config.items, dataset_id=config.dataset_id)
    if config.most_failed_items is not None and config.on_item_failure == "fail":
        yield Fault(("config", "most_failed_items"), 'Requires on_item_failure "continue"')


def _http_faults(config: HttpConfig) -> Iterator[Fault]:
    if not config.url.startswith(("https://", "http://", "{{", "{%")):
        yield Fault(("config", "url"), "Must start with https://, http:// or a template, such as {{ inputs.url }}")
    if config.body is not None and config.method in {"GET", "HEAD"}:
        yield Fault(("config", "body"), f"{config.method} requests have no body: remove it, or use POST, PUT or PATCH")


def _message_faults(messages: tuple[Message, ...]) -> Iterator[Fault]:
    if messages and messages[-1].role != "user":
        yield Fault(("config", "messages"), "The last message must have the role user: the model answers it")
    for index, message in enumerate(messages):
        at = ("config", "messages", index)
        if (message.template is None) == (message.parts is None):
            yield Fault(at, "Exactly one of template and parts is required")
        for place, part in enumerate(message.parts or ()):
            if isinstance(part, TextPart):
                continue
            if message.role != "user":
                yield Fault((*at, "parts", place), "Only messages with the role user can have images and files")
            if sum(source is not None for source in (part.url, part.content, part.asset_id)) != 1:
                yield Fault((*at, "parts", place), "Exactly one of url, content and asset_id is required")


def _exactly_one(**fields: object) -> Iterator[Fault]:
    given = [name for name, value in fields.items() if value is not None]
    *others, last = fields
    names = f"{', '.join(others)} and {last}"
    if len(given) > 1:
        yield Fault(("config", given[1]), f"Cannot be combined with {given[0]}: exactly one of {names} is allowed")
    elif not given:
        yield Fault(("config",), f"Missing field: exactly one of {names} is required")


def _schema_faults(schema: JsonSchema, *path: str) -> Iterator[Fault]:
    for fault in find_schema_faults(schema):
        yield Fault((*path, *fault.path), fault.message)
