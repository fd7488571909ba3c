"""`Retry-After` is read in all its forms, and bounded."""

import pytest

from engine.egress.retry_after import read_retry_after_seconds

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
    assert read_retry_after_seconds(headers) == seconds
