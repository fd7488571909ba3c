"""Read assets at their pinned versions, through bounded caches: the text of a prompt, the file of a media asset."""

from sys import getsizeof
from typing import Final
from uuid import UUID

from domain.asset import AssetContentRevised, AssetCreated, get_new_content
from domain.expressions.common import ExpressionFault
from domain.payload import Payload
from store.contents import ContentStore, resolve
from store.log.log import Log
from store.lru import LruCache, WeighedLruCache
from store.settings import MIB

PAGE = 1_000
TEXT_BYTES: Final = 16 * MIB


class PromptAssetTexts:
    """Reads the text of a version of a prompt asset; versions are immutable."""

    def __init__(self, log: Log, contents: ContentStore, *, most_kept: int, bytes_kept: int = TEXT_BYTES) -> None:
        """Create it; the cache evicts the least recently used of more than `most_kept` texts or `bytes_kept`."""
        self._log = log
        self._contents = contents
        self._kept = WeighedLruCache[tuple[UUID, int], str](most_kept, max_bytes=bytes_kept, weigh=getsizeof)

    async def __call__(self, workspace_id: UUID, asset_id: UUID, version: int) -> str:
        """Return the text. Raises ExpressionFault if it does not exist or is not text; Unavailable."""
        cached = self._kept.get((asset_id, version))
        if cached is not None:
            return cached
        text = await self._read(workspace_id, asset_id, version)
        self._kept.put((asset_id, version), text)
        return text

    async def _read(self, workspace_id: UUID, asset_id: UUID, version: int) -> str:
        content = await _find_content(self._log, workspace_id, asset_id, version)
        return _require_text(await resolve(self._contents, workspace_id, content), version)


class MediaAssetFiles:
    """Finds the file of a version of a media asset; versions are immutable."""

    def __init__(self, log: Log, *, most_kept: int) -> None:
        """Create it; the cache evicts the least recently used of more than `most_kept` references."""
        self._log = log
        self._kept = LruCache[tuple[UUID, int], str](most_kept)

    async def __call__(self, workspace_id: UUID, asset_id: UUID, version: int) -> str:
        """Return the reference of the file. Raises ExpressionFault if the version has none; Unavailable."""
        known = self._kept.get((asset_id, version))
        if known is not None:
            return known
        content = await _find_content(self._log, workspace_id, asset_id, version)
        if content.ref is None:
            raise ExpressionFault(f"Version {version} of the media asset has no file: upload one")
        self._kept.put((asset_id, version), content.ref)
        return content.ref


async def _find_content(log: Log, workspace_id: UUID, asset_id: UUID, version: int) -> Payload:
    """Return the content of a version. Raises ExpressionFault if there is no such version; Unavailable."""
    after = 0
    while page := await log.read_stream(asset_id, after=after, limit=PAGE):
        for event in page:
            after = event.version
            if event.workspace_id != workspace_id or not isinstance(event.fact, AssetCreated | AssetContentRevised):
                continue
            content = get_new_content(event.fact)
            if content is not None and content[0] == version:
                return content[1]
    raise ExpressionFault(f"Version {version} of the asset does not exist")


def _require_text(value: object, version: int) -> str:
    if not isinstance(value, str):
        raise ExpressionFault(f"The content of version {version} of the prompt asset must be a string")
    return value
