"""Prompt assets at their pinned versions: read from the log once, and kept within a bound."""

from uuid import UUID

from domain.asset import AssetContentRevised, AssetCreated, content_of
from domain.expressions.common import ExpressionFault
from store.contents import ContentStore, resolve
from store.log.log import Log
from store.lru import LruCache

PAGE = 1_000


class PromptAssetTexts:
    """Gives the text of a prompt asset at a version, which never changes."""

    def __init__(self, log: Log, contents: ContentStore, *, most_kept: int) -> None:
        """Make the cache, which forgets the texts that were used least recently."""
        self._log = log
        self._contents = contents
        self._kept = LruCache[tuple[UUID, int], str](most_kept)

    async def __call__(self, workspace_id: UUID, asset_id: UUID, version: int) -> str:
        """Return the text. Raises ExpressionFault when there is none; Unavailable."""
        known = self._kept.get((asset_id, version))
        if known is not None:
            return known
        text = await self._read(workspace_id, asset_id, version)
        self._kept.put((asset_id, version), text)
        return text

    async def _read(self, workspace_id: UUID, asset_id: UUID, version: int) -> str:
        after = 0
        while page := await self._log.read_stream(asset_id, after=after, limit=PAGE):
            for one in page:
                after = one.version
                if one.workspace_id != workspace_id or not isinstance(one.fact, AssetCreated | AssetContentRevised):
                    continue
                brought = content_of(one.fact)
                if brought is not None and brought[0] == version:
                    value = await resolve(self._contents, workspace_id, brought[1])
                    return _require_text(value, version)
        raise ExpressionFault(f"version {version} of the prompt asset is not in the log")


def _require_text(value: object, version: int) -> str:
    if not isinstance(value, str):
        raise ExpressionFault(f"the content of the prompt asset (version {version}) is not text")
    return value
