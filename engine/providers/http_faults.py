"""Failures of model providers, classified by status, by the error code in the body, or by how the connection failed.

All protocols share this module. Messages begin with a sentence of our own, by the class, and quote the provider's: cut
to a few lines, and without keys.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from domain.graphs.graph import ErrorClass
from engine.egress import http_errors
from engine.providers.answers.error_details import ErrorDetails
from engine.providers.provider import ProviderFault
from engine.providers.quotes import Quotes

INVALID_RESPONSE = "The model provider sent a response that does not follow its protocol"

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFUSED_CODES = frozenset(
    {"content_filter", "content_policy_violation", "moderation_blocked", "responsibleaipolicyviolation"}
)
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
    "timeout": ErrorClass.TIMEOUT,
    # Names of gRPC statuses, which servers behind a gateway send.
    "resource_exhausted": ErrorClass.RATE_LIMITED,
    "unavailable": ErrorClass.OVERLOADED,
    "deadline_exceeded": ErrorClass.TIMEOUT,
    "invalid_argument": ErrorClass.BAD_REQUEST,
    "failed_precondition": ErrorClass.BAD_REQUEST,
    "permission_denied": ErrorClass.AUTH,
    "unauthenticated": ErrorClass.AUTH,
}
_NO_CREDIT_CODES = frozenset(
    {
        "insufficient_quota",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_funds",
        "insufficient_user_quota",
        "exceeded_current_quota_error",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
        "account_suspended",
        "credit_balance_too_low",
        "arrearage",
    }
)
"""Sent with statuses that usually pass, such as 429: waiting does not help, so they are not tried again."""
NO_CREDIT: Final = "The account at the model provider has no credit, or was suspended"
_NO_CREDIT_WORDS: Final = re.compile(
    r"credit balance is too low|insufficient (?:balance|credits?|quota)", re.IGNORECASE
)
_REJECTED_ANSWER_CODES: Final = frozenset({"json_validate_failed", "output_parse_failed"})
_SENTENCES = {
    ErrorClass.RATE_LIMITED: "The model provider is limiting the rate of calls",
    ErrorClass.OVERLOADED: "The model provider is overloaded",
    ErrorClass.TIMEOUT: "The model provider timed out",
    ErrorClass.UNAVAILABLE: "The model provider failed",
    ErrorClass.CONTENT_REFUSED: "The model provider refused the content",
    ErrorClass.BAD_REQUEST: "The model provider rejected the request",
    ErrorClass.AUTH: "The model provider rejected the API key",
}


def classify_status(status: int, headers: Mapping[str, str], error: ErrorDetails, quotes: Quotes) -> ProviderFault:
    """Return the fault of a response whose status is not 200."""
    error_class = _classify(error, status)
    wait = http_errors.read_wait_seconds(error_class, headers)
    return ProviderFault(error_class, _message(error_class, f"HTTP {status}", error, quotes), wait)


def classify_stream_error(error: ErrorDetails, quotes: Quotes) -> ProviderFault:
    """Return the fault of an error inside a response whose status is 200."""
    status = error.code if isinstance(error.code, int) and error.code >= HTTPStatus.BAD_REQUEST else None
    error_class = _classify(error, status)
    return ProviderFault(error_class, _message(error_class, "in the stream", error, quotes))


def classify_transport_error(error: Exception) -> ProviderFault:
    """Return the fault of a connection that could not be made or broke."""
    return ProviderFault(*http_errors.classify_transport_error(error, "The model provider"))


def is_rejected_answer(error: ErrorDetails) -> bool:
    """Return whether the server passes no answer on because the model's is not the JSON that was asked for."""
    return error.rejected_answer is not None or bool(_list_names(error) & _REJECTED_ANSWER_CODES)


def _classify(error: ErrorDetails, status: int | None) -> ErrorClass:
    """Return the class by the names in an error, by its status, or UNAVAILABLE."""
    names = _list_names(error)
    if names & _REFUSED_CODES:
        return ErrorClass.CONTENT_REFUSED
    if _has_no_credit(error):
        return ErrorClass.AUTH
    if status is not None and status >= HTTPStatus.BAD_REQUEST:
        return http_errors.get_error_class(status, _SPECIAL_STATUSES)
    ordered = [str(name).lower() for name in (error.code, error.type) if name is not None]
    named = [_CODE_CLASSES[name] for name in ordered if name in _CODE_CLASSES]
    fallback = ErrorClass.UNAVAILABLE if status is None else ErrorClass.BAD_REQUEST
    return next(iter(named), fallback)


def _list_names(error: ErrorDetails) -> set[str]:
    return {str(name).lower() for name in (error.code, error.type) if name is not None}


def _has_no_credit(error: ErrorDetails) -> bool:
    if _list_names(error) & _NO_CREDIT_CODES:
        return True
    return error.message is not None and _NO_CREDIT_WORDS.search(error.message) is not None


def _message(error_class: ErrorClass, where: str, error: ErrorDetails, quotes: Quotes) -> str:
    names = [quotes.clean(str(name)) for name in (error.type, error.code) if _CODE.fullmatch(str(name or ""))]
    sentence = NO_CREDIT if _has_no_credit(error) else _SENTENCES[error_class]
    sentence = f"{sentence} ({', '.join(dict.fromkeys([where, *names]))})"
    quote = quotes.quote(error.message or "")
    return f"{sentence}: {quote}" if quote else sentence
