"""The wait that a caller prefers, as RFC 7240 writes it."""

import pytest

from gateway.http.preferences import parse_wait_seconds


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        (b"wait=10", 10),
        (b"Wait = 10", 10),
        (b'wait="10"', 10),
        (b"respond-async, wait=10", 10),
        (b"wait=10, respond-async", 10),
        (b"wait=10; x=y", 10),
        (b"wait=0", 0),
        (b"wait=999999999", 60),
        (b"wait=-1", 0),
        (b"wait=ten", 0),
        (b"await=10", 0),
        (b"wait", 0),
        (b"wait=99999999999999999999", 0),
    ],
)
def test_only_a_wait_that_can_be_read_counts_and_it_is_bounded(prefer: bytes | None, seconds: float) -> None:
    assert parse_wait_seconds(prefer, seconds_max=60) == seconds
