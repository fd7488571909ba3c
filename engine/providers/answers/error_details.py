"""Find the error in what a model server sent, in any of the usual envelopes, and the sentence for people in it.

Known envelopes: `{"error": {message, type, code, param}}` of OpenAI and Anthropic, `{"error": "…"}`,
`{"message": "…"}`, `{"detail": "…"}` and `{"detail": [{loc, msg}]}` of FastAPI, `{"errors": […]}`, RFC 9457, lists of
these, JSON in a string, `metadata.raw` of OpenRouter, texts, and HTML pages.
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 5
"""How many of a list of errors are quoted."""
PAGE_CHARACTERS_MAX: Final = 16 * 1024

_MESSAGE_NAMES: Final = (
    "message",
    "msg",
    "detail",
    "error_description",
    "error_message",
    "errorMessage",
    "description",
    "title",
    "reason",
    "error",
    "errors",
)
_CODE_NAMES: Final = ("code", "status", "status_code", "statusCode", "error_code")
_TAGS: Final = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_EVENT_DATA: Final = re.compile(r"^data:[ ]?(.*)$", re.MULTILINE)
_WORD: Final = re.compile(r"[^\W\d_]{3}")
_WHOLE_NUMBER: Final = re.compile(r"([0-9]{1,9})(?:\.0+)?")

Json = dict[str, Any]


class ErrorDetails(Struct, frozen=True, kw_only=True):
    """An error that a server reported. Some put an HTTP status into `code`; `param` names the rejected parameter.

    `rejected_answer` is what a model wrote that its server refuses to pass on, because it is not the JSON asked for.
    """

    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    rejected_answer: str | None = None


def parse_error_body(body: bytes) -> ErrorDetails:
    """Return the error in the body of a response whose status says that it is one."""
    text = body.decode("utf-8-sig", errors="replace").strip()
    if (value := _parse_json(text)) is None and (data := _EVENT_DATA.findall(text)):
        value = _parse_json("\n".join(data))
    if value is None:
        return ErrorDetails(message=None if text == "null" else _clean_page(text))
    return find_error(value, is_error=True) or ErrorDetails()


def find_error(value: object, *, is_error: bool = False) -> ErrorDetails | None:
    """Return the error that a decoded JSON value reports; None if it reports none.

    `is_error`: it is known to be an error, so that a message alone suffices.
    """
    if isinstance(value, list):
        found = (find_error(item, is_error=is_error) for item in cast("list[object]", value)[:ITEMS_MAX])
        return next((error for error in found if error is not None), None)
    if not isinstance(value, dict):
        return ErrorDetails(message=_find_message(value, DEPTH_MAX)) if is_error else None
    fields = cast("Json", value)
    inner: object = next((fields[name] for name in ("error", "errors", "detail") if fields.get(name)), None)
    if inner is None and not (is_error or _is_flat_error(fields)):
        return None
    return _read_details(fields, inner)


def read_code(code: object) -> str | int | None:
    """Return a code as a name or a whole number: 429, "429" and 429.0 are the same."""
    if isinstance(code, bool) or not isinstance(code, str | int | float):
        return None
    number = _WHOLE_NUMBER.fullmatch(str(code))
    return int(number[1]) if number else str(code)


def _is_flat_error(fields: Json) -> bool:
    """Return whether an object without an `error` inside is one, such as `{"object": "error", "message": "…"}`."""
    if "error" in (fields.get("object"), fields.get("type")):
        return True
    return any(isinstance(fields.get(name), str) for name in ("message", "msg")) and any(
        name in fields for name in _CODE_NAMES
    )


def _read_details(fields: Json, inner: object) -> ErrorDetails:
    source = _as_object(inner) or fields
    message = _find_message(fields if inner is None else inner, DEPTH_MAX)
    if isinstance(inner, str) and isinstance(said := fields.get("message"), str) and said != inner:
        message = f"{inner}: {said}"  # `{"error": "not_found", "message": "…"}`
    codes = (read_code(place.get(name)) for place in (source, fields) for name in _CODE_NAMES)
    kind = source.get("type") or source.get("status")
    rejected = source.get("failed_generation")
    return ErrorDetails(
        message=message,
        type=kind if isinstance(kind, str) else None,
        code=next((code for code in codes if code is not None), None),
        param=_find_param(source, inner),
        rejected_answer=rejected if isinstance(rejected, str) else None,
    )


def _find_param(source: Json, inner: object) -> str | None:
    param = source.get("param")
    if isinstance(param, str):
        return param
    places = [item for item in _list_objects(inner) if isinstance(item.get("loc"), list)]
    return ".".join(str(part) for part in places[0]["loc"]) if places else None


def _as_object(value: object) -> Json | None:
    return cast("Json", value) if isinstance(value, dict) else None


def _list_objects(value: object) -> Iterator[Json]:
    for item in cast("list[object]", value) if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield cast("Json", item)


def _find_message(value: object, depth: int) -> str | None:
    """Return the sentence for people in a value of any shape."""
    if depth == 0:
        return None
    match value:
        case str():
            nested = _parse_json(value) if value.lstrip().startswith(("{", "[")) else None
            return (_find_message(nested, depth - 1) if nested is not None else None) or value.strip() or None
        case list():
            found = [_find_message(item, depth - 1) for item in cast("list[object]", value)[:ITEMS_MAX]]
            return "; ".join(message for message in found if message) or None
        case dict():
            return _find_in_object(cast("Json", value), depth)
        case _:
            return None


def _find_in_object(fields: Json, depth: int) -> str | None:
    found = (_find_message(fields.get(name), depth - 1) for name in _MESSAGE_NAMES)
    message = next((message for message in found if message), None)
    if isinstance(fields.get("loc"), list) and message is not None:
        message = f"{'.'.join(str(part) for part in fields['loc'])}: {message}"
    metadata = fields.get("metadata")
    raw = _find_message(cast("Json", metadata).get("raw"), depth - 1) if isinstance(metadata, dict) else None
    return f"{message}: {raw}" if message and raw and raw not in message else message or raw


def _parse_json(text: str) -> object | None:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _clean_page(text: str) -> str | None:
    """Return a text, or the visible text of a page; None if there are no words in it."""
    visible = text[:PAGE_CHARACTERS_MAX]
    if visible.startswith("<"):
        visible = unescape(_TAGS.sub(" ", visible))
    return " ".join(visible.split()) if _WORD.search(visible) else None
