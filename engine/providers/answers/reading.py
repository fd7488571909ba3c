"""Collect one response: text, reasoning, ending, times and token counts, for any protocol."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from domain.graphs.graph import ErrorClass
from domain.runs.facts import Usage
from engine.providers.answers.error_details import ErrorDetails
from engine.providers.answers.finish_reasons import REASON_CHARACTERS_MAX, Ending, Finish, get_worse
from engine.providers.answers.thoughts import Split, ThoughtSplitter, split_unopened
from engine.providers.http_faults import classify_stream_error, is_rejected_answer
from engine.providers.provider import ModelResponse, ProviderFault
from engine.providers.quotes import Quotes
from engine.providers.turns import Media, decode_data_url
from engine.providers.wire import Piece

IMAGES_MAX: Final = 16
"""How many images of one answer are kept."""
ENDED_EARLY: Final = "The model provider ended the stream before the response was complete"
_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray")
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")


class Reading:
    """The part of a response that has arrived so far."""

    def __init__(
        self,
        model: str,
        quotes: Quotes,
        monotonic: Callable[[], float],
        on_delta: Callable[[str], None],
        splitter: ThoughtSplitter | None = None,
        *,
        expects_json: bool = False,
    ) -> None:
        """Start measuring. `quotes` cleans error messages; `splitter`, if any, finds reasoning in the text.

        `expects_json`: an answer that the server holds back because it is not JSON can be repaired.
        """
        self._model = model
        self._quotes = quotes
        self._monotonic = monotonic
        self._on_delta = on_delta
        self._splitter = splitter
        self._expects_json = expects_json
        self._started = monotonic()
        self._latest = self._started
        self._first_token: float | None = None
        self._parts: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._images: list[str] = []
        self._input_tokens: int | None = None
        self._output_tokens: int | None = None
        self._reasoning_tokens = 0
        self._ending: Ending | None = None
        self._has_ended = False
        self._fault: ProviderFault | None = None
        self._request_id: str | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether the response has ended, even if the stream has not."""
        return self._ending is not None or self._has_ended

    @property
    def has_text(self) -> bool:
        """Return whether some text or reasoning has arrived."""
        return bool(self._parts or self._reasoning)

    @property
    def has_failed(self) -> bool:
        """Return whether the server reported an error; only token counts may follow."""
        return self._fault is not None

    def read_headers(self, headers: Mapping[str, str]) -> None:
        """Read the server's name for the request."""
        found = (headers.get(name, "") for name in _REQUEST_ID_HEADERS)
        self._request_id = next((name for name in found if _REQUEST_ID.fullmatch(name)), None)

    def add(self, piece: Piece) -> None:
        """Add one piece."""
        self._latest = self._monotonic()
        self._has_ended = self._has_ended or (piece.is_last and piece.error is None)
        self._add_counts(piece)
        if piece.ending is not None:
            before = piece.ending if self._ending is None else self._ending
            is_worse = get_worse(before.finish, piece.ending.finish) is piece.ending.finish
            self._ending = piece.ending if is_worse else before
        if piece.error is not None and self._fault is None and not self.add_rejected_answer(piece.error):
            self._fault = classify_stream_error(piece.error, self._quotes)
        if self._fault is None:
            self._add_text(piece)

    def add_rejected_answer(self, error: ErrorDetails) -> bool:
        """Add the answer that a server holds back because it is not the JSON asked for; False for any other error."""
        if not (self._expects_json and is_rejected_answer(error)):
            return False
        self._ending = Ending(Finish.COMPLETE, str(error.code or error.type or "")[:REASON_CHARACTERS_MAX] or None)
        if error.rejected_answer is not None:
            self._parts = [error.rejected_answer.replace("\0", "")]
        return True

    def finish(self) -> None:
        """Add what is held at the end of the response."""
        if self._splitter is not None and self._fault is None:
            self._add_split(self._splitter.finish())

    def to_response(self) -> ModelResponse:
        """Return the whole response. Raises ProviderFault if it is incomplete or the model refused."""
        usage = self._usage()
        if self._fault is not None:
            self._fault.usage = self.find_usage()
            raise self._fault
        if self._refusal or self._finish is Finish.REFUSED:
            words = self._quotes.quote("".join(self._refusal))
            message = f"The model refused to answer{_format_reason(self._ending)}{': ' if words else ''}{words}"
            raise ProviderFault(ErrorClass.CONTENT_REFUSED, message, usage=usage)
        if not self.is_whole:
            raise ProviderFault(ErrorClass.UNAVAILABLE, ENDED_EARLY, usage=usage)
        if self._finish is Finish.FAILED:
            message = f"The model provider broke off its response{_format_reason(self._ending)}"
            raise ProviderFault(ErrorClass.UNAVAILABLE, message, usage=usage)
        answer = self._split_answer()
        return ModelResponse(
            text=answer.answer,
            reasoning=answer.reasoning,
            usage=usage,
            finish=self._finish or Finish.UNKNOWN,
            media=self._decode_images(usage),
        )

    def find_usage(self) -> Usage | None:
        """Return the usage reported so far; None if none was."""
        return None if self._input_tokens is None and self._output_tokens is None else self._usage()

    @property
    def _finish(self) -> Finish | None:
        return None if self._ending is None else self._ending.finish

    def _add_counts(self, piece: Piece) -> None:
        if piece.input_tokens is not None:
            self._input_tokens = piece.input_tokens
        if piece.output_tokens is not None:
            self._output_tokens = piece.output_tokens
        if piece.reasoning_tokens is not None:
            self._reasoning_tokens = piece.reasoning_tokens

    def _add_text(self, piece: Piece) -> None:
        if piece.refusal:
            self._refusal.append(piece.refusal)
        self._images += piece.images
        self._add_split(Split(reasoning=piece.reasoning))
        if piece.text:
            split = Split(answer=piece.text) if self._splitter is None else self._splitter.feed(piece.text)
            self._add_split(split)

    def _add_split(self, split: Split) -> None:
        # PostgreSQL stores no NUL characters, neither in text nor in JSON.
        if reasoning := split.reasoning.replace("\0", ""):
            self._reasoning.append(reasoning)
        if text := split.answer.replace("\0", ""):
            if self._first_token is None:
                self._first_token = self._latest
            self._parts.append(text)
            self._on_delta(text)

    def _split_answer(self) -> Split:
        text, reasoning = "".join(self._parts), "".join(self._reasoning)
        if self._splitter is None or reasoning:
            return Split(text, reasoning)
        return split_unopened(text)

    def _decode_images(self, usage: Usage) -> tuple[Media, ...]:
        """Return the images. Raises ProviderFault for one that is broken, or at an address, which is not fetched."""
        try:
            found = [decode_data_url(url) for url in self._images[:IMAGES_MAX]]
        except ValueError as fault:
            raise ProviderFault(ErrorClass.INVALID_OUTPUT, f"An image of the model: {fault}", usage=usage) from None
        if None in found:
            message = "The model answered with the address of an image, which is not fetched; ask for image data"
            raise ProviderFault(ErrorClass.INVALID_OUTPUT, message, usage=usage)
        return tuple(image for image in found if image is not None)

    def _usage(self) -> Usage:
        first = self._first_token
        return Usage(
            model=self._model,
            input_tokens=self._input_tokens or 0,  # some servers do not report counts: 0, never an estimate
            output_tokens=self._output_tokens or 0,
            latency_ms=self._since_start_ms(self._latest),
            first_token_ms=None if first is None else self._since_start_ms(first),
            finish_reason=None if self._ending is None else self._ending.reason,
            truncated=self._finish is Finish.CUT,
            finish_unknown=self._finish is Finish.UNKNOWN or (self._ending is None and self._has_ended),
            reasoning_tokens=self._reasoning_tokens,
            reasoning_characters=len(self._split_answer().reasoning),
            request_id=self._request_id,
        )

    def _since_start_ms(self, moment: float) -> float:
        return round((moment - self._started) * 1000, 3)


def _format_reason(ending: Ending | None) -> str:
    return "" if ending is None or ending.reason is None else f" (finish reason: {ending.reason})"
