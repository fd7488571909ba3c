"""When a provider says to come back, and what its error's words mean."""

import pytest

from domain.graphs.graph import ErrorClass
from engine.providers.http_faults import SaidError, classify_status, classify_stream_error, retry_after_seconds

DATE = "Mon, 23 Nov 2026 20:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "3", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "1e300"}, 86_400),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 20:01:30 GMT", "date": DATE}, 90),
        ({"retry-after": "Mon, 23 Nov 2026 19:00:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Mon, 23 Nov 2026 20:01:30 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 20:01:30", "date": DATE}, None),
    ],
)
def test_the_wait_is_read_in_all_its_forms_and_bounded(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


@pytest.mark.parametrize(
    ("said", "error_class"),
    [
        ("it broke", ErrorClass.UNAVAILABLE),
        (SaidError(type="rate_limit_exceeded"), ErrorClass.RATE_LIMITED),
        (SaidError(code=429), ErrorClass.RATE_LIMITED),
        (SaidError(code=502), ErrorClass.UNAVAILABLE),
        (SaidError(type="invalid_request_error"), ErrorClass.BAD_REQUEST),
        (SaidError(type="invalid_request_error", code="content_filter"), ErrorClass.CONTENT_REFUSED),
    ],
)
def test_an_error_inside_a_stream_has_its_class(said: SaidError | str, error_class: ErrorClass) -> None:
    assert classify_stream_error(said, "sk-key").error_class is error_class


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 5_000, b'{"error": "plain"}', b'{"error": null}'])
def test_an_error_body_may_be_anything(body: bytes) -> None:
    fault = classify_status(500, {}, body, "sk-key")
    assert fault.error_class is ErrorClass.UNAVAILABLE
    assert fault.message == "the model provider failed (HTTP 500)"


def test_names_that_are_no_names_are_not_repeated() -> None:
    fault = classify_status(500, {}, b'{"error": {"type": "a b\\nc", "code": "sk-key"}}', "sk-key")
    assert fault.message == "the model provider failed (HTTP 500, …)"
