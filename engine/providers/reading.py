"""The reading of one streamed answer: its text, times and tokens, whichever protocol its pieces come in."""

from collections.abc import Callable

from domain.graphs.graph import ErrorClass
from domain.runs.facts import Usage
from engine.providers.http_faults import classify_stream_error
from engine.providers.provider import ModelResponse, ProviderFault
from engine.providers.wire import Piece


class Reading:
    """What has come of one answer so far."""

    def __init__(self, model: str, key: str, monotonic: Callable[[], float]) -> None:
        """Begin now. `key` is cut out of whatever is quoted."""
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
        """Return whether the answer has come to its end, whatever becomes of the stream."""
        return self._is_whole

    def take(self, piece: Piece, on_delta: Callable[[str], None]) -> None:
        """Take one piece. Raises ProviderFault when it tells of an error."""
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
        # PostgreSQL takes no NUL, in no text and no JSON, and nobody reads one.
        if text := piece.text.replace("\0", ""):
            if self._first_token is None:
                self._first_token = self._latest
            self._parts.append(text)
            on_delta(text)

    def answer(self) -> ModelResponse:
        """Return the whole answer. Raises ProviderFault when the stream ended early or the model refused."""
        usage = self._usage()
        if self._refused:
            raise ProviderFault(ErrorClass.CONTENT_REFUSED, "the model refused to answer", usage=usage)
        if not self._is_whole:
            raise ProviderFault(ErrorClass.UNAVAILABLE, "the model provider broke off", usage=usage)
        text = "".join(self._parts)
        return ModelResponse(text=text, usage=usage, truncated=self._truncated, called_tool=self._called_tool)

    def counted(self) -> Usage | None:
        """Return what was counted by a provider whose answer never came to its end; None where nothing was."""
        return None if self._input_tokens is None and self._output_tokens is None else self._usage()

    def _usage(self) -> Usage:
        first = self._first_token
        return Usage(
            model=self._model,
            input_tokens=self._input_tokens or 0,  # some servers do not count: 0 and 0, never a guess
            output_tokens=self._output_tokens or 0,
            latency_ms=self._since_start_ms(self._latest),
            first_token_ms=None if first is None else self._since_start_ms(first),
        )

    def _since_start_ms(self, moment: float) -> float:
        return round((moment - self._started) * 1000, 3)
