"""Failed HTTP calls get their error class by status, or by how the connection failed."""

import httpx2
import pytest

from domain.graphs.graph import ErrorClass
from engine.egress.http_errors import classify_transport_error, get_error_class, read_wait_seconds


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, ErrorClass.BAD_REQUEST),
        (401, ErrorClass.AUTH),
        (404, ErrorClass.BAD_REQUEST),
        (408, ErrorClass.TIMEOUT),
        (429, ErrorClass.RATE_LIMITED),
        (500, ErrorClass.UNAVAILABLE),
        (503, ErrorClass.OVERLOADED),
        (599, ErrorClass.UNAVAILABLE),
    ],
)
def test_a_status_has_its_class(status: int, error_class: ErrorClass) -> None:
    assert get_error_class(status) is error_class


def test_a_caller_can_override_single_statuses() -> None:
    special = {504: ErrorClass.TIMEOUT}
    assert get_error_class(504, special) is ErrorClass.TIMEOUT
    assert get_error_class(500, special) is ErrorClass.UNAVAILABLE


def test_only_rate_limits_and_overload_have_a_wait() -> None:
    headers = {"retry-after": "7"}
    waits = {error_class: read_wait_seconds(error_class, headers) for error_class in ErrorClass}
    assert {error_class for error_class, wait in waits.items() if wait == 7} == {
        ErrorClass.RATE_LIMITED,
        ErrorClass.OVERLOADED,
    }


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (httpx2.PoolTimeout("x"), ErrorClass.OVERLOADED),
        (httpx2.ConnectTimeout("x"), ErrorClass.UNAVAILABLE),
        (httpx2.ConnectError("x"), ErrorClass.UNAVAILABLE),
        (httpx2.ReadTimeout("x"), ErrorClass.TIMEOUT),
        (httpx2.LocalProtocolError("x"), ErrorClass.BAD_REQUEST),
        (httpx2.RemoteProtocolError("x"), ErrorClass.UNAVAILABLE),
        (httpx2.ReadError("x"), ErrorClass.UNAVAILABLE),
        (httpx2.DecodingError("x"), ErrorClass.UNAVAILABLE),
    ],
)
def test_a_connection_that_failed_has_its_class_and_its_own_text_is_not_quoted(
    error: Exception, error_class: ErrorClass
) -> None:
    error.args = ("https://user:password@host/?key=secret",)
    found, message = classify_transport_error(error, "The host")
    assert found is error_class
    assert "secret" not in message
