"""Failures of model providers: error codes in streams and bodies get their class, and nothing secret is quoted."""

import pytest

from domain.graphs.graph import ErrorClass
from engine.providers.http_faults import ErrorDetails, classify_status, classify_stream_error


@pytest.mark.parametrize(
    ("sent", "error_class"),
    [
        ("it broke", ErrorClass.UNAVAILABLE),
        (ErrorDetails(type="rate_limit_exceeded"), ErrorClass.RATE_LIMITED),
        (ErrorDetails(code=429), ErrorClass.RATE_LIMITED),
        (ErrorDetails(code=502), ErrorClass.UNAVAILABLE),
        (ErrorDetails(type="invalid_request_error"), ErrorClass.BAD_REQUEST),
        (ErrorDetails(type="invalid_request_error", code="content_filter"), ErrorClass.CONTENT_REFUSED),
    ],
)
def test_an_error_inside_a_stream_has_its_class(sent: ErrorDetails | str, error_class: ErrorClass) -> None:
    assert classify_stream_error(sent, "sk-key").error_class is error_class


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 5_000, b'{"error": "plain"}', b'{"error": null}'])
def test_an_error_body_may_be_anything(body: bytes) -> None:
    fault = classify_status(500, {}, body, "sk-key")
    assert fault.error_class is ErrorClass.UNAVAILABLE
    assert fault.message == "The model provider failed (HTTP 500)"


def test_malformed_error_codes_and_the_key_are_not_quoted() -> None:
    fault = classify_status(500, {}, b'{"error": {"type": "a b\\nc", "code": "sk-key"}}', "sk-key")
    assert fault.message == "The model provider failed (HTTP 500, …)"
