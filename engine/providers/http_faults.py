"""Faults of model providers behind HTTP: which class a status, a code or a broken connection belongs to.

One place for every protocol, since providers agree on HTTP. Messages are our own sentences. What a provider says is
quoted only where the asker must know it to mend the request, without the key and cut short: it may quote anything.
"""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx2
import msgspec
from msgspec import Struct

from domain.graphs.graph import ErrorClass
from engine.providers.provider import ProviderFault

RETRY_AFTER_SECONDS_MAX = 86_400.0
QUOTE_CHARACTERS_MAX = 300
NOT_THE_PROTOCOL = "the model provider sent something that is not of its protocol"

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFUSED_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_CLASSES = {
    401: ErrorClass.AUTH,
    402: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    408: ErrorClass.TIMEOUT,
    409: ErrorClass.UNAVAILABLE,
    425: ErrorClass.UNAVAILABLE,
    429: ErrorClass.RATE_LIMITED,
    503: ErrorClass.OVERLOADED,
    504: ErrorClass.TIMEOUT,
    529: ErrorClass.OVERLOADED,
}
_CODE_CLASSES = {
    "authentication_error": ErrorClass.AUTH,
    "billing_error": ErrorClass.AUTH,
    "invalid_api_key": ErrorClass.AUTH,
    "permission_error": ErrorClass.AUTH,
    "invalid_request_error": ErrorClass.BAD_REQUEST,
    "not_found_error": ErrorClass.BAD_REQUEST,
    "overloaded_error": ErrorClass.OVERLOADED,
    "rate_limit_error": ErrorClass.RATE_LIMITED,
    "rate_limit_exceeded": ErrorClass.RATE_LIMITED,
    "request_too_large": ErrorClass.BAD_REQUEST,
    "timeout_error": ErrorClass.TIMEOUT,
}
_SENTENCES = {
    ErrorClass.RATE_LIMITED: "the model provider limits the rate of calls",
    ErrorClass.OVERLOADED: "the model provider is overloaded",
    ErrorClass.TIMEOUT: "the model provider ran out of time",
    ErrorClass.UNAVAILABLE: "the model provider failed",
    ErrorClass.CONTENT_REFUSED: "the model provider refused the content",
    ErrorClass.BAD_REQUEST: "the model provider does not accept the request",
    ErrorClass.AUTH: "the model provider does not accept our key",
}


class SaidError(Struct, frozen=True, kw_only=True):
    """What providers say of an error: `{"error": {type, code, message}}`; some put the HTTP status into `code`."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _ErrorBody(Struct, frozen=True, kw_only=True):
    error: SaidError | str | None = None


def classify_status(status: int, headers: Mapping[str, str], body: bytes, key: str) -> ProviderFault:
    """Classify an answer whose status is not 200. `key` is cut out of whatever is quoted."""
    said = _said_in(body)
    error_class = _classify(status, said)
    wait = retry_after_seconds(headers) if error_class in {ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED} else None
    return ProviderFault(error_class, _message(error_class, f"HTTP {status}", said, key), wait)


def classify_stream_error(said: SaidError | str, key: str) -> ProviderFault:
    """Classify an error that came inside a stream, where there is no status any more."""
    error = SaidError(message=said) if isinstance(said, str) else said
    if isinstance(error.code, int):
        error_class = _classify(error.code, error)
    else:
        named = [_CODE_CLASSES[name] for name in (error.code, error.type) if name in _CODE_CLASSES]
        error_class = ErrorClass.CONTENT_REFUSED if _is_refusal(error) else next(iter(named), ErrorClass.UNAVAILABLE)
    return ProviderFault(error_class, _message(error_class, "in the stream", error, key))


def classify_transport_error(error: Exception) -> ProviderFault:
    """Classify a connection that could not be made or broke. The error's own text is never passed on."""
    match error:
        case httpx2.PoolTimeout():
            return ProviderFault(ErrorClass.OVERLOADED, "all connections to the model provider are in use")
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return ProviderFault(ErrorClass.UNAVAILABLE, "the model provider cannot be reached")
        case httpx2.TimeoutException():
            return ProviderFault(ErrorClass.TIMEOUT, _SENTENCES[ErrorClass.TIMEOUT])
        case httpx2.SSEError():  # its content type is looked at before, so this is the bound on one event
            return ProviderFault(ErrorClass.INVALID_OUTPUT, "the model provider sent a line beyond all bounds")
        case httpx2.RemoteProtocolError() | httpx2.NetworkError():
            return ProviderFault(ErrorClass.UNAVAILABLE, "the model provider broke off")
        case _:
            return ProviderFault(ErrorClass.UNAVAILABLE, NOT_THE_PROTOCOL)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read when another call is welcome (RFC 9110, 10.2.3), at most a day; None where it is not said.

    A date counts from the answer's own `Date`, so that clocks need not agree. OpenAI adds `retry-after-ms`.
    """
    milliseconds, after = headers.get("retry-after-ms"), headers.get("retry-after")
    if milliseconds is not None and (wait := _number(milliseconds)) is not None:
        return _clamp(wait / 1000)
    if after is None:
        return None
    wait = _number(after)
    return _clamp(wait) if wait is not None else _until(after, headers.get("date"))


def _until(moment: str, now: str | None) -> float | None:
    try:
        return _clamp((parsedate_to_datetime(moment) - parsedate_to_datetime(now or "")).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def _said_in(body: bytes) -> SaidError:
    try:
        said = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return SaidError()
    return SaidError(message=said) if isinstance(said, str) else said or SaidError()


def _classify(status: int, said: SaidError) -> ErrorClass:
    if _is_refusal(said):
        return ErrorClass.CONTENT_REFUSED
    server_failed = status >= 500  # noqa: PLR2004  # RFC 9110: the server's own class of status
    return _CLASSES.get(status, ErrorClass.UNAVAILABLE if server_failed else ErrorClass.BAD_REQUEST)


def _is_refusal(said: SaidError) -> bool:
    return said.code in _REFUSED_CODES or said.type in _REFUSED_CODES


def _message(error_class: ErrorClass, where: str, said: SaidError, key: str) -> str:
    names = [str(name).replace(key, "…") for name in (said.type, said.code) if _CODE.fullmatch(str(name or ""))]
    sentence = f"{_SENTENCES[error_class]} ({', '.join(dict.fromkeys([where, *names]))})"
    if error_class is not ErrorClass.BAD_REQUEST or not said.message:
        return sentence
    quote = " ".join(said.message.replace(key, "…").split())
    return f"{sentence}: {quote[:QUOTE_CHARACTERS_MAX]}"
