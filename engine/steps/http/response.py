"""Read the response to an `http` step within size limits, decompress it, and decode it as JSON or text."""

import re
import zlib
from typing import Any, Final

import httpx2

from domain.graphs.graph import ErrorClass
from engine.providers.turns import Media, read_media_type
from engine.steps.http.errors import HttpFault
from engine.steps.json_in_text import decode_json

HEADERS_MAX: Final = 100
HEADERS_BYTES_MAX: Final = 64 * 1024
CHARSETS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
}
OMITTED_HEADERS: Final = frozenset({"set-cookie", "set-cookie2"})
"""Headers that are left out of outputs: cookies are secrets between a server and a browser."""

_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_GZIP: Final = 16 + zlib.MAX_WBITS


async def read_body(response: httpx2.Response, most_bytes: int) -> bytes:
    """Read a body. Raises HttpFault if it exceeds `most_bytes` compressed or decompressed, and what httpx2 raises."""
    packed = bytearray()
    async for piece in response.aiter_raw():
        packed += piece
        if len(packed) > most_bytes:
            raise _too_large(most_bytes)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if not packed or encoding in {"", "identity"}:
        return bytes(packed)
    if encoding not in {"gzip", "x-gzip"}:
        raise HttpFault(
            ErrorClass.INVALID_OUTPUT, "The response has an unsupported content-encoding. Supported: gzip, identity"
        )
    return _decompress(bytes(packed), most_bytes)


def read_headers(response: httpx2.Response) -> dict[str, str]:
    """Return the headers with lower-case names, repeated ones joined. Raises HttpFault if there are too many."""
    raw = response.headers.raw
    if len(raw) > HEADERS_MAX or sum(len(name) + len(value) for name, value in raw) > HEADERS_BYTES_MAX:
        raise HttpFault(
            ErrorClass.INVALID_OUTPUT,
            f"The response has too many headers. Limits: {HEADERS_MAX} headers, {HEADERS_BYTES_MAX} bytes",
        )
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name not in OMITTED_HEADERS:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def parse_body(body: bytes, content_type: str) -> Any:  # noqa: ANN401  # JSON of any shape, text, or Media
    """Decode a body as JSON or text, by its content type; None if it is empty, Media if it is neither.

    Raises HttpFault for JSON that is none.
    """
    if not body:
        return None
    media_type = read_media_type(content_type)
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return decode_json(body.decode("utf-8-sig"))
        except ValueError:
            raise HttpFault(
                ErrorClass.INVALID_OUTPUT, "The response has a JSON content type, but is not valid JSON"
            ) from None
    text = None if _is_binary(media_type) else _decode_text(body, content_type)
    return Media(media_type=media_type, data=body) if text is None else text


def _is_binary(media_type: str) -> bool:
    return media_type.startswith(("image/", "audio/", "video/", "font/")) and not media_type.endswith("+xml")


def _decode_text(body: bytes, content_type: str) -> str | None:
    """Return a text; None if the body is not text."""
    charset = _CHARSET.search(content_type)
    try:
        text = body.decode(CHARSETS[charset[1].lower() if charset else "utf-8"])
    except (KeyError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text


def decode_quote(body: bytes) -> str:
    """Decode the body of an error response, replacing invalid bytes."""
    return body.decode(errors="replace").replace("\0", "")


def _decompress(packed: bytes, most_bytes: int) -> bytes:
    decompressor = zlib.decompressobj(_GZIP)
    try:
        body = decompressor.decompress(packed, most_bytes + 1)
    except zlib.error:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, "The response is not valid gzip") from None
    if len(body) > most_bytes:
        raise _too_large(most_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, "The response is incomplete gzip, or has data after it")
    return body


def _too_large(most_bytes: int) -> HttpFault:
    return HttpFault(
        ErrorClass.INVALID_OUTPUT, f"The response is too large. Limit: {most_bytes} bytes (most_response_bytes)"
    )
