"""The product's only clock."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Give the time, in UTC."""
    return datetime.now(UTC)
