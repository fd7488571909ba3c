"""Bodies: reading JSON that a caller sent, bounded in every way, and telling all that is wrong with it at once."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from litestar.types import Receive
from msgspec import Struct

from domain.graphs.validation.shape import build_checker, format_pointer
from domain.json_bounds import is_within_bounds
from domain.refusal import Problem
from gateway.http.rejections import BodyTooLarge, BodyUnacceptable, Malformed, MediaTypeUnsupported, NotReadable
from store.log.json_encoding import ESCAPED_NUL, NUL

T = TypeVar("T", bound=Struct)
Headers = Mapping[bytes, bytes]

JSON_TYPES: Final = frozenset({"application/json"})
PATCH_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})
MOST_PROBLEMS: Final = 200
NO_BOUND: Final = 2**62
NUL_CHARACTER: Final = re.compile("\0")
SURROGATE: Final = re.compile("[\ud800-\udfff]")
ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_body(receive: Receive, headers: Headers, *, bytes_max: int) -> bytes:
    """Read a whole body. Raises BodyTooLarge as soon as that is known, NotReadable when the caller hangs up."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > bytes_max:
        raise BodyTooLarge(f"The body is larger than {bytes_max} bytes.")
    message: Any = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= bytes_max:
        return body
    return await _read_on(receive, message, bytes_max)


async def _read_on(receive: Receive, message: Any, bytes_max: int) -> bytes:  # noqa: ANN401  # an ASGI message
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise NotReadable
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > bytes_max:
            raise BodyTooLarge(f"The body is larger than {bytes_max} bytes.")
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
    named = [parameter.strip().replace('"', "") for parameter in parameters]
    if kind.strip() not in allowed or any(one.startswith("charset=") and one != "charset=utf-8" for one in named):
        raise MediaTypeUnsupported(
            f"The header Content-Type has to say {' or '.join(sorted(allowed))}, in UTF-8.",
            headers={"Accept-Post": "application/json"},
        )


class Shape(Generic[T]):
    """What a body has to be: a Struct that knows all its fields, read fast, with all faults when there are any."""

    def __init__(self, kind: type[T], *, allowed: frozenset[str] = JSON_TYPES, optional: bool = False) -> None:
        """Make it; with `optional` an empty body, of no type, is read as an empty object."""
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind).decode
        self._allowed = allowed
        self._optional = optional

    def read(self, raw: bytes, headers: Headers, *, depth_max: int) -> T:
        """Read a body. Raises MediaTypeUnsupported, Malformed, BodyUnacceptable with every fault of the shape."""
        if not raw and self._optional:
            raw = b"{}"
        else:
            check_media_type(headers, self._allowed)
        try:
            if not is_suspect(raw, depth_max):
                return self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # looked at more closely below
        return self._read_closely(raw, depth_max)

    def _read_closely(self, raw: bytes, depth_max: int) -> T:
        value = decode_any(raw, depth_max)
        problems = problems_of(self._kind, value)
        if problems:
            raise BodyUnacceptable(problems=problems)
        return msgspec.convert(value, self._kind)


def problems_of(kind: type[Struct], value: object) -> tuple[Problem, ...]:
    """Give the faults of a JSON value against a Struct, up to 200; unknown fields are faults."""
    return tuple(
        Problem(format_pointer(fault.path), fault.message) for fault in build_checker(kind)(value)[:MOST_PROBLEMS]
    )


def is_suspect(raw: bytes, depth_max: int) -> bool:
    """Tell cheaply whether JSON could hold NUL characters, or be nested too deeply: then it is looked at closely."""
    return NUL in raw or raw.count(b"[") + raw.count(b"{") > depth_max


def decode_any(raw: bytes, depth_max: int) -> object:
    """Read any JSON. Raises Malformed, for NUL characters with a pointer to each text that holds one."""
    try:
        value: object = msgspec.json.decode(raw)
    except UnicodeDecodeError as fault:
        raise Malformed("The body is not UTF-8.") from fault
    except RecursionError as fault:
        raise Malformed(f"The body is nested more than {depth_max} deep.") from fault
    except msgspec.DecodeError as fault:
        _check_surrogates(raw)
        wrong = f"The body is not JSON: {fault}." if raw.strip() else "The body is empty, and JSON is needed."
        raise Malformed(wrong) from fault
    if not is_within_bounds(value, items_max=NO_BOUND, length_max=NO_BOUND, depth_max=depth_max + 1):
        raise Malformed(f"The body is nested more than {depth_max} deep.")
    if NUL in raw and ESCAPED_NUL.search(raw):
        raise _holding(value, NUL_CHARACTER, "the character NUL (U+0000)")
    return value


def _check_surrogates(raw: bytes) -> None:
    """Raise Malformed where all that is wrong with JSON is half of an escaped surrogate pair (RFC 8259, 8.2)."""
    if not ESCAPED_SURROGATE.search(raw):
        return
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        return
    said = _holding(value, SURROGATE, "half of a surrogate pair, which is no character")
    if said.problems:
        raise said


def _holding(value: object, what: re.Pattern[str], said: str) -> Malformed:
    # A pointer may go through a key that holds it, and must be sent itself.
    pointers = (one.encode(errors="replace").decode() for one in islice(_pointers(value, what), MOST_PROBLEMS))
    problems = tuple(Problem(pointer, f"holds {said}") for pointer in pointers)
    return Malformed(f"The body holds {said}.", problems=problems)


def _pointers(value: object, what: re.Pattern[str]) -> Iterator[str]:
    """Give where texts or keys hold what is looked for."""
    pending: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, str):
            if what.search(item):
                yield format_pointer(path)
        elif isinstance(item, dict):
            for key, inner in cast("dict[str, object]", item).items():
                if what.search(key):
                    yield format_pointer((*path, key))
                pending.append(((*path, key), inner))
        elif isinstance(item, list):
            pending.extend(((*path, index), inner) for index, inner in enumerate(cast("list[object]", item)))
