"""Failures of model providers: error codes in streams and bodies get their class, and nothing secret is quoted."""

import msgspec
import pytest

from domain.graphs.graph import ErrorClass, Retry
from engine.providers.answers.error_details import ErrorDetails, find_error, parse_error_body
from engine.providers.http_faults import classify_status, classify_stream_error
from engine.providers.quotes import Quotes

QUOTES = Quotes(["sk-key"])


@pytest.mark.parametrize(
    ("sent", "error_class"),
    [
        (ErrorDetails(message="it broke"), ErrorClass.UNAVAILABLE),
        (ErrorDetails(type="rate_limit_exceeded"), ErrorClass.RATE_LIMITED),
        (ErrorDetails(code=429), ErrorClass.RATE_LIMITED),
        (ErrorDetails(code=502), ErrorClass.UNAVAILABLE),
        (ErrorDetails(type="invalid_request_error"), ErrorClass.BAD_REQUEST),
        (ErrorDetails(type="invalid_request_error", code="content_filter"), ErrorClass.CONTENT_REFUSED),
    ],
)
def test_an_error_inside_a_stream_has_its_class(sent: ErrorDetails, error_class: ErrorClass) -> None:
    assert classify_stream_error(sent, QUOTES).error_class is error_class


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 5_000, b'{"error": null}', b"42", b"null", b"[]"])
def test_an_error_body_without_words_is_not_quoted(body: bytes) -> None:
    fault = classify_status(500, {}, parse_error_body(body), QUOTES)
    assert fault.error_class is ErrorClass.UNAVAILABLE
    assert fault.message == "The model provider failed (HTTP 500)"


def test_malformed_error_codes_and_the_key_are_not_quoted() -> None:
    error = parse_error_body(b'{"error": {"type": "a b\\nc", "code": "sk-key"}}')
    assert classify_status(500, {}, error, QUOTES).message == "The model provider failed (HTTP 500, …)"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "plain words"}}, "plain words"),
        ({"error": "plain words"}, "plain words"),
        ({"message": "plain words"}, "plain words"),
        ({"detail": "plain words"}, "plain words"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "not allowed"}]}, "body.seed: not allowed"),
        ({"detail": {"message": "plain words"}}, "plain words"),
        ({"errors": ["first word", {"message": "second"}]}, "first word; second"),
        ([{"error": {"code": 400, "message": "plain words", "status": "INVALID_ARGUMENT"}}], "plain words"),
        ({"object": "error", "message": "plain words", "type": "BadRequestError", "code": 400}, "plain words"),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "plain words"}}, "plain words"),
        ({"title": "Bad Request", "status": 400, "detail": "plain words"}, "plain words"),
        ({"error": {"code": "x", "innererror": {}, "message": {"value": 1, "message": "plain words"}}}, "plain words"),
        ({"error": '{"message": "plain words"}'}, "plain words"),
        ({"error": {"message": "outer", "metadata": {"raw": '{"error": {"message": "inner"}}'}}}, "outer: inner"),
        ({"error": "not_found", "message": "plain words"}, "not_found: plain words"),
        ({"error_msg": 1, "msg": "plain words", "code": 1}, "plain words"),
    ],
    ids=str,
)
def test_the_sentence_for_people_is_found_in_any_envelope(body: object, words: str) -> None:
    fault = classify_status(400, {}, parse_error_body(msgspec.json.encode(body)), QUOTES)
    assert fault.message.endswith(f": {words}"), fault.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"upstream connect error", "upstream connect error"),
        (
            b"<html><head><style>p {color: red}</style><title>502</title></head><p>Bad&nbsp;gateway</p>",
            "502 Bad gateway",
        ),
        (b'\xef\xbb\xbf{"error": "plain words"}', "plain words"),
        (b'event: error\ndata: {"error": "plain words"}\n\n', "plain words"),
        (b"word " * 10_000, "word"),
    ],
)
def test_texts_and_pages_are_quoted_cut_and_without_tags(body: bytes, words: str) -> None:
    message = classify_status(502, {}, parse_error_body(body), QUOTES).message
    assert message.endswith(words) or len(message) > 300
    assert len(message) < 400
    assert "<" not in message


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: sk-t***6789",
        "the key sk-live-0123456789abcdef is wrong",
        "the key 0123456789abcdef is wrong",
        "your key starts with sk-live",
        "it ends with 9abcdef.",
        "Authorization: Bearer 1234567",
        "the key of another, gsk_abcdefgh",
        'the url "https://host/v1?key=topsecret"',
    ],
)
def test_no_part_of_a_key_is_quoted(said: str) -> None:
    quotes = Quotes(["sk-live-0123456789abcdef", "topsecret"])
    message = classify_status(401, {}, ErrorDetails(message=said), quotes).message
    assert "…" in message
    for part in ("6789", "sk-l", "cdef", "1234567", "topsecret"):
        assert part not in message


@pytest.mark.parametrize(
    "error",
    [
        ErrorDetails(type="insufficient_quota"),
        ErrorDetails(code="insufficient_quota", type="requests"),
        ErrorDetails(code="billing_hard_limit_reached"),
        ErrorDetails(type="exceeded_current_quota_error"),
        ErrorDetails(type="invalid_request_error", message="Your credit balance is too low to access the API."),
        ErrorDetails(message="Insufficient Balance"),
    ],
)
def test_an_account_without_credit_is_not_tried_again(error: ErrorDetails) -> None:
    for fault in (classify_status(429, {"retry-after": "1"}, error, QUOTES), classify_stream_error(error, QUOTES)):
        assert fault.error_class not in Retry().retry_on
        assert fault.retry_after_seconds is None
        assert "no credit" in fault.message


@pytest.mark.parametrize("value", [{"type": "ping"}, {}, [], 1, "x", None, {"message": {}}, {"id": 1, "message": "Hi"}])
def test_what_reports_no_error_is_none(value: object) -> None:
    assert find_error(value) is None


@pytest.mark.parametrize(
    ("code", "expected"), [(429.0, 429), ("429.0", 429), ("429", 429), (429, 429), ("busy", "busy"), (True, None)]
)
def test_a_code_may_be_a_number_in_any_form(code: object, expected: str | int | None) -> None:
    found = find_error({"error": {"message": "slow down", "code": code}})
    assert found is not None
    assert found.code == expected
