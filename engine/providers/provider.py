"""The model provider protocol: what a prompt step asks, what comes back, and how a provider fails."""

from collections.abc import Callable
from typing import Final, Protocol
from uuid import UUID

from msgspec import Struct

from domain.graphs.configs import JsonOutput, ModelParameters, TextOutput
from domain.graphs.graph import ErrorClass
from domain.runs.facts import Usage

NO_WORKSPACE: Final = UUID(int=0)


class Repair(Struct, frozen=True, kw_only=True):
    """A rejected answer, and what is said to the model about it."""

    answer: str
    said: str


def _nobody_asks(_usage: Usage) -> None:
    """Ignore it."""


class ModelRequest(Struct, frozen=True, kw_only=True):
    """One call of a model. The token is the same for every attempt of one step of one run; a repair has its own.

    `model` is the provider's own name of it; `timeout_seconds` bounds the whole call, from connecting to the last byte.
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
    workspace_id: UUID = NO_WORKSPACE
    """On whose behalf: turns are given by it."""
    aborted: Callable[[Usage], None] = _nobody_asks
    """Told what was counted of a call that was cancelled, where anything was."""


class ModelResponse(Struct, frozen=True, kw_only=True):
    """The whole text of a model's answer; `truncated` when the limit of output tokens cut it short.

    `called_tool`: the model wanted a tool called instead of going on. None is ever offered to it.

    For a JsonOutput the text should be JSON that meets the schema; whether it does is for the caller to judge.
    """

    text: str
    usage: Usage
    truncated: bool = False
    called_tool: bool = False


class ProviderFault(Exception):  # noqa: N818  # the word of the glossary: the fault is classified, not always an error
    """A provider gave no answer. The message may be recorded and shown: it never holds a key or an address."""

    def __init__(
        self,
        error_class: ErrorClass,
        message: str,
        retry_after_seconds: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Keep the class, the sentence, when the provider said to come back, and what it counted all the same."""
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.usage = usage


class Provider(Protocol):
    """Whoever answers: a service behind HTTP, or the scripted one."""

    async def complete(self, ask: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Answer, handing each piece of text to `on_delta` as it comes. Raises ProviderFault, nothing else.

        Joined, the pieces are the answer's text. Cancelling the call aborts it at the provider, and
        what was counted by then goes to the ask's `aborted`.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; calls under way fail."""
        ...
