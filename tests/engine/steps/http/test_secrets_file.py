"""The file of secrets: what is read, and how a bad one is named without repeating it."""

from pathlib import Path

import pytest

from callsheet.settings.load import SettingsUnusable, load_settings

VALUE = "sk_live_0123456789"


def load_problem(path: Path) -> str:
    with pytest.raises(SettingsUnusable) as refused:
        load_settings({"CALLSHEET_SECRETS_FILE": str(path)})
    said = refused.value.problems["CALLSHEET_SECRETS_FILE"]
    assert VALUE not in said
    return said


def test_secrets_are_read_with_their_hosts_and_shown_by_name_only(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(
        f'{{"crm": {{"value": "{VALUE}", "hosts": ["api.crm.example"]}}, '
        f'"all": {{"value": "{VALUE}", "hosts": ["*"]}}}}'
    )
    file = load_settings({"CALLSHEET_SECRETS_FILE": str(path)}).secrets.file
    assert file is not None
    assert file.secrets["crm"].reveal() == VALUE
    hosts = file.secrets["crm"].hosts
    assert hosts is not None
    assert ("api.crm.example", 443) in hosts
    assert file.secrets["all"].hosts is None
    assert VALUE not in repr(file) + repr(file.secrets)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{{"crm": "{VALUE}"}}', "Expected `object`"),
        (f'{{"crm": {{"value": "{VALUE}", "hosts": []}}}}', "hosts"),
        (f'{{"crm": {{"value": "{VALUE}", "hosts": ["https://a"]}}}}', "host or host:port"),
        (f'{{"Crm": {{"value": "{VALUE}", "hosts": ["*"]}}}}', "regex"),
        ('{"crm": {"value": "short", "hosts": ["*"]}}', "8 characters"),
        ('{"crm": {"value": "two\\nlines", "hosts": ["*"]}}', "line breaks"),
        ("{", "is invalid"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)
    assert said in load_problem(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "absent.json cannot be read" in load_problem(tmp_path / "absent.json")
