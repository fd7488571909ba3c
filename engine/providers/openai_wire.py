"""Encode requests and decode streamed responses of OpenAI's chat completions protocol.

Source: OpenAI's API reference, "Create chat completion" and "The chat completion chunk object".
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from domain.graphs.configs import JsonOutput
from engine.providers.http_faults import ErrorDetails
from engine.providers.provider import ModelRequest
from engine.providers.wire import (
    Piece,
    build_messages,
    decode_event,
    encode_request,
    parse_token_count,
    parse_usage,
    shared_headers,
)

OutputLimitField = Literal["max_completion_tokens", "max_tokens"]
DONE = "[DONE]"
_REFUSED = "content_filter"
_CALLED_TOOL = frozenset({"tool_calls", "function_call"})


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of the response, or of the text in which the model refuses."""

    content: str | None = None
    refusal: str | None = None


class Choice(Struct, frozen=True, kw_only=True):
    """One of the requested completions; we request one."""

    delta: Delta | None = None
    finish_reason: str | None = None


class TokenCounts(Struct, frozen=True, kw_only=True):
    """Token counts; a malformed count must not lose the response, which is paid for."""

    prompt_tokens: object = 0
    completion_tokens: object = 0


class Chunk(Struct, frozen=True, kw_only=True):
    """One event of the stream. The last one before `[DONE]` has the usage and no choices."""

    choices: tuple[Choice, ...] | None = None
    usage: object = None
    error: ErrorDetails | str | None = None


_chunks = msgspec.json.Decoder(Chunk)


class OpenAiWire(Struct, frozen=True):
    """The chat completions protocol; `output_limit_field` is the server's name for the limit of output tokens."""

    output_limit_field: OutputLimitField
    path: str = "/chat/completions"

    def headers(self, request: ModelRequest, key: str) -> Mapping[str, str]:
        """Return the request's headers."""
        return {"Authorization": f"Bearer {key}", **shared_headers(request)}

    def body(self, request: ModelRequest) -> bytes:
        """Encode the request's body. Raises ProviderFault if its texts are not valid Unicode."""
        parameters = request.parameters
        system = [] if request.system is None else [{"role": "system", "content": request.system}]
        return encode_request(
            {
                "model": request.model,
                "messages": [*system, *build_messages(request)],
                "stream": True,
                "stream_options": {"include_usage": True},
                "temperature": parameters.temperature,
                "top_p": parameters.top_p,
                self.output_limit_field: parameters.max_output_tokens,
                "stop": list(parameters.stop) or None,
                "seed": parameters.seed,
                "response_format": _response_format(request.output) if isinstance(request.output, JsonOutput) else None,
            }
        )

    def piece(self, data: str) -> Piece | None:
        """Decode the data of one event; None if it does not follow the protocol."""
        if data == DONE:
            return Piece(is_last=True)
        chunk = decode_event(_chunks, data)
        if chunk is None:
            return None
        counts = parse_usage(chunk.usage, TokenCounts)
        choice = chunk.choices[0] if chunk.choices else Choice()
        delta = choice.delta or Delta()
        return Piece(
            text=delta.content or "",
            is_whole=choice.finish_reason is not None,
            truncated=choice.finish_reason == "length",
            called_tool=choice.finish_reason in _CALLED_TOOL,
            refused=bool(delta.refusal) or choice.finish_reason == _REFUSED,
            input_tokens=None if counts is None else parse_token_count(counts.prompt_tokens),
            output_tokens=None if counts is None else parse_token_count(counts.completion_tokens),
            error=chunk.error,
        )


def _response_format(output: JsonOutput) -> dict[str, Any]:
    # Not strict: strict mode supports a subset of JSON Schema, and the response is validated anyway.
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": output.schema, "strict": False}}
