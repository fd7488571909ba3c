"""The chat completions protocol as bytes: the request's body and headers, and the chunks of the streamed answer.

Source: OpenAI's API reference, "Create chat completion" and "The chat completion chunk object".
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from domain.graphs.configs import JsonOutput
from engine.providers.http_faults import SaidError
from engine.providers.provider import ModelRequest
from engine.providers.wire import (
    Piece,
    conversation,
    decode_event,
    encode_request,
    shared_headers,
    told_tokens,
    told_usage,
)

OutputLimitField = Literal["max_completion_tokens", "max_tokens"]
DONE = "[DONE]"
_REFUSED = "content_filter"
_CALLED_TOOL = frozenset({"tool_calls", "function_call"})


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of the answer, or of the words in which the model refuses to give one."""

    content: str | None = None
    refusal: str | None = None


class Choice(Struct, frozen=True, kw_only=True):
    """One of the answers asked for; we ask for one."""

    delta: Delta | None = None
    finish_reason: str | None = None


class Counted(Struct, frozen=True, kw_only=True):
    """The tokens as the provider counts them; an odd count must not cost the answer, which is paid for."""

    prompt_tokens: object = 0
    completion_tokens: object = 0


class Chunk(Struct, frozen=True, kw_only=True):
    """One event of the stream. The last one before `[DONE]` has the usage and no choices."""

    choices: tuple[Choice, ...] | None = None
    usage: object = None
    error: SaidError | str | None = None


_chunks = msgspec.json.Decoder(Chunk)


class OpenAiWire(Struct, frozen=True):
    """The chat completions protocol, with the word that a server has for the limit of output tokens."""

    output_limit_field: OutputLimitField
    path: str = "/chat/completions"

    def headers(self, ask: ModelRequest, key: str) -> Mapping[str, str]:
        """Return the request's headers."""
        return {"Authorization": f"Bearer {key}", **shared_headers(ask)}

    def body(self, ask: ModelRequest) -> bytes:
        """Write the request's body. Raises ProviderFault when its texts cannot be written as UTF-8."""
        asked = ask.parameters
        system = [] if ask.system is None else [{"role": "system", "content": ask.system}]
        return encode_request(
            {
                "model": ask.model,
                "messages": [*system, *conversation(ask)],
                "stream": True,
                "stream_options": {"include_usage": True},
                "temperature": asked.temperature,
                "top_p": asked.top_p,
                self.output_limit_field: asked.max_output_tokens,
                "stop": list(asked.stop) or None,
                "seed": asked.seed,
                "response_format": _response_format(ask.output) if isinstance(ask.output, JsonOutput) else None,
            }
        )

    def piece(self, data: str) -> Piece | None:
        """Read the data of one event; None when it is not of the protocol."""
        if data == DONE:
            return Piece(is_last=True)
        chunk = decode_event(_chunks, data)
        if chunk is None:
            return None
        counted = told_usage(chunk.usage, Counted)
        choice = chunk.choices[0] if chunk.choices else Choice()
        delta = choice.delta or Delta()
        return Piece(
            text=delta.content or "",
            is_whole=choice.finish_reason is not None,
            truncated=choice.finish_reason == "length",
            called_tool=choice.finish_reason in _CALLED_TOOL,
            refused=bool(delta.refusal) or choice.finish_reason == _REFUSED,
            input_tokens=None if counted is None else told_tokens(counted.prompt_tokens),
            output_tokens=None if counted is None else told_tokens(counted.completion_tokens),
            error=chunk.error,
        )


def _response_format(output: JsonOutput) -> dict[str, Any]:
    # Not strict: that takes only a dialect of JSON Schema, and the answer is held against the whole schema anyway.
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": output.schema, "strict": False}}
