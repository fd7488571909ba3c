"""Assets: reusable prompts, datasets, interface snippets and files in numbered versions; their facts and state."""

from enum import StrEnum
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from domain.fact import Fact
from domain.payload import NOTHING, Payload
from domain.refusal import Problem, Refusal, RefusalKind


class AssetType(StrEnum):
    """Kind of asset."""

    PROMPT = "prompt"
    DATASET = "dataset"
    UI_SNIPPET = "ui_snippet"
    MEDIA = "media"
    """An image or a file: its content is bytes in the content store."""


class AssetStatus(StrEnum):
    """Lifecycle of an asset; `absent` before its first fact."""

    ABSENT = "absent"
    ACTIVE = "active"
    ARCHIVED = "archived"


class AssetCreated(Fact, frozen=True, kw_only=True, tag="asset.created"):
    """An asset was created with version 1 of its content."""

    type: AssetType
    label: str
    metadata: dict[str, object]
    content: Payload


class AssetRelabelled(Fact, frozen=True, kw_only=True, tag="asset.relabelled"):
    """The label of an asset was changed."""

    label: str


class AssetMetadataChanged(Fact, frozen=True, kw_only=True, tag="asset.metadata-changed"):
    """The whole metadata of an asset, after a change."""

    metadata: dict[str, object]


class AssetContentRevised(Fact, frozen=True, kw_only=True, tag="asset.content-revised"):
    """A new immutable version of the content was added."""

    version: int
    content: Payload


class AssetArchived(Fact, frozen=True, kw_only=True, tag="asset.archived"):
    """An asset was archived: new graphs cannot refer to it."""


class AssetRestored(Fact, frozen=True, kw_only=True, tag="asset.restored"):
    """An archived asset became active again."""


AssetFact = AssetCreated | AssetRelabelled | AssetMetadataChanged | AssetContentRevised | AssetArchived | AssetRestored


class Asset(Struct, frozen=True, kw_only=True):
    """The state of an asset, folded from its facts. `version` counts contents from 1, not facts."""

    status: AssetStatus = AssetStatus.ABSENT
    type: AssetType = AssetType.PROMPT
    label: str = ""
    metadata: dict[str, object] = {}
    version: int = 0
    content: Payload = NOTHING


class AssetNotFound(Refusal):
    """The asset does not exist, or belongs to another workspace."""

    code = "asset_not_found"
    kind = RefusalKind.MISSING


class AssetNotActive(Refusal):
    """The asset is archived. Restore it first."""

    code = "asset_not_active"


class AssetContentUnacceptable(Refusal):
    """The content is not valid for an asset of this type."""

    code = "asset_content_unacceptable"
    kind = RefusalKind.UNACCEPTABLE


def check_content(asset_type: AssetType, content: object) -> None:
    """Refuse content that no step could use; null means no content yet. Raises AssetContentUnacceptable."""
    if asset_type is AssetType.MEDIA and content is not None:
        wanted = "The content of a media asset is a file: leave content out, and send its bytes to :upload"
        raise AssetContentUnacceptable(problems=(Problem("/content", wanted),))
    if asset_type is AssetType.PROMPT and content is not None and not isinstance(content, str):
        wanted = "The content of a prompt asset must be a template as a JSON string, or null if there is none yet"
        raise AssetContentUnacceptable(problems=(Problem("/content", wanted),))


def check_upload(asset_type: AssetType) -> None:
    """Refuse the bytes of a file for an asset whose content is JSON. Raises AssetContentUnacceptable."""
    if asset_type is not AssetType.MEDIA:
        raise AssetContentUnacceptable(f"A {asset_type} asset holds JSON. Only assets of the type media hold a file.")


def evolve(asset: Asset, fact: AssetFact) -> Asset:
    """Return the asset after one more fact. Accepts any history; never refuses."""
    match fact:
        case AssetCreated():
            return Asset(
                status=AssetStatus.ACTIVE,
                type=fact.type,
                label=fact.label,
                metadata=fact.metadata,
                version=1,
                content=fact.content,
            )
        case AssetRelabelled():
            return replace(asset, label=fact.label)
        case AssetMetadataChanged():
            return replace(asset, metadata=fact.metadata)
        case AssetContentRevised():
            return replace(asset, version=fact.version, content=fact.content)
        case AssetArchived():
            return replace(asset, status=AssetStatus.ARCHIVED)
        case AssetRestored():
            return replace(asset, status=AssetStatus.ACTIVE)
        case _:
            assert_never(fact)


def get_new_content(fact: AssetFact) -> tuple[int, Payload] | None:
    """Return the version and the content that a fact adds, None if it adds none."""
    match fact:
        case AssetCreated():
            return 1, fact.content
        case AssetContentRevised():
            return fact.version, fact.content
        case AssetRelabelled() | AssetMetadataChanged() | AssetArchived() | AssetRestored():
            return None
        case _:
            assert_never(fact)
