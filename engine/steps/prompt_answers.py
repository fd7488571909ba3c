"""Answers of models, read as the step asks for them: as text, or as JSON that meets a schema; else what to repair."""

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


class Fit(Struct, frozen=True):
    """An answer that is what was asked for."""

    output: Any


class Unfit(Struct, frozen=True):
    """An answer that is not what was asked for, and why."""

    message: str
    problems: tuple[str, ...]


def without_text(answer: ModelResponse) -> Unfit | None:
    """Tell why an answer is none: no step can go on with nothing. None where the model wrote something."""
    if answer.text:
        return None
    why = "it ended its answer before the first word"
    if answer.called_tool:
        why = "it wanted a tool to be called, and a prompt step offers none"
    elif answer.truncated:
        why = "the limit of output tokens (max_output_tokens) was used up before the first word"
    return _unfit("the model gave no text", [why])


def read_answer(text: str, asked: TextOutput | JsonOutput) -> Fit | Unfit:
    """Read a model's answer. JSON may stand in a fence of Markdown, as many models like to write it."""
    if not isinstance(asked, JsonOutput):
        return Fit(text)
    fenced = _FENCED.fullmatch(text)
    try:
        value = msgspec.json.decode(fenced["json"] if fenced else text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        return _unfit("the answer is not JSON", [str(fault)])
    try:
        found = compile_schema(asked.schema).problems(value)
    except ExpressionFault as fault:  # too large or too deep to be judged
        return _unfit("the answer cannot be held against the schema", [str(fault)])
    problems = [f"{problem.pointer or '/'}: {problem.message}" for problem in found]
    return _unfit("the answer does not meet the schema", problems) if problems else Fit(value)


def to_repair(ask: ModelRequest, answer: str, unfit: Unfit, first: ModelRequest) -> ModelRequest:
    """Ask for a repair of an answer. Its token is its own, and the same wherever the same answer is repaired."""
    listed = "\n".join(f"- {problem}" for problem in unfit.problems)
    said = f"{unfit.message}:\n{listed}\nAnswer again, with nothing but JSON that meets the schema."
    digest = hashlib.sha256(f"{ask.idempotency_token}\n{answer}".encode(errors="replace")).hexdigest()[:16]
    return replace(
        first, repair=Repair(answer=answer, said=said), idempotency_token=f"{first.idempotency_token}.{digest}"
    )


def _unfit(what: str, problems: list[str]) -> Unfit:
    short = tuple(make_storable(problem[:PROBLEM_CHARACTERS_MAX]) for problem in problems)
    return Unfit(what, short)
