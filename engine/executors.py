"""The executors: how a step of each kind is executed, and how every error becomes a failure of the step."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog
from msgspec.structs import replace

from domain.expressions.budget import Budget, TooMuchWork
from domain.expressions.common import ExpressionFault
from domain.graphs.configs import HttpConfig
from domain.graphs.graph import (
    ComposeNode,
    ErrorClass,
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
from domain.payload import Payload
from domain.runs.facts import CallRecord, Usage
from domain.runs.steps import StepStatus
from engine.providers.turns import Media
from engine.steps.attempts import compute_total_deadline
from engine.steps.call_records import OpenCall
from engine.steps.child import ChildSteps
from engine.steps.compose import compose
from engine.steps.contract import Failed, Result, StepCall, Succeeded, Waiting, build_failure
from engine.steps.delay import build_delay_output, build_timer_wait, compute_wait_end
from engine.steps.evaluator import Evaluator
from engine.steps.http.step import HttpSteps
from engine.steps.human import build_human_wait, build_shown_values, hash_shown_values
from engine.steps.prompt import Prompts
from engine.steps.signal import build_signal_wait
from engine.steps.transform import prepare_transform
from store.contents import ContentStore, encode_content, inline, keep, keep_encoded
from store.errors import ContentTooLarge, TooDeep, Unavailable, UnstorableText
from store.log.json_encoding import outgrows
from store.retrying import Retrying
from store.tracing import Spans

T = TypeVar("T")
ENCODED_INLINE_BYTES: Final = 256 * 1024
LARGE_OUTPUTS_AT_ONCE: Final = 8
"""Maximum number of concurrent writes to the content store: each holds up to 16 MB of memory."""
BUG: Final = "Internal error in Callsheet; see the engine's log"


def is_inline(node: Node) -> bool:
    """Return whether a step is pure and quick: it may be executed twice, so its claim need not be stored first."""
    return isinstance(node, TransformNode | ComposeNode)


def _show_nobody(_call: StepCall) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Executors:
    """Executes steps. `shown_key` keys the hash of what a person is shown.

    `present` shows the agent that works on a step for the length of a block.
    """

    prompts: Prompts
    http: HttpSteps
    children: ChildSteps
    contents: ContentStore
    clock: Callable[[], datetime]
    shown_key: bytes
    slow: Evaluator
    present: Callable[[StepCall], AbstractContextManager[None]] = _show_nobody
    spans: Spans = field(default_factory=Spans)
    keeping: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_OUTPUTS_AT_ONCE))

    def execute_inline(self, call: StepCall) -> Result | None:
        """Execute an inline step; None when it takes long or its output must be stored first: then `execute` it."""
        node = call.node
        if not isinstance(node, TransformNode | ComposeNode):
            return None
        try:
            output = _prepare(call, node)(Budget.inline())
            payload = reuse_payload(call, output) or inline(output)
        except TooMuchWork:
            return None
        except ExpressionFault as fault:
            return build_failure(ErrorClass.EXPRESSION, str(fault))
        except (TooDeep, UnstorableText) as fault:
            return build_failure(ErrorClass.INVALID_OUTPUT, str(fault))
        except Exception:  # noqa: BLE001  # `_fail_by_bug` logs it
            return _fail_by_bug(call)
        return None if payload is None else Succeeded(output, payload)

    async def execute(self, call: StepCall) -> Result:
        """Execute one attempt within its timeout. Never raises, except when it is cancelled."""
        try:
            with self.spans.open("step", run=call.run_id, node=call.node.id), self.present(call):
                return await Retrying(Unavailable).call(lambda: self._execute_within_timeout(call))
        except ExpressionFault as fault:
            return build_failure(ErrorClass.EXPRESSION, str(fault))
        except (ContentTooLarge, TooDeep, UnstorableText) as fault:
            return build_failure(ErrorClass.INVALID_OUTPUT, str(fault))
        except Exception:  # noqa: BLE001  # `_fail_by_bug` logs it
            return _fail_by_bug(call)

    async def _execute_within_timeout(self, call: StepCall) -> Result:
        """Execute one attempt within its own timeout and what remains of the step's total timeout."""
        bound = call.node.timeout_seconds
        left = remaining_total_seconds(call, self.clock())
        total_is_nearer = left is not None and (bound is None or left < bound)
        message = (
            f"The step exceeded its total_timeout_seconds of {call.node.total_timeout_seconds}"
            if total_is_nearer
            else f"The attempt exceeded its timeout_seconds of {bound}"
        )
        if left is not None and left <= 0:
            return build_failure(ErrorClass.TIMEOUT, message)
        usages: list[Usage] = []
        try:
            async with asyncio.timeout(left if total_is_nearer else bound):
                return await self._execute(replace(call, aborted=usages.append))
        except TimeoutError:
            return Failed(build_failure(ErrorClass.TIMEOUT, message).error, usages[-1] if usages else None)
        except asyncio.CancelledError:
            for usage in usages:
                call.aborted(usage)
            raise

    async def _execute(self, call: StepCall) -> Result:
        node = call.node
        if isinstance(node, TransformNode | ComposeNode):
            return await self._keep_output(call, await self.slow.evaluate(call.workspace_id, _prepare(call, node)))
        if isinstance(node, PromptNode):
            answer = await self.prompts.complete(call, node.config)
            if isinstance(answer, Failed):
                return answer
            return await self._keep_output(call, answer.output, answer.usage, answer.end_record)
        if isinstance(node, HttpNode):
            return await self._execute_http(call, node.config)
        if isinstance(node, HumanNode):
            seen = call.data.to_expression_data()
            shown = await self.slow.evaluate(call.workspace_id, partial(build_shown_values, node.config, seen))
            payload = await self._keep(call.workspace_id, shown)
            return Waiting(
                build_human_wait(call, node.config, payload, hash_shown_values(shown, self.shown_key), self.clock())
            )
        if isinstance(node, MapNode | WorkflowNode | RepeatNode):
            return await self.children.start_waiting(call, node, self.clock())
        now = self.clock()
        if isinstance(node, WaitNode):
            return Waiting(build_signal_wait(call, node.config, now))
        seen = call.data.to_expression_data()
        until = await self.slow.evaluate(call.workspace_id, partial(compute_wait_end, node.config, seen, now))
        if until > now:
            return Waiting(build_timer_wait(call, until, now))
        return await self._keep_output(call, build_delay_output(until))

    async def _execute_http(self, call: StepCall, config: HttpConfig) -> Result:
        opened: OpenCall | None = None

        async def record(document: dict[str, Any]) -> None:
            nonlocal opened
            opened = await self.prompts.recorder.begin(call, 1, document)

        async def end() -> CallRecord | None:
            return None if opened is None else opened.end()

        try:
            response = await self.http.call(call, config, record)
            if isinstance(response, Failed):
                return replace(response, call=await end())
            if isinstance(body := response["body"], Media):
                response["body"] = await self.prompts.attachments.keep(call.workspace_id, call.run_id, body)
            return await self._keep_output(call, response, end_record=end)
        finally:
            if opened is not None:
                opened.stop()

    async def _keep_output(
        self,
        call: StepCall,
        output: Any,  # noqa: ANN401  # JSON
        usage: Usage | None = None,
        end_record: Callable[[], Awaitable[CallRecord | None]] | None = None,
    ) -> Result:
        if usage is not None:
            call.aborted(usage)  # in case of a timeout or a cancellation before the output is stored
        record = None if end_record is None else await end_record()
        try:
            payload = inline(output)
            if payload is None:
                async with self.keeping:
                    payload = await Retrying(Unavailable).call(lambda: self._keep(call.workspace_id, output))
            return Succeeded(output, payload, usage, record)
        except (ContentTooLarge, TooDeep, UnstorableText) as fault:
            # With its usage, which is paid for.
            return Failed(build_failure(ErrorClass.INVALID_OUTPUT, str(fault)).error, usage, call=record)

    async def _keep(self, workspace_id: UUID, value: object) -> Payload:
        """Keep a value; a large one is encoded in a worker: a request repeated 17 times held the loop for seconds."""
        if not outgrows(value, ENCODED_INLINE_BYTES):
            return await keep(self.contents, workspace_id, value)
        return await keep_encoded(
            self.contents, workspace_id, await self.slow.run_in_worker(workspace_id, partial(encode_content, value))
        )


def _prepare(call: StepCall, node: TransformNode | ComposeNode) -> Callable[[Budget], Any]:
    """Return the work of a pure step; it can be pickled."""
    if isinstance(node, ComposeNode):
        return partial(compose, call.data.to_expression_data(), node.config)
    return prepare_transform(call, node.config)


def reuse_payload(call: StepCall, output: object) -> Payload | None:
    """Return the payload of an input that a step passes through unchanged, since measuring it again took 2 µs a step.

    Only payloads that have been measured qualify: inputs of the run, and outputs of completed steps.
    """
    steps = call.run.steps
    match call.graph.incoming[call.node.id]:
        case ():
            payload = call.run.inputs
        case (edge,) if (step := steps.get(edge.source)) is not None and step.status is StepStatus.COMPLETED:
            payload = step.output
        case _:
            return None
    return payload if payload.ref is None and payload.value is output else None


def remaining_total_seconds(call: StepCall, now: datetime) -> float | None:
    """Return how many seconds remain of a step's total timeout; None where it has none."""
    ends_at = compute_total_deadline(call.node, call.run.steps[call.node.id])
    return None if ends_at is None else (ends_at - now).total_seconds()


def _fail_by_bug(call: StepCall) -> Failed:
    """Return the failure of a step by a bug of ours, and log it: a bug must not end the other runs."""
    structlog.get_logger("engine").exception("step.bug", run=str(call.run_id), node=call.node.id)
    return build_failure(ErrorClass.INTERNAL, BUG)
