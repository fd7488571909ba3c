"""Shared by the protocols of model providers: request headers, messages, and decoded stream pieces."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec
from msgspec import Struct

from domain.graphs.configs import JsonOutput
from domain.graphs.graph import ErrorClass
from engine.providers.answers.error_details import ErrorDetails, find_error
from engine.providers.answers.finish_reasons import Ending
from engine.providers.provider import ModelRequest, ProviderFault
from engine.providers.traits import ServerTraits
from engine.providers.turns import MediaPiece, TextPiece, Turn

TOKENS_MAX = 100_000_000
"""Larger counts are ignored: no model processes as many, and sums could overflow in read models."""
EMPTY = "(no answer)"
"""Sent in place of a rejected response without text, since providers refuse empty messages."""

# W3C Trace Context, 3.2. Only valid values are sent on.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# JSON escapes (RFC 8259, 7); the group matches unpaired surrogates.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_TOKEN = re.compile(r"[\x21-\x7e]{1,255}")
_REASONING_PARTS: Final = frozenset(
    {"thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning.text"}
)
_ANSWER_PARTS: Final = frozenset({"text", "output_text"})


_values: Final = msgspec.json.Decoder(object)

T = TypeVar("T")


class Piece(Struct, frozen=True, kw_only=True):
    """The part of a response that one stream event, or a whole document, adds; token counts are cumulative.

    `ending`: the response has ended, even if the stream breaks afterwards. `is_last`: no event follows. `refusal` is
    the text in which the model refuses, which is no answer, and `reasoning` what it wrote for itself.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    ending: Ending | None = None
    is_last: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    error: ErrorDetails | None = None
    images: tuple[str, ...] = ()
    """URLs of images that the model made; most are `data:` URLs."""


class Wire(Protocol):
    """Encodes requests and decodes stream events of one protocol."""

    @property
    def path(self) -> str:
        """Return the path of requests, relative to the base URL."""
        ...

    def auth_headers(self, key: str) -> Mapping[str, str]:
        """Return the headers that carry the key."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Return the headers that the protocol needs besides."""
        ...

    def body(self, request: ModelRequest, traits: ServerTraits) -> bytes:
        """Encode the request's body. Raises ProviderFault if its texts are not valid Unicode."""
        ...

    def piece(self, data: str) -> Piece | None:
        """Decode the data of one event, or a document sent in place of a stream; None if it is not of the protocol."""
        ...


def shared_headers(request: ModelRequest, traits: ServerTraits) -> dict[str, str]:
    """Return the headers of all protocols. Compression is not requested, so that no response can expand."""
    accepted = "text/event-stream" if traits.stream else "application/json"
    headers = {"Content-Type": "application/json", "Accept": accepted, "Accept-Encoding": "identity"}
    if _TOKEN.fullmatch(request.idempotency_token):
        headers["Idempotency-Key"] = request.idempotency_token
    if request.traceparent is not None and _TRACEPARENT.fullmatch(request.traceparent):
        headers["traceparent"] = request.traceparent
    return headers


def encode_request(request: Mapping[str, Any]) -> bytes:
    """Encode a request, omitting None values. Raises ProviderFault if its texts are not valid Unicode."""
    try:
        return msgspec.json.encode({name: value for name, value in request.items() if value is not None})
    except UnicodeEncodeError:
        raise ProviderFault(
            ErrorClass.BAD_REQUEST, "The prompt contains an unpaired surrogate, which cannot be encoded as UTF-8"
        ) from None


def build_system_prompt(request: ModelRequest, *, with_schema: bool) -> str | None:
    """Return the system prompt; `with_schema` adds the instruction to answer with JSON, if that is asked for."""
    if not (with_schema and isinstance(request.output, JsonOutput)):
        return request.system
    schema = msgspec.json.encode(request.output.schema).decode()
    instruction = f"Answer with nothing but JSON, without a fence, that meets this JSON Schema:\n{schema}"
    return instruction if request.system is None else f"{request.system}\n\n{instruction}"


def build_messages(
    request: ModelRequest, encode_media: Callable[[MediaPiece], dict[str, object]]
) -> list[dict[str, object]]:
    """Return the messages of user and model, in order; each protocol adds the system prompt itself."""
    messages: list[dict[str, object]] = [{"role": "user", "content": request.prompt}]
    if request.turns:
        messages = [{"role": turn.role, "content": _encode_turn(turn, encode_media)} for turn in request.turns]
    if request.repair is not None:
        answer = request.repair.answer if request.repair.answer.strip() else EMPTY
        messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": request.repair.said})
    return messages


def _encode_turn(turn: Turn, encode_media: Callable[[MediaPiece], dict[str, object]]) -> object:
    """Return the content of a turn: a text if it has nothing else, since some servers know no parts."""
    if all(isinstance(piece, TextPiece) for piece in turn.pieces):
        return turn.text
    return [
        {"type": "text", "text": piece.text} if isinstance(piece, TextPiece) else encode_media(piece)
        for piece in turn.pieces
    ]


def decode_event(decoder: msgspec.json.Decoder[T], data: str) -> T | None:
    """Decode the JSON of an event; None if it does not follow the protocol. Unpaired surrogates become U+FFFD."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        repaired = repair_escapes(data)
        return None if repaired == data else decode_event(decoder, repaired)


def repair_escapes(data: str) -> str:
    """Return JSON with U+FFFD in place of unpaired surrogates."""
    return _ESCAPES.sub(lambda escape: escape[0] if escape[1] is None else r"\ufffd", data)


def parse_usage(usage: object, shape: type[T]) -> T | None:
    """Convert a reported usage; None if malformed, which must not lose the response, since it is paid for."""
    try:
        return msgspec.convert(usage, shape)
    except msgspec.ValidationError:
        return None


def parse_token_count(count: object) -> int | None:
    """Return a reported token count; None if it is not an integer from 0 to TOKENS_MAX."""
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if 0 <= count <= TOKENS_MAX else None


def find_event_error(data: str) -> ErrorDetails | None:
    """Return the error that an event reports without the protocol's own fields; None if it reports none."""
    value = decode_event(_values, data)
    return None if value is None else find_error(value)


def read_parts(content: object) -> Piece:
    """Return the text and the reasoning in a content, which may be a text or a list of parts."""
    match content:
        case str():
            return Piece(text=content)
        case list():
            pieces = [_read_part(part) for part in cast("list[object]", content)]
            return Piece(
                text="".join(piece.text for piece in pieces),
                reasoning="".join(piece.reasoning for piece in pieces),
                refusal="".join(piece.refusal for piece in pieces),
                images=tuple(image for piece in pieces for image in piece.images),
            )
        case dict():
            return _read_part(cast("object", content))
        case _:
            return Piece()


def read_images(value: object) -> tuple[str, ...]:
    """Return the URLs of images in a part or in a list of parts."""
    if isinstance(value, list):
        return tuple(url for part in cast("list[object]", value) for url in read_images(part))
    if not isinstance(value, dict):
        return ()
    image = cast("dict[str, object]", value).get("image_url")
    url = cast("dict[str, object]", image).get("url") if isinstance(image, dict) else image
    return (url,) if isinstance(url, str) else ()


def _read_part(part: object) -> Piece:
    if not isinstance(part, dict):
        return Piece(text=part) if isinstance(part, str) else Piece()
    fields = cast("dict[str, object]", part)
    kind = fields.get("type")
    if kind in _REASONING_PARTS or "thinking" in fields:
        inner = next((fields[name] for name in ("thinking", "reasoning", "text", "content") if fields.get(name)), None)
        found = read_parts(inner)
        return Piece(reasoning=found.text + found.reasoning)
    text = fields.get("text")
    if isinstance(text, dict):
        text = cast("dict[str, object]", text).get("value")
    if isinstance(text, str) and (kind is None or kind in _ANSWER_PARTS):
        return Piece(text=text)
    if images := read_images(fields):
        return Piece(images=images)
    refusal = fields.get("refusal")
    return Piece(refusal=refusal) if isinstance(refusal, str) else Piece()
