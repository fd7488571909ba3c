"""Ids in the data of events: public outside and UUIDs inside, for every fact that holds any."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from uuid import UUID

import msgspec
import pytest
from msgspec import inspect

from bus.public_ids import TOPICS_WITH_IDS, publish_ids, restore_ids
from domain.catalogue import AnyFact
from domain.fact import get_topic
from domain.ids import from_uuid

GOLDEN = (Path(__file__).parents[1] / "store" / "golden" / "facts.jsonl").read_bytes().splitlines()
A_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def iterate_types(found: inspect.Type) -> Iterator[inspect.Type]:
    """Yield a type and the types within it."""
    yield found
    match found:
        case inspect.StructType(fields=fields):
            inner = [field.type for field in fields]
        case inspect.UnionType(types=types):
            inner = list(types)
        case inspect.DictType(key_type=key, value_type=value):
            inner = [key, value]
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            inner = [item]
        case inspect.Metadata(type=one):
            inner = [one]
        case _:
            inner = []
    for part in inner:
        yield from iterate_types(part)


def test_every_fact_with_an_id_is_known() -> None:
    with_ids = {
        get_topic(kind)
        for kind in get_args(AnyFact)
        if any(isinstance(part, inspect.UUIDType) for part in iterate_types(inspect.type_info(kind)))
    }
    assert with_ids == TOPICS_WITH_IDS


@pytest.mark.parametrize("state", GOLDEN, ids=lambda state: msgspec.json.decode(state)["fact"])
def test_no_uuid_is_left_in_an_event_and_the_fact_comes_back(state: bytes) -> None:
    fact = msgspec.json.decode(state)
    shown = publish_ids(fact)
    if fact["fact"] in TOPICS_WITH_IDS:
        assert not A_UUID.search(msgspec.json.encode(shown).decode())
    assert restore_ids(shown) == fact


def test_what_is_no_uuid_stays_and_an_id_of_another_kind_is_not_read() -> None:
    odd = {"fact": "run.started", "workflow_id": "later", "pins": None, "parent": 7, "items": [3], "project_ids": "x"}
    assert publish_ids(odd) == odd
    assert publish_ids([1]) == [1]
    with pytest.raises(ValueError, match="wf_"):
        restore_ids({"workflow_id": from_uuid("run", UUID(int=7))})
