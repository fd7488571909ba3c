"""The operator's list of hosts that may be called whatever their addresses."""

import pytest

from callsheet.settings.load import SettingsUnusable, load_settings
from engine.egress.allow_list import AllowList

LISTED = AllowList("localhost:11434, models.internal , [::1]:8080, 10.0.0.7.")


@pytest.mark.parametrize(
    "place",
    [("localhost", 11434), ("LOCALHOST.", 11434), ("models.internal", 1), ("0:0::1", 8080), ("10.0.0.7", 443)],
)
def test_a_listed_host_is_allowed_at_its_port_or_at_all(place: tuple[str, int]) -> None:
    assert place in LISTED


@pytest.mark.parametrize(
    "place",
    [("localhost", 80), ("127.0.0.1", 11434), ("evil-models.internal", 1), ("a.models.internal", 1), ("::1", 1)],
)
def test_every_other_place_is_not(place: tuple[str, int]) -> None:
    assert place not in LISTED


def test_an_empty_list_allows_nothing() -> None:
    assert AllowList(" , ") == AllowList()
    assert ("localhost", 80) not in AllowList()


@pytest.mark.parametrize(
    "text", ["http://localhost", "localhost:0", "localhost:65536", "a b", "::1", "10.0.0.0/8", "*"]
)
def test_a_bad_entry_is_named_with_its_variable(text: str) -> None:
    with pytest.raises(SettingsUnusable) as refused:
        load_settings({"CALLSHEET_OUTGOING_ALLOWED": text})
    assert "host or host:port" in refused.value.problems["CALLSHEET_OUTGOING_ALLOWED"]
