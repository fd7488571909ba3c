"""Encode requests and decode streamed responses of Anthropic's messages protocol.

Source: Anthropic's API reference, "Create a Message", "Streaming Messages" and "Errors". Structured
outputs are not used: the prompt contains the schema, and the response is validated anyway. There is no seed.
"""

from base64 import b64encode
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.providers.answers.finish_reasons import MESSAGES, Ending, Finish, read_ending
from engine.providers.provider import ModelRequest
from engine.providers.traits import ServerTraits
from engine.providers.turns import MediaPiece
from engine.providers.wire import (
    Piece,
    build_messages,
    build_system_prompt,
    decode_event,
    encode_request,
    find_event_error,
    parse_token_count,
    parse_usage,
    read_parts,
)

VERSION = "2023-06-01"
_DONE = "[DONE]"
"""Sent by servers that translate from the other protocol."""


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

    text: object = None
    thinking: object = None
    stop_reason: object = None

    def read(self) -> Piece:
        """Return the texts."""
        return Piece(
            text=self.text if isinstance(self.text, str) else "",
            reasoning=self.thinking if isinstance(self.thinking, str) else "",
        )


class Message(Struct, frozen=True, kw_only=True):
    """The start of the response: usually empty, with the token count of the input."""

    content: object = None
    usage: object = None


class Event(Struct, frozen=True, kw_only=True):
    """One event of the stream; unknown types must be ignored. A whole message, not streamed, has the type `message`."""

    type: str
    message: object = None
    delta: Delta | None = None
    content_block: object = None
    content: object = None
    stop_reason: object = None
    usage: object = None


_events = msgspec.json.Decoder(Event)


class AnthropicWire(Struct, frozen=True):
    """The messages protocol; every request must have a limit of output tokens."""

    output_tokens_default: int
    finish_reasons: Mapping[str, Finish] = MESSAGES
    path: str = "/v1/messages"

    def auth_headers(self, key: str) -> Mapping[str, str]:
        """Return the header that carries the key."""
        return {"x-api-key": key}

    def headers(self) -> Mapping[str, str]:
        """Return the version of the protocol."""
        return {"anthropic-version": VERSION}

    def body(self, request: ModelRequest, traits: ServerTraits) -> bytes:
        """Encode the request's body. Raises ProviderFault if its texts are not valid Unicode."""
        parameters = request.parameters
        return encode_request(
            {
                "model": request.model,
                "max_tokens": parameters.max_output_tokens or self.output_tokens_default,
                "system": build_system_prompt(request, with_schema=True),
                "messages": build_messages(request, _encode_media),
                "stream": True if traits.stream else None,
                "temperature": parameters.temperature,
                "top_p": parameters.top_p,
                "stop_sequences": list(parameters.stop) or None,
            }
        )

    def piece(self, data: str) -> Piece | None:
        """Decode the data of one event, or a document sent in place of a stream; None if it is not of the protocol."""
        if data == _DONE:
            return Piece(is_last=True)
        event = decode_event(_events, data)
        if event is None or event.type == "error":
            error = find_event_error(data)
            return None if error is None else Piece(error=error)
        match event.type:
            case "message_start" if (message := parse_usage(event.message, Message)) is not None:
                return _build_piece(read_parts(message.content), message.usage)
            case "content_block_start":
                return read_parts(event.content_block)
            case "content_block_delta" if event.delta is not None:
                return event.delta.read()
            case "message_delta" if event.delta is not None:
                return _build_piece(Piece(), event.usage, read_ending(self.finish_reasons, event.delta.stop_reason))
            case "message_stop":
                return Piece(is_last=True)
            case "message":
                ending = read_ending(self.finish_reasons, event.stop_reason)
                return replace(_build_piece(read_parts(event.content), event.usage, ending), is_last=True)
            case _:
                return Piece(error=find_event_error(data))


def _encode_media(piece: MediaPiece) -> dict[str, object]:
    source: dict[str, object] = {"type": "url", "url": piece.url}
    if piece.media is not None:
        data = b64encode(piece.media.data).decode()
        source = {"type": "base64", "media_type": piece.media.media_type, "data": data}
    if piece.kind == "image":
        return {"type": "image", "source": source}
    title = {} if piece.name is None else {"title": piece.name}
    return {"type": "document", "source": source, **title}


def _build_piece(said: Piece, usage: object, ending: Ending | None = None) -> Piece:
    counts = parse_usage(usage, TokenCounts) or TokenCounts()
    return replace(
        said,
        ending=ending,
        input_tokens=counts.all_input_tokens,
        output_tokens=parse_token_count(counts.output_tokens),
    )
