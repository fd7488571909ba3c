"""Assets: every command, every refusal, and the same intent twice."""

from uuid import UUID

import pytest

from commands.asset import ChangeAsset, CreateAsset
from domain.asset import (
    AssetArchived,
    AssetContentRevised,
    AssetContentUnacceptable,
    AssetCreated,
    AssetMetadataChanged,
    AssetNotActive,
    AssetRelabelled,
    AssetRestored,
    AssetStatus,
    AssetType,
)
from domain.payload import Payload
from tests.support.commands.scenario import given

ID = UUID("0192f000-0000-7000-8000-0000000000b1")
PROJECT = UUID("0192f000-0000-7000-8000-0000000000a1")
CREATED = AssetCreated(type=AssetType.PROMPT, label="Tone", metadata={}, content=Payload(value="Be warm."))
REVISED = AssetContentRevised(version=2, content=Payload(value="Be brief."))


def change(**fields: object) -> ChangeAsset:
    return ChangeAsset(target_id=ID, **fields)  # pyright: ignore[reportArgumentType]  # each test names real fields


def test_an_asset_begins_with_version_1_of_its_content() -> None:
    command = CreateAsset(
        target_id=ID, project_id=PROJECT, type=AssetType.PROMPT, label="Tone", content=Payload(value="Be warm.")
    )
    given().when(command, PROJECT).then(CREATED).and_again_nothing()


def test_an_asset_is_relabelled() -> None:
    given(CREATED).when(change(label="Voice")).then(AssetRelabelled(label="Voice")).and_again_nothing()


def test_metadata_is_recorded_whole() -> None:
    changed = AssetMetadataChanged(metadata={"lang": "en"})
    given(CREATED).when(change(metadata={"lang": "en"})).then(changed).and_again_nothing()


def test_other_content_is_the_next_version() -> None:
    given(CREATED).when(change(content=Payload(value="Be brief."))).then(REVISED).and_again_nothing()


def test_versions_count_on() -> None:
    back = Payload(value="Be warm.")
    given(CREATED, REVISED).when(change(content=back)).then(AssetContentRevised(version=3, content=back))


def test_the_same_content_by_reference_is_no_new_version() -> None:
    large = Payload(ref="sha256:" + "0" * 64, bytes=40_000, media_type="application/json")
    created = AssetCreated(type=AssetType.DATASET, label="Rows", metadata={}, content=large)
    given(created).when(change(content=large)).then()


def test_an_asset_is_archived_once() -> None:
    given(CREATED).when(change(status=AssetStatus.ARCHIVED)).then(AssetArchived()).and_again_nothing()


def test_an_asset_changes_before_it_is_archived() -> None:
    command = change(label="Voice", status=AssetStatus.ARCHIVED)
    given(CREATED).when(command).then(AssetRelabelled(label="Voice"), AssetArchived())


def test_an_archived_asset_takes_no_change() -> None:
    for command in (
        change(label="Voice"),
        change(metadata={"a": 1}),
        change(content=Payload(value="Be brief.")),
        change(label="Voice", status=AssetStatus.ARCHIVED),
    ):
        given(CREATED, AssetArchived()).when(command).refuses(AssetNotActive)


def test_an_archived_asset_is_restored_once_and_changed_with_it() -> None:
    archived = (CREATED, AssetArchived())
    given(*archived).when(change(status=AssetStatus.ACTIVE)).then(AssetRestored()).and_again_nothing()
    command = change(label="Voice", status=AssetStatus.ACTIVE)
    given(*archived).when(command).then(AssetRestored(), AssetRelabelled(label="Voice"))


def test_an_archived_asset_may_be_told_what_it_is_already() -> None:
    given(CREATED, AssetArchived()).when(change(label="Tone", metadata={}, status=AssetStatus.ARCHIVED)).then()


def test_a_change_of_nothing_gives_nothing() -> None:
    given(CREATED).when(change()).then()
    given(CREATED).when(change(status=AssetStatus.ACTIVE)).then()


@pytest.mark.parametrize("content", [{"template": "Hi"}, ["Hi"], 7, False])
def test_a_prompt_holds_text(content: object) -> None:
    other = Payload(value=content)
    create = CreateAsset(target_id=ID, project_id=PROJECT, type=AssetType.PROMPT, label="Tone", content=other)
    given().when(create, PROJECT).refuses(AssetContentUnacceptable, "/content")
    given(CREATED).when(change(content=other)).refuses(AssetContentUnacceptable, "/content")
    rows = AssetCreated(type=AssetType.DATASET, label="Rows", metadata={}, content=Payload())
    given(rows).when(change(content=other)).then(AssetContentRevised(version=2, content=other))


def test_a_prompt_that_held_something_else_before_can_still_be_relabelled() -> None:
    old = AssetCreated(type=AssetType.PROMPT, label="Tone", metadata={}, content=Payload(value={"template": "Hi"}))
    given(old).when(change(label="Voice")).then(AssetRelabelled(label="Voice"))
