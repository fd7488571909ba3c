"""Public ids: TypeIDs outside, UUIDs inside, and one kind is never taken for another."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import Prefix, from_uuid, to_uuid

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
PREFIXES: tuple[Prefix, ...] = ("ws", "prj", "wf", "ast", "run", "key")


@given(st.uuids(), st.sampled_from(PREFIXES))
def test_an_id_is_read_as_it_was_written(uuid: UUID, prefix: Prefix) -> None:
    assert to_uuid(prefix, from_uuid(prefix, uuid)) == uuid


def test_an_id_is_written_as_the_specification_says() -> None:
    assert from_uuid("run", ID) == "run_01h455vb4pex5vsknk084sn02q"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run",
        "run_",
        "wf_01h455vb4pex5vsknk084sn02q",
        "run_01h455vb4pex5vsknk084sn02",
        "run_01H455VB4PEX5VSKNK084SN02Q",
        "run_81h455vb4pex5vsknk084sn02q",
        "run_01h455vb4pex5vsknk084sn0l2",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "run_01h455vb4pex5vsknk084sn02q\n",
        "run_" + "0" * 10_000,
    ],
)
def test_what_is_no_id_of_a_run_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an id of the form run_… \(26 letters and digits") as caught:
        to_uuid("run", text)
    assert len(str(caught.value)) < 200


@given(st.text())
def test_any_text_is_an_id_or_is_refused(text: str) -> None:
    try:
        uuid = to_uuid("run", text)
    except ValueError:
        return
    assert from_uuid("run", uuid) == text
