"""Reading assets: one by id, a project's in pages, and the versions of one."""

from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from domain.asset import Asset, AssetStatus, AssetType
from domain.folded import Folded
from domain.payload import Payload
from projections.lists.ordered_list import OrderedList, read_page
from projections.runtime.paging import MOST, Cursor, Listing, Sort, Version, Versions
from projections.runtime.paging import version as version_of
from projections.runtime.paging import versions as versions_of
from projections.runtime.paging import view as view_of
from projections.runtime.read_pool import ReadModels

GET: Final = """
select id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text
  from assets
 where id = %(id)b and workspace_id = %(workspace)b
"""
"""Read one asset of a workspace."""

LIST: Final = OrderedList(
    table="assets",
    scope="project_id = %(project)b",
    filters="""workspace_id = %(workspace)b
                   and (%(status)b::text is null or status = %(status)b)
                   and (%(type)b::text is null or type = %(type)b)
                   and (%(label)b::text is null or label = %(label)b)""",
)
"""The assets of a project."""

VERSION: Final = """
select number, position, created_at, document::text
  from asset_versions
 where asset_id = %(id)b and workspace_id = %(workspace)b and number = %(number)b
"""
"""Read one version of an asset's content."""

VERSIONS: Final = """
select number, position, created_at, document::text
  from asset_versions
 where asset_id = %(id)b and workspace_id = %(workspace)b and number < %(before)b
 order by number desc
 limit %(limit)b
"""
"""Read a page of the versions of an asset's content, newest first."""

VERSION_NUMBERS: Final = """
select number, position, created_at, 'null'
  from asset_versions
 where asset_id = %(id)b and workspace_id = %(workspace)b and number < %(before)b
 order by number desc
 limit %(limit)b
"""
"""Read a page of the versions, newest first, without their documents, which can be large."""

_nothing_decoder: Final = Decoder(None)
_asset_decoder: Final = Decoder(Asset)
_content_decoder: Final = Decoder(Payload)


class AssetFilters(Struct, frozen=True, kw_only=True):
    """Filters of a list of assets; None does not filter."""

    project_id: UUID
    status: AssetStatus | None = None
    type: AssetType | None = None
    label: str | None = None


class AssetsView:
    """The assets of every workspace; each call sees one workspace only."""

    def __init__(self, models: ReadModels) -> None:
        """Read from these read models."""
        self._models = models

    async def get(self, workspace_id: UUID, asset_id: UUID) -> Folded[Asset] | None:
        """Return one asset. Raises Unavailable."""
        row = await self._models.first(GET, {"id": asset_id, "workspace": workspace_id})
        return None if row is None else view_of(row, _asset_decoder)

    async def list(
        self,
        workspace_id: UUID,
        *,
        filters: AssetFilters,
        limit: int,
        cursor: Cursor | None = None,
        sort: Sort = Sort.NEWEST,
    ) -> Listing[Folded[Asset]]:
        """Return a page. Raises Unavailable; ValueError for a cursor of another order."""
        page = await read_page(
            self._models,
            LIST,
            {
                "workspace": workspace_id,
                "project": filters.project_id,
                "status": None if filters.status is None else filters.status.value,
                "type": None if filters.type is None else filters.type.value,
                "label": filters.label,
            },
            limit=limit,
            sort=sort,
            cursor=cursor,
            is_searched=filters.status is not None or filters.type is not None or filters.label is not None,
        )
        return Listing(items=tuple(view_of(row, _asset_decoder) for row in page.rows), next=page.next)

    async def version(self, workspace_id: UUID, asset_id: UUID, number: int) -> Version[Payload] | None:
        """Return one version of the content. Raises Unavailable."""
        row = await self._models.first(VERSION, {"id": asset_id, "workspace": workspace_id, "number": number})
        return None if row is None else version_of(row, _content_decoder)

    async def list_versions(
        self, workspace_id: UUID, asset_id: UUID, *, limit: int, before: int | None = None
    ) -> Versions[None]:
        """Return a page of the versions without their contents, newest first. Raises Unavailable."""
        number = MOST if before is None else before
        rows = await self._models.rows(
            VERSION_NUMBERS, {"id": asset_id, "workspace": workspace_id, "before": number, "limit": limit + 1}
        )
        return versions_of(rows, limit, _nothing_decoder)

    async def versions(
        self, workspace_id: UUID, asset_id: UUID, *, limit: int, before: int | None = None
    ) -> Versions[Payload]:
        """Return a page of the versions of the content, newest first. Raises Unavailable."""
        number = MOST if before is None else before
        rows = await self._models.rows(
            VERSIONS, {"id": asset_id, "workspace": workspace_id, "before": number, "limit": limit + 1}
        )
        return versions_of(rows, limit, _content_decoder)
