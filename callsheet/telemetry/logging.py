"""Logging and tracing: JSON log lines of one shape, with the ids of their trace, and a tracer.

Only the API of OpenTelemetry is used: without an SDK in the process its spans cost next to nothing, and with one that
you install (`opentelemetry-sdk`, then `opentelemetry-instrument callsheet serve`) they go where it says.
"""

import logging
import sys
from typing import Final, Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.types import EventDict, Processor, WrappedLogger

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
QUIET: Final = ("uvicorn.access", "httpx2", "httpcore2", "asyncio", "psycopg.pool")
"""Loggers of libraries that log every request or connection: logged from warnings up."""

TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)
"""Tracebacks as data, without the variables of their frames, which contain tokens, keys and data of callers."""


def configure_logging(level: str, renderer: Literal["json", "console"], stream: TextIO = sys.stderr) -> None:
    """Send all logs, ours and those of libraries, to one stream in one shape.

    `level` is one of LEVELS. Calling it again replaces the earlier configuration.
    """
    structlog.configure(
        processors=[*_list_shared_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_create_formatter(renderer))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    _route_library_logs(level)


def get_tracer() -> trace.Tracer:
    """Return the tracer of the product; its spans are named `command`, `append`, `step` and `projection`."""
    return trace.get_tracer("callsheet")


def add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the ids of the current trace and span (W3C Trace Context, lower-case hexadecimal) to a log line."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def drop_color_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove uvicorn's duplicate of the message with the escape sequences of a terminal."""
    event.pop("color_message", None)
    return event


def _list_shared_processors() -> list[Processor]:
    """Return the processors of every log line."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        drop_color_message,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace,
    ]


def _create_formatter(renderer: Literal["json", "console"]) -> logging.Formatter:
    """Create the formatter; a traceback is data in JSON, and text on a console."""
    last: list[Processor] = (
        [TRACEBACKS, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if renderer == "json"
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_list_shared_processors(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _route_library_logs(level: str) -> None:
    """Remove the handlers of libraries, so that each line is written once, and raise the level of verbose ones."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "psycopg"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger("cel").setLevel(logging.ERROR)  # it warns of each fault of a condition, which the run has as well
