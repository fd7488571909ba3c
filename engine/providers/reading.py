"""Collect one streamed response: text, times and token counts, for any protocol."""

from collections.abc import Callable

from domain.graphs.graph import ErrorClass
from domain.runs.facts import Usage
from engine.providers.http_faults import classify_stream_error
from engine.providers.provider import ModelResponse, ProviderFault
from engine.providers.wire import Piece


class Reading:
    """The part of a response that has arrived so far."""

    def __init__(self, model: str, key: str, monotonic: Callable[[], float]) -> None:
        """Start measuring. `key` is removed from error messages."""
        self._model = model
        self._key = key
        self._monotonic = monotonic
        self._started = monotonic()
        self._latest = self._started
        self._first_token: float | None = None
        self._parts: list[str] = []
        self._input_tokens: int | None = None
        self._output_tokens: int | None = None
        self._refused = False
        self._truncated = False
        self._called_tool = False
        self._is_whole = False

    @property
    def is_whole(self) -> bool:
        """Return whether the response is complete, even if the stream has not ended."""
        return self._is_whole

    def add(self, piece: Piece, on_delta: Callable[[str], None]) -> None:
        """Add one piece. Raises ProviderFault if it reports an error."""
        if piece.error is not None:
            raise classify_stream_error(piece.error, self._key)
        self._latest = self._monotonic()
        self._is_whole = self._is_whole or piece.is_whole or piece.is_last
        self._refused = self._refused or piece.refused
        self._truncated = self._truncated or piece.truncated
        self._called_tool = self._called_tool or piece.called_tool
        if piece.input_tokens is not None:
            self._input_tokens = piece.input_tokens
        if piece.output_tokens is not None:
            self._output_tokens = piece.output_tokens
        # PostgreSQL stores no NUL characters, neither in text nor in JSON.
        if text := piece.text.replace("\0", ""):
            if self._first_token is None:
                self._first_token = self._latest
            self._parts.append(text)
            on_delta(text)

    def to_response(self) -> ModelResponse:
        """Return the whole response. Raises ProviderFault if the stream ended early or the model refused."""
        usage = self._usage()
        if self._refused:
            raise ProviderFault(ErrorClass.CONTENT_REFUSED, "The model refused to answer", usage=usage)
        if not self._is_whole:
            raise ProviderFault(
                ErrorClass.UNAVAILABLE,
                "The model provider ended the stream before the response was complete",
                usage=usage,
            )
        text = "".join(self._parts)
        return ModelResponse(text=text, usage=usage, truncated=self._truncated, called_tool=self._called_tool)

    def find_usage(self) -> Usage | None:
        """Return the usage reported so far; None if none was."""
        return None if self._input_tokens is None and self._output_tokens is None else self._usage()

    def _usage(self) -> Usage:
        first = self._first_token
        return Usage(
            model=self._model,
            input_tokens=self._input_tokens or 0,  # some servers do not report counts: 0, never an estimate
            output_tokens=self._output_tokens or 0,
            latency_ms=self._since_start_ms(self._latest),
            first_token_ms=None if first is None else self._since_start_ms(first),
        )

    def _since_start_ms(self, moment: float) -> float:
        return round((moment - self._started) * 1000, 3)
