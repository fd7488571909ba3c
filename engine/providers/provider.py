"""The interface of model providers: requests, responses and faults."""

from collections.abc import Callable
from typing import Final, Protocol
from uuid import UUID

from msgspec import Struct

from domain.graphs.configs import JsonOutput, ModelParameters, TextOutput
from domain.graphs.graph import ErrorClass
from domain.runs.facts import CallRecord, Usage
from engine.providers.answers.error_details import ErrorDetails
from engine.providers.answers.finish_reasons import Finish
from engine.providers.turns import Media, Turn

NO_WORKSPACE: Final = UUID(int=0)


class Repair(Struct, frozen=True, kw_only=True):
    """A rejected answer, and the message to the model about it."""

    answer: str
    said: str


def _ignore_usage(_usage: Usage) -> None:
    """Ignore the usage of a cancelled call."""


class ModelRequest(Struct, frozen=True, kw_only=True):
    """One call of a model. All attempts of a step of a run have the same token; each repair has its own.

    `model` is the provider's name for it; `timeout_seconds` limits the whole call, from connecting to the last byte.
    """

    model: str
    prompt: str
    idempotency_token: str
    timeout_seconds: float
    system: str | None = None
    parameters: ModelParameters = ModelParameters()
    output: TextOutput | JsonOutput = TextOutput()
    traceparent: str | None = None
    repair: Repair | None = None
    turns: tuple[Turn, ...] = ()
    """The conversation, in place of `prompt`, which is then the text of its last turn."""
    workspace_id: UUID = NO_WORKSPACE
    """The workspace whose slot the call uses."""
    aborted: Callable[[Usage], None] = _ignore_usage
    """Called with the usage reported before a cancellation, if any."""


class ModelResponse(Struct, frozen=True, kw_only=True):
    """The whole text of a model's response, and how it ended. `reasoning` is what the model wrote for itself.

    For a JsonOutput the text should be JSON that meets the schema; the caller validates it.
    """

    text: str
    usage: Usage
    finish: Finish = Finish.COMPLETE
    reasoning: str = ""
    media: tuple[Media, ...] = ()
    """Images that the model made."""

    @property
    def truncated(self) -> bool:
        """Return whether a limit of output tokens, or the context window, cut the text."""
        return self.finish is Finish.CUT

    @property
    def called_tool(self) -> bool:
        """Return whether the model requested a tool call, although no tools are offered."""
        return self.finish is Finish.CALLED_TOOL


class ProviderFault(Exception):  # noqa: N818  # the word of the glossary: the fault is classified, not always an error
    """A call failed. The message may be recorded and shown: it never contains a key or an address."""

    def __init__(
        self,
        error_class: ErrorClass,
        message: str,
        retry_after_seconds: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Create it; `retry_after_seconds` is the wait that the provider asked for, `usage` what it reported anyway."""
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.usage = usage
        self.call: CallRecord | None = None
        """The record of the call that failed."""
        self.rejected: ErrorDetails | None = None
        """The error of a server that rejected the request, which may be repeated without one of its parameters."""


class Provider(Protocol):
    """A service behind HTTP, or the scripted provider."""

    async def complete(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Return the response, passing each piece of text to `on_delta` as it arrives. Raises only ProviderFault.

        The pieces joined are the response's text, unless reasoning in it was closed without having been opened.
        Cancelling the call aborts it at the provider, and the usage reported by then is passed to the request's
        `aborted`.
        """
        ...

    async def close(self) -> None:
        """Close all connections; calls in progress fail."""
        ...
