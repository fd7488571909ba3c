"""The commands of assets and their deciders."""

from datetime import datetime
from uuid import UUID

from msgspec import UNSET, UnsetType

from commands.aggregates import ASSET
from commands.command import Command, InProject
from commands.repository import Sources
from domain.asset import (
    Asset,
    AssetArchived,
    AssetContentRevised,
    AssetCreated,
    AssetFact,
    AssetMetadataChanged,
    AssetNotActive,
    AssetRelabelled,
    AssetRestored,
    AssetStatus,
    AssetType,
    check_content,
)
from domain.payload import Payload


class CreateAsset(Command[Asset], frozen=True, kw_only=True):
    """Create an asset in a project; large content is in the content store already."""

    project_id: UUID
    type: AssetType
    label: str
    metadata: dict[str, object] = {}
    content: Payload


class ChangeAsset(Command[Asset], frozen=True, kw_only=True):
    """Change the given fields of an asset; different content creates a new version."""

    label: str | UnsetType = UNSET
    metadata: dict[str, object] | UnsetType = UNSET
    content: Payload | UnsetType = UNSET
    status: AssetStatus | UnsetType = UNSET


async def gather_new_asset(command: CreateAsset, sources: Sources) -> InProject:
    """Load the project, which must be active."""
    await sources.load_active_project(command.project_id)
    return InProject(project_id=command.project_id)


async def gather_asset_change(command: ChangeAsset, sources: Sources) -> None:
    """Load the project of the asset, which must be active."""
    asset = await sources.load(ASSET, command.target_id)
    await sources.load_active_project(asset.project_id or command.target_id)


def create_asset(command: CreateAsset, asset: Asset, _gathered: InProject, _now: datetime) -> tuple[AssetFact, ...]:
    """Decide the creation of an asset. Raises AssetContentUnacceptable."""
    if asset.status is not AssetStatus.ABSENT:
        return ()
    check_content(command.type, command.content.value)  # content that is a reference was validated when it was stored
    return (AssetCreated(type=command.type, label=command.label, metadata=command.metadata, content=command.content),)


def change_asset(command: ChangeAsset, asset: Asset, _gathered: None, _now: datetime) -> tuple[AssetFact, ...]:
    """Decide the facts of a change; unchanged values add none.

    Raises AssetNotActive, AssetContentUnacceptable.
    """
    restores = command.status is AssetStatus.ACTIVE is not asset.status
    facts: list[AssetFact] = [AssetRestored()] if restores else []
    if not isinstance(command.label, UnsetType) and command.label != asset.label:
        facts.append(AssetRelabelled(label=command.label))
    if not isinstance(command.metadata, UnsetType) and command.metadata != asset.metadata:
        facts.append(AssetMetadataChanged(metadata=command.metadata))
    if not isinstance(command.content, UnsetType) and command.content != asset.content:
        check_content(asset.type, command.content.value)
        facts.append(AssetContentRevised(version=asset.version + 1, content=command.content))
    if command.status is AssetStatus.ARCHIVED is not asset.status:
        facts.append(AssetArchived())
    if asset.status is AssetStatus.ARCHIVED and facts and not restores:
        raise AssetNotActive
    return tuple(facts)
