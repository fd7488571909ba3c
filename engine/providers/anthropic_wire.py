"""The messages protocol as bytes: the request's body and headers, and the events of the streamed answer.

Source: Anthropic's API reference, "Create a Message", "Streaming Messages" and "Errors". Its schemas of answers are not
used: a schema is asked for in words, and the answer is held against the whole of it anyway. It knows no seed.
"""

from collections.abc import Mapping

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

VERSION = "2023-06-01"
_CUT_SHORT = frozenset({"max_tokens", "model_context_window_exceeded"})


class Counted(Struct, frozen=True, kw_only=True):
    """The tokens as the provider counts them, so far; what it read from a cache is counted apart."""

    input_tokens: object = None
    cache_creation_input_tokens: object = None
    cache_read_input_tokens: object = None
    output_tokens: object = None

    @property
    def all_input_tokens(self) -> int | None:
        """Return the tokens of the whole input; None where they are not told."""
        told = told_tokens(self.input_tokens)
        if told is None:
            return None
        cached = (self.cache_creation_input_tokens, self.cache_read_input_tokens)
        return told + sum(told_tokens(count) or 0 for count in cached)


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of the answer, or why it ended."""

    text: str = ""
    stop_reason: str | None = None


class Message(Struct, frozen=True, kw_only=True):
    """The answer as it begins: empty, with the tokens of the input."""

    usage: object = None


class Event(Struct, frozen=True, kw_only=True):
    """One event of the stream, of whichever type; unknown types are to be taken no notice of."""

    type: str
    message: Message | None = None
    delta: Delta | None = None
    usage: object = None
    error: SaidError | None = None


_events = msgspec.json.Decoder(Event)


class AnthropicWire(Struct, frozen=True):
    """The messages protocol; it wants a limit of output tokens in every request."""

    output_tokens_default: int
    path: str = "/v1/messages"

    def headers(self, ask: ModelRequest, key: str) -> Mapping[str, str]:
        """Return the request's headers."""
        return {"x-api-key": key, "anthropic-version": VERSION, **shared_headers(ask)}

    def body(self, ask: ModelRequest) -> bytes:
        """Write the request's body. Raises ProviderFault when its texts cannot be written as UTF-8."""
        asked = ask.parameters
        return encode_request(
            {
                "model": ask.model,
                "max_tokens": asked.max_output_tokens or self.output_tokens_default,
                "system": _system_of(ask),
                "messages": conversation(ask),
                "stream": True,
                "temperature": asked.temperature,
                "top_p": asked.top_p,
                "stop_sequences": list(asked.stop) or None,
            }
        )

    def piece(self, data: str) -> Piece | None:
        """Read the data of one event; None when it is not of the protocol."""
        event = decode_event(_events, data)
        if event is None:
            return None
        match event.type:
            case "error":
                return Piece(error=event.error or SaidError())
            case "message_start" if event.message is not None:
                return _counted(told_usage(event.message.usage, Counted) or Counted())
            case "content_block_delta" if event.delta is not None:
                return Piece(text=event.delta.text)
            case "message_delta" if event.delta is not None:
                return _ended(event.delta.stop_reason, told_usage(event.usage, Counted) or Counted())
            case "message_stop":
                return Piece(is_last=True)
            case _:
                return Piece()


def _counted(counted: Counted) -> Piece:
    return Piece(input_tokens=counted.all_input_tokens, output_tokens=told_tokens(counted.output_tokens))


def _ended(reason: str | None, counted: Counted) -> Piece:
    return Piece(
        is_whole=reason is not None,
        truncated=reason in _CUT_SHORT,
        refused=reason == "refusal",
        called_tool=reason == "tool_use",
        input_tokens=counted.all_input_tokens,
        output_tokens=told_tokens(counted.output_tokens),
    )


def _system_of(ask: ModelRequest) -> str | None:
    if not isinstance(ask.output, JsonOutput):
        return ask.system
    schema = msgspec.json.encode(ask.output.schema).decode()
    told = f"Answer with nothing but JSON, without a fence, that meets this JSON Schema:\n{schema}"
    return told if ask.system is None else f"{ask.system}\n\n{told}"
