"""Encode requests and decode streamed responses of OpenAI's chat completions protocol.

Source: OpenAI's API reference, "Create chat completion" and "The chat completion chunk object".
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from domain.graphs.configs import JsonOutput
from engine.providers.answers.error_details import ErrorDetails, find_error
from engine.providers.answers.finish_reasons import CHAT_COMPLETIONS, Finish, read_ending
from engine.providers.provider import ModelRequest
from engine.providers.traits import ServerTraits
from engine.providers.turns import MediaPiece, encode_data_url
from engine.providers.wire import (
    Piece,
    build_messages,
    build_system_prompt,
    decode_event,
    encode_request,
    find_event_error,
    parse_token_count,
    parse_usage,
    read_images,
    read_parts,
)

DONE = "[DONE]"
_MODES_WITHOUT_SCHEMA = frozenset({"json_object", "instruction"})


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of the response, or the whole message of a response that is not streamed.

    Servers name the field of the model's reasoning differently; `content` may be a list of parts.
    """

    content: object = None
    refusal: object = None
    reasoning: object = None
    reasoning_content: object = None
    reasoning_text: object = None
    thinking: object = None
    images: object = None

    def read(self) -> Piece:
        """Return the texts."""
        found = read_parts(self.content)
        fields = (self.reasoning_content, self.reasoning, self.reasoning_text, self.thinking)
        apart = next((field for field in fields if field), None)
        beside = read_parts(apart)
        return Piece(
            text=found.text,
            reasoning=found.reasoning + beside.text + beside.reasoning,
            refusal=found.refusal + (self.refusal if isinstance(self.refusal, str) else ""),
            images=found.images + read_images(self.images),
        )


class Choice(Struct, frozen=True, kw_only=True):
    """One of the requested completions; we request one. `text` is the name of older servers for the content."""

    delta: Delta | None = None
    message: Delta | None = None
    text: object = None
    finish_reason: object = None
    native_finish_reason: object = None
    error: object = None
    usage: object = None


class ReasoningTokens(Struct, frozen=True, kw_only=True):
    """The share of the output tokens that the model used to reason."""

    reasoning_tokens: object = None


class TokenCounts(Struct, frozen=True, kw_only=True):
    """Token counts; a malformed count must not lose the response, which is paid for."""

    prompt_tokens: object = 0
    completion_tokens: object = 0
    completion_tokens_details: object = None


class Chunk(Struct, frozen=True, kw_only=True):
    """One event of the stream. The last one before `[DONE]` has the usage and no choices."""

    choices: tuple[Choice, ...] | None = None
    usage: object = None
    error: object = None


_chunks = msgspec.json.Decoder(Chunk)


class OpenAiWire(Struct, frozen=True):
    """The chat completions protocol."""

    finish_reasons: Mapping[str, Finish] = CHAT_COMPLETIONS
    path: str = "/chat/completions"

    def auth_headers(self, key: str) -> Mapping[str, str]:
        """Return the header that carries the key."""
        return {"Authorization": f"Bearer {key}"}

    def headers(self) -> Mapping[str, str]:
        """Return nothing: the protocol needs no headers of its own."""
        return {}

    def body(self, request: ModelRequest, traits: ServerTraits) -> bytes:
        """Encode the request's body. Raises ProviderFault if its texts are not valid Unicode."""
        parameters = request.parameters
        prompt = build_system_prompt(request, with_schema=traits.json_mode in _MODES_WITHOUT_SCHEMA)
        system = [] if prompt is None else [{"role": "system", "content": prompt}]
        limit = {} if traits.output_limit == "none" else {traits.output_limit: parameters.max_output_tokens}
        return encode_request(
            {
                "model": request.model,
                "messages": [*system, *build_messages(request, _encode_media)],
                "stream": True if traits.stream else None,
                "stream_options": {"include_usage": True} if traits.stream and traits.stream_options else None,
                "temperature": parameters.temperature,
                "top_p": parameters.top_p,
                **limit,
                "stop": list(parameters.stop) or None,
                "seed": parameters.seed,
                "response_format": _response_format(request, traits),
            }
        )

    def piece(self, data: str) -> Piece | None:
        """Decode the data of one event, or a document sent in place of a stream; None if it is not of the protocol."""
        if data == DONE:
            return Piece(is_last=True)
        chunk = decode_event(_chunks, data)
        if chunk is None:
            error = find_event_error(data)
            return None if error is None else Piece(error=error)
        choice = chunk.choices[0] if chunk.choices else Choice()
        said = (choice.message or choice.delta or Delta(content=choice.text)).read()
        ending = read_ending(self.finish_reasons, choice.finish_reason, choice.native_finish_reason)
        counts = parse_usage(chunk.usage or choice.usage, TokenCounts)
        details = None if counts is None else parse_usage(counts.completion_tokens_details, ReasoningTokens)
        return Piece(
            text=said.text,
            reasoning=said.reasoning,
            refusal=said.refusal,
            images=said.images,
            ending=ending,
            is_last=choice.message is not None,
            input_tokens=None if counts is None else parse_token_count(counts.prompt_tokens),
            output_tokens=None if counts is None else parse_token_count(counts.completion_tokens),
            reasoning_tokens=None if details is None else parse_token_count(details.reasoning_tokens),
            error=_find_error(chunk, choice, data),
        )


def _encode_media(piece: MediaPiece) -> dict[str, object]:
    url = piece.url if piece.media is None else encode_data_url(piece.media)
    if piece.kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": piece.name or "file", "file_data": url}}


def _find_error(chunk: Chunk, choice: Choice, data: str) -> ErrorDetails | None:
    """Return the error that a chunk or its choice reports, under whatever name."""
    if chunk.error or choice.error:
        return find_error({"error": chunk.error or choice.error})
    return None if chunk.choices or chunk.usage else find_event_error(data)


def _response_format(request: ModelRequest, traits: ServerTraits) -> dict[str, Any] | None:
    if not isinstance(request.output, JsonOutput) or traits.json_mode == "instruction":
        return None
    if traits.json_mode == "json_object":
        return {"type": "json_object"}
    # Not strict by default: strict mode supports a subset of JSON Schema, and the response is validated anyway.
    strict = {"strict": True} if traits.json_mode == "json_schema_strict" else {}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.output.schema, **strict}}
