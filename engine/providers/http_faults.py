"""Failures of model providers, classified by status, by the error code in the body, or by how the connection failed.

All protocols share this module. Messages are our own sentences. The provider's own message is quoted only for rejected
requests, where the author needs it to correct them; the key is removed and the quote shortened.
"""

import re
from collections.abc import Mapping

import httpx2
import msgspec
from msgspec import Struct

from domain.graphs.graph import ErrorClass
from engine.egress import http_errors
from engine.providers.provider import ProviderFault

INVALID_RESPONSE = "The model provider sent a response that does not follow its protocol"

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFUSED_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_SPECIAL_STATUSES = {
    402: ErrorClass.AUTH,
    409: ErrorClass.UNAVAILABLE,
    425: ErrorClass.UNAVAILABLE,
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
    ErrorClass.RATE_LIMITED: "The model provider is limiting the rate of calls",
    ErrorClass.OVERLOADED: "The model provider is overloaded",
    ErrorClass.TIMEOUT: "The model provider timed out",
    ErrorClass.UNAVAILABLE: "The model provider failed",
    ErrorClass.CONTENT_REFUSED: "The model provider refused the content",
    ErrorClass.BAD_REQUEST: "The model provider rejected the request",
    ErrorClass.AUTH: "The model provider rejected the API key",
}


class ErrorDetails(Struct, frozen=True, kw_only=True):
    """An error in a response body: `{"error": {type, code, message}}`; some put the HTTP status into `code`."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _ErrorBody(Struct, frozen=True, kw_only=True):
    error: ErrorDetails | str | None = None


def classify_status(status: int, headers: Mapping[str, str], body: bytes, key: str) -> ProviderFault:
    """Return the fault of a response whose status is not 200. `key` is removed from the message."""
    error = _parse_error(body)
    error_class = _classify(status, error)
    wait = http_errors.read_wait_seconds(error_class, headers)
    return ProviderFault(error_class, _message(error_class, f"HTTP {status}", error, key), wait)


def classify_stream_error(sent: ErrorDetails | str, key: str) -> ProviderFault:
    """Return the fault of an error event inside a stream, which has no status."""
    error = ErrorDetails(message=sent) if isinstance(sent, str) else sent
    if isinstance(error.code, int):
        error_class = _classify(error.code, error)
    else:
        named = [_CODE_CLASSES[name] for name in (error.code, error.type) if name in _CODE_CLASSES]
        error_class = ErrorClass.CONTENT_REFUSED if _is_refusal(error) else next(iter(named), ErrorClass.UNAVAILABLE)
    return ProviderFault(error_class, _message(error_class, "in the stream", error, key))


def classify_transport_error(error: Exception) -> ProviderFault:
    """Return the fault of a connection that could not be made or broke."""
    if isinstance(error, httpx2.SSEError):  # the content type was checked before, so the line exceeded its limit
        return ProviderFault(ErrorClass.INVALID_OUTPUT, "The model provider sent a line that is too long")
    return ProviderFault(*http_errors.classify_transport_error(error, "The model provider"))


def _parse_error(body: bytes) -> ErrorDetails:
    try:
        sent = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ErrorDetails()
    return ErrorDetails(message=sent) if isinstance(sent, str) else sent or ErrorDetails()


def _classify(status: int, error: ErrorDetails) -> ErrorClass:
    is_refusal = _is_refusal(error)
    return ErrorClass.CONTENT_REFUSED if is_refusal else http_errors.get_error_class(status, _SPECIAL_STATUSES)


def _is_refusal(error: ErrorDetails) -> bool:
    return error.code in _REFUSED_CODES or error.type in _REFUSED_CODES


def _message(error_class: ErrorClass, where: str, error: ErrorDetails, key: str) -> str:
    names = [str(name).replace(key, "…") for name in (error.type, error.code) if _CODE.fullmatch(str(name or ""))]
    sentence = f"{_SENTENCES[error_class]} ({', '.join(dict.fromkeys([where, *names]))})"
    if error_class is not ErrorClass.BAD_REQUEST or not error.message:
        return sentence
    return f"{sentence}: {http_errors.shorten_quote(error.message.replace(key, '…'))}"
