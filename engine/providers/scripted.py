"""The scripted provider: answers at once, without a model, always the same to the same ask, and says that it does."""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from domain.expressions.common import ExpressionFault
from domain.graphs.configs import JsonOutput
from domain.graphs.graph import ErrorClass
from domain.graphs.validation.json_schema import compile_schema
from domain.runs.facts import Usage
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.scripted_values import SAYS_SO, CannotMake, value_for

NAME: Final = "scripted"
QUOTED_WORDS_MAX: Final = 40
WORDS_PER_DELTA: Final = 8
"""A server of models sends several tokens a piece under load, too."""

_canonical = msgspec.json.Encoder(order="deterministic")


class Scripted:
    """Stands in where no key is set, and in tests. Tokens are counted as words, and cost nothing."""

    async def complete(self, ask: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Answer, as Provider says. A JsonOutput gets a value made from its schema."""
        text, truncated = _text_for(ask)
        words = text.split(" ")
        for start in range(0, len(words), WORDS_PER_DELTA):
            piece = " ".join(words[start : start + WORDS_PER_DELTA])
            on_delta(piece if start + WORDS_PER_DELTA >= len(words) else f"{piece} ")
        return ModelResponse(text=text, usage=_usage(ask, len(words)), truncated=truncated)

    async def close(self) -> None:
        """Do nothing; there are no connections."""


def _text_for(ask: ModelRequest) -> tuple[str, bool]:
    if isinstance(ask.output, JsonOutput):
        return _json_for(ask.output), False
    words = _said_to(ask).split()
    most = ask.parameters.max_output_tokens or len(words)
    return " ".join(words[:most]), most < len(words)


def _said_to(ask: ModelRequest) -> str:
    asked = ask.prompt.replace("\0", "").split(maxsplit=QUOTED_WORDS_MAX)
    quote = " ".join(asked[:QUOTED_WORDS_MAX]) + (" …" if len(asked) > QUOTED_WORDS_MAX else "")
    return f"{SAYS_SO} No model was asked. This stands in for the answer of {ask.model} ({_digest(ask)}) to: {quote}"


def _digest(ask: ModelRequest) -> str:
    """Tell apart two asks that begin alike."""
    asked = _canonical.encode((ask.model, ask.system, ask.prompt, ask.parameters))
    return hashlib.sha256(asked).hexdigest()[:8]


def _json_for(output: JsonOutput) -> str:
    try:
        judge = compile_schema(output.schema)
        value = value_for(output.schema)
        problems = judge.problems(value)
    except (CannotMake, ExpressionFault) as reason:
        raise _beyond(str(reason)) from None
    if problems:
        raise _beyond(f"{problems[0].pointer or '/'}: {problems[0].message}")
    return msgspec.json.encode(value).decode()


def _beyond(reason: str) -> ProviderFault:
    message = f"the scripted provider can make no value for this schema, a model's key is needed: {reason}"
    return ProviderFault(ErrorClass.BAD_REQUEST, message)


def _usage(ask: ModelRequest, output_words: int) -> Usage:
    return Usage(
        model=f"{NAME}/{ask.model}",
        input_tokens=len(ask.prompt.split()) + len((ask.system or "").split()),
        output_tokens=output_words,
        latency_ms=0.0,
        first_token_ms=0.0,
        cost_usd="0",
    )
