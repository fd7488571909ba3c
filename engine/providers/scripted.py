"""The scripted provider: deterministic responses without a model, marked as such."""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from domain.expressions.common import ExpressionFault
from domain.graphs.configs import JsonOutput, list_set_parameters
from domain.graphs.graph import ErrorClass
from domain.graphs.validation.json_schema import compile_schema
from domain.runs.facts import Usage
from engine.providers.answers.finish_reasons import Finish
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.scripted_values import MARKER, CannotGenerate, generate_value

NAME: Final = "scripted"
QUOTED_WORDS_MAX: Final = 40
WORDS_PER_DELTA: Final = 8
"""Several words a delta, as model servers under load send several tokens."""

_canonical = msgspec.json.Encoder(order="deterministic")


class Scripted:
    """Used if no key is set, and in tests. Tokens are counted as words, and cost nothing."""

    async def complete(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Return a response; for a JsonOutput, a value generated from its schema. See Provider."""
        text, truncated = _text_for(request)
        words = text.split(" ")
        for start in range(0, len(words), WORDS_PER_DELTA):
            piece = " ".join(words[start : start + WORDS_PER_DELTA])
            on_delta(piece if start + WORDS_PER_DELTA >= len(words) else f"{piece} ")
        finish = Finish.CUT if truncated else Finish.COMPLETE
        return ModelResponse(text=text, usage=_usage(request, len(words), finish), finish=finish)

    async def close(self) -> None:
        """Return at once; there are no connections."""


def _text_for(request: ModelRequest) -> tuple[str, bool]:
    if isinstance(request.output, JsonOutput):
        return _json_for(request.output), False
    words = _build_text(request).split()
    most = request.parameters.max_output_tokens or len(words)
    return " ".join(words[:most]), most < len(words)


def _build_text(request: ModelRequest) -> str:
    asked = request.prompt.replace("\0", "").split(maxsplit=QUOTED_WORDS_MAX)
    quote = " ".join(asked[:QUOTED_WORDS_MAX]) + (" …" if len(asked) > QUOTED_WORDS_MAX else "")
    model = f"{request.model} ({_digest(request)})"
    return f"{MARKER} No model was asked. This stands in for the answer of {model} to: {quote}"


def _digest(request: ModelRequest) -> str:
    """Return a digest that distinguishes requests with the same beginning."""
    asked = _canonical.encode((request.model, request.system, request.prompt, list_set_parameters(request.parameters)))
    return hashlib.sha256(asked).hexdigest()[:8]


def _json_for(output: JsonOutput) -> str:
    try:
        judge = compile_schema(output.schema)
        value = generate_value(output.schema)
        problems = judge.problems(value)
    except (CannotGenerate, ExpressionFault) as error:
        raise _build_fault(str(error)) from None
    if problems:
        raise _build_fault(f"{problems[0].pointer or '/'}: {problems[0].message}")
    return msgspec.json.encode(value).decode()


def _build_fault(reason: str) -> ProviderFault:
    message = f"The scripted provider cannot generate a value for this schema; configure a model provider: {reason}"
    return ProviderFault(ErrorClass.BAD_REQUEST, message)


def _usage(request: ModelRequest, output_words: int, finish: Finish) -> Usage:
    return Usage(
        model=f"{NAME}/{request.model}",
        input_tokens=len(request.prompt.split()) + len((request.system or "").split()),
        output_tokens=output_words,
        latency_ms=0.0,
        first_token_ms=0.0,
        cost_usd="0",
        finish_reason="length" if finish is Finish.CUT else "stop",
        truncated=finish is Finish.CUT,
    )
