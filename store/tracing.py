"""Spans of OpenTelemetry, at no cost unless they are collected."""

from contextlib import AbstractContextManager, nullcontext
from typing import Final

from opentelemetry import trace

_NO_SPAN: Final[AbstractContextManager[object]] = nullcontext()


class Spans:
    """Opens spans of the product's tracer.

    Whether a tracer provider is set is decided once, when the process starts, since OpenTelemetry's own no-op
    span takes 8 µs, as long as a whole turn of a run.
    """

    def __init__(self) -> None:
        """Check for a tracer provider, which `opentelemetry-instrument` sets before the program starts."""
        self._is_collecting = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        self._tracer = trace.get_tracer("callsheet")

    def open(self, name: str, **attributes: object) -> AbstractContextManager[object]:
        """Open a span as the current one; attributes are recorded as text."""
        if not self._is_collecting:
            return _NO_SPAN
        shown = {key: str(value) for key, value in attributes.items()}
        return self._tracer.start_as_current_span(name, attributes=shown)
