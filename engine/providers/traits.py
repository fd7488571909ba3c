"""Request features that a server supports, and those to omit once it has rejected a parameter that nobody asked for."""

import re
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from domain.graphs.configs import JsonOutput
from engine.providers.answers.error_details import ErrorDetails
from engine.providers.provider import ModelRequest

OutputLimit = Literal["max_completion_tokens", "max_tokens", "none"]
JsonMode = Literal["json_schema_strict", "json_schema", "json_object", "instruction"]

CHANGES_MAX: Final = 6
"""Maximum number of parameters omitted for one call: each of those below, and each JSON mode once."""

_WEAKER_JSON_MODE: Final[dict[JsonMode, JsonMode]] = {
    "json_schema_strict": "json_schema",
    "json_schema": "json_object",
    "json_object": "instruction",
}
_OTHER_LIMIT: Final[dict[OutputLimit, OutputLimit]] = {
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_completion_tokens",
}
_JSON_WORDS: Final = ("response_format", "json_schema", "json_object", "strict", "structured output", "json mode")
_UNSUPPORTED: Final = re.compile(
    r"unsupported|not (?:be )?(?:supported|permitted|allowed|recogni[sz]ed)|unrecogni[sz]ed|unknown|unexpected|extra|"
    r"does(?:n't| not) (?:support|accept)|invalid (?:parameter|argument|field)|deprecated|forbidden",
    re.IGNORECASE,
)


class ServerTraits(Struct, frozen=True, kw_only=True):
    """Features of a server: its name for the limit of output tokens, streams, and how it is asked for JSON."""

    output_limit: OutputLimit = "max_completion_tokens"
    stream: bool = True
    stream_options: bool = True
    json_mode: JsonMode = "json_schema"
    image_data: bool = False
    """Ask an image model for image data, where some would give an address."""


class Change(Struct, frozen=True):
    """Traits without a parameter that a server rejected, and its name."""

    parameter: str
    traits: ServerTraits


def find_change(traits: ServerTraits, error: ErrorDetails, request: ModelRequest) -> Change | None:
    """Return what to leave out after a request was rejected; None if it names nothing that we sent unasked.

    The limit of output tokens is asked for: only its name is changed, and only if the server does not know it.
    """
    if traits.stream and traits.stream_options and _names(error, "stream_options", "include_usage"):
        return Change("stream_options", replace(traits, stream_options=False))
    if traits.image_data and _names(error, "response_format", "b64_json"):
        return Change("response_format", replace(traits, image_data=False))
    weaker = _WEAKER_JSON_MODE.get(traits.json_mode)
    if weaker is not None and isinstance(request.output, JsonOutput) and _names(error, *_JSON_WORDS):
        return Change("response_format", replace(traits, json_mode=weaker))
    other = _OTHER_LIMIT.get(traits.output_limit)
    if other is not None and request.parameters.max_output_tokens is not None and _is_unknown_limit(traits, error):
        return Change(traits.output_limit, replace(traits, output_limit=other))
    if traits.stream and _names(error, "stream", "streaming"):
        return Change("stream", replace(traits, stream=False))
    return None


def _is_unknown_limit(traits: ServerTraits, error: ErrorDetails) -> bool:
    if not _names(error, traits.output_limit):
        return False
    return _UNSUPPORTED.search(f"{error.message} {error.code}") is not None


def _names(error: ErrorDetails, *parameters: str) -> bool:
    """Return whether an error names one of these parameters, as a whole word."""
    said = f"{error.param or ''}\n{error.message or ''}"
    pattern = "|".join(re.escape(parameter) for parameter in parameters)
    return re.search(rf"(?<!\w)(?:{pattern})s?(?!\w)", said, re.IGNORECASE) is not None
