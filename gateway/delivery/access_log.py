"""The access log: a line for each refused or failed request, and for a sample of the others."""

from collections.abc import Callable
from time import perf_counter
from typing import Final

import structlog

from gateway.http.trace import Trace
from gateway.identity.caller import Caller

REFUSED: Final = 400
FAILED: Final = 500


class AccessLog:
    """Writes a line when a response begins, so that the `trace_id` of an answer can be found.

    Paths are logged as they were sent, percent-encoded: nothing in them can be taken for another line, or control a
    terminal. Queries are left out: they may name what is secret.
    """

    def __init__(self, sampled_part: float, draw: Callable[[], float]) -> None:
        """Create it; `sampled_part` of the successful requests are logged, `draw` returns a number from 0 to 1."""
        self._sampled_part = sampled_part
        self._draw = draw
        self._logger = structlog.get_logger("gateway.access")

    def record(
        self,
        *,
        method: str,
        raw_path: bytes,
        operation_id: str | None,
        status: int,
        code: str | None,
        trace: Trace,
        caller: Caller | None,
        received_at: float,
    ) -> None:
        """Log a response that begins now, to a request received at a time of `perf_counter`."""
        if status < REFUSED and self._draw() >= self._sampled_part:
            return
        write = self._logger.warning if status >= FAILED else self._logger.info
        who = {} if caller is None else {"workspace": str(caller.workspace_id), "actor": caller.actor.kind}
        write(
            "request",
            method=method,
            path=raw_path.decode("ascii", "backslashreplace"),
            operation=operation_id,
            status=status,
            code=code,
            trace_id=trace.trace_id,
            duration_ms=round((perf_counter() - received_at) * 1_000, 1),
            **who,
        )
