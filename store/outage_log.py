"""Log an outage when it begins and when it ends, each once and at the same level, so that neither is missed."""

import time
from collections.abc import Callable

import structlog


class OutageLog:
    """The log lines of one thing that can be away, such as a connection.

    A failure while it is away is not logged again: only the first one of an outage, and the success that ends it.
    """

    def __init__(
        self, logger: str, *, lost: str, back: str, monotonic: Callable[[], float] = time.monotonic, **context: object
    ) -> None:
        """Create it without an outage. `lost` and `back` are the events of its lines, `context` is in each of them."""
        self._logger_name = logger
        self._lost = lost
        self._back = back
        self._monotonic = monotonic
        self._context = context
        self._lost_at: float | None = None

    @property
    def is_away(self) -> bool:
        """Return whether an outage has begun and not ended."""
        return self._lost_at is not None

    def note_failure(self, reason: str, *, is_logged: bool = False, **fields: object) -> None:
        """Note a failure: the first one begins an outage. With `is_logged` the caller has logged it."""
        if self._lost_at is not None:
            return
        self._lost_at = self._monotonic()
        if not is_logged:
            structlog.get_logger(self._logger_name).warning(self._lost, reason=reason, **self._context, **fields)

    def note_success(self, **fields: object) -> None:
        """Note that it works: an outage ends."""
        if self._lost_at is None:
            return
        away_seconds, self._lost_at = round(self._monotonic() - self._lost_at, 1), None
        logger = structlog.get_logger(self._logger_name)
        logger.warning(self._back, away_seconds=away_seconds, **self._context, **fields)
