"""Keep images and files that steps receive as contents with their media type."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.ids import from_uuid
from engine.providers.turns import Media
from store.contents import ContentStore
from store.errors import Unavailable
from store.retrying import Retrying


@dataclass(frozen=True, slots=True)
class MediaStore:
    """Keeps what steps receive."""

    contents: ContentStore

    async def keep(self, workspace_id: UUID, run_id: UUID, media: Media) -> dict[str, Any]:
        """Keep an image or a file, and return what the output of a step says about it. Raises ContentTooLarge."""
        reference = await Retrying(Unavailable).call(
            lambda: self.contents.put(workspace_id, media.data, media.media_type)
        )
        return {
            "content": reference,
            "media_type": media.media_type,
            "bytes": len(media.data),
            "url": f"/v1/runs/{from_uuid('run', run_id)}/contents/{reference.rpartition(':')[2]}",
        }
