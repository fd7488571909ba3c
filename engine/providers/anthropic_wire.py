"""Encode requests and decode streamed responses of Anthropic's messages protocol.

Source: Anthropic's API reference, "Create a Message", "Streaming Messages" and "Errors". Structured
outputs are not used: the prompt contains the schema, and the response is validated anyway. There is no seed.
"""

from collections.abc import Mapping

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

VERSION = "2023-06-01"
_CUT_SHORT = frozenset({"max_tokens", "model_context_window_exceeded"})


class TokenCounts(Struct, frozen=True, kw_only=True):
    """Token counts so far; tokens read from a cache are counted separately."""

    input_tokens: object = None
    cache_creation_input_tokens: object = None
    cache_read_input_tokens: object = None
    output_tokens: object = None

    @property
    def all_input_tokens(self) -> int | None:
        """Return the tokens of the whole input; None if they are not reported."""
        uncached = parse_token_count(self.input_tokens)
        if uncached is None:
            return None
        cached = (self.cache_creation_input_tokens, self.cache_read_input_tokens)
        return uncached + sum(parse_token_count(count) or 0 for count in cached)


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of the response, or the reason why it ended."""

    text: str = ""
    stop_reason: str | None = None


class Message(Struct, frozen=True, kw_only=True):
    """The start of the response: empty, with the token count of the input."""

    usage: object = None


class Event(Struct, frozen=True, kw_only=True):
    """One event of the stream; unknown types must be ignored."""

    type: str
    message: Message | None = None
    delta: Delta | None = None
    usage: object = None
    error: ErrorDetails | None = None


_events = msgspec.json.Decoder(Event)


class AnthropicWire(Struct, frozen=True):
    """The messages protocol; every request must have a limit of output tokens."""

    output_tokens_default: int
    path: str = "/v1/messages"

    def headers(self, request: ModelRequest, key: str) -> Mapping[str, str]:
        """Return the request's headers."""
        return {"x-api-key": key, "anthropic-version": VERSION, **shared_headers(request)}

    def body(self, request: ModelRequest) -> bytes:
        """Encode the request's body. Raises ProviderFault if its texts are not valid Unicode."""
        parameters = request.parameters
        return encode_request(
            {
                "model": request.model,
                "max_tokens": parameters.max_output_tokens or self.output_tokens_default,
                "system": _build_system_prompt(request),
                "messages": build_messages(request),
                "stream": True,
                "temperature": parameters.temperature,
                "top_p": parameters.top_p,
                "stop_sequences": list(parameters.stop) or None,
            }
        )

    def piece(self, data: str) -> Piece | None:
        """Decode the data of one event; None if it does not follow the protocol."""
        event = decode_event(_events, data)
        if event is None:
            return None
        match event.type:
            case "error":
                return Piece(error=event.error or ErrorDetails())
            case "message_start" if event.message is not None:
                return _build_start(parse_usage(event.message.usage, TokenCounts) or TokenCounts())
            case "content_block_delta" if event.delta is not None:
                return Piece(text=event.delta.text)
            case "message_delta" if event.delta is not None:
                return _build_end(event.delta.stop_reason, parse_usage(event.usage, TokenCounts) or TokenCounts())
            case "message_stop":
                return Piece(is_last=True)
            case _:
                return Piece()


def _build_start(counts: TokenCounts) -> Piece:
    return Piece(input_tokens=counts.all_input_tokens, output_tokens=parse_token_count(counts.output_tokens))


def _build_end(reason: str | None, counts: TokenCounts) -> Piece:
    return Piece(
        is_whole=reason is not None,
        truncated=reason in _CUT_SHORT,
        refused=reason == "refusal",
        called_tool=reason == "tool_use",
        input_tokens=counts.all_input_tokens,
        output_tokens=parse_token_count(counts.output_tokens),
    )


def _build_system_prompt(request: ModelRequest) -> str | None:
    if not isinstance(request.output, JsonOutput):
        return request.system
    schema = msgspec.json.encode(request.output.schema).decode()
    instruction = f"Answer with nothing but JSON, without a fence, that meets this JSON Schema:\n{schema}"
    return instruction if request.system is None else f"{request.system}\n\n{instruction}"
