"""Find JSON in what a model wrote: the whole text, in a fence, or between sentences, before a repair is paid."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from engine.providers.wire import repair_escapes

FENCES_MAX: Final = 16
STARTS_MAX: Final = 64
"""How many brackets are tried as the beginning of a JSON value."""
STARTS_MIN: Final = 4
SEARCHED_CHARACTERS_MAX: Final = 16 * 1024 * 1024
"""Together over all tries, since each may read the text to its end."""
NESTED_DEPTH_MAX: Final = 200
"""Deeper values keep their NUL characters; they are refused as too deep in any case."""

_FENCES: Final = (
    re.compile(r"\s*(?:```|~~~)[^\n`]*\n(?P<json>.*)\n\s*(?:```|~~~)\s*", re.DOTALL),
    re.compile(r"(?:```|~~~)[^\n`]*\n(?P<json>.*?)\n[ \t]*(?:```|~~~)", re.DOTALL),
)
"""A fence around the whole text, whose JSON may contain fences; and fences among other text."""
_START: Final = re.compile(r"[{\[]")
_scanner: Final = json.JSONDecoder(strict=False)


class NoJson(Exception):  # noqa: N818  # an expected outcome
    """The text contains no JSON; the message says what is wrong with it."""


def find_json_values(text: str) -> Iterator[Any]:
    """Yield the JSON values in a text, the most likely first. Raises NoJson if there is none.

    Of a text that is JSON as a whole only that is yielded. NUL characters in strings are removed, since PostgreSQL
    cannot store them.
    """
    whole = text.strip().removeprefix("\ufeff").strip()
    try:
        value = decode_json(whole)
    except ValueError as fault:
        reason = str(fault)
    else:
        yield from _unpack(value)
        return
    found = False
    for candidate in _list_candidates(whole):
        try:
            value = decode_json(candidate)
        except ValueError:
            continue
        found = True
        yield value
    if not found:
        raise NoJson(reason)


def _unpack(value: Any) -> Iterator[Any]:  # noqa: ANN401  # any JSON value
    """Yield a value, and the JSON inside it if it is a string that holds JSON."""
    yield value
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            inner = decode_json(value)
        except ValueError:
            return
        yield inner


def decode_json(text: str) -> Any:  # noqa: ANN401  # any JSON value
    """Decode JSON from outside, without what cannot be stored: NUL characters, and halves of surrogate pairs.

    Raises ValueError.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as fault:
        repaired = repair_escapes(text)
        if repaired == text:
            raise ValueError(str(fault)) from None
        return decode_json(repaired)
    except RecursionError as fault:
        raise ValueError(str(fault)) from None
    return _drop_nul(value, NESTED_DEPTH_MAX) if "\\u0000" in text else value


def _drop_nul(value: Any, depth: int) -> Any:  # noqa: ANN401  # any JSON value
    if depth == 0:
        return value
    match value:
        case str():
            return value.replace("\0", "")
        case list():
            return [_drop_nul(item, depth - 1) for item in cast("list[Any]", value)]
        case dict():
            fields = cast("dict[str, Any]", value)
            return {name.replace("\0", ""): _drop_nul(item, depth - 1) for name, item in fields.items()}
        case _:
            return value


def _list_candidates(text: str) -> Iterator[str]:
    """Yield what may be JSON: the contents of fences, then whatever begins with a bracket, the longest first."""
    outer, inner = _FENCES
    if (around := outer.fullmatch(text)) is not None:
        yield around["json"]
    for number, fence in enumerate(inner.finditer(text)):
        if number < FENCES_MAX:
            yield fence["json"]
    yield from sorted(_list_bracketed(text), key=len, reverse=True)


def _list_bracketed(text: str) -> Iterator[str]:
    """Yield the values that begin with a bracket, outermost only. Nothing inside one that breaks off is a value."""
    tries = max(STARTS_MIN, min(STARTS_MAX, SEARCHED_CHARACTERS_MAX // max(len(text), 1)))
    start = _START.search(text)
    while start is not None and tries > 0:
        tries -= 1
        end = start.end()
        try:
            _, end = _scanner.raw_decode(text, start.start())
            yield text[start.start() : end]
        except json.JSONDecodeError as fault:
            if fault.pos >= len(text) or fault.msg.startswith("Unterminated string"):
                return
        except RecursionError:
            return
        start = _START.search(text, end)
