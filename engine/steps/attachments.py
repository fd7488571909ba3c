"""Render the messages of a prompt, fetch the images and files that they refer to, and keep those that models make."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault
from domain.expressions.liquid_templates import render_template
from domain.graphs.configs import FilePart, ImagePart, Message, TextPart
from domain.ids import to_uuid
from engine.providers.turns import Media, MediaPiece, TextPiece, Turn, decode_data_url
from engine.steps.media import MediaStore
from store.errors import ContentMissing

_REFERENCE: Final = re.compile(r"(?:hmac-)?sha256:[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"https?://[^\s]+", re.IGNORECASE)


class FindFile(Protocol):
    """Finds the file of a media asset at a pinned version."""

    async def __call__(self, workspace_id: UUID, asset_id: UUID, version: int) -> str:
        """Return its reference. Raises ExpressionFault if that version has no file; Unavailable."""
        ...


class Conversation(Struct, frozen=True):
    """Rendered messages: the system prompts, and the turns of user and model."""

    systems: tuple[str, ...]
    turns: tuple[Turn, ...]


def render_messages(messages: tuple[Message, ...], seen: Mapping[str, Any], budget: Budget) -> Conversation:
    """Render messages. Raises ExpressionFault."""
    systems: list[str] = []
    turns: list[Turn] = []
    for message in messages:
        parts = message.parts or (TextPart(text=message.template or ""),)
        pieces = tuple(_render_part(part, seen, budget) for part in parts)
        if message.role == "system":
            systems.append(Turn(role="user", pieces=pieces).text)
        else:
            turns.append(Turn(role=message.role, pieces=pieces))
    return Conversation(tuple(systems), tuple(turns))


def _render_part(
    part: TextPart | ImagePart | FilePart, seen: Mapping[str, Any], budget: Budget
) -> TextPiece | MediaPiece:
    if isinstance(part, TextPart):
        return TextPiece(text=render_template(part.text, seen, budget))
    kind = "image" if isinstance(part, ImagePart) else "file"
    name = None if isinstance(part, ImagePart) or part.name is None else _render(part.name, seen, budget)
    if part.asset_id is not None:
        return MediaPiece(kind=kind, asset_id=part.asset_id, name=name)
    if part.content is not None:
        reference = _render(part.content, seen, budget)
        if not _REFERENCE.fullmatch(reference):
            raise ExpressionFault(f"The content of the {kind} must render to a reference such as sha256:…")
        return MediaPiece(kind=kind, reference=reference, name=name)
    url = _render(part.url or "", seen, budget)
    try:
        media = decode_data_url(url)
    except ValueError as fault:
        raise ExpressionFault(f"The url of the {kind}: {fault}") from None
    if media is None and not _ADDRESS.fullmatch(url):
        raise ExpressionFault(f"The url of the {kind} must render to an address with http://, https:// or data:")
    return MediaPiece(kind=kind, url=url if media is None else None, media=media, name=name)


def _render(template: str, seen: Mapping[str, Any], budget: Budget) -> str:
    return render_template(template, seen, budget).strip()


@dataclass(frozen=True, slots=True)
class Attachments:
    """Fetches what prompts send, at most `bytes_max` together, and keeps what models make."""

    store: MediaStore
    find_file: FindFile
    bytes_max: int = 20 * 1024 * 1024

    async def fetch(self, workspace_id: UUID, turns: tuple[Turn, ...], pinned: Mapping[UUID, int]) -> tuple[Turn, ...]:
        """Return the turns with the bytes of their contents, those of assets at their pinned versions.

        Raises ExpressionFault, Unavailable.
        """
        if all(isinstance(piece, TextPiece) for turn in turns for piece in turn.pieces):
            return turns
        left = self.bytes_max
        fetched: list[Turn] = []
        for turn in turns:
            pieces: list[TextPiece | MediaPiece] = []
            for piece in turn.pieces:
                found = piece if isinstance(piece, TextPiece) else await self._fetch_piece(workspace_id, piece, pinned)
                if isinstance(found, MediaPiece) and found.media is not None:
                    left -= len(found.media.data)
                if left < 0:
                    raise ExpressionFault(
                        f"The images and files of the prompt are too large. Limit: {self.bytes_max} bytes together"
                    )
                pieces.append(found)
            fetched.append(replace(turn, pieces=tuple(pieces)))
        return tuple(fetched)

    async def keep(self, workspace_id: UUID, run_id: UUID, media: Media) -> dict[str, Any]:
        """Keep what a model made. Raises ContentTooLarge."""
        return await self.store.keep(workspace_id, run_id, media)

    async def _fetch_piece(self, workspace_id: UUID, piece: MediaPiece, pinned: Mapping[UUID, int]) -> MediaPiece:
        reference = piece.reference
        if piece.asset_id is not None:
            asset_id = to_uuid("ast", piece.asset_id)
            reference = await self.find_file(workspace_id, asset_id, pinned[asset_id])
        if reference is None:
            return piece
        try:
            data, media_type = await self.store.contents.get(workspace_id, reference)
        except ContentMissing:
            raise ExpressionFault(f"There is no content {reference}") from None
        return replace(piece, reference=reference, media=Media(media_type=media_type, data=data))
