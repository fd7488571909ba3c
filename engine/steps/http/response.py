"""The answer to an `http` step: read within its bounds, unpacked within them too, and made JSON or text."""

import re
import zlib
from typing import Any, Final

import httpx2
import msgspec

from domain.graphs.graph import ErrorClass
from engine.steps.http.errors import HttpFault

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
NOT_GIVEN: Final = frozenset({"set-cookie", "set-cookie2"})
"""Headers that no output gets: they are secrets between a server and a browser."""

_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_GZIP: Final = 16 + zlib.MAX_WBITS


async def body_bytes(response: httpx2.Response, most_bytes: int) -> bytes:
    """Read a body of at most so many bytes, packed and unpacked. Raises HttpFault, and what httpx2 raises."""
    packed = bytearray()
    async for piece in response.aiter_raw():
        packed += piece
        if len(packed) > most_bytes:
            raise _too_large(most_bytes)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if not packed or encoding in {"", "identity"}:
        return bytes(packed)
    if encoding not in {"gzip", "x-gzip"}:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, "the answer is packed in a way that was not asked for")
    return _decompress(bytes(packed), most_bytes)


def read_headers(response: httpx2.Response) -> dict[str, str]:
    """Return the headers in lower case, those of one name joined. Raises HttpFault when there are too many."""
    raw = response.headers.raw
    if len(raw) > HEADERS_MAX or sum(len(name) + len(value) for name, value in raw) > HEADERS_BYTES_MAX:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, f"the answer has more than {HEADERS_MAX} headers, or too large ones")
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name not in NOT_GIVEN:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def parse_body(body: bytes, content_type: str) -> Any:  # noqa: ANN401  # JSON of any shape, or a text
    """Read a body by its type: JSON, or text; None where there is none. Raises HttpFault."""
    if not body:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise HttpFault(ErrorClass.INVALID_OUTPUT, "the answer says it is JSON and is not") from None
    return _decode_text(body, content_type)


def _decode_text(body: bytes, content_type: str) -> str:
    named = _CHARSET.search(content_type)
    try:
        text = body.decode(CHARSETS[named[1].lower() if named else "utf-8"])
    except (KeyError, UnicodeDecodeError):
        text = "\0"
    if "\0" in text:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, "the answer is neither JSON nor text: binary answers are not taken")
    return text


def decode_quote(body: bytes) -> str:
    """Return what an error says, as well as it can be read."""
    return body.decode(errors="replace").replace("\0", "")


def _decompress(packed: bytes, most_bytes: int) -> bytes:
    unpacking = zlib.decompressobj(_GZIP)
    try:
        body = unpacking.decompress(packed, most_bytes + 1)
    except zlib.error:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, "the answer is not the gzip that it says it is") from None
    if len(body) > most_bytes:
        raise _too_large(most_bytes)
    if not unpacking.eof or unpacking.unused_data:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, "the answer is not one whole gzip")
    return body


def _too_large(most_bytes: int) -> HttpFault:
    return HttpFault(ErrorClass.INVALID_OUTPUT, f"the answer has more than {most_bytes} bytes")
