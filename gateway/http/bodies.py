"""Request bodies: JSON, read within bounds, with every problem reported at once."""

import json
import re
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

import msgspec
from litestar.types import Receive
from msgspec import Struct

from domain.graphs.validation.shape import build_checker, format_pointer
from domain.json_bounds import is_within_bounds
from domain.refusal import Problem
from gateway.http.headers import Headers
from gateway.http.rejections import (
    BodyTooLarge,
    BodyUnacceptable,
    ContentCodingUnsupported,
    Malformed,
    MediaTypeUnsupported,
    NotReadable,
)
from store.log.json_encoding import ESCAPED_NUL, NUL
from store.workers.pool import WorkerPool

T = TypeVar("T", bound=Struct)

JSON_TYPES: Final = frozenset({"application/json"})
PATCH_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})
PROBLEMS_MAX: Final = 200
INLINE_BYTES_MAX: Final = 64 * 1024
"""Larger bodies that may have problems are searched for them in a worker: 350,000 lists took 0.2 s."""
NO_BOUND: Final = 2**62
GZIP_BITS: Final = 31
"""The largest window, in the format of gzip (zlib's manual)."""
NUL_CHARACTER: Final = re.compile("\0")
SURROGATE: Final = re.compile("[\ud800-\udfff]")
ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonBounds(Struct, frozen=True):
    """Bounds of the JSON in a body: how deep it is nested, and how many values it has."""

    depth_max: int
    values_max: int


async def read_body(receive: Receive, headers: Headers, *, bytes_max: int) -> bytes:
    """Read a whole body, and decompress it if it is sent with `Content-Encoding: gzip`.

    Raises BodyTooLarge as soon as that is known, ContentCodingUnsupported, Malformed, NotReadable if the caller
    disconnects.
    """
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > bytes_max:
        raise BodyTooLarge(f"The body must not be larger than {bytes_max} bytes.")
    message: Any = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] != "http.request" or message.get("more_body", False) or len(body) > bytes_max:
        body = await _read_on(receive, message, bytes_max)
    if declared.isdigit() and b"content-length" in headers and int(declared) != len(body):
        raise NotReadable  # never take a lost body for an empty one
    coding = headers.get(b"content-encoding")
    return body if coding is None else decode_content(body, coding, bytes_max=bytes_max)


def decode_content(body: bytes, coding: bytes, *, bytes_max: int) -> bytes:
    """Return a body without its content coding. Raises ContentCodingUnsupported, BodyTooLarge, Malformed."""
    name = coding.strip().lower()
    if name in {b"", b"identity"}:
        return body
    if name not in {b"gzip", b"x-gzip"}:
        raise ContentCodingUnsupported(headers={"Accept-Encoding": "gzip, identity"})
    decompressor = zlib.decompressobj(wbits=GZIP_BITS)
    try:
        content = decompressor.decompress(body, bytes_max + 1)
    except zlib.error as fault:
        raise Malformed("The body is not what `Content-Encoding: gzip` says.") from fault
    if len(content) > bytes_max:
        raise BodyTooLarge(f"The decompressed body must not be larger than {bytes_max} bytes.")
    if not decompressor.eof or decompressor.unused_data:
        raise Malformed("The body must be one whole gzip stream.")
    return content


async def _read_on(receive: Receive, message: Any, bytes_max: int) -> bytes:  # noqa: ANN401  # an ASGI message
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise NotReadable
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > bytes_max:
            raise BodyTooLarge(f"The body must not be larger than {bytes_max} bytes.")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def check_media_type(headers: Headers, allowed: frozenset[str]) -> None:
    """Raise MediaTypeUnsupported unless the body is JSON of an allowed kind, in UTF-8."""
    sent = headers.get(b"content-type")
    if sent == b"application/json":
        return
    kind, *parameters = (sent or b"").decode("latin-1").lower().split(";")
    parameters = [parameter.strip().replace('"', "") for parameter in parameters]
    if kind.strip() not in allowed or any(
        name.startswith("charset=") and name != "charset=utf-8" for name in parameters
    ):
        raise MediaTypeUnsupported(
            f"`Content-Type` must be {' or '.join(f'`{name}`' for name in sorted(allowed))}, in UTF-8.",
            headers={"Accept-Post" if allowed == JSON_TYPES else "Accept-Patch": ", ".join(sorted(allowed))},
        )


class BodyReader(Generic[T]):
    """Reads bodies of one Struct: fast if nothing is wrong, and otherwise with every problem."""

    def __init__(self, kind: type[T], *, media_types: frozenset[str] = JSON_TYPES, optional: bool = False) -> None:
        """Create a reader; with `optional` an empty body is read as an empty object, whatever its type."""
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind).decode
        self._media_types = media_types
        self._optional = optional

    def read_quickly(self, raw: bytes, headers: Headers, bounds: JsonBounds) -> T | None:
        """Read a body; None if something may be wrong with it, which `find_body_problems` reports.

        Raises MediaTypeUnsupported.
        """
        if not raw and self._optional:
            raw = b"{}"
        else:
            check_media_type(headers, self._media_types)
        try:
            return None if is_suspect(raw, bounds) else self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    async def read(
        self, raw: bytes, headers: Headers, bounds: JsonBounds, *, workers: WorkerPool, workspace_id: UUID
    ) -> T:
        """Read a body; what takes long is done in a worker process.

        Raises MediaTypeUnsupported, Malformed, BodyUnacceptable with every problem, WorkStopped.
        """
        body = self.read_quickly(raw, headers, bounds)
        if body is not None:
            return body
        work = partial(find_body_problems, self._kind, raw, bounds)
        problems = work() if len(raw) <= INLINE_BYTES_MAX else await workers.run(workspace_id, work)
        if problems:
            raise BodyUnacceptable(problems=problems)
        return self._decode(raw)


def find_body_problems(kind: type[Struct], raw: bytes, bounds: JsonBounds) -> tuple[Problem, ...]:
    """Return every problem of a body as a Struct. Raises Malformed."""
    return find_problems(kind, decode_any(raw, bounds))


def find_problems(kind: type[Struct], value: object) -> tuple[Problem, ...]:
    """Return up to 200 problems of a JSON value as a Struct; unknown fields are problems."""
    return tuple(
        Problem(format_pointer(fault.path), fault.message) for fault in build_checker(kind)(value)[:PROBLEMS_MAX]
    )


def is_suspect(raw: bytes, bounds: JsonBounds) -> bool:
    """Return whether JSON may hold NUL characters or exceed its bounds; cheap, with false positives."""
    return NUL in raw or len(raw) > bounds.values_max or raw.count(b"[") + raw.count(b"{") > bounds.depth_max


def decode_any(raw: bytes, bounds: JsonBounds) -> object:
    """Parse any JSON. Raises Malformed; for NUL characters with a pointer to each string that holds one."""
    try:
        value: object = msgspec.json.decode(raw)
    except UnicodeDecodeError as fault:
        raise Malformed("The body is not UTF-8.") from fault
    except RecursionError as fault:
        raise Malformed(f"The body must not be nested more than {bounds.depth_max} levels deep.") from fault
    except msgspec.DecodeError as fault:
        _check_surrogates(raw)
        wrong = f"The body is not JSON: {fault}." if raw.strip() else "The body is empty. Send JSON."
        raise Malformed(wrong) from fault
    depth = bounds.depth_max + 1
    if not is_within_bounds(value, items_max=NO_BOUND, length_max=NO_BOUND, depth_max=depth):
        raise Malformed(f"The body must not be nested more than {bounds.depth_max} levels deep.")
    many = len(raw) > bounds.values_max  # each takes a byte at least
    if many and not is_within_bounds(value, items_max=bounds.values_max, length_max=NO_BOUND, depth_max=depth):
        raise Malformed(f"The body must not have more than {bounds.values_max} values.")
    if NUL in raw and ESCAPED_NUL.search(raw):
        raise _reject_characters(value, NUL_CHARACTER, "the character NUL (U+0000)")
    return value


def _check_surrogates(raw: bytes) -> None:
    """Raise Malformed if the only fault of the JSON is an unpaired escaped surrogate (RFC 8259, section 8.2)."""
    if not ESCAPED_SURROGATE.search(raw):
        return
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        return
    rejection = _reject_characters(value, SURROGATE, "an unpaired surrogate, which is not a character")
    if rejection.problems:
        raise rejection


def _reject_characters(value: object, pattern: re.Pattern[str], description: str) -> Malformed:
    # A pointer can lead through a key that holds a surrogate, and must itself be encodable.
    found = islice(_find_pointers(value, pattern), PROBLEMS_MAX)
    pointers = (pointer.encode(errors="replace").decode() for pointer in found)
    problems = tuple(Problem(pointer, f"contains {description}") for pointer in pointers)
    return Malformed(f"The body contains {description}.", problems=problems)


def _find_pointers(value: object, pattern: re.Pattern[str]) -> Iterator[str]:
    """Yield JSON pointers to the strings, and to the values of keys, that match a pattern."""
    pending: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, str):
            if pattern.search(item):
                yield format_pointer(path)
        elif isinstance(item, dict):
            for key, inner in cast("dict[str, object]", item).items():
                if pattern.search(key):
                    yield format_pointer((*path, key))
                pending.append(((*path, key), inner))
        elif isinstance(item, list):
            pending.extend(((*path, index), inner) for index, inner in enumerate(cast("list[object]", item)))
