"""Encode requests and decode responses of OpenAI's Images API: one document, with images as base64 or at an address.

Source: OpenAI's API reference, "Create image" and "The image generation response".
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from domain.graphs.configs import JsonOutput, list_set_parameters
from domain.graphs.graph import ErrorClass
from engine.providers.answers.error_details import ErrorDetails, find_error
from engine.providers.answers.finish_reasons import Ending, Finish
from engine.providers.provider import ModelRequest, ProviderFault
from engine.providers.traits import ServerTraits
from engine.providers.turns import TextPiece
from engine.providers.wire import Piece, decode_event, encode_request, find_event_error, parse_token_count, parse_usage

_BEGINNINGS: Final[Mapping[str, str]] = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "UklGR": "image/webp",
    "R0lGOD": "image/gif",
}
"""The media types of images by how they begin, as base64."""
_FORMATS: Final[Mapping[object, str]] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class ImageDatum(Struct, frozen=True, kw_only=True):
    """One image: as base64, or at an address. `revised_prompt` is what the server made of the prompt."""

    b64_json: object = None
    url: object = None
    revised_prompt: object = None


class TokenCounts(Struct, frozen=True, kw_only=True):
    """Token counts; servers that charge by the image send none."""

    input_tokens: object = 0
    output_tokens: object = 0


class ImagesDocument(Struct, frozen=True, kw_only=True):
    """The response."""

    data: tuple[ImageDatum, ...] | None = None
    output_format: object = None
    usage: object = None
    error: object = None


_documents: Final = msgspec.json.Decoder(ImagesDocument)


class ImagesWire(Struct, frozen=True):
    """The Images API: a text in, images out."""

    path: str = "/images/generations"

    def auth_headers(self, key: str) -> Mapping[str, str]:
        """Return the header that carries the key."""
        return {"Authorization": f"Bearer {key}"}

    def headers(self) -> Mapping[str, str]:
        """Return nothing: the protocol needs no headers of its own."""
        return {}

    def body(self, request: ModelRequest, traits: ServerTraits) -> bytes:
        """Encode the request's body. Raises ProviderFault for what an image model cannot be asked."""
        _check_request(request)
        asked = "\n\n".join(turn.text for turn in request.turns) or request.prompt
        return encode_request(
            {
                "model": request.model,
                "prompt": asked if request.system is None else f"{request.system}\n\n{asked}",
                "n": 1,
                "response_format": "b64_json" if traits.image_data else None,
            }
        )

    def piece(self, data: str) -> Piece | None:
        """Decode the response; None if it is not of the protocol."""
        document = decode_event(_documents, data)
        if document is None or document.data is None:
            error = _find_error(document, data)
            return None if error is None else Piece(error=error)
        counts = parse_usage(document.usage, TokenCounts)
        revised = [found.revised_prompt for found in document.data if isinstance(found.revised_prompt, str)]
        return Piece(
            text="\n\n".join(revised),
            images=tuple(url for found in document.data for url in _read_urls(found, document.output_format)),
            ending=Ending(Finish.COMPLETE, None),
            is_last=True,
            input_tokens=None if counts is None else parse_token_count(counts.input_tokens),
            output_tokens=None if counts is None else parse_token_count(counts.output_tokens),
        )


def _check_request(request: ModelRequest) -> None:
    """Raise ProviderFault for what would otherwise be ignored."""
    refused = [f"the parameter {name}" for name in list_set_parameters(request.parameters)]
    if isinstance(request.output, JsonOutput):
        refused.append("the output format json")
    if any(not isinstance(piece, TextPiece) for turn in request.turns for piece in turn.pieces):
        refused.append("images and files in messages")
    if refused:
        message = f"A provider with the protocol images takes a text and gives images, without {', '.join(refused)}"
        raise ProviderFault(ErrorClass.BAD_REQUEST, message)


def _find_error(document: ImagesDocument | None, data: str) -> ErrorDetails | None:
    if document is not None and document.error:
        return find_error({"error": document.error})
    return find_event_error(data)


def _read_urls(found: ImageDatum, output_format: object) -> tuple[str, ...]:
    """Return the image as a `data:` URL, or its address."""
    if isinstance(found.b64_json, str) and found.b64_json:
        return (f"data:{_find_media_type(found.b64_json, output_format)};base64,{found.b64_json}",)
    return (found.url,) if isinstance(found.url, str) else ()


def _find_media_type(encoded: str, output_format: object) -> str:
    known = next((kind for beginning, kind in _BEGINNINGS.items() if encoded.startswith(beginning)), None)
    return known or _FORMATS.get(output_format if isinstance(output_format, str) else None, "image/png")
