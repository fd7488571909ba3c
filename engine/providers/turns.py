"""The turns of a conversation as a model is sent them: texts, images and files."""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

from msgspec import Struct

UNKNOWN_TYPE: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,99}/[a-z0-9][a-z0-9.+-]{0,99}")
_DATA_URL: Final = re.compile(r"data:([^;,]{0,200})((?:;[^;,]{0,200}){0,5}),", re.IGNORECASE)


class Media(Struct, frozen=True, kw_only=True):
    """An image or a file."""

    media_type: str
    data: bytes


class TextPiece(Struct, frozen=True, kw_only=True, tag="text"):
    """A text in a turn."""

    text: str


class MediaPiece(Struct, frozen=True, kw_only=True, tag="media"):
    """An image or a file in a turn: at a URL that the server fetches, or its bytes and their reference.

    `asset_id` is the media asset whose pinned version it is.
    """

    kind: Literal["image", "file"]
    url: str | None = None
    media: Media | None = None
    reference: str | None = None
    name: str | None = None
    asset_id: str | None = None


class Turn(Struct, frozen=True, kw_only=True):
    """Message of one side; system prompts are apart."""

    role: Literal["user", "assistant"]
    pieces: tuple[TextPiece | MediaPiece, ...]

    @property
    def text(self) -> str:
        """Return the texts, joined by blank lines."""
        return "\n\n".join(piece.text for piece in self.pieces if isinstance(piece, TextPiece))


def read_media_type(content_type: str) -> str:
    """Return the media type of a Content-Type, without parameters; `application/octet-stream` if it is none."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) else UNKNOWN_TYPE


def decode_data_url(url: str) -> Media | None:
    """Return what a `data:` URL holds (RFC 2397); None for another URL. Raises ValueError if it is broken."""
    found = _DATA_URL.match(url)
    if found is None:
        return None
    rest = url[found.end() :]
    try:
        data = b64decode(rest, validate=True) if ";base64" in found[2].lower() else unquote_to_bytes(rest)
    except Base64Error:
        raise ValueError("a data: URL is no valid base64") from None
    return Media(media_type=read_media_type(found[1]), data=data)


def encode_data_url(media: Media) -> str:
    """Return a `data:` URL that holds an image or a file."""
    return f"data:{media.media_type};base64,{b64encode(media.data).decode()}"
