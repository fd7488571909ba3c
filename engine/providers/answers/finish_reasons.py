"""Meanings of the finish reasons of model servers, as one closed table per protocol.

Sources: OpenAI's and Anthropic's API references; for the words of others the references of Mistral, DeepSeek, Zhipu,
Cohere, Gemini, Bedrock, OpenRouter, Ollama, vLLM, SGLang and Text Generation Inference. An unknown reason is kept and
logged, and its meaning is not guessed: an operator can add it to the settings of the provider.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct

REASON_CHARACTERS_MAX: Final = 64
"""Longer reasons are cut: the words that servers use have at most 33 characters."""


class Finish(StrEnum):
    """Meaning of a finish reason."""

    COMPLETE = "complete"
    """The model wrote what it wanted to write."""
    CUT = "cut"
    """A limit of output tokens, or the context window, cut the answer."""
    REFUSED = "refused"
    """The model or a filter of the server refused."""
    CALLED_TOOL = "called_tool"
    """The model requested a tool call, although no tools are offered."""
    FAILED = "failed"
    """The server aborted the response: its text is not an answer. Another attempt may succeed."""
    UNKNOWN = "unknown"
    """A reason that the table does not have, or a stream that ended regularly without a reason."""


_COMPLETE: Final = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed", "normal")
_CUT: Final = (
    "length",
    "max_tokens",
    "max_length",
    "max_output_tokens",
    "max_output_reached",
    "model_length",
    "model_context_window_exceeded",
    "context_length_exceeded",
    "error_limit",
)
_REFUSED: Final = (
    "content_filter",
    "content_filtered",
    "refusal",
    "sensitive",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "language",
    "image_safety",
    "image_prohibited_content",
    "image_recitation",
    "error_toxic",
    "guardrail_intervened",
)
_CALLED_TOOL: Final = ("tool_calls", "tool_call", "function_call", "tool_use")
_FAILED: Final = (
    "error",
    "failed",
    "failure",
    "abort",
    "aborted",
    "cancel",
    "cancelled",
    "canceled",
    "user_cancel",
    "timeout",
    "network_error",
    "server_error",
    "internal_error",
    "insufficient_system_resource",
    "overloaded",
    "other",
    "image_other",
    "no_image",
    "load",  # Ollama: the model was loaded, and nothing was written
    "unload",
    "malformed_function_call",
    "malformed_model_output",
    "malformed_response",
    "malformed_tool_use",
    "missing_thought_signature",
    "too_many_tool_calls",
    "unexpected_tool_call",
)

_SHARED: Final[dict[str, Finish]] = {
    **dict.fromkeys(_COMPLETE, Finish.COMPLETE),
    **dict.fromkeys(_CUT, Finish.CUT),
    **dict.fromkeys(_REFUSED, Finish.REFUSED),
    **dict.fromkeys(_CALLED_TOOL, Finish.CALLED_TOOL),
    **dict.fromkeys(_FAILED, Finish.FAILED),
}
"""Servers in the middle pass on the words of the model's own server, so both protocols know all of them."""

CHAT_COMPLETIONS: Final[Mapping[str, Finish]] = MappingProxyType(_SHARED)
MESSAGES: Final[Mapping[str, Finish]] = MappingProxyType(
    {
        **_SHARED,
        "pause_turn": Finish.CUT,  # a long turn that its client is expected to continue
        "compaction": Finish.CUT,  # also cut: the context was compacted in the middle of the turn
    }
)

_NOT_ENDED: Final = frozenset({"", "null", "none"})
"""Sent by some servers with every chunk, in place of null."""
_SEVERITY: Final = (
    Finish.COMPLETE,
    Finish.UNKNOWN,
    Finish.CALLED_TOOL,
    Finish.CUT,
    Finish.FAILED,
    Finish.REFUSED,
)


class Ending(Struct, frozen=True):
    """Meaning of an answer's end, and its word: `stop`, or `stop (SAFETY)` with that of the model's own server."""

    finish: Finish
    reason: str | None


def read_ending(table: Mapping[str, Finish], reason: object, native: object = None) -> Ending | None:
    """Return how an answer ended by its reason; None if it has not.

    `native` is the reason of the model's own server, sent by a server in the middle: it decides if it is the worse one.
    """
    word = _normalize(reason)
    if word is None:
        return None
    shown = _shorten(reason)
    finish = table.get(word, Finish.UNKNOWN)
    native_word = _normalize(native)
    if native_word is None or native_word == word:
        return Ending(finish, shown)
    native_finish = table.get(native_word)
    if native_finish is Finish.COMPLETE:
        return Ending(finish, shown)
    worse = finish if native_finish is None else get_worse(finish, native_finish)
    return Ending(worse, f"{shown} ({_shorten(native)})")


def get_worse(first: Finish, second: Finish) -> Finish:
    """Return the worse of two endings, which decides about an answer that reports both."""
    return max(first, second, key=_SEVERITY.index)


def _normalize(reason: object) -> str | None:
    """Return a reason in lower case; None for what servers send while an answer has not ended."""
    if reason is None or isinstance(reason, bool):
        return None
    word = str(reason).strip().lower().replace("-", "_").removeprefix("finish_reason_")
    return None if word in _NOT_ENDED else word


def _shorten(reason: object) -> str:
    text = " ".join(str(reason).split())[:REASON_CHARACTERS_MAX].replace("\0", "")
    return text.encode(errors="replace").decode()
