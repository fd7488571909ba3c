"""What the protocols of model providers have in common: what goes out alike, and the pieces that come in."""

import re
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from domain.graphs.graph import ErrorClass
from engine.providers.http_faults import SaidError
from engine.providers.provider import ModelRequest, ProviderFault

TOKENS_MAX = 100_000_000
"""A greater count of one call is none: no model takes as much, and read models could not add it up."""
EMPTY = "(no answer)"
"""Stands for a rejected answer without text: providers refuse empty messages."""

# W3C Trace Context, 3.2: what a caller sent goes into a header only in this form.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# Escapes of JSON (RFC 8259, 7), with the halves of surrogate pairs that stand alone as the one group.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_TOKEN = re.compile(r"[\x21-\x7e]{1,255}")


T = TypeVar("T")


class Piece(Struct, frozen=True, kw_only=True):
    """What one event of a stream adds to an answer, in whichever protocol; tokens are the counts so far.

    `is_whole`: the answer has come to its end, whatever becomes of the stream. `is_last`: nothing follows.
    """

    text: str = ""
    is_whole: bool = False
    is_last: bool = False
    truncated: bool = False
    refused: bool = False
    called_tool: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: SaidError | str | None = None


class Wire(Protocol):
    """One protocol as bytes."""

    @property
    def path(self) -> str:
        """Return the path of calls, after the base URL."""
        ...

    def headers(self, ask: ModelRequest, key: str) -> Mapping[str, str]:
        """Return the request's headers."""
        ...

    def body(self, ask: ModelRequest) -> bytes:
        """Write the request's body. Raises ProviderFault when its texts cannot be written as UTF-8."""
        ...

    def piece(self, data: str) -> Piece | None:
        """Read the data of one event; None when it is not of the protocol."""
        ...


def shared_headers(ask: ModelRequest) -> dict[str, str]:
    """Return the headers of every protocol. Nothing compressed is asked for: what cannot swell cannot swamp us."""
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
    if _TOKEN.fullmatch(ask.idempotency_token):
        headers["Idempotency-Key"] = ask.idempotency_token
    if ask.traceparent is not None and _TRACEPARENT.fullmatch(ask.traceparent):
        headers["traceparent"] = ask.traceparent
    return headers


def encode_request(request: Mapping[str, Any]) -> bytes:
    """Write a request without what is None. Raises ProviderFault when its texts cannot be written as UTF-8."""
    try:
        return msgspec.json.encode({name: value for name, value in request.items() if value is not None})
    except UnicodeEncodeError:
        raise ProviderFault(ErrorClass.BAD_REQUEST, "the prompt holds half of a surrogate pair") from None


def conversation(ask: ModelRequest) -> list[dict[str, str]]:
    """Return the messages of the user and of the model, in order; the system's are each protocol's own."""
    messages = [{"role": "user", "content": ask.prompt}]
    if ask.repair is not None:
        answer = ask.repair.answer if ask.repair.answer.strip() else EMPTY
        messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": ask.repair.said})
    return messages


def decode_event(decoder: msgspec.json.Decoder[T], data: str) -> T | None:
    """Read the JSON of an event; None when it is not of the protocol. Half a surrogate pair becomes U+FFFD."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        mended = _ESCAPES.sub(lambda escape: escape[0] if escape[1] is None else r"\ufffd", data)
        return None if mended == data else decode_event(decoder, mended)


def told_usage(usage: object, counted: type[T]) -> T | None:
    """Return a usage as a provider tells it; None for one of another shape: the answer is paid for all the same."""
    try:
        return msgspec.convert(usage, counted)
    except msgspec.ValidationError:
        return None


def told_tokens(count: object) -> int | None:
    """Return a count of tokens as a provider tells it; None for what is no count: nobody is owed money by a model."""
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if 0 <= count <= TOKENS_MAX else None
