"""Validate models' answers as text, or as JSON that meets a schema, and build requests to repair them."""

import hashlib
import re
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from domain.expressions.common import ExpressionFault
from domain.graphs.configs import JsonOutput, TextOutput
from domain.graphs.validation.json_schema import compile_schema
from engine.providers.provider import ModelRequest, ModelResponse, Repair
from engine.steps.contract import make_storable

PROBLEM_CHARACTERS_MAX: Final = 500
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(?P<json>.*)\n\s*```\s*", re.DOTALL)


class ValidAnswer(Struct, frozen=True):
    """An answer in the requested format."""

    output: Any


class InvalidAnswer(Struct, frozen=True):
    """An answer that is not in the requested format, and why."""

    message: str
    problems: tuple[str, ...]


def check_text_present(answer: ModelResponse) -> InvalidAnswer | None:
    """Return why a response without text has none; None if it has text."""
    if answer.text:
        return None
    why = "the response ended before the first word"
    if answer.called_tool:
        why = "it requested a tool call, but prompt steps offer no tools"
    elif answer.truncated:
        why = "max_output_tokens was used up before the first word"
    return _build_invalid("The model returned no text", [why])


def validate_answer(text: str, output: TextOutput | JsonOutput) -> ValidAnswer | InvalidAnswer:
    """Validate a model's answer. JSON may be inside a Markdown code fence, as many models write it."""
    if not isinstance(output, JsonOutput):
        return ValidAnswer(text)
    fenced = _FENCED.fullmatch(text)
    try:
        value = msgspec.json.decode(fenced["json"] if fenced else text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        return _build_invalid("The answer is not valid JSON", [str(fault)])
    try:
        found = compile_schema(output.schema).problems(value)
    except ExpressionFault as fault:  # too large or too deeply nested to validate
        return _build_invalid("The answer cannot be validated", [str(fault)])
    problems = [f"{problem.pointer or '/'}: {problem.message}" for problem in found]
    return _build_invalid("The answer does not meet the schema", problems) if problems else ValidAnswer(value)


def build_repair(request: ModelRequest, answer: str, invalid: InvalidAnswer, first: ModelRequest) -> ModelRequest:
    """Return the request to repair an answer; its token depends on the answer, so that a repetition has the same."""
    listed = "\n".join(f"- {problem}" for problem in invalid.problems)
    said = f"{invalid.message}:\n{listed}\nAnswer again, with nothing but JSON that meets the schema."
    digest = hashlib.sha256(f"{request.idempotency_token}\n{answer}".encode(errors="replace")).hexdigest()[:16]
    return replace(
        first, repair=Repair(answer=answer, said=said), idempotency_token=f"{first.idempotency_token}.{digest}"
    )


def _build_invalid(message: str, problems: list[str]) -> InvalidAnswer:
    shortened = tuple(make_storable(problem[:PROBLEM_CHARACTERS_MAX]) for problem in problems)
    return InvalidAnswer(message, shortened)
