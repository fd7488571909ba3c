"""Subjects: six tokens, whatever the fact."""

from uuid import UUID

import pytest

from bus.nats.subjects import DELTAS, EVERY_FACT, format_deltas_subject, format_subject
from store.log.codec import TOPICS

WORKSPACE = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
PROJECT = UUID("01890a5d-ac96-774b-bcce-b302099a8058")


def test_a_subject_names_workspace_project_noun_and_fact() -> None:
    assert format_subject(WORKSPACE, PROJECT, "project.member-added") == (
        "callsheet.v1.ws_01h455vb4pex5vsknk084sn02q.prj_01h455vb4pex5vsknk084sn02r.project.member-added"
    )


def test_where_there_is_no_project_there_is_a_place_for_it() -> None:
    assert format_subject(WORKSPACE, None, "api-key.issued").split(".")[3] == "_"


@pytest.mark.parametrize("topic", [*sorted(TOPICS), "", "odd", "a.b.c", "a b.c>d*", "é.\n"])
def test_a_subject_has_six_tokens_that_nats_gives_no_meaning(topic: str) -> None:
    tokens = format_subject(WORKSPACE, PROJECT, topic).split(".")
    assert len(tokens) == 6
    assert all(token.isascii() and token.replace("-", "").replace("_", "x").isalnum() for token in tokens)


def test_deltas_lie_outside_of_what_a_stream_keeps() -> None:
    assert not format_deltas_subject(WORKSPACE).startswith(EVERY_FACT.removesuffix(">"))
    assert format_deltas_subject(WORKSPACE).startswith(DELTAS)
