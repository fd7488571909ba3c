"""Validate models' answers as text, or as JSON that meets a schema, and build requests to repair them."""

import hashlib
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from domain.expressions.common import ExpressionFault
from domain.graphs.configs import JsonOutput, PromptConfig, TextOutput
from domain.graphs.validation.json_schema import compile_schema, is_quick
from engine.providers.answers.finish_reasons import Finish
from engine.providers.provider import ModelRequest, ModelResponse, Repair
from engine.steps.contract import make_storable
from engine.steps.json_in_text import NoJson, find_json_values

PROBLEM_CHARACTERS_MAX: Final = 500
CHARACTERS_PER_WORD: Final = 4
INLINE_VALUES_MAX: Final = 100_000


class ValidAnswer(Struct, frozen=True):
    """An answer in the requested format."""

    output: Any


class InvalidAnswer(Struct, frozen=True):
    """An answer that is not in the requested format, and why."""

    message: str
    problems: tuple[str, ...]


def format_invalid(invalid: InvalidAnswer) -> str:
    """Return the message of a step that fails because of an invalid answer."""
    return f"{invalid.message}: {'; '.join(invalid.problems)}"


def check_text_present(answer: ModelResponse) -> InvalidAnswer | None:
    """Return why a response without text has none; None if it has text."""
    if answer.text.strip("\ufeff") or answer.media:
        return None
    why = "the response ended before the first word"
    if answer.called_tool:
        why = "it requested a tool call, but prompt steps offer no tools"
    elif answer.truncated:
        why = "max_output_tokens was used up before the first word"
    return _build_invalid("The model returned no text", [why])


def validate_answer(text: str, output: TextOutput | JsonOutput) -> ValidAnswer | InvalidAnswer:
    """Validate a model's answer. JSON may be in a fence or between sentences: the first valid value counts."""
    if not isinstance(output, JsonOutput):
        return ValidAnswer(text)
    first: InvalidAnswer | None = None
    try:
        for value in find_json_values(text):
            validated = _validate_value(value, output)
            if isinstance(validated, ValidAnswer):
                return validated
            first = first or validated
    except NoJson as fault:
        return _build_invalid("The answer is not valid JSON", [str(fault)])
    return first or _build_invalid("The answer is not valid JSON", ["it contains none"])


def _validate_value(value: Any, output: JsonOutput) -> ValidAnswer | InvalidAnswer:  # noqa: ANN401  # any JSON value
    try:
        found = compile_schema(output.schema).problems(value)
    except ExpressionFault as fault:  # too large or too deeply nested to validate
        return _build_invalid("The answer cannot be validated", [str(fault)])
    problems = [f"{problem.pointer or '/'}: {problem.message}" for problem in found]
    return _build_invalid("The answer does not meet the schema", problems) if problems else ValidAnswer(value)


def find_cut(answer: ModelResponse, config: PromptConfig) -> str | None:
    """Return why a cut answer fails its step; None if the answer is not cut, or the step keeps cut answers.

    Cut JSON always fails, since the same question would be cut in the same place again.
    """
    is_json = isinstance(config.output, JsonOutput)
    if not (is_json or config.on_truncated == "fail") or not answer.text:
        return None
    reason = answer.usage.finish_reason
    shown = "" if reason is None else f" (finish reason: {reason})"
    if answer.finish is Finish.CUT:
        limit = config.parameters.max_output_tokens
        now = "which is not set, so that the server's own limit applies" if limit is None else f"now {limit}"
        what = "The JSON was cut" if is_json else "The answer was cut"
        return (
            f"{what} by a limit{shown}. Raise max_output_tokens ({now}), ask for a shorter answer, or, if the model's "
            "context window is full, shorten the prompt"
        )
    if answer.finish is Finish.UNKNOWN and not is_json:
        return f"It is not known whether the answer is whole{shown}, and on_truncated is fail"
    return None


def is_quick_to_validate(text: str, output: TextOutput | JsonOutput) -> bool:
    """Return whether validating an answer surely takes a few milliseconds at most."""
    if not isinstance(output, JsonOutput):
        return True
    characters = len(text) // CHARACTERS_PER_WORD  # each word is a value at most
    return is_quick(output.schema, [""] * min(characters, INLINE_VALUES_MAX))


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
