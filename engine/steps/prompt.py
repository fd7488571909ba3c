"""Execute prompt steps: render the prompt, call the model, and validate its answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from domain.expressions.budget import Budget, TooMuchWork
from domain.expressions.jmespath_queries import compile_query
from domain.expressions.liquid_templates import render_template
from domain.graphs.configs import JsonOutput, PromptConfig, TextOutput
from domain.graphs.graph import ErrorClass
from domain.ids import to_uuid
from domain.runs.facts import CallRecord, Usage
from domain.runs.prices import add_cost
from engine.providers.choice import Providers
from engine.providers.provider import ModelRequest, ModelResponse, Provider, ProviderFault
from engine.providers.turns import Turn
from engine.steps.attachments import Attachments, render_messages
from engine.steps.call_records import CallRecorder, OpenCall, describe_request
from engine.steps.contract import AnswerRejected, Failed, StepCall, build_failure
from engine.steps.evaluator import Evaluator
from engine.steps.prompt_answers import (
    InvalidAnswer,
    ValidAnswer,
    build_repair,
    check_text_present,
    find_cut,
    format_invalid,
    is_quick_to_validate,
    validate_answer,
)


class PromptAssets(Protocol):
    """Reads the text of a prompt asset at a pinned version."""

    async def __call__(self, workspace_id: UUID, asset_id: UUID, version: int) -> str:
        """Return the text. Raises ExpressionFault if the content is not text."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """A valid answer: text, or JSON that meets the schema. `end_record` returns the record of its call."""

    output: Any
    usage: Usage
    end_record: Callable[[], Awaitable[CallRecord | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Executes prompt steps."""

    providers: Providers
    prompt_assets: PromptAssets
    on_delta: Callable[[StepCall, int], Callable[[str], None]]
    """Returns a function that publishes the pieces of an answer, by the number of the call (from 1)."""
    on_end: Callable[[StepCall], None]
    """Called when no further pieces of the attempt follow."""
    recorder: CallRecorder
    attachments: Attachments
    timeout_seconds: float
    slow: Evaluator

    async def complete(self, call: StepCall, config: PromptConfig) -> Answered | Failed:
        """Call the model, again to repair invalid answers. Raises ExpressionFault if the prompt cannot be rendered."""
        try:
            provider, model = self.providers.choose(config.model)
            return await self._call_until_valid(provider, await self._build_request(call, config, model), call, config)
        except ProviderFault as fault:
            failure = build_failure(fault.error_class, fault.message)
            usage = None if fault.usage is None else add_cost(fault.usage, call.run.pins.prices)
            return Failed(failure.error, usage, retry_after_seconds=fault.retry_after_seconds, call=fault.call)
        finally:
            self.on_end(call)

    async def _call_until_valid(
        self, provider: Provider, first: ModelRequest, call: StepCall, config: PromptConfig
    ) -> Answered | Failed:
        request = first
        most = first.output.repair_attempts if isinstance(first.output, JsonOutput) else 0
        repair = 1
        while True:
            opened, answer = await self._ask(provider, request, call, config.model, repair)
            usage = add_cost(answer.usage, call.run.pins.prices)
            cut = find_cut(answer, config)
            validated = check_text_present(answer) or await self._validate(call.workspace_id, answer.text, first.output)
            is_valid = cut is None and isinstance(validated, ValidAnswer)
            end = partial(self.recorder.end, call, opened, answer, is_output=is_valid)
            if cut is not None:
                failure = build_failure(ErrorClass.INVALID_OUTPUT, cut)
                return Failed(failure.error, usage, is_final=True, call=await end())
            if isinstance(validated, ValidAnswer):
                return Answered(await self._add_media(call, validated.output, answer), usage, end)
            record = await end()
            if repair > most:
                failure = build_failure(ErrorClass.INVALID_OUTPUT, format_invalid(validated))
                return Failed(failure.error, usage, call=record)
            call.reject(
                AnswerRejected(
                    attempt=call.attempt, repair=repair, problems=validated.problems, usage=usage, call=record
                )
            )
            request = build_repair(request, answer.text, validated, first)
            repair += 1

    async def _add_media(self, call: StepCall, output: Any, answer: ModelResponse) -> Any:  # noqa: ANN401  # JSON
        """Return the output with the images that the model made, if it made any."""
        if not answer.media:
            return output
        kept = [await self.attachments.keep(call.workspace_id, call.run_id, media) for media in answer.media]
        return {"text": answer.text, "media": kept}

    async def _ask(
        self, provider: Provider, request: ModelRequest, call: StepCall, name: str, number: int
    ) -> tuple[OpenCall | None, ModelResponse]:
        """Call the model once, on record. Raises ProviderFault."""
        opened = await self.recorder.begin(call, number, describe_request(request, name))
        try:
            return opened, await provider.complete(request, self.on_delta(call, number))
        except ProviderFault as fault:
            fault.call = None if opened is None else opened.end()
            raise
        finally:
            if opened is not None:
                opened.stop()

    async def _validate(
        self, workspace_id: UUID, text: str, output: TextOutput | JsonOutput
    ) -> ValidAnswer | InvalidAnswer:
        """Validate an answer, in a worker if that may take long."""
        if is_quick_to_validate(text, output):
            return validate_answer(text, output)
        try:
            return await self.slow.run_in_worker(workspace_id, partial(validate_answer, text, output))
        except TooMuchWork as fault:
            return InvalidAnswer("The answer cannot be validated", (fault.message,))

    async def _build_request(self, call: StepCall, config: PromptConfig, model: str) -> ModelRequest:
        template, seen = await self._read_template(call, config), call.data.to_expression_data()
        rendered = await self.slow.evaluate(call.workspace_id, partial(_render, config, template, seen))
        turns = await self.attachments.fetch(call.workspace_id, rendered.turns, call.run.pins.assets)
        return ModelRequest(
            model=model,
            system=rendered.system,
            prompt=rendered.prompt,
            turns=turns,
            parameters=config.parameters,
            output=config.output,
            idempotency_token=call.idempotency_token,
            traceparent=call.traceparent,
            workspace_id=call.workspace_id,
            timeout_seconds=call.node.timeout_seconds or self.timeout_seconds,
            aborted=lambda usage: call.aborted(add_cost(usage, call.run.pins.prices)),
        )

    async def _read_template(self, call: StepCall, config: PromptConfig) -> str:
        if config.asset_id is None:
            return config.template or ""
        asset_id = to_uuid("ast", config.asset_id)
        return await self.prompt_assets(call.workspace_id, asset_id, call.run.pins.assets[asset_id])


class Rendered(Struct, frozen=True, kw_only=True):
    """The rendered prompt; `turns` are empty unless the node has messages."""

    system: str | None
    prompt: str
    turns: tuple[Turn, ...] = ()


def _render(config: PromptConfig, template: str, seen: Mapping[str, Any], budget: Budget) -> Rendered:
    if config.variables:
        picked = {name: compile_query(query).apply(seen, budget) for name, query in config.variables.items()}
        seen = {**seen, "variables": picked}
    system = None if config.system is None else render_template(config.system, seen, budget)
    if config.messages is None:
        return Rendered(system=system, prompt=render_template(template, seen, budget))
    said = render_messages(config.messages, seen, budget)
    systems = [text for text in (system, *said.systems) if text is not None]
    prompt = said.turns[-1].text
    return Rendered(system="\n\n".join(systems) or None, prompt=prompt, turns=said.turns)
